"""What a fit takes when nothing is said: recipe, decoder, networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest
from toy import toy_model

from facejax.face_model.load import load_face_model
from facejax.fitting import ACCELERATOR, DEFAULT, GAR, LANDMARKS, LINEAR, RECIPES
from facejax.fitting.ffhq_uv import FFHQ_UV_CROPFACE
from facejax.ingredients import Sources, ingredients_for, make_appearance, recipe_for
from facejax.nets.stylegan2 import StyleGANConfig, init_generator
from facejax.texture import DetailedTexture, MappedTexture, save_decoder, texture_decoder

pytestmark = pytest.mark.optimized

TINY = StyleGANConfig(resolution=8, channel_base=32, channel_max=8, latent=8, mapping_layers=1)


@pytest.fixture(scope="module")
def decoder():
    return texture_decoder(TINY, init_generator(TINY, jax.random.key(0)), count=1000)


def test_the_default_recipe_is_for_the_default_head():
    assert recipe_for(load_face_model()) is DEFAULT and recipe_for(toy_model()) is LINEAR
    assert RECIPES["default"] is DEFAULT and all(name == recipe.name for name, recipe in RECIPES.items())


def test_a_recipe_gets_what_it_names_and_nothing_else(decoder, tmp_path):
    assert not ingredients_for(LINEAR).appearances and not ingredients_for(LANDMARKS).networks
    found = ingredients_for(ACCELERATOR, decoder)
    detailed: Any = found.appearances["detailed"]
    assert (
        set(found.appearances) == {"detailed"}
        and isinstance(detailed.albedo, DetailedTexture)
        and detailed.albedo.decoder is decoder
    )
    plain = tuple(replace(stage, appearance="decoder", weights=(("pixels", 1.0),)) for stage in ACCELERATOR.stages[1:])
    own: Any = ingredients_for(replace(ACCELERATOR, stages=plain), decoder).appearances["decoder"]
    assert own.albedo is decoder
    assert {role: network.name for role, network in found.networks.items()} == {"perceptual": "own encoder"}
    save_decoder(tmp_path / "decoder", decoder, half=False)
    one_z = tuple(
        replace(stage, appearance="decoder_z", weights=(("pixels", 1.0),)) for stage in ACCELERATOR.stages[1:]
    )
    mapped: Any = ingredients_for(replace(ACCELERATOR, stages=one_z), tmp_path / "decoder").appearances["decoder_z"]
    assert isinstance(mapped.albedo, MappedTexture) and mapped.albedo.decoder.config == TINY
    alone: Any = make_appearance("detailed", Sources(decoder=decoder))
    assert isinstance(alone.albedo, DetailedTexture) and alone.albedo.decoder is decoder


def test_inversion_takes_the_packages_own_generator():
    found = ingredients_for(GAR)
    assert set(found.appearances) == {"gar"} and set(found.networks) == {"normals", "perceptual"}
    painter = found.appearances["gar"]
    assert painter.whole_picture and found.side() == painter.side == GAR.size
    assert not ingredients_for(DEFAULT).appearances and ingredients_for(ACCELERATOR).side() is None


def test_what_cannot_be_had_is_named(decoder):
    with pytest.raises(ValueError, match=r"'accelerator'.* not for 'toy.*; use the linear recipe"):
        ingredients_for(ACCELERATOR, model=toy_model())
    with pytest.raises(ValueError, match="'ffhq_uv_code' needs a recognition network"):
        ingredients_for(RECIPES["ffhq_uv_code"], decoder)
    with pytest.raises(ValueError, match="no appearance 'decoder_cropface'"):
        ingredients_for(FFHQ_UV_CROPFACE, decoder)
    with pytest.raises(ValueError, match="LPIPS is one file or two, not 3"):
        ingredients_for(ACCELERATOR, decoder, lpips=(Path("a"), Path("b"), Path("c")))
    with pytest.raises(FileNotFoundError, match="nowhere: no such checkpoint"):
        ingredients_for(ACCELERATOR, "nowhere")
    with pytest.raises(ValueError, match=r"no appearance 'mine' .*register_appearance makes it known"):
        make_appearance("mine", Sources())
