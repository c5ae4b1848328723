"""Skin maps from photographs: a complete, evenly lit material and how far it can be trusted.

| file | what lives there |
|---|---|
| `maps.py` | `skin_maps`: the material of one fitted face from its photograph |
| `sight.py` | what the translator is told of a photograph |
| `translator.py` | the shipped translator: small maps of a skin |
| `training.py` | losses and step of its training |
| `detail.py` | `add_detail`: small maps brought to full size with the photograph's detail; `rim` |
| `pores.py` | `Grain`, `skin_grain`: pores and freckles for skin that no photograph shows |
| `relief.py` | `detail_normals`: fine relief as a normal map |
"""
