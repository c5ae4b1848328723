"""Networks with random weights, for tests."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def random_network(shapes, seed=0):
    """Weights for a tree of shapes: random kernels that keep the scale, scales and variances 1, all else 0."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            fan = math.prod(leaf.shape[:-1])
            return jnp.asarray(rng.normal(0, math.sqrt(2 / fan), leaf.shape), leaf.dtype)
        return jnp.full(leaf.shape, {"scale": 1.0, "var": 1.0, "slope": 0.25}.get(name, 0.0), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)
