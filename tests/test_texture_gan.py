"""Training of the texture decoder on tiny maps: it resumes exactly, shares batches between devices, and measures."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from PIL import Image

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import train_texture_gan as script  # noqa: E402
from texture_gan import data, loop, quality, training  # noqa: E402
from texture_gan.recipes import Recipe  # noqa: E402

from facejax.checkpoints import TrainingStore  # noqa: E402
from facejax.face_model.load import load_face_model  # noqa: E402
from facejax.nets.stylegan2 import StyleGANConfig  # noqa: E402
from facejax.nets.stylegan2.resample import downsample  # noqa: E402
from facejax.texture import decode_texture, load_decoder, mean_latents  # noqa: E402

RNG = np.random.default_rng(0)
TINY = StyleGANConfig(resolution=8, channel_base=32, channel_max=4, latent=4, mapping_layers=1, clamp=None)
RECIPE = Recipe(
    "tiny",
    TINY,
    TINY,
    steps=3,
    batch=4,
    path_interval=2,
    r1_interval=2,
    mirror=True,
    augment=True,
    reconstruct=3,
    inverter=TINY,
)
MAPS = RNG.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
QUIET = loop.Intervals(log=1, save=1, sheet=3, measure=3, measured=8, shown=4)


def simple_features(maps):
    return jnp.mean(maps, axis=(1, 2))


def train(out: Path, steps: int):
    recipe = replace(RECIPE, steps=steps)
    source = data.folder_source(MAPS, recipe.batch, seed=0)
    return loop.run(out, recipe, source, intervals=QUIET, features=simple_features)


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(tmp_path, monkeypatch):
    start = training.init_state(RECIPE, jax.random.fold_in(jax.random.key(0), 0))
    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "parts", 2)
    parts = train(tmp_path / "parts", 3)
    chex.assert_trees_all_equal(parts, whole)
    assert int(parts.step) == 3 and float(parts.path_mean) > 0
    moved = jax.tree.map(lambda new, old: float(jnp.abs(new - old).max()), parts.average[0], start.generator.params)
    assert min(jax.tree.leaves(moved)) > 0  # every parameter learns

    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts")]
    assert logs[0][0] == ",".join(("step", *loop.COLUMNS)) and len(logs[0]) == 4
    assert logs[1][1].split(",")[:6] == logs[0][1].split(",")[:6] and logs[1][3] == logs[0][3]
    with Image.open(tmp_path / "parts" / "sheets" / "step_000000003.png") as sheet:
        assert sheet.size == (64, 8)

    decoder = load_decoder(tmp_path / "parts" / "decoder")
    assert decode_texture(decoder, mean_latents(decoder)).shape == (8, 8, 3)
    script.export(script.Export(tmp_path / "parts", tmp_path / "shipped", glimpses=40))
    shipped = load_decoder(tmp_path / "shipped")
    np.testing.assert_allclose(shipped.w_std, decoder.w_std, rtol=0.05)  # of more draws
    monkeypatch.setattr(script, "LIMIT", 100)
    with pytest.raises(ValueError, match="more than"):
        script.export(script.Export(tmp_path / "parts", tmp_path / "shipped", glimpses=40))
    with pytest.raises(ValueError, match="begun with another 'rate'"):
        recipe = replace(RECIPE, rate=1.0)
        loop.run(tmp_path / "parts", recipe, data.folder_source(MAPS, 4, seed=0), intervals=QUIET)


TWO_DEVICES = """
import sys
sys.path[:0] = [{experiments!r}, {tests!r}]
import jax, numpy as np
from pathlib import Path
from dataclasses import replace
import train_texture_gan as script  # noqa: E402
from texture_gan import data, loop
import test_texture_gan as t
states = []
for count in (1, 2):
    recipe = replace(t.RECIPE, steps=2)
    source = data.folder_source(t.MAPS, recipe.batch, seed=0)
    out = Path(sys.argv[1]) / str(count)
    states.append(loop.run(out, recipe, source, intervals=t.QUIET, features=t.simple_features,
                           devices=jax.devices()[:count]))
