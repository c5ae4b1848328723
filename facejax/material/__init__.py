"""What a skin is made of, as maps in the UV layout of a face model.

| file | what lives there |
|---|---|
| `maps.py` | `Material`: albedo, normal, roughness, specular and trust; `PhotoLayer`: the photograph as unwrapped |
"""

from facejax.material.maps import Material as Material
from facejax.material.maps import PhotoLayer as PhotoLayer
