"""Batched, differentiable 3D face reconstruction in JAX."""
