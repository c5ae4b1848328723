"""GAR in a fit: the painter whose coefficients are the latents of every layer and the details of the noise maps."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import transform_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting.tools import FeatureNetwork
from facejax.generative_renderer.normals import normal_pyramid, render_normals, shrink_normals
from facejax.generative_renderer.renderer import GenerativeRenderer, guess_latents, paint, read_normals, to_ws
from facejax.objectives import normal_consistency
from facejax.rendering import Rendering
from facejax.texture.detailed import UNIT, add_details, count_details

FREEDOM = (1.0, 1.0)  # of the first layer's latents and of the last's, in standard deviations a coefficient


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GARAppearance:
    """A `facejax.fitting.Painter`. A stage's block "albedo" moves the latents, "details" the noise.

    Coefficients count from the mean latent. One of a layer is as many standard deviations as the layer's `freedom`,
    which goes evenly from the first layer's to the last's: the less, the less an optimiser that takes equal steps
    changes there (the article's per-layer latents).
    """

    renderer: GenerativeRenderer
    coarsest: int = field(default=32, metadata={"static": True})  # pixels a side of the first noise map that moves
    freedom: tuple[float, float] = field(default=FREEDOM, metadata={"static": True})

    @property
    def side(self) -> int:
        """Pixels along a side of the generator's pictures."""
        return self.renderer.config.side

    @property
    def latent_layers(self) -> int:
        return self.renderer.config.generator.layers

    @property
    def detail_count(self) -> int:
        """How many of the coefficients, the last ones, are details."""
        return count_details(self.renderer.config.generator, self.coarsest)

    @property
    def count(self) -> int:
        config = self.renderer.config.generator
        return config.layers * config.latent + self.detail_count

    def decode(self, coefficients: Float[Array, " A"]) -> Float[Array, "*S 3"]:
        """There is none: light and hair are in the picture too. Raises ValueError."""
        raise ValueError("a generative renderer has no albedo: unwrap the photograph instead (`facejax unwrap`)")

    def encode(self, albedo: Float[Array, "*S 3"]) -> Float[Array, " A"]:
        """The mean latent: an albedo says nothing of hair and light."""
        return jnp.zeros(self.count)

    def begin(self, photo: Float[Array, "S S 3"]) -> Float[Array, " A"]:
        """What the encoder sees in a crop (display values), without details."""
        gar, side = self.renderer, self.renderer.config.side
        if photo.shape[0] != side:
            photo = jax.image.resize(photo, (side, side, 3), "linear")
        ws = to_ws(gar.config, gar.weights, guess_latents(gar.config, gar.weights, photo[None] * 2 - 1))[0]
        latents = (ws - gar.w_avg[None]) / (gar.w_std[None] * self._freedom())
        return jnp.concatenate([latents.reshape(-1), jnp.zeros(self.detail_count)])

    def draw(self, model: FaceModel, params: FaceParams, *, size: tuple[int, int]) -> Rendering:
        """The picture that the face's normals and coefficients make, resized where the generator's is of another size.

        Raises ValueError unless the picture is square.
        """
        gar = self.renderer
        side, (height, width) = gar.config.side, size
        if height != width:
            raise ValueError(f"a picture of {size}: a generative renderer paints squares")
        seen = render_normals(model, params, size=size)
        if height == side and gar.config.filtering == "area":
            normals = shrink_normals(seen.color)
        else:
            camera = transform_camera(params.camera, jnp.asarray(side / height), jnp.zeros(2))
            normals = normal_pyramid(model, replace(params, camera=camera), side, filtering=gar.config.filtering)
        picture = self._paint(params.albedo, jax.tree.map(lambda maps: maps[None], normals))
        if height != side:
            picture = jax.image.resize(picture, (*size, 3), "linear")
        return replace(seen, color=picture)

    def _paint(self, coefficients: Float[Array, " A"], normals: dict[str, Array]) -> Float[Array, "R R 3"]:
        """Display values."""
        gar = self.renderer
        latents, details = jnp.split(coefficients, [self.count - self.detail_count])
        ws = gar.w_avg[None] + latents.reshape(self.latent_layers, -1) * self._freedom() * gar.w_std[None]
        quiet = jax.tree.map(jnp.zeros_like, gar.weights.generator.noise)
        noise = add_details(quiet, UNIT * details, self.coarsest)
        weights = gar.weights._replace(generator=gar.weights.generator._replace(noise=noise))
        return (paint(gar.config, weights, ws[None], normals, noise="const")[0] + 1) / 2

    def _freedom(self) -> Float[Array, "L 1"]:
        return jnp.linspace(*self.freedom, self.latent_layers)[:, None]


def normals_network(gar: GenerativeRenderer) -> FeatureNetwork:
    """The reader of normals, for the terms "normals" and "outline": it sees a photograph's normals and coverage."""
    return FeatureNetwork(gar, _read, _compare, "GAR's reader of normals")


def _read(gar: GenerativeRenderer, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
    return jax.tree.map(lambda maps: maps[0], read_normals(gar, image[None]))


def _compare(rendered: Any, photo: Any, mask: Float[Array, "S S"]) -> Float[Array, ""]:
    return normal_consistency(rendered[0], photo[0])
