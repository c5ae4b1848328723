"""Skin maps from photographs: a complete, evenly lit material and how far it can be trusted.

| file | what lives there |
|---|---|
| `detail.py` | `add_detail`: small maps brought to full size with the photograph's detail; `rim` |
| `pores.py` | `Grain`, `skin_grain`: pores and freckles for skin that no photograph shows |
| `relief.py` | `detail_normals`: fine relief as a normal map |
"""
