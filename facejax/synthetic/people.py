"""Random people: identities, expressions, skins, poses, cameras and lights."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, project, quaternion_multiply, to_camera
from facejax.face_model import FaceModel, FaceParams, decode, landmarks, own_albedo
from facejax.lighting import sh_basis, uniform_light
from facejax.mesh import vertex_normals
from facejax.synthetic.fields import normal


@dataclass(frozen=True)
class People:
    """The distributions that people are drawn from. Angles in degrees, lengths in mm. Static and hashable."""

    identity: tuple[float, float] = (0.6, 1.5)  # standard deviation, itself random between these
    albedo: tuple[float, float] = (0.5, 1.4)
    neutral: float = 0.2  # share of faces without an expression
    frontal: float = 0.4  # share of poses near the front; the others cover all yaws evenly
    yaw: tuple[float, float] = (22.0, 95.0)  # standard deviation near the front; limit of the others
    pitch: tuple[float, float] = (5.0, 15.0)  # mean and standard deviation: heads are lowered more often than raised
    roll: float = 12.0
    distance: tuple[float, float] = (400.0, 6000.0)
    box: tuple[float, float] = (0.44, 0.54)  # longer side of the landmarks' box, as a share of the picture's side
    shift: float = 0.04  # distance of that box from the picture's centre, as a share of the side
    brow_height: tuple[float, float] = (-1.5, 3.0)  # mean and standard deviation of the brows' shift upwards
    brow_gap: tuple[float, float] = (1.5, 2.5)  # the same of each brow's shift outwards


@dataclass(frozen=True)
class Lamp:
    """Distant lamps besides the spherical harmonics: they cause terminators and highlights."""

    direction: Float[Array, "L 3"]  # unit, towards the lamp, camera space
    color: Float[Array, "L 3"]  # linear


jax.tree_util.register_dataclass(Lamp)


def person(
    key: Key[Array, ""], model: FaceModel, size: int, people: People, *, who: Key[Array, ""] | None = None
) -> FaceParams:
    """One person in front of a camera, under neutral light (see `lights`).

    Args:
      key: consumed.
      model: the face model.
      size: pixels per side of the picture.
      people: the distributions.
      who: another key for shape and skin. None: the key itself.

    Returns:
      The parameters.
    """
    keys = jax.random.split(key, 6)
    form, skin = keys[:2] if who is None else jax.random.split(who, 6)[:2]
    identity = _gaussian(form, len(model.identity_std), people.identity)
    appearance = {"albedo": _gaussian(skin, own_albedo(model).count, people.albedo)}
    expression = random_expression(keys[2], model, people.neutral)
    face = FaceParams(
        identity, expression, appearance, Pose(jnp.array([1.0, 0, 0, 0]), jnp.zeros(3)), _unit_camera(), uniform_light()
    )
    points = landmarks(model, decode(model, face))
    pose, camera = _framed(keys[3], points, size, people)
    return FaceParams(identity, expression, appearance, pose, camera, uniform_light())


def _gaussian(key: Key[Array, ""], count: int, spread: tuple[float, float]) -> Float[Array, " N"]:
    a, b = jax.random.split(key)
    std = jax.random.uniform(a, (), minval=spread[0], maxval=spread[1])
    return std * jax.random.truncated_normal(b, -2.8, 2.8, (count,))


def _unit_camera() -> PerspectiveCamera:
    return PerspectiveCamera(jnp.ones(()), jnp.zeros(2))


def random_expression(key: Key[Array, ""], model: FaceModel, neutral: float) -> Float[Array, " E"]:
    """A few blendshapes at once: mostly symmetric, lids and gaze as people move them, lips kept plausible."""
    keys = jax.random.split(key, 7)
    names = model.expression_names
    count = len(names)
    if not model.blendshapes:
        return 0.8 * jax.random.truncated_normal(keys[0], -2.0, 2.0, (count,))
    places = {name: place for place, name in enumerate(names)}
    leader = jnp.array([min(place, places.get(_other_side(name), place)) for name, place in places.items()])
    busy = jax.random.uniform(keys[1], (), minval=0.03, maxval=0.3)
    on = jax.random.bernoulli(keys[2], busy, (count,))[leader]
    strength = jax.random.beta(keys[3], 1.1, 1.8, (count,))
    lopsided = jax.random.uniform(keys[4], (count,), minval=0.6, maxval=1.0)
    weights = jnp.where(on, strength[leader] * lopsided, 0.0)

    is_gaze = jnp.array(["eyeLook" in name for name in names])
    weights = jnp.where(is_gaze, _gaze(keys[5], names), weights)
    habits = jax.random.uniform(keys[6], (5,))
    smile = jnp.where(habits[0] > 0.5, jnp.maximum(2.0 * (habits[0] - 0.5), 0.1), 0.0)
    common = {  # the most common ones: smiling, parting the lips, narrowing or closing the eyes
        "mouthSmileLeft": smile,
        "mouthUpperUpLeft": 0.8 * smile * habits[4],
        "mouthLowerDownLeft": 0.6 * smile * habits[4],
        "jawOpen": jnp.maximum(habits[1] - 0.55, 0.0) ** 2 * 4.0,
        "eyeBlinkLeft": jnp.where(habits[2] > 0.94, 1.0, 0.35 * jnp.maximum(habits[2] - 0.4, 0.0)),
        "browInnerUpLeft": jnp.maximum(habits[3] - 0.75, 0.0) * 2.0,
    }
    for name, value in common.items():
        for side in {name, _other_side(name)} & set(names):
            place = names.index(side)
            weights = weights.at[place].set(jnp.maximum(weights[place], value))
    if "mouthClose" in names and "jawOpen" in names:  # this shape only makes sense with an open jaw
        place, jaw = names.index("mouthClose"), names.index("jawOpen")
        weights = weights.at[place].set(jnp.minimum(weights[place], 0.8 * weights[jaw]))
    awake = jax.random.uniform(keys[0], ()) >= neutral
    return jnp.clip(jnp.where(awake, weights, jnp.where(is_gaze, weights, 0.15 * weights)), 0.0, 1.0)


def move_brows(
    key: Key[Array, ""], model: FaceModel, vertices: Float[Array, "V 3"], people: People
) -> Float[Array, "V 3"]:
    """Move the skin around the brows along the surface, which the model itself never does.

    Both brows move together by `people.brow_height` and `people.brow_gap`, plus a little on their own.

    Args:
      key: consumed.
      model: the face model.
      vertices: mm.
      people: the distributions.

    Returns:
      The vertices.
    """
    common, own = 0.9 * normal(key, (2,)), 0.3 * normal(jax.random.fold_in(key, 1), (2, 2))
    means, spreads = jnp.array([people.brow_gap, people.brow_height]).T
    amount = means + spreads * jnp.clip(common + own, -2.0, 2.0)  # right, left
    points, mean = landmarks(model, model.mean), model.mean
    normals = vertex_normals(vertices, model.faces)
    for brow, (out, up), side in zip((points[17:22], points[22:27]), amount, (-1.0, 1.0), strict=True):
        line = jnp.concatenate([brow, 0.5 * (brow[1:] + brow[:-1])])
        near = jnp.min(jnp.sum((mean[:, None] - line) ** 2, axis=-1), axis=1)
        step = jnp.stack([side * out, up, 0.0 * up])
        along = step - normals * (normals @ step)[:, None]
        vertices = vertices + jnp.exp(-0.5 * near / 9.0**2)[:, None] * along
    return vertices


def _other_side(name: str) -> str:
    for a, b in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(a):
            return name[: -len(a)] + b
    return name


def _gaze(key: Key[Array, ""], names: tuple[str, ...]) -> Float[Array, " E"]:
    """Both eyes look in one direction: left for one eye is inwards for the other."""
    x, y = 0.45 * jax.random.truncated_normal(key, -2.0, 2.0, (2,))
    amount = {
        "eyeLookOutLeft": x, "eyeLookInRight": x, "eyeLookInLeft": -x, "eyeLookOutRight": -x,
        "eyeLookUpLeft": y, "eyeLookUpRight": y, "eyeLookDownLeft": -y, "eyeLookDownRight": -y,
    }  # fmt: skip
    return jnp.stack([jnp.maximum(amount.get(name, jnp.zeros(())), 0.0) for name in names])


def _framed(
    key: Key[Array, ""], points: Float[Array, "68 3"], size: int, people: People
) -> tuple[Pose, PerspectiveCamera]:
    """A pose and a camera that show the landmarks about in the middle of a `size` x `size` picture."""
    keys = jax.random.split(key, 8)
    near = people.yaw[0] * jax.random.normal(keys[0], ())
    wide = jax.random.uniform(keys[1], (), minval=-people.yaw[1], maxval=people.yaw[1])
    yaw = jnp.where(jax.random.bernoulli(keys[2], people.frontal), near, wide)
    pitch = people.pitch[0] + people.pitch[1] * jax.random.truncated_normal(keys[3], -3.0, 3.0, ())
    roll = people.roll * jax.random.truncated_normal(keys[4], -3.0, 3.0, ())
    upright = euler_to_quaternion(jnp.stack([pitch, yaw, 0.0 * yaw]))
    rotation = quaternion_multiply(euler_to_quaternion(jnp.stack([0.0 * roll, 0.0 * roll, roll])), upright)
    low, high = jnp.log(people.distance[0]), jnp.log(people.distance[1])
    distance = jnp.exp(jax.random.uniform(keys[5], (), minval=low, maxval=high))
    pose = Pose(rotation, jnp.stack([0.0 * distance, 0.0 * distance, -distance]))
    image = project(PerspectiveCamera(distance, jnp.zeros(2)), to_camera(pose, points))[:, :2]
    corner, opposite = image.min(axis=0), image.max(axis=0)
    share = jax.random.uniform(keys[6], (), minval=people.box[0], maxval=people.box[1])
    scale = share * size / (opposite - corner).max()
    moved = people.shift * size * jax.random.uniform(keys[7], (2,), minval=-1.0, maxval=1.0)
    return pose, PerspectiveCamera(scale * distance, size / 2 + moved - scale * 0.5 * (corner + opposite))


def lights(key: Key[Array, ""]) -> tuple[Float[Array, "9 3"], Lamp]:
    """An environment as spherical harmonics, and up to three lamps that it does not include.

    The light that a label should have is their sum: see `all_light`.
    """
    keys = jax.random.split(key, 9)
    level = jnp.exp(0.45 * jax.random.normal(keys[0], ())) * 0.55
    tint = jnp.exp(0.12 * jax.random.normal(keys[1], (3,)))
    slopes = jax.random.normal(keys[2], (8, 1)) * jnp.array([0.35] * 3 + [0.12] * 5)[:, None]
    colour = 0.25 * slopes * jax.random.normal(keys[3], (8, 3))
    around = uniform_light() * level * tint
    around = around.at[1:].add(around[0] * (slopes + colour))
    side = jax.random.normal(keys[4], (3, 3)) * jnp.array([1.0, 0.7, 0.6]) + jnp.array([0.0, 0.5, 0.6])
    direction = side / jnp.linalg.norm(side, axis=1, keepdims=True)
    on = jax.random.bernoulli(keys[5], jnp.array([0.7, 0.35, 0.15]))
    power = jnp.where(on, jnp.exp(0.6 * jax.random.normal(keys[6], (3,)) - 0.6), 0.0)
    warmth = jnp.exp(jax.random.normal(keys[7], (3, 1)) * jnp.array([[0.15, 0.0, -0.2]]))
    return around, Lamp(direction, power[:, None] * warmth)


def all_light(around: Float[Array, "9 3"], lamp: Lamp) -> Float[Array, "9 3"]:
    """Environment and lamps as one set of harmonics: the best second-order approximation of what lit the face.

    A lamp of colour c in direction d shades c max(0, n.d). Its expansion is pi times the basis at d times the basis at
    n, without the cosine factors that `sh_basis` includes for irradiance over pi.
    """
    return around + LAMBERT * (sh_basis(lamp.direction) / COSINE).T @ lamp.color


LAMBERT = float(np.pi)
COSINE = np.array([1.0] + [2.0 / 3.0] * 3 + [0.25] * 5)
