"""`facejax.fit` with loss terms of the user's own, and with photographs that cannot be fitted."""

import json
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from test_fitting import SIDE, photograph, truth
from toy import toy_model

import facejax
from facejax.fitting import LANDMARKS, LINEAR, batches
from facejax.fitting.scene import project_landmarks
from facejax.rendering import render

STAGE = facejax.Stage("shape", 60, (("translation", 2.5),), (("pixels", 1e-6),))
RECIPE = replace(LINEAR, size=64, stages=(STAGE,))


def depth_error(scene):
    depth = scene.data["depth"]
    known = scene.mask * jnp.where(depth > 900.0, 1.0, 0.0)  # not beside the face, and not across its outline
    return jnp.sum(known * jnp.abs(scene.rendering.depth - depth)) / jnp.sum(known)


def point_error(scene):
    return jnp.mean(jnp.abs(scene.landmarks[30] - scene.data["nose"][0]))


def number_error(scene):
    return jnp.abs(scene.params.pose.translation[0] - scene.data["place"])


@pytest.fixture(scope="module")
def people():
    """Two faces that are nearer than their landmarks say, in photographs of different sizes."""
    found = []
    for seed, side in ((0, SIDE), (1, 160)):
        params = truth(degrees=(2.0, 10.0 - 20.0 * seed, 0.0), side=side, seed=seed)
        rendering = render(toy_model(), params, size=(side, side))
        points = project_landmarks(toy_model(), params, jnp.asarray(False))
        found.append((params, photograph(params, side), np.asarray(points), np.asarray(rendering.depth)))
    return found


def test_data_travels_through_crops_and_batches(people):
    """Depth of maps in which each face is 60 mm farther away than it is: the fitted faces go there, each by itself."""
    _, photos, points, depths = zip(*people, strict=True)
    farther = [np.where(depth > 0, depth + 60.0, 0.0) for depth in depths]
    terms = {"depth": facejax.Term(depth_error, weight=0.1, data=facejax.Maps(farther))}
    result = facejax.fit(toy_model(), photos, points, recipe=RECIPE, terms=terms)
    faces = result.faces.stages["landmarks"], result.params
    distances = [-np.asarray(one.pose.translation)[:, 2] for one in faces]
    truths = np.array([-float(one[0].pose.translation[2]) + 60.0 for one in people])
    assert (np.abs(distances[1] - truths) < 0.5 * np.abs(distances[0] - truths)).all(), (distances, truths)
    losses = np.asarray(result.faces.terms["shape"]["depth"])
    assert losses.shape == (2, 60) and (losses[:, -1] < 0.5 * losses[:, 0]).all()
    alone = facejax.fit(
        toy_model(),
        photos[1],
        points[1],
        recipe=RECIPE,
        terms={"depth": replace(terms["depth"], data=facejax.Maps(farther[1:]))},
    )
    np.testing.assert_allclose(alone.params.pose.translation[0], result.params.pose.translation[1], atol=0.5)


def test_points_are_those_of_the_crop_and_of_every_size(people):
    """A stage at half the size sees points and landmarks in the same pixels."""
    _, photo, points, _ = people[1]
    recipe = replace(RECIPE, stages=(replace(STAGE, steps=1), replace(STAGE, name="small", steps=1, size=32)))
    wanted = points[30] + np.array([4.0, 0.0])
    terms = {"nose": facejax.Term(point_error, data=facejax.Points([wanted[None]]))}
    result = facejax.fit(toy_model(), photo, points, recipe=recipe, terms=terms)
    first = [float(result.faces.terms[name]["nose"][0, 0]) for name in ("shape", "small")]
    assert first[1] == pytest.approx(first[0] / 2, rel=0.15) and first[0] > 0.3


def test_numbers_and_plain_functions_and_weights_of_a_stage(people, tmp_path):
    _, photo, points, _ = people[0]
    stage = replace(STAGE, weights=(*STAGE.weights, ("place", 0.5)))
    terms = {
        "place": facejax.Term(number_error, data=facejax.Numbers([np.array(25.0, np.float32)])),
        "none": lambda scene: 0.0 * scene.mask.sum(),
    }
    recipe = replace(RECIPE, stages=(stage,))
    result = facejax.fit(toy_model(), photo, points, recipe=recipe, terms=terms)
    assert abs(float(result.params.pose.translation[0, 0]) - 25.0) < 5.0
    assert set(result.faces.terms["shape"]) == {"pixels", "place", "none"}
    (folder,) = result.save(tmp_path, keep_stages=True)
    told = json.loads((folder / "summary.json").read_text())["stages"]["shape"]
    assert told["terms"] == {"pixels": 1e-6, "place": 0.5, "none": 1.0} and told["networks"] == {}


