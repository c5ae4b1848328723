"""Importers of released PyTorch weights for networks used in losses: LPIPS, ArcFace, face parsing, light, landmarks.

Each takes a file that the user got from its authors; docs/weights.md says where, and under which terms. Sizes are read
from the tensors, so ArcFace's deeper and shallower networks can be imported as well. All raise FileNotFoundError or
ValueError, of one line that names the file and the fix.
"""

import re
from pathlib import Path

import numpy as np

from facejax.checkpoints.layout import KINDS, fill
from facejax.checkpoints.released import Released
from facejax.checkpoints.torch_files import read_tensors
from facejax.nets import BiSeNetConfig, DPRConfig, FANConfig, IResNetConfig, VGG16Config
from facejax.nets.bisenet import bisenet_shapes
from facejax.nets.dpr_light import dpr_shapes
from facejax.nets.fan import fan_shapes
from facejax.nets.iresnet import iresnet_shapes
from facejax.nets.vgg16 import vgg16_shapes

Tensors = dict[str, np.ndarray]


def import_lpips(vgg: str | Path, weights: str | Path | None = None) -> Released:
    """VGG16 with LPIPS' weights of its channels, for `facejax.nets.lpips_features`.

    Either `vgg` is torchvision's `vgg16-397923af.pth` and `weights` is LPIPS' own `lpips/weights/v0.1/vgg.pth`, or
    `vgg` alone is the state_dict of a whole `lpips.LPIPS(net="vgg")`. The `vgg16.pt` of StyleGAN2-ADA was made from
    both, but names its layers differently and is refused.
    """
    tensors = _plain_vgg(read_tensors(vgg, ["state_dict"]))
    if weights is not None:
        tensors |= read_tensors(weights, ["state_dict"])
    for name, value in tensors.items():
        if name.startswith("lin") and np.any(value < 0):
            raise ValueError(f"{weights or vgg}: {name!r} has weights below zero: not LPIPS' own, see docs/weights.md")
    path = vgg if weights is None else f"{vgg} with {weights}"
    config = VGG16Config()
    config = VGG16Config(widths=_outputs(tensors, _vgg_layers(config), config.widths))
    places = {f"conv{stage}_{layer}": f"features.{place}" for stage, layer, place in _vgg_layers(config)}

    def names(parts: list[str]) -> list[str]:
        layer, kind = parts
        return [f"{layer}.model.1.weight" if kind == "scale" else f"{places[layer]}.{KINDS[kind]}"]

    return Released(fill(path, vgg16_shapes(config), tensors, names), None, config)


