"""The skin translator and its training: what it is told, its losses, the light of its training pictures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion
from facejax.commands.demo import portrait, random_face
from facejax.face_model import decode_albedo, neutral_params, own_albedo
from facejax.face_model.load import load_face_model
from facejax.lighting import linear_to_srgb, rgb_to_lab, sh_basis, srgb_to_linear, uniform_light
from facejax.material import Material
from facejax.nets.skin_translator import (
    SkinTranslation,
    SkinTranslatorConfig,
    apply_skin_tone,
    apply_skin_translator,
    init_skin_translator,
    plausible_tone,
)
from facejax.regression.dense import DenseSight
from facejax.skin import skin_maps, skin_tools
from facejax.skin.eye_colors import WHITES, EyeColors, colors_of_eye
from facejax.skin.eyeballs import SHADED, draw_eyeballs, eye_layout, iris_albedo
from facejax.skin.sight import (
    CELLS,
    CHANNELS,
    FACTS,
    OF_SCENE,
    PICTURE,
    QUANTILES,
    SCENE,
    USUAL,
    describe_scene,
    seen_texels,
    skin_sight,
    texel_normals,
    tone_facts,
)
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
from facejax.skin.translator import ASSET, keep_photo, load_translator
from facejax.synthetic.labels import CLASS, CLASSES
from facejax.synthetic.skin_picture import photograph_skin
from facejax.synthetic.sky import Sky, irradiance, make_sky, spiral
from facejax.unwrap import Texels, View, mesh_texels
from facejax.unwrap.photos import cut_out

SMALL = SkinTranslatorConfig(size=64, widths=(8, 8, 8, 8, 8), blocks=(0, 0, 0, 0, 1), back=(8, 8, 8, 8))


def plain_texels(size: int) -> Texels:
    whole = jnp.ones((size, size), bool)
    return Texels(jnp.zeros((size, size), jnp.int32), jnp.zeros((size, size, 3)), whole)


def ball(size: int) -> np.ndarray:
    """Normals of a sphere, so that all directions towards the camera are there."""
    line = np.linspace(-0.7, 0.7, size)
    x, y = np.meshgrid(line, -line)
    return np.stack([x, y, np.sqrt(1 - x**2 - y**2)], axis=-1).astype(np.float32)


def sight_of(color, seen, normals, albedo):
    """What is told of a texture that fills its layout, and of no picture."""
    none = jnp.zeros(PICTURE), jnp.zeros(WHITES)
    return skin_sight(color, seen, jnp.asarray(normals), *none, albedo, plain_texels(len(color)))


def test_the_light_is_found_and_divided_out():
    rng = np.random.default_rng(0)
    normals = jnp.asarray(ball(64))
    albedo = jnp.asarray(rng.uniform(0.3, 0.8, (64, 64, 3)), jnp.float32)
    light = uniform_light(0.7) + 0.15 * jnp.asarray(rng.normal(size=(9, 3)), jnp.float32)
    color = linear_to_srgb(srgb_to_linear(albedo) * (sh_basis(normals) @ light))
    assert color.min() > 0 and color.max() < 0.98
    seen = jnp.ones((64, 64))
    sight = sight_of(color, seen, normals, albedo)
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
    sight = sight_of(spotted, seen, normals, albedo)
    clean = np.asarray(sight.relative)[:8]
    assert clean.std() < 0.01 * clean.mean()
    assert np.all(np.asarray(sight.relative)[40:] == 0)


def test_maps_hold_the_other_side_and_the_place():
    rng = np.random.default_rng(1)
    color, seen = (
        jnp.asarray(rng.random((32, 32, 3)), jnp.float32),
        jnp.asarray(rng.random((32, 32)) > 0.3, jnp.float32),
    )
    sight = sight_of(color, seen, ball(32), 0.5 + 0 * color)
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


def losses_of(albedo, truth, weight):
    count = len(albedo)
    gloss, tones = jnp.full((count, *albedo.shape[1:3], 2), 0.5), jnp.broadcast_to(TONE, (count, 3))
    relative = srgb_to_linear(albedo) / jnp.exp(tones)[:, None, None]
    error = jnp.full(albedo.shape[:3], -3.0)
    output = SkinTranslation(relative, error, gloss[..., 0], gloss[..., 1])
    return skin_losses(output, SkinTruth(truth, tones, gloss, weight))


def test_losses_vanish_at_the_truth_and_ignore_what_does_not_count():
    rng = np.random.default_rng(2)
    truth = jnp.asarray(rng.uniform(0.1, 0.9, (2, 64, 64, 3)), jnp.float32)
    weight = jnp.ones((2, 64, 64)).at[:, 32:].set(0.0)
    other = truth.at[:, 32:].set(0.5)
    terms = losses_of(other, truth, weight)
    for name in ("albedo", "edges", "gloss"):
        assert float(terms[name]) == pytest.approx(0.0, abs=1e-5)


def test_a_constant_error_costs_itself_at_every_level():
    truth = jnp.full((1, 64, 64, 3), 0.5)
    terms = losses_of(truth + 0.02, truth, jnp.ones((1, 64, 64)))
    assert float(terms["albedo"]) == pytest.approx(0.02, rel=1e-3)
    assert float(terms["edges"]) == pytest.approx(0.0, abs=1e-6)
    assert float(terms["psnr"]) == pytest.approx(-20 * np.log10(0.02), abs=0.02)


def test_a_wrong_tone_costs_its_distance():
    colors = [rgb_to_lab(linear_to_srgb(np.exp(np.asarray(tone, np.float64)))) for tone in (TONE, TONE + 0.2)]
    found = tone_distance(TONE[None] + 0.2, TONE[None])
    assert float(found[0]) == pytest.approx(np.linalg.norm(colors[0] - colors[1]), rel=1e-3)


def test_the_tone_is_learnt_from_facts():
    rng = np.random.default_rng(6)
    facts = jnp.asarray(rng.normal(size=(1300, FACTS)), jnp.float32)
    tones = TONE[None] + 0.2 * facts[:, :3] - 0.1 * facts[:, 3:4]
    config, recipe = SkinTranslatorConfig(), ToneRecipe(steps=300, batch=64)
    weights = jax.jit(lambda *data: train_tone(config, recipe, *data))(facts[:1200], tones[:1200])
    held_out = tone_distance(apply_skin_tone(config, weights, facts[1200:]), tones[1200:])
    plain = tone_distance(jnp.broadcast_to(tones[:1200].mean(axis=0), (100, 3)), tones[1200:])
    assert float(held_out.mean()) < 0.4 * float(plain.mean())


def test_tones_are_those_of_skins():
    usual = np.log(np.array([[0.5, 0.33, 0.25], [0.06, 0.03, 0.02]], np.float32))
    np.testing.assert_allclose(plausible_tone(jnp.asarray(usual)), usual, atol=1e-5)
    odd = jnp.log(jnp.array([[0.98, 0.97, 0.9], [0.01, 0.005, 0.004], [0.2, 0.3, 0.6]]))
    found = np.exp(np.asarray(plausible_tone(odd)))
    bright = found @ [0.2126, 0.7152, 0.0722]
    np.testing.assert_allclose(bright[:2], [0.6, 0.03], rtol=1e-3)
    assert np.all(found[:, 0] > 1.2 * found[:, 1]) and np.all(found[:, 1] > 1.1 * found[:, 2] - 1e-6)
    np.testing.assert_allclose(bright[2], np.exp(np.asarray(odd[2])) @ [0.2126, 0.7152, 0.0722], rtol=1e-4)


def told(color, seen, normals, light=None, whites=None):
    light = uniform_light() if light is None else light
    whites = jnp.zeros(WHITES) if whites is None else whites
    arrays = (jnp.asarray(one, jnp.float32) for one in (color, seen, normals, np.arange(PICTURE), whites, light))
    return np.asarray(tone_facts(*arrays))


def test_the_facts_are_those_of_the_texels_that_are_seen():
    rng = np.random.default_rng(7)
    color = rng.uniform(0.1, 0.9, (32, 32, 3)).astype(np.float32)
    seen = (rng.random((32, 32)) > 0.4).astype(np.float32)
    whites = np.linspace(-1, 0, WHITES)
    facts = told(color, seen, ball(32), whites=whites)
    assert facts.shape == (FACTS,)
    known = srgb_to_linear(color[::4, ::4][seen[::4, ::4] > 0.5].astype(np.float64))
    np.testing.assert_array_equal(facts[:PICTURE], np.arange(PICTURE))
    np.testing.assert_allclose(facts[PICTURE : PICTURE + WHITES], whites, atol=1e-6)
    at = PICTURE + WHITES
    np.testing.assert_allclose(facts[at : at + 3], np.log(known.mean(axis=0) + 0.003), atol=2e-3)
    levels = np.log(np.quantile(known, QUANTILES, axis=0) + 0.003).ravel()
    np.testing.assert_allclose(facts[at + 3 : at + 3 + len(levels)], levels, atol=1e-3)
    assert np.all(np.isfinite(told(color, np.zeros((32, 32)), ball(32))))


def test_the_cells_tell_the_sides_of_a_face():
    color = np.full((64, 64, 3), 0.8)
    color[:, 32:] = 0.3
    seen = np.ones((64, 64))
    seen[:, :26] = 0
    cells = told(color, seen, ball(64))[-8 - 4 * CELLS : -8].reshape(4, 3, 4)
    np.testing.assert_array_equal(cells[:, 0], 0)  # not seen
    np.testing.assert_allclose(cells[:, 2, :3], np.log(float(srgb_to_linear(jnp.float32(0.3))) + 0.003), atol=1e-3)
    np.testing.assert_allclose(cells[:, 2, 3], 1)
    assert np.all(cells[:, 1, 0] > cells[:, 2, 0])


def test_the_shape_of_the_light_is_told_without_its_strength():
    light = uniform_light().at[1].set(0.3)
    color = np.full((32, 32, 3), 0.5)
    facts = [told(color, np.ones((32, 32)), ball(32), factor * light)[-8:] for factor in (1.0, 3.0)]
    np.testing.assert_allclose(facts[0], facts[1], rtol=1e-5)
    assert facts[0][0] > 0 and np.all(facts[0][1:] == 0)


def drawn_eye(white=(0.62, 0.55, 0.5), skin=(0.5, 0.3, 0.22)):
    """A square around an eye: an almond of white on skin, with a dark iris; its lids and iris as points."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    angles = np.arange(16) * 2 * np.pi / 16
    lids = np.stack([32 + 20 * np.cos(angles), 32 + 8 * np.sin(angles)], axis=-1)
    inside = ((x - 32) / 20) ** 2 + ((y - 32) / 8) ** 2 < 1
    iris = np.hypot(x - 30, y - 32) < 7
    linear = np.where(inside[..., None], white, skin) * (1 - 0.3 * (y[..., None] < 28))  # a lid's shadow
    linear = np.where((inside & iris)[..., None], 0.01, linear)
    rim = np.array([[30, 32], [37, 32], [23, 32], [30, 25], [30, 39]], np.float32)
    return linear_to_srgb(jnp.asarray(linear, jnp.float32)), jnp.asarray(rim), lids


