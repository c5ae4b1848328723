"""The networks: Flax modules behind pure functions on plain parameter trees.

| file | what lives there |
|---|---|
| `encoder.py` | the shipped regressor's network: `EncoderConfig`, `init_encoder`, `apply_encoder`, `widen_encoder` |
| `resnet.py` | ResNet-50 of 2DASL and Deep3D: `TWODASL`, `DEEP3D`, `init_resnet`, `apply_resnet`, `train_resnet` |
| `mobilenet.py` | MobileNet-V1 of 3DDFA and 3DDFA_V2: `init_mobilenet`, `apply_mobilenet`, `train_mobilenet` |
| `critic.py` | 2DASL's self-critic: `CriticConfig`, `init_critic`, `apply_critic` |

Each takes its config first, which is static and hashable: `jax.jit(apply_resnet, static_argnums=0)`. Those with batch
normalisation keep its running averages apart from what is trained, in a `Network` of `params` and `statistics`:
`apply_...` freezes it, `train_...` normalises by the batch and returns new statistics. Weights come and go through
`facejax.checkpoints`.
"""

from facejax.nets._layers import Heads, Network, split_heads, to_bgr_input
from facejax.nets.critic import CriticConfig, apply_critic, init_critic
from facejax.nets.encoder import EncoderConfig, EncoderOutput, apply_encoder, init_encoder, widen_encoder
from facejax.nets.mobilenet import (
    THREEDDFA_V2_TRAINING,
    MobileNetConfig,
    apply_mobilenet,
    init_mobilenet,
    train_mobilenet,
)
from facejax.nets.resnet import DEEP3D, TWODASL, ResNetConfig, apply_resnet, init_resnet, train_resnet

__all__ = [
    "DEEP3D",
    "THREEDDFA_V2_TRAINING",
    "TWODASL",
    "CriticConfig",
    "EncoderConfig",
    "EncoderOutput",
    "Heads",
    "MobileNetConfig",
    "Network",
    "ResNetConfig",
    "apply_critic",
    "apply_encoder",
    "apply_mobilenet",
    "apply_resnet",
    "init_critic",
    "init_encoder",
    "init_mobilenet",
    "init_resnet",
    "split_heads",
    "to_bgr_input",
    "train_mobilenet",
    "train_resnet",
    "widen_encoder",
]
