"""Pictures in the wild with a few clicked points, and copies turned to larger yaws: 2DASL's second branch.

For reported results only: AFLW may neither be redistributed nor used to train anything that is shipped.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from regressor.pool import batch_rows

from facejax.atomic import atomic_path
from facejax.evaluation.aflw import SIDE, read_aflw
from facejax.face_model import FaceModel
from facejax.fitting import LINEAR, fit_landmarks
from facejax.objectives.eighteen import CENTRES
from facejax.programs import jit
from facejax.regression.regressor import Regressor, regress_crops
from facejax.regression.two_branch import WildExample
from facejax.synthetic.profiling import draw_turn, turn_photo

EIGHTEEN = tuple(k for k in range(21) if k not in (12, 16, 20))  # AFLW's 21 without ear lobes and chin: 2DASL's 18
ROOM = 24  # pixels added around a crop before its head is turned, since parts at the border cannot turn


def read_wild(folder: Path, *, limit: int | None = None) -> WildExample:
    """The crops of a folder as `facejax.evaluation.read_aflw` takes it, without those in AFLW2000-3D."""
    faces = read_aflw(folder)
    with np.load(folder / "aflw_crops_labels.npz", allow_pickle=False) as labels:
        known = labels["in_aflw2000"] if "in_aflw2000" in labels.files else np.zeros(len(labels["name"]), bool)
        benchmark = {str(name) for name in labels["name"][known]}
    faces = faces.rows(np.array([name not in benchmark for name in faces.names]))
    faces = faces.rows(np.arange(len(faces)) < (len(faces) if limit is None else limit))
    points = faces.points["21"][:, EIGHTEEN]
    inside = np.all((points > 0) & (points < SIDE), axis=-1)  # False where they are NaN
    images = np.stack([np.round(faces.read(row) * 255).astype(np.uint8) for row in range(len(faces))])
    return WildExample(
        image=images,
        points=np.where(inside[..., None], points, 0.0).astype(np.float32),
        visible=inside,
        box=faces.boxes.astype(np.float32),
        size=faces.sizes.astype(np.float32),
    )


def turn_wild(
    model: FaceModel,
    regressor: Regressor,
    wild: WildExample,
    *,
    seed: int = 0,
    progress: Callable[[int], object] = lambda count: None,
) -> WildExample:
    """Each picture with its head turned to a larger yaw (face profiling), by a face fitted to the regressor's points.

    The clicked points turn with the depths of that face; hidden ones stay hidden. Pictures are padded by the room that
    turning needs: the results are `SIDE + 2 * ROOM` pixels wide.

    Args:
      model: the face model.
      regressor: finds the points.
      wild: the pictures.
      seed: of the angles.
      progress: called with the number of finished pictures.
    """
    turn = jit(lambda regressor, model, key, one: _turn(regressor, model, key, one))
    turned = []
    for row in range(len(wild.image)):
        key = jax.random.fold_in(jax.random.key(seed), row)
        turned.append(jax.device_get(turn(regressor, model, key, jax.tree.map(lambda leaf, row=row: leaf[row], wild))))
        progress(1)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *turned)


def _turn(regressor: Regressor, model: FaceModel, key, one: WildExample) -> WildExample:
    image = jnp.pad(one.image.astype(jnp.float32) / 255.0, ((ROOM, ROOM), (ROOM, ROOM), (0, 0)), mode="edge")
    clicked, box = one.points + ROOM, one.box + ROOM
    side, size = regressor.config.margin * (box[2:] - box[:2]).max(), regressor.config.side
    scale, centre = size / side, 0.5 * (box[:2] + box[2:])
    offset = size / 2 - scale * centre
    shape = (size, size, 3)
    seen = jax.image.scale_and_translate(image, shape, (0, 1), jnp.full(2, scale), offset[::-1], "linear")
    found = (regress_crops(regressor, seen[None]).landmarks[0] - offset) / scale
    middle = jnp.full(2, image.shape[0] / 2.0)
    fitted = fit_landmarks(model, found, principal=middle, contour="static", priors=LINEAR.priors).params
    for place, members in enumerate(CENTRES):  # clicked points replace the regressor's
        rows = jnp.array(members)
        off = jnp.where(one.visible[place], clicked[place] - jnp.mean(found[rows], axis=0), 0.0)
        found = found.at[rows].add(off)
    result = turn_photo(model, fitted, image, draw_turn(fitted, key=key), points=found)
    marks = result.landmarks
    low, high = marks.min(axis=0), marks.max(axis=0)
    eighteen = jnp.stack([jnp.mean(marks[jnp.array(members)], axis=0) for members in CENTRES])
    picture = jnp.round(jnp.clip(result.image, 0, 1) * 255).astype(jnp.uint8)
    return WildExample(picture, eighteen, one.visible, jnp.concatenate([low, high]), jnp.sqrt(jnp.prod(high - low)))


def write_wild(path: Path, wild: WildExample) -> None:
    """Write one npz file, atomically."""
    with atomic_path(path) as partial:
        np.savez(partial, **wild._asdict())


def join_turned(wild: WildExample, path: Path) -> WildExample:
    """The pictures and the turned ones of a file of `write_wild`, all at the size of the turned ones."""
    with np.load(path, allow_pickle=False) as file:
        turned = WildExample(*(file[name] for name in WildExample._fields))
    room = (turned.image.shape[1] - wild.image.shape[1]) // 2
    padded = WildExample(
        np.pad(wild.image, ((0, 0), (room, room), (room, room), (0, 0)), mode="edge"),
        wild.points + room,
        wild.visible,
        wild.box + room,
        wild.size,
    )
    return jax.tree.map(lambda *pair: np.concatenate(pair), padded, turned)


def wild_source(wild: WildExample, count: int, *, seed: int) -> Callable[[int], WildExample]:
    """`count` pictures per step, in an order that depends on the seed only."""

    def batch(step: int) -> WildExample:
        rows = batch_rows(len(wild.image), count, step, seed=seed)
        return jax.tree.map(lambda leaf: leaf[rows], wild)

    return batch
