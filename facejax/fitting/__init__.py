"""Fitting as data: stages and recipes, the landmark solver, the light in closed form, and the compiled whole.

- `fit`: `fit_crops` (pure), `prepare_crops`, `compile_fit`, `over_devices`, `FittedFaces`
- `priors`: `Priors`
- `landmarks`: `fit_landmarks`, `FaceStart`
- `light`: `solve_light`, `solve_skin`
- `stages`: `Stage`, `run_stage`
- `terms`: `TERMS`, `Term`
- `tools`: `Tools`, `FeatureNetwork`: albedo models and networks that a recipe may draw on
- `networks`: `lpips_network`, `arcface_network`, `encoder_network`
- `recipe`, `recipes`: `Recipe`, `DEFAULT`, `ACCELERATOR`, `LINEAR`, `LANDMARKS`, `GAR`, `RECIPES`
- `ffhq_uv`: published recipes
"""

from facejax.fitting.fit import Crops as Crops
from facejax.fitting.fit import FittedFaces as FittedFaces
from facejax.fitting.fit import albedo_after as albedo_after
from facejax.fitting.fit import compile_fit as compile_fit
from facejax.fitting.fit import fit_crops as fit_crops
from facejax.fitting.fit import model_after as model_after
from facejax.fitting.fit import over_devices as over_devices
from facejax.fitting.fit import prepare_crops as prepare_crops
from facejax.fitting.landmarks import FaceStart as FaceStart
from facejax.fitting.landmarks import fit_landmarks as fit_landmarks
from facejax.fitting.light import solve_light as solve_light
from facejax.fitting.light import solve_skin as solve_skin
from facejax.fitting.networks import arcface_network as arcface_network
from facejax.fitting.networks import encoder_network as encoder_network
from facejax.fitting.networks import lpips_network as lpips_network
from facejax.fitting.priors import Priors as Priors
from facejax.fitting.recipe import Recipe as Recipe
from facejax.fitting.recipes import ACCELERATOR as ACCELERATOR
from facejax.fitting.recipes import DEFAULT as DEFAULT
from facejax.fitting.recipes import GAR as GAR
from facejax.fitting.recipes import LANDMARKS as LANDMARKS
from facejax.fitting.recipes import LINEAR as LINEAR
from facejax.fitting.recipes import RECIPES as RECIPES
from facejax.fitting.stages import Stage as Stage
from facejax.fitting.stages import run_stage as run_stage
from facejax.fitting.terms import TERMS as TERMS
from facejax.fitting.terms import Term as Term
from facejax.fitting.tools import FeatureNetwork as FeatureNetwork
from facejax.fitting.tools import Painter as Painter
from facejax.fitting.tools import Tools as Tools
