"""The networks: Flax modules behind pure functions on plain parameter trees.

| file | what lives there |
|---|---|
| `encoder.py` | the shipped regressor's network: `init_encoder`, `apply_encoder`, `encoder_features`, `widen_encoder` |
| `vit.py` | ViT: `VIT` (sizes), `init_vit`, `apply_vit` |
| `t2t_vit.py` | T2T-ViT: `T2T_VIT`, `init_t2t_vit`, `apply_t2t_vit` |
| `lv_vit.py` | LV-ViT with token labelling: `LV_VIT`, `init_lv_vit`, `apply_lv_vit`, `mix_tokens` |
| `resnet.py` | ResNet-50 of 2DASL and Deep3D: `TWODASL`, `DEEP3D`, `apply_resnet` |
| `mobilenet.py` | MobileNet-V1 of 3DDFA and 3DDFA_V2: `apply_mobilenet` |
| `vgg16.py` | VGG16 with LPIPS' weights: `apply_vgg16`, `lpips_features` |
| `iresnet.py` | ArcFace's recogniser: `apply_iresnet` |
| `dlib_resnet.py` | dlib's recogniser: `apply_dlib_resnet` |
| `bisenet.py` | face parsing: `apply_bisenet`, `parse_faces`, `parts_mask` |
| `dpr_light.py` | DPR's light of a portrait: `apply_dpr` |
| `fan.py` | 68 landmarks: `apply_fan`, `heatmap_landmarks` |
| `critic.py` | 2DASL's self-critic: `CriticConfig`, `init_critic`, `apply_critic` |
| `stylegan2/` | generator and discriminator; see there |
| `normal_injection.py` | GAR's scale and shift from normals: `init_injection`, `place_maps` |
| `normal_net.py` | a U-Net that reads a head's normals from a picture: `init_normal_net`, `apply_normal_net` |

Each takes its config first, which is static and hashable: `jax.jit(apply_resnet, static_argnums=0)`. Those with batch
normalisation keep its running averages apart from the other weights, in a `Network` of `params` and `statistics`. They
are run but never trained here, so the averages stay fixed. Weights come and go through `facejax.checkpoints`.
"""

from facejax.nets._layers import Heads, Network, split_heads, to_bgr_input
from facejax.nets._transformer import TransformerOutput
from facejax.nets.bisenet import BiSeNetConfig, apply_bisenet, parse_faces, parts_mask
from facejax.nets.critic import CriticConfig, apply_critic, init_critic
from facejax.nets.dlib_resnet import DlibResNetConfig, apply_dlib_resnet
from facejax.nets.dpr_light import DPRConfig, apply_dpr
from facejax.nets.encoder import (
    TRUNKS,
    EncoderConfig,
    EncoderOutput,
    apply_encoder,
    encoder_features,
    init_encoder,
    widen_encoder,
)
from facejax.nets.fan import FANConfig, FANOutput, apply_fan, heatmap_landmarks
from facejax.nets.iresnet import IResNetConfig, apply_iresnet
from facejax.nets.lv_vit import (
    LV_VIT,
    LVViTConfig,
    LVViTOutput,
    TokenBox,
    apply_lv_vit,
    draw_token_box,
    init_lv_vit,
    joint_logits,
    kept_share,
    mix_tokens,
)
from facejax.nets.mobilenet import MobileNetConfig, apply_mobilenet
from facejax.nets.resnet import DEEP3D, TWODASL, ResNetConfig, apply_resnet
from facejax.nets.t2t_vit import T2T_VIT, T2TViTConfig, apply_t2t_vit, init_t2t_vit
from facejax.nets.vgg16 import VGG16Config, apply_vgg16, lpips_features
from facejax.nets.vit import VIT, ViTConfig, apply_vit, init_vit

__all__ = [
    "DEEP3D",
    "LV_VIT",
    "T2T_VIT",
    "TRUNKS",
    "TWODASL",
    "VIT",
    "BiSeNetConfig",
    "CriticConfig",
    "DPRConfig",
    "DlibResNetConfig",
    "EncoderConfig",
    "EncoderOutput",
    "FANConfig",
    "FANOutput",
    "Heads",
    "IResNetConfig",
    "LVViTConfig",
    "LVViTOutput",
    "MobileNetConfig",
    "Network",
    "ResNetConfig",
    "T2TViTConfig",
    "TokenBox",
    "TransformerOutput",
    "VGG16Config",
    "ViTConfig",
    "apply_bisenet",
    "apply_critic",
    "apply_dlib_resnet",
    "apply_dpr",
    "apply_encoder",
    "apply_fan",
    "apply_iresnet",
    "apply_lv_vit",
    "apply_mobilenet",
    "apply_resnet",
    "apply_t2t_vit",
    "apply_vgg16",
    "apply_vit",
    "draw_token_box",
    "encoder_features",
    "heatmap_landmarks",
    "init_critic",
    "init_encoder",
    "init_lv_vit",
    "init_t2t_vit",
    "init_vit",
    "joint_logits",
    "kept_share",
    "lpips_features",
    "mix_tokens",
    "parse_faces",
    "parts_mask",
    "split_heads",
    "to_bgr_input",
    "widen_encoder",
]
