"""Hold ViT, T2T-ViT and LV-ViT against their authors' own layers, on the same random weights.

    git clone https://github.com/google-research/vision_transformer
    git clone https://github.com/yitu-opensource/T2T-ViT
    git clone https://github.com/zihangJiang/TokenLabeling
    pip install torch
    python experiments/check_encoders.py --vit vision_transformer --t2t T2T-ViT --lv TokenLabeling

Largest differences of the outputs, which are of the order of 1, at the smallest released sizes. They must be below
1e-4. The two PyTorch repositories import an old timm; the few names that they take from it are replaced here.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from facejax.nets._layers import Network, imagenet_input
from facejax.nets.lv_vit import LV_VIT, TokenBox, apply_lv_vit, joint_logits
from facejax.nets.t2t_vit import T2T_VIT, apply_t2t_vit
from facejax.nets.vit import VIT, apply_vit

CLOSE = 1e-4
CLASSES = 10
PICTURES = np.random.default_rng(0).uniform(size=(2, 224, 224, 3)).astype(np.float32)
BOX = TokenBox(jnp.array([2, 9]), jnp.array([4, 14]))


@dataclass(frozen=True)
class Args:
    vit: Path | None = None
    """checkout of google-research/vision_transformer"""
    t2t: Path | None = None
    """checkout of yitu-opensource/T2T-ViT"""
    lv: Path | None = None
    """checkout of zihangJiang/TokenLabeling"""


def main(args: Args) -> None:
    checks = ((check_vit, args.vit), (check_t2t_vit, args.t2t), (check_lv_vit, args.lv))
    if not any(folder for _, folder in checks):
        raise ValueError("pass at least one of --vit, --t2t and --lv")
    worst = 0.0
    for check, folder in checks:
        if folder is None:
            continue
        sys.path.insert(0, str(folder))
        for name, difference in check().items():
            print(f"{name}: {difference:.1e}")
            worst = max(worst, difference)
    if worst > CLOSE:
        raise ValueError(f"{worst:.1e} is above {CLOSE}")


def check_vit() -> dict[str, float]:
    config = replace(VIT["Ti/16"], classes=CLASSES)
    layers = {"num_layers": config.layers, "mlp_dim": config.hidden, "num_heads": config.heads}
    patches: Any = ModuleType("patches")
    patches.size = (config.patch, config.patch)
    model = import_module("vit_jax.models_vit").VisionTransformer(
        num_classes=CLASSES, patches=patches, transformer=layers, hidden_size=config.width
    )
    images = jnp.asarray(PICTURES)
    params = jax.tree.map(np.asarray, model.init(jax.random.key(0), 2 * images - 1, train=False)["params"])
    params = randomize(params)
    theirs = model.apply({"params": params}, 2 * images - 1, train=False)
    ours = jax.jit(apply_vit, static_argnums=0)(config, vit_params(config.layers, params), images)
    return {"ViT-Ti/16": distance(ours.logits, theirs)}


def randomize(params: Any) -> Any:
    """Random weights everywhere, of a size that keeps the outputs of the order of 1."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            fan_in = leaf.size // leaf.shape[-1] if leaf.ndim != 3 or "out" in str(path) else leaf.shape[0]
            return rng.normal(0, fan_in**-0.5, leaf.shape).astype(np.float32)
        middle = 1.0 if path[-1].key == "scale" else 0.0
        return rng.normal(middle, 0.2, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, params)


