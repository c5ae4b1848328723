"""The linear face model: what a face can be (`FaceModel`), what this face is (`FaceParams`), and the decoder.

Lengths are millimetres; +x is the subject's left, +y up, +z out of the face.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from facejax.camera import Camera, Pose
from facejax.lighting import uniform_light


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Topology:
    """The integer arrays of a face model. Kept apart so that the float leaves can be differentiated on their own."""

    faces: Int[Array, "F 3"]  # counter-clockwise seen from outside
    uv_faces: Int[Array, "F 3"]  # rows of FaceModel.uv, corner by corner
    neighbors: Int[Array, "F 3"]  # the face across the edge from corner k to k + 1; -1 at a border
    face_part: Int[Array, " F"]  # position in FaceModel.part_names
    mirror: Int[Array, " V"]  # the vertex on the other side; itself on the midline
    landmark_faces: Int[Array, " L"]  # triangle of each landmark (68 in the iBUG order, or 0: unknown)
    contour_faces: Int[Array, "J C"]  # triangles of the candidates of each moving jaw landmark


@runtime_checkable
class AlbedoModel(Protocol):
    """Diffuse colour from coefficients: the linear model below, a texture decoder, or your own (a pytree)."""

    @property
    def count(self) -> int:
        """How many coefficients `decode` takes."""
        ...

    def decode(self, coefficients: Float[Array, " A"]) -> Float[Array, "*S 3"]:
        """Display (sRGB) values, not clipped: per vertex (V, 3), or a UV map (T, T, 3) with row 0 on top."""
        ...

    def encode(self, albedo: Float[Array, "*S 3"]) -> Float[Array, " A"]:
        """Coefficients whose albedo is near this one, in closed form: where a fit begins."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearAlbedo:
    """Diffuse colour as a mean and a basis, display (sRGB) values in [0, 1].

    Per vertex (*S = V) or as UV maps, row 0 on top (*S = T T).
    """

    mean: Float[Array, "*S 3"]
    basis: Float[Array, "A *S 3"]
    std: Float[Array, " A"]

    @property
    def per_vertex(self) -> bool:
        return self.mean.ndim == 2

    @property
    def count(self) -> int:
        return self.basis.shape[0]

    def decode(self, coefficients: Float[Array, " A"]) -> Float[Array, "*S 3"]:
        """Mean plus basis, not clipped. Fewer coefficients than components leave the rest at zero."""
        return self.mean + _combine(coefficients, self.std, self.basis, "albedo")

    def encode(self, albedo: Float[Array, "*S 3"]) -> Float[Array, " A"]:
        """The least squares coefficients, held a little towards zero."""
        flat = self.basis.reshape(self.count, -1) * self.std[:, None]
        gram = flat @ flat.T
        ridge = 1e-3 * jnp.trace(gram) / max(self.count, 1) * jnp.eye(self.count)
        return jnp.linalg.solve(gram + ridge, flat @ (albedo - self.mean).reshape(-1))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceModel:
    """A linear 3D morphable model: `vertices = mean + identity + expression`, with its texture layout and landmarks.

    Coefficient k moves the vertices by `std[k] * basis[k]`; so it counts standard deviations where the model is
    statistical, and is a weight in [0, 1] for named blendshapes (whose std is 1).
    """

    mean: Float[Array, "V 3"]  # mm
    identity_basis: Float[Array, "K V 3"]
    identity_std: Float[Array, " K"]
    expression_basis: Float[Array, "E V 3"]
    expression_std: Float[Array, " E"]
    albedo: AlbedoModel | None
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
    """What this face is. Every leaf may carry leading batch axes; the functions below take one face."""

    identity: Float[Array, "*B K"]  # standard deviations
    expression: Float[Array, "*B E"]  # standard deviations, or weights in [0, 1]
    albedo: Float[Array, "*B A"]  # standard deviations, or what else the model's albedo takes
    pose: Pose
    camera: Camera
    light: Float[Array, "*B 9 3"]  # spherical harmonics in camera space, see facejax.lighting


