"""Recipes: a whole fit as data. `fit(..., recipe=LINEAR)` runs one; make your own with `dataclasses.replace`."""

from dataclasses import dataclass, field

from facejax.fitting.landmarks import Contour
from facejax.fitting.priors import Priors
from facejax.fitting.stages import Stage


@dataclass(frozen=True)
class Recipe:
    """Landmarks first, then the light in closed form, then the stages. Static and hashable."""

    name: str
    stages: tuple[Stage, ...] = ()
    size: int = 224  # side of the square crop that is fitted, pixels
    margin: float = 0.3  # of the crop around the landmarks' box, as a share of its longer side, on every side
    contour: Contour = "auto"
    priors: Priors = field(default_factory=Priors)
    landmark_steps: int = 24


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
"""The default: landmarks, then pixels with spherical-harmonics light and the model's linear albedo."""

RECIPES = {recipe.name: recipe for recipe in (LINEAR, LANDMARKS)}
