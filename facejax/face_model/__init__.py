"""The face model: its types and decoder (model), landmarks, file formats, and the model builder."""

from facejax.face_model.make import make_face_model as make_face_model
from facejax.face_model.model import AlbedoModel as AlbedoModel
from facejax.face_model.model import FaceModel as FaceModel
from facejax.face_model.model import FaceParams as FaceParams
from facejax.face_model.model import LinearAlbedo as LinearAlbedo
from facejax.face_model.model import Topology as Topology
from facejax.face_model.model import decode as decode
from facejax.face_model.model import decode_albedo as decode_albedo
from facejax.face_model.model import neutral_params as neutral_params
from facejax.face_model.model import neutral_vertices as neutral_vertices
from facejax.face_model.model import truncate as truncate
from facejax.face_model.surface_landmarks import landmarks as landmarks
