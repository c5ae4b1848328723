"""StyleGAN2's synthesis in PyTorch with the weights of a facejax generator, to be timed beside it.

Written the way a PyTorch user would: channels before rows, the convolutions of the library, no gradients for weights.
A style may scale the kernels of each picture, all pictures going through one grouped convolution (`fused`, what
stylegan2-ada-pytorch does when it is not training), or the activations before and after a shared kernel (what it does
when training, and what facejax does).
"""

# pyright: reportMissingImports=false, reportCallIssue=false, reportArgumentType=false

import math
import sys
from typing import Any

import numpy as np

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
except ImportError:
    sys.exit("error: PyTorch is missing: pip install torch --index-url https://download.pytorch.org/whl/cpu")

from facejax.nets.stylegan2 import Generator, StyleGANConfig
from facejax.nets.stylegan2.config import layer_index

TAPS = torch.tensor([0.125, 0.375, 0.375, 0.125])


class TorchGenerator(nn.Module):
    """Latents (N, L, W) to pictures (N, 3, R, R), display values around [-1, 1], with the constant noise."""

    def __init__(self, config: StyleGANConfig, weights: Generator, *, fused: bool = True):
        super().__init__()
        if config.half:
            raise ValueError(f"half={config.half}: this generator computes in 32 bits, as processors do")
        synthesis, noise = weights.params["synthesis"], weights.noise
        self.const = fixed(tensor(synthesis["b4"]["const"]).permute(2, 0, 1))
        self.blocks = nn.ModuleList(
            Block(synthesis[f"b{side}"], noise[f"b{side}"], fused, config.clamp) for side in config.resolutions
        )

    def forward(self, ws: Tensor) -> Tensor:
        x, picture = self.const.expand(len(ws), -1, -1, -1), None
        for number, block in enumerate(self.blocks):
            first, second, last = layer_index(number)
            x, found = block(x, ws[:, first], ws[:, second], ws[:, last])
            picture = found if picture is None else upsampled(picture) + found
        assert picture is not None
        return picture


class Block(nn.Module):
    def __init__(self, params: Any, noise: Any, fused: bool, clamp: float | None):
        super().__init__()
        self.conv0 = None
        if "conv0" in params:
            self.conv0 = ModulatedConv(params["conv0"], noise["conv0"], fused, clamp, up=True)
        self.conv1 = ModulatedConv(params["conv1"], noise["conv1"], fused, clamp)
        self.torgb = ToRGB(params["torgb"], clamp)

    def forward(self, x: Tensor, first: Tensor, second: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        x = x if self.conv0 is None else self.conv0(x, first)
        x = self.conv1(x, second)
        return x, self.torgb(x, last)


class ModulatedConv(nn.Module):
    def __init__(self, params: Any, noise: Any, fused: bool, clamp: float | None, *, up: bool = False):
        super().__init__()
        kernel = tensor(params["kernel"]).permute(3, 2, 0, 1)
        self.kernel = fixed(kernel.flip(2, 3) if up else kernel)  # a transposed convolution turns its kernel around
        self.power = fixed(self.kernel.square().sum((2, 3)).T)
        self.affine = Affine(params["affine"])
        self.noise = fixed(tensor(params["strength"]) * tensor(noise))
        self.bias = fixed(tensor(params["bias"])[:, None, None])
        self.fused, self.clamp, self.up = fused, clamp, up
        self.filter = fixed(4.0 * torch.outer(TAPS, TAPS).expand(len(kernel), 1, 4, 4)) if up else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        scale = torch.rsqrt(style.square() @ self.power + 1e-8)
        x = self._grouped(x, style, scale) if self.fused else self._shared(x, style, scale)
        x = F.leaky_relu(x + self.noise + self.bias, 0.2) * math.sqrt(2.0)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

    def _shared(self, x: Tensor, style: Tensor, scale: Tensor) -> Tensor:
        return self._conv(x * style[:, :, None, None], self.kernel, 1) * scale[:, :, None, None]

    def _grouped(self, x: Tensor, style: Tensor, scale: Tensor) -> Tensor:
        count, inputs, height, width = x.shape
        kernels = self.kernel * style[:, None, :, None, None] * scale[:, :, None, None, None]
        return self._conv(x.reshape(1, count * inputs, height, width), kernels.flatten(0, 1), count)

    def _conv(self, x: Tensor, kernel: Tensor, groups: int) -> Tensor:
        """`groups` pictures, each with its own part of `kernel`, (groups * outputs, inputs, 3, 3); one a row again."""
        outputs = len(kernel) // groups
        if self.filter is None:
            y = F.conv2d(x, kernel, padding=1, groups=groups)
            return y if groups == 1 else y.unflatten(1, (groups, outputs))[0]
        kernel = kernel.unflatten(0, (groups, outputs)).transpose(1, 2).flatten(0, 1)
        y = F.conv_transpose2d(x, kernel, stride=2, groups=groups)
        y = y if groups == 1 else y.unflatten(1, (groups, outputs))[0]
        return F.conv2d(y, self.filter, padding=1, groups=outputs)


class ToRGB(nn.Module):
    """Without demodulation: three outputs, so that scaling the activations is cheapest in either case."""

    def __init__(self, params: Any, clamp: float | None):
        super().__init__()
        self.kernel = fixed(tensor(params["kernel"])[0, 0].T)
        self.affine = Affine(params["affine"])
        self.bias = fixed(tensor(params["bias"])[:, None, None])
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) / math.sqrt(x.shape[1])
        kernels = self.kernel * style[:, None]
        x = torch.bmm(kernels, x.flatten(2)).unflatten(2, x.shape[2:]) + self.bias
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class Affine(nn.Module):
    def __init__(self, params: Any):
        super().__init__()
        kernel = tensor(params["kernel"])
        self.kernel, self.bias = fixed(kernel.T / math.sqrt(len(kernel))), fixed(tensor(params["bias"]))

    def forward(self, w: Tensor) -> Tensor:
        return F.linear(w, self.kernel, self.bias)


def upsampled(picture: Tensor) -> Tensor:
    """Zeros between the pixels, then the filter: one transposed convolution a colour."""
    colours = picture.shape[1]
    taps = 4.0 * torch.outer(TAPS, TAPS).expand(colours, 1, 4, 4)
    return F.conv_transpose2d(picture, taps, stride=2, padding=1, groups=colours)


def tensor(leaf: Any) -> Tensor:
    return torch.from_numpy(np.array(leaf, np.float32))


def fixed(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.contiguous(), requires_grad=False)
