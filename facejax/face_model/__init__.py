"""The face model: which shapes and colours a face can have.

- `model`: `FaceModel`, `FaceParams`
- `decoding`: `decode`
- `gaze`: the direction of the eyeballs
- `morphable`: `MorphableModel`, `LinearAlbedo`, `decode_albedo`
- `surface_landmarks`: the 68 points on the surface
- `make`, `load`, `formats`: from arrays and files
- `texture_layout`: texture coordinates for models without any
- `builder`: new models from scans
"""

from facejax.face_model.decoding import decode as decode
from facejax.face_model.decoding import neutral_vertices as neutral_vertices
from facejax.face_model.gaze import gaze_direction as gaze_direction
from facejax.face_model.gaze import gaze_to_weights as gaze_to_weights
from facejax.face_model.gaze import weights_to_gaze as weights_to_gaze
from facejax.face_model.make import make_face_model as make_face_model
from facejax.face_model.model import FaceModel as FaceModel
from facejax.face_model.model import FaceParams as FaceParams
from facejax.face_model.model import Topology as Topology
from facejax.face_model.morphable import AlbedoModel as AlbedoModel
from facejax.face_model.morphable import LinearAlbedo as LinearAlbedo
from facejax.face_model.morphable import MorphableModel as MorphableModel
from facejax.face_model.morphable import decode_albedo as decode_albedo
from facejax.face_model.morphable import neutral_params as neutral_params
from facejax.face_model.morphable import own_albedo as own_albedo
from facejax.face_model.morphable import truncate as truncate
from facejax.face_model.surface_landmarks import landmarks as landmarks
