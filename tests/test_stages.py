"""What a stage may ask for: other albedo models, networks, sizes, schedules, spheres; and faces that diverge."""

import csv
import json
from dataclasses import dataclass, field, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fitting import SIDE, observation, truth
from toy import toy_model

from facejax.api import fit
from facejax.face_model import AlbedoModel, LinearAlbedo, decode_albedo
from facejax.fitting import LINEAR, FeatureNetwork, Stage, Tools, run_stage
from facejax.fitting.ffhq_uv import FFHQ_UV_CODE, FFHQ_UV_CROPFACE, FFHQ_UV_PAPER, GANFIT
from facejax.fitting.scene import look, resize
from facejax.fitting.stages import schedule, switch_albedo
from facejax.programs import jit

COLOUR = Stage("colour", 12, (("albedo", 0.1),), (("pixels", 1.0),))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Layers:
    """Two latent vectors of three numbers, whose sum colours the whole map through a curve."""

    weight: Any
    latent_layers: int = field(default=2, metadata={"static": True})

    @property
    def count(self) -> int:
        return 6

    def decode(self, coefficients):
        colour = jax.nn.sigmoid(coefficients.reshape(2, 3).sum(axis=0) * self.weight)
        return jnp.broadcast_to(colour, (8, 8, 3))

    def encode(self, albedo):
        mean = jnp.clip(albedo.reshape(-1, 3).mean(axis=0), 0.01, 0.99)
        return jnp.tile(jnp.log(mean / (1 - mean)) / (2 * self.weight), 2)


LAYERS = Layers(jnp.asarray(1.5))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Spotted(Layers):
    """The same, and a detail for every texel."""

    detail_count: int = field(default=64, metadata={"static": True})

    @property
    def count(self) -> int:
        return 6 + 64

    def decode(self, coefficients):
        return super().decode(coefficients[:6]) + 0.1 * coefficients[6:].reshape(8, 8, 1)

    def encode(self, albedo):
        return jnp.append(super().encode(albedo), jnp.zeros(64))


def run(params, seen, stage, **options):
    model = options.pop("model", toy_model())
    return jit(lambda p, o: run_stage(model, p, o, stage=stage, **options))(params, seen)


def test_albedo_models_are_known_by_what_they_do():
    assert isinstance(LAYERS, AlbedoModel) and isinstance(toy_model().albedo, AlbedoModel)
    assert not isinstance(object(), AlbedoModel)


def test_encoding_finds_the_coefficients_of_a_linear_albedo_again():
    albedo = toy_model().albedo
    assert isinstance(albedo, LinearAlbedo)
    wanted = jnp.array([0.8, -1.2, 0.4])
    np.testing.assert_allclose(albedo.encode(albedo.decode(wanted)), wanted, atol=0.02)


def test_another_albedo_begins_near_the_last_one():
    params = truth()
    model, switched = switch_albedo(toy_model(), params, LAYERS)
    before = decode_albedo(toy_model(), params).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(decode_albedo(model, switched)[0, 0], before, atol=0.01)
    _, drawn = switch_albedo(toy_model(), params, LAYERS, "normal")
    _, again = switch_albedo(toy_model(), params, LAYERS, "normal")
    np.testing.assert_array_equal(drawn.albedo, again.albedo)
    assert np.std(drawn.albedo) > 0.3


@pytest.mark.thorough
def test_details_move_at_their_own_pace_and_not_on_the_sphere():
    params = truth()
    seen = observation(params)
    model, start = switch_albedo(toy_model(), params, Spotted(jnp.asarray(1.5)))
    start = replace(start, albedo=start.albedo.at[:6].add(0.5))  # a sphere has a centre, and no latent is there
    pixels = (("pixels", 1.0), ("albedo", 1.0))
    alone, _ = run(start, seen, Stage("details", 5, (("details", 0.1),), pixels), model=model)
    np.testing.assert_array_equal(alone.albedo[:6], start.albedo[:6])
    assert (jnp.abs(alone.albedo[6:]) > 0.1).sum() > 10
    without, _ = run(start, seen, Stage("latents", 5, (("albedo", 0.1),), pixels), model=model)
    assert not without.albedo[6:].any() and (without.albedo[:6] != start.albedo[:6]).all()
    both = Stage("both", 5, (("albedo", 0.1), ("details", 0.1)), pixels, constraint="sphere")
    found, _ = run(start, seen, both, model=model)
    lengths = [jnp.linalg.norm(face.albedo[:6].reshape(2, 3), axis=1) for face in (start, found)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)
    assert (found.albedo[:6] != start.albedo[:6]).all() and found.albedo[6:].any()
    held, trace = run(start, seen, Stage("held", 5, (("details", 0.1),), (*pixels, ("details", 1e3))), model=model)
    assert jnp.abs(held.albedo[6:]).max() < jnp.abs(alone.albedo[6:]).max() and trace.terms["details"][0] == 0


