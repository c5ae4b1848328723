"""What people wear and hold, as props: see glasses."""

from facejax.synthetic.glasses import glasses as glasses
