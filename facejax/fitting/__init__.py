"""Fitting as data: stages and recipes, the landmark solver, the light in closed form, and the compiled fit.

- `fit`: `fit_crops` (pure), `FittedFaces`
- `batches`: `fit_batches`, `compile_fit`, `over_devices`
- `crops`: `prepare_crops`, `Crops`
- `priors`: `Priors`, `FocalPrior`, `known_focal`, `usual_focal`
- `cameras`: `share_focal`, of faces that one camera saw
- `landmarks`: `fit_landmarks`, `FaceStart`
- `landmark_check`: `check_landmarks`, whether given points can be a face's
- `light`: `solve_light`, `solve_skin`
- `stages`: `Stage`, `run_stage`
- `scene`: `Scene`, what a loss term sees
- `terms`: `TERMS`, `Term`
- `surface_points`: `Seer`, `Sight`, `SurfacePoints`: what networks see besides the landmarks
- `face_data`: `Maps`, `Points`, `Numbers`: data of the user's own terms
- `ingredients`: `Ingredients`, `FeatureNetwork`: appearances and networks that a recipe names
- `networks`: `lpips_network`, `arcface_network`, `dlib_network`, `identity_network`, `encoder_network`
- `recipe`, `recipes`: `Recipe`, `DEFAULT`, `ACCELERATOR`, `LINEAR`, `LANDMARKS`, `GAR`, `RECIPES`
- `ffhq_uv`: published recipes
"""

from facejax.fitting.batches import compile_fit as compile_fit
from facejax.fitting.batches import fit_batches as fit_batches
from facejax.fitting.batches import over_devices as over_devices
from facejax.fitting.cameras import share_focal as share_focal
from facejax.fitting.crops import Crops as Crops
from facejax.fitting.crops import prepare_crops as prepare_crops
from facejax.fitting.face_data import Maps as Maps
from facejax.fitting.face_data import Numbers as Numbers
from facejax.fitting.face_data import Points as Points
from facejax.fitting.fit import FittedFaces as FittedFaces
from facejax.fitting.fit import fit_crops as fit_crops
from facejax.fitting.ingredients import FeatureNetwork as FeatureNetwork
from facejax.fitting.ingredients import Ingredients as Ingredients
from facejax.fitting.landmarks import FaceStart as FaceStart
from facejax.fitting.landmarks import fit_landmarks as fit_landmarks
from facejax.fitting.light import solve_light as solve_light
from facejax.fitting.light import solve_skin as solve_skin
from facejax.fitting.networks import arcface_network as arcface_network
from facejax.fitting.networks import dlib_network as dlib_network
from facejax.fitting.networks import encoder_network as encoder_network
from facejax.fitting.networks import identity_network as identity_network
from facejax.fitting.networks import lpips_network as lpips_network
from facejax.fitting.newton import Newton as Newton
from facejax.fitting.newton import run_newton as run_newton
from facejax.fitting.priors import FocalPrior as FocalPrior
from facejax.fitting.priors import Priors as Priors
from facejax.fitting.priors import known_focal as known_focal
from facejax.fitting.priors import usual_focal as usual_focal
from facejax.fitting.recipe import Recipe as Recipe
from facejax.fitting.recipes import ACCELERATOR as ACCELERATOR
from facejax.fitting.recipes import DEFAULT as DEFAULT
from facejax.fitting.recipes import GAR as GAR
from facejax.fitting.recipes import LANDMARKS as LANDMARKS
from facejax.fitting.recipes import LINEAR as LINEAR
from facejax.fitting.recipes import RECIPES as RECIPES
from facejax.fitting.scene import Scene as Scene
from facejax.fitting.stages import Stage as Stage
from facejax.fitting.stages import run_stage as run_stage
from facejax.fitting.surface_points import Seer as Seer
from facejax.fitting.surface_points import Sight as Sight
from facejax.fitting.surface_points import SurfacePoints as SurfacePoints
from facejax.fitting.terms import TERMS as TERMS
from facejax.fitting.terms import Term as Term
