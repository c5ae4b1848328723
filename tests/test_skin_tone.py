"""The individual typology angle and its classes against published values, and the errors by class by hand."""

import numpy as np
import pytest

from facejax.evaluation.skin_tone import CLASSES, mean_lab, tone_errors, typology_angle, typology_class


def test_the_angle_is_known_where_it_is_simple():
    lab = np.array([[50.0, 10, 20], [70, 0, 20], [30, 0, 20], [60, 0, 10 / np.sqrt(3)]])
    np.testing.assert_allclose(typology_angle(lab), [0, 45, -45, 60], atol=1e-9)


def test_the_angle_stays_continuous_for_bluish_skin():
    """The quotient of the definition jumps by 180 degrees where b* changes its sign."""
    near = typology_angle(np.array([[70.0, 5, 0.01], [70, 5, -0.01]]))
    assert abs(near[0] - near[1]) < 0.1


@pytest.mark.parametrize(("angle", "name"), [
    (70, "very light"), (55.1, "very light"), (55, "light"), (41.1, "light"), (41, "intermediate"), (28, "tan"),
    (10.1, "tan"), (10, "brown"), (-29.9, "brown"), (-30, "dark"), (-80, "dark"),
])  # fmt: skip
def test_the_classes_are_those_of_the_table(angle, name):
    assert CLASSES[int(typology_class(np.array(float(angle))))] == name


def test_a_mean_colour_takes_only_the_mask():
    albedo = np.zeros((4, 4, 3))
    albedo[1:3, 1:3] = 0.5
    mask = np.zeros((4, 4))
    mask[1:3, 1:3] = 1
    np.testing.assert_allclose(mean_lab(albedo, mask), [53.39, 0, 0], atol=0.02)
    np.testing.assert_allclose(mean_lab(albedo), [53.39 / 4, 0, 0], atol=0.02)


def test_a_mean_colour_of_nothing_is_refused():
    with pytest.raises(ValueError, match="the mask of the skin is empty"):
        mean_lab(np.ones((2, 2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="give one weight for each"):
        mean_lab(np.ones((2, 2, 3)), np.zeros((3, 3)))


def _skins(angles):
    """Colours of those angles at b* = 15."""
    return np.stack([50 + 15 * np.tan(np.radians(angles)), np.full(len(angles), 12.0), np.full(len(angles), 15.0)], 1)


def test_classes_count_alike_however_many_skins_they_have():
    true, off = np.array([48.0, 45, 50, -50]), np.array([1.0, -3, 2, 10])
    errors = tone_errors(_skins(true + off), _skins(true))
    assert errors.counts == {"light": 3, "dark": 1}
    assert errors.by_class == pytest.approx({"light": 2.0, "dark": 10.0})
    assert (errors.average, errors.bias, errors.score) == pytest.approx((6.0, 4.0, 10.0))
    assert errors.shift == pytest.approx(2.5)


def test_no_error_no_bias_and_a_colour_difference_of_its_own():
    true = _skins(np.array([60.0, 20, -10]))
    errors = tone_errors(true, true)
    assert errors.average == errors.bias == errors.difference == 0
    redder = tone_errors(true + np.array([0, 3, 0]), true)
    assert redder.average == 0
    assert redder.difference == pytest.approx(3)


@pytest.mark.parametrize(("found", "true", "says"), [
    (np.ones((2, 3)), np.ones((3, 3)), "two arrays"), (np.ones((0, 3)), np.ones((0, 3)), "N at least 1"),
    (np.full((1, 3), np.nan), np.ones((1, 3)), "not finite"),
])  # fmt: skip
def test_colours_that_do_not_match_are_refused(found, true, says):
    with pytest.raises(ValueError, match=says):
        tone_errors(found, true)
