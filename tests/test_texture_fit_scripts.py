"""Measuring texture decoders: unwrapped photographs, fitted maps, aligned side views, and the scripts' tables."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toy import toy_model

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import decoder_expressiveness  # noqa: E402
import evaluate_texture_fit  # noqa: E402
from texture_fit import (  # noqa: E402
    faces,
    maps,
    side_views,
    tables,
)
from texture_fit.brightness import brightness_errors  # noqa: E402

from facejax.appearance import SurfaceAppearance  # noqa: E402
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, project, to_camera  # noqa: E402
from facejax.face_model import decode, neutral_params, own_albedo  # noqa: E402
from facejax.face_model.surface_landmarks import landmarks  # noqa: E402
from facejax.fitting import LINEAR, Ingredients, Recipe, Stage, encoder_network  # noqa: E402
from facejax.ingredients import ingredients_for  # noqa: E402
from facejax.nets import EncoderConfig, init_encoder  # noqa: E402
from facejax.nets.stylegan2 import StyleGANConfig, init_generator  # noqa: E402
from facejax.rendering import render  # noqa: E402
from facejax.texture import TextureDecoder, save_decoder, texture_decoder  # noqa: E402

TINY = StyleGANConfig(resolution=32, channel_base=256, channel_max=16, latent=16, mapping_layers=2, clamp=None)
ENCODER = EncoderConfig(outputs=3, size=32, widths=(4, 4, 8), blocks=(0, 1, 0), hidden=8, code=2)
SIDE = 96


@pytest.fixture(scope="module")
def decoder() -> TextureDecoder:
    return texture_decoder(TINY, init_generator(TINY, jax.random.key(0)), count=500)


def view() -> maps.MapView:
    return maps.MapView(encoder_network(ENCODER, init_encoder(ENCODER, jax.random.key(0))), (0.0, 0.0, 1.0), 32)


def toy_params(yaw: float = 0.0):
    model = toy_model()
    camera = PerspectiveCamera(jnp.asarray(380.0), jnp.array([SIDE / 2, SIDE / 2]))
    params = neutral_params(model, camera)
    return model, replace(params, pose=Pose(euler_to_quaternion(jnp.array([4.0, yaw, -3.0])), params.pose.translation))


def test_brightness_errors_are_of_what_is_seen_on_both_sides():
    """A step of 0.2 between the halves: 51 grey levels, less near the middle; unseen texels do not count."""
    face = np.ones((64, 64), bool)
    step = np.full((64, 64, 3), 0.4, np.float32)
    step[:, 32:] += 0.2
    spoilt, seen = step.copy(), np.ones((64, 64), bool)
    spoilt[:20], seen[:20] = np.nan, False
    spoilt[:, :10], seen[:, :10] = 0.9, False  # so that the other side does not count either
    found = brightness_errors(spoilt, step * 0 + 0.5, seen, face)
    assert found is not None
    assert 45 < found[0] < 51 and found[1] == 0
    seen[:, 10:32] = False
    assert brightness_errors(spoilt, step, seen, face) is None


def test_a_side_view_takes_its_pose_from_the_landmarks():
    """From the front pose back to the true one, to a hundredth of a degree; nothing else moves."""
    model, params = toy_params()
    turned = replace(
        params,
        identity=jnp.array([1.0, -1.0, 0.5, 0, 0, 0]),
        pose=Pose(euler_to_quaternion(jnp.array([-5.0, 25.0, 6.0])), jnp.array([12.0, -8.0, -1100.0])),
    )
    places = project(turned.camera, to_camera(turned.pose, landmarks(model, decode(model, turned))))[:, :2]
    front = replace(turned, pose=params.pose)
    found = jax.jit(side_views.align_pose)(model, front, places, jnp.full(68, 0.9))
    x, y, z, w = 1, 2, 3, 0
    first, second = (Rotation.from_quat(np.asarray(p.pose.rotation)[[x, y, z, w]]) for p in (found, turned))
    assert np.rad2deg((first * second.inv()).magnitude()) < 0.05
    np.testing.assert_allclose(found.pose.translation, turned.pose.translation, atol=0.5)
    np.testing.assert_array_equal(found.identity, turned.identity)


@pytest.mark.thorough
@pytest.mark.parametrize("with_eye", [False, True])
def test_a_map_of_the_decoder_is_found_again(decoder, with_eye):
    """One that the decoder made itself, with and without the encoder's distance."""
    shape = decoder.blocks["latents"]
    target = decoder.decode({"latents": 0.3 * jax.random.normal(jax.random.key(1), shape)})
    mask = jnp.ones((32, 32), bool)
    fit = maps.compile_map_fit(steps=80, weight=0.01)(decoder, target[None], mask, view() if with_eye else None)
    start = decoder.decode({"latents": jnp.zeros(shape)})
    shown = jnp.stack([jnp.clip(target, 0, 1)] * 2)
    quality, distance = maps.compare_maps(jnp.stack([fit.maps[0], start]), shown, mask, (view(),))
    assert quality[0] > 28 and quality[0] > quality[1] + 10
    assert distance[0, 0] < 0.5 * distance[1, 0]
    assert fit.losses.shape == (1, 80) and fit.losses[0, -1] < 0.05 * fit.losses[0, 0]


