"""Train the skin translator: the texture of a photograph to the albedo, roughness and specular of its skin.

    python experiments/make_texture_set.py --data DATA --out MAPS --size 256 --count 2400 --seed 25 --without ...
    python experiments/train_skin.py render --maps MAPS --pool POOL --shards 80 [--first 0] [--stride 1]
    python experiments/train_skin.py train --maps MAPS --pool POOL --out RUN      # resumes exactly after a kill
    python experiments/train_skin.py tone --maps MAPS --pool POOL --out RUN       # a minute
    python experiments/train_skin.py ship --run RUN                               # into facejax/assets/skin
    python experiments/train_skin.py measure --maps MAPS --pool POOL

A pair is one random person, who wears one map of the set, in one picture; a fit to noisy landmarks unwraps that picture
as it would a photograph. The pool's last two files are held out: training never reads them.
"""

import shutil
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float, Int8, Key, UInt8
from texture_set.shards import TextureSet
from tqdm import tqdm
from training_loop import TensorBoardLog, train

from facejax.atomic import atomic_path, write_text
from facejax.checkpoints import TrainingStore, load, save
from facejax.face_model import FaceModel, own_albedo
from facejax.face_model.load import load_face_model
from facejax.fitting.landmarks import FaceStart, box_size, fit_landmarks
from facejax.lighting import linear_to_srgb, srgb_to_linear
from facejax.nets.skin_translator import SkinTranslatorConfig, apply_skin_tone, apply_skin_translator
from facejax.programs import jit
from facejax.regression.dense import DenseNetwork, head_up, load_dense, see_dense, shows_face
from facejax.regression.iris_points import load_iris
from facejax.regression.training import State, start_state
from facejax.skin.eye_colors import WHITES, eye_colors
from facejax.skin.sight import SkinSight, describe_scene, median_color, seen_texels, skin_sight, texel_normals
from facejax.skin.training import (
    SkinRecipe,
    SkinTruth,
    ToneRecipe,
    init_skin_state,
    skin_losses,
    skin_step,
    tone_distance,
    train_tone,
)
from facejax.skin.translator import ASSET, SCHEMA, VERSION, load_translator
from facejax.synthetic.fields import chance, normal, uniform
from facejax.synthetic.generate import Generator
from facejax.synthetic.people import People
from facejax.synthetic.skin_picture import photograph_skin
from facejax.synthetic.sky import Sky, make_sky
from facejax.unwrap import unwrap_view
from facejax.unwrap.photos import Layout, face_layout

SHARD = 128  # pairs per file
HELD_OUT = 2  # files of the pool
MAPS: dict[str, Any] = {"schema": "facejax.skin.maps", "version": 1}  # of a run's networks
TONE: dict[str, Any] = {"schema": "facejax.skin.tone", "version": 2}
ABOUT = ("config", "recipe", "steps", "held_out")
SIZE = 256  # pixels of a picture, and texels of its texture
GENERATOR = Generator(
    people=People(frontal=0.6, yaw=(22.0, 75.0), pitch=(3.0, 9.0), roll=8.0, box=(0.48, 0.62)),
    hair=0.75,
    beard=0.0,
    hand=0.06,
    camera=0.6,
)
POINT_NOISE = 0.011  # of the landmarks, as a share of the face's size: what a fit to a photograph is off by


@dataclass(frozen=True)
class Render:
    """Make pairs."""

    maps: Path
    """of experiments/make_texture_set.py, 256 texels a side"""
    pool: Path
    shards: int = 80
    first: int = 0
    """number of this process's first file"""
    stride: int = 1
    """number of processes that render"""
    seed: int = 0


@dataclass(frozen=True)
class Train:
    """Train the network."""

    maps: Path
    pool: Path
    out: Path
    """folder of the run: state/, maps/, logs/"""
    steps: int | None = None
    """another length than the recipe's"""
    batch: int | None = None
    start: Path | None = None
    """another run's maps/, whose weights a new run begins with"""
    seed: int = 0


@dataclass(frozen=True)
class Tone:
    """Train the networks that tell the tone."""

    maps: Path
    pool: Path
    out: Path
    """folder of the run: tone/"""


@dataclass(frozen=True)
class Measure:
    """The losses on the held-out pairs."""

    maps: Path
    pool: Path
    checkpoint: Path = ASSET


