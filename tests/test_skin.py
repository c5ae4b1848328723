"""The skin translator and its training: what it is told, its losses, the light of its training pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.camera import PerspectiveCamera
from facejax.face_model import neutral_params
from facejax.face_model.load import load_face_model
from facejax.lighting import linear_to_srgb, rgb_to_lab, sh_basis, srgb_to_linear, uniform_light
from facejax.nets.skin_translator import (
    SkinTranslation,
    SkinTranslatorConfig,
    apply_skin_translator,
    init_skin_translator,
)
from facejax.regression.dense import DenseSight
from facejax.skin.sight import CHANNELS, OF_SCENE, SCENE, USUAL, describe_scene, seen_texels, skin_sight, texel_normals
from facejax.skin.training import SkinRecipe, SkinTruth, init_skin_state, skin_losses, skin_step
from facejax.skin.translator import ASSET, load_translator
from facejax.synthetic.labels import CLASS, CLASSES
from facejax.synthetic.sky import Sky, irradiance, spiral
from facejax.unwrap import Texels, View, mesh_texels

SMALL = SkinTranslatorConfig(size=64, widths=(8, 8, 8, 8, 8), blocks=(0, 0, 0, 0, 1), back=(8, 8, 8, 8))


def plain_texels(size: int) -> Texels:
    whole = jnp.ones((size, size), bool)
    return Texels(jnp.zeros((size, size), jnp.int32), jnp.zeros((size, size, 3)), whole)


def ball(size: int) -> np.ndarray:
    """Normals of a sphere, so that all directions towards the camera are there."""
    line = np.linspace(-0.7, 0.7, size)
    x, y = np.meshgrid(line, -line)
    return np.stack([x, y, np.sqrt(1 - x**2 - y**2)], axis=-1).astype(np.float32)


def test_the_light_is_found_and_divided_out():
    rng = np.random.default_rng(0)
    normals = jnp.asarray(ball(64))
    albedo = jnp.asarray(rng.uniform(0.3, 0.8, (64, 64, 3)), jnp.float32)
    light = uniform_light(0.7) + 0.15 * jnp.asarray(rng.normal(size=(9, 3)), jnp.float32)
    color = linear_to_srgb(srgb_to_linear(albedo) * (sh_basis(normals) @ light))
    assert color.min() > 0 and color.max() < 0.98
    seen = jnp.ones((64, 64))
    sight = skin_sight(color, seen, normals, jnp.zeros(SCENE - 3), albedo, plain_texels(64))
    ratio = np.asarray(sight.relative / srgb_to_linear(albedo))
    # One gain per channel is left. The ridge keeps the last percent.
    assert np.all(ratio.std(axis=(0, 1)) < 0.02 * ratio.mean(axis=(0, 1)))
    np.testing.assert_allclose(np.asarray(sight.relative).mean(axis=(0, 1)), 1.0, atol=1e-3)
    # The picture's mean, without the variation of the light, is told apart.
    told = np.exp(np.asarray(sight.scene[-3:])) - 0.003
    linear = np.asarray(srgb_to_linear(color)).mean(axis=(0, 1))
    np.testing.assert_allclose(told, linear, rtol=0.05)


def test_a_highlight_and_what_is_hidden_do_not_change_the_light():
    normals, albedo = jnp.asarray(ball(64)), jnp.full((64, 64, 3), 0.6)
    color = linear_to_srgb(srgb_to_linear(albedo) * (sh_basis(normals) @ uniform_light(0.8)))
    spotted = color.at[10:20, 10:20].set(1.0).at[40:, :].set(0.1)
    seen = jnp.ones((64, 64)).at[40:].set(0.0)
    sight = skin_sight(spotted, seen, normals, jnp.zeros(SCENE - 3), albedo, plain_texels(64))
    clean = np.asarray(sight.relative)[:8]
    assert clean.std() < 0.01 * clean.mean()
    assert np.all(np.asarray(sight.relative)[40:] == 0)


def test_maps_hold_the_other_side_and_the_place():
    rng = np.random.default_rng(1)
    color, seen = (
        jnp.asarray(rng.random((32, 32, 3)), jnp.float32),
        jnp.asarray(rng.random((32, 32)) > 0.3, jnp.float32),
    )
    sight = skin_sight(color, seen, jnp.asarray(ball(32)), jnp.zeros(SCENE - 3), 0.5 + 0 * color, plain_texels(32))
    maps = np.asarray(sight.maps)
    assert maps.shape == (32, 32, CHANNELS)
    np.testing.assert_array_equal(maps[..., :3], np.asarray(color * seen[..., None]))
    even = linear_to_srgb(np.clip(USUAL * np.asarray(sight.relative), 0, 1))
    np.testing.assert_allclose(maps[..., 7:10], even, atol=1e-5)
    np.testing.assert_allclose(maps[..., 10:13], even[:, ::-1], atol=1e-5)
    np.testing.assert_array_equal(maps[..., 13], np.asarray(seen)[:, ::-1])
    np.testing.assert_allclose(maps[0, :, 14], (np.arange(32) + 0.5) / 16 - 1, atol=1e-6)


def test_the_scene_is_told_by_class():
    picture = jnp.zeros((32, 32, 3)).at[:16].set(jnp.array([0.9, 0.5, 0.2])).at[16:].set(0.7)
    chance = np.zeros((32, 32, len(CLASSES)), np.float32)
    chance[:16, :, CLASS["skin"]] = 1
    chance[16:, :, CLASS["clothes"]] = 1
    identity = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    sight = DenseSight(
        jnp.asarray(chance), jnp.zeros((32, 32, 2)), jnp.zeros((32, 32)), jnp.zeros((32, 32, 3)), identity
    )
    rows = np.asarray(describe_scene(picture, sight))[: 4 * len(OF_SCENE)].reshape(-1, 4)
    said = dict(zip(OF_SCENE, rows, strict=True))
    np.testing.assert_allclose(said["skin"][:3], np.log(np.asarray(srgb_to_linear(picture[0, 0])) + 0.003), rtol=1e-3)
    np.testing.assert_allclose(said["clothes"][:3], np.log(srgb_to_linear(np.full(3, 0.7)) + 0.003), rtol=1e-3)
    assert said["skin"][3] == pytest.approx(0.5**0.5) and np.all(said["hair"] == 0)


def test_seen_texels_are_valid_and_shown():
    ones = jnp.ones((4, 4))
    view = View(jnp.zeros((4, 4, 3)), ones, 0.5 * ones, jnp.zeros((4, 4, 3)), 0.5 * ones)
    assert np.all(np.asarray(seen_texels(view)) == 0.25)


def test_normals_of_the_mean_face_at_its_texels():
    model = load_face_model()
    texels = mesh_texels(model, 128)
    params = neutral_params(model, PerspectiveCamera(jnp.float32(500.0), jnp.full(2, 64.0)))
    normals = np.asarray(texel_normals(model, params, texels))
    covered = np.asarray(texels.covered)
    np.testing.assert_allclose(np.linalg.norm(normals[covered], axis=-1), 1.0, atol=1e-5)
    assert np.all(normals[~covered] == 0)
    # The chart is symmetric, so the normals are too, with x turned.
    mirrored = normals[:, ::-1] * [-1, 1, 1]
    both = covered & covered[:, ::-1]
    assert np.median(np.abs(normals - mirrored)[both]) < 1e-3


TONE = jnp.log(jnp.array([0.36, 0.2, 0.15]))


def losses_of(albedo, truth, weight, tone=TONE):
    count = len(albedo)
    gloss, tones = jnp.full((count, *albedo.shape[1:3], 2), 0.5), jnp.broadcast_to(TONE, (count, 3))
    relative = srgb_to_linear(albedo) / jnp.exp(tones)[:, None, None]
    error = jnp.full(albedo.shape[:3], -3.0)
    output = SkinTranslation(relative, jnp.broadcast_to(tone, (count, 3)), error, gloss[..., 0], gloss[..., 1])
    return skin_losses(output, SkinTruth(truth, tones, gloss, weight))


def test_losses_vanish_at_the_truth_and_ignore_what_does_not_count():
    rng = np.random.default_rng(2)
    truth = jnp.asarray(rng.uniform(0.1, 0.9, (2, 64, 64, 3)), jnp.float32)
    weight = jnp.ones((2, 64, 64)).at[:, 32:].set(0.0)
    other = truth.at[:, 32:].set(0.5)
    terms = losses_of(other, truth, weight)
    for name in ("albedo", "edges", "gloss"):
        assert float(terms[name]) == pytest.approx(0.0, abs=1e-5)
    assert float(terms["tone"]) < 1e-4


def test_a_constant_error_costs_itself_at_every_level():
    truth = jnp.full((1, 64, 64, 3), 0.5)
    terms = losses_of(truth + 0.02, truth, jnp.ones((1, 64, 64)))
    assert float(terms["albedo"]) == pytest.approx(0.02, rel=1e-3)
    assert float(terms["edges"]) == pytest.approx(0.0, abs=1e-6)
    assert float(terms["psnr"]) == pytest.approx(-20 * np.log10(0.02), abs=0.02)


def test_a_wrong_tone_costs_its_distance_and_nothing_else():
    truth = jnp.full((1, 64, 64, 3), 0.5)
    terms = losses_of(truth, truth, jnp.ones((1, 64, 64)), tone=TONE + 0.2)
    colors = [rgb_to_lab(linear_to_srgb(np.exp(np.asarray(tone, np.float64)))) for tone in (TONE, TONE + 0.2)]
    assert float(terms["tone"]) == pytest.approx(np.linalg.norm(colors[0] - colors[1]), rel=1e-3)
    assert float(terms["albedo"]) == pytest.approx(0.0, abs=1e-5)


def test_the_albedo_is_the_tone_times_the_variation():
    relative = jnp.full((1, 4, 4, 3), 0.5)
    gloss = jnp.zeros((1, 4, 4))
    output = SkinTranslation(relative, TONE[None], gloss, gloss, gloss)
    expected = linear_to_srgb(np.broadcast_to(0.5 * np.exp(np.asarray(TONE)), (1, 4, 4, 3)))
    np.testing.assert_allclose(np.asarray(output.albedo()), expected, rtol=1e-5)


def test_the_untrained_network_passes_the_photograph_through():
    weights = init_skin_translator(SMALL, jax.random.key(0))
    rng = np.random.default_rng(3)
    relative = jnp.asarray(rng.uniform(0.5, 1.5, (1, 64, 64, 3)), jnp.float32)
    maps = jnp.asarray(rng.normal(size=(1, 64, 64, CHANNELS)), jnp.float32)
    output = apply_skin_translator(SMALL, weights, maps, jnp.zeros((1, SCENE)), relative, jnp.ones((1, 64, 64)))
    assert np.corrcoef(np.asarray(output.relative).ravel(), np.asarray(relative).ravel())[0, 1] > 0.98
    hidden = apply_skin_translator(SMALL, weights, maps, jnp.zeros((1, SCENE)), relative, jnp.zeros((1, 64, 64)))
    assert np.std(np.asarray(hidden.relative)) < 0.1  # painted, not taken from what was not seen
    for leaf in output:
        assert np.all(np.isfinite(leaf))


def test_steps_lower_the_loss():
    rng = np.random.default_rng(4)
    recipe = SkinRecipe(steps=60, batch=2, warmup=2, rate=3e-3)
    truth = jnp.broadcast_to(jnp.array([0.7, 0.5, 0.4]), (2, 64, 64, 3))
    color = jnp.clip(truth * jnp.asarray(rng.uniform(0.5, 0.9, (2, 64, 64, 1)), jnp.float32), 0, 1)
    normals, texels = jnp.asarray(ball(64)), plain_texels(64)
    see = lambda one: skin_sight(one, jnp.ones((64, 64)), normals, jnp.zeros(SCENE - 3), truth[0], texels)  # noqa: E731
    sight = jax.vmap(see)(color)
    state = init_skin_state(SMALL, recipe, jax.random.key(0))
    tone = jnp.log(srgb_to_linear(truth[:, 0, 0]))
    target = SkinTruth(truth, tone, jnp.full((2, 64, 64, 2), 0.5), jnp.ones((2, 64, 64)))
    step = jax.jit(lambda state: skin_step(SMALL, recipe, state, sight, target))
    seen = []
    for _ in range(60):
        state, terms = step(state)
        seen.append((float(terms["albedo"]), float(terms["tone"])))
    assert seen[-1][0] < 0.5 * seen[0][0] and seen[-1][1] < 0.5 * seen[0][1]


def test_the_shipped_translator_loads_and_is_small():
    network = load_translator()
    size = sum(path.stat().st_size for path in ASSET.rglob("*") if path.is_file())
    assert size < 8e6
    assert network.config.channels == CHANNELS and network.config.scene == SCENE


def test_an_open_sky_lights_all_sides_alike():
    directions = jnp.asarray(spiral(192), jnp.float32)
    normals = jnp.asarray(spiral(50), jnp.float32)
    sky = Sky(directions, jnp.ones((50, 192)))
    np.testing.assert_allclose(np.asarray(irradiance(sky, normals, jnp.ones((192, 1)))), 1.0, atol=0.02)


def test_half_a_sky_lights_by_lambert():
    """Radiance 1 from above: a normal tilted by t from it gets (1 + cos t) / 2."""
    directions = jnp.asarray(spiral(192), jnp.float32)
    tilt = np.linspace(0, np.pi, 9)
    normals = jnp.asarray(np.stack([np.sin(tilt), np.cos(tilt), 0 * tilt], axis=1), jnp.float32)
    above = (directions[:, 1:2] > 0).astype(jnp.float32)
    found = irradiance(Sky(directions, jnp.ones((9, 192))), normals, above)[:, 0]
    np.testing.assert_allclose(np.asarray(found), (1 + np.cos(tilt)) / 2, atol=0.03)
