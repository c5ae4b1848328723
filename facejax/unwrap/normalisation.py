"""A photograph as if taken in even light, from the front and both sides, without glasses, hair or a smile.

FFHQ-UV (Bai et al., CVPR 2023, section 3.1) does that in the latent space of a face generator: e4e inverts, StyleFlow
edits, other networks say what there is to edit. Such networks are the user's: here is what is done with them, in which
order, to which layers. Without any, `pass_through` hands the photograph on.
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

FRONT, RIGHT, LEFT = 0.0, -30.0, 30.0  # yaw in degrees; what FFHQ-UV calls the right view has the negative one
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
)  # the first and the last that an edit may change, of a StyleGAN2's 18 at 1024 pixels
TARGETS = (("light", None), ("glasses", 0.0), ("yaw", FRONT), ("pitch", 0.0), ("baldness", 1.0))  # in this order
STRIDE, MORE, MOST = -2.0, 0.05, 5  # the walk: first step for a smile of 1, the share of each further one, how many


@dataclass(frozen=True)
class Attributes:
    """What there is to edit in a picture of a face."""

    light: Float[Array | np.ndarray, " 9"]  # spherical harmonics, one channel; the first is the even part
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
    """A face generator with what steers it, as functions of one picture; on any framework, they run on the host.

    Without `edit` nothing is changed and there are no side views: the paper's ablation. Without `beta` or `classify`
    the smile stays.
    """

    invert: Callable[[Image], Latent]
    generate: Callable[[Latent], Image]
    detect: Callable[[Image], Attributes | None] | None = None  # None: no face in the picture
    edit: Callable[[Latent, Attributes, Attributes], Latent] | None = None  # latent, what it is, what it shall be
    classify: Callable[[Image], str] | None = None  # the name of the expression
    beta: Float[Array | np.ndarray, "*L W"] | None = None  # towards a smile, for all layers alike or for each
    layers: Mapping[str, tuple[int, int]] = field(default_factory=lambda: LAYERS)
    happy: str = "Happy"  # the class that the walk leaves


class NormalisedViews(NamedTuple):
    """Lists are one item for each view."""

    images: list[Image]
    latents: list[Latent]
    edits: tuple[str, ...]  # attributes that were edited, in order, before the views were made
    further: int  # steps of the expression's walk beyond the first
    before: Attributes | None  # of the inverted photograph
    after: list[Attributes | None]  # as detected in the views


class _State(NamedTuple):
    latent: Latent
    attributes: Attributes  # what the latent is taken to show


def pass_through() -> FaceEditor:
    """The editor of those who have no generator: the photograph is its own latent, and its only view."""
    return FaceEditor(
        invert=lambda photo: photo.reshape(photo.shape[0], -1),
        generate=lambda latent: latent.reshape(latent.shape[0], -1, 3),
    )


def even_light(
    light: Float[Array | np.ndarray, " 9"], reading: Literal["kept", "one"]
) -> Float[Array | np.ndarray, " 9"]:
    """The light's first coefficient alone: "kept" as it is (the paper's words), or set to "one" (its code)."""
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
    """The photograph's face in even light and at rest, seen at the yaw angles `views` (degrees).

    Light, glasses, yaw, pitch and baldness are edited in turn, then the smile is walked away, then the views are made,
    each from the same latent. Every edit starts from what the one before left, is told what that one asked for, and
    may change its attribute's layers only; one whose attribute has its value already is left out. Raises ValueError
    where no face is found in the inverted photograph, and for an editor whose functions or layers do not suffice.
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
        raise ValueError("an editor with `edit` but without `detect`: what there is to edit must be known")
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
    """One attribute brought to a value, and whether there was anything to do."""
    if np.array_equal(getattr(state.attributes, name), value):
        return state, False
    wanted = replace(state.attributes, **{name: value})
    assert editor.edit is not None
    edited = editor.edit(state.latent, state.attributes, wanted)
    return _State(_take_over(state.latent, edited, editor.layers[name]), wanted), True


def _stop_smiling(editor: FaceEditor, state: _State) -> tuple[_State, int | None]:
    """Away from a smile: a first step as long as the smile is strong, then small ones until the classifier sees none.

    And how many small steps that took, at most `MOST`; None where there was nothing to do.
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
    """The latent with some layers, first and last included, from the edited one."""
    part = slice(layers[0], layers[1] + 1)
    return jnp.asarray(latent).at[part].set(jnp.asarray(edited)[part])


def _check_layers(editor: FaceEditor, latent: Latent) -> None:
    for name in [*dict(TARGETS), "smile"]:
        if name not in editor.layers:
            raise ValueError(f"the editor's layers name none for {name!r}: give the first and the last that may change")
        if editor.layers[name][1] >= len(latent):
            raise ValueError(
                f"layers {editor.layers[name]} for {name!r}, but latents have {len(latent)}: give the editor its own"
            )