def test_psnr_is_that_of_the_masked_texels():
    rng = np.random.default_rng(0)
    made, target = rng.random((2, 1, 8, 8, 3), dtype=np.float32)
    mask = rng.random((8, 8)) > 0.4
    error = (made[0].astype(np.float64) - target[0])[mask]
    found, seen = maps.compare_maps(jnp.asarray(made), jnp.asarray(target), jnp.asarray(mask), ())
    np.testing.assert_allclose(found[0], -10 * np.log10((error**2).mean()), atol=1e-4)
    assert seen.shape == (1, 0)


def test_the_linear_row_is_a_least_squares_fit():
    """Against numpy, under a mask; and a map of the linear model is found again."""
    albedo = own_albedo(toy_model())
    rng = np.random.default_rng(1)
    mask = rng.random((32, 32)) > 0.3
    basis = (np.asarray(albedo.basis) * np.asarray(albedo.std)[:, None, None, None])[:, mask].reshape(3, -1)
    for target in (rng.random((32, 32, 3)), np.asarray(albedo.decode({"albedo": jnp.array([1.5, -1.0, 0.7])}))):
        expected = np.linalg.lstsq(basis.T, (target - np.asarray(albedo.mean))[mask].ravel(), rcond=None)[0]
        found = maps.project_maps(albedo, jnp.asarray(target[None], jnp.float32), jnp.asarray(mask))[0]
        wanted = albedo.decode({"albedo": jnp.asarray(expected, jnp.float32)})
        np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_the_last_maps_are_held_out(tmp_path):
    shown = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 16, 16, 3), np.uint8)
    np.save(tmp_path / "maps.npy", shown)
    found, before = maps.held_out_maps(tmp_path, 2, 8)
    assert before == 3
    np.testing.assert_array_equal(found, shown[3:, :8, :8])
    with pytest.raises(ValueError, match=r"--count 5: .* holds 5 maps"):
        maps.held_out_maps(tmp_path, 5, 8)


@pytest.mark.thorough
def test_the_expressiveness_table_has_a_row_for_each_decoder(tmp_path, decoder, monkeypatch, capsys):
    save_decoder(tmp_path / "few", decoder)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "maps.npy", rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    monkeypatch.setattr(decoder_expressiveness, "load_face_model", toy_model)
    monkeypatch.setattr(decoder_expressiveness, "map_views", lambda *_: {"encoder": view()})
    args = decoder_expressiveness.Args(
        maps=tmp_path, decoders=(tmp_path / "few",), out=tmp_path / "out", count=3, steps=3, batch=2
    )
    decoder_expressiveness.main(args)
    said = capsys.readouterr().out
    assert "held out: maps 1 to 3" in said and "--limit 1 or less" in said
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| linear albedo |" in table and "| few |" in table
    assert (tmp_path / "out" / "table.json").is_file() and (tmp_path / "out" / "sheet.jpg").is_file()


def test_decoders_of_two_sizes_are_not_compared(tmp_path, decoder):
    small = replace(TINY, resolution=16)
    save_decoder(tmp_path / "a", decoder)
    save_decoder(tmp_path / "b", texture_decoder(small, init_generator(small, jax.random.key(0)), count=100))
    args = decoder_expressiveness.Args(maps=tmp_path, decoders=(tmp_path / "a", tmp_path / "b"), out=tmp_path)
    with pytest.raises(ValueError, match="resolutions differ"):
        decoder_expressiveness.main(args)


def subject(name: str):
    """A picture of the toy head, a little lit from one side, with its landmarks."""
    model, params = toy_params(10.0)
    params = replace(params, appearance={"albedo": jnp.array([1.0, -1.0, 1.0])}, light=params.light.at[3].set(0.4))
    photo = np.asarray(render(model, params, size=(SIDE, SIDE)).color)
    points = project(params.camera, to_camera(params.pose, landmarks(model, decode(model, params))))[:, :2]
    return faces.Subject(name, "photos", lambda: photo, np.asarray(points))


def _decoded(stage: Stage) -> Stage:
    """The same with a decoder's latents in the place of the linear albedo's coefficients."""
    rates, weights = (
        tuple(("latents" if name == "albedo" else name, x) for name, x in pairs)
        for pairs in (stage.rates, stage.weights)
    )
    return replace(stage, appearance="decoder", rates=rates, weights=weights)


