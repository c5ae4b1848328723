"""Converters between the cameras, poses and lights of other libraries and ours, one for each difference.

All are pure functions of one face, to be vmapped. Poses map from *the other library's model space, with its own axes
but in millimetres*, to our camera space (x to the viewer's right, y up, the camera looks along -z). So a model loaded
in millimetres projects to the same pixels as in the library that the numbers come from. Pixels are ours: (0, 0) is the
image's top-left corner. docs/conventions.md has the table.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from facejax.camera import (
    PerspectiveCamera,
    Pose,
    WeakPerspectiveCamera,
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    quaternion_multiply,
    quaternion_to_matrix,
)

Value = Array | np.ndarray

_OPENCV_AXES = (1.0, -1.0, -1.0)  # x right, y down, z forward
_PYTORCH3D_AXES = (-1.0, 1.0, -1.0)  # x left, y up, z forward
_METRE = 1000.0  # mm


# --- OpenCV -----------------------------------------------------------------------------------------------------------


def from_opencv(
    rvec: Float[Value, " 3"], tvec: Float[Value, " 3"], camera_matrix: Float[Value, "3 3"], *, unit: float = 1.0
) -> tuple[Pose, PerspectiveCamera]:
    """From OpenCV's `solvePnP` and `projectPoints`: `p = K (R(rvec) X + tvec)`, with the first pixel's centre at (0,
    0).

    Args:
      rvec, tvec: axis-angle and translation.
      camera_matrix: K. Lens distortion has no counterpart here: undistort the points first.
      unit: mm per unit of X and tvec.

    Returns:
      Pose and camera.

    Raises ValueError for pixels that are not square (fx and fy more than 0.1 % apart) or a skew.
    """
    matrix = jnp.asarray(camera_matrix)
    if _known(matrix) and abs(float(matrix[0, 1])) > 1e-3 * float(matrix[0, 0]):
        raise ValueError("the camera matrix has a skew: rectify the image first")
    axes = jnp.asarray(_OPENCV_AXES, matrix.dtype)
    rotation = axes[:, None] * quaternion_to_matrix(axis_angle_to_quaternion(jnp.asarray(rvec)))
    pose = Pose(matrix_to_quaternion(rotation), axes * jnp.asarray(tvec) * unit)
    return pose, PerspectiveCamera(_one_focal(matrix[0, 0], matrix[1, 1]), matrix[:2, 2] + 0.5)


def to_opencv(
    pose: Pose, camera: PerspectiveCamera, *, unit: float = 1.0
) -> tuple[Float[Array, " 3"], Float[Array, " 3"], Float[Array, "3 3"]]:
    """(rvec, tvec, camera_matrix) for OpenCV; the inverse of `from_opencv`."""
    axes = jnp.asarray(_OPENCV_AXES, pose.translation.dtype)
    rotation = axes[:, None] * quaternion_to_matrix(pose.rotation)
    x, y = camera.principal[0] - 0.5, camera.principal[1] - 0.5
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    rows = [[camera.focal, zero, x], [zero, camera.focal, y], [zero, zero, one]]
    matrix = jnp.stack([jnp.stack(row) for row in rows])
    return _quaternion_to_axis_angle(matrix_to_quaternion(rotation)), axes * pose.translation / unit, matrix


# --- PyTorch3D --------------------------------------------------------------------------------------------------------


def from_pytorch3d(
    rotation: Float[Value, "3 3"],
    translation: Float[Value, " 3"],
    focal: Float[Value, " 2"],
    principal: Float[Value, " 2"],
    image_size: tuple[int, int],
    *,
    in_ndc: bool = True,
    unit: float = 1.0,
) -> tuple[Pose, PerspectiveCamera]:
    """From PyTorch3D's `PerspectiveCameras`: `X_view = X R + T` with rows as points, x left, y up, z forward.

    Args:
      rotation, translation: R and T.
      focal, principal: in NDC, where the shorter side spans [-1, 1], x to the left and y up.
      image_size: (height, width).
      in_ndc: False if focal and principal are in pixels with (0, 0) at the corner, as ours.
      unit: mm per unit of X and T.

    Returns:
      Pose and camera.
    """
    height, width = image_size
    focal, principal = jnp.asarray(focal), jnp.asarray(principal)
    if in_ndc:
        half = 0.5 * min(height, width)
        focal = half * focal
        principal = jnp.asarray([0.5 * width, 0.5 * height], principal.dtype) - half * principal
    axes = jnp.asarray(_PYTORCH3D_AXES, focal.dtype)
    matrix = axes[:, None] * jnp.asarray(rotation).T
    pose = Pose(matrix_to_quaternion(matrix), axes * jnp.asarray(translation) * unit)
    return pose, PerspectiveCamera(_one_focal(focal[0], focal[1]), principal)


def to_pytorch3d(
    pose: Pose, camera: PerspectiveCamera, image_size: tuple[int, int], *, unit: float = 1.0
) -> tuple[Float[Array, "3 3"], Float[Array, " 3"], Float[Array, " 2"], Float[Array, " 2"]]:
    """The inverse of `from_pytorch3d`, in NDC.

    Args:
      pose, camera: ours.
      image_size: (height, width).
      unit: mm per unit of X and T.

    Returns:
      (R, T, focal, principal) for `PerspectiveCameras`.
    """
    height, width = image_size
    half = 0.5 * min(height, width)
    axes = jnp.asarray(_PYTORCH3D_AXES, pose.translation.dtype)
    rotation = (axes[:, None] * quaternion_to_matrix(pose.rotation)).T
    centre = jnp.asarray([0.5 * width, 0.5 * height], camera.principal.dtype)
    focal = jnp.stack([camera.focal, camera.focal]) / half
    return rotation, axes * pose.translation / unit, focal, (centre - camera.principal) / half


# --- Deep3DFaceRecon and FFHQ-UV --------------------------------------------------------------------------------------

DEEP3D_SIZE = 224


def from_deep3d(
    angles: Float[Value, " 3"], translation: Float[Value, " 3"], *, unit: float = 100.0, landmark_pixels: bool = False
) -> tuple[Pose, PerspectiveCamera]:
    """From Deep3DFaceRecon's `angle` and `trans` (also FFHQ-UV's and HRN's), for its 224 x 224 image.

    There `X = S (Rz Ry Rx)^T + t` with rows as points; the camera at z = 10 looks back at the face, with focal length
    1015 and centre 112. One unit is about 100 mm. Its rendered images and its landmarks disagree by half a pixel.

    Args:
      angles, translation: `angle` and `trans`.
      unit: mm per unit.
      landmark_pixels: False gives the renderer's camera. True gives the camera of the landmarks, `(u, 223 - v)` as
        0-based pixel centres (v counts upwards in its landmark files: row = 223 - v).

    Returns:
      Pose and camera.
    """
    angles = jnp.asarray(angles)
    qx, qy, qz = axis_angle_to_quaternion(jnp.diag(angles))  # one rotation vector per axis
    rotation = quaternion_multiply(qz, quaternion_multiply(qy, qx))
    away = jnp.asarray([0.0, 0.0, 10.0], angles.dtype)
    centre = [112.5, 111.5] if landmark_pixels else [112.0, 112.0]
    camera = PerspectiveCamera(jnp.asarray(1015.0, angles.dtype), jnp.asarray(centre, angles.dtype))
    return Pose(rotation, unit * (jnp.asarray(translation) - away)), camera


def from_deep3d_light(gamma: Float[Value, "3 9"], *, ambient: float = 0.8) -> Float[Array, "9 3"]:
    """From Deep3DFaceRecon's `gamma` (channel, band), to which that library adds 0.8 in band 0 before use.

    Same order as ours; its basis functions are pi, sqrt(3) pi and sqrt(8) pi times ours in the three bands, with the
    sign of every second one flipped. Pass `ambient=0` for values that already include the 0.8. It lights display
    values: multiply display albedo by the shading and apply no sRGB curve.
    """
    coefficients = jnp.asarray(gamma).T.at[0].add(ambient)
    return coefficients * jnp.asarray(_DEEP3D_RATIO, coefficients.dtype)[:, None]


_DEEP3D_RATIO = (
    np.array([1, *[math.sqrt(3)] * 3, *[math.sqrt(8)] * 5]) * np.array([1, -1, 1, -1, 1, -1, 1, -1, 1]) * math.pi
)


# --- DECA -------------------------------------------------------------------------------------------------------------


def from_deca(
    camera_code: Float[Value, " 3"],
    global_pose: Float[Value, " 3"],
    *,
    root: Float[Value, " 3"] | None = None,
    image_size: int = 224,
    distance: float = 1000.0,
) -> tuple[Pose, WeakPerspectiveCamera]:
    """From DECA's `cam` (scale, tx, ty) and the first three numbers of `pose`, for its square crop.

    There `ndc = scale * (X + t)` of FLAME's posed vertices in metres, then y is negated, and [-1, 1] spans the image.

    Args:
      camera_code: `cam`.
      global_pose: axis-angle about FLAME's root joint.
      root: of that joint, metres. None: the origin; then give vertices relative to the joint.
      image_size: pixels per side of the crop.
      distance: mm. Depth does not matter to this camera; the distance only keeps it positive.

    Returns:
      Pose and camera.
    """
    code, turn = jnp.asarray(camera_code), jnp.asarray(global_pose)
    rotation = axis_angle_to_quaternion(turn)
    shift = jnp.concatenate([code[1:], jnp.zeros((1,), code.dtype)])
    if root is not None:
        joint = jnp.asarray(root)
        shift = shift + joint - quaternion_to_matrix(rotation) @ joint
    half = 0.5 * image_size
    away = jnp.asarray([0.0, 0.0, distance], code.dtype)
    camera = WeakPerspectiveCamera(code[0] * half / _METRE, jnp.full((2,), half, code.dtype))
    return Pose(rotation, _METRE * shift - away), camera


def from_deca_light(light: Float[Value, "9 3"]) -> Float[Array, "9 3"]:
    """From DECA's `light` (band, channel), in the order 1, x, y, z, xy, xz, yz, x^2 - y^2, 3z^2 - 1.

    Its normals are those of the posed head in our camera's axes. Its basis functions are ours times pi, except the
    constant one. It lights display values: no sRGB curve.
    """
    values = jnp.asarray(light)[jnp.asarray(_DECA_ORDER)]
    return values * jnp.asarray(_DECA_RATIO, values.dtype)[:, None]


_DECA_ORDER = np.array([0, 2, 3, 1, 4, 6, 8, 5, 7])  # its index of 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2
_DECA_RATIO = np.array([1.0, *[math.pi] * 8])


# --- DPR --------------------------------------------------------------------------------------------------------------


def from_dpr_light(light: Float[Value, " 9"]) -> Float[Array, "9 3"]:
    """From DPR's grey light of a portrait (`facejax.nets.apply_dpr`), for display values.

    In its frame x points right, z up and y away from the viewer; its basis functions are pi times ours.
    """
    grey = jnp.asarray(_DPR_TURN) @ jnp.asarray(light) * math.pi
    return jnp.repeat(grey[:, None], 3, axis=1)


_DPR_TURN = np.zeros((9, 9))  # (ours, theirs): our y is their z, our z their -y
_DPR_TURN[[0, 1, 2, 3, 4, 5, 7], [0, 2, 1, 3, 7, 5, 4]] = (1, 1, -1, 1, 1, -1, -1)
_DPR_TURN[6, [6, 8]] = (-0.5, -math.sqrt(3) / 2)
_DPR_TURN[8, [6, 8]] = (-math.sqrt(3) / 2, 0.5)


# --- 3DDFA, 2DASL, 300W-LP, AFLW2000-3D ------------------------------------------------------------------------------


def from_3ddfa(
    pose_matrix: Float[Value, "3 4"],
    *,
    size: int = 120,
    unit: float = 1e-3,
    origin: float = 1.0,
    distance: float = 1000.0,
) -> tuple[Pose, WeakPerspectiveCamera]:
    """From the 12 pose numbers of 3DDFA (un-whitened, as a 3 x 4 matrix [P | t]), for its `size` x `size` crop.

    There `p = P X + t` of Basel vertices, then y becomes `size + 1 - y`. P need not be a scaled rotation, but our pose
    must be: it is the closest one to P's first two rows, exact when P = f R.

    Args:
      pose_matrix: [P | t].
      size: pixels per side of the crop.
      unit: mm per unit of X; the default is for micrometres.
      origin: coordinate of the first pixel's centre: 1 as in MATLAB (3DDFA_V2 subtracts the 1, 3DDFA does not).
      distance: mm; the depth of our pose, since its z translation is dropped.

    Returns:
      Pose and camera.
    """
    matrix = jnp.asarray(pose_matrix)
    u, singular, vt = jnp.linalg.svd(matrix[:2, :3], full_matrices=False)
    rows = u @ vt
    rotation = jnp.concatenate([rows, jnp.cross(rows[0], rows[1])[None]])
    scale = jnp.mean(singular) / unit  # pixels per mm
    return _upward_image(matrix_to_quaternion(rotation), scale, matrix[:2, 3], size, origin, distance)


def from_300wlp(
    pose_para: Float[Value, " 7"],
    *,
    size: int = 450,
    unit: float = 1e-3,
    origin: float = 1.0,
    distance: float = 1000.0,
) -> tuple[Pose, WeakPerspectiveCamera]:
    """From `Pose_Para` of 300W-LP and AFLW2000-3D: pitch, yaw, roll (radians), tx, ty, tz, scale.

    There `p = scale R X + t` of Basel vertices, with R = Rx(-pitch) Ry(-yaw) Rz(-roll) in our signs (so positive yaw
    turns the nose to the viewer's left), and y becomes `size + 1 - y`.

    Args:
      pose_para: the seven numbers.
      size: pixels per side of the image.
      unit: mm per unit of X; the default is for micrometres.
      origin: coordinate of the first pixel's centre.
      distance: mm; the depth of our pose.

    Returns:
      Pose and camera.
    """
    values = jnp.asarray(pose_para)
    qx, qy, qz = axis_angle_to_quaternion(-jnp.diag(values[:3]))
    rotation = quaternion_multiply(qx, quaternion_multiply(qy, qz))
    return _upward_image(rotation, values[6] / unit, values[3:5], size, origin, distance)


def _upward_image(
    rotation: Array, scale: Array, shift: Array, size: int, origin: float, distance: float
) -> tuple[Pose, WeakPerspectiveCamera]:
    """The camera with x = scale X + shift[0], and y = size + 1 - (scale Y + shift[1]), in pixels from `origin`."""
    half = 0.5 * size
    x = shift[0] + 0.5 - origin - half
    y = shift[1] - (size + 1.0) - 0.5 + origin + half
    translation = jnp.stack([x / scale, y / scale, jnp.full_like(x, -distance)])
    return Pose(rotation, translation), WeakPerspectiveCamera(scale, jnp.full((2,), half, scale.dtype))


# --- shared -----------------------------------------------------------------------------------------------------------


def _known(value: Array) -> bool:
    """Whether the value is concrete, which it is not inside jit, vmap and grad."""
    return not isinstance(value, Tracer)


def _one_focal(horizontal: Array, vertical: Array) -> Array:
    """The one focal length of square pixels."""
    if _known(horizontal) and abs(float(horizontal / vertical) - 1.0) > 1e-3:
        both = f"{float(horizontal):.6g} and {float(vertical):.6g}"
        raise ValueError(f"the focal lengths {both} differ: resample the image to square pixels")
    return 0.5 * (horizontal + vertical)


def _quaternion_to_axis_angle(quaternion: Float[Array, "4"]) -> Float[Array, "3"]:
    """Rotation vector (radians, at most pi long) of a unit quaternion with w >= 0; finite gradient at the identity."""
    w, v = quaternion[0], quaternion[1:]
    square = jnp.sum(v * v)
    small = square < 1e-12
    sine = jnp.sqrt(jnp.where(small, 1.0, square))
    factor = jnp.where(small, 2.0, 2.0 * jnp.arctan2(sine, w) / sine)
    return factor * v
