"""The linear face model: which shapes a face can have (`FaceModel`), and what this face is (`FaceParams`).

Lengths are millimetres; +x is the subject's left, +y up, +z out of the face. What colours the shape is an appearance:
the linear albedo of the model's own file (`facejax.face_model.morphable`), or another one (`facejax.appearance`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
from jaxtyping import Array, Float, Int

from facejax.camera import Camera, Pose


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Topology:
    """The integer arrays of a face model, kept apart so that the float leaves can be differentiated on their own."""

    faces: Int[Array, "F 3"]  # counter-clockwise seen from outside
    uv_faces: Int[Array, "F 3"]  # rows of FaceModel.uv, corner by corner
    neighbors: Int[Array, "F 3"]  # the face across the edge from corner k to k + 1; -1 at a border
    face_part: Int[Array, " F"]  # position in FaceModel.part_names
    mirror: Int[Array, " V"]  # the vertex on the other side; itself on the midline
    landmark_faces: Int[Array, " L"]  # triangle of each landmark (68 in the iBUG order, or 0: unknown)
    contour_faces: Int[Array, "J C"]  # triangles of the candidates of each moving jaw landmark


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceModel:
    """The shapes of a linear 3D morphable model: `vertices = mean + identity + expression`, with texture layout and
    landmarks. Geometry only: see `MorphableModel` for one with colours.

    Coefficient k moves the vertices by `std[k] * basis[k]`; so it counts standard deviations where the model is
    statistical, and is a weight in [0, 1] for named blendshapes (whose std is 1).
    """

    mean: Float[Array, "V 3"]  # mm
    identity_basis: Float[Array, "K V 3"]
    identity_std: Float[Array, " K"]
    expression_basis: Float[Array, "E V 3"]
    expression_std: Float[Array, " E"]
    uv: Float[Array, "U 2"]  # u right, v up, (0, 0) the lower-left corner
    landmark_weights: Float[Array, "L 3"]  # barycentric
    contour_weights: Float[Array, "J C 3"]  # barycentric; candidate 0 is the static landmark
    contour_direction: Float[Array, "J 2"]  # outward direction of the face outline at each jaw landmark, in x and y
    regions: dict[str, Float[Array, " V"]]  # named masks in [0, 1]
    topology: Topology
    name: str = field(metadata={"static": True})
    part_names: tuple[str, ...] = field(metadata={"static": True})
    identity_names: tuple[str, ...] = field(metadata={"static": True})
    expression_names: tuple[str, ...] = field(metadata={"static": True})
    blendshapes: bool = field(metadata={"static": True})  # expression coefficients are weights in [0, 1]

    @property
    def faces(self) -> Int[Array, "F 3"]:
        return self.topology.faces


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceParams:
    """The parameters of a face. Every leaf may have leading batch axes; the functions below take one face."""

    identity: Float[Array, "*B K"]  # standard deviations
    expression: Float[Array, "*B E"]  # standard deviations, or weights in [0, 1]
    appearance: Mapping[str, Array]  # the blocks of the appearance that colours it: {"albedo": (A,)} for a linear one
    pose: Pose
    camera: Camera
    light: Float[Array, "*B 9 3"]  # spherical harmonics in camera space, see facejax.lighting
    # (yaw, pitch) of the right and the left eye, radians, see facejax.face_model.gaze. None: the eyes are as the
    # expression has them; so for all models without eyeballs.
    gaze: Float[Array, "*B 2 2"] | None = None


def combine(coefficients: Float[Array, " N"], std: Array, basis: Array, label: str) -> Array:
    """The linear combination `sum_k c_k std_k basis_k`.

    Args:
        coefficients: c; fewer than the components leave the rest at zero.
        std, basis: (K,) and (K, ...).
        label: what errors call the coefficients.

    Raises ValueError for more coefficients than components.
    """
    count = coefficients.shape[0]
    if count > basis.shape[0]:
        raise ValueError(f"{count} {label} coefficients, but the model has {basis.shape[0]}: pass at most that many")
    flat = basis[:count].reshape(
        count, math.prod(basis.shape[1:])
    )  # as a matrix XLA's transpose of the product is as fast as the product
    return ((coefficients * std[:count]) @ flat).reshape(basis.shape[1:])