def test_the_white_of_an_eye_is_what_is_within_the_lids_and_not_iris():
    crop, rim, lids = drawn_eye()
    shuffled = np.random.default_rng(3).permutation(lids).astype(np.float32)
    found = colors_of_eye(crop, jnp.asarray(shuffled), rim)
    np.testing.assert_allclose(np.exp(found.white[:3]) - 0.003, [0.62, 0.55, 0.5], rtol=0.02)
    np.testing.assert_allclose(np.exp(found.iris[:3]) - 0.003, 0.01, rtol=0.02)
    assert 0.2 < found.white[3] < 0.4 and 0.1 < found.iris[3] < 0.25
    closed = np.asarray(lids, np.float32).copy()
    closed[:, 1] = 32
    assert all(np.all(np.asarray(part) == 0) for part in colors_of_eye(crop, jnp.asarray(closed), rim))


def test_irises_have_the_colour_that_is_seen_beside_the_white():
    none, light = jnp.zeros((2, 4)), jnp.array([0.8, 0.5, 0.4])
    blue, white = np.array([0.04, 0.06, 0.12]), np.array([0.62, 0.57, 0.53])
    iris, whites = (jnp.array([[*np.log(color * light), 0.2], [0.0] * 4]) for color in (blue, white))
    np.testing.assert_allclose(iris_albedo(EyeColors(whites, iris), jnp.ones(3)), blue, rtol=1e-3)
    np.testing.assert_allclose(iris_albedo(EyeColors(none, iris), light / SHADED), blue, rtol=1e-3)
    hidden = np.asarray(iris_albedo(EyeColors(none, none), light))
    assert hidden[0] > hidden[2] > 0  # brown


