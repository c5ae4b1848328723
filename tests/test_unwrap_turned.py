"""Completion by a generator, against the maps that were hidden from it; and the loop over a turned head."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.camera import PerspectiveCamera, project, to_camera
from facejax.face_model import LinearAlbedo, decode, neutral_params
from facejax.rendering import sample_texture
from facejax.unwrap import by_generator, complete_by_generator, mesh_texels, seen_when_turned, turn_and_complete
from facejax.unwrap.turned import expose, exposure, search, stitch, turn

SIZE = 64
LEFT = (np.arange(SIZE) < SIZE // 2).astype(np.float32) * np.ones((SIZE, 1), np.float32)  # known half


def family(size: int = SIZE) -> LinearAlbedo:
    """Maps of five numbers: shade, two tilts, and two waves of different hue, none of them symmetric but the first."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    waves = [0.1 + 0 * x, 0.2 * x, 0.2 * y, 0.1 * np.sin(9 * x + 4 * y), 0.1 * np.cos(7 * y - 5 * x + 1)]
    hues = np.array([[1, 1, 1], [1, 0.6, 0.4], [0.3, 1, 0.5], [1, 0.2, 0.6], [0.5, 0.4, 1]])
    basis = np.stack([wave[..., None] * hue for wave, hue in zip(waves, hues, strict=True)])
    mean = np.full((size, size, 3), [0.6, 0.5, 0.4])
    return LinearAlbedo(*(jnp.asarray(x, jnp.float32) for x in (mean, basis, np.ones(5))))


TRUTH = np.array([0.8, -0.7, 0.5, 1.0, -0.9], np.float32)
complete = jax.jit(partial(complete_by_generator, match=False, prior=1e-3))


def true_map(size: int = SIZE) -> np.ndarray:
    return np.asarray(family(size).decode({"albedo": jnp.asarray(TRUTH)}))


def hidden(texture: np.ndarray, known: np.ndarray) -> jnp.ndarray:
    """Black where not known, as an unwrapped photograph is."""
    return jnp.asarray(texture * known[..., None])


def worst(got, want, where) -> float:
    return float(np.abs(np.asarray(got) - np.asarray(want))[np.asarray(where) > 0].max())


# ---- the whole map at once