def test_latents_stay_on_their_sphere():
    params = truth()
    model, params = switch_albedo(toy_model(), params, LAYERS, "normal")
    length = np.linalg.norm(np.asarray(params.albedo).reshape(2, 3), axis=1)
    free, _ = run(params, observation(truth()), COLOUR, model=model)
    held, _ = run(params, observation(truth()), replace(COLOUR, constraint="sphere"), model=model)
    assert np.abs(np.linalg.norm(np.asarray(free.albedo).reshape(2, 3), axis=1) - length).max() > 0.05
    np.testing.assert_allclose(np.linalg.norm(np.asarray(held.albedo).reshape(2, 3), axis=1), length, rtol=1e-4)
    assert np.abs(np.asarray(held.albedo - params.albedo)).max() > 0.05


def test_latents_can_be_drawn_together():
    model, params = switch_albedo(toy_model(), truth(), LAYERS, "normal")
    stage = Stage("together", 60, (("albedo", 0.2),), (("latents_together", 1.0),))
    found, trace = run(params, observation(truth()), stage, model=model)
    assert float(trace.losses[-1]) < 0.3 * float(trace.losses[0])
    one, other = np.asarray(found.albedo).reshape(2, 3)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.95


def test_an_albedo_that_does_not_move_is_not_decoded_anew():
    decoded = []

    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Counting(Layers):
        def decode(self, coefficients):
            decoded.append(None)
            return super().decode(coefficients)

    model, params = switch_albedo(toy_model(), truth(), Counting(jnp.asarray(1.5)))
    stage = Stage("light", 3, (("light", 0.02),), (("pixels", 1.0), ("albedo", 0.1)))
    found, _ = run_stage(model, params, observation(truth()), stage=stage)
    assert len(decoded) == 1
    np.testing.assert_array_equal(found.albedo, params.albedo)


@pytest.mark.parametrize("albedo", [None, LAYERS], ids=["linear", "layers"])
def test_a_surface_that_stands_still_is_coloured_as_one_that_could_move(albedo):
    """It is rendered once; with a rate that is next to nothing it is rendered at every step."""
    params, seen = truth(), observation(truth())
    model, start = toy_model(), replace(params, albedo=jnp.zeros(3))
    if albedo is not None:
        model, start = switch_albedo(model, start, albedo, "normal")
    weights = (("pixels", 1.0), ("landmarks", 10.0), ("light_colour", 0.1))
    still = Stage("still", 8, (("albedo", 0.1), ("light", 0.02)), weights)
    free = replace(still, rates=(*still.rates, ("translation", 1e-9)))
    (one, told), (other, wanted) = (run(start, seen, stage, model=model) for stage in (still, free))
    np.testing.assert_allclose(told.losses, wanted.losses, rtol=1e-5)
    np.testing.assert_allclose(one.albedo, other.albedo, atol=1e-4)
    np.testing.assert_allclose(one.light, other.light, atol=1e-4)
    assert np.abs(np.asarray(one.light - start.light)).max() > 0.02
    for block in ("identity", "expression", "pose"):
        chex.assert_trees_all_equal(getattr(one, block), getattr(start, block))


