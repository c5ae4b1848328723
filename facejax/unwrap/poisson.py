"""Poisson editing: a region of a texture takes the template's detail and the colours of its surroundings, without a
seam.

Perez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003; FFHQ-UV (Bai et al., CVPR 2023) repairs eyes, nostrils
and mouth with it.

Inside the mask the result has the template's Laplacian; outside it is the texture. Write the result as `template + h`:
then `h` is harmonic inside the mask and equals `texture - template` on its edge. It is the smooth correction from the
template's colours to the texture's. The template's detail does not enter the equations, and neither does the texture
inside the mask, not even if it is NaN. Both solvers below find this `h`.

Texels are neighbours across an edge only (the five-point Laplacian). The outermost `BORDER` texels of the map are never
solved, so every masked region has an edge. Nothing is clipped: `h` stays between the extremes of `texture - template`
on the edge, but the sum may leave [0, 1] a little.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from facejax.programs import jit

BORDER = 2  # texels along the map's border that are never solved
WINDOW_STEP = 64  # window sides are rounded up to a multiple of this, so that few sizes are compiled
TOLERANCE = 1e-5  # for the residual, as a share of the right-hand side
MAX_ITERATIONS = 60

Host = Array | np.ndarray
Window = tuple[int, int, int, int]  # first row, end row, first column, end column

_SMOOTHINGS = 2  # Jacobi sweeps before and after each coarser level
_DAMPING = 0.8
_COARSEST = 8  # texels per side of the coarsest level
_COARSEST_SMOOTHINGS = 16


class Relaxed(NamedTuple):
    """The result of `poisson_relax`."""

    texture: Float[Array, "H W 3"]
    iterations: Int[Array, ""]
    error: Float[Array, ""]  # norm of the residual over the norm of the right-hand side


def poisson_edit(
    texture: Float[Host, "H W 3"],
    template: Float[Host, "_ _ 3"],
    mask: Bool[Host, "_ _"] | Float[Host, "_ _"],
    *,
    implementation: str = "direct",
) -> Float[Array, "H W 3"]:
    """`texture` with the masked texels (mask > 0.5) replaced by the template's detail. For concrete arrays of one map.

    Args:
      texture, template: maps (S, S, C).
      mask: (S, S).
      implementation: "direct" is exact: a sparse factorisation in float64 on the host. "iterative" runs `poisson_relax`
        over the mask's window on the default device; inside jit or vmap call that function yourself.

    Returns:
      The edited map.

    Raises ValueError for shapes that differ, for a mask with nothing to solve, and for an unknown implementation.
    """
    if not texture.shape == template.shape == (*mask.shape, 3):
        raise ValueError(
            f"texture {texture.shape}, template {template.shape} and mask {mask.shape} must be one map of one size"
        )
    inside = np.asarray(solvable(mask))
    if not inside.any():
        raise ValueError(
            f"the mask is empty but for {BORDER} texels along the border: there is nothing to edit, skip it"
        )
    if implementation == "direct":
        return _direct(np.asarray(texture), np.asarray(template), inside)
    if implementation == "iterative":
        return poisson_relax_jit(*map(jnp.asarray, (texture, template, mask)), window=mask_window(mask)).texture
    raise ValueError(f"no implementation {implementation!r}: use 'direct' or 'iterative'")


def solvable(mask: Bool[Host, "*B H W"] | Float[Host, "*B H W"]) -> Bool[Host, "*B H W"]:
    """The mask as bool (> 0.5), without the map's border."""
    inside = mask if mask.dtype == bool else mask > 0.5
    rows, columns = (np.arange(side) for side in mask.shape[-2:])
    rows, columns = ((at >= BORDER) & (at < len(at) - BORDER) for at in (rows, columns))
    return inside & (rows[:, None] & columns)[(None,) * (mask.ndim - 2)]


def mask_window(mask: Bool[Host, "*B H W"] | Float[Host, "*B H W"], *, step: int = WINDOW_STEP) -> Window:
    """The smallest window that contains all masked texels and the ring around them, for `poisson_relax`.

    Host code, for one mask or a batch of masks. Sides are rounded up to multiples of `step` where the map has room.
    """
    height, width = mask.shape[-2:]
    inside = np.any(np.asarray(solvable(mask)).reshape(-1, height, width), axis=0)
    if not inside.any():
        return (0, min(step, height), 0, min(step, width))
    return (*_extent(np.any(inside, axis=1), step), *_extent(np.any(inside, axis=0), step))


