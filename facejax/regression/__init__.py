"""Initial coefficients from a photograph, in one pass of a trained network."""
