"""What MediaPipe's iris network sees of the two eyes of a face with known landmarks.

Ablavatski et al., "Real-time pupil tracking from monocular video for digital puppetry", 2020. Its input is a square
around the corners of a right eye (the person's), which lie level in it; a left eye is mirrored.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.checkpoints import load
from facejax.fitting.gaze import SeenEyes
from facejax.fitting.ingredients import FeatureNetwork
from facejax.images.align import warp
from facejax.nets.facemesh import IRIS_SIDE, apply_iris
from facejax.regression.mesh_points import invert_points

SCHEMA, VERSION = "facejax.iris", 1
ASSET = Path(__file__).parents[1] / "assets" / "iris"

CORNERS = (36, 39), (45, 42)  # the landmarks at the outer and the inner corner of the right and the left eye
SIGNS = 1.0, -1.0  # the left eye is mirrored
LIDS = 16  # of the contour's points; the others lie around the eye
REACH = 2.3  # side of the square, in distances of the corners


@lru_cache
def load_iris() -> Any:
    """The weights of the shipped network: MediaPipe's, converted by experiments/convert_mediapipe.py."""
    return jax.device_put(load(ASSET, schema=SCHEMA, version=VERSION)[0])


def iris_network(weights: Any) -> FeatureNetwork:
    """The network for the role "iris" of a fit: it gives the direction of the eyes."""
    return FeatureNetwork(weights, see_eyes, iris_distance, "MediaPipe Iris")


def see_eyes(weights: Any, picture: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> SeenEyes:
    """Irises and lids of one face, in pixels of its picture (display values), where the landmarks are."""
    transforms = jax.vmap(eye_square)(landmarks[jnp.array(CORNERS)], jnp.array(SIGNS))
    crops = jax.vmap(lambda transform: warp(picture, transform, IRIS_SIDE))(transforms)
    contour, iris = apply_iris(weights, crops)
    lids, rims = (jax.vmap(invert_points)(transforms, x[..., :2]) for x in (contour[:, :LIDS], iris))
    return SeenEyes(rims[:, 0], rims[:, 1:], lids)


def eye_square(corners: Float[Array, "2 2"], sign: Float[Array, ""]) -> Float[Array, "2 3"]:
    """The transform that brings the square around an eye to the network's picture, its outer corner on the left.

    With a `sign` of -1 the picture is mirrored.
    """
    across = corners[1] - corners[0]
    length = jnp.maximum(jnp.linalg.norm(across), 1e-6)
    cosine, sine = across / length
    scale = IRIS_SIDE / (REACH * length)
    turn = scale * jnp.stack([jnp.stack([cosine, sine]), sign * jnp.stack([-sine, cosine])])
    return jnp.concatenate([turn, (IRIS_SIDE / 2 - turn @ corners.mean(axis=0))[:, None]], axis=1)


def iris_distance(rendered: SeenEyes, photo: SeenEyes, mask: Float[Array, "S S"]) -> Float[Array, ""]:
    """Mean distance of the irises of two pictures, pixels."""
    return jnp.mean(jnp.linalg.norm(rendered.iris - photo.iris, axis=-1))
