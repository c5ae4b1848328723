"""GAR's normal injection: a normal map becomes a scale and a shift for each pixel of a generator's features.

Piao et al., "Inverting generative adversarial renderer for face reconstruction", CVPR 2021, with the layers of its
released code (StyleRenderer): at every resolution one residual block of two 3x3 convolutions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets.stylegan2.layers import Conv, draw


def init_injection(resolutions: Sequence[int], key: Key[Array, ""]) -> Any:
    """Parameters, one block per resolution (4, 8, ...).

    The biases of the scales start at 1, so that features pass where there is no face; the released code starts them at
    0.
    """
    maps = {f"b{side}": jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32) for side in resolutions}
    params = draw(jax.eval_shape(_Injection().init, jax.random.key(0), maps)["params"], key)
    for block in params.values():
        bias = block["conv1"]["bias"]
        block["conv1"]["bias"] = bias.at[::2].set(1.0)
    return params


def place_maps(params: Any, normals: Mapping[str, Float[Array, "N S S 3"]]) -> dict[str, dict[str, Array]]:
    """Scale and shift maps of each convolution, for `apply_synthesis(places=...)`.

    `normals` holds camera-space normals times coverage, 0 where there is no face, by resolution: {"b4": ..., "b8":
    ...}. Far from the face, scale and shift are constant. A scale of 0 removes a pixel's features.
    """
    return _Injection().apply({"params": params}, dict(normals))  # type: ignore[return-value]


def _convs(name: str) -> tuple[str, ...]:
    """The first block has one convolution, the others two."""
    return ("conv1",) if name == "b4" else ("conv0", "conv1")


class _Injection(nn.Module):
    @nn.compact
    def __call__(self, normals):
        return {name: _Block(_convs(name), name=name)(maps) for name, maps in normals.items()}


class _Block(nn.Module):
    convs: tuple[str, ...]

    @nn.compact
    def __call__(self, normals):
        count, gain = 2 * len(self.convs), math.sqrt(0.5)
        short = Conv(count, kernel=1, bias=False, gain=gain, name="skip")(normals)
        long = Conv(count, gain=gain, name="conv1")(Conv(3, name="conv0")(normals))
        found = short + long
        return {conv: found[..., 2 * k : 2 * k + 2] for k, conv in enumerate(self.convs)}
