"""Published fits as recipes: FFHQ-UV's stages 2 and 3 (Bai et al., CVPR 2023), and GANFit (Gecer et al., CVPR 2019).

They need `Ingredients` with an appearance "decoder" (of a `facejax.texture.TextureDecoder`) and networks for
"perceptual" (LPIPS, or the shipped regressor's encoder) and "recognition" (ArcFace; or dlib's network, whose distance
is not a cosine, see `dlib_network`). FFHQ-UV's stage 1 is the start from `facejax.regress`; the dense network gives its
skin mask. The paper and the released code of FFHQ-UV disagree, so both are here. Its unit is the decimetre: a step of
0.0005 there is 0.05 mm.
"""

from dataclasses import replace

from facejax.fitting.priors import SEEN
from facejax.fitting.recipe import Recipe
from facejax.fitting.stages import Stage

_ADAM = (0.9, 0.999)

FFHQ_UV_CODE = Recipe(
    name="ffhq_uv_code",
    stages=(
        Stage(
            name="texture",
            steps=100,
            rates=(("latents", 0.1),),
            weights=(
                ("absolute_pixels", 10.0),
                ("recognition", 10.0),
                ("perceptual", 100.0),
                ("latents_together", 0.05),
            ),
            appearance="decoder",
            rampdown=0.25,
            floor=0.0,
            betas=_ADAM,
            constraint="sphere",
            start="normal",
        ),
        Stage(
            name="all",
            steps=200,
            rates=(
                ("identity", 0.01),
                ("expression", 0.01),
                ("rotation", 0.0005),
                ("translation", 0.05),
                ("latents", 0.0005),
                ("light", 0.0005),
            ),
            weights=(
                ("absolute_pixels", 1.6),
                ("recognition", 0.2),
                ("latents_together", 0.05),
                ("deep3d_landmarks", 2e-3),
                ("squared_identity", 2e-4),
                ("squared_expression", 1.6e-3),
                ("light_spread", 10.0),
            ),
            appearance="decoder",
            rampdown=0.4,
            floor=0.0,
            betas=_ADAM,
        ),
    ),
    seers=("dense",),
    priors=SEEN,
)
"""The released code: absolute pixel differences, eighteen free latents, a light that is kept grey."""

_texture, _all = (stage for stage in FFHQ_UV_CODE.stages if isinstance(stage, Stage))

FFHQ_UV_PAPER = replace(
    FFHQ_UV_CODE,
    name="ffhq_uv_paper",
    stages=(
        replace(
            _texture,
            weights=(("pixels", 10.0), ("recognition", 10.0), ("perceptual", 100.0), ("latents_together", 0.05)),
            appearance="decoder_z",
        ),
        replace(
            _all,
            weights=(
                ("pixels", 0.2),
                ("recognition", 1.6),
                ("latents_together", 0.05),
                ("deep3d_landmarks", 2e-3),
                ("squared_identity", 2e-4),
                ("squared_expression", 1.6e-3),
            ),
            appearance="decoder_z",
        ),
    ),
)
"""The paper: L2 pixels, one latent z on a sphere, stage 3 with its pixel and identity weights swapped."""

FFHQ_UV_CROPFACE = replace(
    FFHQ_UV_CODE,
    name="ffhq_uv_cropface",
    stages=tuple(replace(stage, appearance="decoder_cropface") for stage in FFHQ_UV_CODE.stages),
)
"""The released variant whose decoder makes only the facial part of the map, at a higher resolution."""

GANFIT = Recipe(
    name="ganfit",
    stages=(
        replace(
            _all,
            name="everything",
            rates=(*_all.rates[:4], ("latents", 0.05), ("light", 0.01)),
            weights=(("pixels", 1.0), ("recognition", 2.5), ("landmarks", 200.0), ("squared_identity", 2e-4)),
            start="normal",
        ),
    ),
    seers=("dense",),
    priors=SEEN,
)
"""GANFit's idea: texture latents, shape, pose and light together in one stage. The weights are our own."""
