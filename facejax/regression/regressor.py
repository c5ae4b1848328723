"""The regressor: a crop of a face to `FaceParams`, 68 landmarks and a confidence for each.

The input is a square crop of `config.side` pixels around the box of the 68 landmarks (`box_crop`). The network sees a
reduced copy of it and its middle at full size, each also mirrored. Output blocks: see `block_sizes`, each about one
standard deviation wide.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera, Pose, matrix_to_quaternion, quaternion_to_matrix, transform_camera
from facejax.checkpoints import load
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.load import load_face_model
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.images import Crop
from facejax.nets.encoder import EncoderConfig, EncoderOutput, Trunk, apply_encoder
from facejax.objectives import chance_within, draw_landmarks, eighteen_points

DISTANCE = 1000.0  # mm: the distance at coefficient 0
NEAREST, FARTHEST = 0.2, 10.0  # metres: distances are clipped to this range
NEAR = 0.05  # of the face's size: the error that `Regression.confidence` refers to
SCHEMA, VERSION = "facejax.regressor", 1
ASSET = Path(__file__).parents[1] / "assets" / "regressor"


@dataclass(frozen=True)
class RegressorConfig:
    """Sizes of the regressor. Static and hashable; stored in the checkpoint's metadata."""

    identity: int = 100
    expression: int = 53
    albedo: int = 40
    margin: float = 1.35  # side of the crop, in longer sides of the landmarks' box
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    @property
    def side(self) -> int:
        """Side of the crop, pixels. The network sees 4/5 as many: a reduced copy, or the middle at full size."""
        return 5 * self.encoder.size // 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Regressor:
    """A trained network with the face model that its coefficients belong to."""

    model: FaceModel
    weights: Any
    config: RegressorConfig = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Regression:
    """The result for a face. Every leaf may carry leading batch axes."""

    params: FaceParams  # its camera looks straight at the head's origin, and has the picture's pixels
    landmarks: Float[Array, "*B 68 2"]  # pixels; fixed points of the surface, so hidden jaw points stay on the jaw
    confidence: Float[Array, "*B 68"]  # estimated probability that the error is below 5 % of the face's size


def block_sizes(config: RegressorConfig) -> dict[str, int]:
    """The blocks of the coefficient vector, in order.

    | block | meaning |
    |---|---|
    | rotation | the first two columns of the rotation matrix minus those of the identity (see below) |
    | origin | place of the head's origin, half sides from the centre |
    | scale | log of the pixels per mm there, over size / 250 mm |
    | distance | log of the distance over 1 m |
    | others | the model's own coefficients |

    For the rotation see Zhou et al., "On the continuity of rotation representations", CVPR 2019.
    """
    return {
        "rotation": 6,
        "origin": 2,
        "scale": 1,
        "distance": 1,
        "identity": config.identity,
        "expression": config.expression,
        "albedo": config.albedo,
        "light": 27,
    }


def split_blocks(config: RegressorConfig, coefficients: Float[Array, "*B C"]) -> dict[str, Float[Array, "*B n"]]:
    """The coefficient vector's blocks by name."""
    sizes = block_sizes(config)
    ends = np.cumsum(list(sizes.values()))[:-1]
    return dict(zip(sizes, jnp.split(coefficients, ends, axis=-1), strict=True))


def rotation_matrix(six: Float[Array, "*B 6"]) -> Float[Array, "*B 3 3"]:
    """Gram-Schmidt on two columns, given as differences from those of the identity."""
    a = six[..., :3].at[..., 0].add(1.0)
    b = six[..., 3:].at[..., 1].add(1.0)
    x = a / jnp.sqrt(jnp.sum(a * a, axis=-1, keepdims=True) + 1e-8)
    y = b - jnp.sum(x * b, axis=-1, keepdims=True) * x
    y = y / jnp.sqrt(jnp.sum(y * y, axis=-1, keepdims=True) + 1e-8)
    return jnp.stack([x, y, jnp.cross(x, y)], axis=-1)


