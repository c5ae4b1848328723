"""StyleGAN2 in PyTorch on a state dict named as stylegan2-ada-pytorch names it, by the formulas of the paper.

Written to differ from facejax wherever it can: a modulated kernel for each picture, transposed convolutions, the whole
two-dimensional filter.
"""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false

import math

import torch
from torch.nn import functional as F

LINE = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
FILTER = torch.outer(LINE, LINE) / 64


def sides(top):
    return [2**k for k in range(2, int(math.log2(top)) + 1)]


def random_generator(side, *, base=64, widest=8, latent=8, depth=2, seed=0):
    """Names and shapes of their generator, every tensor random."""
    shapes: dict[str, tuple[int, ...]] = {"mapping.w_avg": (latent,)}
    for k in range(depth):
        shapes |= {f"mapping.fc{k}.weight": (latent, latent), f"mapping.fc{k}.bias": (latent,)}
    for r in sides(side):
        inputs, outputs, block = min(base * 2 // r, widest), min(base // r, widest), f"synthesis.b{r}"
        if r == 4:
            shapes[f"{block}.const"] = (outputs, 4, 4)
        for name, i in (("conv0", inputs), ("conv1", outputs)):
            if r == 4 and name == "conv0":
                continue
            shapes[f"{block}.{name}.weight"] = (outputs, i, 3, 3)
            shapes |= {f"{block}.{name}.bias": (outputs,), f"{block}.{name}.noise_strength": ()}
            shapes |= {f"{block}.{name}.noise_const": (r, r), f"{block}.{name}.resample_filter": (4, 4)}
            shapes |= {f"{block}.{name}.affine.weight": (i, latent), f"{block}.{name}.affine.bias": (i,)}
        shapes |= {f"{block}.torgb.weight": (3, outputs, 1, 1), f"{block}.torgb.bias": (3,)}
        shapes |= {f"{block}.torgb.affine.weight": (outputs, latent), f"{block}.torgb.affine.bias": (outputs,)}
    return draw(shapes, seed)


def random_discriminator(side, *, base=64, widest=8, seed=1):
    last = min(base // 4, widest)
    shapes = {f"b{side}.fromrgb.weight": (base // side, 3, 1, 1), f"b{side}.fromrgb.bias": (base // side,)}
    for r in sides(side)[1:]:
        i, o = min(base // r, widest), min(base * 2 // r, widest)
        shapes |= {f"b{r}.conv0.weight": (i, i, 3, 3), f"b{r}.conv0.bias": (i,), f"b{r}.skip.weight": (o, i, 1, 1)}
        shapes |= {f"b{r}.conv1.weight": (o, i, 3, 3), f"b{r}.conv1.bias": (o,)}
    shapes |= {"b4.conv.weight": (last, last + 1, 3, 3), "b4.conv.bias": (last,)}
    shapes |= {
        "b4.fc.weight": (last, 16 * last),
        "b4.fc.bias": (last,),
        "b4.out.weight": (1, last),
        "b4.out.bias": (1,),
    }
    return draw(shapes, seed)


def draw(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def dense(state, name, x, rate=1.0):
    weight = state[f"{name}.weight"]
    return x @ weight.T * (rate / math.sqrt(weight.shape[1])) + rate * state[f"{name}.bias"]


def active(x):
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def mapping(state, z):
    x = z / torch.sqrt((z**2).mean(1, keepdim=True) + 1e-8)
    for k in range(sum(name.startswith("mapping.fc") for name in state) // 2):
        x = active(dense(state, f"mapping.fc{k}", x, 0.01))
    return x


def filtered(x, pads, gain=1.0):
    low, high = pads
    n, c, h, w = F.pad(x, (low, high, low, high)).shape
    return F.conv2d(F.pad(x, (low, high, low, high)).reshape(n * c, 1, h, w), gain * FILTER[None, None]).reshape(
        n, c, h - 3, w - 3
    )


def upsampled(x):
    n, c, h, w = x.shape
    spread = torch.zeros(n, c, 2 * h, 2 * w, dtype=x.dtype)
    spread[:, :, ::2, ::2] = x
    return filtered(spread, (2, 1), 4.0)


def modulated(state, name, x, w, *, up=False, demodulate=True):
    style = dense(state, f"{name}.affine", w)
    if not demodulate:
        style = style / math.sqrt(style.shape[1])
    kernels = state[f"{name}.weight"][None] * style[:, None, :, None, None]
    if demodulate:
        kernels = kernels / torch.sqrt((kernels**2).sum((2, 3, 4), keepdim=True) + 1e-8)
    pictures = []
    for one, kernel in zip(x, kernels, strict=True):
        if up:
            pictures.append(filtered(F.conv_transpose2d(one[None], kernel.transpose(0, 1), stride=2), (1, 1), 4.0))
        else:
            pictures.append(F.conv2d(one[None], kernel, padding=kernel.shape[-1] // 2))
    return torch.cat(pictures)


def synthesis(state, ws, *, noise=True):
    top = max(int(name.split(".")[1][1:]) for name in state if name.startswith("synthesis.b"))
    latents = iter(ws.unbind(1))
    w, colours = next(latents), None
    x = state["synthesis.b4.const"][None].repeat(len(ws), 1, 1, 1)
    for r in sides(top):
        block = f"synthesis.b{r}"
        for name in ("conv1",) if r == 4 else ("conv0", "conv1"):
            x = modulated(state, f"{block}.{name}", x, w, up=name == "conv0")
            if noise:
                x = x + state[f"{block}.{name}.noise_strength"] * state[f"{block}.{name}.noise_const"]
            x = active(x + state[f"{block}.{name}.bias"][:, None, None])
            w = next(latents)
        found = modulated(state, f"{block}.torgb", x, w, demodulate=False) + state[f"{block}.torgb.bias"][:, None, None]
        colours = found if colours is None else upsampled(colours) + found
    return colours


def layer(state, name, x, *, down=False, linear=False):
    weight = state[f"{name}.weight"]
    weight = weight / math.sqrt(weight[0].numel())
    half = weight.shape[-1] // 2
    y = F.conv2d(filtered(x, (half + 1, half + 1)), weight, stride=2) if down else F.conv2d(x, weight, padding=half)
    return y if linear else active(y + state[f"{name}.bias"][:, None, None])


def discriminator(state, images, group=4):
    top = max(int(name.split(".")[0][1:]) for name in state)
    x = layer(state, f"b{top}.fromrgb", images)
    for r in sides(top)[:0:-1]:
        short = layer(state, f"b{r}.skip", x, down=True, linear=True)
        y = layer(state, f"b{r}.conv1", layer(state, f"b{r}.conv0", x), down=True)
        x = (short + y) * math.sqrt(0.5)
    count = len(x)
    groups = count // group
    spread = torch.empty(count, 1, 4, 4, dtype=x.dtype)
    for n in range(groups):
        members = x[n::groups]
        spread[n::groups] = torch.sqrt(members.var(0, unbiased=False) + 1e-8).mean()
    x = layer(state, "b4.conv", torch.cat([x, spread], 1))
    x = active(dense(state, "b4.fc", x.flatten(1)))
    return dense(state, "b4.out", x)[:, 0]