@dataclass(frozen=True)
class Ship:
    """Join a run's two networks where facejax loads them from."""

    run: Path


def main() -> None:
    commands = {"render": Render, "train": Train, "tone": Tone, "measure": Measure, "ship": Ship}
    kinds: Any = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in commands.items())
    command = tyro.cli(kinds[0] | kinds[1] | kinds[2] | kinds[3] | kinds[4], description=__doc__)
    {Render: render, Train: run, Tone: tone, Measure: measure, Ship: ship}[type(command)](command)


class Pair(NamedTuple):
    """What a file of the pool holds of each picture, beside the index of its map."""

    color: UInt8[Array, "S S 3"]  # the photograph in the layout
    seen: UInt8[Array, "S S"]
    normal: Int8[Array, "S S 3"]
    scene: Float[Array, " K"]
    whites: Float[Array, " W"]
    gain: Float[Array, " 3"]  # linear, of the map's skin
    gloss: UInt8[Array, "V 2"]


def make_pair(
    key: Key[Array, ""],
    albedo: UInt8[Array, "T T 3"],
    model: FaceModel,
    sky: Sky,
    layout: Layout,
    dense: DenseNetwork,
    iris: Any,
) -> Pair:
    keys = jax.random.split(key, 6)
    texels, gain = layout.texels, draw_gain(keys[5])
    skin = regain(albedo / jnp.float32(255), gain, layout)
    shot = photograph_skin(keys[0], model, sky, skin, size=SIZE, generator=GENERATOR)
    size = box_size(shot.landmarks)
    shift = normal(keys[1], (68, 2)) + 0.7 * normal(keys[2], (1, 2))
    points = shot.landmarks + POINT_NOISE * size * shift
    known = 0.75 * shot.params.identity + 0.5 * normal(keys[3], shot.params.identity.shape)
    expression = jnp.clip(shot.params.expression + 0.05 * normal(keys[4], shot.params.expression.shape), 0.0, 1.0)
    start = FaceStart(jnp.full(68, 0.97), known, expression)
    fitted = fit_landmarks(model, points, principal=jnp.full(2, SIZE / 2), start=start, contour="static").params
    sight = see_dense(dense, shot.image, points, head_up(fitted.pose))
    shown = shows_face(sight, (SIZE, SIZE))
    view = unwrap_view(model, fitted, shot.image, texels, shown=shown)
    byte = lambda x: jnp.round(255 * jnp.clip(x, 0.0, 1.0)).astype(jnp.uint8)  # noqa: E731
    normals = jnp.round(127 * texel_normals(model, fitted, texels)).astype(jnp.int8)
    scene = describe_scene(shot.image, sight)
    whites = eye_colors(iris, shot.image, points).white.reshape(-1)
    return Pair(byte(view.color), byte(seen_texels(view)), normals, scene, whites, gain, byte(shot.gloss))


def draw_gain(key: Key[Array, ""]) -> Float[Array, " 3"]:
    """How a map's skin is changed, in linear light: lighter, darker, redder, yellower; a quarter much darker."""
    keys = jax.random.split(key, 5)
    deep = chance(keys[0], 0.25) * uniform(keys[1], (), 0.0, 0.8) * jnp.array([0.4, 0.9, 1.2])
    warm = 0.08 * normal(keys[2]) * jnp.array([0.5, 0.0, -0.8])
    return jnp.exp(0.1 * normal(keys[3]) - deep + warm + 0.04 * normal(keys[4], (3,)))


def regain(albedo: Float[Array, "S S 3"], gain: Float[Array, " 3"], layout: Layout) -> Float[Array, "S S 3"]:
    """The albedo with another skin and the same eyes, display values."""
    own = layout.texels.covered & (layout.regions.skin < 0.5)
    changed = linear_to_srgb(jnp.clip(srgb_to_linear(albedo) * gain[None, None], 1e-4, 1.0))
    return jnp.where(own[..., None], albedo, changed)


