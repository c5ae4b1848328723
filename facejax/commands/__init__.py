"""What the command line's verbs do: `fit`, `demo`."""
