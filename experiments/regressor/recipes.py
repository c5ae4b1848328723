"""What is rendered and what is minimised, by name; the rows of the table in docs/regress.md."""

from dataclasses import asdict, replace

from facejax.nets.encoder import TRUNKS, EncoderConfig
from facejax.nets.lv_vit import LVViTConfig
from facejax.objectives import PARAMETER_COSTS, TwoDASLWeights
from facejax.regression.parameter_costs import CostRecipe
from facejax.regression.training import Augmentation, Recipe
from facejax.regression.two_branch import LAMBDAS, TwoBranchRecipe
from facejax.synthetic.generate import Generator
from facejax.synthetic.labels import CLASSES

# Camera effects are added in training, where every view has its own.
FULL = Generator(camera=0.0)
GENERATORS = {
    "full": FULL,
    "bare": replace(FULL, beard=0.0, glasses=0.0, hand=0.0, hair=0.0),
}

SYNTHETIC = Recipe()
NO_HEAD = tuple(term for term in SYNTHETIC.terms if term[0] != "landmarks")


def two_branch(name: str, *terms: str, channels: int = 4) -> TwoBranchRecipe:
    """The supervised terms, and the named terms of 2DASL."""
    on = {term: getattr(LAMBDAS, term) if term in terms else 0.0 for term in asdict(LAMBDAS)}
    return TwoBranchRecipe(name=name, lambdas=TwoDASLWeights(**on), channels=channels)


TWODASL = two_branch("2dasl", *asdict(LAMBDAS))
RECIPES = {
    "synthetic": SYNTHETIC,
    # With --trunk lv_vit and a dense pool: what each token shows is learned too, with the paper's weight.
    "token_labels": replace(SYNTHETIC, name="token_labels", terms=(*SYNTHETIC.terms, ("parsing", 0.5))),
    "no_occluders": replace(SYNTHETIC, name="no_occluders", augmentation=Augmentation(occluders=0.0)),
    "no_camera": replace(SYNTHETIC, name="no_camera", augmentation=Augmentation(camera=0.0)),
    "no_landmark_head": replace(SYNTHETIC, name="no_landmark_head", terms=NO_HEAD),
    "bare": replace(SYNTHETIC, name="bare", terms=NO_HEAD, augmentation=Augmentation(occluders=0.0, camera=0.0)),
    "occluders": replace(SYNTHETIC, name="occluders", terms=NO_HEAD, augmentation=Augmentation(camera=0.0)),
    # One recipe for each of 3DDFA's costs; the paper trains with wpdc, then with vdc (--start).
    **{f"3ddfa_{cost}": CostRecipe(name=f"3ddfa_{cost}", cost=cost) for cost in PARAMETER_COSTS},
    # 3DDFA_V2's two ways to join fWPDC and VDC.
    "3ddfa_v2_joint": CostRecipe(name="3ddfa_v2_joint", cost="joint", regularize=True),
    "3ddfa_v2_meta": CostRecipe(name="3ddfa_v2_meta", regularize=True, look_ahead=4, batch=5 * 32, steps=4500),
    # With --wild: hand-annotated pictures, for reported results only.
    "synthetic_wild": two_branch("synthetic_wild", "landmarks", channels=3),
    "2dasl_none": two_branch("2dasl_none"),
    "2dasl_weighted": two_branch("2dasl_weighted", "coefficients"),
    "2dasl_2d": two_branch("2dasl_2d", "landmarks"),
    "2dasl_3d": two_branch("2dasl_3d", "shape"),
    "2dasl_cycle": two_branch("2dasl_cycle", "cycle"),
    "2dasl_critic": two_branch("2dasl_critic", "critic"),
    "2dasl": TWODASL,
    # The vertex distance in place of the weighted coefficients; starts from a trained 2dasl (--start).
    "2dasl_stage2": replace(
        TWODASL,
        name="2dasl_stage2",
        steps=1500,
        rate=2e-4,
        terms=(*TWODASL.terms, ("vertices", 20.0)),
        lambdas=replace(LAMBDAS, coefficients=0.0),
    ),
}


def encoder_config(trunk: str, recipe: Recipe) -> EncoderConfig:
    """The network for a recipe: with 2DASL's fourth channel, or with a class for each token, where it needs them.

    Args:
      trunk: a name in `facejax.nets.encoder.TRUNKS`.
      recipe: of the run.
    """
    if trunk not in TRUNKS:
        raise ValueError(f"{trunk!r} is not one of {', '.join(TRUNKS)}")
    chosen = TRUNKS[trunk]
    if any(name == "parsing" for name, _ in recipe.terms):
        if not isinstance(chosen, LVViTConfig):
            raise ValueError(f"recipe {recipe.name}: pass --trunk lv_vit, the only one whose tokens have classes")
        chosen = replace(chosen, token_classes=len(CLASSES))
    channels = recipe.channels if isinstance(recipe, TwoBranchRecipe) else 3
    return EncoderConfig(channels=channels, trunk=chosen)