def test_eyeballs_are_drawn_where_they_are():
    model = load_face_model()
    texels = mesh_texels(model, 256)
    eyes = eye_layout(model, texels)
    blank = jnp.full((256, 256), 0.5)
    normal = jnp.zeros((256, 256, 3)).at[..., 0].set(1.0)
    drawn = draw_eyeballs(Material(normal + 0.5, normal, blank, blank, blank), eyes, jnp.array([0.05, 0.1, 0.3]))
    ball = np.asarray(eyes.ball)
    np.testing.assert_array_equal(np.asarray(drawn.albedo)[~ball], np.asarray(normal + 0.5)[~ball])
    albedo, angle = srgb_to_linear(np.asarray(drawn.albedo)), np.rad2deg(np.asarray(eyes.angle))
    rights = np.arange(256)[None] < 128
    for side in (ball & rights, ball & ~rights):
        pupil, iris, white = (
            albedo[side & (angle > low) & (angle < high)].mean(axis=0) for low, high in ((0, 5), (10, 17), (25, 40))
        )
        assert pupil.max() < 0.02 and iris[2] > 1.5 * iris[0]
        np.testing.assert_allclose(white, [0.62, 0.57, 0.53], rtol=0.05)
    # On the shipped albedo the same places are dark and bright.
    shipped = np.asarray(own_albedo(model).mean).mean(axis=-1)
    assert shipped[ball & (angle < 18)].mean() < 0.5 * shipped[ball & (angle > 24) & (angle < 40)].mean()