def vit_params(layers: int, theirs: Any) -> Any:
    def block(one: Any) -> Any:
        attention, mlp = one["MultiHeadDotProductAttention_0"], one["MlpBlock_0"]
        parts = [attention[name] for name in ("query", "key", "value")]
        width = parts[0]["kernel"].shape[0]
        qkv = {
            "kernel": np.concatenate([part["kernel"].reshape(width, -1) for part in parts], axis=1),
            "bias": np.concatenate([part["bias"].reshape(-1) for part in parts]),
        }
        out = {"kernel": attention["out"]["kernel"].reshape(-1, width), "bias": attention["out"]["bias"]}
        return {
            "norm1": one["LayerNorm_0"],
            "attention": {"qkv": qkv, "proj": out},
            "norm2": one["LayerNorm_1"],
            "mlp": {"fc1": mlp["Dense_0"], "fc2": mlp["Dense_1"]},
        }

    encoder = theirs["Transformer"]
    return {
        "embedding": theirs["embedding"],
        "transformer": {
            "class_token": theirs["cls"][0, 0],
            "positions": encoder["posembed_input"]["pos_embedding"][0],
            "norm": encoder["encoder_norm"],
            **{f"block_{k}": block(encoder[f"encoderblock_{k}"]) for k in range(layers)},
        },
        "head": theirs["head"],
    }


def check_t2t_vit() -> dict[str, float]:
    replace_timm()
    config = replace(T2T_VIT["7"], classes=CLASSES)
    module = import_module("models.t2t_vit")
    found = {}
    for scale in (None, config.width**-0.5):
        model = randomize_torch(module.t2t_vit_7(num_classes=CLASSES, qk_scale=scale))
        (theirs,) = run_torch(model, lambda model, x: (model(x),))
        config = replace(config, scale=scale)
        ours = jax.jit(apply_t2t_vit, static_argnums=0)(config, t2t_params(config.layers, state(model)), PICTURES)
        found[f"T2T-ViT-7, scale {scale or 'of a head'}"] = distance(ours.logits, theirs)
    return found


def t2t_params(layers: int, theirs: dict[str, np.ndarray]) -> Any:
    def performer(name: str) -> Any:
        return {
            "norm1": norm(theirs, f"{name}.norm1"),
            "kqv": dense(theirs, f"{name}.kqv"),
            "features": theirs[f"{name}.w"],
            "proj": dense(theirs, f"{name}.proj"),
            "norm2": norm(theirs, f"{name}.norm2"),
            "mlp": {"fc1": dense(theirs, f"{name}.mlp.0"), "fc2": dense(theirs, f"{name}.mlp.2")},
        }

    return {
        "performer_0": performer("tokens_to_token.attention1"),
        "performer_1": performer("tokens_to_token.attention2"),
        "project": dense(theirs, "tokens_to_token.project"),
        "transformer": transformer(layers, theirs),
        "head": dense(theirs, "head"),
    }


def check_lv_vit() -> dict[str, float]:
    replace_timm()
    config = replace(LV_VIT["S"], classes=CLASSES, token_classes=CLASSES)
    module: Any = import_module("tlt.models.lvvit")
    (top, bottom), (left, right) = np.asarray(BOX.rows), np.asarray(BOX.columns)
    module.rand_bbox = lambda size, share: (top, left, bottom, right)  # which is random there
    model = randomize_torch(module.lvvit_s(num_classes=CLASSES))
    network = lv_network(config.layers, state(model))
    (theirs,) = run_torch(model, lambda model, x: (model(x),))
    ours = jax.jit(apply_lv_vit, static_argnums=0)(config, network, PICTURES)
    model.train()  # which mixes tokens
    for part in model.modules():
        if type(part).__name__ == "BatchNorm2d":
            part.eval()
    logits, each = run_torch(model, lambda model, x: model(x)[:2])
    mixed = jax.jit(apply_lv_vit, static_argnums=0)(config, network, PICTURES, mix=BOX)
    return {
        "LV-ViT-S": distance(joint_logits(ours), theirs),
        "LV-ViT-S with MixToken": distance(mixed.logits, logits),
        "LV-ViT-S with MixToken, tokens": distance(mixed.token_logits.reshape(each.shape), each),
    }


