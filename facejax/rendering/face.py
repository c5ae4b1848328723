"""`render`: a face model and its parameters to an image."""

from jaxtyping import Array, Float

from facejax.camera import to_camera
from facejax.face_model.model import FaceModel, FaceParams, decode, decode_albedo
from facejax.rendering.mesh import Rendering, render_mesh


def render(
    model: FaceModel,
    params: FaceParams,
    *,
    size: tuple[int, int],
    texture: Float[Array, "T S 3"] | None = None,
    background: Float[Array, "*H 3"] | None = None,
    linear: bool = True,
    edges: bool = True,
    capacity: int | None = None,
) -> Rendering:
    """Render one face: decode, pose, albedo, light. `size` is (height, width) in pixels.

    `texture` (display values, in the model's UV layout, row 0 on top) replaces the model's own albedo.
    Differentiable in `params`, `texture` and `background`, and in the model's floats. vmap over `params` for many.
    """
    vertices = to_camera(params.pose, decode(model, params))
    albedo = decode_albedo(model, params) if texture is None else texture
    mapped = albedo.ndim == 3
    return render_mesh(
        vertices,
        model.faces,
        params.camera,
        size=size,
        uv=model.uv,
        uv_faces=model.topology.uv_faces,
        texture=albedo if mapped else None,
        vertex_colors=None if mapped else albedo,
        light=params.light,
        background=background,
        linear=linear,
        edges=edges,
        neighbors=model.topology.neighbors,
        capacity=capacity,
    )