def import_arcface(path: str | Path) -> Released:
    """IResNet of arcface_torch (`backbone.pth` of `ms1mv3_arcface_r50_fp16` and others), for `apply_iresnet`."""
    tensors = read_tensors(path, ["state_dict", "state_dict_backbone"])
    blocks = tuple(_count(tensors, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    width = len(tensors.get("conv1.weight", np.zeros(64)))
    dense = tensors.get("fc.weight", np.zeros((512, 0)))
    cells = max(round((dense[0].size / (8 * width)) ** 0.5), 1)
    config = IResNetConfig(blocks=blocks, width=width, size=16 * cells, features=len(dense))  # type: ignore[arg-type]
    # PyTorch flattens channels, rows, columns; here channels come last
    if dense.size == len(dense) * 8 * width * cells**2:
        dense = dense.reshape(-1, 8 * width, cells, cells).transpose(0, 2, 3, 1)
        tensors["fc.weight"] = dense.reshape(len(dense), -1)
    return Released(fill(Path(path), iresnet_shapes(config), tensors, _resnet_names), None, config)


def import_face_parsing(path: str | Path) -> Released:
    """BiSeNet of face-parsing.PyTorch (`79999_iter.pth`), for `parse_faces`; its two training heads are left out."""
    tensors = read_tensors(path, ["state_dict"])
    config = BiSeNetConfig(
        classes=len(tensors.get("conv_out.conv_out.weight", np.zeros(19))),
        width=len(tensors.get("cp.resnet.conv1.weight", np.zeros(64))),
    )

    def names(parts: list[str]) -> list[str]:
        if parts[:2] == ["cp", "resnet"]:
            return [f"cp.resnet.{name}" for name in _resnet_names(parts[2:])]
        *block, kind = ["bn" if part == "norm" else part for part in parts]
        return [".".join([*block, KINDS[kind]])]

    ignore = ("conv_out16.", "conv_out32.", "cp.resnet.fc.")
    return Released(fill(Path(path), bisenet_shapes(config), tensors, names, ignore=ignore), None, config)


def import_dpr_light(path: str | Path) -> Released:
    """The encoder of DPR (`trained_model_03.t7`), for `apply_dpr`; the decoder is left out."""
    tensors = read_tensors(path, ["state_dict"])
    config = DPRConfig(
        width=len(tensors.get("pre_conv.weight", np.zeros(16))),
        hidden=len(tensors.get("light.predict_FC1.weight", np.zeros(128))),
    )

    def names(parts: list[str]) -> list[str]:
        if parts[0].startswith("HG"):
            return [f"{parts[0]}.low1.{name}" for name in _resnet_names(parts[1:])]
        return _resnet_names(parts)

    ignore = ("conv_", "bn_", "output.", "light.post_", "HG3.low1.shortcuts.")
    ignore += tuple(f"HG{level}.{part}." for level in range(4) for part in ("upper", "low2", "middle"))
    return Released(fill(Path(path), dpr_shapes(config), tensors, names, ignore=ignore), None, config)


def import_fan(path: str | Path) -> Released:
    """FAN of face-alignment, for `apply_fan` and `heatmap_landmarks`.

    The file is `2DFAN4-11f355bf06.pth.tar`, or `2DFAN4-cd938726ad.zip`, a TorchScript archive of the same module.
    """
    tensors = read_tensors(path, ["state_dict"])
    last = tensors.get("l0.weight", np.zeros((68, 256)))
    config = FANConfig(modules=_count(tensors, r"m(\d+)\."), width=last.shape[1], points=len(last))
    return Released(fill(Path(path), fan_shapes(config), tensors, _resnet_names), None, config)


# --- names ------------------------------------------------------------------------------------------------------------


def _resnet_names(parts: list[str]) -> list[str]:
    """PyTorch's name: layer1_0/conv2/norm/scale is layer1.0.bn2.weight, downsample/norm/scale is downsample.1.weight.

    `conv2/norm` are the two parts of a layer here; other parts keep their own name.
    """
    *block, kind = parts
    if len(block) > 1 and block[-1] in ("conv", "norm"):
        layer, part = block[-2:]
        if layer in ("shortcut", "downsample"):
            pair = f"downsample.{int(part == 'norm')}"
        else:
            pair = layer.replace("conv", "bn") if part == "norm" else layer
        block = [*block[:-2], pair]
    dotted = [re.sub(r"^(layer\d|downsample)_", r"\1.", name) for name in block]
    return [".".join([*dotted, KINDS[kind]])]


def _plain_vgg(tensors: Tensors) -> Tensors:
    """The names of a whole LPIPS module converted to those of torchvision and of LPIPS' own file."""
    plain = {re.sub(r"^net\.slice\d\.", "features.", name): value for name, value in tensors.items()}
    return {k: v for k, v in plain.items() if not k.startswith(("classifier.", "lins.", "scaling_layer."))}


def _vgg_layers(config: VGG16Config) -> list[tuple[int, int, int]]:
    """Stage, layer and index in torchvision's `features`: a ReLU follows each convolution, pooling each stage."""
    layers, place = [], 0
    for stage, depth in enumerate(config.depths):
        for layer in range(depth):
            layers.append((stage + 1, layer + 1, place))
            place += 2
        place += 1
    return layers


def _outputs(tensors: Tensors, layers: list[tuple[int, int, int]], default: tuple[int, ...]) -> tuple[int, ...]:
    """Channels of each stage whose first layer is in the file."""
    firsts = [place for _, layer, place in layers if layer == 1]
    found = [tensors.get(f"features.{place}.weight") for place in firsts]
    return tuple(width if value is None else len(value) for value, width in zip(found, default, strict=True))


def _count(tensors: Tensors, pattern: str) -> int:
    """One more than the highest number in the names that match; at least one."""
    found = [int(match[1]) for match in (re.match(pattern, name) for name in tensors) if match]
    return max(found, default=0) + 1
