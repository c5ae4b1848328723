"""Recipes and networks by name."""

from pathlib import Path

from facejax.checkpoints import import_arcface, import_lpips
from facejax.fitting import RECIPES, FeatureNetwork, Recipe, Tools, arcface_network, encoder_network, ffhq_uv
from facejax.fitting import lpips_network as to_network
from facejax.fitting.terms import TERMS
from facejax.fitting.tools import LINEAR as OWN
from facejax.regress.regressor import load_regressor
from facejax.texture import MappedTexture, load_decoder


def own_encoder() -> FeatureNetwork:
    """The shipped regressor's encoder."""
    regressor = load_regressor()
    if regressor.config.encoder.channels != 3:
        raise ValueError("the shipped regressor sees more than colours: pass --lpips FILE")
    return encoder_network(regressor.config.encoder, regressor.weights)


def lpips_network(files: tuple[Path, ...]) -> FeatureNetwork:
    """LPIPS from one file, or from VGG16's and its own."""
    if len(files) not in (1, 2):
        raise ValueError(f"--lpips takes one file or two, not {len(files)}: see facejax.checkpoints.import_lpips")
    return to_network(import_lpips(*files))


def find_recipe(name: str) -> Recipe:
    published = {one.name: one for one in vars(ffhq_uv).values() if isinstance(one, Recipe)}
    known = published | RECIPES
    if name not in known:
        raise ValueError(f"--recipe {name}: not one of {', '.join(sorted(known))}")
    return known[name]


def recipe_tools(
    recipe: Recipe, decoder: Path | None, *, lpips: tuple[Path, ...] = (), arcface: Path | None = None
) -> Tools:
    """What the stages of a recipe name: the decoder (None: the shipped one) and the networks, and nothing else."""
    albedos = {stage.albedo for stage in recipe.stages} - {OWN}
    roles = {TERMS[term].network for stage in recipe.stages for term, _ in stage.weights if term in TERMS}
    networks, drawn = {}, {}
    if albedos:
        if unknown := albedos - {"decoder", "decoder_z"}:
            raise ValueError(f"recipe {recipe.name} draws {', '.join(sorted(unknown))}, which this script cannot make")
        loaded = load_decoder("default" if decoder is None else decoder)
        drawn = {"decoder": loaded, "decoder_z": MappedTexture(loaded)}
    if "perceptual" in roles:
        networks["perceptual"] = lpips_network(lpips) if lpips else own_encoder()
    if "recognition" in roles:
        if arcface is None:
            raise ValueError(f"recipe {recipe.name} needs a recognition network: pass --arcface FILE")
        networks["recognition"] = arcface_network(import_arcface(arcface))
    return Tools({name: drawn[name] for name in sorted(albedos)}, networks)
