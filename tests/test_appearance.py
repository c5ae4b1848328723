"""An appearance of one's own: one class and one registration, and fits, files and `load_face` know it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from PIL import Image
from test_fitting import SIDE, observation, truth
from toy import toy_model

import facejax
from facejax import ingredients
from facejax.appearance import SurfaceAppearance
from facejax.export import load_params, save_params


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TwoTone:
    """A colour for the left half of a map and one for the right: an albedo model in a few lines."""

    strength: Float[Array, ""]

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        return {"left": (3,), "right": (3,)}

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "8 8 3"]:
        left, right = (0.5 + self.strength * blocks[name] for name in ("left", "right"))
        return jnp.concatenate([jnp.broadcast_to(left, (8, 4, 3)), jnp.broadcast_to(right, (8, 4, 3))], axis=1)

    def encode(self, albedo: Float[Array, "*S 3"]) -> dict[str, Array]:
        mean = (albedo.reshape(-1, 3).mean(axis=0) - 0.5) / self.strength
        return {"left": mean, "right": mean}


@pytest.fixture
def two_tone(monkeypatch):
    monkeypatch.setattr(ingredients, "APPEARANCES", dict(ingredients.APPEARANCES))
    facejax.register_appearance("two_tone", lambda sources: SurfaceAppearance(TwoTone(jnp.asarray(0.3))))


def test_one_class_and_one_registration_are_enough(two_tone, tmp_path):
    params = truth()
    seen = observation(params)
    stage = facejax.Stage(
        "tones",
        steps=25,
        rates=(("left", 0.1), ("right", 0.1), ("light", 0.02)),
        weights=(("pixels", 1.0), ("light_below_zero", 1.0)),
        appearance="two_tone",
        start="normal",
    )
    recipe = facejax.Recipe("two tones", stages=(stage,), size=64)
    result = facejax.fit(toy_model(), np.asarray(seen.image), np.asarray(seen.landmarks), recipe=recipe)
    losses = np.asarray(result.faces.losses["tones"][0])
    assert losses[-1] < 0.9 * losses[0]
    blocks = result.params.appearance
    assert {name: block.shape for name, block in blocks.items()} == {"left": (1, 3), "right": (1, 3)}
    assert not np.allclose(blocks["left"], blocks["right"], atol=0.02)

    (folder,) = result.save(tmp_path, keep_stages=True)
    texture = np.asarray(Image.open(folder / "albedo.png")) / 255
    wanted = 0.5 + 0.3 * np.asarray(blocks["left"][0])
    np.testing.assert_allclose(texture[2, 1], wanted.clip(0, 1), atol=0.01)
    model, face, appearance = facejax.load_face(folder, model=toy_model())
    np.testing.assert_array_equal(face.appearance["right"], blocks["right"][0])
    picture = facejax.render(model, face, appearance, size=(SIDE, SIDE), background=seen.image).color
    assert np.abs(np.asarray(picture - seen.image)).mean() < 0.05


def test_a_name_that_is_taken_is_refused(two_tone):
    for name in ("two_tone", "linear", "gar"):
        with pytest.raises(ValueError, match=f"there is an appearance '{name}' already"):
            facejax.register_appearance(name, lambda sources: SurfaceAppearance(TwoTone(jnp.asarray(0.3))))


def test_parameters_of_another_appearance_are_not_drawn_in_the_models_own():
    params = replace(truth(), appearance={"latents": jnp.zeros((2, 3))})
    with pytest.raises(ValueError, match="parameters of another appearance"):
        facejax.render(toy_model(), params, size=(8, 8))
    appearance = SurfaceAppearance(TwoTone(jnp.asarray(0.3)))
    with pytest.raises(ValueError, match="brings its own texture"):
        facejax.render(toy_model(), params, appearance, size=(8, 8), texture=jnp.zeros((4, 4, 3)))


def test_files_without_blocks_are_read(two_tone, tmp_path):
    """As they were written before appearances had blocks: one row of numbers."""
    params = replace(truth(), appearance={"left": jnp.arange(3.0), "right": jnp.arange(3.0, 6.0)})
    save_params(tmp_path / "params.npz", params, "toy", "two_tone")
    with np.load(tmp_path / "params.npz") as arrays:
        old = {name: arrays[name] for name in arrays.files if name != "blocks"}
    np.testing.assert_array_equal(old["albedo"], np.arange(6))
    np.savez(tmp_path / "old.npz", allow_pickle=False, **old)
    for name in ("params.npz", "old.npz"):
        _, face, _ = facejax.load_face(tmp_path / name, model=toy_model())
        np.testing.assert_array_equal(face.appearance["right"], [3.0, 4.0, 5.0])
    np.testing.assert_array_equal(load_params(tmp_path / "old.npz").params.appearance["albedo"], np.arange(6))
