"""Networks for comparing pictures in a fit: `Ingredients(networks={"perceptual": ..., "recognition": ...})`.

Users download released weights themselves (docs/weights.md), or `facejax[identity]` brings them; the project's own
encoder needs none.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.checkpoints import Released
from facejax.fitting.ingredients import FeatureNetwork
from facejax.images.align import align_face, face_chip
from facejax.nets import (
    DlibResNetConfig,
    EncoderConfig,
    IResNetConfig,
    VGG16Config,
    apply_dlib_resnet,
    apply_iresnet,
    encoder_features,
    lpips_features,
)
from facejax.objectives import cosine_distance, descriptor_distance, feature_distance, lpips_distance


def lpips_network(released: Released) -> FeatureNetwork:
    """LPIPS, for "perceptual", from `facejax.checkpoints.import_lpips`. Raises ValueError for another network.

    The render is laid over the photograph and differs from it only there, so no mask is needed.
    """
    _expect(released, VGG16Config, "import_lpips")
    return FeatureNetwork(released, _see_lpips, _compare_lpips, "LPIPS (VGG16)")


def arcface_network(released: Released) -> FeatureNetwork:
    """ArcFace on aligned faces, for "recognition", from `facejax.checkpoints.import_arcface`.

    The crop follows the landmarks, but sends them no gradient. Raises ValueError for another network.
    """
    _expect(released, IResNetConfig, "import_arcface")
    return FeatureNetwork(released, _see_arcface, _compare_arcface, "ArcFace (IResNet)")


def dlib_network(released: Released) -> FeatureNetwork:
    """dlib's recogniser, for "recognition", from `facejax.checkpoints.import_dlib_recognition`.

    Its distance is `descriptor_distance`, not a cosine as with ArcFace: 0.18 where dlib begins to see two people. The
    crop follows the landmarks, but sends them no gradient. Raises ValueError for another network.
    """
    _expect(released, DlibResNetConfig, "import_dlib_recognition")
    return FeatureNetwork(released, _see_dlib, _compare_dlib, "dlib ResNet")


def identity_network(released: Released) -> FeatureNetwork:
    """dlib's recogniser, for "identity": how far the finished render is from the photograph, told in the summary.

    The plain Euclidean distance of the descriptors: below 0.6 two pictures are of one person, says dlib. Raises
    ValueError for another network.
    """
    _expect(released, DlibResNetConfig, "import_dlib_recognition")
    return FeatureNetwork(released, _see_dlib, _measure_dlib, "dlib ResNet")


def encoder_network(config: EncoderConfig, params: Any) -> FeatureNetwork:
    """The shipped regressor's encoder, for "perceptual" without LPIPS: `feature_distance` of its maps.

    Pictures need sides that are multiples of 16.
    """
    return FeatureNetwork(_Encoder(params, config), _see_encoder, feature_distance, "own encoder")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Encoder:
    params: Any
    config: EncoderConfig = field(metadata={"static": True})


def _expect(released: Released, config: type, importer: str) -> None:
    if not isinstance(released.config, config):
        raise ValueError(f"these weights are another network's: give what facejax.checkpoints.{importer} returns")


def _see_lpips(weights: Released, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
    return lpips_features(weights.config, weights.network, image[None])[0]


def _compare_lpips(rendered: Any, photo: Any, mask: Float[Array, "S S"]) -> Float[Array, ""]:
    return lpips_distance(rendered, photo)


def _see_arcface(weights: Released, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
    return apply_iresnet(weights.config, weights.network, align_face(image, landmarks, size=weights.config.size)[None])[
        0
    ]


def _compare_arcface(rendered: Any, photo: Any, mask: Float[Array, "S S"]) -> Float[Array, ""]:
    return cosine_distance(rendered, photo)


def _see_dlib(weights: Released, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
    chip = face_chip(image, landmarks, size=weights.config.size)
    return apply_dlib_resnet(weights.config, weights.network, chip[None])[0]


def _compare_dlib(rendered: Any, photo: Any, mask: Float[Array, "S S"]) -> Float[Array, ""]:
    return descriptor_distance(rendered, photo)


def _measure_dlib(rendered: Any, photo: Any, mask: Float[Array, "S S"]) -> Float[Array, ""]:
    return jnp.linalg.norm(rendered - photo)


def _see_encoder(weights: _Encoder, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
    return tuple(x[0] for x in encoder_features(weights.config, weights.params, image[None]))