def render(command: Render) -> None:
    maps, model, dense = TextureSet(command.maps), load_face_model(), load_dense()
    if maps.plan.size != SIZE:
        raise ValueError(f"{command.maps}: maps of {maps.plan.size} texels; make them with --size {SIZE}")
    layout, sky, iris = face_layout(model, SIZE), make_sky(model), load_iris()
    command.pool.mkdir(parents=True, exist_ok=True)
    write_text(command.pool / f"pool_{command.first}.json", repr(command))

    @jit
    def draw(keys, albedos, *rest):
        return jax.lax.map(lambda one: make_pair(*one, *rest), (keys, albedos))

    for number in tqdm(range(command.first, command.shards, command.stride), unit="file"):
        path = shard_path(command.pool, number)
        if path.exists():
            continue
        keys = jax.random.split(jax.random.fold_in(jax.random.key(command.seed), number), SHARD)
        index = np.random.default_rng([command.seed, number]).integers(len(maps), size=SHARD)
        pairs = jax.device_get(draw(keys, jnp.asarray(maps.take(index)), model, sky, layout, dense, iris))
        with atomic_path(path) as partial_path:
            np.savez(partial_path, index=index, **pairs._asdict())


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"pairs_{number:05d}.npz"


class Pairs:
    """Some files of a pool as one set of rows; each file is read when a row of it is first asked for, and kept."""

    def __init__(self, maps: Path, folder: Path, *, held_out: bool):
        paths = sorted(folder.glob("pairs_*.npz"))
        if len(paths) <= HELD_OUT:
            raise ValueError(f"{folder}: {len(paths)} files of pairs; render more first")
        self.paths = paths[-HELD_OUT:] if held_out else paths[:-HELD_OUT]
        self.maps = TextureSet(maps)
        self.read: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return SHARD * len(self.paths)

    def rows(self, rows: np.ndarray) -> tuple[Pair, UInt8[Array, "N T T 3"]]:
        """The pairs of these rows, with a leading axis, and their skins."""
        found = [self._row(int(row)) for row in rows]
        albedo = self.maps.take(np.array([one["index"] for one in found]))
        pair = Pair(*(jnp.asarray(np.stack([one[name] for one in found])) for name in Pair._fields))
        return pair, jnp.asarray(albedo)

    def _row(self, row: int) -> dict[str, np.ndarray]:
        number, place = divmod(row, SHARD)
        if number not in self.read:
            with np.load(self.paths[number]) as file:
                self.read[number] = {name: file[name] for name in file.files}
        return {name: array[place] for name, array in self.read[number].items()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frame:
    """What all pairs share."""

    model: FaceModel
    layout: Layout
    mean: Float[Array, "S S 3"]  # the model's mean albedo


def make_frame() -> Frame:
    model = load_face_model()
    return Frame(model, face_layout(model, SIZE), jnp.asarray(own_albedo(model).mean))


def to_example(frame: Frame, pair: Pair, albedo: UInt8[Array, "T T 3"], flip: Any) -> tuple[SkinSight, SkinTruth]:
    """The network's input and the truth of one pair, mirrored where `flip`."""
    texels, regions = frame.layout.texels, frame.layout.regions
    color, seen, truth = (x / jnp.float32(255) for x in (pair.color, pair.seen, albedo))
    gloss = (pair.gloss / jnp.float32(255))[frame.model.faces[texels.triangle]]
    gloss = jnp.einsum("hwk,hwkc->hwc", texels.weights, gloss)
    turned = lambda x: jnp.where(flip, x[:, ::-1], x)  # noqa: E731
    normals = turned(pair.normal / jnp.float32(127)) * jnp.where(flip, jnp.array([-1.0, 1.0, 1.0]), 1.0)
    truth = regain(truth, pair.gain, frame.layout)
    whites = jnp.where(flip, jnp.roll(pair.whites, WHITES // 2), pair.whites)
    sight = skin_sight(turned(color), turned(seen), normals, pair.scene, whites, frame.mean, texels)
    weight = 0.05 + texels.covered * (0.25 + 0.5 * regions.skin + 0.75 * regions.face)
    linear = srgb_to_linear(truth)
    tone = jnp.log(median_color(linear, regions.face))
    return sight, SkinTruth(turned(truth), tone, turned(gloss), weight)


def run(command: Train) -> None:
    config, recipe = SkinTranslatorConfig(), SkinRecipe()
    recipe = replace(recipe, steps=command.steps or recipe.steps, batch=command.batch or recipe.batch)
    pairs, frame = Pairs(command.maps, command.pool, held_out=False), make_frame()
    examples = jit(lambda frame, *batch: jax.vmap(partial(to_example, frame))(*batch))
    step = jit(lambda state, batch: skin_step(config, recipe, state, *batch), donate_argnums=0)

    def draw(number: int):
        rng = np.random.default_rng([command.seed, number])
        rows = rng.integers(len(pairs), size=recipe.batch)
        return examples(frame, *pairs.rows(rows), jnp.asarray(rng.random(recipe.batch) < 0.5))

    start = init_skin_state(config, recipe, jax.random.key(command.seed))
    if command.start is not None:
        start = start_state(recipe, load(command.start, **MAPS)[0])

    train(
        lambda state, number, batch: step(state, batch),
        start,
        draw,
        steps=recipe.steps,
        store=TrainingStore(command.out / "state", schema="facejax.skin.training"),
        log=TensorBoardLog(command.out / "logs"),
        log_every=25,
        save_every=250,
        saved=lambda state: export(command.out / "maps", state, config, recipe, pairs.maps.plan.without),
        shown=("albedo", "psnr"),
    )


def export(
    path: Path, state: State, config: SkinTranslatorConfig, recipe: SkinRecipe, without: tuple[str, ...]
) -> None:
    """The averaged weights."""
    about = {"config": asdict(config), "recipe": recipe.name, "steps": int(state.step), "held_out": list(without)}
    save(path, jax.device_get(state.average), **MAPS, **about)


def tone(command: Tone) -> None:
    pairs, frame, config = Pairs(command.maps, command.pool, held_out=False), make_frame(), SkinTranslatorConfig()
    facts, tones = all_facts(pairs, frame)
    found = jax.device_get(jit(lambda *data: train_tone(config, ToneRecipe(), *data))(facts, tones))
    save(command.out / "tone", found, **TONE, examples=len(facts))


def all_facts(pairs: Pairs, frame: Frame) -> tuple[Float[Array, "N K"], Float[Array, "N 3"]]:
    """What the tone is told from, and the true tone, of all pairs."""

    @jit
    def some(frame, *batch):
        sight, truth = jax.vmap(partial(to_example, frame))(*batch)
        return sight.facts, truth.tone

    found = []
    for start in tqdm(range(0, len(pairs), 16), unit="batch"):
        found.append(jax.device_get(some(frame, *pairs.rows(np.arange(start, start + 16)), jnp.zeros(16, bool))))
    facts, tones = (jnp.asarray(np.concatenate(part)) for part in zip(*found, strict=True))
    return facts, tones


def measure(command: Measure) -> None:
    network = load_translator(command.checkpoint)
    pairs, frame = Pairs(command.maps, command.pool, held_out=True), make_frame()

    @jit
    def look(frame, weights, *batch):
        sight, truth = jax.vmap(partial(to_example, frame))(*batch)
        said = sight.maps, sight.scene, sight.relative, sight.seen
        terms = skin_losses(apply_skin_translator(network.config, weights["maps"], *said), truth)
        told = apply_skin_tone(network.config, weights["tone"], sight.facts)
        return terms | {"tone": jnp.mean(tone_distance(told, truth.tone))}, plain(sight, truth)

    def plain(sight: SkinSight, truth: SkinTruth):
        """How far the photograph without nine harmonics of light is from the truth, with the true tone, where seen."""
        weight = truth.weight * sight.seen
        even = linear_to_srgb(jnp.clip(sight.relative * jnp.exp(truth.tone)[:, None, None], 1e-4, 1.0))
        return jnp.sum(jnp.abs(even - truth.albedo) * weight[..., None]) / jnp.sum(3 * weight)

    terms, plains = [], []
    for start in range(0, len(pairs), 16):
        batch = pairs.rows(np.arange(start, start + 16))
        found, even = look(frame, network.weights, *batch, jnp.zeros(16, bool))
        terms.append(jax.device_get(found))
        plains.append(float(even))
    for name in terms[0]:
        print(f"{name:8s} {np.mean([one[name] for one in terms]):.4f}")
    print(f"even photograph, where seen: {np.mean(plains):.4f}")


def ship(command: Ship) -> None:
    maps, about = load(command.run / "maps", **MAPS)
    told, _ = load(command.run / "tone", **TONE)
    if ASSET.exists():
        shutil.rmtree(ASSET)
    both = {"maps": maps, "tone": told}
    save(ASSET, both, schema=SCHEMA, version=VERSION, half=True, **{name: about[name] for name in ABOUT})


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