for one, two in zip(*map(jax.tree.leaves, states)):
    assert len(two.devices()) == 2
    np.testing.assert_allclose(np.asarray(one), np.asarray(two), rtol=2e-3, atol=2e-3)
"""


@pytest.mark.slow
def test_two_devices_take_the_steps_of_one(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    program = TWO_DEVICES.format(experiments=str(EXPERIMENTS), tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env={**os.environ, **flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


HOSTS = """
import sys
sys.path[:0] = [{experiments!r}, {tests!r}]
import jax
from pathlib import Path
from facejax.multihost import MultihostOptions, first_host
out, port, process = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if port != "alone":
    MultihostOptions(coordinator="localhost:" + port, processes=2, process=process).join()
    assert jax.process_count() == 2 == jax.device_count() and first_host() == (process == 0)
import test_texture_gan as t
from texture_gan import data, loop
from dataclasses import replace
recipe = replace(t.RECIPE, steps=2)
source = data.folder_source(t.MAPS, recipe.batch, seed=0)
state = loop.run(out, recipe, source, intervals=t.QUIET, features=t.simple_features)
assert int(state.step) == 2
"""


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    """As on two hosts: one checkpoint of both, the same as of one process alone."""
    program = HOSTS.format(experiments=str(EXPERIMENTS), tests=str(Path(__file__).parent))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])

    def start(name, port, process):
        line = [sys.executable, "-c", program, str(tmp_path / name), port, str(process)]
        return subprocess.Popen(line, env={**os.environ, "JAX_PLATFORMS": "cpu"}, stderr=subprocess.PIPE, text=True)

    for several in ([start("alone", "alone", 0)], [start("both", port, k) for k in range(2)]):
        errors = [process.communicate()[1] for process in several]
        assert [process.returncode for process in several] == [0] * len(several), errors[-1][-3000:]
    start_state = training.init_state(replace(RECIPE, steps=2), jax.random.fold_in(jax.random.key(0), 0))
    states = [
        TrainingStore(tmp_path / name / "state", schema="facejax.texture_gan.training").restore_latest(start_state)
        for name in ("alone", "both")
    ]
    assert states[0] is not None and states[1] is not None and states[0][0] == states[1][0] == 2
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)  # noqa: E731
    jax.tree.map(compare, states[0][1].generator, states[1][1].generator)
    jax.tree.map(compare, states[0][1].judge, states[1][1].judge)
    names = [{p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.png")} for n in ("alone", "both")]
    assert names[0] == names[1] and len(names[0]) > 1


@pytest.mark.slow
def test_a_growing_run_first_makes_smaller_maps(tmp_path):
    larger = replace(TINY, resolution=16)
    recipe = replace(RECIPE, generator=larger, judge=larger, grow=((8, 1),), adversaries_from=9, learned_noise=True)
    maps = RNG.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    source = data.folder_source(maps, 4, seed=0)
    states = {}
    for steps in (1, 2):
        out = tmp_path / str(steps)
        states[steps] = loop.run(out, replace(recipe, steps=steps), source, intervals=replace(QUIET, measure=0))
    noise = [states[k].generator.noise for k in (1, 2)]
    assert float(jnp.abs(noise[0]["b8"]["conv1"]).max()) > 0 and not noise[0]["b16"]["conv1"].any()
    assert float(jnp.abs(noise[1]["b16"]["conv1"]).max()) > 0  # noise maps are learned where a map was made
    kept = load_decoder(tmp_path / "2" / "decoder").weights.noise
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), kept, states[2].average[1])
    start = training.init_state(recipe, jax.random.fold_in(jax.random.key(0), 0)).generator.params["synthesis"]
    first, second = (states[k].generator.params["synthesis"] for k in (1, 2))
    chex.assert_trees_all_equal(first["b16"], start["b16"])
    assert float(jnp.abs(first["b8"]["conv1"]["kernel"] - start["b8"]["conv1"]["kernel"]).max()) > 0
    assert float(jnp.abs(second["b16"]["conv1"]["kernel"] - start["b16"]["conv1"]["kernel"]).max()) > 0
    assert training.shrink(jnp.ones((1, 16, 16, 3)), 8).shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match="sizes of an inverter"):
        training.init_state(replace(RECIPE, inverter=None), jax.random.key(0))


def test_pyramid_distance_and_crowding_are_those_of_their_formulas():
    a, b = RNG.standard_normal((2, 2, 16, 16, 3)).astype("f4")
    expected = [np.abs(a - b).mean(), np.abs(downsample(jnp.asarray(a - b))).mean()]
    assert float(training.pyramid_distance(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(
        np.mean(expected), rel=1e-5
    )
    z = RNG.standard_normal((4, 6))
    z /= np.sqrt((z**2).mean(1, keepdims=True))
    pairs = [np.exp(-2 * np.sum((z[i] - z[j]) ** 2) / 6) for i in range(4) for j in range(4) if i != j]
    assert float(training.crowding(jnp.asarray(z, jnp.float32))) == pytest.approx(np.log(np.mean(pairs)), abs=1e-4)
    assert np.isfinite(jax.grad(training.crowding)(jnp.ones((4, 6)))).all()


def test_frechet_distance_is_that_of_the_closed_form(float64):
    first, second = (RNG.standard_normal((200, 5)) @ RNG.standard_normal((5, 5)) + k for k in range(2))
    a, b = (quality.moments(jnp.asarray, jnp.split(jnp.asarray(values), [120])) for values in (first, second))
    root = np.real(scipy.linalg.sqrtm(a.covariance @ b.covariance))
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance - 2 * root)
    assert quality.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert quality.frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def test_maps_are_read_from_arrays_or_pictures(tmp_path):
    large = RNG.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    for name in ("npy", "npz", "png"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "npy" / "maps_00000.npy", large)
    np.save(tmp_path / "npy" / "covered.npy", np.ones((16, 16), bool))
    np.savez(tmp_path / "npz" / "maps.npz", image=large)
    for number, one in enumerate(large):
        Image.fromarray(one).save(tmp_path / "png" / f"{number}.png")
    for name in ("npy", "npz", "png"):
        np.testing.assert_array_equal(data.read_maps(tmp_path / name, 16), large)
        assert len(data.read_maps(tmp_path / name, 16, limit=2)) == 2
    with pytest.raises(ValueError, match="squares of k x 12"):
        data.read_maps(tmp_path / "png", 12)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no maps"):
        data.read_maps(tmp_path / "none", 16)


def test_reduced_maps_are_means_in_linear_light():
    black_and_white = np.zeros((1, 4, 4, 3), np.uint8)
    black_and_white[:, ::2] = 255
    assert set(data.reduce(black_and_white, 2).ravel()) == {188}  # half the light, not half the display value
    flat = np.arange(256, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    np.testing.assert_array_equal(data.reduce(flat, 2)[:, 0, 0, 0], np.arange(256))


def test_every_map_is_shown_once_an_epoch():
    source = data.folder_source(np.arange(12).reshape(12, 1, 1, 1), 4, seed=3)
    assert sorted(np.concatenate([source(step).ravel() for step in range(3)])) == list(range(12))
    with pytest.raises(ValueError, match="smaller --batch"):
        data.folder_source(MAPS, 16, seed=0)


def test_drawn_maps_are_never_shown_twice():
    source = data.drawn_source(lambda index: np.full((2, 2, 3), index, np.uint8), 4)
    assert [one[0, 0, 0] for step in range(3) for one in source(step)] == list(range(12))


def test_the_default_head_s_layout_is_symmetric():
    model = load_face_model()
    data.check_mirror(model)
    with pytest.raises(ValueError, match="not symmetric"):
        data.check_mirror(replace(model, uv=model.uv + 0.1))
