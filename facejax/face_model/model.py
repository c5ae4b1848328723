"""The linear face model: what a face can be (`FaceModel`), what this face is (`FaceParams`), and the decoder.

Lengths are millimetres; +x is the subject's left, +y up, +z out of the face.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.camera import Camera, Pose
from facejax.mesh import face_neighbors


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
    albedo: LinearAlbedo | None
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
    albedo: Float[Array, "*B A"]  # standard deviations
    pose: Pose
    camera: Camera
    light: Float[Array, "*B 9 3"]  # spherical harmonics in camera space, see facejax.lighting


def make_face_model(
    name: str,
    mean: np.ndarray,
    faces: np.ndarray,
    *,
    identity_basis: np.ndarray,
    identity_std: np.ndarray,
    expression_basis: np.ndarray | None = None,
    expression_std: np.ndarray | None = None,
    albedo: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    uv: np.ndarray | None = None,
    uv_faces: np.ndarray | None = None,
    landmark_faces: np.ndarray | None = None,
    landmark_weights: np.ndarray | None = None,
    contour_faces: np.ndarray | None = None,
    contour_weights: np.ndarray | None = None,
    contour_direction: np.ndarray | None = None,
    regions: dict[str, np.ndarray] | None = None,
    mirror: np.ndarray | None = None,
    face_part: np.ndarray | None = None,
    part_names: tuple[str, ...] = ("skin",),
    identity_names: tuple[str, ...] | None = None,
    expression_names: tuple[str, ...] | None = None,
    blendshapes: bool = False,
) -> FaceModel:
    """Check the arrays of a model and assemble it; the one way to make a `FaceModel`.

    Shapes as in `FaceModel`; `albedo` is (mean, basis, std). What is left out becomes empty (landmarks, basis), its
    own mirror image, or one region. Raises ValueError naming the array that does not fit.
    """
    mean = np.asarray(mean, np.float32)
    faces = np.asarray(faces, np.int32)
    count, triangles = len(mean), len(faces)

    def floats(value, default_shape, label, shape):
        array = np.zeros(default_shape, np.float32) if value is None else np.asarray(value, np.float32)
        if array.ndim != len(shape) or any(
            want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
        ):
            raise ValueError(f"face model {name!r}: {label} has shape {array.shape}, expected {shape} (None: any)")
        if not np.isfinite(array).all():
            raise ValueError(f"face model {name!r}: {label} has values that are not finite")
        return array

    def integers(value, default, label, shape, below):
        array = np.asarray(default if value is None else value, np.int32)
        if array.shape != shape:
            raise ValueError(f"face model {name!r}: {label} has shape {array.shape}, expected {shape}")
        if array.size and (array.min() < 0 or array.max() >= below):
            raise ValueError(f"face model {name!r}: {label} points outside 0..{below - 1}")
        return array

    mean = floats(mean, (0, 3), "mean", (None, 3))
    faces = integers(faces, None, "faces", (triangles, 3), count)
    identity_basis = floats(identity_basis, (0, count, 3), "identity_basis", (None, count, 3))
    identity_std = floats(identity_std, (0,), "identity_std", (len(identity_basis),))
    expression_basis = floats(expression_basis, (0, count, 3), "expression_basis", (None, count, 3))
    if expression_std is None:
        expression_std = np.ones(len(expression_basis), np.float32)
    expression_std = floats(expression_std, (0,), "expression_std", (len(expression_basis),))
    uv = floats(uv, (count, 2), "uv", (None, 2))
    uv_faces = integers(uv_faces, faces, "uv_faces", (triangles, 3), max(len(uv), 1))
    marks = 0 if landmark_faces is None else len(landmark_faces)
    landmark_faces = integers(landmark_faces, np.zeros(0, np.int32), "landmark_faces", (marks,), triangles)
    landmark_weights = floats(landmark_weights, (0, 3), "landmark_weights", (marks, 3))
    if contour_faces is None:
        jaw = 17 if marks == 68 else 0
        contour_faces, contour_weights = landmark_faces[:jaw, None], landmark_weights[:jaw, None]
        contour_direction = np.zeros((jaw, 2), np.float32)
    candidates = np.shape(contour_faces)
    contour_faces = integers(contour_faces, None, "contour_faces", candidates, triangles)
    contour_weights = floats(contour_weights, (0, 1, 3), "contour_weights", (*candidates, 3))
    contour_direction = floats(contour_direction, (0, 2), "contour_direction", (candidates[0], 2))
    if albedo is not None:
        albedo_mean = np.asarray(albedo[0], np.float32)
        if albedo_mean.ndim == 2 and len(albedo_mean) != count:
            raise ValueError(f"face model {name!r}: albedo has {len(albedo_mean)} vertices, the mean has {count}")
        albedo_mean = floats(albedo_mean, (), "albedo mean", (*[None] * (albedo_mean.ndim - 1), 3))
        albedo_basis = floats(albedo[1], (), "albedo basis", (None, *albedo_mean.shape))
        albedo_std = floats(albedo[2], (), "albedo std", (len(albedo_basis),))
    mask = regions or {"face": np.ones(count, np.float32)}
    identity_names = identity_names or tuple(f"identity{k:03d}" for k in range(len(identity_basis)))
    expression_names = expression_names or tuple(f"expression{k:03d}" for k in range(len(expression_basis)))
    for label, names, basis in [
        ("identity", identity_names, identity_basis),
        ("expression", expression_names, expression_basis),
    ]:
        if len(names) != len(basis):
            raise ValueError(f"face model {name!r}: {len(names)} {label} names for {len(basis)} components")
    topology = Topology(
        faces=jnp.asarray(faces),
        uv_faces=jnp.asarray(uv_faces),
        neighbors=face_neighbors(faces),
        face_part=jnp.asarray(
            integers(face_part, np.zeros(triangles, np.int32), "face_part", (triangles,), len(part_names))
        ),
        mirror=jnp.asarray(integers(mirror, np.arange(count), "mirror", (count,), count)),
        landmark_faces=jnp.asarray(landmark_faces),
        contour_faces=jnp.asarray(contour_faces),
    )
    return FaceModel(
        mean=jnp.asarray(mean),
        identity_basis=jnp.asarray(identity_basis),
        identity_std=jnp.asarray(identity_std),
        expression_basis=jnp.asarray(expression_basis),
        expression_std=jnp.asarray(expression_std),
        albedo=None if albedo is None else LinearAlbedo(*map(jnp.asarray, (albedo_mean, albedo_basis, albedo_std))),
        uv=jnp.asarray(uv),
        landmark_weights=jnp.asarray(landmark_weights),
        contour_weights=jnp.asarray(contour_weights),
        contour_direction=jnp.asarray(contour_direction),
        regions={key: jnp.asarray(floats(value, (), f"region {key}", (count,))) for key, value in sorted(mask.items())},
        topology=topology,
        name=name,
        part_names=tuple(part_names),
        identity_names=tuple(identity_names),
        expression_names=tuple(expression_names),
        blendshapes=blendshapes,
    )


def truncate(
    model: FaceModel, *, identity: int | None = None, expression: int | None = None, albedo: int | None = None
) -> FaceModel:
    """The model with its first components only (None keeps all; a number beyond the file's keeps all)."""
    colour = model.albedo
    if colour is not None:
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
    from facejax.lighting import uniform_light

    pose = Pose(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([0.0, 0.0, -distance]))
    components = 0 if model.albedo is None else len(model.albedo.std)
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
        raise ValueError(f"{count} {label} coefficients, but the model has {basis.shape[0]}: pass at most that many")
    return jnp.tensordot(coefficients * std[:count], basis[:count], axes=1)


def neutral_vertices(model: FaceModel, params: FaceParams) -> Float[Array, "V 3"]:
    """Identity only, model space, mm."""
    return model.mean + _combine(params.identity, model.identity_std, model.identity_basis, "identity")


def decode(model: FaceModel, params: FaceParams) -> Float[Array, "V 3"]:
    """Identity and expression, model space (un-posed), mm."""
    moved = _combine(params.expression, model.expression_std, model.expression_basis, "expression")
    return neutral_vertices(model, params) + moved


def decode_albedo(model: FaceModel, params: FaceParams) -> Float[Array, "*S 3"]:
    """Display-valued albedo, per vertex (V, 3) or as a UV map (T, T, 3); not clipped. Grey where the model has none."""
    if model.albedo is None:
        return jnp.full_like(model.mean, 0.6)
    return model.albedo.mean + _combine(params.albedo, model.albedo.std, model.albedo.basis, "albedo")
