"""The differentiable renderer: visibility, interpolation, texture, light and soft edges, in plain JAX.

| file | what lives there |
|---|---|
| `interpolate.py` | perspective-correct barycentrics, depth and attributes at each pixel |
| `texture.py` | bilinear texture lookup |
| `edges.py` | outline crossings and the blending across them: the gradient of silhouettes and self-occlusions |
| `mesh.py` | `render_mesh`, from camera-space vertices to a `Rendering`; `repaint` changes its albedo and light |
| `face.py` | `render`, from `FaceModel` and `FaceParams` to a `Rendering` |
| `softras.py` | the SoftRas formula, a slow reference |

`facejax.kernels` finds the visible triangles.
"""

from facejax.rendering.edges import antialias, find_crossings
from facejax.rendering.face import render
from facejax.rendering.interpolation import interpolate, interpolate_corners
from facejax.rendering.mesh import Rendering, rasterize, render_mesh, repaint
from facejax.rendering.texture import sample_texture

__all__ = [
    "Rendering",
    "antialias",
    "find_crossings",
    "interpolate",
    "interpolate_corners",
    "rasterize",
    "render",
    "render_mesh",
    "repaint",
    "sample_texture",
]
