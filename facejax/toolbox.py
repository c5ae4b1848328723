"""What a fit of a model takes if nothing else is said: the recipe, the package's own decoder and networks."""

from collections.abc import Callable
from pathlib import Path

from facejax.checkpoints import Released, import_arcface, import_lpips, load_released
from facejax.face_model import AlbedoModel, FaceModel
from facejax.fitting import (
    DEFAULT,
    LINEAR,
    FeatureNetwork,
    Recipe,
    Tools,
    arcface_network,
    encoder_network,
    lpips_network,
)
from facejax.fitting.terms import TERMS
from facejax.fitting.tools import LINEAR as OWN
from facejax.generative_renderer import GARAppearance, GenerativeRenderer, load_gar, normals_network
from facejax.regression.regressor import load_regressor
from facejax.texture import DetailedTexture, MappedTexture, TextureDecoder, load_decoder

HEAD = "facejax-head"  # the name of the default head, whose texture layout the package's decoder has
PAINTED = "gar"
DECODED: dict[str, Callable[[TextureDecoder], AlbedoModel]] = {
    "decoder": lambda decoder: decoder,
    "decoder_z": MappedTexture,
    "detailed": DetailedTexture,
}


def recipe_for(model: FaceModel) -> Recipe:
    """The default recipe for the default head; the linear one for models whose layout no decoder of ours has."""
    return DEFAULT if model.name == HEAD else LINEAR


def own_encoder() -> FeatureNetwork:
    """The shipped regressor's encoder, for "perceptual". Raises ValueError when it sees more than colours."""
    regressor = load_regressor()
    if regressor.config.encoder.channels != 3:
        raise ValueError("the shipped regressor sees more than colours: give the weights of LPIPS")
    return encoder_network(regressor.config.encoder, regressor.weights)


def read_lpips(files: tuple[Path, ...]) -> FeatureNetwork:
    """LPIPS from one file, from VGG16's and its own, or from the folder that `facejax convert` wrote.

    Raises ValueError, and like `checkpoints.import_lpips` and `load_released`.
    """
    if len(files) not in (1, 2):
        raise ValueError(f"LPIPS is one file or two, not {len(files)}: see facejax.checkpoints.import_lpips")
    converted = _converted(files[0], "vgg16") if len(files) == 1 else None
    return lpips_network(converted or import_lpips(*files))


def read_arcface(file: Path) -> FeatureNetwork:
    """ArcFace from its authors' file, or from the folder that `facejax convert` wrote; raises like the importers."""
    return arcface_network(_converted(file, "iresnet") or import_arcface(file))


def _converted(path: Path, kind: str) -> Released | None:
    """Of a folder the network in it; None for a file."""
    return load_released(path, kind=kind) if path.is_dir() else None


def tools_for(
    recipe: Recipe,
    decoder: TextureDecoder | str | Path = "default",
    *,
    model: FaceModel | None = None,
    lpips: tuple[Path, ...] = (),
    arcface: Path | None = None,
    renderer: GenerativeRenderer | str | Path = "default",
) -> Tools:
    """What the stages of a recipe name, and nothing else.

    Args:
        decoder: a texture decoder, the folder of one, or "default" for the package's own.
        model: what is fitted, to check that the package's own decoder has its texture layout.
        lpips: weights of LPIPS for "perceptual" (docs/weights.md), one file or two, or the folder that
            `facejax convert` made of them; without them it is the shipped regressor's encoder.
        arcface: weights of ArcFace for "recognition", a file or such a folder; they have no substitute.
        renderer: a generative renderer, the folder of one, or "default" for the package's own.

    Raises ValueError for a recipe that needs something else, and like the loaders.
    """
    albedos = {stage.albedo for stage in recipe.stages} - {OWN}
    roles = {TERMS[term].network for stage in recipe.stages for term, _ in stage.weights if term in TERMS}
    if unknown := albedos - {*DECODED, PAINTED}:
        raise ValueError(f"recipe {recipe.name!r} draws {', '.join(sorted(unknown))}: pass your own Tools(albedos=...)")
    if albedos - {PAINTED} and decoder == "default" and model is not None and model.name != HEAD:
        raise ValueError(
            f"recipe {recipe.name!r}: the package's texture decoder is laid out for its own head, not for "
            f"{model.name!r}; use the linear recipe, or give a decoder of that layout"
        )
    decoder = _decoder(decoder) if albedos - {PAINTED} else decoder
    renderer = _renderer(renderer) if PAINTED in albedos or "normals" in roles else renderer
    drawn = {name: albedo_model(name, decoder, renderer) for name in sorted(albedos)}
    networks = {"normals": normals_network(_renderer(renderer))} if "normals" in roles else {}
    if "perceptual" in roles:
        networks["perceptual"] = read_lpips(lpips) if lpips else own_encoder()
    if "recognition" in roles:
        if arcface is None:
            raise ValueError(f"recipe {recipe.name!r} needs a recognition network: give the weights of ArcFace")
        networks["recognition"] = read_arcface(arcface)
    return Tools(drawn, dict(sorted(networks.items())))


def albedo_model(
    name: str,
    decoder: TextureDecoder | str | Path = "default",
    renderer: GenerativeRenderer | str | Path = "default",
) -> AlbedoModel:
    """What the stages of the package's recipes call so, made of a decoder or a renderer as in `tools_for`."""
    if name == PAINTED:
        return GARAppearance(_renderer(renderer))
    if name not in DECODED:
        raise ValueError(f"albedo model {name!r} is not the package's own: known are {[*DECODED, PAINTED]}")
    return DECODED[name](_decoder(decoder))


def _decoder(decoder: TextureDecoder | str | Path) -> TextureDecoder:
    return decoder if isinstance(decoder, TextureDecoder) else load_decoder(decoder)


def _renderer(renderer: GenerativeRenderer | str | Path) -> GenerativeRenderer:
    return renderer if isinstance(renderer, GenerativeRenderer) else load_gar(renderer)
