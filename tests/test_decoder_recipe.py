"""The recipe with the shipped decoder, cut short, on a portrait of the default head."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from toy import toy_model

from facejax.api import fit
from facejax.commands.demo import portrait, random_face
from facejax.export.load import load_face
from facejax.face_model import decode_albedo
from facejax.face_model.load import load_face_model
from facejax.fitting import ACCELERATOR, Stage
from facejax.texture import DetailedTexture, load_decoder


@pytest.mark.thorough
def test_the_recipe_accelerator_goes_from_the_linear_albedo_to_the_decoder_with_details(tmp_path):
    model, shipped = load_face_model(), load_decoder()
    photo, points = portrait(model, random_face(model, key=jax.random.key(5)), key=jax.random.key(6))
    short = tuple(replace(stage, steps=12) if isinstance(stage, Stage) else stage for stage in ACCELERATOR.stages)
    recipe = replace(ACCELERATOR, size=96, stages=short)
    result = fit(model, photo, points, recipe=recipe)
    face = jax.tree.map(lambda leaf: np.asarray(leaf[0]), result.faces)
    assert face.finite and set(face.stages) == {"landmarks", *(stage.name for stage in ACCELERATOR.stages)}

    texture = DetailedTexture(shipped)
    details = {name: face.stages[name].appearance["details"] for name in ("texture", "everything")}
    assert {name: block.shape for name, block in face.params.appearance.items()} == texture.blocks
    assert not details["texture"].any() and (np.abs(details["everything"]) > 0.05).sum() > 1000
    for name in ("texture", "everything"):
        assert face.losses[name][-1] < face.losses[name][0]

    (folder,) = result.save(tmp_path)
    told = json.loads((folder / "summary.json").read_text())
    assert told["stages"]["everything"]["appearance"] == "detailed"
    assert told["stages"]["everything"]["networks"] == {"perceptual": "own encoder"}
    assert {path.name for path in folder.iterdir()} >= {"mesh.obj", "albedo.png", "overlay.png", "params.npz"}

    with pytest.raises(
        ValueError, match=r"parameters of another appearance .details, latents., .*pass the appearance="
    ):
        decode_albedo(model, jax.device_put(face.params))
    again, params, appearance = load_face(folder)
    for name in ("appearance", "identity", "light"):
        jax.tree.map(np.testing.assert_array_equal, getattr(params, name), getattr(face.params, name))
    assert again.name == model.name
    np.testing.assert_array_equal(appearance.decode(params.appearance), result.appearance.decode(params.appearance))
    with pytest.raises(ValueError, match="a face of the model 'facejax-head', not of 'toy'"):
        load_face(folder, model=toy_model())
