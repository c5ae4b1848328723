"""A whole fit as data."""

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
