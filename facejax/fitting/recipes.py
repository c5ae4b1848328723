"""The recipes by name. `fit(..., recipe=DEFAULT)` runs one; make your own with `dataclasses.replace`."""

from dataclasses import replace

from facejax.fitting import ffhq_uv
from facejax.fitting.newton import Newton
from facejax.fitting.priors import SEEN
from facejax.fitting.recipe import Recipe
from facejax.fitting.stages import Stage

LANDMARKS = Recipe(name="landmarks")
"""Pose, camera, identity and expression from the 68 points alone, and the light; no photometric refinement."""

_refine = Newton(
    name="pixels",
    weights=(
        ("pixels", 1.0),
        ("landmarks", 200.0),
        ("surface_points", 400.0),
        ("squared_identity", 0.0005),  # a sum: the same prior for models with few components
        ("expression", 0.012),
        ("albedo", 0.004),
        ("light_colour", 0.005),
        ("light_below_zero", 1.0),
    ),
)

LINEAR = Recipe(name="linear", stages=(_refine,), seers=("dense",), priors=SEEN)
"""Landmarks, then all pixels with spherical-harmonics light and the model's linear albedo, in a few Gauss-Newton
steps."""

DEFAULT = replace(LINEAR, name="default", maps=True)
"""The same, and then the maps of the skin (`facejax.skin`)."""

_texture = Stage(
    name="texture",
    steps=25,
    rates=(("latents", 0.2), ("light", 0.02)),
    weights=(
        ("pixels", 1.0),
        ("perceptual", 0.1),
        ("latents", 0.001),
        ("light_colour", 0.005),
        ("light_below_zero", 1.0),
    ),
    appearance="detailed",
    rampdown=0.5,
)
_everything = replace(
    _texture,
    name="everything",
    steps=25,
    rates=(
        ("identity", 0.02),
        ("expression", 0.006),
        ("latents", 0.1),
        ("details", 0.3),
        ("light", 0.01),
        ("rotation", 0.001),
        ("translation", 0.05),
    ),
    weights=(
        *_texture.weights,
        ("details", 0.6),
        ("landmarks", 200.0),
        ("surface_points", 400.0),
        ("identity", 0.02),
        ("expression", 0.012),
    ),
)

ACCELERATOR = Recipe(
    name="accelerator",
    stages=(_refine, replace(_texture, steps=100), replace(_everything, steps=200)),
    size=256,
    maps=True,
    seers=("dense",),
    priors=SEEN,
)
"""FFHQ-UV's order with the package's own decoder: the linear albedo finds light and shape, then the decoder's latents
continue, first alone, then with everything else and details in its noise maps, in FFHQ-UV's number of steps (100 and
200) on larger crops."""

GAR = Recipe(
    name="gar",
    stages=(
        Stage(
            name="appearance",
            steps=40,
            rates=(("latents", 0.05), ("details", 0.1)),
            weights=(("pixels", 1.0), ("perceptual", 0.3), ("latents", 0.002), ("details", 0.1)),
            appearance="gar",
            rampdown=0.5,
        ),
        Stage(
            name="geometry",
            steps=80,
            rates=(
                ("identity", 0.015),
                ("expression", 0.005),
                ("latents", 0.03),
                ("details", 0.05),
                ("rotation", 0.001),
                ("translation", 0.07),
            ),
            weights=(
                ("pixels", 1.0),
                ("perceptual", 0.3),
                ("normals", 0.2),
                ("outline", 0.2),
                ("latents", 0.002),
                ("details", 0.1),
                ("landmarks", 20.0),
                ("identity", 0.05),
                ("expression", 0.03),
            ),
            appearance="gar",
        ),
    ),
    size=128,
    margin=0.52,
)
"""GAR's inversion: a generator paints the picture from the head's normals. First the encoder's latents and the noise
are refined with fixed geometry, then everything together."""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        DEFAULT,
        ACCELERATOR,
        LINEAR,
        LANDMARKS,
        GAR,
        ffhq_uv.FFHQ_UV_CODE,
        ffhq_uv.FFHQ_UV_PAPER,
        ffhq_uv.GANFIT,
    )
}