def test_paint_stays_and_light_goes():
    across = np.linspace(0, 1, 128)[None, :, None]
    skin = np.array([0.4, 0.25, 0.2])
    own = np.broadcast_to(skin, (128, 128, 3)).copy()
    own[52:76, 60:76] = (0.05, 0.1, 0.4)
    color = linear_to_srgb(jnp.asarray(own * (0.4 + 1.2 * across), jnp.float32))
    kept = jnp.ones((128, 128)).at[:, :16].set(0.0)
    clean = kept.at[52:76, 60:76].set(0.0)  # the network that looks knows some of the paint
    said = jnp.broadcast_to(jnp.asarray(skin / skin.mean(), jnp.float32), (128, 128, 3))  # and the other paints it over
    found = np.asarray(keep_photo(said, color, kept, clean)) * skin.mean()
    np.testing.assert_allclose(found[:, :13], skin[None, None] * np.ones((128, 13, 1)), rtol=1e-4)
    np.testing.assert_allclose(found[64, 68], own[64, 68], rtol=0.1)
    np.testing.assert_allclose(found[20, 40:110], own[20, 40:110], rtol=0.1)
    unknown = np.asarray(keep_photo(said, color, kept, kept)) * skin.mean()
    np.testing.assert_allclose(unknown[64, 68], own[64, 68], rtol=0.2)
    np.testing.assert_allclose(unknown[64, 84], own[64, 84], rtol=0.1)  # no halo beside it


def test_the_albedo_is_the_tone_times_the_variation():
    relative = jnp.full((1, 4, 4, 3), 0.5)
    gloss = jnp.zeros((1, 4, 4))
    output = SkinTranslation(relative, gloss, gloss, gloss)
    expected = linear_to_srgb(np.broadcast_to(0.5 * np.exp(np.asarray(TONE)), (1, 4, 4, 3)))
    np.testing.assert_allclose(np.asarray(output.albedo(TONE[None])), expected, rtol=1e-5)


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
    normals = jnp.asarray(ball(64))
    sight = jax.vmap(lambda one: sight_of(one, jnp.ones((64, 64)), normals, truth[0]))(color)
    state = init_skin_state(SMALL, recipe, jax.random.key(0))
    tone = jnp.log(srgb_to_linear(truth[:, 0, 0]))
    target = SkinTruth(truth, tone, jnp.full((2, 64, 64, 2), 0.5), jnp.ones((2, 64, 64)))
    step = jax.jit(lambda state: skin_step(SMALL, recipe, state, sight, target))
    seen = []
    for _ in range(60):
        state, terms = step(state)
        seen.append(float(terms["albedo"]))
    assert seen[-1] < 0.5 * seen[0]


