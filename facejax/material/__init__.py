"""What a skin is made of, as maps in the UV layout of a face model, and pictures of it.

| file | what lives there |
|---|---|
| `maps.py` | `Material`: albedo, normal, roughness, specular and trust; `PhotoLayer`: the photograph as unwrapped |
| `brdf.py` | how skin reflects: GGX, Blinn-Phong, the diffuse layer below, light that travels in it |
| `normals.py` | tangent frames of a texture layout; normal maps, also from relief |
| `environment.py` | `Environment`: surroundings as harmonics and blurred maps |
| `lamps.py` | `Lamps`, distant or at points, and their shadows |
| `draw.py` | `render_material`: a face in its maps |
| `relight.py` | `relight_strip`: a face under five fixed lights |
"""

from facejax.material.draw import render_material
from facejax.material.environment import Environment, make_environment
from facejax.material.lamps import Lamps, distant_lamps, point_lamps
from facejax.material.maps import Material, PhotoLayer
from facejax.material.relight import relight_strip

__all__ = [
    "Environment",
    "Lamps",
    "Material",
    "PhotoLayer",
    "distant_lamps",
    "make_environment",
    "point_lamps",
    "relight_strip",
    "render_material",
]
