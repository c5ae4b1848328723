"""Texels that no photograph shows, completed by a generator of textures, after the idea of OSTeC.

Gecer, Deng and Zafeiriou, "OSTeC: One-Shot Texture Completion", CVPR 2021: turn the fitted head, let a generator
complete each picture of it, and put the completed pixels into the texture where that view sees the head best.

- `turn_and_complete` is that loop, for any function that completes a picture;
- `by_generator` makes such a function from a texture generator, which it views on the turned head;
- `complete_by_generator` fits the whole map at once: a generator in texture space needs no views. The turned head then
  only says how much each texel counts (`seen_when_turned`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from facejax.camera import PerspectiveCamera, Pose, axis_angle_to_quaternion, quaternion_to_matrix
from facejax.face_model import AlbedoModel, FaceModel, FaceParams, decode
from facejax.lighting import linear_to_srgb, srgb_to_linear, uniform_light
from facejax.programs import jit
from facejax.programs.promotion import standard_promotion
from facejax.rendering import render, sample_texture
from facejax.unwrap.masks import box_blur, erode, scaled_kernel
from facejax.unwrap.pyramid import LEVELS, double, gaussian_pyramid, pyramid_blend
from facejax.unwrap.texels import Texels
from facejax.unwrap.views import unwrap_view

YAWS = (0.0, 30.0, -30.0, 60.0, -60.0, 90.0, -90.0)  # degrees, in order: later views know what earlier views completed
SIDE = 512  # pixels of a view
FILLS, AWAY = 0.8, 8.0  # share of the view that the head fills; distance of the camera in radii of the head
SEAM = 15  # texels of a 1024 map over which known texels blend into completed ones
SURE = 0.99  # share of a lookup's footprint that must be known, or must lie on the head
ENOUGH = 0.01  # share of a view that must be known before its colours are matched to the known ones
ROBUST = 0.05  # display values; larger differences count linearly
RATE, STEPS, PRIOR = 0.05, 150, 1e-2  # of the search for coefficients: Adam's rate and steps, weight of the prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TurnedView:
    """A picture of the turned head under even light, and which of its pixels are known."""

    image: Float[Array, "P P 3"]  # display values; 0 where nothing is known
    known: Float[Array, "P P"]  # 1 where the picture may be relied on
    head: Float[Array, "P P"]  # 1 where the head is
    uv: Float[Array, "P P 2"]  # of the surface at each pixel, for `sample_texture`


CompleteView = Callable[[TurnedView], Float[Array, "P P 3"]]


class Turned(NamedTuple):
    """A completed texture, and the source of each texel."""

    texture: Float[Array, "S S 3"]  # display values in [0, 1]
    source: Int[Array, "S S"]  # 0: the given texture; k: the k-th view, from 1, or the generator; -1: nothing


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Patchwork:
    """What the views completed so far, also over given texels: there the seam is blended with it."""

    texture: Float[Array, "S S 3"]
    facing: Float[Array, "S S"]  # of the view that completed a texel: cosine of normal and line of sight
    view: Int[Array, "S S"]  # from 1; -1 where none has


def turn_and_complete(
    model: FaceModel,
    params: FaceParams,
    texture: Float[Array, "S S 3"],
    known: Float[Array, "S S"],
    texels: Texels,
    complete_view: CompleteView,
    *,
    yaws: Sequence[float] = YAWS,
    side: int = SIDE,
) -> Turned:
    """OSTeC's loop: for each yaw draw the head, complete its picture, and put the new pixels into the texture.

    Later views know what earlier ones completed, and replace it where they face the surface more directly. Given texels
    stay, except for blending at the seam. Texels that no view sees (in the mouth, under the neck) keep their values.

    Args:
      model: the face model.
      params: the face; only identity and expression are used.
      texture: evenly lit display values (S, S, 3) in the model's layout.
      known: (S, S), 1 where `texture` is given.
      texels: of the same layout and size, from `mesh_texels`.
      complete_view: view to completed picture of the same size. It is called on the host, once per view, so it may run
        anything. Its colours are matched to those of the known pixels.
      yaws: the views, degrees.
      side: pixels per side of a view.

    Returns:
      The completed texture.

    Raises ValueError where a picture comes back in another size.
    """
    given = jnp.where(known > 0.5, 1.0, 0.0)
    patchwork = _Patchwork(texture, jnp.zeros_like(given), jnp.full(given.shape, -1))
    for number, yaw in enumerate(yaws, start=1):
        turned, view = _look(model, params, texture, given, patchwork, float(yaw), side=side)
        completed = jnp.asarray(complete_view(view))
        if completed.shape != view.image.shape:
            raise ValueError(f"a view of {view.image.shape} came back as {completed.shape}: keep its size")
        patchwork = _take(model, turned, texture, given, patchwork, texels, completed, view.head, number)
    return Turned(stitch(texture, given, patchwork.texture), jnp.where(given > 0, 0, patchwork.view))


def complete_by_generator(
    decoder: AlbedoModel,
    texture: Float[Array, "S S 3"],
    known: Float[Array, "S S"],
    *,
    weight: Float[Array, "S S"] | None = None,
    match: bool = True,
    steps: int = STEPS,
    rate: float | Float[Array, ""] = RATE,
    prior: float | Float[Array, ""] = PRIOR,
) -> Turned:
    """Find the generator's map that best explains the known texels, and fill the unknown ones from it.

    For jit with `steps` static, and vmap over textures.

    Args:
      decoder: makes maps of the texture's layout, of any size.
      texture: display values (S, S, 3).
      known: (S, S), 1 where `texture` may be relied on.
      weight: how much each known texel counts, such as `seen_when_turned`.
      match: ignore the texture's exposure and tint, which are a photograph's and not an albedo's.
      steps, rate: of Adam.
      prior: weight of the coefficients' mean square.

    Returns:
      The completed texture; its `source` is 0 where the texture was given, else 1.

    Raises ValueError for a decoder of vertex colours.
    """
    given = jnp.where(known > 0.5, 1.0, 0.0)
    weight = given if weight is None else given * weight
    zeros = {name: jnp.zeros(sides, texture.dtype) for name, sides in decoder.blocks.items()}
    shape = jax.eval_shape(decoder.decode, zeros).shape
    if len(shape) != 3:
        raise ValueError(f"a decoder of shape {shape}: give one that makes maps (T, T, 3)")
    target, weight = _resized(texture, given, weight, shape[0])
    mean = decoder.decode(zeros)
    target = expose(target, exposure(target, mean, weight)) if match else target

    def misfit(made: Float[Array, "T T 3"]) -> Float[Array, ""]:
        return _robust_mean(made - target, weight)

    start = decoder.encode(jnp.where(weight[..., None] > 0, target, mean))
    found = search(decoder, misfit, start, steps=steps, rate=rate, prior=prior)
    made = jax.image.resize(decoder.decode(found), texture.shape, "cubic")
    made = expose(made, exposure(made, texture, given))
    return Turned(stitch(texture, given, made), jnp.where(given > 0, 0, 1))


def by_generator(
    decoder: AlbedoModel,
    *,
    match: bool = True,
    steps: int = STEPS,
    rate: float | Float[Array, ""] = RATE,
    prior: float | Float[Array, ""] = PRIOR,
) -> CompleteView:
    """A function that completes a view: it finds the generator's map that best explains the view's known pixels.

    Args:
      decoder: makes maps of the model's layout.
      match: as in `complete_by_generator`.
      steps, rate: of Adam.
      prior: weight of the coefficients' mean square.

    Returns:
      A function for `turn_and_complete`.
    """

    @jit
    def explain(decoder: AlbedoModel, view: TurnedView) -> Float[Array, "P P 3"]:
        mean = decoder.decode({name: jnp.zeros(sides) for name, sides in decoder.blocks.items()})
        gain = exposure(view.image, sample_texture(mean, view.uv), view.known)
        target = expose(view.image, gain) if match else view.image

        def misfit(made: Float[Array, "T T 3"]) -> Float[Array, ""]:
            return _robust_mean(sample_texture(made, view.uv) - target, view.known)

        found = search(decoder, misfit, decoder.encode(mean), steps=steps, rate=rate, prior=prior)
        return sample_texture(decoder.decode(found), view.uv) * view.head[..., None]

    return partial(explain, decoder)


def search(
    decoder: AlbedoModel,
    misfit: Callable[[Float[Array, "T T 3"]], Float[Array, ""]],
    start: dict[str, Array],
    *,
    steps: int = STEPS,
    rate: float | Float[Array, ""] = RATE,
    prior: float | Float[Array, ""] = PRIOR,
) -> dict[str, Array]:
    """Minimise `misfit` of the decoded map plus `prior` times the mean square of the blocks' numbers, by Adam.

    Args:
      decoder: blocks to maps.
      misfit: map to error.
      start: blocks to start from.
      steps, rate: of Adam.
      prior: weight of the mean square.

    Returns:
      The blocks found.
    """
    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def cost(blocks: dict[str, Array]) -> Float[Array, ""]:
        numbers = jnp.concatenate([block.reshape(-1) for block in blocks.values()])
        return misfit(decoder.decode(blocks)) + prior * jnp.mean(numbers**2)

    def step(state, _):
        blocks, moments = state
        update, moments = standard_promotion(adam.update)(jax.grad(cost)(blocks), moments)
        return (jax.tree.map(jnp.add, blocks, update), moments), None

    (found, _), _ = jax.lax.scan(step, (start, adam.init(start)), length=steps)
    return found


def stitch(
    texture: Float[Array, "S S 3"], known: Float[Array, "S S"], completed: Float[Array, "S S 3"]
) -> Float[Array, "S S 3"]:
    """`texture` where `known` is 1, `completed` elsewhere, blended band by band across the edge.

    First the texture is extended beyond its edge: by the completed map, plus the colour difference found nearby.
    """
    kernel = scaled_kernel(SEAM, len(known), least=3)
    weight = known * box_blur(erode(known, kernel), kernel)
    levels = min(LEVELS, (len(known) & -len(known)).bit_length() - 1)
    beyond = completed + carry_on((texture - completed) * known[..., None], known, levels)
    given = jnp.where(known[..., None] > 0, texture, beyond)
    return jnp.clip(pyramid_blend(completed, given, weight, levels), 0.0, 1.0)


def carry_on(values: Float[Array, "S S 3"], known: Float[Array, "S S"], levels: int) -> Float[Array, "S S 3"]:
    """Extend values smoothly from where they are known into the rest, fading out within about 2^levels texels.

    Each coarser level averages the known values around; what is unknown at one level comes from the next coarser one.
    """
    pyramid = gaussian_pyramid(jnp.concatenate([values, known[..., None]], axis=-1), levels)
    filled = pyramid[-1][..., :3]
    for level in reversed(pyramid[:-1]):
        share = level[..., 3:]
        filled = level[..., :3] + (1 - share) * double(filled)  # mean of the known values, weighted by their share
    return filled


def exposure(
    source: Float[Array, "H W 3"], target: Float[Array, "H W 3"], known: Float[Array, "H W"]
) -> Float[Array, " 3"]:
    """The gain of each channel, in linear light, that takes one map's mean to another's: exposure and white balance.

    Unlike matching contrasts, it cannot make eyes or lips garish where the known skin is unevenly lit.
    """
    means = [jnp.einsum("hw,hwc->c", known, srgb_to_linear(jnp.clip(x, 0.0, 1.0))) for x in (target, source)]
    return jnp.where(means[0] * means[1] > 0, means[0] / jnp.maximum(means[1], 1e-6), 1.0)


def expose(texture: Float[Array, "H W 3"], gain: Float[Array, " 3"]) -> Float[Array, "H W 3"]:
    """Display values after a gain in linear light."""
    return linear_to_srgb(gain[None, None] * srgb_to_linear(texture))


def seen_when_turned(
    model: FaceModel, params: FaceParams, texels: Texels, *, yaws: Sequence[float] = YAWS, side: int = SIDE
) -> Float[Array, "S S"]:
    """How visible each texel is in the views of the turned head: the mean cosine between normal and line of sight.

    Args:
      model: the face model.
      params: the face; only identity and expression are used.
      texels: of the layout, from `mesh_texels`.
      yaws: the views, degrees.
      side: pixels per side of a view.

    Returns:
      Weights (S, S) in [0, 1].
    """

    def one(yaw: Float[Array, ""]) -> Float[Array, "S S"]:
        view = unwrap_view(model, turn(model, params, yaw, side=side), jnp.zeros((side, side, 3)), texels)
        return view.facing * view.valid

    return jnp.mean(jax.lax.map(one, jnp.asarray(yaws, jnp.float32)), axis=0)


def turn(model: FaceModel, params: FaceParams, yaw: float | Float[Array, ""], *, side: int = SIDE) -> FaceParams:
    """The face, evenly lit and turned by `yaw` degrees about its middle, with a camera that frames it.

    Args:
      model: the face model.
      params: the face; only identity and expression are used.
      yaw: degrees.
      side: pixels per side of the view.

    Returns:
      The parameters, with the camera of a picture of `side` pixels.
    """
    vertices = decode(model, params)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    radius = 0.5 * jnp.linalg.norm(high - low)
    zero = jnp.zeros(())
    rotation = axis_angle_to_quaternion(jnp.stack([zero, jnp.deg2rad(jnp.asarray(yaw, vertices.dtype)), zero]))
    middle = (low + high) / 2 @ quaternion_to_matrix(rotation).T
    translation = jnp.stack([zero, zero, -AWAY * radius]) - middle
    camera = PerspectiveCamera(jnp.asarray(0.5 * side * FILLS * AWAY), jnp.full(2, 0.5 * side))
    return replace(params, pose=Pose(rotation, translation), camera=camera, light=uniform_light())


@partial(jit, static_argnames="side")
def _look(
    model: FaceModel,
    params: FaceParams,
    texture: Float[Array, "S S 3"],
    given: Float[Array, "S S"],
    patchwork: _Patchwork,
    yaw: float | Float[Array, ""],
    *,
    side: int,
) -> tuple[FaceParams, TurnedView]:
    """Draw the turned head with what was given and what earlier views completed."""
    known = jnp.where(patchwork.facing > 0, 1.0, given)
    current = jnp.where(given[..., None] > 0, texture, patchwork.texture)
    turned = turn(model, params, yaw, side=side)
    bare = render(model, turned, size=(side, side), texture=current, edges=False)
    head = (bare.triangle >= 0).astype(current.dtype)
    seen = sample_texture(jnp.concatenate([current * known[..., None], known[..., None]], axis=-1), bare.uv)
    sure = jnp.where(seen[..., 3] > SURE, head, 0.0)
    return turned, TurnedView(sure[..., None] * seen[..., :3], sure, head, bare.uv)


@jit
def _take(
    model: FaceModel,
    turned: FaceParams,
    texture: Float[Array, "S S 3"],
    given: Float[Array, "S S"],
    patchwork: _Patchwork,
    texels: Texels,
    completed: Float[Array, "P P 3"],
    head: Float[Array, "P P"],
    number: int | Int[Array, ""],
) -> _Patchwork:
    """Unwrap the completed picture, and keep it where it faces the surface more directly than earlier views."""
    view = unwrap_view(model, turned, completed, texels, parsing=head)
    current = jnp.where(given[..., None] > 0, texture, patchwork.texture)
    seen = jnp.where(view.valid > SURE, 1.0, 0.0)  # no background in the footprint
    common = seen * jnp.where(patchwork.facing > 0, 1.0, given)
    enough = jnp.sum(common) > ENOUGH * jnp.sum(seen)
    colors = expose(view.color, exposure(view.color, current, jnp.where(enough, common, 0.0)))
    better = (seen > 0) & (view.facing > patchwork.facing)
    return _Patchwork(
        jnp.where(better[..., None], colors, patchwork.texture),
        jnp.where(better, view.facing, patchwork.facing),
        jnp.where(better, number, patchwork.view),
    )


def _resized(
    texture: Float[Array, "S S 3"], known: Float[Array, "S S"], weight: Float[Array, "S S"], side: int
) -> tuple[Float[Array, "T T 3"], Float[Array, "T T"]]:
    """Known colours and their weight at another size; the colours of unknown texels do not bleed in."""
    stacked = jnp.concatenate([texture * known[..., None], known[..., None], weight[..., None]], axis=-1)
    small = jax.image.resize(stacked, (side, side, 5), "linear")
    color, share = small[..., :3], small[..., 3]
    return color / jnp.maximum(share, 1e-3)[..., None], jnp.where(share > 0.5, small[..., 4], 0.0)


def _robust_mean(difference: Float[Array, "H W 3"], weight: Float[Array, "H W"]) -> Float[Array, ""]:
    """Weighted mean of Charbonnier's penalty: the square where differences are small, about the absolute value where
    large.
    """
    each = jnp.sqrt(difference**2 + ROBUST**2).sum(axis=-1) - 3 * ROBUST
    return jnp.sum(weight * each) / jnp.maximum(jnp.sum(weight), 1e-6)
