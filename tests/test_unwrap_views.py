"""Photographs in the UV layout: where texels are, what is seen of them, anti-aliased colours, and light divided out."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import raster_oracle
import scipy.ndimage as ndimage
import trimesh
from toy import toy_model

from facejax.camera import PerspectiveCamera, Pose, WeakPerspectiveCamera, euler_to_quaternion, project, to_camera
from facejax.face_model import FaceParams, decode, neutral_params
from facejax.face_model.load import load_face_model
from facejax.lighting import linear_to_srgb, shade, srgb_to_linear, uniform_light
from facejax.programs import jit
from facejax.rendering import render
from facejax.unwrap import View, delight, lookup, mesh_texels, unwrap_view, views

SIDE, SIZE = 192, 128  # pixels of the photograph, texels of the map
GREEN = jnp.array([0.0, 1.0, 0.0])  # a background that shows wherever it leaks in

unwrap = jit(unwrap_view)
draw = jit(partial(render, size=(SIDE, SIDE), background=GREEN))


@pytest.fixture(scope="module")
def head():
    model = load_face_model(identity=2, expression=2, albedo=2)
    return model, mesh_texels(model, SIZE)


def camera_of(kind: str):
    middle = jnp.array([SIDE / 2, SIDE / 2])
    if kind == "perspective":
        return PerspectiveCamera(jnp.asarray(3.0 * SIDE), middle)
    return WeakPerspectiveCamera(jnp.asarray(0.003 * SIDE), middle)


def posed(model, yaw: float, kind: str = "perspective") -> FaceParams:
    params = neutral_params(model, camera_of(kind))
    return replace(params, pose=Pose(euler_to_quaternion(jnp.array([3.0, yaw, -2.0])), params.pose.translation))


def smooth_map(size: int = SIZE) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((size, size, 3))
    smooth = ndimage.gaussian_filter(noise, (size / 40, size / 40, 0))
    return np.clip(0.5 + 0.15 * smooth / smooth.std(), 0, 1).astype(np.float32)


def psnr(view: View, texture: np.ndarray) -> float:
    seen = np.asarray(view.valid) > 0
    return float(-10 * np.log10(((np.asarray(view.color) - texture)[seen] ** 2).mean()))


# ---- texels


def test_weights_lead_back_to_the_texel_centres(head):
    """The UV corners mixed by a texel's weights are its centre; and the float64 rasteriser covers the same texels."""
    model, texels = head
    uv, faces = np.asarray(model.uv, np.float64), np.asarray(model.topology.uv_faces)
    covered = np.asarray(texels.covered)
    place = np.einsum("hwk,hwkc->hwc", texels.weights, uv[faces[np.asarray(texels.triangle)]])
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    centre = np.stack([column / SIZE, 1 - row / SIZE], axis=-1)
    assert np.abs(place - centre)[covered].max() * SIZE < 1e-3
    assert not np.asarray(texels.weights)[~covered].any() and not np.asarray(texels.triangle)[~covered].any()
    points = np.concatenate([uv[:, :1] * SIZE, (1 - uv[:, 1:]) * SIZE, np.ones((len(uv), 1))], axis=1)
    oracle = raster_oracle.rasterize(points, faces, (SIZE, SIZE), perspective=False, margin=1e-3)
    assert (oracle.triangle >= 0)[~oracle.near_edge].tolist() == covered[~oracle.near_edge].tolist()
    assert 0.6 < covered.mean() < 0.8


def test_a_mirrored_chart_is_covered_alike(head):
    model, texels = head
    mirrored = mesh_texels(replace(model, uv=model.uv * jnp.array([[-1.0, 1.0]]) + jnp.array([[1.0, 0.0]])), SIZE)
    same = np.asarray(mirrored.covered)[:, ::-1] == np.asarray(texels.covered)
    assert same.mean() > 0.999
    both = np.asarray(mirrored.triangle)[:, ::-1] == np.asarray(texels.triangle)
    assert both.mean() > 0.98  # where an edge passes a centre, either triangle may have it
    gap = np.asarray(mirrored.weights)[:, ::-1] - np.asarray(texels.weights)
    assert np.abs(gap[both & same]).max() < 1e-3


