"""What the skin translator is told of one photograph: maps in the layout of the face, and numbers about the picture."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import to_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.fitting.light import ridge_light
from facejax.kernels import gather_rows
from facejax.lighting import linear_to_srgb, luminance, sh_basis, srgb_to_linear
from facejax.mesh import safe_normalize, vertex_normals
from facejax.regression.dense import DenseSight
from facejax.skin.eye_colors import WHITES
from facejax.synthetic.labels import CLASS
from facejax.synthetic.warp import resample
from facejax.unwrap import Texels, View

ROUNDS = 3  # of reweighting
STEP = 4  # every so many texels along each axis are enough to find the light
RIDGE = np.array([1e-3, *[1e-2] * 3, *[5e-2] * 5], np.float32)  # a share of the mean diagonal, per coefficient
USUAL = 0.3  # linear value that the mean has in the network's maps
FLOOR = 0.25  # shading is divided out down to this share of its mean
OF_SCENE = ("skin", "hair", "background", "clothes", "eyes", "inner mouth", "lips", "headwear")
PICTURE = 4 * len(OF_SCENE) + 3  # numbers about the picture
SCENE = PICTURE + 3  # with the mean colour of the texture
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
ROWS, COLUMNS = np.linspace(0.15, 0.72, 5), np.linspace(0.16, 0.84, 4)  # of the cells of a face, shares of the layout
CELLS = (len(ROWS) - 1) * (len(COLUMNS) - 1)
FACTS = PICTURE + WHITES + 3 * (1 + len(QUANTILES)) + 2 + 4 * CELLS + 8  # numbers from which the tone follows
CHANNELS = 18  # numbers of a texel


class SkinSight(NamedTuple):
    """One face; leaves may carry leading batch axes."""

    maps: Float[Array, "*B S S C"]
    scene: Float[Array, "*B J"]
    facts: Float[Array, "*B K"]  # see `tone_facts`
    relative: Float[Array, "*B S S 3"]  # linear, over its mean: the photograph without the light of nine harmonics
    seen: Float[Array, "*B S S"]  # how much of each texel the photograph shows of the person's own surface


def skin_sight(
    color: Float[Array, "S S 3"],
    seen: Float[Array, "S S"],
    normal: Float[Array, "S S 3"],
    picture: Float[Array, " I"],
    whites: Float[Array, " W"],
    mean_albedo: Float[Array, "S S 3"],
    texels: Texels,
) -> SkinSight:
    """Put together what is known; one face.

    The light is solved for here, from the texture itself and the mean albedo, so that the answer is the same whatever
    recipe fitted the face: ridge regression of nine harmonics, in which texels far from the last solution count less.
    Only its variation is divided out.

    Args:
      color: the photograph in the layout, display values.
      seen: how much of each texel it shows of the person's own surface.
      normal: of the fitted face at the texels, camera space.
      picture: of `describe_scene`.
      whites: the whites of `facejax.skin.eye_colors.eye_colors`, as one row.
      mean_albedo: of the model, display values.
      texels: of the layout.
    """
    light = _light(color, seen, normal, mean_albedo)
    even = srgb_to_linear(color) / jnp.maximum(_shading(light, seen, normal), FLOOR)
    total = jnp.einsum("hw,hwc->c", seen, even) + 1e-3
    mean = total / (jnp.sum(seen) + 1e-2)
    relative = even / jnp.maximum(mean, 0.003)[None, None] * seen[..., None]
    even = linear_to_srgb(jnp.clip(USUAL * relative, 0.0, 1.0))
    scene = jnp.concatenate([picture, jnp.log(mean + 0.003)])
    facts = tone_facts(color, seen, normal, picture, whites, light)
    color = color * seen[..., None]
    side = color.shape[0]
    line = (jnp.arange(side, dtype=color.dtype) + 0.5) / side * 2 - 1
    u, v = jnp.broadcast_to(line[None], (side, side)), jnp.broadcast_to(line[:, None], (side, side))
    other, other_seen = even[:, ::-1], seen[:, ::-1]
    planes = [color, seen[..., None], normal, even, other, other_seen[..., None], u[..., None], v[..., None]]
    planes += [jnp.abs(u)[..., None], texels.covered[..., None].astype(color.dtype)]
    return SkinSight(jnp.concatenate(planes, axis=-1), scene, facts, relative, seen)


def _light(
    color: Float[Array, "S S 3"],
    seen: Float[Array, "S S"],
    normal: Float[Array, "S S 3"],
    albedo: Float[Array, "S S 3"],
) -> Float[Array, "9 3"]:
    """The light by nine harmonics, as if the skin were the mean albedo."""
    some = (slice(None, None, STEP), slice(None, None, STEP))
    basis = sh_basis(normal[some]).reshape(-1, 9)
    base, target = (srgb_to_linear(jnp.clip(x[some], 0.0, 1.0)).reshape(-1, 3) for x in (albedo, color))
    clear = (jnp.max(color[some], axis=-1) < 0.98).astype(color.dtype)
    share = (seen[some] * clear).reshape(-1)

    solve = partial(ridge_light, basis, base, target, ridge=jnp.asarray(RIDGE, base.dtype))
    weight = share
    light = solve(weight=weight)
    for _ in range(ROUNDS):
        apart = jnp.linalg.norm(base * (basis @ light) - target, axis=-1)
        usual = jnp.sum(apart * share) / jnp.maximum(jnp.sum(share), 1.0)
        weight = share / (1.0 + (apart / jnp.maximum(usual, 1e-3)) ** 2)
        light = solve(weight=weight)
    return light


def _shading(
    light: Float[Array, "9 3"], seen: Float[Array, "S S"], normal: Float[Array, "S S 3"]
) -> Float[Array, "S S 3"]:
    """What the light makes of a white head, in units of its own mean over what is seen."""
    shading = sh_basis(normal) @ light
    mean = jnp.einsum("hw,hwc->c", seen, shading) / jnp.maximum(jnp.sum(seen), 1.0)
    mean = mean[None, None]
    return jnp.where(mean > 1e-3, shading / jnp.maximum(mean, 1e-3), 1.0)


def tone_facts(
    color: Float[Array, "S S 3"],
    seen: Float[Array, "S S"],
    normal: Float[Array, "S S 3"],
    picture: Float[Array, " I"],
    whites: Float[Array, " W"],
    light: Float[Array, "9 3"],
) -> Float[Array, " K"]:
    """What the tone of a skin is told from, as one row of numbers.

    The description of the picture; the whites of the eyes; the mean and quantiles of the colours of the face's texels,
    as logarithms; how far the face that is seen is turned, and how much of it is seen; the mean log colour of cells of
    the face, and how much of each is seen; and how the light varies with the direction.

    Args:
      color, seen, normal, picture, whites: as for `skin_sight`.
      light: as if the skin were the mean albedo; only its shape counts.
    """
    some = (slice(None, None, STEP), slice(None, None, STEP))
    linear, share, depth = srgb_to_linear(color[some]), seen[some], normal[some][..., 2]
    count = jnp.sum(share) + 1e-2
    mean = jnp.einsum("hw,hwc->c", share, linear) / count
    known = jnp.where(share[..., None] > 0.5, linear, jnp.nan).reshape(-1, 3)
    levels = jnp.nanquantile(known, jnp.asarray(QUANTILES, known.dtype), axis=0).reshape(-1)
    logs = jnp.log(jnp.concatenate([mean, jnp.where(jnp.isfinite(levels), levels, 0.01)]) + 0.003)
    turned = jnp.stack([jnp.sum(depth * share) / count, jnp.sqrt(jnp.mean(share))])
    bright = luminance(light)
    shape = jnp.clip(bright[1:] / jnp.maximum(bright[0], 1e-3), -3.0, 3.0)
    return jnp.concatenate([picture, whites, logs, turned, _cells(linear, share), shape])


def _cells(linear: Float[Array, "s s 3"], share: Float[Array, "s s"]) -> Float[Array, " N"]:
    """The mean log colour of each cell of the face and how much of it is seen; zeros where nothing is."""
    side = len(share)
    rows, columns = (np.round(edges * side).astype(int) for edges in (ROWS, COLUMNS))
    found = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            part = (slice(top, bottom), slice(left, right))
            amount = jnp.mean(share[part])
            log = jnp.einsum("hw,hwc->c", share[part], jnp.log(linear[part] + 0.003)) / share[part].size
            found += [jnp.where(amount > 0.05, log / jnp.maximum(amount, 0.05), 0.0), amount[None]]
    return jnp.concatenate(found)


def median_color(color: Float[Array, "S S 3"], where: Float[Array, "S S"]) -> Float[Array, " 3"]:
    """The median of each channel over the texels where a mask is more than half, of every third row and column."""
    some = (slice(None, None, 3), slice(None, None, 3))
    known = jnp.where(where[some][..., None] > 0.5, color[some], jnp.nan)
    return jnp.nanquantile(known.reshape(-1, 3), jnp.asarray(0.5, color.dtype), axis=0)


def texel_normals(model: FaceModel, params: FaceParams, texels: Texels) -> Float[Array, "S S 3"]:
    """The normals of a fitted face at the texels, camera space; 0 off the layout."""
    vertices = to_camera(params.pose, decode(model, params))
    normals = vertex_normals(vertices, model.faces)
    corners = model.faces[texels.triangle.reshape(-1)]
    weights = texels.weights.reshape(-1, 3)
    mixed = jnp.asarray(sum(weights[:, k : k + 1] * gather_rows(normals, corners[:, k]) for k in range(3)))
    covered = texels.covered.reshape(-1, 1).astype(mixed.dtype)
    return (safe_normalize(mixed) * covered).reshape(*texels.covered.shape, 3)


def seen_texels(view: View) -> Float[Array, "S S"]:
    """How much of each texel a view shows of the person's own surface."""
    return view.valid if view.shown is None else view.valid * view.shown


