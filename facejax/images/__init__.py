"""Reading photographs and landmark files, finding faces, cropping.

- `read`: `read_image`, `as_photo`
- `sources`: `list_sources`, `list_photos` from folders, lists, archives and Parquet tables
- `photo`: `Photo`, where one photograph is
- `landmark_files`: `read_landmarks`, `find_landmarks`
- `box_files`: `read_boxes`, `box_of`
- `detect`: `detect_faces`
- `crop`: `Crop`, `face_crop`, `apply_crop`
- `lens`: `Lens`, `lens_of`, what a file says of its focal length
- `align`: `align_face`, a differentiable crop aligned by five points
"""

from facejax.images.align import align_face
from facejax.images.box_files import box_of, read_boxes
from facejax.images.crop import Crop, apply_crop, face_crop
from facejax.images.detect import detect_faces
from facejax.images.landmark_files import find_landmarks, read_landmarks
from facejax.images.lens import Lens, given_lens, lens_of
from facejax.images.photo import Photo
from facejax.images.read import as_photo, read_image
from facejax.images.sources import LeftOut, Listing, list_photos, list_sources

__all__ = [
    "Crop",
    "LeftOut",
    "Lens",
    "Listing",
    "Photo",
    "align_face",
    "apply_crop",
    "as_photo",
    "box_of",
    "detect_faces",
    "face_crop",
    "find_landmarks",
    "given_lens",
    "lens_of",
    "list_photos",
    "list_sources",
    "read_boxes",
    "read_image",
    "read_landmarks",
]
