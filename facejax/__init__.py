"""Batched, differentiable 3D face reconstruction in JAX, as pure functions.

A photo goes in; a textured 3D face, its pose and the light come out:

    model = facejax.load_face_model()
    result = facejax.fit(model, facejax.read_image("photo.jpg"))
    result.save("out")

The pieces, each usable alone: a face model (`FaceModel`, `FaceParams`, `decode`, `landmarks`), a differentiable
renderer (`render`, `Rendering`), the regressor (`regress`), and the fit (`fit`, `Recipe`, `Newton`, `Stage`). Axes
and units are in docs/conventions.md.
"""

from facejax.api import FitResult as FitResult
from facejax.api import RegressResult as RegressResult
from facejax.api import fit as fit
from facejax.api import regress as regress
from facejax.appearance import Appearance as Appearance
from facejax.export.load import LoadedFace as LoadedFace
from facejax.export.load import load_face as load_face
from facejax.export.material import load_material as load_material
from facejax.face_model import FaceModel as FaceModel
from facejax.face_model import FaceParams as FaceParams
from facejax.face_model import MorphableModel as MorphableModel
from facejax.face_model import decode as decode
from facejax.face_model import decode_albedo as decode_albedo
from facejax.face_model import landmarks as landmarks
from facejax.face_model import neutral_params as neutral_params
from facejax.face_model import neutral_vertices as neutral_vertices
from facejax.face_model.load import load_face_model as load_face_model
from facejax.fitting import ACCELERATOR as ACCELERATOR
from facejax.fitting import DEFAULT as DEFAULT
from facejax.fitting import LANDMARKS as LANDMARKS
from facejax.fitting import LINEAR as LINEAR
from facejax.fitting import Ingredients as Ingredients
from facejax.fitting import Maps as Maps
from facejax.fitting import Newton as Newton
from facejax.fitting import Numbers as Numbers
from facejax.fitting import Points as Points
from facejax.fitting import Recipe as Recipe
from facejax.fitting import Scene as Scene
from facejax.fitting import Stage as Stage
from facejax.fitting import Term as Term
from facejax.images import read_image as read_image
from facejax.images import read_landmarks as read_landmarks
from facejax.ingredients import register_appearance as register_appearance
from facejax.programs import cache_compilations as cache_compilations
from facejax.rendering import Rendering as Rendering
from facejax.rendering import render as render