@pytest.mark.slow
def test_the_fit_table_compares_with_the_linear_recipe(tmp_path, decoder, monkeypatch):
    """Two faces through short recipes: rows, stages, a sheet; the same face twice gives the same numbers."""
    stages = tuple(Stage(name, 2, (("albedo", 0.1), ("light", 0.03)), (("pixels", 1.0),)) for name in ("colour", "all"))
    short = replace(LINEAR, size=64, landmark_steps=6, stages=stages)
    textured = replace(short, name="textured", stages=tuple(_decoded(stage) for stage in stages))
    monkeypatch.setattr(evaluate_texture_fit, "find_recipe", {"linear": short, "textured": textured}.get)
    monkeypatch.setattr(evaluate_texture_fit, "linear_like", lambda recipe: short)
    monkeypatch.setattr(
        evaluate_texture_fit, "ingredients_for", lambda *_, **__: Ingredients({"decoder": SurfaceAppearance(decoder)})
    )
    monkeypatch.setattr(evaluate_texture_fit, "load_face_model", lambda name: toy_model())
    monkeypatch.setattr(evaluate_texture_fit, "read_subjects", lambda *_, **__: [subject("a"), subject("b")])
    monkeypatch.setattr(evaluate_texture_fit, "cache_compilations", lambda: None)
    args = evaluate_texture_fit.Args(data=tmp_path, out=tmp_path / "out", recipe=("textured",), batch=2)
    evaluate_texture_fit.main(args)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| linear | photos | 2 |" in table and "| textured | photos | 2 |" in table
    first, second = table.split("textured, face by face")[1].split("\n")[4:6]
    assert first.replace("| a |", "| b |") == second and "landmarks" in first and "all" in first
    assert (tmp_path / "out" / "sheet.jpg").is_file()


def test_a_linear_run_comes_before_every_recipe(monkeypatch):
    monkeypatch.setattr(evaluate_texture_fit, "ingredients_for", lambda *_, **__: Ingredients())
    args = evaluate_texture_fit.Args(data=Path(), out=Path(), recipe=("ffhq_uv_code", "linear", "ganfit"))
    runs = evaluate_texture_fit.plan(args)
    assert [(run.recipe.name, run.base) for run in runs] == [("linear", 0), ("ffhq_uv_code", 0), ("ganfit", 0)]
    assert runs[0].recipe == LINEAR


def test_errors_stand_in_the_order_of_the_stages():
    """A compiled fit returns its stages by name; the first and the last one are compared."""
    model, params = toy_params(10.0)
    shift = params.pose.translation + jnp.array([5.0, 0.0, 0.0])
    moved = replace(params, pose=replace(params.pose, translation=shift))
    face: Any = SimpleNamespace(stages={"pixels": moved, "landmarks": params}, moving=jnp.asarray(False))
    points = np.asarray(project(params.camera, to_camera(params.pose, landmarks(model, decode(model, params))))[:, :2])
    errors = faces.landmark_errors(model, LINEAR, face, points)
    assert list(errors) == ["landmarks", "pixels"] and errors["landmarks"] < 0.1 < errors["pixels"]


def test_missing_things_are_named():
    with pytest.raises(ValueError, match=r"--recipe gan: not one of .*ffhq_uv_code"):
        evaluate_texture_fit.find_recipe("gan")
    with pytest.raises(ValueError, match="register_appearance"):
        ingredients_for(Recipe("x", stages=_drawing("other")))


def _drawing(appearance: str):
    return (Stage("drawing", 1, (("light", 0.1),), (("pixels", 1.0),), appearance=appearance),)


def test_numbers_in_tables():
    table = tables.markdown(["a", "b"], [["x", 1.234], ["y", None], ["z", float("nan")]])
    assert table.splitlines()[2:] == ["| x | 1.23 |", "| y | - |", "| z | - |"]


SCRIPTS = {
    "evaluate_texture_fit.py": ("--data", "--out"),
    "decoder_expressiveness.py": ("--maps", "--decoders", "--out"),
}


def run_script(monkeypatch, name: str, *arguments: str):
    """What the script leaves with."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(EXPERIMENTS / name), run_name="__main__")
    return left.value.code


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself(name, monkeypatch, capsys):
    assert run_script(monkeypatch, name, "--help") == 0
    said = capsys.readouterr().out
    assert f"python experiments/{name}" in said and all(option in said for option in SCRIPTS[name])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_fails_in_one_line(name, monkeypatch, tmp_path):
    missing = str(tmp_path / "missing")
    arguments = [word for option in SCRIPTS[name] for word in (option, missing)]
    error = run_script(monkeypatch, name, *arguments)
    assert isinstance(error, str) and error.startswith("error: ") and missing in error and "\n" not in error
