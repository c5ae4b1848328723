"""Detail of skin maps: what of the photograph comes back, what stays out, and the grain of what it does not show."""

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.lighting import linear_to_srgb, luminance, srgb_to_linear
from facejax.mesh import points_on_faces
from facejax.programs import jit
from facejax.skin.detail import CELLS, DEEPEST, add_detail, photo_detail, rim
from facejax.skin.pores import BAND, CONTRAST, SLOPE, Grain, pore_tile, skin_grain, texel_pitch
from facejax.skin.relief import detail_normals
from facejax.unwrap.photos import Layout, face_layout
from facejax.unwrap.regions import Regions
from facejax.unwrap.texels import Texels
from facejax.unwrap.views import View

SIZE = 512
STEP = 0.3  # mm per texel
ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE]
SKIN = np.array([0.45, 0.25, 0.17])  # linear
detailed = jit(add_detail)
visible, normals_of, high_pass = jit(rim), jit(detail_normals), jit(photo_detail)


def field(seed: int, contrast: float = 0.03) -> np.ndarray:
    """White noise."""
    return contrast * np.random.default_rng(seed).standard_normal((SIZE, SIZE))


def photo(ratio: np.ndarray, light: np.ndarray | float = 1.0) -> jnp.ndarray:
    """Display values of skin whose logarithm varies, under a light."""
    linear = SKIN * (np.exp(ratio) * light)[..., None]
    return linear_to_srgb(jnp.asarray(np.clip(linear, 0, 1), jnp.float32))


def view(color: jnp.ndarray, seen: np.ndarray | float = 1.0, facing: float = 1.0) -> View:
    valid = jnp.asarray(np.broadcast_to(seen, (SIZE, SIZE)), jnp.float32)
    return View(color * valid[..., None], facing * valid, valid, jnp.ones_like(color))


@pytest.fixture(scope="module")
def layout() -> Layout:
    """All of the map is skin."""
    ones, window = jnp.ones((SIZE, SIZE)), (0, SIZE, 0, SIZE)
    texels = Texels(jnp.zeros((SIZE, SIZE), jnp.int32), jnp.zeros((SIZE, SIZE, 3)), ones > 0)
    return Layout(texels, Regions(ones, ones, ones, ones, ones, window))


@pytest.fixture(scope="module")
def grain() -> Grain:
    tile = pore_tile(STEP, side=SIZE, key=jax.random.key(0))
    return Grain(tile, jnp.full((SIZE, SIZE, 2), STEP))


LOW = jnp.full((CELLS, CELLS, 3), 1.0) * linear_to_srgb(jnp.asarray([[SKIN]], jnp.float32))
SURE = jnp.ones((CELLS, CELLS))
LEFT = (COLUMNS < 200).astype(float)


def ratio_of(albedo: jnp.ndarray) -> np.ndarray:
    return np.log(np.asarray(luminance(srgb_to_linear(albedo))) / (SKIN @ [0.212671, 0.715160, 0.072169]))


def inner(seen: np.ndarray) -> np.ndarray:
    """Texels well within a mask, and away from the border of the map."""
    cells = 10
    far = np.minimum.reduce([np.roll(seen, (i, j), (0, 1)) for i in (-cells, 0, cells) for j in (-cells, 0, cells)])
    far[:12], far[-12:], far[:, :12], far[:, -12:] = 0, 0, 0, 0
    return far > 0.5


# --- what comes back from the photograph ------------------------------------------------------------------------------


def test_fine_detail_comes_back_as_it_is(layout, grain):
    """Against what a map of 256 texels lacks: the field less its means over 2 x 2, interpolated, by numpy."""
    ratio = field(0)
    found = ratio_of(detailed(LOW, SURE, view(photo(ratio)), layout, grain).albedo)
    means = ratio.reshape(CELLS, 2, CELLS, 2).mean((1, 3))
    at = (np.arange(SIZE) + 0.5) / 2 - 0.5
    between = np.stack([np.interp(at, np.arange(CELLS), row) for row in means])
    between = np.stack([np.interp(at, np.arange(CELLS), column) for column in between.T]).T
    some = inner(np.ones((SIZE, SIZE)))
    fit = np.polyfit((ratio - between)[some], found[some], 1)[0]
    assert np.corrcoef((ratio - between)[some], found[some])[0, 1] > 0.98
    assert 0.8 < fit < 1.0  # the soft limit and the guard against edges take a little


