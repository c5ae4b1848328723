"""A fit with a texture decoder treats each face of a batch on its own: sound ones, spoiled ones, diverging ones."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.appearance import SurfaceAppearance
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, project, to_camera
from facejax.face_model import decode, neutral_params
from facejax.face_model.surface_landmarks import landmarks
from facejax.fitting import (
    Crops,
    FeatureNetwork,
    FittedFaces,
    Ingredients,
    Recipe,
    Stage,
    batches,
    compile_fit,
    fit,
    prepare_crops,
)
from facejax.nets.stylegan2 import StyleGANConfig, init_generator
from facejax.rendering import render
from facejax.texture import texture_decoder

pytestmark = pytest.mark.thorough


@pytest.fixture(autouse=True)
def side_by_side(monkeypatch):
    """All faces in one batch, as on accelerators; processors fit a few at a time."""
    for module in (fit, batches):
        monkeypatch.setattr(module, "faces_together", lambda recipe, count: count)


TINY = StyleGANConfig(resolution=16, channel_base=128, channel_max=16, latent=16, mapping_layers=2)
SIDE = 96
FACES = 3
SICK = 1  # the face that something is wrong with
LIGHT = (("light_colour", 0.005), ("light_below_zero", 1.0))
RECIPE = Recipe(
    name="two albedos",
    size=64,
    landmark_steps=4,
    stages=(
        Stage("linear", 3, (("albedo", 0.1), ("light", 0.03), ("identity", 0.03)), (("pixels", 1.0), *LIGHT)),
        Stage(
            "texture",
            5,
            (("latents", 0.1), ("light", 0.02)),
            (("pixels", 1.0), ("perceptual", 0.1), ("latents", 0.002), *LIGHT),
            appearance="decoder",
        ),
    ),
)


def colour_and_mark(least, image, landmarks):
    """Mean colour, the mark that a test may leave in the first pixel, and the least distance that is a number."""
    return image.mean(axis=(0, 1)), image[0, 0, 0], least


def distance_above(found, photo, mask):
    """How far the colours are apart; not a number in a marked photograph, once they are nearer than the least."""
    colour, mark, least = found
    distance = jnp.abs(colour - photo[0]).sum()
    return jnp.where((mark > 0.5) & (distance < least), jnp.nan, distance)


@cache
def ingredients() -> Ingredients:
    decoder = texture_decoder(TINY, init_generator(TINY, jax.random.key(0)), count=500)
    network = FeatureNetwork(jnp.asarray(-1.0), colour_and_mark, distance_above, name="colour")
    return Ingredients({"decoder": SurfaceAppearance(decoder)}, {"perceptual": network})


@cache
def crops() -> Crops:
    """Three faces of different pose, shape, skin and light, none of them near the border of its photograph."""
    model, rng = toy_model(), np.random.default_rng(0)
    camera = PerspectiveCamera(jnp.asarray(380.0), jnp.full(2, SIDE / 2))
    shot = jax.jit(lambda params: render(model, params, size=(SIDE, SIDE)).color)
    photos, points = [], []
    for yaw in (10.0, -15.0, 0.0):
        params = neutral_params(model, camera)
        params = replace(
            params,
            identity=jnp.asarray(rng.normal(size=6), jnp.float32),
            appearance={"albedo": jnp.asarray(rng.normal(size=3), jnp.float32)},
            light=params.light.at[3].set(yaw / 40),
            pose=Pose(euler_to_quaternion(jnp.array([4.0, yaw, -3.0])), params.pose.translation),
        )
        photos.append(np.asarray(shot(params)))
        places = project(camera, to_camera(params.pose, landmarks(model, decode(model, params))))
        points.append(np.asarray(places[:, :2]))
    return prepare_crops(photos, points, recipe=RECIPE)


def fitted(some: Crops, least: float = -1.0) -> FittedFaces:
    """One compiled program for each number of faces; everything else is an argument of it."""
    network = replace(ingredients().networks["perceptual"], weights=jnp.asarray(least))
    with_it = replace(ingredients(), networks={"perceptual": network})
    return compile_fit(toy_model(), some, recipe=RECIPE, ingredients=with_it)(toy_model(), some, with_it)


@cache
def together() -> FittedFaces:
    return fitted(crops())


def taken(some, index):
    """Faces of a batch: of `Crops`, or of `FittedFaces`."""
    return jax.tree.map(lambda leaf: leaf[index], some)


def results(found: FittedFaces):
    """What must not depend on a face's company."""
    return found.params, found.landmarks, found.psnr_face, found.losses, found.terms, found.diverged_at, found.finite


