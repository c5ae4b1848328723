"""A photograph turned into views of the same face in even light, from the front and both sides, without glasses or a
smile.

FFHQ-UV (Bai et al., CVPR 2023, section 3.1) does this in the latent space of a face generator: e4e inverts the
photograph, StyleFlow edits the latent, other networks detect what there is to edit. You supply such networks; this file
holds what is done with them, in which order, to which layers. Without any, `pass_through` returns the photograph.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Image = Float[Array | np.ndarray, "H W 3"]  # display values in [0, 1]
Latent = Float[Array | np.ndarray, "L W"]  # one vector for each layer of the generator

FRONT, RIGHT, LEFT = 0.0, -30.0, 30.0  # yaw in degrees; FFHQ-UV's right view has negative yaw
LAYERS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "light": (7, 11),
        "glasses": (2, 3),
        "yaw": (0, 3),
        "pitch": (0, 3),
        "baldness": (0, 5),
        "beard": (5, 9),
        "age": (4, 7),
        "gender": (0, 7),
        "smile": (0, 17),
    }
)  # first and last layer that each edit may change, of the 18 of a StyleGAN2 at 1024 pixels
TARGETS = (("light", None), ("glasses", 0.0), ("yaw", FRONT), ("pitch", 0.0), ("baldness", 1.0))  # in this order
# the walk away from a smile: its first step for a smile of 1, each further step as a share of it, and their number
STRIDE, MORE, MOST = -2.0, 0.05, 5


@dataclass(frozen=True)
class Attributes:
    """What can be edited in a picture of a face."""

    light: Float[Array | np.ndarray, " 9"]  # spherical harmonics of one channel; the first is the uniform part
    glasses: float  # 1 with, 0 without
    yaw: float  # degrees
    pitch: float  # degrees
    baldness: float  # 0 to 1
    beard: float  # 0 to 1
    age: float  # years
    gender: float  # 1 male, 0 female
    smile: float  # 0 to 1


@dataclass(frozen=True)
class FaceEditor:
    """A face generator and the networks that steer it, as functions of one picture. They run on the host, in any
    framework.

    Without `edit` nothing is changed and there are no side views: the paper's ablation. Without `beta` or `classify`
    the smile stays.
    """

    invert: Callable[[Image], Latent]
    generate: Callable[[Latent], Image]
    detect: Callable[[Image], Attributes | None] | None = None  # None: no face in the picture
    # (latent, present attributes, wanted attributes) to latent
    edit: Callable[[Latent, Attributes, Attributes], Latent] | None = None
    classify: Callable[[Image], str] | None = None  # the name of the expression
    beta: Float[Array | np.ndarray, "*L W"] | None = None  # direction of a smile, for all layers or for each
    layers: Mapping[str, tuple[int, int]] = field(default_factory=lambda: LAYERS)
    happy: str = "Happy"  # the expression class to walk away from


class NormalisedViews(NamedTuple):
    """The views of one photograph; each list has one item per view."""

    images: list[Image]
    latents: list[Latent]
    edits: tuple[str, ...]  # attributes edited before the views were made, in order
    further: int  # steps of the walk away from the smile, beyond its first
    before: Attributes | None  # of the inverted photograph
    after: list[Attributes | None]  # as detected in the views


class _State(NamedTuple):
    latent: Latent
    attributes: Attributes  # those that the latent is assumed to show


def pass_through() -> FaceEditor:
    """An editor for use without a generator: the photograph is its own latent and its only view."""
    return FaceEditor(
        invert=lambda photo: photo.reshape(photo.shape[0], -1),
        generate=lambda latent: latent.reshape(latent.shape[0], -1, 3),
    )


def even_light(
    light: Float[Array | np.ndarray, " 9"], reading: Literal["kept", "one"]
) -> Float[Array | np.ndarray, " 9"]:
    """Only the first coefficient of the light: "kept" as it is (the paper's text), or set to "one" (its code)."""
    if reading not in ("kept", "one"):
        raise ValueError(f"light {reading!r}: give 'kept' or 'one'")
    even = np.zeros(9, np.float32)
    even[0] = light[0] if reading == "kept" else 1.0
    return even


def normalise(
    editor: FaceEditor,
    photo: Image,
    *,
    views: Sequence[float] = (FRONT, RIGHT, LEFT),
    light: Literal["kept", "one"] = "kept",
) -> NormalisedViews:
    """Views of the photograph's face in even light and with a neutral expression.

    Light, glasses, yaw, pitch and baldness are edited in turn, then the smile is removed, then each view is made from
    the resulting latent. Each edit starts from the result of the one before and changes only its attribute's layers. An
    edit is skipped when its attribute already has the wanted value.

    Args:
      editor: the generator and its networks.
      photo: display values (H, W, 3) in [0, 1].
      views: yaw angles, degrees.
      light: "kept" or "one", see `even_light`.

    Returns:
      The views, and what was edited.

    Raises ValueError where no face is found in the inverted photograph, and for an editor whose functions or layers do
    not suffice.
    """
    latent = editor.invert(photo)
    image = editor.generate(latent)
    detect = editor.detect
    before = None if detect is None else detect(image)
    if detect is not None and before is None:
        raise ValueError("no face in the inverted photograph: leave it out, or invert it another way")
    if editor.edit is None:
        return NormalisedViews([image], [latent], (), 0, before, [before])
    if detect is None or before is None:
        raise ValueError("an editor with `edit` needs `detect`, which says what there is to edit")
    _check_layers(editor, latent)

    state, edits = _State(latent, before), []
    for name, value in TARGETS:
        state, changed = _edit(editor, state, name, even_light(before.light, light) if value is None else value)
        edits += [name] * changed
    state, further = _stop_smiling(editor, state)
    edits += ["smile"] * (further is not None)

    latents = [_edit(editor, state, "yaw", yaw)[0].latent for yaw in views]
    images = [editor.generate(one) for one in latents]
    return NormalisedViews(images, latents, tuple(edits), further or 0, before, [detect(one) for one in images])


def _edit(
    editor: FaceEditor, state: _State, name: str, value: float | Float[Array | np.ndarray, " 9"]
) -> tuple[_State, bool]:
    """Set one attribute to a value. Also says whether there was anything to do."""
    if np.array_equal(getattr(state.attributes, name), value):
        return state, False
    wanted = replace(state.attributes, **{name: value})
    assert editor.edit is not None
    edited = editor.edit(state.latent, state.attributes, wanted)
    return _State(_take_over(state.latent, edited, editor.layers[name]), wanted), True


def _stop_smiling(editor: FaceEditor, state: _State) -> tuple[_State, int | None]:
    """Walk away from a smile: a first step as long as the smile is strong, then small ones until the classifier sees
    none.

    Also returns the number of small steps, at most `MOST`; None where there was nothing to do.
    """
    smile = state.attributes.smile
    if editor.beta is None or editor.classify is None or smile == 0:
        return state, None
    stride = STRIDE * smile * jnp.asarray(editor.beta)
    latent, further = _walk(editor, state.latent, stride), 0
    while further < MOST and editor.classify(editor.generate(latent)) == editor.happy:
        latent, further = _walk(editor, latent, MORE * stride), further + 1
    return _State(latent, replace(state.attributes, smile=0.0)), further


def _walk(editor: FaceEditor, latent: Latent, step: Float[Array, "*L W"]) -> Latent:
    return _take_over(latent, latent + jnp.broadcast_to(step, latent.shape), editor.layers["smile"])


def _take_over(latent: Latent, edited: Latent, layers: tuple[int, int]) -> Latent:
    """The latent with some layers (first to last, inclusive) taken from the edited one."""
    part = slice(layers[0], layers[1] + 1)
    return jnp.asarray(latent).at[part].set(jnp.asarray(edited)[part])


def _check_layers(editor: FaceEditor, latent: Latent) -> None:
    for name in [*dict(TARGETS), "smile"]:
        if name not in editor.layers:
            raise ValueError(f"the editor's layers lack {name!r}: give its first and last layer")
        if editor.layers[name][1] >= len(latent):
            raise ValueError(
                f"layers {editor.layers[name]} for {name!r}, but latents have {len(latent)}: give the editor its own"
            )