def describe_scene(picture: Float[Array, "H W 3"], sight: DenseSight) -> Float[Array, " I"]:
    """Numbers that tell light from skin: mean log colour and share of what else is seen, and the picture's white.

    Of eyes and inner mouth the brighter part counts: sclera and teeth are nearly neutral.

    Args:
      picture: display values.
      sight: of the dense network.
    """
    size = sight.surface.shape[0]
    crop = resample(picture, sight.transform, size)
    linear = srgb_to_linear(jnp.clip(crop, 0.0, 1.0))
    log, bright = jnp.log(linear + 0.003), luminance(linear)
    rows = []
    for name in OF_SCENE:
        weight = sight.probability[..., CLASS[name]]
        weight = jnp.where(weight > 0.5, weight, 0.0)
        share = jnp.mean(weight)
        if name in ("eyes", "inner mouth"):
            weight = weight * jnp.exp(6.0 * jnp.minimum(bright, 1.0))
        mean = jnp.einsum("hw,hwc->c", weight, log) / (jnp.sum(weight) + 1e-3)
        rows += [jnp.where(share > 1e-4, mean, 0.0), jnp.sqrt(share)[None]]
    white = jnp.log(jnp.quantile(linear.reshape(-1, 3), 0.97, axis=0) + 0.003)
    return jnp.concatenate([*rows, white])
