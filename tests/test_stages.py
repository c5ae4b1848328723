"""What a stage may ask for: other albedo models, networks, sizes, schedules, spheres; and faces that diverge."""

import csv
import json
from dataclasses import dataclass, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fitting import SIDE, observation, truth
from toy import toy_model

from facejax.api import fit
from facejax.appearance import Appearance, SurfaceAppearance, own_appearance, split_blocks
from facejax.face_model import AlbedoModel, decode_albedo
from facejax.fitting import LINEAR, FeatureNetwork, Ingredients, Stage, run_stage
from facejax.fitting.ffhq_uv import FFHQ_UV_CODE, FFHQ_UV_CROPFACE, FFHQ_UV_PAPER, GANFIT
from facejax.fitting.scene import look, observe, resize
from facejax.fitting.stages import change_appearance, schedule
from facejax.programs import jit

COLOUR = Stage("colour", 12, (("albedo", 0.1),), (("pixels", 1.0),))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Layers:
    """Two latent vectors of three numbers, whose sum colours the whole map through a curve."""

    weight: Any

    @property
    def blocks(self):
        return {"latents": (2, 3)}

    def decode(self, blocks):
        colour = jax.nn.sigmoid(blocks["latents"].sum(axis=0) * self.weight)
        return jnp.broadcast_to(colour, (8, 8, 3))

    def encode(self, albedo):
        mean = jnp.clip(albedo.reshape(-1, 3).mean(axis=0), 0.01, 0.99)
        return {"latents": jnp.tile(jnp.log(mean / (1 - mean)) / (2 * self.weight), (2, 1))}


LAYERS = SurfaceAppearance(Layers(jnp.asarray(1.5)))
OWN = own_appearance(toy_model())
LATENTS = Stage("latents", 12, (("latents", 0.1),), (("pixels", 1.0),))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Spotted(Layers):
    """The same, and a detail for every texel."""

    @property
    def blocks(self):
        return {"latents": (2, 3), "details": (64,)}

    def decode(self, blocks):
        return super().decode(blocks) + 0.1 * blocks["details"].reshape(8, 8, 1)

    def encode(self, albedo):
        return {**super().encode(albedo), "details": jnp.zeros(64)}


def run(params, seen, stage, appearance: Appearance = OWN, **options):
    return jit(lambda p, o: run_stage(toy_model(), p, o, appearance, stage=stage, **options))(params, seen)


def coloured(params, *shades: float):
    """The parameters with these coefficients of the toy's linear albedo."""
    return replace(params, appearance={"albedo": jnp.asarray(shades)})


def switched(params, appearance: Appearance = LAYERS, start: Any = "near"):
    return change_appearance(params, OWN, appearance, jnp.zeros((8, 8, 3)), start)


def test_appearances_are_known_by_what_they_do():
    assert isinstance(LAYERS, Appearance) and isinstance(OWN, Appearance) and not isinstance(object(), Appearance)
    assert isinstance(LAYERS.albedo, AlbedoModel) and not isinstance(object(), AlbedoModel)


def test_blocks_lie_in_a_row_one_after_the_other():
    row = jnp.arange(140.0).reshape(2, 70)
    blocks = split_blocks(SurfaceAppearance(Spotted(jnp.asarray(1.5))), row)
    np.testing.assert_array_equal(blocks["latents"], np.asarray(row[:, :6]).reshape(2, 2, 3))
    np.testing.assert_array_equal(blocks["details"], row[:, 6:])
    with pytest.raises(ValueError, match="69 numbers, but the appearance takes 70"):
        split_blocks(SurfaceAppearance(Spotted(jnp.asarray(1.5))), row[:, 1:])


def test_encoding_finds_the_coefficients_of_a_linear_albedo_again():
    albedo = OWN.albedo
    wanted = {"albedo": jnp.array([0.8, -1.2, 0.4])}
    np.testing.assert_allclose(albedo.encode(albedo.decode(wanted))["albedo"], wanted["albedo"], atol=0.02)


