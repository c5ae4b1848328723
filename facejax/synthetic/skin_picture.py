"""`photograph_skin`: one key and one known skin to a picture under richer light than nine harmonics.

For training what tells skin from light. There is a sky that the head itself shades (`facejax.synthetic.sky`); a lamp
with the shadows of head, hair, hat, glasses and hands (from a depth map as the lamp sees them), hard or soft; up to two
more lamps as large patches of the sky; highlights, broad and sharp (GGX); light reflected within folds; and an exposure
that follows the picture's brightness more or less, as cameras do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from facejax.camera import quaternion_to_matrix
from facejax.face_model import FaceModel, FaceParams
from facejax.lighting import linear_to_srgb, luminance, srgb_to_linear
from facejax.mesh import safe_normalize, vertex_normals
from facejax.synthetic.backgrounds import background
from facejax.synthetic.camera_effects import photograph
from facejax.synthetic.fields import chance, normal, uniform
from facejax.synthetic.generate import SUN_AWAY, SUN_SIDE, SUN_SPAN, Generator, Staged, stage
from facejax.synthetic.sky import Sky, irradiance

# The first is shared by a picture's skin, the others are added in regions: mean and spread of roughness and specular.
_GLOSS = {
    "face": ((0.50, 0.08), (0.50, 0.10)),
    "forehead": ((-0.04, 0.06), (0.03, 0.06)),
    "nose": ((-0.08, 0.06), (0.06, 0.06)),
    "cheeks": ((0.0, 0.05), (0.0, 0.05)),
    "lips": ((-0.12, 0.08), (0.08, 0.10)),
    "scalp": ((0.08, 0.06), (-0.08, 0.05)),
    "eyeballs": ((-0.38, 0.04), (0.12, 0.05)),
}
SHAVEN = Generator(beard=0.0)  # whose beards are those of the skin
_SCATTER = np.array([0.30, 0.12, 0.06], np.float32)  # how far light wraps around a terminator, per channel
_BIAS = 3.0  # mm of depth that a lamp's map may be wrong
_TAPS = 12  # looks into a lamp's map for one pixel


class SkinPicture(NamedTuple):
    """A picture and the truth about its skin."""

    image: Float[Array, "S S 3"]  # display values
    params: FaceParams  # its light is not the picture's
    landmarks: Float[Array, "68 2"]  # pixels
    gloss: Float[Array, "V 2"]  # of the vertices: roughness, and the reflectance at normal incidence in units of 0.08


class _Lamps(NamedTuple):
    direction: Float[Array, "3 3"]  # unit, camera space, towards each lamp
    color: Float[Array, "3 3"]  # linear; a white surface that faces the lamp looks so
    width: Float[Array, " 3"]  # radians


def photograph_skin(
    key: Key[Array, ""],
    model: FaceModel,
    sky: Sky,
    albedo: Float[Array, "T T 3"],
    *,
    size: int = 256,
    generator: Generator = SHAVEN,
) -> SkinPicture:
    """One picture of a random person who wears a given skin. Use `jax.lax.map` over keys on the CPU.

    Args:
      key: consumed.
      model: the face model.
      sky: of `make_sky`.
      albedo: display values, in the model's layout.
      size: pixels per side.
      generator: what is in the picture; `camera` is the strength of the camera's effects.

    Returns:
      The picture and what is known of it.
    """
    keys = jax.random.split(key, 8)
    lamps = _lamps(keys[0])
    gloss = _gloss(keys[1], model)
    rest = iter(jax.random.split(keys[2], 24))
    staged = stage(rest, model, size, generator, albedo=albedo, sun=lamps.direction[0])
    around = _surroundings(keys[3], model, staged, sky, lamps)
    linear = _lit(keys[4], model, staged, around, gloss, lamps)
    behind = _behind(keys[5], around, lamps, size)
    coverage = staged.scene.coverage[..., None]
    linear = _expose(keys[6], behind + coverage * (linear - behind))
    image = photograph(keys[7], jnp.clip(linear_to_srgb(linear), 0.0, 1.0), generator.camera)
    return SkinPicture(image, staged.params, staged.landmarks, gloss)


def _lamps(key: Key[Array, ""]) -> _Lamps:
    """A key lamp, or none; a fill light; a light from behind or the side."""
    keys = jax.random.split(key, 5)
    place = normal(keys[0], (3, 3)) * jnp.array([[1.0, 0.8, 0.5], [1.2, 0.6, 0.6], [1.5, 0.6, 0.8]])
    direction = safe_normalize(place + jnp.array([[0.0, 0.45, 0.75], [0.0, 0.3, 0.7], [0.0, 0.3, 0.0]]))
    on = chance(keys[1], jnp.array([0.65, 0.45, 0.2]), (3,))
    power = on * jnp.exp(0.5 * normal(keys[2], (3,)) + jnp.array([-0.1, -0.9, -0.9]))
    warmth = (normal(keys[3], (3, 1)) * 0.7 + 0.15) * jnp.array([[0.22, 0.0, -0.32]])
    color = power[:, None] * jnp.exp(warmth + 0.04 * normal(keys[4], (3, 3)))
    width = jnp.deg2rad(jnp.exp(uniform(keys[4], (3,), jnp.log(jnp.array([1.0, 14.0, 14.0])), np.log(45.0))))
    return _Lamps(direction, color, width)


def _gloss(key: Key[Array, ""], model: FaceModel) -> Float[Array, "V 2"]:
    keys = jax.random.split(key, len(_GLOSS) + 1)
    total = jnp.zeros((len(model.mean), 2))
    for one, (name, parameters) in zip(keys, _GLOSS.items(), strict=False):
        mean, spread = jnp.array(parameters).T
        drawn = mean + spread * normal(one, (2,))
        region = jnp.ones(len(model.mean)) if name == "face" else model.regions.get(name, jnp.zeros(len(model.mean)))
        total = total + region[:, None] * drawn[None]
    wave = normal(keys[-1], (3, 4)) / 25.0  # a few smooth waves over the head, some 10 cm long
    return jnp.clip(total + 0.03 * jnp.mean(jnp.sin(model.mean @ wave), axis=1)[:, None], 0.05, 1.0)


class _Around(NamedTuple):
    lit: Float[Array, "V 3"]  # irradiance over pi from the sky and its lamps, camera's exposure 1
    open: Float[Array, " V"]  # share of a uniform sky that is seen
    mean: Float[Array, "9 3"]  # of what has no visibility of its own (props): light from all sides


def _surroundings(key: Key[Array, ""], model: FaceModel, staged: Staged, sky: Sky, lamps: _Lamps) -> _Around:
    """A smooth sky with the second and third lamp in it; the shoulders darken what comes from below."""
    keys = jax.random.split(key, 5)
    turn = quaternion_to_matrix(staged.params.pose.rotation)
    direction = sky.direction @ turn.T  # camera space
    level = jnp.exp(0.5 * normal(keys[0]) - 0.75)
    slope = normal(keys[1], (3, 1)) * jnp.array([[0.35], [0.3], [0.3]]) + jnp.array([[0.0], [0.25], [0.15]])
    slope = slope + 0.12 * normal(keys[2], (3, 3))
    tint = jnp.exp(normal(keys[3]) * jnp.array([0.09, 0.0, -0.12]) + 0.03 * normal(keys[3], (3,)))
    radiance = level * tint[None] * jnp.maximum(1.0 + direction @ slope, 0.03)
    for k in (1, 2):
        lobe = jnp.exp((direction @ lamps.direction[k] - 1.0) / (1.0 - jnp.cos(lamps.width[k])))
        facing = 4.0 / len(lobe) * jnp.sum(jnp.maximum(direction @ lamps.direction[k], 0.0) * lobe)
        radiance = radiance + (lobe / facing)[:, None] * lamps.color[k][None]
    below = jnp.clip(-2.0 * direction[:, 1] - 0.6, 0.0, 1.0)[:, None]
    radiance = radiance * (1.0 - below * uniform(keys[4], (), 0.2, 0.8))
    normals = vertex_normals(staged.vertices, model.faces)
    lit = irradiance(sky, normals, jnp.concatenate([radiance, jnp.ones((len(radiance), 1))], axis=1))
    # Least squares over the directions: what hair and clothes get, nothing in the way.
    free = 4.0 / len(direction) * (jnp.maximum(direction @ direction.T, 0.0) @ radiance)
    basis = jnp.concatenate([jnp.ones((len(direction), 1)), direction], axis=1)
    return _Around(lit[:, :3], lit[:, 3], jnp.linalg.lstsq(basis, free)[0])


def _behind(key: Key[Array, ""], around: _Around, lamps: _Lamps, size: int) -> Float[Array, "{size} {size} 3"]:
    """What is behind the person in linear light: lit as the person is, or more or less by itself."""
    keys = jax.random.split(key, 3)
    there = jnp.maximum(around.mean[0] + 0.4 * lamps.color[0], 0.02) ** uniform(keys[1])
    return srgb_to_linear(background(keys[0], size)) * jnp.exp(0.3 * normal(keys[2])) * there[None, None]


def _lit(
    key: Key[Array, ""], model: FaceModel, staged: Staged, around: _Around, gloss: Float[Array, "V 2"], lamps: _Lamps
) -> Float[Array, "S S 3"]:
    """The scene in linear light."""
    scene, studio = staged.scene, staged.studio
    face = scene.face[..., None]
    own = studio.over(staged.vertices, model.faces, staged.first.triangle, jnp.concatenate(
        [around.lit, around.open[:, None], gloss], axis=1))  # fmt: skip
    bare, n = scene.surface, safe_normalize(scene.surface[..., 3:6])
    free = jnp.maximum(around.mean[0][None, None] + n @ around.mean[1:], 0.0) * 0.8
    sky = face * own[..., :3] + (1 - face) * free
    open_ = face * jnp.clip(own[..., 3:4], 0.0, 1.0) + (1 - face) * 0.8
    rough = face * own[..., 4:5] + (1 - face) * 0.5
    specular = face * own[..., 5:6] + (1 - face) * jnp.clip(2.0 * bare[..., 6:7], 0.0, 1.0)
    albedo, v = srgb_to_linear(bare[..., :3]), studio.view()
    shadow = _shadow(key, staged, n, lamps)[..., None]

    cosine = n @ lamps.direction[0]
    wrap = jnp.asarray(_SCATTER)[None, None] * face
    wrapped = jnp.clip((cosine[..., None] + wrap) / (1.0 + wrap) ** 2, 0.0, 1.0)
    light = sky + shadow * wrapped * lamps.color[0][None, None]
    common = jnp.mean(light, axis=(0, 1), keepdims=True)
    light = light + 0.9 * (1.0 - open_) * albedo * common  # from the folds' other side
    facing = jnp.clip(jnp.sum(n * v, axis=-1, keepdims=True), 0.02, 1.0)
    base = 0.08 * specular
    mirror = 0.7 * (base + (jnp.maximum(1.0 - rough, base) - base) * (1.0 - facing) ** 5)
    shine = mirror * sky * open_
    for k in range(3):
        seen = shadow if k == 0 else open_
        shine = shine + seen * _highlight(n, v, facing, lamps, k, rough, base) * lamps.color[k][None, None]
    return albedo * light * (1.0 - base) + shine


def _highlight(n: Array, v: Array, facing: Array, lamps: _Lamps, k: int, rough: Array, base: Array) -> Array:
    """GGX, widened by the lamp's size, with Smith's shadowing as by Schlick and his Fresnel term, times pi."""
    direction = lamps.direction[k]
    half = safe_normalize(v + direction[None, None])
    alpha = jnp.clip(rough**2 + 0.3 * lamps.width[k], 0.02, 1.0)
    towards = jnp.maximum(n @ direction, 0.0)[..., None]
    aligned = jnp.clip(jnp.sum(n * half, axis=-1, keepdims=True), 0.0, 1.0)
    spread = alpha**2 / (aligned**2 * (alpha**2 - 1.0) + 1.0) ** 2
    dim = alpha / 2
    hidden = 0.25 / ((towards * (1 - dim) + dim) * (facing * (1 - dim) + dim))
    tilt = jnp.clip(jnp.sum(v * half, axis=-1, keepdims=True), 0.0, 1.0)
    return towards * spread * hidden * (base + (1.0 - base) * (1.0 - tilt) ** 5)


def _shadow(key: Key[Array, ""], staged: Staged, n: Float[Array, "S S 3"], lamps: _Lamps) -> Float[Array, "S S"]:
    """How much of the first lamp each pixel sees: looks into its depth map within a disc as wide as the penumbra."""
    sun, studio = staged.studio.sun, staged.studio
    assert sun is not None
    depth = jnp.where(jnp.isfinite(staged.scene.depth), staged.scene.depth, 1e6)
    view = studio.view()
    point = -view / view[..., 2:3] * depth[..., None]  # camera space
    turn = quaternion_to_matrix(sun.pose.rotation) @ quaternion_to_matrix(staged.params.pose.rotation).T
    there = (point - staged.params.pose.translation[None, None]) @ turn.T
    scale = SUN_SIDE / SUN_SPAN
    x, y, away = SUN_SIDE / 2 + scale * there[..., 0], SUN_SIDE / 2 - scale * there[..., 1], SUN_AWAY - there[..., 2]
    cosine = jnp.clip(n @ lamps.direction[0], 0.1, 1.0)
    slack = _BIAS + 3.0 * jnp.sqrt(1.0 - cosine**2) / cosine
    reach = scale * jnp.clip(1.5 + 40.0 * jnp.tan(0.5 * lamps.width[0]), 1.5, 14.0)  # pixels of the lamp's map
    steps = np.arange(_TAPS)
    turned = steps * 2.399963 + 6.28 * uniform(key)
    flat = staged.scene.sunlit.reshape(-1)
    total = jnp.zeros(away.shape)
    for radius, angle in zip(np.sqrt((steps + 0.5) / _TAPS), turned, strict=True):
        column = jnp.clip(x + reach * radius * jnp.cos(angle), 0, SUN_SIDE - 1).astype(jnp.int32)
        row = jnp.clip(y + reach * radius * jnp.sin(angle), 0, SUN_SIDE - 1).astype(jnp.int32)
        free = away <= flat[row * SUN_SIDE + column] + slack + reach * radius / scale
        total = total + free.astype(total.dtype)
    return total / _TAPS


def _expose(key: Key[Array, ""], linear: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """An exposure between none and a camera's, which makes all pictures equally bright; and a little white balance."""
    keys = jax.random.split(key, 3)
    level = jnp.mean(luminance(linear))
    target = jnp.exp(0.35 * normal(keys[0]) - 1.6)
    gain = (target / jnp.maximum(level, 1e-3)) ** uniform(keys[1], (), 0.0, 1.0)
    mean = jnp.mean(linear, axis=(0, 1))
    balance = (luminance(mean) / jnp.maximum(mean, 1e-3)) ** uniform(keys[2], (), 0.0, 0.7)
    return linear * gain * balance[None, None]
