"""The SoftRas formula, as a reference mode and for teaching: every triangle touches every pixel.

Liu et al., "Soft Rasterizer: A Differentiable Renderer for Image-based 3D Reasoning", ICCV 2019. Its images are blurred
across triangles by construction and it costs pixels x triangles, so `render_mesh` does not use it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_FAR_AWAY = 1e10


def render_softras(
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    colors: Float[Array, "V C"],
    *,
    size: tuple[int, int],
    background: Float[Array, " C"],
    near: float,
    far: float,
    sigma: float = 1e-4,
    gamma: float = 1e-4,
    epsilon: float = 1e-3,
) -> tuple[Float[Array, "H W C"], Float[Array, "H W"]]:
    """Colour and silhouette of a mesh.

    Triangle j covers pixel i with D = sigmoid(+-d^2 / sigma), d its distance to the triangle's border in units of half
    the image (eq. 1); colours are mixed with weights D exp(z / gamma) against a background of weight
    exp(epsilon / gamma) (eq. 2, 3), with z = 1 at `near` and 0 at `far`; the silhouette is 1 - prod(1 - D)
    (eq. 5). Back faces take part as in the paper. One row of pixels is in memory at a time.

    Args:
      points: (x, y, depth) as from `camera.project`.
      faces: triangles.
      colors: of the vertices.
      size: height and width of the picture, pixels.
      background: its colour.
      near, far: depths, mm.
      sigma, gamma, epsilon: of the formulas above.

    Returns:
      The colours, and the silhouette.
    """
    height, width = size
    unit = 2.0 / max(size)
    corners = jnp.asarray(points)[faces]
    painted = jnp.asarray(colors)[faces]
    flat = corners[:, :, :2]

    @jax.checkpoint
    def row(y):
        across = jnp.arange(width, dtype=points.dtype) + 0.5
        centres = jnp.stack([across, jnp.full(width, y + 0.5)], axis=1)
        weights = _barycentric(flat, centres)  # (W, F, 3)
        inside = (weights >= 0).all(-1)
        distance = _border_distance_squared(flat, centres) * unit**2
        coverage = jax.nn.sigmoid(jnp.where(inside, distance, -distance) / sigma)
        clipped = jnp.clip(weights, 0, 1)
        clipped = clipped / jnp.maximum(clipped.sum(-1, keepdims=True), 1e-5)
        depth = 1.0 / jnp.maximum(
            jnp.einsum("wfk,fk->wf", clipped, 1.0 / jnp.maximum(corners[:, :, 2], near)), 1.0 / far
        )
        z = (far - depth) / (far - near)
        logits = jnp.where(coverage > 1e-12, jnp.log(jnp.maximum(coverage, 1e-12)) + z / gamma, -_FAR_AWAY)
        empty = jnp.full((width, 1), epsilon / gamma, logits.dtype)
        share = jax.nn.softmax(jnp.concatenate([logits, empty], axis=1), axis=1)
        color = jnp.einsum("wf,wfk,fkc->wc", share[:, :-1], clipped, painted) + share[:, -1:] * background[None]
        alpha = 1 - jnp.exp(jnp.sum(jnp.log1p(-jnp.minimum(coverage, 1 - 1e-6)), axis=1))
        return color, alpha

    return jax.lax.map(row, jnp.arange(height, dtype=points.dtype))


def _barycentric(corners: Float[Array, "F 3 2"], centres: Float[Array, "W 2"]) -> Float[Array, "W F 3"]:
    relative = corners[None] - centres[:, None, None]
    following = jnp.roll(relative, -1, axis=2)
    cross = relative[..., 0] * following[..., 1] - relative[..., 1] * following[..., 0]
    areas = jnp.roll(cross, -1, axis=2)  # the area opposite corner k lies between corners k + 1 and k + 2
    total = areas.sum(-1, keepdims=True)
    thin = jnp.abs(total) < 1e-9
    return jnp.where(thin, -1.0, areas / jnp.where(thin, 1.0, total))


def _border_distance_squared(corners: Float[Array, "F 3 2"], centres: Float[Array, "W 2"]) -> Float[Array, "W F"]:
    side = jnp.roll(corners, -1, axis=1) - corners
    relative = centres[:, None, None] - corners[None]
    along = jnp.einsum("wfkd,fkd->wfk", relative, side) / jnp.maximum(jnp.sum(side * side, -1)[None], 1e-12)
    gap = relative - jnp.clip(along, 0, 1)[..., None] * side[None]
    return jnp.min(jnp.sum(gap * gap, axis=-1), axis=-1)