@pytest.mark.parametrize("size", [SIZE // 2, SIZE])
def test_the_hidden_half_is_found(size):
    """By a generator of smaller maps, and of the same size. The mean map is off by 0.24."""
    result = complete(family(size), hidden(true_map(), LEFT), jnp.asarray(LEFT))
    assert worst(true_map(), family().mean, 1 - LEFT) > 0.2
    assert worst(result.texture, true_map(), np.ones_like(LEFT)) < 0.02
    np.testing.assert_array_equal(result.source, 1 - LEFT)


def test_wrong_texels_count_for_little():
    """Every twelfth known texel is white: a fit by squares would be off by ten times as much."""
    texture = true_map().copy()
    texture[::3, ::4] = 1.0
    got = complete(family(), hidden(texture, LEFT), jnp.asarray(LEFT))
    weight = LEFT.copy()
    weight[::3, ::4] = 0
    without = complete(family(), hidden(texture, LEFT), jnp.asarray(LEFT), weight=jnp.asarray(weight))
    far = np.arange(SIZE) >= SIZE * 5 // 8
    spread = np.asarray(got.texture - without.texture)[:, far].std()
    assert spread < 0.02  # the exposure sees the white texels in both


def test_coefficients_are_found_and_a_prior_draws_them_to_zero():
    truth = true_map()

    def found(prior):
        start = {"albedo": jnp.zeros(5)}
        return search(family(), lambda made: jnp.mean((made - truth) ** 2), start, steps=500, prior=prior)["albedo"]

    free, drawn = jax.jit(jax.vmap(found))(jnp.array([0.0, 0.01]))
    np.testing.assert_allclose(free, TRUTH, atol=0.03)
    basis = np.asarray(family().basis, np.float64).reshape(5, -1)
    normal = basis @ basis.T / basis.shape[1]
    ridge = np.linalg.solve(normal + 0.01 / 5 * np.eye(5), normal @ TRUTH)  # what minimises it, in closed form
    np.testing.assert_allclose(drawn, ridge, atol=0.03)


def test_exposure_and_tint_are_not_the_generators_to_explain():
    """A dim yellow photograph of one of the generator's maps: what is hidden is that map, as dim and as yellow."""
    gain = np.array([0.5, 0.4, 0.15], np.float32)
    photo = np.asarray(expose(jnp.asarray(true_map()), jnp.asarray(gain)))
    got = jax.jit(complete_by_generator)(family(), hidden(photo, LEFT), jnp.asarray(LEFT)).texture
    np.testing.assert_allclose(np.asarray(got)[:, 44:].mean((0, 1)), photo[:, 44:].mean((0, 1)), atol=0.04)
    np.testing.assert_allclose(
        exposure(jnp.asarray(true_map()), jnp.asarray(photo), jnp.asarray(LEFT)), gain, rtol=1e-4
    )


def test_mirrored_texels_are_completed_alike():
    mirrored = LinearAlbedo(family().mean[:, ::-1], family().basis[:, :, ::-1], family().std)
    right = LEFT[:, ::-1]
    a = complete(family(), hidden(true_map(), LEFT), jnp.asarray(LEFT))
    b = complete(mirrored, hidden(true_map()[:, ::-1], right), jnp.asarray(right))
    np.testing.assert_allclose(a.texture, b.texture[:, ::-1], atol=2e-3)  # the pyramid's grid is not symmetric


def test_a_batch_equals_its_members():
    known = np.stack([LEFT, LEFT.T])
    textures = jnp.stack([hidden(true_map(), mask) for mask in known])
    batch = jax.jit(jax.vmap(partial(complete_by_generator, family(), match=False, prior=1e-3)))(
        textures, jnp.asarray(known)
    )
    for got, texture, mask in zip(batch.texture, textures, known, strict=True):
        one = complete(family(), texture, jnp.asarray(mask))
        np.testing.assert_allclose(got, one.texture, atol=1e-4)


def test_stitching_leaves_known_texels_and_takes_the_others():
    rng = np.random.default_rng(0)
    texture, completed = rng.random((2, 256, 256, 3)).astype(np.float32)
    known = np.zeros((256, 256), np.float32)
    known[:, :128] = 1
    got = np.asarray(jax.jit(stitch)(hidden(texture, known), jnp.asarray(known), jnp.asarray(completed)))
    np.testing.assert_allclose(got[:, :40], texture[:, :40], atol=1e-5)
    np.testing.assert_allclose(got[:, 230:], completed[:, 230:], atol=1e-5)


def test_stitching_makes_a_step_a_slope():
    known = np.zeros((256, 256), np.float32)
    known[:, :128] = 1
    got = np.asarray(jax.jit(stitch)(jnp.ones((256, 256, 3)), jnp.asarray(known), jnp.zeros((256, 256, 3))))[128, :, 0]
    assert np.abs(np.diff(got)).max() < 0.1 and got[40] > 0.98 and got[200] < 0.02


def test_vertex_colours_are_refused():
    colours = LinearAlbedo(jnp.zeros((9, 3)), jnp.zeros((2, 9, 3)), jnp.ones(2))
    with pytest.raises(ValueError, match="give one that makes maps"):
        complete_by_generator(colours, jnp.zeros((64, 64, 3)), jnp.ones((64, 64)))


# ---- the turned head


@pytest.fixture(scope="module")
def head():
    model = replace(toy_model(), albedo=family())
    return model, neutral_params(model, turn_camera()), mesh_texels(model, SIZE)


def turn_camera():
    """Any will do: the loop gives each view its own."""
    return PerspectiveCamera(jnp.asarray(100.0), jnp.zeros(2))


@pytest.mark.parametrize("yaw", [0.0, 60.0, -90.0])
def test_the_turned_head_fills_its_view_and_looks_the_right_way(head, yaw):
    model, params, _ = head
    turned = turn(model, params, yaw, side=100)
    points = np.asarray(project(turned.camera, to_camera(turned.pose, decode(model, turned))))
    assert points[:, :2].min() > 5 and points[:, :2].max() < 95
    assert np.ptp(points[:, 1]) > 45
    side = points[np.asarray(model.mean)[:, 2] > 85, 0].mean() - 50
    assert abs(side) < 1 if yaw == 0 else side * yaw > 0  # a positive yaw looks to the viewer's right


def test_what_is_seen_when_turned_is_symmetric_and_hides_the_back(head):
    model, params, texels = head
    seen = np.asarray(jax.jit(partial(seen_when_turned, side=96))(model, params, texels))
    middle = seen[16:48]
    np.testing.assert_allclose(middle, middle[:, ::-1], atol=0.15)
    assert np.abs(middle - middle[:, ::-1]).mean() < 0.01
    assert middle[:, 31:33].min() > 0.3 and middle[:, :2].max() < 0.05  # the face; the back of the head


@pytest.mark.thorough
def test_the_loop_puts_what_the_views_show_where_it_belongs(head):
    """The pictures are painted by the true map, so every texel that a view sees must become its own."""
    model, params, texels = head
    known = LEFT * np.asarray(texels.covered)

    def paint(view):
        return sample_texture(jnp.asarray(true_map()), view.uv) * view.head[..., None]

    yaws = (0.0, -45.0, -90.0)
    texture = hidden(true_map(), known)
    result = turn_and_complete(model, params, texture, jnp.asarray(known), texels, paint, yaws=yaws, side=96)
    source = np.asarray(result.source)
    assert (source[known > 0] == 0).all()
    completed = (source > 0) & np.asarray(texels.covered)
    assert completed[16:48, 32:60].mean() > 0.99
    assert worst(result.texture, true_map(), completed) < 0.02
    assert np.asarray(result.texture)[source < 0].max() < 1e-3  # left as it was: black
    longitude = (np.arange(SIZE) + 0.5) / SIZE * 360 - 180
    for column in (40, 48):  # each from the view that faces it; a positive yaw shows the left of the map
        nearest = min(yaws, key=lambda yaw: abs(yaw + longitude[column]))
        assert yaws[np.median(source[28:36, column]).astype(int) - 1] == nearest


def test_what_early_views_completed_later_ones_know(head):
    model, params, texels = head
    known, seen = jnp.zeros((SIZE, SIZE)), []

    def paint(view):
        seen.append(float(jnp.sum(view.known) / jnp.sum(view.head)))
        return view.image * view.known[..., None] + 0.5 * (1 - view.known[..., None])

    texture = jnp.zeros((SIZE, SIZE, 3))
    result = turn_and_complete(model, params, texture, known, texels, paint, yaws=(0.0, 60.0, 60.0), side=96)
    assert seen[0] == 0 and 0.2 < seen[1] < 0.8 and seen[2] > 0.9
    np.testing.assert_allclose(np.asarray(result.texture)[np.asarray(result.source) > 0], 0.5, atol=1e-3)


@pytest.mark.thorough
def test_the_loop_with_a_generator_finds_the_hidden_half(head):
    model, params, texels = head
    known = LEFT * np.asarray(texels.covered)
    painter = by_generator(model.albedo, match=False, steps=100, prior=1e-3)
    result = turn_and_complete(
        model, params, hidden(true_map(), known), jnp.asarray(known), texels, painter, yaws=(0.0, -45.0), side=96
    )
    found = np.asarray(result.source) > 0
    assert found[16:48, 33:50].mean() > 0.95
    assert worst(result.texture, true_map(), found) < 0.06


def test_a_picture_of_another_size_is_refused(head):
    model, params, texels = head
    with pytest.raises(ValueError, match="keep its size"):
        turn_and_complete(
            model, params, jnp.zeros((64, 64, 3)), jnp.ones((64, 64)), texels, lambda view: view.image[1:], side=96
        )
