"""`facejax convert`: turns other people's face models and weights into files of this library."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from facejax import checkpoints
from facejax.checkpoints import Released
from facejax.checkpoints.released import CONFIGS
from facejax.export import save_face_model
from facejax.face_model import FaceModel, MorphableModel
from facejax.face_model.formats.landmark_files import read_model_landmarks
from facejax.face_model.formats.plain import KEY
from facejax.face_model.load import load_face_model
from facejax.texture.decoder import import_decoder, save_decoder

Source = Annotated[Path, tyro.conf.arg(metavar="IN")]
Target = Annotated[Path, tyro.conf.arg(metavar="OUT")]

IMPORTERS: dict[str, Callable[..., Released]] = {
    "3ddfa": checkpoints.import_3ddfa,
    "2dasl": checkpoints.import_2dasl,
    "deep3d": checkpoints.import_deep3d,
    "face-parsing": checkpoints.import_face_parsing,
    "dpr-light": checkpoints.import_dpr_light,
    "fan": checkpoints.import_fan,
}
WHITENED = ("3ddfa", "2dasl")


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Options of all conversions."""

    half: bool = False
    """store it in 16 bits: half the size, three digits"""


@dataclass(frozen=True, kw_only=True)
class ConvertModel(Conversion):
    """A face model of any format that facejax reads into one .npz file: what --model takes.

    It loads as exactly the same model and needs neither h5py nor a pickle; docs/models.md lists the formats. Example:

        facejax convert model generic_model.pkl flame.npz --landmarks landmark_embedding.npy
    """

    source: tyro.conf.Positional[Source]
    """file or folder of a face model"""
    out: tyro.conf.Positional[Target]
    """the .npz file to write"""
    format: str | None = None
    """format of IN, if its content does not tell"""
    identity: int | None = None
    """keep that many first identity components"""
    expression: int | None = None
    """keep that many first expression components"""
    albedo: int | None = None
    """keep that many first albedo components"""
    landmarks: tuple[Path, ...] = ()
    """68 landmarks in the iBUG order for a model without them (a fit needs them): .npy or .txt with vertex numbers that
    count from 0, .npz with triangles (68,) and weights (68, 3), FLAME's landmark_embedding.npy, or its
    flame_static_embedding.pkl and flame_dynamic_embedding.npy"""
    masks: Path | None = None
    """which vertices are the face, for a model without regions: FLAME_masks.pkl, or another file with masks or vertex
    numbers under the regions' names; without it they are found from the landmarks"""


@dataclass(frozen=True, kw_only=True)
class ConvertDecoder(Conversion):
    """A texture decoder of FFHQ-UV, or another generator of stylegan2-ada-pytorch, into a folder: what --decoder takes.

    Its maps stay in the layout that it was trained for: fit a model of that layout with it. Example:

        facejax convert decoder texgan_ffhq_uv.pth ffhq_uv --statistics texgan_stats.pt
    """

    source: tyro.conf.Positional[Source]
    """state dict, .pth or .safetensors"""
    out: tyro.conf.Positional[Target]
    """the folder to write"""
    statistics: Path | None = None
    """the file with w_avg and w_std beside it; without it they are computed"""


@dataclass(frozen=True, kw_only=True)
class ConvertLpips(Conversion):
    """VGG16 with LPIPS' weights into a folder: what --lpips takes.

    It loads without PyTorch. Example:

        facejax convert lpips vgg16-397923af.pth lpips --weights vgg.pth
    """

    source: tyro.conf.Positional[Source]
    """torchvision's VGG16, or the state dict of a whole lpips.LPIPS(net="vgg")"""
    out: tyro.conf.Positional[Target]
    """the folder to write"""
    weights: Path | None = None
    """LPIPS' own weights/v0.1/vgg.pth"""


@dataclass(frozen=True, kw_only=True)
class ConvertArcface(Conversion):
    """An IResNet of arcface_torch into a folder: what --arcface takes.

    It loads without PyTorch. Example:

        facejax convert arcface backbone.pth arcface
    """

    source: tyro.conf.Positional[Source]
    """backbone.pth"""
    out: tyro.conf.Positional[Target]
    """the folder to write"""


