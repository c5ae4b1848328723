"""What MediaPipe's iris network sees of the two eyes of a face with known landmarks: irises and lids.

Ablavatski et al., "Real-time pupil tracking from monocular video for digital puppetry", 2020. The network takes a
square around an eye, turned so that its corners lie level. A second look is at the square around the corners that the
first one saw.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.checkpoints import load
from facejax.images.align import warp
from facejax.nets.facemesh import IRIS_SIDE, apply_iris

SCHEMA, VERSION = "facejax.iris", 1
ASSET = Path(__file__).parents[1] / "assets" / "iris"

REACH = 2.3  # side of the square, in distances of the eye's corners


@lru_cache
def load_iris() -> Any:
    """The weights of the shipped network: MediaPipe's, converted by experiments/convert_mediapipe.py."""
    return jax.device_put(load(ASSET, schema=SCHEMA, version=VERSION)[0])


def eye_square(left: Float[Array, " 2"], right: Float[Array, " 2"], flip: Float[Array, ""]) -> Float[Array, "2 3"]:
    across = right - left
    length = jnp.maximum(jnp.linalg.norm(across), 1e-6)
    cosine, sine = across / length
    scale = IRIS_SIDE / (REACH * length)
    turn = scale * jnp.stack([flip * jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])
    return jnp.concatenate([turn, (IRIS_SIDE / 2 - turn @ (0.5 * (left + right)))[:, None]], axis=1)
