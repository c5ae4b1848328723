"""The recipes by name. `fit(..., recipe=DEFAULT)` runs one; make your own with `dataclasses.replace`."""

from dataclasses import replace

from facejax.fitting import ffhq_uv
from facejax.fitting.recipe import Recipe
from facejax.fitting.stages import Stage

LANDMARKS = Recipe(name="landmarks")
"""Pose, camera, identity and expression from the 68 points alone, and the light; no photometric refinement."""

LINEAR = Recipe(
    name="linear",
    stages=(
        Stage(
            name="colour",
            steps=60,
            rates=(("albedo", 0.1), ("light", 0.03)),
            weights=(("pixels", 1.0), ("albedo", 0.015), ("light_colour", 0.005), ("light_below_zero", 1.0)),
        ),
        Stage(
            name="all",
            steps=140,
            rates=(
                ("identity", 0.03),
                ("expression", 0.01),
                ("albedo", 0.05),
                ("light", 0.02),
                ("rotation", 0.002),
                ("translation", 0.1),
            ),
            weights=(
                ("pixels", 1.0),
                ("landmarks", 200.0),
                ("identity", 0.02),
                ("expression", 0.012),
                ("albedo", 0.015),
                ("light_colour", 0.005),
                ("light_below_zero", 1.0),
            ),
        ),
    ),
)
"""Landmarks, then pixels with spherical-harmonics light and the model's linear albedo."""

_colour, _all = LINEAR.stages

DEFAULT = Recipe(
    name="default",
    stages=(
        replace(_colour, steps=40),
        replace(_all, steps=60),
        Stage(
            name="texture",
            steps=60,
            rates=(("albedo", 0.1), ("light", 0.02)),
            weights=(
                ("pixels", 1.0),
                ("albedo", 0.002),
                ("latents_together", 0.001),
                ("light_colour", 0.005),
                ("light_below_zero", 1.0),
            ),
            albedo="decoder",
            rampdown=0.5,
        ),
    ),
)
"""The default."""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        DEFAULT,
        LINEAR,
        LANDMARKS,
        ffhq_uv.FFHQ_UV_CODE,
        ffhq_uv.FFHQ_UV_PAPER,
        ffhq_uv.FFHQ_UV_CROPFACE,
        ffhq_uv.GANFIT,
    )
}