def test_a_map_without_texels_is_refused():
    with pytest.raises(ValueError, match="size 0: give the map at least one texel"):
        mesh_texels(toy_model(), 0)


# ---- lookups


def test_axes_are_those_of_the_singular_value_decomposition():
    maps = np.random.default_rng(1).standard_normal((200, 2, 2)) * np.random.default_rng(2).random((200, 1, 1)) * 9
    maps[0] = 2.5 * np.eye(2)
    long, short = lookup.footprint_axes(jnp.asarray(maps[:, :, 0]), jnp.asarray(maps[:, :, 1]))
    left, sizes, _ = np.linalg.svd(maps)
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), sizes[:, 0], rtol=1e-4)
    np.testing.assert_allclose(short, sizes[:, 1], rtol=1e-3, atol=1e-4)
    along = np.abs(np.einsum("nc,nc->n", left[1:, :, 0], np.asarray(long)[1:]))
    np.testing.assert_allclose(along, sizes[1:, 0], rtol=1e-3)


@pytest.mark.parametrize(("scale", "aspect"), [(2.0, 1.0), (3.0, 1.0), (6.0, 1.0), (1.5, 3.0), (3.0, 3.0), (1.0, 4.0)])
def test_a_lookup_is_the_mean_over_its_footprint(scale, aspect):
    """Against a dense float64 mean, on noise with the spectrum of photographs and on white noise: the error of plain
    bilinear lookup, several times smaller; and a constant stays what it is."""
    rng, side = np.random.default_rng(3), 256
    spectrum = np.fft.fft2(rng.standard_normal((side, side)))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    pink = np.fft.ifft2(spectrum / np.maximum(radius, 1 / side)).real
    image = np.stack([pink / pink.std(), rng.standard_normal((side, side)), np.ones((side, side))], axis=-1)
    turn = rng.random() * 6
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    mapping = rotation @ np.diag([scale * aspect, scale])
    place = 40 + (side - 80) * rng.random((500, 2))
    steps = (np.arange(24) + 0.5) / 24 - 0.5
    square = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    dense = (place[:, None] + square @ mapping.T).reshape(-1, 2)[:, ::-1] - 0.5
    channels = [ndimage.map_coordinates(image[..., k], dense.T, order=1).reshape(500, -1).mean(1) for k in range(3)]
    expected = np.stack(channels, axis=-1)
    columns = (jnp.broadcast_to(jnp.asarray(mapping[:, k], jnp.float32), (500, 2)) for k in range(2))
    long, short = lookup.footprint_axes(*columns)
    pyramid = lookup.build_pyramid(jnp.asarray(image, jnp.float32))
    errors = []
    for grow in (1.0, 0.0):  # 0: plain bilinear lookup
        found = lookup.sample_pyramid(pyramid, jnp.asarray(place, jnp.float32), grow * long, grow * short)
        errors.append(np.sqrt(((np.asarray(found) - expected) ** 2).mean(axis=0)))
    assert (errors[0][:2] < 0.3 * errors[1][:2]).all()
    assert errors[0][2] < 1e-5


@pytest.mark.parametrize("shape", [(7, 5), (1, 3), (16, 16)])
def test_small_footprints_are_bilinear_and_the_border_goes_on(shape):
    """Also in pictures of odd sides; and a footprint beyond the picture's size gives its mean colour."""
    image = np.random.default_rng(4).random((*shape, 2)).astype(np.float32)
    place = np.random.default_rng(5).uniform(-2, np.array(shape)[::-1] + 2, (64, 2)).astype(np.float32)
    pyramid = lookup.build_pyramid(jnp.asarray(image))
    none = jnp.zeros((64, 2)), jnp.zeros(64)
    found = lookup.sample_pyramid(pyramid, jnp.asarray(place), *none)
    at = (place[:, ::-1] - 0.5).T
    expected = [ndimage.map_coordinates(image[..., k], at, order=1, mode="nearest") for k in range(2)]
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=1e-5)
    wide = lookup.sample_pyramid(pyramid, jnp.asarray(place), jnp.full((64, 2), 99.0), jnp.full(64, 140.0))
    if shape == (16, 16):
        np.testing.assert_allclose(wide, np.broadcast_to(image.mean(axis=(0, 1)), (64, 2)), atol=1e-5)
    assert np.isfinite(np.asarray(wide)).all()


