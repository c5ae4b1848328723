"""Writing files and pictures.

- `atomic`: `atomic_path`, `write_text`
- `obj`: `write_obj`
- `glb`: `write_glb`
- `ply`: `write_ply`
- `material`: `save_material`, `load_material`
- `face_model`: `save_face_model`
- `params`: `save_params`, `load_params`
- `pictures`: `to_uint8`, `write_png`, `panels`, `draw_landmarks`, `alpha_over`
- `regressed`: `save_regression`
- `stages`: `write_stages`
- `summary`: `write_summary`, `versions`
"""

from facejax.appearance import bake_vertex_colors
from facejax.atomic import atomic_path, write_text
from facejax.export.face_model import save_face_model
from facejax.export.glb import write_glb
from facejax.export.material import load_material, save_material
from facejax.export.obj import write_obj
from facejax.export.params import load_params, save_params
from facejax.export.pictures import alpha_over, draw_landmarks, panels, to_uint8, write_png
from facejax.export.ply import write_ply
from facejax.export.regressed import save_regression
from facejax.export.summary import versions, write_summary

__all__ = [
    "alpha_over",
    "atomic_path",
    "bake_vertex_colors",
    "draw_landmarks",
    "load_material",
    "load_params",
    "panels",
    "save_face_model",
    "save_material",
    "save_params",
    "save_regression",
    "to_uint8",
    "versions",
    "write_glb",
    "write_obj",
    "write_ply",
    "write_png",
    "write_summary",
    "write_text",
]
