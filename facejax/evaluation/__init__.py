"""Protocols and metrics, computed on the host in float64.

- `nme`: `nme`, `nme_by_yaw`, `YawTable`
- `surface`: `surface_distance`, `aligned_surface_distance`, `aligned_vertex_distance`
- `image`: `psnr`
"""

from facejax.evaluation.image import psnr
from facejax.evaluation.nme import YawTable, nme, nme_by_yaw
from facejax.evaluation.surface import aligned_surface_distance, aligned_vertex_distance, surface_distance

__all__ = [
    "YawTable",
    "aligned_surface_distance",
    "aligned_vertex_distance",
    "nme",
    "nme_by_yaw",
    "psnr",
    "surface_distance",
]
