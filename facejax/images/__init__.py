"""Photographs in: reading, landmark files, crops.

- `read`: `read_image`
- `landmark_files`: `read_landmarks`, `find_landmarks`
- `crop`: `Crop`, `face_crop`, `apply_crop`
"""

from facejax.images.crop import Crop, apply_crop, face_crop
from facejax.images.landmark_files import find_landmarks, read_landmarks
from facejax.images.read import read_image

__all__ = ["Crop", "apply_crop", "face_crop", "find_landmarks", "read_image", "read_landmarks"]
