"""Doubling and halving of pictures with the low-pass filter [1, 3, 3, 1], alone or together with a convolution.

StyleGAN2 filters wherever it resamples (Karras et al., CVPR 2020; Zhang, "Making convolutional networks shift-invariant
again", ICML 2019). Pictures and features are (N, H, W, C), zero beyond their border; kernels are (height, width,
inputs, outputs). Convolutions of bfloat16 accumulate in float32 on every device and round once to bfloat16. Asking for
float32 results instead would make accelerators compute in float32 from the start.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.kernels import conv_general_dilated

FILTER = (0.125, 0.375, 0.375, 0.125)  # sums to one; the same along both axes


def wide(x: Array) -> Array:
    """In float32 at least, for what is not to be rounded to bfloat16."""
    return x.astype(np.promote_types(x.dtype, np.float32))


def conv(
    x: Float[Array, "N H W I"],
    kernel: Float[Array, "K K I O"],
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Array, "N _ _ O"]:
    """Correlation with `kernel`.

    Args:
      x: (N, H, W, C).
      kernel: (height, width, inputs, outputs).
      stride: step in pixels.
      padding: pixels before and after each axis.

    Returns:
      The result, in the type of `x`.
    """
    pads = [(padding, padding)] * 2
    return conv_general_dilated(x, kernel.astype(x.dtype), (stride, stride), pads)


def blur(
    x: Float[Array, "N H W C"], pads: tuple[int, int], *, gain: float = 1.0, step: int = 1
) -> Float[Array, "N _ _ C"]:
    """The filter along both axes, as sums of shifted pictures.

    Such sums fuse into one loop on every device, where convolutions of one channel at a time are slow.

    Args:
      x: (N, H, W, C).
      pads: zeros before and after each axis.
      gain: multiplies the result.
      step: keep every so many pixels.

    Returns:
      The filtered pictures.
    """
    for axis in (1, 2):
        x = _shift_sum(x, axis, pads, [tap * gain**0.5 for tap in FILTER], step)
    return x


def upsample(x: Float[Array, "N H W C"]) -> Float[Array, "N 2*H 2*W C"]:
    """Twice the side. Away from the border a constant stays the same."""
    for axis in (1, 2):
        even = _shift_sum(x, axis, (1, 0), (0.25, 0.75), 1)
        odd = _shift_sum(x, axis, (0, 1), (0.75, 0.25), 1)
        shape = list(x.shape)
        shape[axis] *= 2
        x = jnp.stack([even, odd], axis + 1).reshape(shape)
    return x


def downsample(x: Float[Array, "N H W C"]) -> Float[Array, "N H//2 W//2 C"]:
    """Half the side. Away from the border a constant stays the same."""
    return blur(x, (1, 1), step=2)


def conv_up(x: Float[Array, "N H W I"], kernel: Float[Array, "3 3 I O"]) -> Float[Array, "N 2*H 2*W O"]:
    """Insert zeros between the pixels, correlate with `kernel`, blur.

    Which of the kernel's nine taps meet a pixel and not a zero depends on whether row and column are even. So four
    kernels of 2 x 2 taps are applied as one matrix product, and the results are interleaved. A convolution with dilated
    input would have a kernel gradient five to twenty times slower on processors.
    """
    count, height, width, inputs = x.shape
    outputs = kernel.shape[-1]
    small = _even_odd(_even_odd(kernel, 0), 1).reshape(4 * inputs, outputs * 4).astype(x.dtype)
    padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    seen = [padded[:, a : a + height + 1, b : b + width + 1] for a in (0, 1) for b in (0, 1)]
    y = jnp.matmul(jnp.concatenate(seen, axis=-1), small)
    y = y.reshape(count, height + 1, width + 1, outputs, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    y = y.reshape(count, 2 * height + 2, 2 * width + 2, outputs)
    return blur(y[:, :-1, :-1], (1, 1), gain=4.0)


def _even_odd(kernel: Array, axis: int) -> Array:
    """The two taps along an axis that make the even pixels, and the one (after a zero) that makes the odd ones."""
    even = jax.lax.slice_in_dim(kernel, 0, 3, stride=2, axis=axis)
    odd = jax.lax.slice_in_dim(kernel, 1, 2, axis=axis)
    return jnp.stack([even, jnp.concatenate([jnp.zeros_like(odd), odd], axis)], axis=-1)


def conv_down(x: Float[Array, "N H W I"], kernel: Float[Array, "3 3 I O"]) -> Float[Array, "N H//2 W//2 O"]:
    """Blur, then correlation with `kernel` at every second pixel."""
    return conv(blur(x, (2, 2)), kernel, stride=2)


def _shift_sum(x: Array, axis: int, pads: tuple[int, int], taps: Sequence[float], step: int) -> Array:
    padding = [(0, 0)] * x.ndim
    padding[axis] = pads
    padded = jnp.pad(x, padding)
    last = padded.shape[axis] - len(taps) + 1
    parts = [
        tap * wide(jax.lax.slice_in_dim(padded, k, k + last, stride=step, axis=axis)) for k, tap in enumerate(taps)
    ]
    return sum(parts[1:], parts[0]).astype(x.dtype)