@pytest.mark.parametrize("mapped", [True, False])
def test_a_rendering_is_coloured_anew_as_if_rendered_anew(mapped):
    model, params, seen = toy_model(), truth(), observation(truth())
    lit = replace(params, light=params.light.at[2].add(0.2))
    albedo = jax.random.uniform(jax.random.key(0), (16, 16, 3) if mapped else model.mean.shape)
    before = look(model, params, seen)
    again, anew = (look(model, lit, seen, albedo=albedo, before=known) for known in (before, None))
    assert np.abs(np.asarray(again.rendering.color - before.rendering.color)).mean() > 0.01
    chex.assert_trees_all_close(again.rendering, anew.rendering, atol=1e-5)
    np.testing.assert_allclose(again.mask, anew.mask, atol=1e-5)
    np.testing.assert_allclose(again.landmarks, anew.landmarks, atol=1e-4)


def test_the_schedule_is_that_of_the_paper():
    stage = replace(COLOUR, steps=100, rampdown=0.25, floor=0.0)
    steps = np.arange(101)
    r = np.minimum(1.0, (1.0 - steps / 100) / 0.25)
    np.testing.assert_allclose(schedule(stage)(steps), 0.5 - 0.5 * np.cos(np.pi * r), atol=1e-6)


def test_a_smaller_picture_shows_the_same_face():
    params, seen = truth(), observation(truth())
    small, moved = resize(seen, params, SIDE // 2)
    scene = look(toy_model(), moved, small)
    assert scene.rendering.color.shape == (SIDE // 2, SIDE // 2, 3)
    np.testing.assert_allclose(scene.landmarks, seen.landmarks / 2, atol=0.02)
    inside = np.asarray(scene.mask) > 0.9
    assert np.abs(np.asarray(scene.rendering.color - small.image))[inside].mean() < 0.02


def test_a_stage_at_another_size_gives_back_the_camera():
    params = truth()
    found, _ = run(replace(params, albedo=jnp.zeros(3)), observation(params), replace(COLOUR, size=SIDE // 2))
    chex.assert_trees_all_equal(found.camera, params.camera)
    assert float(jnp.abs(found.albedo - params.albedo).max()) < float(jnp.abs(params.albedo).max())


def mean_colour(weights, image, landmarks):
    return weights * image.mean(axis=(0, 1))


def squared(rendered, photo, mask):
    return jnp.sum((rendered - photo) ** 2)


def test_a_network_term_compares_render_and_photograph():
    network = FeatureNetwork(jnp.asarray(2.0), mean_colour, squared, name="mean colour")
    params, seen = truth(), observation(truth())
    stage = replace(COLOUR, weights=(("perceptual", 1.0),), steps=30)
    start = replace(params, albedo=jnp.zeros(3))
    _, trace = run(start, seen, stage, tools=Tools(networks={"perceptual": network}))
    scene = look(toy_model(), start, seen)
    blend = np.asarray(scene.mask)[..., None]
    laid_over = blend * np.asarray(scene.rendering.color) + (1 - blend) * np.asarray(seen.image)
    expected = 4 * np.sum((laid_over.mean((0, 1)) - np.asarray(seen.image).mean((0, 1))) ** 2)
    np.testing.assert_allclose(trace.losses[0], expected, rtol=1e-3)
    assert float(trace.losses[-1]) < 0.2 * float(trace.losses[0])


def test_a_missing_network_or_albedo_is_named():
    params, seen = truth(), observation(truth())
    with pytest.raises(ValueError, match="'perceptual' needs a network for 'perceptual'"):
        run_stage(toy_model(), params, seen, stage=replace(COLOUR, weights=(("perceptual", 1.0),)))
    with pytest.raises(ValueError, match="there is no albedo model 'decoder': known are"):
        Tools().albedo("decoder", toy_model())


def test_the_terms_add_up_to_the_loss():
    stage = replace(COLOUR, weights=(("pixels", 2.0), ("landmarks", 50.0), ("albedo", 0.3)))
    _, trace = run(replace(truth(), albedo=jnp.ones(3)), observation(truth()), stage)
    np.testing.assert_allclose(sum(trace.terms.values()), trace.losses, rtol=1e-5)


def test_a_face_that_diverges_is_held_and_the_others_go_on():
    params, seen = truth(), observation(truth())
    start = replace(params, albedo=jnp.zeros(3))
    spoiled = seen.image.at[SIDE // 2, SIDE // 2].set(jnp.nan)
    both = replace(seen, **{name: jnp.stack([getattr(seen, name)] * 2) for name in vars(seen)})
    both = replace(both, image=jnp.stack([spoiled, seen.image]))
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start)
    found, trace = jit(jax.vmap(lambda p, o: run_stage(toy_model(), p, o, stage=COLOUR)))(pair, both)
    alone, single = run(start, seen, COLOUR)
    assert trace.frozen.tolist() == [0, -1] and int(single.frozen) == -1
    np.testing.assert_array_equal(found.albedo[0], start.albedo)
    np.testing.assert_allclose(found.albedo[1], alone.albedo, atol=1e-4)


def test_a_face_that_runs_away_goes_back_to_its_last_sound_state():
    params = truth()
    stage = Stage("wild", 30, (("light", 40.0),), (("pixels", 1.0),))
    found, trace = run(params, observation(params), stage)
    first = float(trace.losses[0])
    assert int(trace.frozen) >= 1
    scene = look(toy_model(), found, observation(params))
    assert float(jnp.abs(scene.rendering.color - scene.seen.image)[scene.mask > 0.5].mean()) < 4 * first


@pytest.mark.thorough
@pytest.mark.parametrize("recipe", [FFHQ_UV_CODE, FFHQ_UV_PAPER, FFHQ_UV_CROPFACE, GANFIT], ids=lambda r: r.name)
def test_published_recipes_run(recipe):
    network = FeatureNetwork(jnp.asarray(1.0), mean_colour, squared, name="mean colour")
    albedos: dict[str, AlbedoModel] = dict.fromkeys(("decoder", "decoder_z", "decoder_cropface"), LAYERS)
    tools = Tools(albedos, {"perceptual": network, "recognition": network})
    params, seen = truth(), observation(truth())
    for stage in recipe.stages:
        model, start = switch_albedo(toy_model(), params, tools.albedo(stage.albedo, toy_model()), stage.start)
        _, trace = run(start, seen, replace(stage, steps=3), model=model, tools=tools)
        assert np.isfinite(trace.losses).all() and int(trace.frozen) == -1


@pytest.mark.thorough
def test_stages_are_written_with_their_losses_and_the_summary_says_what_they_did(tmp_path):
    params, network = truth(), FeatureNetwork(jnp.asarray(1.0), mean_colour, squared, name="mean colour")
    image, points = (np.asarray(getattr(observation(params), name)) for name in ("image", "landmarks"))
    second = replace(COLOUR, name="again", steps=3, weights=(("pixels", 1.0), ("perceptual", 3.0)))
    recipe = replace(LINEAR, size=64, stages=(replace(COLOUR, steps=4), second))
    tools = Tools(networks={"perceptual": network, "recognition": network})
    result = fit(toy_model(), image, points, recipe=recipe, tools=tools)
    (folder,) = result.save(tmp_path, keep_stages=True)

    names = ["0_landmarks", "1_colour", "2_again"]
    assert sorted(path.name for path in (folder / "stages").iterdir()) == [*names, "losses.csv", "losses.png"]
    for name in names:
        files = {path.name for path in (folder / "stages" / name).iterdir()}
        assert files == {"mesh.obj", "mesh.mtl", "albedo.png", "overlay.png", "params.npz"}
    rows = list(csv.DictReader((folder / "stages" / "losses.csv").read_text().splitlines()))
    assert [row["stage"] for row in rows].count("colour") == 4
    last = next(row for row in rows if row["stage"] == "again" and row["step"] == "2")
    parts = float(last["pixels"]) + float(last["perceptual"])
    assert parts == pytest.approx(float(result.faces.losses["again"][0, 2]), rel=1e-4)

    told = json.loads((folder / "summary.json").read_text())["stages"]
    assert list(told) == ["colour", "again"]
    assert told["again"] == {
        "steps": 3,
        "moves": ["albedo"],
        "albedo": "linear",
        "terms": {"pixels": 1.0, "perceptual": 3.0},
        "networks": {"perceptual": "mean colour"},
    }