def test_another_albedo_begins_near_the_last_one():
    params = truth()
    before = decode_albedo(toy_model(), params).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(LAYERS.decode(switched(params).appearance)[0, 0], before, atol=0.01)
    drawn, again = (switched(params, start="normal").appearance["latents"] for _ in range(2))
    np.testing.assert_array_equal(drawn, again)
    assert np.std(drawn) > 0.3


@pytest.mark.thorough
def test_details_move_at_their_own_pace_and_not_on_the_sphere():
    params = truth()
    seen = observation(params)
    spotted = SurfaceAppearance(Spotted(jnp.asarray(1.5)))
    start = switched(params, spotted)
    blocks = dict(start.appearance)
    blocks["latents"] += 0.5  # a sphere has a centre, and no latent is there
    start = replace(start, appearance=blocks)
    pixels = (("pixels", 1.0), ("latents", 1.0))
    alone = run(start, seen, Stage("details", 5, (("details", 0.1),), pixels), spotted)[0].appearance
    np.testing.assert_array_equal(alone["latents"], blocks["latents"])
    assert (jnp.abs(alone["details"]) > 0.1).sum() > 10
    without = run(start, seen, Stage("latents", 5, (("latents", 0.1),), pixels), spotted)[0].appearance
    assert not without["details"].any() and (without["latents"] != blocks["latents"]).all()
    both = Stage("both", 5, (("latents", 0.1), ("details", 0.1)), pixels, constraint="sphere")
    found = run(start, seen, both, spotted)[0].appearance
    lengths = [jnp.linalg.norm(some["latents"], axis=1) for some in (blocks, found)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)
    assert (found["latents"] != blocks["latents"]).all() and found["details"].any()
    held, trace = run(start, seen, Stage("held", 5, (("details", 0.1),), (*pixels, ("details", 1e3))), spotted)
    assert jnp.abs(held.appearance["details"]).max() < jnp.abs(alone["details"]).max()
    assert trace.terms["details"][0] == 0


def test_latents_stay_on_their_sphere():
    params = switched(truth(), start="normal")
    latents = np.asarray(params.appearance["latents"])
    stages = LATENTS, replace(LATENTS, constraint="sphere")
    free, held = (
        np.asarray(run(params, observation(truth()), stage, LAYERS)[0].appearance["latents"]) for stage in stages
    )
    lengths = [np.linalg.norm(some, axis=1) for some in (latents, free, held)]
    assert np.abs(lengths[1] - lengths[0]).max() > 0.05
    np.testing.assert_allclose(lengths[2], lengths[0], rtol=1e-4)
    assert np.abs(held - latents).max() > 0.05


def test_latents_can_be_drawn_together():
    stage = Stage("together", 60, (("latents", 0.2),), (("latents_together", 1.0),))
    found, trace = run(switched(truth(), start="normal"), observation(truth()), stage, LAYERS)
    assert float(trace.losses[-1]) < 0.3 * float(trace.losses[0])
    one, other = np.asarray(found.appearance["latents"])
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.95


def test_an_albedo_that_does_not_move_is_not_decoded_anew():
    decoded = []

    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Counting(Layers):
        def decode(self, blocks):
            decoded.append(None)
            return super().decode(blocks)

    counting = SurfaceAppearance(Counting(jnp.asarray(1.5)))
    params = switched(truth(), counting)
    stage = Stage("light", 3, (("light", 0.02),), (("pixels", 1.0), ("latents", 0.1)))
    found, _ = run_stage(toy_model(), params, observation(truth()), counting, stage=stage)
    assert len(decoded) == 1
    np.testing.assert_array_equal(found.appearance["latents"], params.appearance["latents"])


