"""Training of the generative renderer on tiny pictures: it resumes exactly, lowers its losses, and is measured."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import train_gar as script  # noqa: E402
from gar import data, loop, measure, recogniser, training  # noqa: E402
from gar.recipes import PAIRED, Recipe  # noqa: E402

from facejax.camera import PerspectiveCamera  # noqa: E402
from facejax.face_model import neutral_params  # noqa: E402
from facejax.generative_renderer import GARConfig, load_gar  # noqa: E402
from facejax.nets.encoder import EncoderConfig, init_encoder  # noqa: E402
from facejax.nets.normal_net import NormalNetConfig  # noqa: E402
from facejax.nets.stylegan2 import StyleGANConfig  # noqa: E402
from facejax.regression.regressor import Regressor, RegressorConfig, block_sizes, load_regressor  # noqa: E402

SIDE, COUNT = 16, 12
SIZES = StyleGANConfig(resolution=SIDE, channel_base=64, channel_max=8, latent=8, mapping_layers=2, clamp=None)
CONFIG = GARConfig(SIZES, SIZES, NormalNetConfig((4, 8, 8)))
RECIPE = Recipe(
    "toy",
    CONFIG,
    SIZES,
    steps=3,
    batch=4,
    weights=PAIRED,
    r1_interval=2,
    path=2.0,
    path_interval=2,
    mixing=0.5,
    normal_steps=2,
    normal_batch=8,
)


@pytest.fixture(scope="module")
def regressor():
    model = toy_model()
    sizes = RegressorConfig(identity=6, expression=3, albedo=3)
    outputs = sum(block_sizes(sizes).values())
    encoder = EncoderConfig(outputs=outputs, size=16, widths=(8, 8, 8), blocks=(0, 0, 0), hidden=16, code=4)
    weights = init_encoder(encoder, jax.random.key(0))  # answers 0 at first
    weights = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), weights)
    return Regressor(model, weights, replace(sizes, encoder=encoder))


@pytest.fixture(scope="module")
def pictures(regressor):
    """The toy head in many places, in front of grey; its colour is what is random."""
    rng, model = np.random.default_rng(0), regressor.model
    camera = PerspectiveCamera(jnp.asarray(55.0), jnp.full(2, SIDE / 2))
    one = neutral_params(model, camera)
    params = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], COUNT, axis=0), one)
    params = replace(params, identity=rng.normal(size=params.identity.shape).astype(np.float32))
    drawn = data.with_normals(model, np.zeros((COUNT, SIDE, SIDE, 3), np.uint8), params)
    normals = np.asarray(drawn.normals, np.float32)
    shade = 0.5 + 0.4 * normals[..., 2:] * rng.uniform(0.2, 1, (COUNT, 1, 1, 3))
    return drawn._replace(image=np.round(255 * np.clip(shade, 0, 1)).astype(np.uint8))


def train(out, steps, pictures, regressor, **kwargs):
    recipe = replace(RECIPE, steps=steps) if steps != RECIPE.steps else RECIPE
    return loop.run(out, recipe, data.batches(pictures, 4, seed=0), regressor, save=1, **kwargs)


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(tmp_path, pictures, regressor, monkeypatch):
    source = data.batches(pictures, 4, seed=0)
    start = training.init_state(RECIPE, jax.random.fold_in(jax.random.key(0), 0))
    whole = loop.run(tmp_path / "whole", RECIPE, source, regressor, save=1)

    def dies(step):
        if step == 2:
            raise KeyboardInterrupt
        return source(step)

    with pytest.raises(KeyboardInterrupt):
        loop.run(tmp_path / "parts", RECIPE, dies, regressor, save=1)
    parts = loop.run(tmp_path / "parts", RECIPE, source, regressor, save=1)
    chex.assert_trees_all_equal(parts, whole)
    assert int(parts.step) == 3 and float(parts.path_mean) > 0
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "parts")]
    assert logs[0].splitlines()[0] == ",".join(("step", *loop.COLUMNS))
    old = dict(jax.tree_util.tree_leaves_with_path(start.average))
    for path, new in jax.tree_util.tree_leaves_with_path(parts.average):
        assert np.abs(np.asarray(new - old[path])).max() > 0, path  # every parameter learns

    gar = load_gar(tmp_path / "parts" / "gar")
    assert gar.config == CONFIG and (tmp_path / "parts" / "sheets" / "step_000000003.png").exists()
    found = measure.measure(
        gar, regressor, init_encoder(recogniser.SIZES, jax.random.key(0)), data.take(pictures, np.arange(32) % COUNT)
    )
    assert all(np.isfinite(found)) and found.other > 0 and found.landmarks > 0
    assert found.same < 1e-4  # the toy heads of one shape are in one place
    text = measure.table({"toy": {"encoded": [found, found]}})
    assert f"{found.landmarks:.2f} ± 0.00" in text and f"{found.ratio:.3f}" in text
    with pytest.raises(ValueError, match="begun with another 'rate'"):
        loop.run(tmp_path / "parts", replace(RECIPE, rate=1.0), source, regressor)

    sizes = replace(SIZES, resolution=32)
    larger = replace(RECIPE, config=replace(CONFIG, generator=sizes), judge=sizes)
    grown = training.start_from(training.init_state(larger, jax.random.key(0)), gar.weights)
    small, big = (w.generator.params["synthesis"] for w in (gar.weights, grown.weights))
    chex.assert_trees_all_equal(small["b16"], big["b16"])
    assert "b32" in big
    kernel = grown.weights.encoder["out"]["kernel"]
    np.testing.assert_array_equal(kernel[:, : 8 * 7], gar.weights.encoder["out"]["kernel"])


def test_the_same_person_is_seen_as_one():
    """Features that are the codes themselves are all of a person; features that are the geometry are nothing of it."""
    pairs = measure.pairing(measure.BATCH)
    rng = np.random.default_rng(0)
    points = jnp.asarray(rng.normal(size=(measure.BATCH // 2, 68, 2)) * 5 + 20)[pairs.geometry]
    geometry = training.PairGeometry(jnp.zeros((measure.BATCH, 4, 4, 3)), points)
    regressor = Regressor(toy_model(), {}, RegressorConfig())
    codes = jnp.asarray(rng.normal(size=(measure.BATCH // 2, 5)))
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    side = 1.35 * jnp.max(high - low, axis=(1, 2))[:, None, None]
    truth = (points - (low + high) / 2) / (side / 2)
    of_code, of_geometry = codes[pairs.code], codes[pairs.geometry]
    apart, astray, same, other = measure.compare(truth, of_code, geometry, regressor)
    assert max(float(apart), float(astray), float(same)) < 1e-4 < float(other)
    *_, same, other = measure.compare(truth, of_geometry, geometry, regressor)
    assert float(same) > 0.5


@pytest.mark.slow
def test_people_are_told_apart():
    """Persons who are a colour, in pictures whose place of the face and brightness vary."""
    rng = np.random.default_rng(0)
    count, views, side = 72, 3, 48
    corners = np.array([[12.0, 14.0], [34.0, 36.0]]) + rng.uniform(-4, 4, (count, views, 1, 2))
    image = np.full((count, views, side, side, 3), 128.0)
    for who, color in enumerate(rng.uniform(0.3, 1, (count, 3))):
        for view in range(views):
            (left, top), (right, bottom) = corners[who, view].astype(int)
            image[who, view, top:bottom, left:right] = 255 * color * rng.uniform(0.8, 1)
    people = recogniser.People(image.astype(np.uint8), corners.astype(np.float32))
    untrained = recogniser.verify(init_encoder(recogniser.SIZES, jax.random.key(0)), people)
    params, found = recogniser.train_recogniser(people, steps=40, persons=16, held_out=24)
    assert 1 - found["order right"] < 0.4 * (1 - untrained["order right"]) and found["other"] < untrained["other"] - 0.1

    points = jnp.asarray(rng.uniform(10, 30, (2, 68, 2)), jnp.float32)
    seen = training.look_at_people(params, jnp.asarray(rng.uniform(-1, 1, (2, 40, 40, 3)), jnp.float32), points)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)


def test_contrast_is_the_cross_entropy_of_the_pairs():
    """Against a plain sum, both ways."""
    features = np.random.default_rng(0).normal(size=(5, 2, 7))
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    likeness = features[:, 0] @ features[:, 1].T / recogniser.TEMPERATURE
    rows, columns = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (likeness, likeness.T))
    wanted = -np.mean(np.log(np.diag(rows)) + np.log(np.diag(columns)))
    np.testing.assert_allclose(recogniser.contrast(jnp.asarray(features)), wanted, rtol=1e-5)


@pytest.mark.thorough
def test_pictures_of_a_folder_and_too_few(tmp_path, pictures, regressor):
    with pytest.raises(ValueError, match="holds no photographs"):
        data.read_photos(tmp_path, regressor, SIDE)
    with pytest.raises(ValueError, match="no rendered pictures"):
        data.read_rendered(tmp_path, regressor.model, SIDE)
    with pytest.raises(ValueError, match="more pictures"):
        data.batches(pictures, 40, seed=0)
    with pytest.raises(ValueError, match="render larger ones"):
        data.reduce(pictures.image, 64)
    kept, held = data.split(pictures, 4)
    assert len(kept.image) == COUNT - 4 and np.array_equal(held.image, pictures.image[-4:])
    with pytest.raises(ValueError, match="pass one of"):
        script.train(script.Train(tmp_path))


@pytest.mark.thorough
def test_photographs_get_the_geometry_that_the_regressor_sees(shared, tmp_path):
    shutil.copy(shared / "photos" / "eos_image_0010.png", tmp_path)
    found = data.read_photos(tmp_path, load_regressor(), 32)
    assert found.image.shape == (1, 32, 32, 3) and found.params.identity.shape == (1, 100)
    there = np.linalg.norm(np.asarray(found.normals[0], np.float32), axis=-1)
    assert there[14:22, 12:20].min() > 0.5 and there[:, :3].max() == 0  # a head in the middle
    assert found.normals[0, 16, 16, 2] > 0.7  # that looks at the viewer


@pytest.mark.slow
def test_five_hundred_steps_lower_the_losses(tmp_path):
    """As a user runs it, at 64 pixels: about six minutes on two processor cores."""

    def run(name, *arguments):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        line = [sys.executable, str(EXPERIMENTS / name), *map(str, arguments)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    run("train_regressor.py", "render", "--pool", tmp_path / "pool", "--size", 64, "--shards", 3)
    run("train_gar.py", "train", "--pool", tmp_path / "pool", "--out", tmp_path / "run", "--steps", 500,
        "--normal-steps", 300)  # fmt: skip
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    names = rows[0].split(",")
    first, last = ([float(x or "nan") for x in row.split(",")] for row in (rows[1], rows[-1]))
    for term in ("reconstruction", "features", "normals"):
        place = names.index(term)
        assert last[place] < 0.8 * first[place], term
