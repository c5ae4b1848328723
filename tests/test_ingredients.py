"""What a fit takes when nothing is said: recipe, decoder, networks."""

from dataclasses import replace
from pathlib import Path

import jax
import pytest
from toy import toy_model

from facejax.face_model.load import load_face_model
from facejax.fitting import DEFAULT, GAR, LANDMARKS, LINEAR, RECIPES, Painter
from facejax.fitting.ffhq_uv import FFHQ_UV_CROPFACE
from facejax.nets.stylegan2 import StyleGANConfig, init_generator
from facejax.texture import DetailedTexture, MappedTexture, save_decoder, texture_decoder
from facejax.toolbox import albedo_model, recipe_for, tools_for

pytestmark = pytest.mark.optimized

TINY = StyleGANConfig(resolution=8, channel_base=32, channel_max=8, latent=8, mapping_layers=1)


@pytest.fixture(scope="module")
def decoder():
    return texture_decoder(TINY, init_generator(TINY, jax.random.key(0)), count=1000)


def test_the_default_recipe_is_for_the_default_head():
    assert recipe_for(load_face_model()) is DEFAULT and recipe_for(toy_model()) is LINEAR
    assert RECIPES["default"] is DEFAULT and all(name == recipe.name for name, recipe in RECIPES.items())


def test_a_recipe_gets_what_it_names_and_nothing_else(decoder, tmp_path):
    assert not tools_for(LINEAR).albedos and not tools_for(LANDMARKS).networks
    tools = tools_for(DEFAULT, decoder)
    detailed = tools.albedos["detailed"]
    assert set(tools.albedos) == {"detailed"} and isinstance(detailed, DetailedTexture) and detailed.decoder is decoder
    plain = tuple(replace(stage, albedo="decoder", weights=(("pixels", 1.0),)) for stage in DEFAULT.stages)
    assert tools_for(replace(DEFAULT, stages=plain), decoder).albedos["decoder"] is decoder
    assert {role: network.name for role, network in tools.networks.items()} == {"perceptual": "own encoder"}
    save_decoder(tmp_path / "decoder", decoder, half=False)
    one_z = tuple(replace(stage, albedo="decoder_z", weights=(("pixels", 1.0),)) for stage in DEFAULT.stages)
    mapped = tools_for(replace(DEFAULT, stages=one_z), tmp_path / "decoder").albedos["decoder_z"]
    assert isinstance(mapped, MappedTexture) and mapped.decoder.config == TINY
    alone = albedo_model("detailed", decoder)
    assert isinstance(alone, DetailedTexture) and alone.decoder is decoder


def test_inversion_takes_the_packages_own_generator():
    tools = tools_for(GAR)
    assert set(tools.albedos) == {"gar"} and set(tools.networks) == {"normals", "perceptual"}
    painter = tools.albedos["gar"]
    assert isinstance(painter, Painter) and tools.painter_side() == painter.side == GAR.size
    assert tools_for(DEFAULT).painter_side() is None


def test_what_cannot_be_had_is_named(decoder):
    with pytest.raises(ValueError, match=r"'default'.* not for 'toy.*; use the linear recipe"):
        tools_for(DEFAULT, model=toy_model())
    with pytest.raises(ValueError, match="'ffhq_uv_code' needs a recognition network"):
        tools_for(RECIPES["ffhq_uv_code"], decoder)
    with pytest.raises(ValueError, match="draws decoder_cropface"):
        tools_for(FFHQ_UV_CROPFACE, decoder)
    with pytest.raises(ValueError, match="LPIPS is one file or two, not 3"):
        tools_for(DEFAULT, decoder, lpips=(Path("a"), Path("b"), Path("c")))
    with pytest.raises(FileNotFoundError, match="nowhere: no such checkpoint"):
        tools_for(DEFAULT, "nowhere")
    with pytest.raises(ValueError, match="albedo model 'mine' is not the package's own"):
        albedo_model("mine")
