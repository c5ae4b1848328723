"""`load_face`: a fit's files back to a face that can be drawn."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Array

from facejax.appearance import Appearance, block_count, own_appearance, split_blocks
from facejax.export.params import load_params
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.load import load_face_model
from facejax.fitting.ingredients import LINEAR as OWN
from facejax.generative_renderer import GenerativeRenderer
from facejax.ingredients import Sources, make_appearance
from facejax.texture import TextureDecoder


class LoadedFace(NamedTuple):
    """A face read from a fit's files: the arguments of `facejax.render`."""

    model: FaceModel
    params: FaceParams
    appearance: Appearance


def load_face(
    path: str | Path,
    *,
    model: FaceModel | str | Path = "default",
    decoder: TextureDecoder | str | Path = "default",
    renderer: GenerativeRenderer | str | Path = "default",
) -> LoadedFace:
    """Read a face that a fit wrote: the face model, the parameters, and the appearance that they belong to.

    The parameters have the shapes saved in the file: without leading axes for one face.

    >>> model, params, appearance = load_face("out/photo")  # doctest: +SKIP
    >>> picture = facejax.render(model, params, appearance, size=(480, 640)).color  # doctest: +SKIP

    Args:
        path: a `params.npz`, or the folder that holds it.
        model: the face model that was fitted, or its path.
        decoder, renderer: those of the fit, or their folders, if the fit did not use the package's own
            (`facejax.ingredients.ingredients_for`).

    Raises ValueError for a model other than the one that was fitted, and the errors of `load_params` and the loaders.
    """
    path = Path(path)
    path = path / "params.npz" if path.is_dir() else path
    params, model_name, name = load_params(path)
    model = model if isinstance(model, FaceModel) else load_face_model(model)
    if model.name != model_name:
        raise ValueError(f"{path}: a face of the model {model_name!r}, not of {model.name!r}: pass it as model=")
    sources = Sources(model, decoder, renderer)
    appearance = own_appearance(model) if name == OWN else make_appearance(name, sources)
    return LoadedFace(model, replace(params, appearance=_own_blocks(path, params, name, appearance)), appearance)


def _own_blocks(path: Path, params: FaceParams, name: str, appearance: Appearance) -> dict[str, Array]:
    """A file's blocks in the appearance's shapes; files written before version 0.1.0 have them in one row."""
    blocks, axes = params.appearance, params.identity.ndim - 1
    if name == OWN and "albedo" in blocks and blocks["albedo"].shape[-1] <= block_count(appearance):
        return dict(blocks)  # the last coefficients of a linear model may be left out
    if set(blocks) == {"albedo"} and blocks["albedo"].shape[-1] == block_count(appearance):
        return split_blocks(appearance, blocks["albedo"])
    shapes = {name: block.shape[axes:] for name, block in blocks.items()}
    if shapes != dict(appearance.blocks):
        raise ValueError(
            f"{path}: holds the blocks {shapes}, but the appearance {name!r} takes {dict(appearance.blocks)}: pass the "
            "fit's decoder= or renderer="
        )
    return dict(blocks)