def test_data_that_does_not_fit_is_named(people):
    _, photo, points, depth = people[0]
    term = facejax.Term(depth_error, data=facejax.Maps([depth, depth]))
    with pytest.raises(ValueError, match="term 'depth' has 2 arrays for 1 photographs: give one each"):
        facejax.fit(toy_model(), photo, points, recipe=RECIPE, terms={"depth": term})
    with pytest.raises(
        ValueError, match=r"data of term 'depth': a map of shape \(7, 7\): give one of the photograph's size"
    ):
        facejax.fit(
            toy_model(),
            photo,
            points,
            recipe=RECIPE,
            terms={"depth": replace(term, data=facejax.Maps([depth[:7, :7]]))},
        )
    with pytest.raises(ValueError, match="recipe 'landmarks' has no stages, so terms have no effect"):
        facejax.fit(toy_model(), photo, points, recipe=LANDMARKS, terms={"depth": term})


# ---- photographs that cannot be fitted


def test_a_bad_photograph_does_not_stop_the_others(people, tmp_path):
    (_, first, points, _), (_, second, others, _) = people
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    images = [first, tmp_path / "broken.jpg", second, first, np.zeros((5, 5))]
    marks = [points, points, others, np.full((68, 2), 3.0), points]
    result = facejax.fit(
        toy_model(), images, marks, recipe=replace(LANDMARKS, size=64), focal=[300.0, 1.0, 400.0, 2.0, 3.0]
    )
    assert result.photo == [0, 2] and result.failed == [1, 3, 4] and len(result) == 2
    assert result.failures[0].startswith(f"{tmp_path / 'broken.jpg'}: ")
    assert "no extent" in result.failures[1] and "photo 4 has shape (5, 5)" in result.failures[2]
    np.testing.assert_array_equal(result.observed[1], others)
    camera: Any = result.params.camera
    np.testing.assert_allclose(np.asarray(camera.focal), [300.0, 400.0], rtol=0.01)
    with pytest.raises(ValueError, match=r"no photograph can be fitted: .*broken\.jpg: "):
        facejax.fit(toy_model(), images[1:2] * 2, marks[:2], recipe=LANDMARKS)
    with pytest.raises(ValueError, match=r"^\S*broken\.jpg: "):
        facejax.fit(toy_model(), tmp_path / "broken.jpg", points, recipe=LANDMARKS)


def test_a_processor_fits_no_face_in_vain(people, monkeypatch):
    """Seventeen faces, and as many fits by one program."""
    fits = []
    compile_fit = batches.compile_fit

    def counting(model, crops, **settings):
        program = compile_fit(model, crops, **settings)
        return lambda *arguments: fits.append(len(arguments[1].scale)) or program(*arguments)

    monkeypatch.setattr(batches, "compile_fit", counting)
    monkeypatch.setattr(batches, "busy_faces", lambda: 1)
    _, photo, points, _ = people[0]
    recipe = replace(RECIPE, stages=(replace(STAGE, steps=1),))
    shifted = [points + np.float32(0.1 * k) for k in range(17)]
    result = facejax.fit(toy_model(), [photo] * 17, shifted, recipe=recipe, batch=16)
    assert fits == [1] * 17 and len(result) == 17
    np.testing.assert_array_equal(result.photo, np.arange(17))
    alone = facejax.fit(toy_model(), photo, shifted[16], recipe=recipe)
    np.testing.assert_allclose(result.landmarks[16], alone.landmarks[0], atol=1e-4)


def test_an_accelerator_fills_up_its_last_batch(people, monkeypatch):
    sizes = []
    compile_fit = batches.compile_fit
    monkeypatch.setattr(
        batches,
        "compile_fit",
        lambda model, crops, **kept: sizes.append(len(crops.scale)) or compile_fit(model, crops, **kept),
    )
    monkeypatch.setattr(batches.jax, "default_backend", lambda: "gpu")
    _, photo, points, _ = people[0]
    shifted = [points + np.float32(k) for k in range(5)]
    result = facejax.fit(toy_model(), [photo] * 5, shifted, recipe=replace(LANDMARKS, size=64), batch=2)
    assert sizes == [2, 2, 2] and len(result) == 5
    gaps = np.diff(result.landmarks[:, :, 0].mean(axis=1))
    np.testing.assert_allclose(gaps, 1.0, atol=0.05)
