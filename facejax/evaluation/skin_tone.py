"""How light a skin is, as dermatologists measure it, and how evenly a method treats light and dark skins.

The individual typology angle (ITA) is from Chardon et al., "Skin colour typology and suntanning pathways",
International Journal of Cosmetic Science 1991; its six classes as in Del Bino and Bernerd, British Journal of
Dermatology 2013. Errors by class, and their spread as the bias, are those of FAIR (Feng et al., "Towards racially
unbiased skin tone estimation via scene disambiguation", ECCV 2022). FAIR groups skins by the true angle too.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facejax.lighting import rgb_to_lab

CLASSES = ("very light", "light", "intermediate", "tan", "brown", "dark")
LIMITS = (55.0, 41.0, 28.0, 10.0, -30.0)  # degrees; a class ends above its limit, so that 55 is "light"


@dataclass(frozen=True)
class ToneErrors:
    """Errors of the angle. A class without a skin is left out of all of them."""

    by_class: dict[str, float]  # degrees: mean absolute error of the skins of each class
    counts: dict[str, int]  # skins of each class
    average: float  # degrees: mean over classes
    bias: float  # degrees: standard deviation over classes; 0 for a method that treats all alike
    score: float  # degrees: average plus bias, FAIR's total
    shift: float  # degrees: mean signed error over skins; above 0 where skins come out too light
    difference: float  # mean colour difference over skins, CIE 1976


def mean_lab(
    albedo: Float[np.ndarray, "*S 3"], weight: Float[np.ndarray, "*W"] | None = None
) -> Float[np.ndarray, " 3"]:
    """The mean CIE 1976 L*a*b* colour of display values, best over bare skin: cheeks and forehead.

    Args:
      albedo: display values in [0, 1].
      weight: of each value, such as a mask; None: all alike.

    Raises ValueError when no value has a weight.
    """
    lab = rgb_to_lab(np.asarray(albedo, np.float64)).reshape(-1, 3)
    weights = np.ones(len(lab)) if weight is None else np.asarray(weight, np.float64).reshape(-1)
    if len(weights) != len(lab):
        raise ValueError(f"{len(weights)} weights for {len(lab)} colours: give one weight for each")
    total = weights.sum()
    if not total > 0:
        raise ValueError("no colour to average: the mask of the skin is empty")
    return weights @ lab / total


def typology_angle(lab: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N"]:
    """ITA = atan2(L* - 50, b*) in degrees, from CIE 1976 L*a*b*; about 90 for white and -90 for black skin.

    >>> [round(float(angle), 1) for angle in typology_angle(np.array([[68.0, 14.0, 15.0], [38.0, 14.0, 18.0]]))]
    [50.2, -33.7]
    """
    return np.asarray(np.degrees(np.arctan2(lab[..., 0] - 50.0, lab[..., 2])))


def typology_class(angle: Float[np.ndarray, "*N"]) -> Int[np.ndarray, "*N"]:
    """The index into `CLASSES` of each angle in degrees: above 55, 41, 28, 10, -30, and the rest."""
    return np.asarray(np.sum(angle[..., None] <= np.array(LIMITS), axis=-1))


def tone_errors(found: Float[np.ndarray, "N 3"], true: Float[np.ndarray, "M 3"]) -> ToneErrors:
    """Hold the colours of N skins to the true ones, by the class of the true one.

    Args:
      found, true: CIE 1976 L*a*b*, from `mean_lab`.

    Raises ValueError for no skins, numbers that are not finite, or arrays that do not match.
    """
    found, true = np.asarray(found, np.float64), np.asarray(true, np.float64)
    if found.shape != true.shape or found.ndim != 2 or found.shape[1] != 3 or len(found) == 0:
        raise ValueError(f"colours of shape {found.shape} and {true.shape}: give two arrays (N, 3), N at least 1")
    if not (np.isfinite(found).all() and np.isfinite(true).all()):
        raise ValueError("a skin's colour is not finite: leave that skin out")
    signed = typology_angle(found) - typology_angle(true)
    classes = typology_class(typology_angle(true))
    present = {name: classes == k for k, name in enumerate(CLASSES) if np.any(classes == k)}
    by_class = {name: float(np.abs(signed[some]).mean()) for name, some in present.items()}
    average, bias = float(np.mean(list(by_class.values()))), float(np.std(list(by_class.values())))
    return ToneErrors(
        by_class=by_class,
        counts={name: int(some.sum()) for name, some in present.items()},
        average=average,
        bias=bias,
        score=average + bias,
        shift=float(signed.mean()),
        difference=float(np.linalg.norm(found - true, axis=1).mean()),
    )
