"""A whole fit as data."""

from dataclasses import dataclass, field

from facejax.fitting.ingredients import LINEAR
from facejax.fitting.landmarks import Contour
from facejax.fitting.newton import Newton
from facejax.fitting.priors import Priors
from facejax.fitting.stages import Stage


@dataclass(frozen=True)
class Recipe:
    """Landmarks first, then the light in closed form, then the stages. Static and hashable."""

    name: str
    stages: tuple[Stage | Newton, ...] = ()
    size: int = 224  # side of the square crop that is fitted, pixels
    margin: float = 0.3  # of the crop around the landmarks' box, as a share of its longer side, on every side
    contour: Contour = "auto"
    priors: Priors = field(default_factory=Priors)
    landmark_steps: int = 24
    maps: bool = False  # the face's files are the maps of its skin (`facejax.skin`), not the last appearance's texture
    seers: tuple[str, ...] = ()  # networks of `Ingredients.seers` that the recipe wants; it works without them too

    def appearance_after(self, stage: str | None = None) -> str:
        """The name of the appearance that the parameters after a stage (None: the last) belong to.

        >>> from facejax.fitting import ACCELERATOR
        >>> ACCELERATOR.appearance_after("landmarks"), ACCELERATOR.appearance_after()
        ('linear', 'detailed')
        """
        found = LINEAR
        for one in self.stages if stage != "landmarks" else ():
            found = one.appearance
            if one.name == stage:
                break
        return found
