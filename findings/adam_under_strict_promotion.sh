#!/usr/bin/env bash
# optax's Adam and flax's average pooling do not work under jax's strict dtype promotion.
#
# Versions: jax 0.10.2, optax 0.2.8, flax 0.12.8.
# A project that lets its tests run with jax_numpy_dtype_promotion="strict", to find mixed dtypes in its own code, would
# guess that the libraries beside jax pass: all their inputs here are float32. SGD, schedules and max_pool do. But
# adam().update and avg_pool mix floats with int32 counts of their own and raise, under jit too.
# The way round: trace those calls within `with jax.numpy_dtype_promotion("standard"):`.
# Output seen: "sgd works", "max_pool works", "adam raises TypePromotionError", "avg_pool raises TypePromotionError".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 optax==0.2.8 flax==0.12.8
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON' | tee "$work/said"
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

params, picture = {"w": jnp.ones(3)}, jnp.ones((1, 4, 4, 1))


def step(optimiser):
    return jax.jit(optimiser.update)(params, optimiser.init(params))


calls = {
    "sgd": lambda: step(optax.sgd(1e-3)),
    "max_pool": lambda: nn.max_pool(picture, (2, 2), (2, 2)),
    "adam": lambda: step(optax.adam(1e-3)),
    "avg_pool": lambda: nn.avg_pool(picture, (2, 2), (2, 2)),
}
with jax.numpy_dtype_promotion("strict"):
    for name, call in calls.items():
        try:
            call()
            print(name, "works")
        except Exception as error:
            print(name, "raises", type(error).__name__)
PYTHON
printf '%s\n' 'sgd works' 'max_pool works' 'adam raises TypePromotionError' 'avg_pool raises TypePromotionError' |
  diff - "$work/said"
