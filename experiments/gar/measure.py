"""Do normals alone determine where everything is, and codes who it is? Measured on held-out geometries and codes.

Pictures are generated in pairs of pairs (`facejax.objectives.pairing`), with codes estimated from held-out pictures and
with random ones. The shipped regressor measures their landmarks, and a network that tells people apart their persons:
use one that the generator was not trained with.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from facejax.generative_renderer import GenerativeRenderer, guess_latents, paint, shrink_normals, to_ws
from facejax.nets.stylegan2 import apply_mapping, to_layers
from facejax.objectives import pairing
from facejax.programs import jit
from facejax.regression.regressor import Regressor
from gar import training
from gar.data import Pictures, take
from gar.training import PairGeometry

BATCH = 16


class Disentanglement(NamedTuple):
    landmarks: float  # mean distance of landmarks between two pictures of one geometry, % of the face's size
    truth: float  # mean distance of landmarks from those of the geometry, % of the face's size
    same: float  # distance of the persons (unit vectors) between one code on two heads of one shape
    other: float  # the same between two codes on the same two heads

    @property
    def ratio(self) -> float:
        """1: a code says nothing of the person; 0: everything."""
        return self.same / self.other


def measure(
    gar: GenerativeRenderer,
    regressor: Regressor,
    recogniser: Any,
    pictures: Pictures,
    *,
    codes: str = "encoded",
    seed: int = 0,
) -> Disentanglement:
    """Measure all of `pictures`, in batches of 16.

    Args:
      gar: the generative renderer.
      regressor: finds landmarks.
      recogniser: tells people apart.
      pictures: held out.
      codes: "encoded" (from the pictures) or "random".
      seed: of random codes and pairs.

    Returns:
      The four numbers.
    """
    rows = np.random.default_rng(seed).permutation(len(pictures.image))
    encoded = codes == "encoded"
    run = jit(lambda gar, a, b, batch, key: _look_at_pairs(gar, a, b, batch, key, encoded=encoded))
    found = []
    for number in range(len(rows) // BATCH):
        batch = take(pictures, rows[number * BATCH : (number + 1) * BATCH])
        found.append(jax.device_get(run(gar, regressor, recogniser, batch, jax.random.key(number))))
    return Disentanglement(*(float(np.mean([one[k] for one in found])) for k in range(4)))


def _look_at_pairs(gar, regressor: Regressor, recogniser, batch: Pictures, key, *, encoded: bool) -> tuple[Array, ...]:
    config, pairs = gar.config, pairing(BATCH)
    geometry = training.pair_geometry(BATCH, config.side, regressor.model, batch.params)
    if encoded:
        images = training.from_bytes(batch.image)[BATCH // 2 :]
        ws = to_ws(config, gar.weights, guess_latents(config, gar.weights, images))
    else:
        z = jax.random.normal(key, (BATCH // 2, config.generator.latent))
        ws = to_layers(config.generator, apply_mapping(config.generator, gar.weights.generator, z))
    made = paint(config, gar.weights, ws[pairs.code], shrink_normals(geometry.normals))
    points = training.look(regressor, made, geometry.points).landmarks
    return compare(points, training.look_at_people(recogniser, made, geometry.points), geometry, regressor)


def compare(seen: Array, person: Array, geometry: PairGeometry, regressor: Regressor) -> tuple[Array, ...]:
    """The four numbers of `Disentanglement` for one batch.

    Args:
      seen: landmarks found in the pictures.
      person: unit vectors.
      geometry: of the batch.
      regressor: that found the landmarks.
    """
    low, high = geometry.points.min(axis=1), geometry.points.max(axis=1)
    side = regressor.config.margin * jnp.max(high - low, axis=1)
    size = jnp.sqrt(jnp.prod(high - low, axis=1)) / (side / 2)  # of the face, half sides of the crop
    wanted = (geometry.points - ((low + high) / 2)[:, None]) / (side / 2)[:, None, None]
    apart = jnp.linalg.norm(seen[0::2] - seen[1::2], axis=-1).mean(axis=1) / size[0::2]
    astray = jnp.linalg.norm(seen - wanted, axis=-1).mean(axis=1) / size
    half = len(person) // 2
    first, second = person[:half], person[half:]
    neighbour = jnp.arange(half) ^ 1  # the other code on the same geometry
    same, other = (jnp.linalg.norm(first - x, axis=-1).mean() for x in (second, second[neighbour]))
    return 100 * apart.mean(), 100 * astray.mean(), same, other


def table(found: dict[str, dict[str, list[Disentanglement]]]) -> str:
    """The table of runs by name, with kinds of codes, averaged over seeds."""
    head = ["run", "codes", "same normals: landmarks apart, %", "from the geometry's, %", "same code: persons apart"]
    lines = [f"| {' | '.join([*head, 'as a share of other codes'])} |", "|" + "---|" * 6]
    for name, kinds in found.items():
        for kind, several in kinds.items():
            columns = [[one.landmarks for one in several], [one.truth for one in several]]
            cells = [f"{np.mean(c):.2f} ± {np.std(c):.2f}" for c in columns]
            columns = [[one.same for one in several], [one.ratio for one in several]]
            cells += [f"{np.mean(c):.3f} ± {np.std(c):.3f}" for c in columns]
            lines.append(f"| {name} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