@dataclass(frozen=True, kw_only=True)
class ConvertNetwork(Conversion):
    """Another released network into a folder, for Python: facejax.checkpoints.load_released.

    No option of a command takes these; docs/weights.md says what they are for. Example:

        facejax convert network 3ddfa mb1_120x120.pth 3ddfa --whitening param_mean_std_62d_120x120.pkl
    """

    kind: tyro.conf.Positional[Literal["3ddfa", "2dasl", "deep3d", "face-parsing", "dpr-light", "fan"]]
    """whose network it is"""
    source: tyro.conf.Positional[Source]
    """the file of its authors"""
    out: tyro.conf.Positional[Target]
    """the folder to write"""
    whitening: Path | None = None
    """for 3ddfa and 2dasl: their file with the means and deviations of the coefficients"""


Convert = ConvertModel | ConvertDecoder | ConvertLpips | ConvertArcface | ConvertNetwork
CONVERSIONS: dict[str, type[Conversion]] = {
    "model": ConvertModel,
    "decoder": ConvertDecoder,
    "lpips": ConvertLpips,
    "arcface": ConvertArcface,
    "network": ConvertNetwork,
}


def run_convert(command: Convert) -> int:
    """Convert face models and released weights of other projects into files that load fast and without PyTorch.

    facejax ships none of them: get a file from its authors and read their terms. An existing OUT is replaced only if
    this command wrote it. Example:

        facejax convert model 01_MorphableModel.mat bfm.npz
    """
    if isinstance(command, ConvertModel):
        print(f"{command.out}: {convert_model(command)}")
        return 0
    keep_others(command.out, _my_checkpoint)
    notes: dict[str, Any] = {"half": command.half, "made_from": command.source.resolve().name}
    if isinstance(command, ConvertDecoder):
        decoder = import_decoder(command.source, command.statistics)
        save_decoder(command.out, decoder, **notes)
        side = decoder.config.resolution
        print(f"{command.out}: a texture decoder, {side} x {side} texels, {decoder.config.layers} layers of latents")
        return 0
    released = import_network(command)
    checkpoints.save_released(command.out, released, **notes)
    print(f"{command.out}: {describe(released)}")
    return 0


def convert_model(what: ConvertModel) -> str:
    """Write the file. Returns a description of its content."""
    if what.out.suffix != ".npz":
        raise ValueError(f"{what.out}: name a .npz file to write")
    keep_others(what.out, _my_model)
    marks = read_model_landmarks(what.landmarks) if what.landmarks else None
    kept = {"identity": what.identity, "expression": what.expression, "albedo": what.albedo}
    model = load_face_model(what.source, format=what.format, landmarks=marks, masks=what.masks, **kept)
    save_face_model(what.out, model, half=what.half, made_from=what.source.resolve().name)
    return describe_model(model)


def import_network(what: ConvertLpips | ConvertArcface | ConvertNetwork) -> Released:
    """Import a released network. Raises ValueError like the importers, and for a missing or needless whitening file."""
    if isinstance(what, ConvertLpips):
        return checkpoints.import_lpips(what.source, what.weights)
    if isinstance(what, ConvertArcface):
        return checkpoints.import_arcface(what.source)
    if (what.whitening is not None) != (what.kind in WHITENED):
        fix = "give --whitening" if what.whitening is None else "leave out --whitening"
        raise ValueError(f"convert network {what.kind}: {fix}; see docs/weights.md")
    files = (what.source,) if what.whitening is None else (what.source, what.whitening)
    return IMPORTERS[what.kind](*files)


def describe(released: Released) -> str:
    """The kind of a network, and how many numbers it has."""
    kind = next(kind for kind, config in CONFIGS.items() if isinstance(released.config, config))
    count = sum(leaf.size for leaf in jax.tree.leaves(released.network))
    return f"a network of the kind {kind}, {count / 1e6:.1f} million numbers"


def describe_model(model: FaceModel) -> str:
    """The name and sizes of a face model."""
    colour = f"{model.albedo.count} albedo components" if isinstance(model, MorphableModel) else "no albedo"
    marks = len(model.topology.landmark_faces)
    return (
        f"{model.name}, {len(model.mean)} vertices, {len(model.identity_std)} identity and {len(model.expression_std)} "
        f"expression components, {colour}, " + (f"{marks} landmarks" if marks else "no landmarks (a fit needs them)")
    )


def keep_others(out: Path, is_mine: Callable[[Path], bool]) -> None:
    """Raises ValueError if OUT exists and this command did not write it."""
    try:
        mine = not out.exists() or is_mine(out)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        mine = False
    if not mine:
        raise ValueError(f"{out}: exists and was not written by facejax convert; give another OUT, or remove it")


def _my_model(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with np.load(path, allow_pickle=False) as file:
        return KEY in file.files and bool(str(file["made_from"]))


def _my_checkpoint(path: Path) -> bool:
    return "made_from" in checkpoints.read_metadata(path)["metadata"]