def lv_network(layers: int, theirs: dict[str, np.ndarray]) -> Network:
    params: dict[str, Any] = {
        "proj": conv(theirs, "patch_embed.proj"),
        "transformer": transformer(layers, theirs),
        "head": dense(theirs, "head"),
        "token_head": dense(theirs, "aux_head"),
    }
    statistics = {}
    for k in (1, 2, 3):
        params[f"conv{k}"] = conv(theirs, f"patch_embed.conv{k}")
        params[f"norm{k}"] = norm(theirs, f"patch_embed.bn{k}")
        averages = (theirs[f"patch_embed.bn{k}.running_{name}"] for name in ("mean", "var"))
        statistics[f"norm{k}"] = dict(zip(("mean", "var"), averages, strict=True))
    return Network(params, statistics)


def transformer(layers: int, theirs: dict[str, np.ndarray]) -> Any:
    def block(name: str) -> Any:
        return {
            "norm1": norm(theirs, f"{name}.norm1"),
            "attention": {part: dense(theirs, f"{name}.attn.{part}") for part in ("qkv", "proj")},
            "norm2": norm(theirs, f"{name}.norm2"),
            "mlp": {part: dense(theirs, f"{name}.mlp.{part}") for part in ("fc1", "fc2")},
        }

    return {
        "class_token": theirs["cls_token"][0, 0],
        "positions": theirs["pos_embed"][0],  # T2T-ViT's are fixed; flax ignores these
        "norm": norm(theirs, "norm"),
        **{f"block_{k}": block(f"blocks.{k}") for k in range(layers)},
    }


def dense(theirs: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    bias = {"bias": theirs[f"{name}.bias"]} if f"{name}.bias" in theirs else {}
    return {"kernel": theirs[f"{name}.weight"].T, **bias}


def conv(theirs: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    bias = {"bias": theirs[f"{name}.bias"]} if f"{name}.bias" in theirs else {}
    return {"kernel": theirs[f"{name}.weight"].transpose(2, 3, 1, 0), **bias}


def norm(theirs: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {"scale": theirs[f"{name}.weight"], "bias": theirs[f"{name}.bias"]}


def state(model: Any) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def run_torch(model: Any, call: Callable[[Any, Any], Any]) -> list[np.ndarray]:
    """The outputs for the pictures, normalised and channels first as these models take them."""
    torch: Any = import_module("torch")
    shown = np.array(imagenet_input(jnp.asarray(PICTURES))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return [one.numpy() for one in call(model, torch.from_numpy(np.ascontiguousarray(shown)))]


def randomize_torch(model: Any) -> Any:
    torch: Any = import_module("torch")
    torch.manual_seed(0)
    for name, value in model.state_dict().items():
        if "num_batches" in name or (name == "pos_embed" and "tokens_to_token.project.weight" in model.state_dict()):
            continue
        if name.endswith(".w"):  # the Performers' features
            continue
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.ndim > 1 and name.endswith("weight"):
            value.normal_(0, value[0].numel() ** -0.5)
        else:
            value.normal_(float("norm" in name or "bn" in name) * float(name.endswith("weight")), 0.2)
    return model.eval()


def replace_timm() -> None:
    """What both repositories import from timm, for models whose paths are never dropped."""
    torch: Any = import_module("torch")
    names = {
        "timm.models.helpers": {"load_pretrained": None},
        "timm.models.registry": {"register_model": lambda function: function},
        "timm.models.layers": {
            "trunc_normal_": torch.nn.init.trunc_normal_,
            "DropPath": torch.nn.Identity,
            "to_2tuple": lambda value: (value, value),
        },
        "timm.models.resnet": dict.fromkeys(("resnet26d", "resnet50d", "resnet101d")),
        "timm.models": {},
        "timm": {},
    }
    for name, contents in names.items():
        module = sys.modules.setdefault(name, ModuleType(name))
        for key, value in contents.items():
            setattr(module, key, value)


def distance(ours: Any, theirs: Any) -> float:
    return float(np.max(np.abs(np.asarray(ours) - np.asarray(theirs))))


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