def to_params(config: RegressorConfig, coefficients: Float[Array, " C"]) -> FaceParams:
    """One coefficient vector as `FaceParams`, with the camera in pixels of the network's input."""
    block = split_blocks(config, coefficients)
    size = config.encoder.size
    distance = DISTANCE * jnp.exp(jnp.clip(block["distance"][0], math.log(NEAREST), math.log(FARTHEST)))
    scale = jnp.exp(jnp.clip(block["scale"][0], -3.0, 3.0)) * size / 250.0
    rotation = matrix_to_quaternion(rotation_matrix(block["rotation"]))
    return FaceParams(
        identity=block["identity"],
        expression=jnp.clip(block["expression"], 0.0, 1.0),
        appearance={"albedo": block["albedo"]},
        pose=Pose(rotation, jnp.stack([0.0 * distance, 0.0 * distance, -distance])),
        camera=PerspectiveCamera(scale * distance, (block["origin"] + 1.0) * size / 2),
        light=block["light"].reshape(9, 3) + _mean_light(),
    )


def from_params(config: RegressorConfig, params: FaceParams) -> Float[Array, " C"]:
    """The inverse of `to_params`, for a face on the camera's axis (translation (0, 0, -d)): the training target."""
    size, distance = config.encoder.size, -params.pose.translation[2]
    columns = quaternion_to_matrix(params.pose.rotation)[:, :2] - jnp.eye(3)[:, :2]
    assert isinstance(params.camera, PerspectiveCamera)
    scale = params.camera.focal / distance
    return jnp.concatenate(
        [
            columns.T.reshape(-1),
            params.camera.principal * 2 / size - 1.0,
            jnp.log(scale * 250.0 / size)[None],
            jnp.log(distance / DISTANCE)[None],
            params.identity,
            params.expression,
            params.appearance["albedo"],
            (params.light - _mean_light()).reshape(-1),
        ]
    )


def _mean_light() -> Float[Array, "9 3"]:
    return jnp.zeros((9, 3)).at[0].set(3.0).at[2].set(1.0)


def regress_crops(regressor: Regressor, images: Float[Array, "N S S 3"]) -> Regression:
    """Crops (display values) to faces, in pixels of the crops. Pure: jit it, shard it, differentiate through it."""
    config = regressor.config
    side, size = config.side, config.encoder.size
    if images.shape[1:] != (side, side, 3):
        raise ValueError(f"crops of shape {images.shape}: this regressor takes (N, {side}, {side}, 3), see box_crop")
    edge = (side - size) // 2
    whole = jax.image.resize(images, (len(images), size, size, 3), "linear")
    middle = images[:, edge : edge + size, edge : edge + size]
    looks = jnp.concatenate([whole, whole[:, :, ::-1], middle, middle[:, :, ::-1]])
    far, near = (join_mirrored(one) for one in _halves(apply_regressor(regressor, looks)))
    joined = far._replace(
        landmarks=0.5 * (far.landmarks + near.landmarks * (size / side)),
        log_sigma=0.5 * (far.log_sigma + near.log_sigma),
    )
    params = jax.vmap(lambda one: to_params(config, one))(joined.coefficients)
    camera = jax.vmap(lambda one: transform_camera(one, jnp.asarray(side / size), jnp.zeros(2)))(params.camera)
    landmarks = (joined.landmarks + 1.0) * (side / 2)
    return Regression(replace(params, camera=camera), landmarks, chance_within(joined.log_sigma, NEAR))