@pytest.mark.parametrize(("appearance", "block"), [(OWN, "albedo"), (LAYERS, "latents")], ids=["linear", "layers"])
def test_a_surface_that_stands_still_is_coloured_as_one_that_could_move(appearance, block):
    """It is rendered once; with a rate that is next to nothing it is rendered at every step."""
    params, seen = truth(), observation(truth())
    start = coloured(params, 0.0, 0.0, 0.0) if block == "albedo" else switched(params, start="normal")
    weights = (("pixels", 1.0), ("landmarks", 10.0), ("light_colour", 0.1))
    still = Stage("still", 8, ((block, 0.1), ("light", 0.02)), weights)
    free = replace(still, rates=(*still.rates, ("translation", 1e-9)))
    (one, told), (other, wanted) = (run(start, seen, stage, appearance) for stage in (still, free))
    np.testing.assert_allclose(told.losses, wanted.losses, rtol=1e-5)
    np.testing.assert_allclose(one.appearance[block], other.appearance[block], atol=1e-4)
    np.testing.assert_allclose(one.light, other.light, atol=1e-4)
    assert np.abs(np.asarray(one.light - start.light)).max() > 0.02
    for block in ("identity", "expression", "pose"):
        chex.assert_trees_all_equal(getattr(one, block), getattr(start, block))


