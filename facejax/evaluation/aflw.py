"""AFLW: crops of faces with up to 21 hand-clicked points; hidden points are missing.

Koestinger et al., "Annotated facial landmarks in the wild", ICCV-W 2011; the crops and yaw angles are those of 3DDFA's
benchmark. Each crop was cut at `roi_box`, a square around the 68 points of a 3D fit. Its side is sqrt(2) times the
longer side of the points' box.
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from facejax.evaluation.annotated import AnnotatedFaces

SIDE = 120  # pixels of a crop
# sqrt(width * height) over the longer side of the 68 points' box: the mean over AFLW2000-3D, which has both. It is
# between 0.94 (profiles) and 0.97 by yaw, and varies by 0.03 from face to face.
ASPECT = 0.96


def read_aflw(folder: str | Path) -> AnnotatedFaces:
    """The faces of a folder with aflw_crops_jpeg.npz and aflw_crops_labels.npz, in pixels of the crops.

    The files lack the 68 points of these faces. So the box is the square from which the crop was cut, without its
    margin, and errors are divided by its side times `ASPECT`. Faces without a visible point are left out.

    Raises FileNotFoundError or ValueError with the path and the fix.
    """
    folder = Path(folder)
    labels = _load(folder / "aflw_crops_labels.npz", ("name", "pts21_crop", "visible", "yaw_deg"))
    jpegs = _load(folder / "aflw_crops_jpeg.npz", ("jpeg_bytes", "offsets", "name"))
    if not np.array_equal(labels["name"], jpegs["name"]):
        raise ValueError(f"{folder}: the two files list different faces; download both from the same source")
    count = len(labels["name"])
    points = np.where(labels["visible"][..., None], labels["pts21_crop"] + 0.5, np.nan)  # 0-based pixel centres
    half = SIDE / np.sqrt(8.0)
    boxes = np.tile([SIDE / 2 - half, SIDE / 2 - half, SIDE / 2 + half, SIDE / 2 + half], (count, 1))
    stored, offsets = jpegs["jpeg_bytes"], jpegs["offsets"]
    seen = np.asarray(np.isfinite(points).all(axis=-1).sum(axis=1) > 0)
    faces = AnnotatedFaces(
        names=tuple(str(name) for name in labels["name"]),
        points={"21": points.astype(np.float64)},
        boxes=boxes,
        sizes=np.full(count, ASPECT * 2 * half),
        yaw=labels["yaw_deg"].astype(np.float64),
        rotations=None,
        read=lambda row: _decode(stored[offsets[row] : offsets[row + 1]]),
        choices={
            "data": f"AFLW, {int(seen.sum())} crops",
            "labels": "AFLW's clicked points, visible ones (21)",
            "box": f"the crop without its margin; its side times {ASPECT} to divide by, close to the 68 points' box",
        },
    )
    return faces.rows(seen)


def _decode(jpeg: UInt8[np.ndarray, " N"]) -> Float[np.ndarray, "H W 3"]:
    with Image.open(io.BytesIO(jpeg.tobytes())) as file:
        return np.asarray(file.convert("RGB"), np.float32) / 255.0


def _load(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; pass the folder that holds it")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in names if name not in file.files]
        if missing:
            raise ValueError(f"{path}: lacks {', '.join(missing)}")
        return {name: file[name] for name in names}
