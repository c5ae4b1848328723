"""`render`: a face model and its parameters to an image."""

from collections.abc import Callable, Collection
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float

from facejax.camera import to_camera
from facejax.face_model import FaceModel, FaceParams, decode, decode_albedo
from facejax.rendering.mesh import Rendering, render_mesh


@runtime_checkable
class Draws(Protocol):
    """The part of an appearance that `render` needs (`facejax.appearance.Appearance`)."""

    def drawing(
        self,
        model: FaceModel,
        params: FaceParams,
        *,
        size: tuple[int, int],
        background: Float[Array, "*H 3"] | None,
        moving: Collection[str],
        edges: bool,
    ) -> Callable[[FaceParams], Rendering]: ...


def render(
    model: FaceModel,
    params: FaceParams,
    appearance: Draws | None = None,
    *,
    size: tuple[int, int],
    texture: Float[Array, "*S 3"] | None = None,
    background: Float[Array, "*H 3"] | None = None,
    linear: bool = True,
    edges: bool = True,
    capacity: int | None = None,
) -> Rendering:
    """Render one face: decode, pose, colour, light.

    Differentiable in `params`, `texture` and `background`, and in the model's floats. vmap over `params` for many.

    Args:
        model, params: the face; its camera is in pixels of the picture.
        appearance: what colours it, as `FitResult.appearance` and `load_face` give it; None: the model's own albedo.
        size: height and width of the picture, pixels.
        texture: display values in place of the albedo, as a map in the model's UV layout (row 0 on top) or one colour
            per vertex.
        background: display values, one colour or a picture; black by default.
        linear: multiply by the light in linear RGB; not with an `appearance`.
        edges: blend silhouettes, which gives them their gradient.
        capacity: see `render_mesh`; not with an `appearance`.

    Raises ValueError for a texture and an appearance together, and for parameters of another appearance.
    """
    if appearance is not None:
        if texture is not None or not linear or capacity is not None:
            raise ValueError("an appearance brings its own texture and light: leave out texture=, linear=, capacity=")
        draw = appearance.drawing(model, params, size=size, background=background, moving=(), edges=edges)
        return draw(params)
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