def test_a_rendering_is_coloured_anew_as_if_rendered_anew():
    params, seen = truth(), observation(truth())
    lit = replace(coloured(params, 2.0, -2.0, 1.0), light=params.light.at[2].add(0.2))
    before = look(toy_model(), params, seen, OWN)
    again = observe(toy_model(), params, seen, OWN, moving=("albedo", "light"))(lit)
    anew = look(toy_model(), lit, seen, OWN)
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
    scene = look(toy_model(), moved, small, OWN)
    assert scene.rendering.color.shape == (SIDE // 2, SIDE // 2, 3)
    np.testing.assert_allclose(scene.landmarks, seen.landmarks / 2, atol=0.02)
    inside = np.asarray(scene.mask) > 0.9
    assert np.abs(np.asarray(scene.rendering.color - small.image))[inside].mean() < 0.02


def test_a_stage_at_another_size_gives_back_the_camera():
    params = truth()
    found, _ = run(coloured(params, 0.0, 0.0, 0.0), observation(params), replace(COLOUR, size=SIDE // 2))
    chex.assert_trees_all_equal(found.camera, params.camera)
    gap = found.appearance["albedo"] - params.appearance["albedo"]
    assert float(jnp.abs(gap).max()) < float(jnp.abs(params.appearance["albedo"]).max())


def mean_colour(weights, image, landmarks):
    return weights * image.mean(axis=(0, 1))


def squared(rendered, photo, mask):
    return jnp.sum((rendered - photo) ** 2)


def test_a_network_term_compares_render_and_photograph():
    network = FeatureNetwork(jnp.asarray(2.0), mean_colour, squared, name="mean colour")
    params, seen = truth(), observation(truth())
    stage = replace(COLOUR, weights=(("perceptual", 1.0),), steps=30)
    start = coloured(params, 0.0, 0.0, 0.0)
    _, trace = run(start, seen, stage, ingredients=Ingredients(networks={"perceptual": network}))
    scene = look(toy_model(), start, seen, OWN)
    blend = np.asarray(scene.mask)[..., None]
    laid_over = blend * np.asarray(scene.rendering.color) + (1 - blend) * np.asarray(seen.image)
    expected = 4 * np.sum((laid_over.mean((0, 1)) - np.asarray(seen.image).mean((0, 1))) ** 2)
    np.testing.assert_allclose(trace.losses[0], expected, rtol=1e-3)
    assert float(trace.losses[-1]) < 0.2 * float(trace.losses[0])


def test_a_missing_network_or_albedo_is_named():
    params, seen = truth(), observation(truth())
    with pytest.raises(ValueError, match="'perceptual' needs a network for 'perceptual'"):
        run_stage(toy_model(), params, seen, OWN, stage=replace(COLOUR, weights=(("perceptual", 1.0),)))
    with pytest.raises(ValueError, match="there is no appearance 'decoder': known are"):
        Ingredients().appearance("decoder", toy_model())
    with pytest.raises(ValueError, match="looks at the block 'latents', but the appearance 'linear' has"):
        run(params, seen, replace(COLOUR, weights=(("latents", 1.0),)))
    with pytest.raises(ValueError, match="moves the unknown block 'details': known are"):
        run(params, seen, replace(COLOUR, rates=(("details", 1.0),)))


def test_the_terms_add_up_to_the_loss():
    stage = replace(COLOUR, weights=(("pixels", 2.0), ("landmarks", 50.0), ("albedo", 0.3)))
    _, trace = run(coloured(truth(), 1.0, 1.0, 1.0), observation(truth()), stage)
    np.testing.assert_allclose(sum(trace.terms.values()), trace.losses, rtol=1e-5)


def test_a_face_that_diverges_is_held_and_the_others_go_on():
    params, seen = truth(), observation(truth())
    start = coloured(params, 0.0, 0.0, 0.0)
    spoiled = seen.image.at[SIDE // 2, SIDE // 2].set(jnp.nan)
    arrays = set(vars(seen)) - {"data", "sight"}  # there are none in those
    both = replace(seen, **{name: jnp.stack([getattr(seen, name)] * 2) for name in arrays})
    both = replace(both, image=jnp.stack([spoiled, seen.image]))
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start)
    found, trace = jit(jax.vmap(lambda p, o: run_stage(toy_model(), p, o, OWN, stage=COLOUR)))(pair, both)
    alone, single = run(start, seen, COLOUR)
    assert trace.diverged_at.tolist() == [0, -1] and int(single.diverged_at) == -1
    np.testing.assert_array_equal(found.appearance["albedo"][0], start.appearance["albedo"])
    np.testing.assert_allclose(found.appearance["albedo"][1], alone.appearance["albedo"], atol=1e-4)


def test_a_face_that_runs_away_goes_back_to_its_last_sound_state():
    params = truth()
    stage = Stage("wild", 30, (("light", 40.0),), (("pixels", 1.0),))
    found, trace = run(params, observation(params), stage)
    first = float(trace.losses[0])
    assert int(trace.diverged_at) >= 1
    scene = look(toy_model(), found, observation(params), OWN)
    assert float(jnp.abs(scene.rendering.color - scene.seen.image)[scene.mask > 0.5].mean()) < 4 * first


@pytest.mark.thorough
@pytest.mark.parametrize("recipe", [FFHQ_UV_CODE, FFHQ_UV_PAPER, FFHQ_UV_CROPFACE, GANFIT], ids=lambda r: r.name)
def test_published_recipes_run(recipe):
    network = FeatureNetwork(jnp.asarray(1.0), mean_colour, squared, name="mean colour")
    appearances: dict[str, Appearance] = dict.fromkeys(("decoder", "decoder_z", "decoder_cropface"), LAYERS)
    ingredients = Ingredients(appearances, {"perceptual": network, "recognition": network})
    params, seen = truth(), observation(truth())
    for stage in recipe.stages:
        appearance = ingredients.appearance(stage.appearance, toy_model())
        start = switched(params, appearance, stage.start)
        _, trace = run(start, seen, replace(stage, steps=3), appearance, ingredients=ingredients)
        assert np.isfinite(trace.losses).all() and int(trace.diverged_at) == -1


@pytest.mark.thorough
def test_stages_are_written_with_their_losses_and_the_summary_says_what_they_did(tmp_path):
    params, network = truth(), FeatureNetwork(jnp.asarray(1.0), mean_colour, squared, name="mean colour")
    image, points = (np.asarray(getattr(observation(params), name)) for name in ("image", "landmarks"))
    second = replace(COLOUR, name="again", steps=3, weights=(("pixels", 1.0), ("perceptual", 3.0)))
    recipe = replace(LINEAR, size=64, stages=(replace(COLOUR, steps=4), second))
    ingredients = Ingredients(networks={"perceptual": network, "recognition": network})
    result = fit(toy_model(), image, points, recipe=recipe, ingredients=ingredients)
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
        "appearance": "linear",
        "terms": {"pixels": 1.0, "perceptual": 3.0},
        "networks": {"perceptual": "mean colour"},
    }