def test_smooth_light_leaves_no_detail():
    light = 0.4 + 0.5 * np.sin(COLUMNS / 90.0) ** 2
    detail = high_pass(photo(np.zeros((SIZE, SIZE)), light), jnp.ones((SIZE, SIZE)))
    assert np.abs(np.asarray(detail))[8:-8, 8:-8].max() < 0.004


def test_the_edge_of_a_shadow_does_not_come_back():
    """A plain high pass would show half the step on either side."""
    light = np.where(COLUMNS + 0.5 * ROWS < 301, 1.0, 0.3)
    detail = np.asarray(high_pass(photo(field(1, 0.01), light), jnp.ones((SIZE, SIZE))))
    assert np.abs(detail).max() < 0.1 * np.log(1 / 0.3)


def test_nothing_outside_what_is_seen_bleeds_in():
    color, seen = photo(field(2)), jnp.asarray(LEFT, jnp.float32)
    other = jnp.where(seen[..., None] > 0, color, jnp.asarray([[[0.0, 1.0, 0.0]]]))
    np.testing.assert_allclose(high_pass(color, seen), high_pass(other, seen), atol=1e-5)


def test_colour_is_that_of_the_small_map(layout, grain):
    """Coloured noise of the photograph gives grey detail."""
    color = photo(field(3)) + 0.05 * jnp.asarray(np.random.default_rng(4).standard_normal((SIZE, SIZE, 3)), jnp.float32)
    linear = np.asarray(srgb_to_linear(detailed(LOW, SURE, view(color), layout, grain).albedo))
    np.testing.assert_allclose(
        linear / linear.sum(-1, keepdims=True), np.ones_like(linear) * SKIN / SKIN.sum(), rtol=2e-3
    )


def test_without_strength_the_map_is_enlarged_alone(layout, grain):
    rng = np.random.default_rng(5)
    low = jnp.asarray(rng.uniform(0.2, 0.8, (CELLS, CELLS, 3)), jnp.float32)
    found = detailed(low, SURE, view(photo(field(6))), layout, grain, strength=0.0)
    np.testing.assert_allclose(found.albedo, jax.image.resize(low, (SIZE, SIZE, 3), "linear"), atol=1e-5)
    np.testing.assert_array_equal(found.height, 0)


@pytest.mark.parametrize("what", ["distrusted", "turned away", "burnt out", "not shown"])
def test_detail_stays_out_where_the_photograph_is_of_no_use(layout, grain, what):
    made = view(photo(field(7, 0.1)), facing=0.2 if what == "turned away" else 1.0)
    if what == "burnt out":
        made = replace(made, color=jnp.clip(made.color + 0.6, 0, 1))
    if what == "not shown":
        made = replace(made, shown=jnp.zeros((SIZE, SIZE)))
    trust = 0 * SURE if what == "distrusted" else SURE
    found = ratio_of(detailed(LOW, trust, made, layout, grain).albedo)
    plain = ratio_of(detailed(LOW, SURE, view(photo(0 * ROWS), 0.0), layout, grain).albedo)
    np.testing.assert_allclose(found, plain, atol=0.005)


# --- what the photograph does not show --------------------------------------------------------------------------------


def test_the_other_side_is_mirrored(layout, grain):
    found = ratio_of(detailed(LOW, SURE, view(photo(field(8)), LEFT), layout, grain).albedo)
    some = inner(LEFT)
    assert np.corrcoef(found[some], found[:, ::-1][some])[0, 1] > 0.9


def test_a_mole_does_not_appear_twice(layout, grain):
    """A dark dot of four texels; on the other side it is no more than a shade."""
    ratio = field(9, 0.01)
    ratio[256:258, 100:102] = -0.5
    found = ratio_of(detailed(LOW, SURE, view(photo(ratio), LEFT), layout, grain).albedo)
    mole, copy = found[256:258, 100:102].min(), found[256:258, SIZE - 102 : SIZE - 100].min()
    assert copy > -0.1
    assert mole < copy


@pytest.mark.parametrize("contrast", [0.0, 0.01, 0.03])
def test_unseen_skin_is_as_rough_as_seen_skin(layout, grain, contrast):
    """Also next to a photograph too blurred to have grain of its own."""
    middle = (np.abs(COLUMNS - 255.5) < 100).astype(float)  # symmetric: nothing to mirror
    found = ratio_of(detailed(LOW, SURE, view(photo(field(10, contrast)), middle), layout, grain).albedo)
    seen, unseen = found[inner(middle)].std(), found[inner(1 - middle)].std()
    assert seen > 0
    assert 0.75 < unseen / max(seen, 1e-9) < 1.25