def truncate(
    model: FaceModel, *, identity: int | None = None, expression: int | None = None, albedo: int | None = None
) -> FaceModel:
    """The model with its first components only (None keeps all; a number beyond the file's keeps all)."""
    colour = model.albedo
    if isinstance(colour, LinearAlbedo):
        colour = LinearAlbedo(colour.mean, colour.basis[:albedo], colour.std[:albedo])
    return replace(
        model,
        identity_basis=model.identity_basis[:identity],
        identity_std=model.identity_std[:identity],
        identity_names=model.identity_names[:identity],
        expression_basis=model.expression_basis[:expression],
        expression_std=model.expression_std[:expression],
        expression_names=model.expression_names[:expression],
        albedo=colour,
    )


def neutral_params(model: FaceModel, camera: Camera, *, distance: float = 1000.0) -> FaceParams:
    """The mean face, upright, `distance` mm in front of the camera, under uniform white light."""
    pose = Pose(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([0.0, 0.0, -distance]))
    components = 0 if model.albedo is None else model.albedo.count
    return FaceParams(
        identity=jnp.zeros(len(model.identity_std)),
        expression=jnp.zeros(len(model.expression_std)),
        albedo=jnp.zeros(components),
        pose=pose,
        camera=camera,
        light=uniform_light(),
    )


def _combine(coefficients: Float[Array, " N"], std: Array, basis: Array, label: str) -> Array:
    """sum_k c_k std_k basis_k; fewer coefficients than components leave the rest at zero."""
    count = coefficients.shape[0]
    if count > basis.shape[0]:
        hint = "take the model of the FitResult, or of load_face" if label == "albedo" else "pass at most that many"
        raise ValueError(f"{count} {label} coefficients, but the model has {basis.shape[0]}: {hint}")
    flat = basis[:count].reshape(
        count, math.prod(basis.shape[1:])
    )  # as a matrix XLA's transpose of the product is as fast as the product
    return ((coefficients * std[:count]) @ flat).reshape(basis.shape[1:])


def neutral_vertices(model: FaceModel, params: FaceParams) -> Float[Array, "V 3"]:
    """The person without an expression: identity only, model space, mm.

    Fewer coefficients than components leave the rest at zero; more are a ValueError.
    """
    return model.mean + _combine(params.identity, model.identity_std, model.identity_basis, "identity")


def decode(model: FaceModel, params: FaceParams) -> Float[Array, "V 3"]:
    """The face with its expression: mean + identity + expression, model space (un-posed), mm.

    Blanz and Vetter, "A morphable model for the synthesis of 3D faces", SIGGRAPH 1999, eq. 1. Fewer coefficients than
    components leave the rest at zero; more are a ValueError.

    >>> from facejax import load_face_model
    >>> from facejax.camera import PerspectiveCamera
    >>> model = load_face_model()
    >>> params = neutral_params(model, PerspectiveCamera(jnp.array(1000.0), jnp.array([112.0, 112.0])))
    >>> bool(jnp.array_equal(decode(model, params), model.mean))
    True
    >>> wide = replace(params, expression=params.expression.at[model.expression_names.index("jawOpen")].set(1.0))
    >>> chin = (decode(model, wide) - model.mean)[:, 1].min()
    >>> bool(chin < -10)  # it falls by more than a centimetre
    True
    """
    moved = _combine(params.expression, model.expression_std, model.expression_basis, "expression")
    return neutral_vertices(model, params) + moved


def decode_albedo(model: FaceModel, params: FaceParams) -> Float[Array, "*S 3"]:
    """Display-valued albedo, per vertex (V, 3) or as a UV map (T, T, 3); not clipped. Grey where the model has none."""
    if model.albedo is None:
        return jnp.full_like(model.mean, 0.6)
    return model.albedo.decode(params.albedo)
