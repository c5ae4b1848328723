"""Skin maps from photographs: a complete, evenly lit material and how far it can be trusted.

| file | what lives there |
|---|---|
| `maps.py` | `skin_maps`: the material of one fitted face from its photographs, and the tools for it |
| `sight.py` | `skin_sight`: what the translator is told of one photograph |
| `eye_colors.py` | the colours of the whites of the eyes, which tell the light, and of the irises |
| `eyeballs.py` | the eyeballs, drawn at the maps' size |
| `translator.py` | `load_translator`, `translate`: the network as it is shipped |
| `training.py` | its losses and training step |
| `detail.py` | `add_detail`: from small maps to large ones, with the photograph's detail |
| `pores.py` | grain for skin that no photograph shows |
| `relief.py` | normals from detail |
"""

from facejax.skin.detail import Detailed as Detailed
from facejax.skin.detail import add_detail as add_detail
from facejax.skin.maps import NOTHING as NOTHING
from facejax.skin.maps import Keep as Keep
from facejax.skin.maps import SkinMaps as SkinMaps
from facejax.skin.maps import SkinTools as SkinTools
from facejax.skin.maps import has_skin as has_skin
from facejax.skin.maps import skin_maps as skin_maps
from facejax.skin.maps import skin_tools as skin_tools