def assert_alike(found: FittedFaces, wanted: FittedFaces, tolerance: float):
    """Each number to `tolerance` of the largest one beside it (of at least 0.1 for expressions, which are weights in
    [0, 1] and here all next to 0); at 0 to the bit."""
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(results(found)), jax.tree.leaves(results(wanted)), strict=True
    ):
        name = jax.tree_util.keystr(path)
        least = 0.1 if name.endswith(".expression") else 1e-3
        scale = float(np.abs(np.asarray(b, np.float64)).max(initial=least))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


def test_the_decoder_colours_faces_that_differ():
    """Or the other tests here would say nothing."""
    found = together()
    latents = found.params.appearance["latents"]
    assert latents.shape == (FACES, TINY.layers, TINY.latent) and found.finite.all()
    losses = np.asarray(found.losses["texture"])
    assert (losses[:, -1] < 0.98 * losses[:, 0]).all()
    for one, other in ((0, 1), (1, 2), (2, 0)):
        assert np.abs(latents[one] - latents[other]).max() > 0.05
        assert abs(losses[one, 0] - losses[other, 0]) > 1e-3


@pytest.mark.parametrize("index", range(FACES))
def test_a_face_alone_is_fitted_as_in_company(index):
    alone = fitted(taken(crops(), slice(index, index + 1)))
    assert_alike(alone[0], together()[index], 2e-3)


def test_a_face_does_not_depend_on_its_place_in_the_batch():
    order = np.array([2, 0, 1])
    assert_alike(fitted(taken(crops(), order)), taken(together(), order), 2e-3)


def test_a_spoiled_photograph_stays_at_its_landmarks_and_spoils_no_other():
    side = RECIPE.size
    middle = slice(side // 2 - 3, side // 2 + 3)
    images = crops().images.at[SICK, middle, middle].set(jnp.nan)
    found = fitted(crops()._replace(images=images))
    assert {name: int(steps[SICK]) for name, steps in found.diverged_at.items()} == {"linear": 0, "texture": 0}
    assert found.finite.tolist() == [True, False, True]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found.params, found.stages, found.landmarks)))
    sick = found[SICK]
    for moved, start in ((sick.stages["linear"], sick.stages["landmarks"]), (sick.params, sick.stages["linear"])):
        np.testing.assert_array_equal(moved.identity, start.identity)
        np.testing.assert_array_equal(moved.light, start.light)
    wanted = np.array([0, 2])
    assert_alike(taken(found, wanted), taken(together(), wanted), 0)


def test_a_face_that_diverges_in_the_decoder_stage_keeps_its_last_sound_latents():
    """Its distance stops being a number on the way: where step 2 finds it."""
    marked = crops()._replace(images=crops().images.at[SICK, 0, 0].set(1.0))
    sound = fitted(marked)
    weight = dict(RECIPE.stages[1].weights)["perceptual"]
    way = np.asarray(sound.terms["texture"]["perceptual"][SICK]) / weight
    nearest = way[:2].min()
    assert sound.finite.all() and way[2] < 0.9 * nearest
    found = fitted(marked, least=float(nearest + way[2]) / 2)

    diverged_at = {name: steps.tolist() for name, steps in found.diverged_at.items()}
    assert diverged_at == {"linear": [-1, -1, -1], "texture": [-1, 2, -1]}
    assert found.finite.tolist() == [True, False, True]
    losses = np.asarray(found.losses["texture"][SICK])
    np.testing.assert_array_equal(losses[:2], sound.losses["texture"][SICK, :2])
    assert np.isnan(losses[2])
    np.testing.assert_allclose(losses[3:], losses[1], rtol=1e-6)  # it stands where it stood at step 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params))
    there, further = (np.asarray(one.params.appearance["latents"][SICK]) for one in (found, sound))
    assert np.abs(there - further).max() > 0.02  # and not where it would have gone
    wanted = np.array([0, 2])
    assert_alike(taken(found, wanted), taken(sound, wanted), 0)