def test_the_border_of_what_was_seen_is_not_visible(layout, grain):
    made = detailed(LOW, SURE, view(photo(field(11)), LEFT), layout, grain)
    assert abs(float(visible(made.albedo, jnp.asarray(LEFT, jnp.float32)))) < 0.3


def test_trust_ends_with_the_photograph(layout, grain):
    trust = detailed(LOW, 0.7 * SURE, view(photo(field(12)), LEFT), layout, grain).trust
    np.testing.assert_allclose(trust, 0.7 * LEFT, atol=1e-6)


def test_faces_can_be_batched(layout, grain):
    color = jnp.stack([photo(field(13)), photo(field(14))])
    views = jax.vmap(view)(color)
    made = jit(jax.vmap(add_detail, in_axes=(0, 0, 0, None, None)))(
        jnp.stack([LOW, LOW]), jnp.stack([SURE, SURE]), views, layout, grain
    )
    alone = detailed(LOW, SURE, view(color[1]), layout, grain)
    np.testing.assert_allclose(made.albedo[1], alone.albedo, atol=1e-5)
    np.testing.assert_allclose(made.height[1], alone.height, atol=1e-5)


@pytest.mark.parametrize(("change", "says"), [
    ({"low": LOW[:128]}, "give .256, 256, 3."), ({"trust": SURE[:5, :5]}, "give .256, 256, 3."),
    ({"grain": Grain(jnp.zeros((64, 64)), jnp.zeros((64, 64, 2)))}, "a grain of .64, 64."),
    ({"view": View(LOW[:64, :64], SURE[:64, :64], SURE[:64, :64], LOW[:64, :64])}, "a view of .64, 64."),
])  # fmt: skip
def test_maps_that_do_not_fit_are_refused(layout, grain, change, says):
    given = {"low": LOW, "trust": SURE, "view": view(photo(0 * ROWS)), "layout": layout, "grain": grain} | change
    with pytest.raises(ValueError, match=says):
        add_detail(**cast(Any, given))


def test_a_layout_without_room_for_detail_is_refused(grain):
    small = jnp.zeros((256, 256))
    texels = Texels(small.astype(jnp.int32), jnp.zeros((256, 256, 3)), small > 0)
    layout = Layout(texels, Regions(small, small, small, small, small, (0, 256, 0, 256)))
    with pytest.raises(ValueError, match="a layout of 256 texels: detail needs 512"):
        add_detail(LOW, SURE, view(photo(0 * ROWS)), layout, grain)


# --- how visible a border is ------------------------------------------------------------------------------------------


def test_a_step_at_the_border_counts_in_colour_difference():
    lab = np.array([60.0, 12, 16])
    color = np.where(LEFT[..., None] > 0, _rgb(lab), _rgb(lab + np.array([3.0, 0, 4.0])))
    assert float(visible(jnp.asarray(color, jnp.float32), jnp.asarray(LEFT, jnp.float32))) == pytest.approx(
        5.0, abs=0.3
    )


def test_a_gradient_across_the_border_is_no_rim():
    color = jnp.asarray(np.ones((SIZE, SIZE, 3)) * (0.3 + 0.4 * COLUMNS / SIZE)[..., None], jnp.float32)
    assert abs(float(visible(color, jnp.asarray(LEFT, jnp.float32)))) < 0.2


def test_no_border_no_rim():
    assert float(visible(jnp.full((64, 64, 3), 0.5), jnp.ones((64, 64)))) == 0


