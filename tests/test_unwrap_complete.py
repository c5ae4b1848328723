"""From views of a known head to its texture again."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion
from facejax.face_model import neutral_params
from facejax.face_model.load import load_face_model
from facejax.fitting.scene import project_landmarks
from facejax.lighting import uniform_light
from facejax.objectives import psnr
from facejax.programs import jit
from facejax.rendering import render
from facejax.texture import brightness_symmetry_error
from facejax.unwrap.complete import best_views, complete_texture, missing_texels
from facejax.unwrap.photos import cut_out, face_layout, looks_like_skin, unwrap_photos
from facejax.unwrap.regions import face_regions, template_map

SIZE = 128
YAWS = (0.0, -30.0, 30.0)
SIDE_LIGHT = uniform_light(1.0).at[2].set(0.3).at[3].set(0.6)


@pytest.fixture(scope="module")
def head():
    model = load_face_model()
    return model, face_layout(model, SIZE)


@pytest.fixture(scope="module")
def texture(head):
    """The mean albedo under smooth spots, darker on one side of the nose than on the other."""
    model, layout = head
    plain = template_map(model, layout.texels, model.albedo.mean)
    y, x = jnp.mgrid[0:SIZE, 0:SIZE] / SIZE
    spots = 0.06 * jnp.sin(31 * x + 2) * jnp.sin(23 * y) + 0.05 * jnp.exp(-((x - 0.42) ** 2 + (y - 0.4) ** 2) / 0.005)
    return jnp.clip(plain + spots[..., None] * jnp.array([[[1.0, 0.8, 0.7]]]), 0.0, 1.0)


@pytest.fixture(scope="module")
def photographs(head, texture):
    """Parameters and cut-outs by light, all views stacked, the front first."""
    model, layout = head
    pixels = 320
    camera = PerspectiveCamera(jnp.asarray(1.9 * pixels), jnp.full(2, pixels / 2.0))
    base = neutral_params(model, camera, distance=750.0)
    draw = jit(lambda p: render(model, p, size=(pixels, pixels), texture=texture, background=jnp.full(3, 0.4)).color)
    found = {}
    for name, light in {"even": uniform_light(1.0), "side": SIDE_LIGHT}.items():
        faces = [
            replace(
                base, light=light, pose=Pose(euler_to_quaternion(jnp.array([0.0, yaw, 0.0])), base.pose.translation)
            )
            for yaw in YAWS
        ]
        marks = [np.asarray(project_landmarks(model, one, jnp.asarray(False))) for one in faces]
        photos = [np.clip(np.asarray(draw(one)), 0.0, 1.0) for one in faces]
        cuts = [cut_out(photo, points, layout) for photo, points in zip(photos, marks, strict=True)]
        found[name] = tuple(
            jax.tree.map(lambda *leaves: jnp.stack([*map(jnp.asarray, leaves)]), *x) for x in (faces, cuts)
        )
    return found


def unwrapped(head, photographs, light, count, **options):
    model, layout = head
    params, cuts = jax.tree.map(lambda leaf: leaf[:count], photographs[light])
    template = template_map(model, layout.texels, model.albedo.mean)
    program = jit(partial(unwrap_photos, skin_only=False, **options))
    return program(model, params, cuts, layout, template)


def quality(head, texture, found):
    shown = jnp.where(found.views.valid.max(axis=0) > 0.5, head[1].regions.face, 0.0)
    return float(psnr(found.completed.texture, texture, shown)), shown > 0.5


def test_three_views_give_the_texture_back(head, texture, photographs):
    found = unwrapped(head, photographs, "even", 3)
    decibel, shown = quality(head, texture, found)
    assert decibel > 32
    errors = [brightness_symmetry_error(one, kernel=7, where=shown) for one in (found.completed.texture, texture)]
    assert errors[0] <= 1.1 * errors[1]
    assert found.quality.seen > 0.85


def test_the_front_alone_gives_what_it_shows(head, texture, photographs):
    found = unwrapped(head, photographs, "even", 1)
    three = unwrapped(head, photographs, "even", 3)
    assert quality(head, texture, found)[0] > 26
    assert found.quality.seen < three.quality.seen
    hidden = (found.views.valid[0] < 0.5) & (three.views.valid.max(axis=0) > 0.5)
    cheeks = jnp.where(hidden, head[1].regions.face, 0.0)
    gains = [float(psnr(one.completed.texture, texture, cheeks)) for one in (three, found)]
    assert gains[0] > gains[1] + 3  # what the front does not see is the template's, not the person's


@pytest.mark.thorough
def test_light_from_the_side_is_divided_out(head, texture, photographs):
    naive = unwrapped(head, photographs, "side", 1, blending="naive")
    found = unwrapped(head, photographs, "side", 1, delight=True)
    assert found.quality.bs < 0.5 * naive.quality.bs_photo
    assert quality(head, texture, found)[0] > quality(head, texture, naive)[0] + 3


def test_nothing_outside_the_skin_changes_and_holes_in_the_face_are_repaired(head, photographs):
    model, layout = head
    template = template_map(model, layout.texels, model.albedo.mean)
    found = unwrapped(head, photographs, "even", 3)
    off = np.asarray(layout.regions.skin) < 0.5
    np.testing.assert_allclose(np.asarray(found.completed.texture)[off], np.clip(np.asarray(template), 0, 1)[off])
    repaired = np.asarray(found.completed.repaired) > 0.5
    hidden = np.asarray((layout.regions.centre > 0.5) & (found.completed.filled <= 0.5))
    assert hidden.any() and repaired[hidden].all()


@pytest.mark.thorough
def test_views_may_come_in_any_order(head, photographs):
    model, layout = head
    template = template_map(model, layout.texels, model.albedo.mean)
    views = unwrapped(head, photographs, "even", 3).views
    complete = jit(complete_texture)
    turned = jax.tree.map(lambda leaf: leaf[jnp.array([2, 0, 1])], views)
    first, second = (complete(one, template, layout.regions).texture for one in (views, turned))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_each_texel_has_a_best_view(head, photographs):
    views = unwrapped(head, photographs, "even", 3).views
    major, minor = best_views(views)
    seen = np.asarray(views.valid > 0.5).any(axis=0)
    np.testing.assert_array_equal(np.asarray(major).max(axis=0) > 0.5, seen)
    assert (np.asarray(minor) >= np.asarray(major)).all()
    u = np.arange(SIZE) / SIZE
    places = [float((np.asarray(one) * u).sum() / np.asarray(one).sum()) for one in major]
    assert places[1] > places[0] > places[2] or places[1] < places[0] < places[2]  # a side view is best on its side


def test_what_does_not_look_like_the_fit_is_left_out(head, photographs):
    """A green hand over one cheek."""
    model, layout = head
    template = template_map(model, layout.texels, model.albedo.mean)
    views = unwrapped(head, photographs, "even", 1).views
    view = jax.tree.map(lambda leaf: leaf[0], views)
    hand = jnp.zeros((SIZE, SIZE), bool).at[60:80, 30:45].set(True)
    spoiled = replace(view, color=jnp.where(hand[..., None], jnp.array([0.1, 0.6, 0.1]), view.color))
    skin = np.asarray(looks_like_skin(spoiled, template))
    inner = np.zeros((SIZE, SIZE), bool)
    inner[63:77, 33:42] = True
    assert skin[inner & np.asarray(view.valid > 0)].max() < 0.1
    far = np.array((layout.regions.centre > 0.5) & (view.valid > 0.5))
    far[55:85, 25:50] = False
    assert skin[far].mean() > 0.95


def test_nostrils_that_are_dark_are_repaired(head):
    regions = head[1].regions
    known, bright = jnp.ones((SIZE, SIZE)), jnp.full((SIZE, SIZE, 3), 0.6)
    assert not missing_texels(bright, known, regions).any()
    dark = jnp.where((regions.nostrils > 0.5)[..., None], 0.1, bright)
    found = missing_texels(dark, known, regions)
    assert found[regions.nostrils > 0.5].all() and found.sum() < 3 * regions.nostrils.sum() + 200


def test_regions_lie_where_the_landmarks_say(head):
    regions = head[1].regions
    v, u = np.mgrid[0:SIZE, 0:SIZE]
    centre = {}
    for name in ("mouth", "nostrils", "centre"):
        mask = np.asarray(getattr(regions, name))
        centre[name] = [float((mask * at).sum() / mask.sum()) for at in (u, v)]
    assert all(abs(one[0] - (SIZE - 1) / 2) < 2 for one in centre.values())  # on the midline
    assert centre["nostrils"][1] < centre["mouth"][1] - 10
    for name in ("face", "centre", "mouth", "nostrils"):
        assert (np.asarray(getattr(regions, name)) <= np.asarray(regions.skin)).all()


def test_models_without_landmarks_and_odd_sizes_are_refused(head):
    model, layout = head
    bare = replace(model, landmark_weights=model.landmark_weights[:0])
    with pytest.raises(ValueError, match="has no 68 landmarks"):
        face_regions(bare, layout.texels)
    with pytest.raises(ValueError, match="maps of 100 texels: give a power of two"):
        face_layout(model, 100)
    with pytest.raises(ValueError, match=r"a mask of \(5, 5\) for a photo of \(8, 8\) pixels"):
        cut_out(
            np.zeros((8, 8, 3), np.float32), 8 * np.random.default_rng(0).random((68, 2)), layout, mask=np.ones((5, 5))
        )


def test_colours_of_vertices_are_baked_into_a_template():
    model = toy_model()
    layout = face_layout(model, 64)
    colours = jnp.linspace(0, 1, 3 * len(model.mean)).reshape(-1, 3)
    baked = template_map(model, layout.texels, colours)
    where = np.asarray(layout.texels.covered)
    corners = np.asarray(model.faces)[np.asarray(layout.texels.triangle)]
    wanted = np.einsum("hwk,hwkc->hwc", np.asarray(layout.texels.weights), np.asarray(colours)[corners])
    np.testing.assert_allclose(np.asarray(baked)[where], wanted[where], atol=1e-5)
