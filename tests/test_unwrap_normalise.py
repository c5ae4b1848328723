"""Normalisation by latent editing, with a toy generator whose latents say in plain numbers what is in the picture."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from facejax.unwrap import Attributes, FaceEditor, normalise, pass_through
from facejax.unwrap.normalisation import LAYERS, MOST

SCALARS = ("glasses", "yaw", "pitch", "baldness", "beard", "age", "gender", "smile")
COLUMN = {"light": slice(0, 9)} | {name: 9 + k for k, name in enumerate(SCALARS)}
WIDTH = 20
LIGHT = np.array([0.8, 0.3, -0.2, 0.1, 0.0, 0.5, -0.4, 0.2, 0.1], np.float32)
FACE = dict(glasses=1.0, yaw=17.0, pitch=-6.0, baldness=0.25, beard=0.5, age=41.0, gender=1.0, smile=0.5)


class Toy:
    """An attribute is in its own column of the latent, and shows where the first of its layers has it.

    Its edits change that column in all layers, so what may not change must be kept out by others.
    """

    def __init__(self, happy_above: float = np.inf, **options):
        self.calls, self.looks, self.happy_above = [], 0, happy_above
        rng = np.random.default_rng(0)
        self.latent = rng.standard_normal((18, WIDTH)).astype(np.float32)
        for name, value in {"light": LIGHT, **FACE}.items():
            self.latent[:, COLUMN[name]] = value
        beta = np.zeros(WIDTH, np.float32)
        beta[COLUMN["smile"]] = 0.4
        self.editor = FaceEditor(
            invert=lambda photo: self.latent,
            generate=lambda latent: jnp.repeat(jnp.asarray(latent)[..., None], 3, axis=2),
            detect=self.detect,
            edit=self.edit,
            classify=self.classify,
            beta=beta,
            **options,
        )

    def detect(self, image) -> Attributes:
        shown = {name: float(image[LAYERS[name][0], COLUMN[name], 0]) for name in SCALARS}
        return Attributes(light=np.asarray(image[LAYERS["light"][0], :9, 0]), **shown)

    def edit(self, latent, current, target):
        self.calls.append((np.array(latent), current, target))
        moved = np.array(latent)
        for name, column in COLUMN.items():
            moved[:, column] += getattr(target, name) - getattr(current, name)
        return moved

    def classify(self, image) -> str:
        self.looks += 1
        return "Happy" if float(image[0, COLUMN["smile"], 0]) > self.happy_above else "Neutral"


def there(attributes: Attributes | None) -> Attributes:
    assert attributes is not None
    return attributes


PHOTO = np.zeros((4, 4, 3), np.float32)


def expected(light, smile):
    """What the edits must leave of the toy's latent, written down from the paper's table."""
    latent = Toy().latent.copy()
    latent[7:12, :9] = light
    for name, last, value in (("yaw", 3, 0), ("pitch", 3, 0), ("baldness", 5, 1)):
        latent[: last + 1, COLUMN[name]] = value
    latent[2:4, COLUMN["glasses"]] = 0
    latent[:, COLUMN["smile"]] = smile
    return latent


@pytest.mark.parametrize("reading", ["kept", "one"])
def test_every_edit_changes_its_own_layers_and_no_others(reading):
    toy = Toy()
    result = normalise(toy.editor, PHOTO, light=reading)
    even = np.zeros(9)
    even[0] = LIGHT[0] if reading == "kept" else 1
    want = expected(even, 0.5 - 2 * 0.5 * 0.4)
    np.testing.assert_allclose(result.latents[0], want, atol=1e-6)
    untouched = want == toy.latent
    assert untouched.sum() > 250
    np.testing.assert_array_equal(np.asarray(result.latents[0])[untouched], toy.latent[untouched])  # to the last bit
    assert result.edits == ("light", "glasses", "yaw", "pitch", "baldness", "smile") and result.further == 0


def test_the_views_are_detected_at_their_angles_and_differ_in_the_first_four_layers_only():
    result = normalise(Toy().editor, PHOTO)
    assert [round(there(seen).yaw, 4) for seen in result.after] == [0, -30, 30]
    before = there(result.before)
    assert before.yaw == 17 and before.smile == 0.5
    front, right, left = (np.asarray(one) for one in result.latents)
    for side, yaw in ((right, -30), (left, 30)):
        np.testing.assert_array_equal(side[4:], front[4:])
        np.testing.assert_allclose((side - front)[:4, COLUMN["yaw"]], yaw, rtol=1e-6)
    np.testing.assert_array_equal(result.images[1][..., 0], right)


def test_each_edit_starts_from_what_the_last_one_left():
    toy = Toy()
    result = normalise(toy.editor, PHOTO)
    assert len(toy.calls) == 5 + 2  # the front view needs none
    for (_, _, asked), (latent, known, _) in zip(toy.calls[:4], toy.calls[1:5], strict=True):
        assert known is asked
        assert not np.array_equal(latent, toy.latent)
    for latent, known, asked in toy.calls[5:]:  # both from the same one
        np.testing.assert_array_equal(latent, result.latents[0])
        assert known.yaw == 0 and known.smile == 0 and abs(asked.yaw) == 30 and known.baldness == 1


def test_the_walk_ends_where_the_classifier_sees_no_smile():
    """From 0.5 the first step leads to 0.1 and each further one goes down by 0.02."""
    toy = Toy(happy_above=0.05)
    result = normalise(toy.editor, PHOTO)
    assert result.further == 3 and toy.looks == 4
    np.testing.assert_allclose(result.latents[0][:, COLUMN["smile"]], 0.04, atol=1e-6)


def test_the_walk_ends_after_five_further_steps_at_the_latest():
    toy = Toy(happy_above=-np.inf)
    result = normalise(toy.editor, PHOTO)
    assert result.further == MOST == 5 and toy.looks == 5
    np.testing.assert_allclose(result.latents[0][:, COLUMN["smile"]], 0.1 - 5 * 0.02, atol=1e-6)


def test_a_direction_for_each_layer_and_layers_of_ones_own():
    toy = Toy(layers={**LAYERS, "smile": (4, 6)})
    toy.editor = replace(toy.editor, beta=np.ones((18, 1), np.float32) * np.asarray(toy.editor.beta))
    smile = np.asarray(normalise(toy.editor, PHOTO).latents[0])[:, COLUMN["smile"]]
    np.testing.assert_allclose(smile[4:7], 0.1, atol=1e-6)
    assert (np.delete(smile, range(4, 7)) == 0.5).all()


def test_what_is_as_wanted_already_is_not_edited():
    toy = Toy()
    for name, value in {"glasses": 0, "pitch": 0, "smile": 0}.items():
        toy.latent[:, COLUMN[name]] = value
    assert normalise(toy.editor, PHOTO).edits == ("light", "yaw", "baldness")
    assert toy.looks == 0


def test_without_a_classifier_the_smile_stays():
    toy = Toy()
    result = normalise(replace(toy.editor, classify=None), PHOTO)
    assert result.edits[-1] == "baldness" and there(result.after[0]).smile == 0.5


def test_without_edits_the_inverted_photograph_is_the_only_view():
    toy = Toy()
    result = normalise(replace(toy.editor, edit=None), PHOTO)
    assert len(result.images) == 1 and result.edits == () and result.after == [result.before]
    np.testing.assert_array_equal(result.latents[0], toy.latent)


def test_passing_through_returns_the_photograph_itself():
    photo = np.random.default_rng(1).random((12, 7, 3)).astype(np.float32)
    result = normalise(pass_through(), photo)
    assert len(result.images) == 1 and result.edits == () and result.before is None
    np.testing.assert_array_equal(result.images[0], photo)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"detect": lambda image: None}, "no face in the inverted photograph"),
        ({"detect": None}, "`edit` needs `detect`"),
        ({"layers": {**LAYERS, "yaw": (0, 18)}}, "'yaw', but latents have 18: give the editor its own"),
        ({"layers": {"light": (7, 11)}}, "layers lack 'glasses'"),
    ],
)
def test_what_cannot_be_edited_is_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        normalise(replace(Toy().editor, **change), PHOTO)
