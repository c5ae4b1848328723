"""StyleGAN2: a generator whose latents are a nonlinear basis of pictures, and the discriminator it learns from.

| file | what lives there |
|---|---|
| `config.py` | `StyleGANConfig`: sizes, from "config F" at 1024 down; `synthesis_flops` |
| `generator.py` | `Generator`, `init_generator`, `apply_mapping`, `apply_synthesis`, `truncate`, `latent_statistics` |
| `discriminator.py` | `init_discriminator`, `apply_discriminator`; `apply_inverter` |
| `augment.py` | pictures changed at random in front of the discriminator: `augment`, `adapt_strength` |
| `layers.py` | equalised and modulated layers |
| `resample.py` | up and down by two with the filter [1, 3, 3, 1] |

Pictures are (N, R, R, 3), display values in [-1, 1]. The losses are in `facejax.objectives.gan`, the decoder of texture
maps in `facejax.texture`.
"""

from facejax.nets.stylegan2.config import StyleGANConfig, synthesis_flops
from facejax.nets.stylegan2.discriminator import (
    apply_discriminator,
    apply_inverter,
    discriminator_shapes,
    init_discriminator,
    init_inverter,
)
from facejax.nets.stylegan2.generator import (
    Generator,
    apply_mapping,
    apply_synthesis,
    generator_shapes,
    init_generator,
    latent_statistics,
    noise_shapes,
    to_layers,
    truncate,
)

__all__ = [
    "Generator",
    "StyleGANConfig",
    "apply_discriminator",
    "apply_inverter",
    "apply_mapping",
    "apply_synthesis",
    "discriminator_shapes",
    "generator_shapes",
    "init_discriminator",
    "init_generator",
    "init_inverter",
    "latent_statistics",
    "noise_shapes",
    "synthesis_flops",
    "to_layers",
    "truncate",
]
