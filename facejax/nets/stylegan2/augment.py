"""Random changes to the pictures that the discriminator sees, so that it cannot memorise a small set.

The transformations of Karras et al., "Training generative adversarial networks with limited data", NeurIPS 2020,
appendix B, that suit a texture map: pixel blitting, geometry and colour ("bgc") without quarter turns and without the
inversion of brightness. Each happens independently with probability `strength`. As long as that stays below about 0.8,
the changes do not leak into what the generator makes (section 2.2 there). Sampling is bilinear, where the authors' code
filters with wavelets.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_LUMA = jnp.full((3,), 1.0 / math.sqrt(3.0))


def augment(
    key: Key[Array, ""], images: Float[Array, "N R R 3"], strength: Float[Array, ""]
) -> Float[Array, "N R R 3"]:
    """Each picture of a batch, in [-1, 1], changed at random on its own. At strength 0 all stay as they are."""
    keys = jax.random.split(key, len(images))
    return jax.vmap(lambda key, image: _augment_one(key, image, strength))(keys, images)


def _augment_one(key, image, strength):
    geometric, coloured = jax.random.split(key)
    image = _sample(image, random_affine(geometric, strength))
    matrix = random_colours(coloured, strength)
    return image @ matrix[:3, :3].T + matrix[None, None, :3, 3]


def random_affine(key: Key[Array, ""], strength: Float[Array, ""]) -> Float[Array, "2 3"]:
    """A random affine map from places in the new picture to places in the old one; both range from -1 to 1."""
    chosen, drawn = jax.random.split(key)
    on = (jax.random.uniform(chosen, (6,)) < strength).astype(jnp.float32)
    sign = jax.random.bernoulli(jax.random.fold_in(drawn, 0))
    normal = jax.random.normal(jax.random.fold_in(drawn, 1), (4,))
    uniform = jax.random.uniform(jax.random.fold_in(drawn, 2), (3,), minval=-1.0)
    flip = jnp.where((on[0] > 0) & sign, -1.0, 1.0)
    whole = on[1] * 0.25 * uniform[:2]  # up to an eighth of the picture either way
    zoom = 2.0 ** (0.2 * on[2] * normal[0])
    turn = on[3] * jnp.pi * uniform[2]
    stretch = 2.0 ** (0.2 * on[4] * normal[1])
    shift = on[5] * 0.25 * normal[2:]
    c, s = jnp.cos(turn), jnp.sin(turn)
    linear = jnp.array([[c, -s], [s, c]]) @ jnp.diag(jnp.stack([flip * zoom * stretch, zoom / stretch]))
    return jnp.concatenate([linear, (whole + shift)[:, None]], axis=1)


def random_colours(key: Key[Array, ""], strength: Float[Array, ""]) -> Float[Array, "4 4"]:
    """A random affine map of colours: brightness, contrast, hue and saturation."""
    chosen, drawn = jax.random.split(key)
    on = (jax.random.uniform(chosen, (4,)) < strength).astype(jnp.float32)
    normal = jax.random.normal(drawn, (3,))
    turn = on[2] * jnp.pi * jax.random.uniform(jax.random.fold_in(drawn, 0), minval=-1.0)
    grey = jnp.outer(_LUMA, _LUMA)
    cross = jnp.cross(jnp.eye(3), _LUMA)
    hue = grey + jnp.cos(turn) * (jnp.eye(3) - grey) + jnp.sin(turn) * cross
    saturation = 2.0 ** (on[3] * normal[2])
    contrast = 2.0 ** (0.5 * on[1] * normal[1])
    linear = contrast * (grey + saturation * (jnp.eye(3) - grey)) @ hue
    offset = contrast * on[0] * 0.2 * normal[0] * jnp.ones(3)
    return jnp.eye(4).at[:3, :3].set(linear).at[:3, 3].set(offset)


def _sample(image, affine):
    """Bilinear sampling, mirrored beyond the border; the exact picture where the map is the identity."""
    side = image.shape[0]
    line = (jnp.arange(side, dtype=float) + 0.5) * (2.0 / side) - 1.0
    x, y = jnp.meshgrid(line, line)
    x, y = jnp.einsum("ij,jhw->ihw", affine[:, :2], jnp.stack([x, y])) + affine[:, 2, None, None]
    column, row = ((place + 1.0) * (side / 2) - 0.5 for place in (x, y))
    left, top = jnp.floor(column), jnp.floor(row)
    fx, fy = (column - left)[..., None], (row - top)[..., None]
    flat = image.reshape(side * side, -1)

    def tap(row, column):
        return flat[_mirrored(row.astype(jnp.int32), side) * side + _mirrored(column.astype(jnp.int32), side)]

    above = tap(top, left) * (1 - fx) + tap(top, left + 1) * fx
    below = tap(top + 1, left) * (1 - fx) + tap(top + 1, left + 1) * fx
    return jnp.where(jnp.all(affine == jnp.eye(2, 3)), image, above * (1 - fy) + below * fy)


def _mirrored(index, side: int):
    folded = jnp.mod(index, 2 * side)
    return jnp.minimum(folded, 2 * side - 1 - folded)