def apply_regressor(regressor: Regressor, images: Float[Array, "N s s 3"]) -> EncoderOutput:
    """The network's output for pictures of `config.encoder.size` pixels.

    A network with 2DASL's fourth channel runs twice: first without landmarks, then with those it found.
    """
    config, weights = regressor.config, regressor.weights
    if config.encoder.channels > 3:
        blank = jnp.zeros((*images.shape[:3], 1), images.dtype)
        first = apply_encoder(config.encoder, weights, jnp.concatenate([images, blank], axis=-1))
        images = jnp.concatenate([images, landmark_maps(config, first.landmarks)], axis=-1)
    return apply_encoder(config.encoder, weights, images)


def join_mirrored(output: EncoderOutput) -> EncoderOutput:
    """Combine the outputs for a batch and its mirror images: landmarks and log sigma are the means of both.

    So the mirror image of a face gets exactly mirrored landmarks. Coefficients are those of the unmirrored half.
    """
    plain, mirrored = _halves(output)
    turned = mirrored.landmarks[:, MIRROR68] * jnp.array([[[-1.0, 1.0]]])
    return plain._replace(
        landmarks=0.5 * (plain.landmarks + turned),
        log_sigma=0.5 * (plain.log_sigma + mirrored.log_sigma[:, MIRROR68]),
    )


def _halves(output: EncoderOutput) -> tuple[EncoderOutput, EncoderOutput]:
    """The first and the second half of a batch."""
    count = len(output.landmarks) // 2
    return jax.tree.map(lambda x: x[:count], output), jax.tree.map(lambda x: x[count:], output)


def landmark_maps(config: RegressorConfig, landmarks: Float[Array, "N 68 2"]) -> Float[Array, "N S S 1"]:
    """2DASL's fourth channel: 1 at the 18 points of the landmarks (half sides from the centre), 0 elsewhere."""
    side = config.encoder.size

    def draw(points: Float[Array, "68 2"]) -> Float[Array, "S S"]:
        return draw_landmarks(eighteen_points((points + 1.0) * (side / 2)), side, background=0.0)

    return jax.vmap(draw)(landmarks)[..., None]


def box_crop(box: Float[Any, " 4"], config: RegressorConfig) -> Crop:
    """The square crop around [left, top, right, bottom], the box of a face's 68 landmarks, in pixels of its photo."""
    left, top, right, bottom = (float(value) for value in box)
    side = config.margin * max(right - left, bottom - top)
    if not (math.isfinite(side) and side > 0):
        raise ValueError(f"box {[left, top, right, bottom]} has no extent: pass [left, top, right, bottom] in pixels")
    scale = config.side / side
    centre = np.array([left + right, top + bottom]) / 2
    return Crop(np.asarray(scale, np.float32), np.asarray(config.side / 2 - scale * centre, np.float32))


@lru_cache(maxsize=4)
def load_regressor(path: str | Path = "default") -> Regressor:
    """The shipped regressor, or one trained with experiments/train_regressor.py (the folder of its checkpoint)."""
    weights, metadata = load(ASSET if path == "default" else path, schema=SCHEMA, version=VERSION)
    return Regressor(load_face_model(), jax.device_put(weights), read_config(metadata["config"]))


def store_config(config: RegressorConfig) -> dict[str, Any]:
    """The sizes as a checkpoint's metadata has them; a trunk has its kind beside its sizes."""
    stored = asdict(config)
    if config.encoder.trunk is not None:
        stored["encoder"]["trunk"]["kind"] = type(config.encoder.trunk).__name__
    return stored


def read_config(stored: Mapping[str, Any]) -> RegressorConfig:
    """The inverse of `store_config`."""
    sizes = dict(stored)
    encoder: dict[str, Any] = {name: _tuples(value) for name, value in sizes.pop("encoder").items()}
    if encoder.get("trunk") is not None:
        trunk: dict[str, Any] = {name: _tuples(value) for name, value in encoder["trunk"].items()}
        kinds = {kind.__name__: kind for kind in get_args(Trunk)}
        encoder["trunk"] = kinds[trunk.pop("kind")](**trunk)
    return RegressorConfig(**sizes, encoder=EncoderConfig(**encoder))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
