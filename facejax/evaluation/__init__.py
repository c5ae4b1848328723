"""Benchmark protocols and metrics, computed on the host in float64.

- `normalized_error`: `nme`, `nme_by_yaw`, `point_errors`, `YawTable`
- `annotated`: `AnnotatedFaces`, `Predictor`, `predict_faces`, `to_aflw21`
- `aflw2000`: `read_aflw2000`; `aflw`: `read_aflw`
- `tables`: `report`, `mean_offsets`, `PointReport`, `Offsets`
- `curve`: `cumulative`, `draw_cumulative`
- `surface`: `surface_distance`, `aligned_surface_distance`, `aligned_vertex_distance`
- `image`: `psnr`
- `skin_tone`: `typology_angle`, `typology_class`, `mean_lab`, `tone_errors`, `ToneErrors`
"""

from facejax.evaluation.aflw import read_aflw
from facejax.evaluation.aflw2000 import read_aflw2000
from facejax.evaluation.annotated import AnnotatedFaces, Predictor, predict_faces, to_aflw21
from facejax.evaluation.curve import cumulative, draw_cumulative
from facejax.evaluation.image import psnr
from facejax.evaluation.normalized_error import YawTable, nme, nme_by_yaw, point_errors
from facejax.evaluation.skin_tone import ToneErrors, mean_lab, tone_errors, typology_angle, typology_class
from facejax.evaluation.surface import aligned_surface_distance, aligned_vertex_distance, surface_distance
from facejax.evaluation.tables import Offsets, PointReport, mean_offsets, report

__all__ = [
    "AnnotatedFaces",
    "Offsets",
    "PointReport",
    "Predictor",
    "ToneErrors",
    "YawTable",
    "aligned_surface_distance",
    "aligned_vertex_distance",
    "cumulative",
    "draw_cumulative",
    "mean_lab",
    "mean_offsets",
    "nme",
    "nme_by_yaw",
    "point_errors",
    "predict_faces",
    "psnr",
    "read_aflw",
    "read_aflw2000",
    "report",
    "surface_distance",
    "to_aflw21",
    "tone_errors",
    "typology_angle",
    "typology_class",
]