# ---- views


@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_a_render_unwraps_to_its_own_map(head, yaw, kind):
    """On the valid texels; a picture that is upside down, or occlusion by normals alone, is told by the same number."""
    model, texels = head
    texture = smooth_map()
    params = posed(model, yaw, kind)
    photo = draw(model, params, texture=jnp.asarray(texture)).color
    view = unwrap(model, params, photo, texels)
    assert psnr(view, texture) > 36
    assert 0.35 < np.asarray(view.valid).mean() < 0.45
    assert not np.asarray(view.color)[np.asarray(view.facing) == 0].any()
    assert psnr(unwrap(model, params, photo[::-1], texels), texture) < 16
    assert psnr(unwrap(model, params, photo, jax.tree.map(lambda leaf: leaf[::-1], texels)), texture[::-1]) > 36


def test_without_the_depth_test_hidden_texels_take_what_hides_them(head, monkeypatch):
    model, texels = head
    texture, params = smooth_map(), posed(head[0], 30.0)
    photo = draw(model, params, texture=jnp.asarray(texture)).color
    full = psnr(unwrap(model, params, photo, texels), texture)
    monkeypatch.setattr(views, "_unhidden", lambda depths, camera, place, *rest: jnp.ones(place.shape[:1], bool))
    assert psnr(jit(lambda *args: unwrap_view(*args))(model, params, photo, texels), texture) < full - 12


def surface(model, params, texels):
    """Float64 places, unit normals and cosines of the texels, in camera space."""
    vertices = np.asarray(to_camera(params.pose, decode(model, params)), np.float64)
    mesh = trimesh.Trimesh(vertices, np.asarray(model.faces), process=False)
    corners = np.asarray(model.faces)[np.asarray(texels.triangle)]
    weights = np.asarray(texels.weights, np.float64)
    summed = np.zeros_like(vertices)
    np.add.at(summed, mesh.faces.ravel(), np.repeat(mesh.face_normals * mesh.area_faces[:, None], 3, axis=0))
    summed /= np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-9)
    points, normals = (np.einsum("hwk,hwkc->hwc", weights, table[corners]) for table in (vertices, summed))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    towards = -points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-9)
    return mesh, points, normals, np.sum(normals * towards, axis=-1) * np.asarray(texels.covered)


def test_what_is_hidden_is_what_rays_to_the_camera_hit(head):
    """Turned by 40 degrees, against rays cast by trimesh, on eyeballs (under their lids) and on the far half of the
    face (behind the nose)."""
    model, texels = head
    params = posed(model, 40.0)
    mesh, points, _, cosine = surface(model, params, texels)
    seen = np.asarray(unwrap(model, params, jnp.zeros((SIDE, SIDE, 3)), texels).valid) > 0
    assert not seen[cosine < 0.099].any()
    row, column = np.mgrid[:SIZE, :SIZE]
    eyeballs = (row > 0.82 * SIZE) & (np.abs(column - 0.5 * SIZE) > 0.3 * SIZE)
    for part, most in (((row < 0.75 * SIZE) & (column > 0.5 * SIZE), 0.12), (eyeballs, 0.5)):
        chosen = np.random.default_rng(6).permutation(np.flatnonzero(part & (cosine > 0.15)))[:600]
        start, found, facing = points.reshape(-1, 3)[chosen], ~seen.reshape(-1)[chosen], cosine.reshape(-1)[chosen]
        towards = -start / np.linalg.norm(start, axis=1, keepdims=True)
        hidden = mesh.ray.intersects_any(start + 0.3 * towards, towards)
        assert hidden.sum() > 60
        assert (found & hidden).sum() > 0.93 * hidden.sum()
        clear = ~hidden & (facing > 0.5)
        assert (found & clear).sum() < most * clear.sum()  # these have an outline within their footprint


