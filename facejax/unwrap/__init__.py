"""Photographs to textures: a fitted face's photograph in the UV layout of its model.

| file | what lives there |
|---|---|
| `texels.py` | `Texels`: where each texel of a map lies on the mesh |
| `views.py` | `unwrap_view`: one photograph of one fitted face as a `View`, with what is seen of it and its light |
| `lookup.py` | anti-aliased lookups: the average of a picture over a footprint |
| `delight.py` | the fitted light divided out of a view |
"""

from facejax.unwrap.delight import delight as delight
from facejax.unwrap.delight import delight_view as delight_view
from facejax.unwrap.texels import Texels as Texels
from facejax.unwrap.texels import mesh_texels as mesh_texels
from facejax.unwrap.views import View as View
from facejax.unwrap.views import unwrap_view as unwrap_view
