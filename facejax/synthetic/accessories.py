"""Things that people wear and hold, as props."""

from facejax.synthetic.clothes import clothes as clothes
from facejax.synthetic.glasses import glasses as glasses
from facejax.synthetic.hand import hand as hand