def test_a_convex_head_hides_nothing_of_itself():
    """No acne: every texel of an ellipsoid that faces the camera is seen, up to the grazing ones."""
    model = toy_model()
    texels = mesh_texels(model, SIZE)
    params = posed(model, 20.0)
    _, _, _, cosine = surface(model, params, texels)
    seen = np.asarray(unwrap(model, params, jnp.zeros((SIDE, SIDE, 3)), texels).valid) > 0
    assert seen[cosine > 0.25].all()
    assert not seen[cosine < 0.09].any()


def test_texels_beyond_the_picture_are_not_seen(head):
    model, texels = head
    params = posed(model, 0.0)
    params = replace(params, camera=replace(params.camera, principal=jnp.array([10.0, SIDE / 2])))
    view = unwrap(model, params, jnp.full((SIDE, SIDE, 3), 0.5), texels)
    _, points, _, _ = surface(model, params, texels)
    place = np.asarray(project(params.camera, jnp.asarray(points.reshape(-1, 3), jnp.float32)))[:, 0]
    outside = place.reshape(SIZE, SIZE) < 0
    valid = np.asarray(view.valid)
    assert 0.05 < valid.mean() < 0.3 and not valid[outside].any()
    assert set(np.unique(np.asarray(view.color))) <= {0.0, 0.5}


