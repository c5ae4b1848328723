"""Training and measuring the generative renderer."""
