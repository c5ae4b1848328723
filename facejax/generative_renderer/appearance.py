"""GAR in a fit: an appearance that paints the whole picture from the head's normals and the generator's latents."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.appearance import GEOMETRY
from facejax.camera import transform_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting.ingredients import FeatureNetwork
from facejax.generative_renderer.normals import normal_pyramid, render_normals, shrink_normals
from facejax.generative_renderer.renderer import GenerativeRenderer, guess_latents, paint, read_normals, to_ws
from facejax.objectives import normal_consistency
from facejax.programs import jit
from facejax.rendering import Rendering
from facejax.texture.detailed import UNIT, add_details, count_details
from facejax.unwrap import Texels, cut_out, face_layout, unwrap_view

TEXTURE = 512  # texels along a side of the unwrapped photograph
FREEDOM = (1.0, 1.0)  # of the first layer's latents and of the last's, in standard deviations per coefficient


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GARAppearance:
    """The `facejax.appearance.Appearance` that paints the whole picture of a posed head: hair, light, background.

    It has no albedo, and `FaceParams.light` has no effect. Its blocks are "latents" (L, W), relative to the mean latent
    and in units of the layer's `freedom` times the standard deviation, and "details" (D,) of the noise maps. `freedom`
    is interpolated from the first layer to the last: where it is small, an optimiser with equal steps changes less (the
    article's per-layer latents).
    """

    renderer: GenerativeRenderer
    coarsest: int = field(default=32, metadata={"static": True})  # pixels per side of the first noise map that moves
    freedom: tuple[float, float] = field(default=FREEDOM, metadata={"static": True})

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        config = self.renderer.config.generator
        return {"latents": (config.layers, config.latent), "details": (count_details(config, self.coarsest),)}

    @property
    def whole_picture(self) -> bool:
        return True

    @property
    def side(self) -> int:
        """Pixels along a side of the generator's pictures."""
        return self.renderer.config.side

    def decode(self, blocks: Mapping[str, Array]) -> None:
        """Always None: the picture contains light and hair, so there is no albedo."""

    def init(self, photo: Float[Array, "S S 3"], previous: Float[Array, "*S 3"] | None) -> dict[str, Array]:
        """The encoder's guess for a crop, without details. The previous albedo is ignored: it lacks hair and light."""
        gar, side = self.renderer, self.renderer.config.side
        if photo.shape[0] != side:
            photo = jax.image.resize(photo, (side, side, 3), "linear")
        ws = to_ws(gar.config, gar.weights, guess_latents(gar.config, gar.weights, photo[None] * 2 - 1))[0]
        return {
            "latents": (ws - gar.w_avg[None]) / (gar.w_std[None] * self._freedom()),
            "details": jnp.zeros(self.blocks["details"]),
        }

    def drawing(
        self,
        model: FaceModel,
        params: FaceParams,
        *,
        size: tuple[int, int],
        background: Float[Array, "*H 3"] | None = None,
        moving: Collection[str] = GEOMETRY,
        edges: bool = True,
    ) -> Callable[[FaceParams], Rendering]:
        """See `Appearance.drawing`. The picture is resized if the generator's has another size.

        `background` and `edges` have no effect: the background is painted, outlines are soft. Raises ValueError for a
        picture that is not square.
        """
        height, width = size
        if height != width:
            raise ValueError(f"a picture of {size}: a generative renderer paints squares")
        still = None if GEOMETRY & set(moving) else self._normals(model, params, height)

        def draw(face: FaceParams) -> Rendering:
            seen, normals = self._normals(model, face, height) if still is None else still
            picture = self._paint(face.appearance, jax.tree.map(lambda maps: maps[None], normals))
            if height != self.side:
                picture = jax.image.resize(picture, (*size, 3), "linear")
            return replace(seen, color=picture)

        return draw

    def texture(
        self,
        model: FaceModel,
        params: FaceParams,
        photo: Float[np.ndarray, "H W 3"],
        landmarks: Float[np.ndarray, "68 2"],
    ) -> Float[np.ndarray, "T T 3"]:
        """See `Appearance.texture`. The unwrapped photograph, with its light; its mean colour where nothing is seen."""
        layout = face_layout(model, TEXTURE)
        cut = cut_out(photo, landmarks, layout)
        camera = transform_camera(params.camera, jnp.asarray(cut.scale), jnp.asarray(cut.offset))
        bare = replace(params, camera=camera, appearance={})
        arrays = jnp.asarray(cut.image), jnp.asarray(cut.inside)
        color, valid = jax.device_get(_unwrap(model, bare, *arrays, layout.texels))
        mean = (color * valid[..., None]).sum(axis=(0, 1)) / max(float(valid.sum()), 1.0)
        return np.clip(mean + valid[..., None] * (color - mean), 0.0, 1.0)

    def _normals(self, model: FaceModel, params: FaceParams, side: int) -> tuple[Rendering, dict[str, Array]]:
        """The posed head at `side` pixels, and the pyramid of normals that the generator takes."""
        config = self.renderer.config
        seen = render_normals(model, params, size=(side, side))
        if side == config.side and config.filtering == "area":
            return seen, shrink_normals(seen.color)
        camera = transform_camera(params.camera, jnp.asarray(config.side / side), jnp.zeros(2))
        resized = replace(params, camera=camera)
        return seen, normal_pyramid(model, resized, config.side, filtering=config.filtering)

    def _paint(self, blocks: Mapping[str, Array], normals: dict[str, Array]) -> Float[Array, "R R 3"]:
        """Display values."""
        gar = self.renderer
        ws = gar.w_avg[None] + blocks["latents"] * self._freedom() * gar.w_std[None]
        quiet = jax.tree.map(jnp.zeros_like, gar.weights.generator.noise)
        noise = add_details(quiet, UNIT * blocks["details"], self.coarsest)
        weights = gar.weights._replace(generator=gar.weights.generator._replace(noise=noise))
        return (paint(gar.config, weights, ws[None], normals, noise="const")[0] + 1) / 2

    def _freedom(self) -> Float[Array, "L 1"]:
        return jnp.linspace(*self.freedom, self.blocks["latents"][0])[:, None]


def normals_network(gar: GenerativeRenderer) -> FeatureNetwork:
    """The reader of normals, for the terms "normals" and "outline": a photograph's normals and coverage."""
    return FeatureNetwork(gar, _read, _compare, "GAR's reader of normals")


def _read(gar: GenerativeRenderer, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
    return jax.tree.map(lambda maps: maps[0], read_normals(gar, image[None]))


def _compare(rendered: Any, photo: Any, mask: Float[Array, "S S"]) -> Float[Array, ""]:
    return normal_consistency(rendered[0], photo[0])


@jit
def _unwrap(
    model: FaceModel, params: FaceParams, image: Float[Array, "P P 3"], inside: Float[Array, "P P"], texels: Texels
) -> tuple[Float[Array, "T T 3"], Float[Array, "T T"]]:
    view = unwrap_view(model, params, image, texels, parsing=inside)
    return view.color, view.valid
