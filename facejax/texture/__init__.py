"""Texture models: maps of the skin's albedo from a few numbers.

| file | what lives there |
|---|---|
| `decoder.py` | `TextureDecoder`: a StyleGAN2 generator as a basis of maps; `decode_texture`, sampling, files |
| `detailed.py` | `DetailedTexture`: a decoder whose noise maps move too |
| `metrics.py` | how evenly lit a map is, how much the people of a set differ |
"""

from facejax.texture.decoder import (
    CONFIG_F,
    LARGE,
    LIGHT,
    SMALL,
    MappedTexture,
    TextureDecoder,
    decode_texture,
    from_standard,
    import_decoder,
    load_decoder,
    mean_latents,
    sample_latents,
    sample_textures,
    save_decoder,
    texture_decoder,
    to_standard,
)
from facejax.texture.detailed import DetailedTexture
from facejax.texture.metrics import brightness_symmetry_error, identity_spread

__all__ = [
    "CONFIG_F",
    "LARGE",
    "LIGHT",
    "SMALL",
    "DetailedTexture",
    "MappedTexture",
    "TextureDecoder",
    "brightness_symmetry_error",
    "decode_texture",
    "from_standard",
    "identity_spread",
    "import_decoder",
    "load_decoder",
    "mean_latents",
    "sample_latents",
    "sample_textures",
    "save_decoder",
    "texture_decoder",
    "to_standard",
]