def test_a_parsing_mask_scales_what_is_valid(head):
    model, texels = head
    params, photo = posed(model, 0.0), jnp.full((SIDE, SIDE, 3), 0.5)
    whole = unwrap(model, params, photo, texels)
    half = unwrap(model, params, photo, texels, parsing=jnp.ones((SIDE, SIDE)).at[:, : SIDE // 2].set(0.0))
    left, right = (np.asarray(half.valid)[:80, part] for part in (slice(0, SIZE // 2 - 6), slice(SIZE // 2 + 6, None)))
    assert not left.any() and right.any()
    np.testing.assert_allclose(right, np.asarray(whole.valid)[:80, SIZE // 2 + 6 :], atol=1e-6)
    np.testing.assert_array_equal(half.color, whole.color)


def test_texels_average_what_falls_on_them(monkeypatch):
    """A checker of single pixels on maps of 32 texels: the mean of 4 x 4 finer texels, plain lookup is far from it."""
    model = toy_model()
    params = posed(model, 20.0)
    row, column = np.mgrid[:SIDE, :SIDE]
    checker = np.repeat(((row + column) % 2)[..., None], 3, axis=-1).astype(np.float32)
    fine, coarse = (mesh_texels(model, size) for size in (128, 32))
    dense = unwrap(model, params, jnp.asarray(checker), fine)
    view = unwrap(model, params, jnp.asarray(checker), coarse)
    expected = np.asarray(dense.color).reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    inside = (np.asarray(dense.valid).reshape(32, 4, 32, 4).min(axis=(1, 3)) > 0) & (np.asarray(view.valid) > 0)
    assert inside.sum() > 100
    monkeypatch.setattr(views, "footprint_axes", lambda across, down: (0 * across, 0 * across[:, 0]))
    plain = jit(lambda *args: unwrap_view(*args))(model, params, jnp.asarray(checker), coarse)
    error, plain_error = (np.sqrt(((np.asarray(v.color) - expected)[inside] ** 2).mean()) for v in (view, plain))
    assert error < 0.03 < 0.15 < plain_error


def test_faces_at_once_are_as_one_by_one():
    """And strips of texels as the whole map."""
    model = toy_model()
    texels = mesh_texels(model, 32)
    faces = [posed(model, yaw) for yaw in (-25.0, 10.0)]
    photos = jnp.asarray(np.random.default_rng(7).random((2, SIDE, SIDE, 3), dtype=np.float32))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *faces)
    many = jax.jit(jax.vmap(lambda params, photo: unwrap_view(model, params, photo, texels)))(stacked, photos)
    for k, params in enumerate(faces):
        one = unwrap(model, params, photos[k], texels)
        for leaf, expected in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(leaf[k], expected, atol=2e-5)


def test_strips_of_texels_are_as_the_whole_map(monkeypatch):
    model = toy_model()
    texels, params = mesh_texels(model, 32), posed(toy_model(), 10.0)
    photo = jnp.asarray(np.random.default_rng(8).random((SIDE, SIDE, 3), dtype=np.float32))
    whole = unwrap(model, params, photo, texels)
    monkeypatch.setattr(views, "BLOCK", 128)
    assert views._blocks(32, 32) == 8 and views._blocks(31, 31) == 31
    strips = jit(lambda *args: unwrap_view(*args))(model, params, photo, texels)
    chex.assert_trees_all_close(strips, whole, rtol=1e-7, atol=2e-5)


# ---- light


def side_light() -> jnp.ndarray:
    return uniform_light().at[3].set(1.6).at[1].set(0.2) * jnp.array([[1.0, 0.9, 0.8]])


def test_dividing_by_the_light_gives_the_albedo_again(head):
    """A known map under light from the side; left as it is, it is far from the albedo."""
    model, texels = head
    texture = smooth_map()
    params = replace(posed(model, 0.0), light=side_light())
    photo = draw(model, params, texture=jnp.asarray(texture)).color
    view = unwrap(model, params, photo, texels)
    seen = (np.asarray(view.valid) > 0) & (np.asarray(view.facing) > 0.3)
    assert seen.mean() > 0.3

    def error(image) -> float:
        return float(-10 * np.log10(((np.asarray(image) - texture)[seen] ** 2).mean()))

    albedo = delight(view.color, view.shading, where=view.valid, level=1.0)
    assert error(albedo) > 40 and error(view.color) < 23


def test_shading_is_that_of_the_fitted_light(head):
    """Seen or not, with area-weighted normals in float64; nothing off the layout."""
    model, texels = head
    params = replace(posed(model, 15.0), light=side_light())
    view = unwrap(model, params, jnp.zeros((SIDE, SIDE, 3)), texels)
    _, _, normals, _ = surface(model, params, texels)
    covered = np.asarray(texels.covered)
    expected = np.asarray(shade(jnp.asarray(normals, jnp.float32), params.light))
    np.testing.assert_allclose(np.asarray(view.shading)[covered], expected[covered], atol=1e-3)
    assert not np.asarray(view.shading)[~covered].any()


def test_even_light_keeps_the_mean_of_the_photograph():
    """By default the light becomes its own mean, channel by channel; doing it twice changes nothing."""
    rng = np.random.default_rng(9)
    albedo = rng.uniform(0.2, 0.7, (40, 40, 3))
    shading = np.broadcast_to(np.linspace(0.5, 1.5, 40)[None, :, None] * [1.0, 0.8, 0.6], (40, 40, 3))
    valid = (rng.random((40, 40)) > 0.2).astype(np.float32)
    lit, valid, shading = (jnp.asarray(x, jnp.float32) for x in (albedo * shading, valid, shading))
    color = linear_to_srgb(lit)
    even = delight(color, shading, where=valid)
    mean = (np.asarray(shading, np.float64) * np.asarray(valid)[..., None]).sum((0, 1)) / np.asarray(valid).sum()
    np.testing.assert_allclose(srgb_to_linear(even), albedo * mean, atol=1e-5)
    np.testing.assert_allclose(delight(even, jnp.broadcast_to(mean, (40, 40, 3)), where=valid), even, atol=1e-5)
    np.testing.assert_allclose(srgb_to_linear(delight(color, shading, level=1.0)), albedo, atol=1e-5)


def test_dark_shading_is_divided_out_up_to_a_floor():
    """Noise in the dark grows no more than fivefold in linear light, and negative shading does no harm."""
    shading = jnp.asarray(np.broadcast_to(np.linspace(-0.3, 1.7, 41)[None, :, None], (41, 41, 3)), jnp.float32)
    color = jnp.full((41, 41, 3), 0.3)
    found = srgb_to_linear(delight(color, shading))
    ratio = np.asarray(found / srgb_to_linear(color))
    assert np.isfinite(ratio).all() and (ratio > 0).all()
    np.testing.assert_allclose(ratio.max(), 5.0, rtol=1e-3)
    nothing = delight(color, jnp.zeros((41, 41, 3)), where=jnp.zeros((41, 41)))
    assert np.isfinite(np.asarray(nothing)).all()
