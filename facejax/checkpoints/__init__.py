"""Orbax checkpoints of the networks, and converters from PyTorch files."""
