"""Importers of released PyTorch weights of 3DDFA, 3DDFA_V2, 2DASL and Deep3DFaceRecon.

Each takes a file that the user got from its authors; docs/weights.md says where, and under which licence. The layout of
the files is that of github.com/cleardusk/3DDFA and 3DDFA_V2, XgTu/2DASL, sicxu/Deep3DFaceRecon_pytorch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.checkpoints.layout import KINDS, fill
from facejax.checkpoints.store import load, save
from facejax.checkpoints.torch_files import read_tensors
from facejax.face_model.formats._pickle import load_pickle
from facejax.nets import (
    DEEP3D,
    TWODASL,
    BiSeNetConfig,
    DlibResNetConfig,
    DPRConfig,
    FANConfig,
    IResNetConfig,
    MobileNetConfig,
    Network,
    ResNetConfig,
    VGG16Config,
    split_heads,
    to_bgr_input,
)
from facejax.nets.mobilenet import apply_mobilenet, mobilenet_shapes
from facejax.nets.resnet import apply_resnet, resnet_shapes
from facejax.objectives.coefficients import Whitening, unwhiten

SCHEMA, VERSION = "released network", 1
CONFIGS: dict[str, type[Any]] = {
    "resnet": ResNetConfig,
    "mobilenet": MobileNetConfig,
    "vgg16": VGG16Config,
    "iresnet": IResNetConfig,
    "dlib_resnet": DlibResNetConfig,
    "bisenet": BiSeNetConfig,
    "dpr": DPRConfig,
    "fan": FANConfig,
}
_WRONG_NETWORK = "these weights are another network's: regress_{0} takes what import_{0} returns"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Released:
    """A network with its authors' weights."""

    network: Network
    whitening: Whitening | None
    config: Any = field(metadata={"static": True})  # one of CONFIGS


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Coefficients62:
    """The un-whitened coefficients of 3DDFA, 3DDFA_V2 and 2DASL, for their 53,215-vertex Basel model in micrometres."""

    pose: Float[Array, "N 3 4"]  # [f R | t]; `facejax.conventions.from_3ddfa` converts it to a pose and a camera
    identity: Float[Array, "N 40"]
    expression: Float[Array, "N 10"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Coefficients257:
    """The coefficients of Deep3DFaceRecon, for its Basel model 2009 with FaceWarehouse expressions."""

    identity: Float[Array, "N 80"]
    expression: Float[Array, "N 64"]
    albedo: Float[Array, "N 80"]
    angles: Float[Array, "N 3"]  # with the translation: `facejax.conventions.from_deep3d`
    light: Float[Array, "N 3 9"]  # `facejax.conventions.from_deep3d_light`
    translation: Float[Array, "N 3"]


def import_3ddfa(path: str | Path, whitening: str | Path) -> Released:
    """MobileNet-V1 of 3DDFA_V2 (`mb1_120x120.pth`, `mb05_120x120.pth`) or of 3DDFA (`phase1_*.pth.tar`).

    `whitening` is `param_mean_std_62d_120x120.pkl` of 3DDFA_V2 or `param_whitening.pkl` of 3DDFA. The head of 136
    landmarks, which 3DDFA_V2 uses in training only, is left out. Raises FileNotFoundError or ValueError, of one line
    that names the file and the fix.
    """
    tensors = read_tensors(path, ["state_dict"])
    widen = len(tensors.get("conv1.weight", np.zeros(32))) / 32
    config = MobileNetConfig(widen=widen)
    heads = {"coefficients": ["fc_param" if "fc_param.weight" in tensors else "fc"]}
    network = _fill(Path(path), mobilenet_shapes(config), tensors, heads, ignore="fc_lm.")
    return Released(network, read_whitening(whitening), config)


def import_2dasl(path: str | Path, whitening: str | Path) -> Released:
    """ResNet-50 with four channels of 2DASL (`2DASL_checkpoint_epoch_allParams_stage1.pth.tar`, `..._stage2.pth.tar`).

    `whitening` is its `param_whitening.pkl`. Raises like `import_3ddfa`.
    """
    tensors = read_tensors(path, ["res_state_dict", "state_dict"])
    network = _fill(Path(path), resnet_shapes(TWODASL), tensors, {"coefficients": ["fc"]})
    return Released(network, read_whitening(whitening), TWODASL)


def import_deep3d(path: str | Path) -> Released:
    """ResNet-50 with its heads of Deep3DFaceRecon_pytorch (`epoch_20.pth`, the network `net_recon`).

    Raises like `import_3ddfa`.
    """
    tensors = read_tensors(path, ["net_recon"])
    tensors = {name.removeprefix("net_recon.").removeprefix("backbone."): value for name, value in tensors.items()}
    heads = {name: [f"final_layers.{layer}"] for layer, (name, _) in enumerate(DEEP3D.heads)}
    heads["translation"].append("final_layers.6")  # depth has its own layer
    return Released(_fill(Path(path), resnet_shapes(DEEP3D), tensors, heads), None, DEEP3D)


def read_whitening(path: str | Path) -> Whitening:
    """Mean and standard deviation of the 62 coefficients, from a .pkl (nothing in it is executed) or .npz file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; docs/weights.md says where the means come from")
    try:
        if path.suffix == ".npz":
            data: Mapping[str, Any] = dict(np.load(path, allow_pickle=False))
        else:
            with path.open("rb") as file:
                data = load_pickle(path, file)
    except Exception as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())[:160]
        raise ValueError(f"{path}: cannot be read as .pkl or .npz ({reason}); download it again") from None
    found = [
        np.asarray(data.get(name, data.get(f"param_{name}", 0.0)), np.float32).reshape(-1) for name in ("mean", "std")
    ]
    if any(value.shape != (62,) for value in found) or not np.all(found[1] > 0):
        raise ValueError(f"{path}: no 62 numbers 'mean' and 'std'; give the whitening file that belongs to the weights")
    return Whitening(jnp.asarray(found[0]), jnp.asarray(found[1]))


def regress_3ddfa(released: Released, images: Float[Array, "N 120 120 3"]) -> Coefficients62:
    """Coefficients of face crops, RGB in [0, 1]."""
    config = released.config
    if not isinstance(config, MobileNetConfig):
        raise ValueError(_WRONG_NETWORK.format("3ddfa"))
    return coefficients_62(apply_mobilenet(config, released.network, to_bgr_input(images)), released.whitening)


def regress_2dasl(
    released: Released, images: Float[Array, "N 120 120 3"], maps: Float[Array, "N 120 120"]
) -> Coefficients62:
    """Coefficients of face crops, RGB in [0, 1], with their landmark maps: 1 at 18 landmarks, -1 elsewhere.

    `facejax.objectives.draw_landmarks` draws such maps.
    """
    config = released.config
    if not isinstance(config, ResNetConfig) or config.channels != 4:
        raise ValueError(_WRONG_NETWORK.format("2dasl"))
    inputs = jnp.concatenate([to_bgr_input(images), maps[..., None]], axis=-1)
    return coefficients_62(apply_resnet(config, released.network, inputs), released.whitening)


def regress_deep3d(released: Released, images: Float[Array, "N 224 224 3"]) -> Coefficients257:
    """Coefficients of aligned faces, RGB in [0, 1]."""
    config = released.config
    if not isinstance(config, ResNetConfig) or config.channels != 3:
        raise ValueError(_WRONG_NETWORK.format("deep3d"))
    return coefficients_257(apply_resnet(config, released.network, images))


def coefficients_62(outputs: Float[Array, "N 62"], whitening: Whitening | None) -> Coefficients62:
    """The outputs split into blocks; `whitening` None leaves them whitened."""
    values = outputs if whitening is None else unwhiten(whitening, outputs)
    blocks = split_heads((("pose", 12), ("identity", 40), ("expression", 10)), values)
    return Coefficients62(blocks["pose"].reshape(-1, 3, 4), blocks["identity"], blocks["expression"])


def coefficients_257(outputs: Float[Array, "N 257"]) -> Coefficients257:
    """The outputs split into blocks."""
    blocks = split_heads(DEEP3D.heads, outputs)
    return Coefficients257(**blocks | {"light": blocks["light"].reshape(-1, 3, 9)})


def save_released(path: str | Path, released: Released, *, half: bool = False, **notes: Any) -> None:
    """Write an imported network as a checkpoint, which loads without PyTorch.

    `half` stores it in 16 bits; `notes` go into its metadata.
    """
    kind = next(kind for kind, config in CONFIGS.items() if isinstance(released.config, config))
    about = {"kind": kind, "config": asdict(released.config), **notes}
    save(path, released, schema=SCHEMA, version=VERSION, half=half, **about)


def load_released(path: str | Path, *, kind: str | None = None) -> Released:
    """Load what `save_released` wrote. Raises ValueError when it is of another `kind` (one of CONFIGS), and like
    `load`.
    """
    tree, about = load(path, schema=SCHEMA, version=VERSION)
    if kind not in (None, about["kind"]):
        raise ValueError(f"{path}: holds a network of the kind {about['kind']!r}, wanted is {kind!r}; give another one")
    config = CONFIGS[about["kind"]](**{name: _tuples(value) for name, value in about["config"].items()})
    tree = jax.tree.map(jnp.asarray, tree)
    whitening = Whitening(**tree["whitening"]) if "whitening" in tree else None
    return Released(Network(tree["network"]["params"], tree["network"].get("statistics", {})), whitening, config)


def _tuples(value: Any) -> Any:
    """Lists, which JSON makes of tuples, as tuples again."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# --- names in PyTorch and here ----------------------------------------------------------------------------------------

# Layer here: its convolution and its batch normalisation in PyTorch.
_LAYERS = {
    "conv1": ("conv1", "bn1"),
    "conv2": ("conv2", "bn2"),
    "conv3": ("conv3", "bn3"),
    "shortcut": ("downsample.0", "downsample.1"),
    "depthwise": ("conv_dw", "bn_dw"),
    "pointwise": ("conv_sep", "bn_sep"),
}


def _fill(
    path: Path, shapes: Network, tensors: dict[str, np.ndarray], heads: dict[str, list[str]], ignore: str = "\n"
) -> Network:
    """The network's variables from the tensors."""
    return fill(path, shapes, tensors, lambda parts: _torch_names(parts, heads), ignore=(ignore,))


def _torch_names(parts: list[str], heads: dict[str, list[str]]) -> list[str]:
    """The PyTorch names: ["layer1_0", "conv1", "norm", "scale"] becomes ["layer1.0.bn1.weight"]. A head may have
    several.
    """
    if parts[0] == "heads":
        return [f"{name}.{KINDS[parts[2]]}" for name in heads[parts[1]]]
    *block, layer, part, kind = parts
    prefix = [name.replace("_", ".") if name.startswith("layer") else name for name in block]
    return [".".join([*prefix, _LAYERS[layer][part == "norm"], KINDS[kind]])]
