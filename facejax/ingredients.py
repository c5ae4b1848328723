"""The defaults of a fit: the recipe, and the appearances and networks that its stages name.

`register_appearance` adds a name that stages can use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from facejax.appearance import Appearance, SurfaceAppearance
from facejax.checkpoints import (
    Released,
    find_dlib_recognition,
    import_arcface,
    import_dlib_recognition,
    import_lpips,
    load_released,
)
from facejax.face_model import FaceModel
from facejax.face_model.gaze import has_eyeballs
from facejax.fitting import (
    DEFAULT,
    LINEAR,
    FeatureNetwork,
    Ingredients,
    Recipe,
    Seer,
    arcface_network,
    dlib_network,
    encoder_network,
    identity_network,
    lpips_network,
)
from facejax.fitting.ingredients import LINEAR as OWN
from facejax.fitting.terms import TERMS
from facejax.generative_renderer import GARAppearance, GenerativeRenderer, load_gar, normals_network
from facejax.regression.dense_seer import dense_seer
from facejax.regression.iris_points import iris_network, load_iris
from facejax.regression.mesh_surface import mesh_seer
from facejax.regression.regressor import load_regressor
from facejax.texture import DetailedTexture, MappedTexture, TextureDecoder, load_decoder

DECODED = ("decoder", "decoder_z", "detailed")  # the appearances that use a texture decoder
HEAD = "facejax-head"  # the name of the default head, whose texture layout the package's decoder has


@dataclass(frozen=True)
class Sources:
    """Where appearances get their weights; files are read only when they are needed."""

    model: FaceModel | None = None  # the face model that is fitted
    decoder: TextureDecoder | str | Path = "default"  # or its folder; "default": the package's own
    renderer: GenerativeRenderer | str | Path = "default"

    def load_decoder(self) -> TextureDecoder:
        """Raises ValueError when the package's own decoder does not have the model's texture layout."""
        if isinstance(self.decoder, TextureDecoder):
            return self.decoder
        if self.decoder == "default" and self.model is not None and self.model.name != HEAD:
            raise ValueError(
                f"the package's texture decoder is laid out for its own head, not for {self.model.name!r}; use the "
                "linear recipe, or give a decoder of that layout"
            )
        return load_decoder(self.decoder)

    def load_renderer(self) -> GenerativeRenderer:
        """The generative renderer of GAR."""
        return self.renderer if isinstance(self.renderer, GenerativeRenderer) else load_gar(self.renderer)


APPEARANCES: dict[str, Callable[[Sources], Appearance]] = {
    "decoder": lambda sources: SurfaceAppearance(sources.load_decoder()),
    "decoder_z": lambda sources: SurfaceAppearance(MappedTexture(sources.load_decoder())),
    "detailed": lambda sources: SurfaceAppearance(DetailedTexture(sources.load_decoder())),
    "gar": lambda sources: GARAppearance(sources.load_renderer()),
}


SEERS: dict[str, Callable[[], Seer]] = {"dense": dense_seer, "face_mesh": mesh_seer}


def register_appearance(name: str, make: Callable[[Sources], Appearance]) -> None:
    """Let stages name an appearance of your own: `Stage(..., appearance=name)`.

    A fit whose recipe names it calls `make(sources)`, and so does `facejax.load_face` for a file that was fitted with
    it. Raises ValueError for a name that is taken.
    """
    if name == OWN or name in APPEARANCES:
        raise ValueError(f"there is an appearance {name!r} already: choose another name")
    APPEARANCES[name] = make


def recipe_for(model: FaceModel) -> Recipe:
    """The default recipe for the default head; the linear one for others, which have no maps."""
    return DEFAULT if model.name == HEAD else LINEAR


def own_encoder() -> FeatureNetwork:
    """The shipped regressor's encoder, for "perceptual". Raises ValueError if its input is more than colours, or its
    trunk a transformer.
    """
    regressor = load_regressor()
    if regressor.config.encoder.channels != 3:
        raise ValueError("the shipped regressor sees more than colours: give the weights of LPIPS")
    if regressor.config.encoder.trunk is not None:
        raise ValueError("the shipped regressor has no convolutional trunk: give the weights of LPIPS")
    return encoder_network(regressor.config.encoder, regressor.weights)


def read_lpips(files: tuple[Path, ...]) -> FeatureNetwork:
    """LPIPS from one file, from two (VGG16's and its own), or from the folder that `facejax convert` wrote.

    Raises ValueError for another number of files, and the errors of `checkpoints.import_lpips` and `load_released`.
    """
    if len(files) not in (1, 2):
        raise ValueError(f"LPIPS is one file or two, not {len(files)}: see facejax.checkpoints.import_lpips")
    converted = _converted(files[0], "vgg16") if len(files) == 1 else None
    return lpips_network(converted or import_lpips(*files))


def read_arcface(file: Path) -> FeatureNetwork:
    """ArcFace from its authors' file, or from the folder that `facejax convert` wrote. Raises like the importers."""
    return arcface_network(_converted(file, "iresnet") or import_arcface(file))


@cache
def load_recogniser() -> Released | None:
    """dlib's face recogniser, where `facejax[identity]` is installed, or else None. Raises like the importer."""
    file = find_dlib_recognition()
    return None if file is None else import_dlib_recognition(file)


def _converted(path: Path, kind: str) -> Released | None:
    """The network in a folder that `facejax convert` wrote; None when the path is a file."""
    return load_released(path, kind=kind) if path.is_dir() else None


def ingredients_for(
    recipe: Recipe,
    decoder: TextureDecoder | str | Path = "default",
    *,
    model: FaceModel | None = None,
    lpips: tuple[Path, ...] = (),
    arcface: Path | None = None,
    renderer: GenerativeRenderer | str | Path = "default",
    measure: bool = True,
) -> Ingredients:
    """The appearances and networks that the stages of a recipe name, and no others but one that measures the result,
    and one that sees where the eyes look.

    Args:
        recipe: the stages.
        decoder: a texture decoder, its folder, or "default" for the package's own.
        model: the face model that is fitted, to check that the package's own decoder has its texture layout, and
            whether it has eyeballs; with them the iris network joins as "iris".
        lpips: weights of LPIPS for "perceptual" (docs/weights.md), one file or two, or the folder that
            `facejax convert` made of them; without them the shipped regressor's encoder takes its place.
        arcface: weights of ArcFace for "recognition", a file or such a folder; without them dlib's recogniser takes its
            place, where `facejax[identity]` is installed.
        renderer: a generative renderer, its folder, or "default" for the package's own.
        measure: with dlib's recogniser as "identity", if it is installed and the recipe draws faces.

    Raises ValueError for a recipe that needs anything else, and the errors of the loaders.
    """
    sources = Sources(model, decoder, renderer)
    names = sorted({stage.appearance for stage in recipe.stages} - {OWN})
    roles = {TERMS[term].network for stage in recipe.stages for term, _ in stage.weights if term in TERMS}
    try:
        appearances = {name: make_appearance(name, sources) for name in names}
    except ValueError as error:
        raise ValueError(f"recipe {recipe.name!r}: {error}") from None
    networks = {"normals": normals_network(sources.load_renderer())} if "normals" in roles else {}
    if "perceptual" in roles:
        networks["perceptual"] = read_lpips(lpips) if lpips else own_encoder()
    if "recognition" in roles:
        networks["recognition"] = read_arcface(arcface) if arcface else _own_recogniser(recipe)
    recogniser = load_recogniser() if measure and recipe.stages else None
    if recogniser is not None:
        networks["identity"] = identity_network(recogniser)
    if model is not None and has_eyeballs(model):
        networks["iris"] = iris_network(load_iris())
    seers = {name: SEERS[name]() for name in recipe.seers if name in SEERS}
    return Ingredients(appearances, dict(sorted(networks.items())), seers)


def _own_recogniser(recipe: Recipe) -> FeatureNetwork:
    recogniser = load_recogniser()
    if recogniser is None:
        raise ValueError(
            f"recipe {recipe.name!r} needs a recognition network: pip install 'facejax[identity]', or give the weights "
            "of ArcFace"
        )
    return dlib_network(recogniser)


def make_appearance(name: str, sources: Sources) -> Appearance:
    """The appearance that stages call `name`. Raises ValueError for a name that is not registered."""
    if name not in APPEARANCES:
        known = ", ".join(sorted({OWN, *APPEARANCES}))
        raise ValueError(
            f"there is no appearance {name!r} (known are {known}): register_appearance makes it known, or pass "
            "Ingredients(appearances=...)"
        )
    return APPEARANCES[name](sources)