def _rgb(lab: np.ndarray) -> np.ndarray:
    """Display values of CIE 1976 L*a*b* (D65), the published inverse."""
    y = (lab[0] + 16) / 116
    part = np.array([y + lab[1] / 500, y, y - lab[2] / 200])
    xyz = np.where(part > 6 / 29, part**3, 3 * (6 / 29) ** 2 * (part - 4 / 29)) * [0.9505, 1.0, 1.089]
    to_rgb = np.linalg.inv([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    return linear_to_srgb(to_rgb @ xyz)


@pytest.fixture(scope="module")
def toy():
    return toy_model(), face_layout(toy_model(), 128)


# --- grain ------------------------------------------------------------------------------------------------------------


def test_a_tile_has_the_measured_contrast_and_slope():
    step, side = 0.2, 512
    tile = np.asarray(pore_tile(step, side=side, key=jax.random.key(3)), np.float64)
    each = np.fft.fftfreq(side, step)
    frequency = np.hypot(each[:, None], each[None])
    power = np.abs(np.fft.fft2(tile)) ** 2 / side**4
    inside = (frequency > BAND[0]) & (frequency < BAND[1])
    assert np.sqrt(power[inside].sum()) == pytest.approx(CONTRAST, rel=0.05)
    halves = [power[inside & (np.abs(frequency - f) < 0.1)].mean() for f in (0.55, 1.1)]
    assert np.log2(halves[0] / halves[1]) == pytest.approx(SLOPE, abs=0.35)


def test_contrast_does_not_depend_on_the_resolution():
    """Within the frequencies that both resolve."""
    fine, coarse = (np.asarray(pore_tile(step, key=jax.random.key(1))) for step in (0.1, 0.4))
    assert fine.std() == pytest.approx(coarse.std(), rel=0.25)


def test_a_tile_repeats_without_a_seam():
    tile = np.asarray(pore_tile(0.2, key=jax.random.key(2)))
    seam, inside = np.abs(tile[:, 0] - tile[:, -1]).mean(), np.abs(np.diff(tile, axis=1)).mean()
    assert seam < 1.3 * inside


@pytest.mark.parametrize(("step", "side"), [(0.0, 16), (-1.0, 16), (float("nan"), 16), (0.2, 0)])
def test_a_tile_of_no_size_is_refused(step, side):
    with pytest.raises(ValueError, match="must be more than 0"):
        pore_tile(step, side=side, key=jax.random.key(0))


def test_the_pitch_is_the_distance_between_neighbouring_texels(toy):
    model, texels = toy[0], toy[1].texels
    points = points_on_faces(model.mean, model.faces, texels.triangle, texels.weights)
    pitch, triangle = np.asarray(texel_pitch(model, texels)), np.asarray(texels.triangle)
    gap = np.linalg.norm(np.diff(np.asarray(points), axis=1), axis=-1)
    same = np.asarray(texels.covered)[:, 1:] & (triangle[:, 1:] == triangle[:, :-1])
    np.testing.assert_allclose(pitch[:, 1:, 0][same], gap[same], rtol=2e-2)
    gap = np.linalg.norm(np.diff(np.asarray(points), axis=0), axis=-1)
    same = np.asarray(texels.covered)[1:] & (triangle[1:] == triangle[:-1])
    np.testing.assert_allclose(pitch[1:, :, 1][same], gap[same], rtol=2e-2)


def test_grain_has_one_scale_on_the_whole_head_and_no_seam(toy):
    """The chart of the toy head closes at its back: there the grain goes on."""
    model, layout = toy
    small = replace(model, mean=0.1 * model.mean)  # texels of about 0.4 mm
    grain = skin_grain(small, layout, key=jax.random.key(0))
    pores, skin = np.asarray(grain.pores), np.asarray(layout.regions.skin) > 0.5
    assert (pores[~skin] == 0).all()
    rows = skin[:, 0] & skin[:, -1]
    assert rows.sum() > 50
    seam, far = (np.abs(pores[rows, -1] - pores[rows, column]).mean() for column in (0, 64))
    assert 0 < seam < 0.5 * far
    parts = [pores[:, columns][skin[:, columns]].std() for columns in (slice(0, 32), slice(48, 80), slice(96, 128))]
    assert max(parts) < 1.3 * min(parts)


# --- relief -----------------------------------------------------------------------------------------------------------


def test_normals_of_a_slope_are_known():
    """0.1 mm per mm along +u, 0.2 mm per mm along +v, with texels that are longer along v; the border included."""
    rows, columns = np.mgrid[0:16, 0:16]
    height = 0.1 * 0.5 * columns - 0.2 * 0.8 * rows
    pitch = np.ones((16, 16, 2)) * [0.5, 0.8]
    covered = np.ones((16, 16), bool)
    covered[:, 11:] = False
    height[:, 11:] = 7.0  # outside: no influence
    found = normals_of(*(jnp.asarray(x, jnp.float32) for x in (height, pitch)), jnp.asarray(covered))
    wanted = np.array([-0.1, -0.2, 1.0]) / np.sqrt(1.05)
    np.testing.assert_allclose(found[:, :11], np.broadcast_to(wanted, (16, 11, 3)), atol=1e-5)
    np.testing.assert_array_equal(found[:, 11:], np.broadcast_to([0.0, 0, 1], (16, 5, 3)))


def test_dark_is_deep_and_never_too_deep(layout, grain):
    made = detailed(LOW, SURE, view(photo(field(15, 0.08))), layout, grain)
    ratio, height = ratio_of(made.albedo), np.asarray(made.height)
    assert np.corrcoef(ratio.ravel(), height.ravel())[0, 1] > 0.95
    assert np.abs(height).max() < DEEPEST + 1e-6
