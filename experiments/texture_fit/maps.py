"""Maps that were not trained on, reconstructed as well as possible by a decoder or by the linear albedo."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, UInt8
from texture_gan.data import read_maps, reduce
from texture_set.shards import TextureSet

from facejax.face_model import FaceModel, LinearAlbedo
from facejax.fitting import FeatureNetwork, Stage
from facejax.fitting.stages import schedule
from facejax.objectives import psnr
from facejax.programs import jit
from facejax.programs.promotion import standard_promotion
from facejax.texture import TextureDecoder

PERCEPTUAL = 0.01  # weight of the feature distance relative to the mean squared difference
STAGE = Stage(
    name="map", steps=200, rates=(("latents", 0.1),), weights=(), rampdown=0.25, floor=0.0, betas=(0.9, 0.999)
)
"""The pace of FFHQ-UV's texture stage, twice as long."""


class MapFit(NamedTuple):
    maps: Float[Array, "*N R R 3"]  # display values
    losses: Float[Array, "*N T"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MapView:
    """What a network sees of a map: a square of it, at one size, as if it were a picture of a face."""

    network: FeatureNetwork
    box: tuple[float, float, float] = field(metadata={"static": True})  # top, left, side; shares of the map's side
    size: int = field(metadata={"static": True})  # pixels

    def features(self, texture: Float[Array, "R R 3"]) -> Any:
        top, left, side = (round(share * texture.shape[0]) for share in self.box)
        square = texture[top : top + side, left : left + side]
        picture = jax.image.resize(square, (self.size, self.size, 3), "linear")  # antialiased
        return self.network.apply(self.network.weights, picture, jnp.zeros((68, 2)))

    def distance(self, texture: Float[Array, "R R 3"], features: Any) -> Float[Array, ""]:
        return self.network.compare(self.features(texture), features, jnp.ones((self.size, self.size)))


def held_out_maps(folder: Path, count: int, size: int) -> tuple[UInt8[np.ndarray, "N R R 3"], int]:
    """The last maps of a folder at `size` texels, and how many came before them."""
    if (Path(folder) / "set.json").is_file():
        maps = TextureSet(folder)
        total = len(maps)
        if maps.plan.size % size:
            raise ValueError(f"{folder}: maps of {maps.plan.size} texels do not reduce to the decoder's {size}")
        if 0 < count < total:
            return reduce(maps.take(np.arange(total - count, total)), size), total - count
    else:
        maps = read_maps(folder, size)
        total = len(maps)
        if 0 < count < total:
            return maps[-count:], total - count
    raise ValueError(f"--count {count}: {folder} holds {total} maps, and training needs some of them")


def face_box(model: FaceModel) -> tuple[float, float, float]:
    """The square around the face in the UV layout: top, left, side; shares of the map's side."""
    region = np.asarray(model.regions["face_inner" if "face_inner" in model.regions else "face"])
    inside = (region[np.asarray(model.faces)] > 0.5).all(axis=1)
    uv = np.asarray(model.uv, np.float64)[np.asarray(model.topology.uv_faces)[inside]].reshape(-1, 2)
    places = np.stack([1.0 - uv[:, 1], uv[:, 0]], axis=1)  # down, right
    side = min(float(np.ptp(places, axis=0).max()), 1.0)
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    top, left = np.clip(middle - side / 2, 0.0, 1.0 - side)
    return float(top), float(left), side


def fit_map(
    decoder: TextureDecoder,
    target: Float[Array, "R R 3"],
    mask: Bool[Array, "R R"],
    view: MapView | None,
    *,
    stage: Stage = STAGE,
    weight: float = PERCEPTUAL,
) -> MapFit:
    """Fit the coefficients of one map, from zero (the mean map), by Adam.

    The loss is the mean squared difference of display values under the mask, plus `weight` times the distance in
    `view`.

    Args:
      decoder: makes the maps.
      target: the map.
      mask: texels that count.
      view: of a network; None: without that distance.
      stage: steps, rates and decays of Adam.
      weight: of the distance.
    """
    rate, pace, adam = dict(stage.rates)["latents"], schedule(stage), optax.scale_by_adam(*stage.betas)
    wanted = None if view is None else view.features(target)
    share = mask[..., None].astype(target.dtype) / (3.0 * jnp.maximum(jnp.sum(mask, dtype=target.dtype), 1))

    def loss(x: Float[Array, "L W"]) -> Float[Array, ""]:
        made = decoder.decode({"latents": x})
        value = jnp.sum((made - target) ** 2 * share)
        return value if view is None else value + weight * view.distance(made, wanted)

    def step(carry, index):
        x, state = carry
        value, gradient = jax.value_and_grad(loss)(x)
        direction, state = standard_promotion(adam.update)(gradient, state)
        return (x - pace(index) * rate * jnp.asarray(direction), state), value

    start = jnp.zeros(decoder.blocks["latents"])
    (x, _), losses = jax.lax.scan(step, (start, adam.init(start)), jnp.arange(stage.steps))
    return MapFit(decoder.decode({"latents": x}), losses)


def project_map(albedo: LinearAlbedo, target: Float[Array, "R R 3"], mask: Bool[Array, "R R"]) -> Float[Array, "R R 3"]:
    """The closest map of the linear model under the mask, by least squares at its own size; one map."""
    side, own = target.shape[0], albedo.mean.shape[0]
    resize = lambda image, size: jax.image.resize(image, (size, size, 3), "linear")  # noqa: E731
    keep = jax.image.resize(mask.astype(jnp.float32), (own, own), "linear")[..., None] > 0.99
    basis = (jnp.where(keep, albedo.basis, 0.0)).reshape(albedo.count, -1) * albedo.std[:, None]
    misfit = jnp.where(keep, resize(target, own) - albedo.mean, 0.0).reshape(-1)
    gram = basis @ basis.T
    ridge = 1e-6 * jnp.trace(gram) * jnp.eye(albedo.count)
    return resize(albedo.decode({"albedo": jnp.linalg.solve(gram + ridge, basis @ misfit)}), side)


def compile_map_fit(*, steps: int, weight: float):
    """`fit_map` for a batch of targets: (decoder, targets, mask, view) -> MapFit."""
    one = partial(fit_map, stage=replace(STAGE, steps=steps), weight=weight)
    return jit(lambda decoder, targets, mask, view: jax.vmap(lambda target: one(decoder, target, mask, view))(targets))


project_maps = jit(
    lambda albedo, targets, mask: jax.vmap(lambda target: project_map(albedo, target, mask))(targets),
)


@jit
def compare_maps(
    made: Float[Array, "N R R 3"],
    targets: Float[Array, "N R R 3"],
    mask: Bool[Array, "R R"],
    views: tuple[MapView, ...],
) -> tuple[Float[Array, " N"], Float[Array, "N V"]]:
    """PSNR (dB) under the mask, and the distance in each view.

    Args:
      made: reconstructed maps.
      targets: the maps.
      mask: texels that count.
      views: of networks.
    """

    def one(texture, target):
        shown = jnp.clip(texture, 0.0, 1.0)
        seen = [view.distance(shown, view.features(target)) for view in views]
        return psnr(shown, target, mask.astype(jnp.float32)), jnp.array(seen)

    return jax.vmap(one)(made, targets)
