"""An albedo model on the surface of the face, lit by spherical harmonics: all appearances but the painters."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.appearance.baking import bake_vertex_colors
from facejax.appearance.protocol import GEOMETRY
from facejax.face_model import AlbedoModel, FaceModel, FaceParams, own_albedo
from facejax.face_model.texture_layout import outward, with_layout
from facejax.programs import cached_jit
from facejax.rendering import Rendering, render, repaint

TEXTURE = 512  # texels along a side of a texture baked from colours of vertices


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SurfaceAppearance:
    """An `Appearance` made of any `AlbedoModel`: the albedo times the light that falls on the surface."""

    albedo: AlbedoModel

    @property
    def blocks(self) -> Mapping[str, tuple[int, ...]]:
        return self.albedo.blocks

    @property
    def whole_picture(self) -> bool:
        return False

    @property
    def side(self) -> None:
        return None

    def init(self, photo: Float[Array, "S S 3"], previous: Float[Array, "*S 3"] | None) -> dict[str, Array]:
        """Blocks near the previous albedo; the mean albedo's if there was none."""
        if previous is None:
            return {name: jnp.zeros(shape) for name, shape in self.blocks.items()}
        return self.albedo.encode(previous)

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "*S 3"]:
        return self.albedo.decode(blocks)

    def drawing(
        self,
        model: FaceModel,
        params: FaceParams,
        *,
        size: tuple[int, int],
        background: Float[Array, "*H 3"] | None,
        moving: Collection[str],
        edges: bool,
    ) -> Callable[[FaceParams], Rendering]:
        """See `Appearance.drawing`."""
        still = None if self.blocks.keys() & set(moving) else self.decode(params.appearance)
        albedo = lambda face: self.decode(face.appearance) if still is None else still  # noqa: E731
        draw = partial(_draw, model, background=background, size=size, edges=edges)
        if edges or background is None or GEOMETRY & set(moving):
            return lambda face: draw(_bare(face), albedo(face))
        seen = draw(_bare(params), albedo(params))
        return lambda face: repaint(seen, model.faces, albedo(face), face.light, background)

    def texture(
        self,
        model: FaceModel,
        params: FaceParams,
        photo: Float[np.ndarray, "H W 3"],
        landmarks: Float[np.ndarray, "68 2"],
    ) -> Float[np.ndarray, "T T 3"]:
        """See `Appearance.texture`. The albedo as a map, baked if it is per vertex; the photograph is not used."""
        albedo = np.clip(np.asarray(_decode(self.albedo, params.appearance)), 0.0, 1.0)
        if albedo.ndim == 3:
            return albedo
        model = with_layout(model)
        faces, uv_faces = np.asarray(model.faces), np.asarray(model.topology.uv_faces)
        order = outward(model)
        return bake_vertex_colors(albedo, faces[order], np.asarray(model.uv), uv_faces[order], TEXTURE)


def own_appearance(model: FaceModel) -> SurfaceAppearance:
    """The appearance that recipes call "linear": the model's own linear albedo; grey for a model without colours."""
    return SurfaceAppearance(own_albedo(model))


def _bare(params: FaceParams) -> FaceParams:
    """The parameters without the appearance, so that a program traces the drawing once for all appearances."""
    return replace(params, appearance={})


@partial(jax.jit, static_argnames=("size", "edges"))
def _draw(
    model: FaceModel,
    params: FaceParams,
    albedo: Float[Array, "*S 3"],
    *,
    background: Float[Array, "*H 3"] | None,
    size: tuple[int, int],
    edges: bool,
) -> Rendering:
    return render(model, params, size=size, texture=albedo, background=background, edges=edges)


@cached_jit("albedo")
def _decode(albedo: AlbedoModel, blocks: Mapping[str, Array]) -> Float[Array, "*S 3"]:
    return albedo.decode(blocks)
