"""The jaw and brow landmarks where the iBUG mark-up has them; the source's own lists serve other purposes.

ICT's list has the jaw where its outline is seen from the front, on the cheek, and the brows on their upper edge. 3D
mark-ups have the jaw on the anatomical jaw line and the brows on their body (Zhu et al., "Face alignment across large
poses: a 3D solution", CVPR 2016). Order and spacing: Sagonas et al., "300 faces in-the-wild challenge", IVC 2016, who
mark photographs, so that the points of a line are evenly spaced as a frontal photograph shows them.
"""

import numpy as np

from default_head.assemble import Head
from default_head.skins import rasterise
from facejax.face_model.builder import SurfaceIndex
from facejax.face_model.surface_landmarks import MIRROR68

# The jaw line of the mean head, subject's left side, mm.
JAW_STATIONS = np.array([
    [74.8, 25.0, 18.3],    # front edge of the ear, at the height of the tragus' top
    [72.0, 5.0, 22.5],     # front edge of the ear, below the tragus
    [69.5, -17.0, 19.0],   # ear lobe, where it joins the cheek
    [60.0, -46.0, 33.0],   # angle of the jaw
    [46.0, -63.0, 55.0],   # from here the lower border of the mandible: the skin's normal points 45 to 60 degrees down
    [39.0, -67.0, 72.0],
    [30.0, -72.0, 84.0],
    [21.0, -74.5, 95.0],
    [11.0, -76.0, 101.0],
    [0.0, -77.0, 102.0],   # lowest point of the chin
])  # fmt: skip
BROW_X, BROW_Y, BROW_SKIN = (6.0, 66.0), (48.0, 66.0), (68.0, 74.0)  # mm: where the brow is, and bare skin over it
BROW_WIDTH = 1.0  # mm: standard deviation of the average across the section of a brow


def mark_up(head: Head, mean: np.ndarray, triangles: np.ndarray, weights: np.ndarray, albedo: np.ndarray):
    """The 68 landmarks with the jaw (0-16) and the brows (17-26) replaced; the others stay.

    Mirror-symmetric: the subject's left side is found, and the right side is its mirror image.

    Args:
      head: the head.
      mean: its vertices.
      triangles, weights: the landmarks so far.
      albedo: the mean map (T, T, 3).

    Returns:
      Triangles and weights.
    """
    skin = np.flatnonzero((head.face_part == 0) & (mean[head.faces, 0] >= 0).all(1))
    surface = SurfaceIndex(mean, head.faces[skin])
    triangles, weights = triangles.copy(), weights.copy()
    for ids, line in ((range(16, 7, -1), JAW_STATIONS), (range(22, 27), brow_line(head, mean, albedo))):
        for number, point in zip(ids, evenly(surface, line, len(ids)), strict=True):
            found = surface.query(point[None])
            triangles[number], weights[number] = skin[found.triangles[0]], found.weights[0]
    weights[8] *= mean[head.faces[triangles[8]], 0] == 0  # the chin lies on the midline
    weights[8] /= weights[8].sum()
    right = [*range(8), *range(17, 22)]
    triangles[right] = head.face_mirror[triangles[MIRROR68[right]]]
    weights[right] = weights[MIRROR68[right]][:, [0, 2, 1]]
    return triangles, weights


def evenly(surface: SurfaceIndex, line: np.ndarray, count: int, *, spacing: float = 0.2) -> np.ndarray:
    """(count, 3) points along a polyline on the surface, both ends included, evenly spaced in x and y.

    Args:
      surface: onto which the line is projected.
      line: the polyline.
      count: number of points.
      spacing: mm between the points that are projected.
    """
    dense = _resample(line, int(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() / spacing))
    found = surface.query(dense)
    laid = np.einsum("nk,nkc->nc", found.weights, surface.vertices[surface.faces[found.triangles]])
    return _resample(laid, count, axes=2)


def _resample(line: np.ndarray, count: int, axes: int = 3) -> np.ndarray:
    steps = np.linalg.norm(np.diff(line[:, :axes], axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, length[-1], count)
    return np.stack([np.interp(wanted, length, line[:, k]) for k in range(3)], axis=1)


def brow_line(head: Head, mean: np.ndarray, albedo: np.ndarray) -> np.ndarray:
    """(N, 3) the centre line of the left brow as painted, from its inner to its outer end.

    The body of the brow is where it is at least half as dark as at its darkest. Like the axis of any shape, the centre
    line ends half a thickness before the body does: well inside the blunt inner end, close to the tip of the tail.
    """
    texels = rasterise(head.uv[head.uv_faces], albedo.shape[:2])
    place = texels.interpolate(mean[head.faces])
    front = texels.covered & (head.face_part[texels.triangle] == 0) & (place[..., 2] > 60.0)
    x, y = place[..., 0], place[..., 1]
    near = front & (x > BROW_X[0]) & (x < BROW_X[1])
    above = near & (y > BROW_SKIN[0]) & (y < BROW_SKIN[1])
    near &= (y > BROW_Y[0]) & (y < BROW_Y[1])
    dark = np.median(albedo[above].mean(1)) - albedo[near].mean(1)
    columns, rows = np.arange(*BROW_X, 0.25), np.arange(*BROW_Y, 0.25)
    across = np.exp(-0.5 * ((columns[:, None] - x[near]) / BROW_WIDTH) ** 2)
    along = np.exp(-0.5 * ((rows[:, None] - y[near]) / BROW_WIDTH) ** 2)
    smooth = (across * dark) @ along.T / (across @ along.T)  # (columns, rows)
    body = np.where(smooth >= 0.5 * smooth.max(), smooth, 0.0)
    filled = body.any(1)
    columns, body = columns[filled], body[filled]
    thickness = 0.25 * (body > 0).sum(1)
    inside = np.minimum(columns - columns[0], columns[-1] - columns) >= 0.5 * thickness
    columns, height = columns[inside], (body @ rows / body.sum(1))[inside]
    height = np.polynomial.Polynomial.fit(columns, height, 4)(columns)  # no steps from texels
    near_line = np.exp(-0.5 * ((columns[:, None] - x[near]) ** 2 + (height[:, None] - y[near]) ** 2) / BROW_WIDTH**2)
    depth = near_line @ place[near, 2] / near_line.sum(1)
    return np.stack([columns, height, depth], axis=1)
