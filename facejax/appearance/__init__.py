"""What colours a face: the linear albedo of its model, the map of a texture decoder, the picture of a painter, ...

| file | what lives there |
|---|---|
| `protocol.py` | `Appearance`: what a fit, `facejax.render` and the written files ask of it; its parameter blocks |
| `surface.py` | `SurfaceAppearance`: an albedo model on the surface under spherical-harmonics light |
| `baking.py` | colours of vertices as a texture |

Albedo models are `LinearAlbedo` (facejax.face_model) and the decoders of facejax.texture; the painter is
`facejax.generative_renderer.GARAppearance`. Stages of a recipe name appearances; facejax.ingredients knows the names.
"""

from facejax.appearance.baking import bake_vertex_colors as bake_vertex_colors
from facejax.appearance.protocol import GEOMETRY as GEOMETRY
from facejax.appearance.protocol import Appearance as Appearance
from facejax.appearance.protocol import block_count as block_count
from facejax.appearance.protocol import in_order as in_order
from facejax.appearance.protocol import split_blocks as split_blocks
from facejax.appearance.protocol import zero_blocks as zero_blocks
from facejax.appearance.surface import SurfaceAppearance as SurfaceAppearance
from facejax.appearance.surface import own_appearance as own_appearance