def test_the_shipped_translator_loads_and_is_small():
    network = load_translator()
    size = sum(path.stat().st_size for path in ASSET.rglob("*") if path.is_file())
    assert size < 8e6
    sizes = network.config.channels, network.config.scene, network.config.facts
    assert sizes == (CHANNELS, SCENE, FACTS)


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


@pytest.mark.thorough
def test_maps_of_a_portrait_are_complete_and_near_its_skin(tmp_path):
    """A portrait of a known skin, with its own parameters in the place of a fit's."""
    model = load_face_model()
    face = random_face(model, key=jax.random.key(3))
    photo, points = portrait(model, face, key=jax.random.key(4))
    tools = skin_tools(512)
    found = skin_maps(model, [face], [cut_out(photo, points, tools.layout)], [points], tools)
    maps, true = found.material, np.asarray(decode_albedo(model, face))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(maps))
    assert maps.albedo.shape == maps.normal.shape == (512, 512, 3) and maps.trust.shape == (512, 512)
    np.testing.assert_allclose(np.linalg.norm(maps.normal, axis=-1), 1, atol=1e-4)
    skin = np.asarray(tools.layout.regions.face) > 0.5
    large = np.asarray(jax.image.resize(jnp.asarray(true), (512, 512, 3), "linear"))
    said, meant = (rgb_to_lab(x.astype(np.float64)[skin].mean(axis=0)) for x in (np.asarray(maps.albedo), large))
    assert np.linalg.norm(said - meant) < 20
    # Nothing is missing: the hidden part of the face has the colours of the seen one.
    seen = np.asarray(found.layer.shown) > 0.5
    assert 0.5 < seen[skin].mean() < 1
    assert np.abs(maps.albedo[skin & seen].mean(0) - maps.albedo[skin & ~seen].mean(0)).max() < 0.15
    assert maps.trust[np.asarray(found.layer.shown) < 0.01].max() < 0.01 < 0.2 < maps.trust[skin & seen].mean()


@pytest.mark.thorough
def test_several_photographs_are_one_skin():
    model = load_face_model()
    face = random_face(model, key=jax.random.key(5))
    turned = dataclasses.replace(
        face, pose=Pose(euler_to_quaternion(jnp.array([0.0, 40.0, 0.0])), face.pose.translation)
    )
    tools = skin_tools(512)
    shots = [portrait(model, one, key=jax.random.key(6)) for one in (face, turned)]
    cuts, points = [cut_out(*shot, tools.layout) for shot in shots], [shot[1] for shot in shots]
    both = skin_maps(model, [face, turned], cuts, points, tools)
    alone = skin_maps(model, [face], cuts[:1], points[:1], tools)
    assert both.views.valid.shape == (2, 512, 512)
    assert (both.layer.shown > 0.5).sum() > (alone.layer.shown > 0.5).sum()
    skin = np.asarray(tools.layout.regions.face) > 0.5
    assert np.abs(both.material.albedo - alone.material.albedo)[skin].mean() < 0.1


@pytest.mark.slow
def test_a_picture_of_a_skin_follows_its_skin_and_its_key():
    model, sky = load_face_model(), make_sky(load_face_model())
    take = jax.jit(lambda key, albedo: photograph_skin(key, model, sky, albedo, size=64))
    light, dark = (jnp.full((64, 64, 3), value) for value in (0.8, 0.3))
    first, again, other = take(jax.random.key(0), light), take(jax.random.key(0), light), take(jax.random.key(0), dark)
    np.testing.assert_array_equal(first.image, again.image)
    assert np.mean(first.image) > np.mean(other.image) and np.all(np.isfinite(other.image))
    assert np.all((first.gloss >= 0) & (first.gloss <= 1))


def test_the_sky_of_a_head_is_open_at_the_nose_and_not_below_the_chin():
    model = load_face_model()
    sky = make_sky(model)
    tip = int(np.argmax(np.asarray(model.mean)[:, 2]))
    ahead = np.asarray(sky.direction)[:, 2] > 0.5
    assert np.asarray(sky.sees)[tip, ahead].mean() > 0.95
    assert np.asarray(sky.sees)[tip, np.asarray(sky.direction)[:, 2] < -0.7].mean() < 0.1
    mirrored = np.asarray(sky.sees).mean(axis=1)
    left = np.asarray(model.mean)[:, 0] > 1
    assert abs(mirrored[left].mean() - mirrored[np.asarray(model.mean)[:, 0] < -1].mean()) < 0.02
