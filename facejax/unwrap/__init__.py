"""Photographs to textures: a fitted face's photograph in the UV layout of its model.

| file | what lives there |
|---|---|
| `texels.py` | `Texels`: where each texel of a map lies on the mesh |
| `views.py` | `unwrap_view`: one photograph of one fitted face as a `View`: colours, visible texels, light |
| `lookup.py` | anti-aliased lookups: the average of a picture over a footprint |
| `normalisation.py` | `normalise`: even light, no smile, three views, with a face generator that you supply |
| `delighting.py` | the fitted light divided out of a texture |
| `colours.py` | one map's colours matched to another's |
| `masks.py` | erosion, dilation, box blur, the soft weights with which views are pasted |
| `poisson.py` | Poisson editing of a region from a template: sparse and exact, or iterative under jit |
| `pyramid.py` | two maps blended band by band |
| `regions.py` | skin, the middle of the face, mouth and nostrils in any model's layout; templates |
| `complete.py` | `complete_texture`: several views become one complete texture |
| `photos.py` | `unwrap_face`, `unwrap_photos`: all of this for photographs of any size, with measures of quality |
| `agreement.py` | whether several views show the same person |
| `dataset.py` | which textures of many photographs are good enough for a set |
| `turned.py` | texels that no photograph shows, completed by a generator: at once, or view by view |
| `surfaces.py` | `Surface`: a mesh with landmarks and one texture layout, from a face model or from arrays |
| `retarget.py` | `correspond`, `carry_texture`: transfer a texture from one mesh's layout to another's |
| `eyeballs.py` | `add_eyeballs`: two textured spheres behind the lids |
"""

from facejax.unwrap.colours import match_colours as match_colours
from facejax.unwrap.complete import Completed as Completed
from facejax.unwrap.complete import complete_texture as complete_texture
from facejax.unwrap.delighting import delight as delight
from facejax.unwrap.eyeballs import add_eyeballs as add_eyeballs
from facejax.unwrap.eyeballs import paint_eyes as paint_eyes
from facejax.unwrap.masks import soft_weight as soft_weight
from facejax.unwrap.normalisation import Attributes as Attributes
from facejax.unwrap.normalisation import FaceEditor as FaceEditor
from facejax.unwrap.normalisation import NormalisedViews as NormalisedViews
from facejax.unwrap.normalisation import normalise as normalise
from facejax.unwrap.normalisation import pass_through as pass_through
from facejax.unwrap.photos import cut_out as cut_out
from facejax.unwrap.photos import face_layout as face_layout
from facejax.unwrap.photos import fitted_template as fitted_template
from facejax.unwrap.photos import unwrap_face as unwrap_face
from facejax.unwrap.photos import unwrap_photos as unwrap_photos
from facejax.unwrap.poisson import poisson_edit as poisson_edit
from facejax.unwrap.poisson import poisson_relax as poisson_relax
from facejax.unwrap.pyramid import pyramid_blend as pyramid_blend
from facejax.unwrap.regions import Regions as Regions
from facejax.unwrap.regions import face_regions as face_regions
from facejax.unwrap.regions import template_map as template_map
from facejax.unwrap.retarget import Correspondence as Correspondence
from facejax.unwrap.retarget import carry_texture as carry_texture
from facejax.unwrap.retarget import correspond as correspond
from facejax.unwrap.surfaces import Surface as Surface
from facejax.unwrap.surfaces import as_surface as as_surface
from facejax.unwrap.surfaces import make_surface as make_surface
from facejax.unwrap.texels import Texels as Texels
from facejax.unwrap.texels import mesh_texels as mesh_texels
from facejax.unwrap.turned import Turned as Turned
from facejax.unwrap.turned import TurnedView as TurnedView
from facejax.unwrap.turned import by_generator as by_generator
from facejax.unwrap.turned import complete_by_generator as complete_by_generator
from facejax.unwrap.turned import seen_when_turned as seen_when_turned
from facejax.unwrap.turned import turn_and_complete as turn_and_complete
from facejax.unwrap.views import View as View
from facejax.unwrap.views import unwrap_view as unwrap_view
