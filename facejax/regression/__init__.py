"""A photograph to initial coefficients in one pass of a trained network."""