def _extent(used: np.ndarray, step: int) -> tuple[int, int]:
    first, end = np.flatnonzero(used)[[0, -1]] + (-1, 2)
    length = min(-(-int(end - first) // step) * step, len(used))
    first = min(max(int(first + end - length) // 2, 0), len(used) - length)
    return first, first + length


def _direct(texture: np.ndarray, template: np.ndarray, inside: np.ndarray) -> Float[Array, "H W 3"]:
    """One factorisation for the three channels, over the masked texels only."""
    width = inside.shape[1]
    gap = (texture.astype(np.float64) - template).reshape(-1, 3)
    flat = inside.ravel()
    texels = np.flatnonzero(flat)
    unknown = np.cumsum(flat) - 1  # index of a masked texel among the unknowns
    count = len(texels)
    entries, constant = [scipy.sparse.diags_array(np.full(count, 4.0))], np.zeros((count, 3))
    for offset in (-width, width, -1, 1):
        neighbour = texels + offset
        free = flat[neighbour]
        places = np.flatnonzero(free), unknown[neighbour[free]]
        entries.append(scipy.sparse.coo_array((np.full(len(places[0]), -1.0), places), shape=(count, count)))
        constant[~free] += gap[neighbour[~free]]
    matrix = scipy.sparse.csc_matrix(sum(entries[1:], entries[0]))
    solver = scipy.sparse.linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    result = np.array(texture, np.float32).reshape(-1, 3)
    result[texels] = template.reshape(-1, 3)[texels] + solver.solve(constant)
    return jnp.asarray(result.reshape(texture.shape))


def poisson_relax(
    texture: Float[Array, "H W 3"],
    template: Float[Array, "H W 3"],
    mask: Bool[Array, "H W"] | Float[Array, "H W"],
    *,
    window: Window | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Relaxed:
    """`poisson_edit` in float32 for jit, vmap and grad: conjugate gradients preconditioned by multigrid.

    The preconditioner is one symmetric V-cycle (after McAdams, Sifakis and Teran, "A parallel multigrid Poisson solver
    for fluids simulation on large grids", SCA 2010): a coarse texel is solved where all four fine ones are. The
    gradient is that of the exact solution, with respect to texture and template.

    Args:
      texture, template: maps (S, S, C).
      mask: (S, S). A mask with nothing to solve changes nothing.
      window: static; limits the work to a part of the map. None: the whole map. Masked texels on the window's outermost
        ring or outside it are not changed, so take it from `mask_window`, or from the region that all masks lie in.
      tolerance: stop when the residual falls below this share of the right-hand side.
      max_iterations: stop after as many.

    Returns:
      The edited map, the number of iterations and the residual that remains.
    """
    rows, columns = _slices(window, mask.shape)
    inside = solvable(mask)[rows, columns] & _interior(rows.stop - rows.start, columns.stop - columns.start)
    gap = jnp.where(inside[..., None], 0.0, (texture - template)[rows, columns])
    masks = _coarser(jnp.asarray(inside, gap.dtype))
    correction, (iterations, error) = lax.custom_linear_solve(
        lambda x: _minus_laplacian(x, masks[0]),
        masks[0][None] * _neighbours(jnp.moveaxis(gap, -1, 0)),
        lambda _, right: _conjugate_gradients(masks, right, tolerance, max_iterations),
        symmetric=True,
        has_aux=True,
    )
    edited = jnp.where(
        inside[..., None], template[rows, columns] + jnp.moveaxis(correction, 0, -1), texture[rows, columns]
    )
    return Relaxed(texture.at[rows, columns].set(edited), iterations, error)


poisson_relax_jit = jit(poisson_relax, static_argnames=("window", "tolerance", "max_iterations"))


def _slices(window: Window | None, shape: tuple[int, ...]) -> tuple[slice, slice]:
    top, bottom, left, right = (0, shape[0], 0, shape[1]) if window is None else window
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise ValueError(f"window {window} is not (row, end row, column, end column) inside a map of {shape}")
    return slice(top, bottom), slice(left, right)


def _interior(height: int, width: int) -> np.ndarray:
    inside = np.zeros((height, width), bool)
    inside[1:-1, 1:-1] = True
    return inside


def _conjugate_gradients(masks: list[Array], right: Float[Array, "C H W"], tolerance: float, most: int):
    """Solve the masked Laplace equation from zero. Returns the solution, and (iterations, residual)."""

    def unfinished(state):
        _, residual, _, _, count = state
        return (jnp.sum(residual**2) > tolerance**2 * start) & (count < most)

    def step(state):
        x, residual, direction, before, count = state
        better = _v_cycle(residual, masks)
        now = jnp.sum(residual * better)
        direction = better + now / before * direction
        pushed = _minus_laplacian(direction, masks[0])
        length = now / jnp.sum(direction * pushed)
        return x + length * direction, residual - length * pushed, direction, now, count + 1

    right = masks[0][None] * right
    start = jnp.sum(right**2)
    zero = jnp.zeros_like(right)
    x, residual, *_, count = lax.while_loop(unfinished, step, (zero, right, zero, jnp.ones_like(start), jnp.int32(0)))
    return x, (count, jnp.sqrt(jnp.sum(residual**2) / jnp.where(start > 0, start, 1.0)))


def _v_cycle(right: Float[Array, "C H W"], masks: list[Array]) -> Float[Array, "C H W"]:
    """An approximate solution of the masked Laplace equation; symmetric and positive, as conjugate gradients need."""
    mask, *coarser = masks
    x = _jacobi(jnp.zeros_like(right), right, mask, _SMOOTHINGS if coarser else _COARSEST_SMOOTHINGS)
    if not coarser:
        return x
    residual = right - _minus_laplacian(x, mask)
    x = x + mask[None] * _spread(_v_cycle(coarser[0][None] * _gather(residual), coarser), mask.shape)
    return _jacobi(x, right, mask, _SMOOTHINGS)


def _jacobi(x: Float[Array, "C H W"], right: Float[Array, "C H W"], mask: Float[Array, "H W"], sweeps: int):
    def sweep(_, x):
        return x + _DAMPING / 4 * (right - _minus_laplacian(x, mask))

    return lax.fori_loop(0, sweeps, sweep, x)


def _minus_laplacian(x: Float[Array, "C H W"], mask: Float[Array, "H W"]) -> Float[Array, "C H W"]:
    """Four times each texel less its neighbours, for `x` that is zero outside the mask; zero there again."""
    return mask[None] * (4 * x - _neighbours(x))


def _neighbours(x: Float[Array, "C H W"]) -> Float[Array, "C H W"]:
    """The sum of each texel's four neighbours; zero beyond the border."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
    return padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]


def _coarser(mask: Float[Array, "H W"]) -> list[Float[Array, "h w"]]:
    """The mask and its halvings, finest first; a coarse texel is set where all its four fine ones are."""
    masks = [mask]
    while min(masks[-1].shape) > _COARSEST:
        height, width = masks[-1].shape
        even = jnp.pad(masks[-1], ((0, height % 2), (0, width % 2)))
        masks.append(even.reshape(-(-height // 2), 2, -(-width // 2), 2).min(axis=(1, 3)))
    return masks


def _gather(fine: Float[Array, "C H W"]) -> Float[Array, "C h w"]:
    """Restriction to the coarser level: a weighted sum of the fine texels near each coarse one; the transpose of
    `_spread`.
    """
    return _gather_rows(_gather_rows(fine).swapaxes(1, 2)).swapaxes(1, 2)


def _spread(coarse: Float[Array, "C h w"], shape: tuple[int, ...]) -> Float[Array, "C H W"]:
    """Bilinear interpolation between coarse texels' centres, zero beyond the border; cut to `shape`."""
    fine = _spread_rows(_spread_rows(coarse).swapaxes(1, 2)).swapaxes(1, 2)
    return fine[:, : shape[0], : shape[1]]


def _gather_rows(fine: Float[Array, "C H W"]) -> Float[Array, "C h W"]:
    padded = jnp.pad(fine, ((0, 0), (1, 1 + fine.shape[1] % 2), (0, 0)))
    return (padded[:, :-3:2] + 3 * (padded[:, 1:-2:2] + padded[:, 2:-1:2]) + padded[:, 3::2]) / 4


def _spread_rows(coarse: Float[Array, "C h W"]) -> Float[Array, "C 2*h W"]:
    padded = jnp.pad(coarse, ((0, 0), (1, 1), (0, 0)))
    even, odd = (3 * coarse + padded[:, :-2]) / 4, (3 * coarse + padded[:, 2:]) / 4
    return jnp.stack([even, odd], axis=2).reshape(len(coarse), 2 * coarse.shape[1], coarse.shape[2])
