"""The regressor on other trunks than the convolutional one; token labels, and the parsing maps that they come from."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import nets
from facejax.checkpoints import save
from facejax.nets.encoder import TRUNKS, EncoderConfig, apply_encoder, decays, encoder_features, init_encoder
from facejax.nets.lv_vit import LVViTConfig
from facejax.nets.t2t_vit import T2TViTConfig
from facejax.nets.vit import ViTConfig
from facejax.objectives import soft_cross_entropy, token_labels
from facejax.regression.regressor import (
    SCHEMA,
    VERSION,
    RegressorConfig,
    load_regressor,
    read_config,
    regress_crops,
    store_config,
)
from facejax.regression.training import UNKNOWN, Augmentation, Recipe, crop_parsing, crop_picture, make_optimizer
from facejax.synthetic.labels import CLASS, CLASSES

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from regressor.recipes import RECIPES, encoder_config

pytestmark = pytest.mark.promotes("ranks")  # colours times fields of pixels, all through the synthetic pictures

INIT, LOOK = (jax.jit(function, static_argnums=0) for function in (init_encoder, apply_encoder))
SMALL = {"size": 32, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "classes": 0}
TINY = {
    "vit": ViTConfig(patch=8, **SMALL),
    "t2t_vit": T2TViTConfig(splits=((7, 4, 2), (3, 2, 1)), token=4, features=2, **SMALL),
    "lv_vit": LVViTConfig(patch=16, stem=8, norm="group", token_classes=4, **SMALL),
}


def encoder(name: str) -> EncoderConfig:
    return EncoderConfig(size=32, widths=(4, 4, 8), hidden=8, code=2, trunk=TINY[name])


@pytest.mark.parametrize("name", TINY)
def test_a_trunk_feeds_the_same_heads(name, tmp_path):
    config = RegressorConfig(encoder=encoder(name))
    weights = INIT(config.encoder, jax.random.key(0))
    save(tmp_path / "regressor", weights, schema=SCHEMA, version=VERSION, config=store_config(config))
    regressor = load_regressor(tmp_path / "regressor")
    assert regressor.config == config
    crops = jax.random.uniform(jax.random.key(1), (2, config.side, config.side, 3))
    seen = jax.jit(regress_crops)(regressor, crops)
    assert seen.landmarks.shape == (2, 68, 2) and np.isfinite(np.asarray(seen.landmarks)).all()
    output = LOOK(config.encoder, weights, crops[:, :32, :32])
    assert output.coefficients.shape == (2, 230) and np.all(np.asarray(output.coefficients) == 0)  # the mean face
    assert (output.parsing is None) == (name != "lv_vit")
    if output.parsing is not None:
        assert output.parsing.shape == (2, 2, 2, 4)


def test_the_shipped_sizes_are_stored_as_before():
    shipped = load_regressor().config
    assert shipped.encoder.trunk is None and read_config(store_config(shipped)) == shipped


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encoder_features(encoder("vit"), {}, jnp.zeros((1, 32, 32, 3))), "only the convolutional trunk"),
        (lambda: init_encoder(replace(encoder("vit"), size=64), jax.random.key(0)), "trunk of 32 px"),
        (lambda: init_encoder(EncoderConfig(trunk=nets.LV_VIT["S"], size=224), jax.random.key(0)), "norm='group'"),
        (lambda: encoder_config("resnet", RECIPES["synthetic"]), "not one of conv, vit, t2t_vit, lv_vit"),
        (lambda: encoder_config("vit", RECIPES["token_labels"]), "pass --trunk lv_vit"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_named_trunks_fit_the_shipped_size_of_pictures():
    for name, trunk in TRUNKS.items():
        config = encoder_config(name, RECIPES["synthetic"])
        assert config.trunk == trunk
        shapes = jax.eval_shape(lambda key, config=config: init_encoder(config, key), jax.random.key(0))
        assert ("trunk" in shapes) == (trunk is not None)
    labelled = encoder_config("lv_vit", RECIPES["token_labels"]).trunk
    assert isinstance(labelled, LVViTConfig) and labelled.token_classes == len(CLASSES)


def test_positions_class_token_and_features_do_not_decay():
    shapes = jax.eval_shape(lambda key: init_encoder(encoder("t2t_vit"), key), jax.random.key(0))
    names = {path[-1].key for path, leaf in jax.tree_util.tree_leaves_with_path(shapes) if not decays(path, leaf)}
    assert names == {"class_token", "features", "bias", "scale", "gain"}
    params = {"kernel": jnp.ones((2, 2)), "positions": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    optimizer = make_optimizer(Recipe(steps=4, warmup=1))
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        _, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        change: Any = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)[0]
    moved = {name: bool(np.any(np.asarray(value) != 0)) for name, value in change.items()}
    assert moved == {"kernel": True, "positions": False, "bias": False}


# --- token labels -----------------------------------------------------------------------------------------------------


def test_a_tokens_label_is_the_share_of_each_class():
    parsing = np.zeros((1, 4, 4), np.uint8)
    parsing[0, :2, :2] = [[1, 1], [2, 0]]
    labels = np.asarray(token_labels(jnp.asarray(parsing), 3, 2, 2))
    np.testing.assert_allclose(labels[0, 0, 0], [0.25, 0.5, 0.25])
    np.testing.assert_allclose(labels[0, 1, 1], [1, 0, 0])
    with pytest.raises(ValueError, match="does not divide"):
        token_labels(jnp.asarray(parsing), 3, 3, 3)


def test_the_cross_entropy_is_least_where_it_says_the_labels():
    labels = jnp.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]])
    logits = jnp.array([[0.0, 1.0, -1.0], [2.0, 0.0, 0.5]])
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -(np.asarray(labels) * np.log(chances)).sum() / 2
    assert float(soft_cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-5)
    best = jnp.log(labels[:1])
    gradient = jax.grad(lambda x: soft_cross_entropy(x, labels[:1]))(best)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_a_crops_parsing_map_moves_with_its_pixels():
    """The picture shows its own classes as grey levels; what covers the crop is an occluder."""
    classes = np.random.default_rng(0).integers(0, 5, (6, 6)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    image = np.repeat(classes[..., None] * 50, 3, axis=-1)
    config = RegressorConfig(encoder=EncoderConfig(size=64))
    corners = jnp.array([20.0, 20.0]), jnp.array([76.0, 76.0])

    def cut(key, augmentation):
        crop = crop_picture(key, config, augmentation, jnp.asarray(image), *corners)
        return crop.image, crop_parsing(jnp.asarray(classes), crop)

    cut = jax.jit(cut, static_argnums=1)
    for seed in range(3):
        still = Augmentation(occluders=0.0, camera=0.0)
        shown, found = map(np.asarray, cut(jax.random.key(seed), still))
        covered = np.asarray(cut(jax.random.key(seed), replace(still, occluders=1.0))[1])
        grey = shown[..., 0] * 255 / 50
        known = (found != UNKNOWN) & (np.abs(grey - np.round(grey)) < 0.02)  # not on an edge
        assert known.mean() > 0.5
        assert (np.round(grey) == found)[known].mean() > 0.97
        hidden = covered == CLASS["occluder"]
        assert 0 < hidden.mean() < 0.9
        np.testing.assert_array_equal(covered[~hidden], found[~hidden])


def test_pixels_beyond_the_picture_are_unknown():
    config = RegressorConfig(encoder=EncoderConfig(size=32))
    still = Augmentation(shift=0.0, zoom=0.0, roll=0.0, stretch=0.0, bend=0.0, occluders=0.0, camera=0.0)
    image, corners = jnp.zeros((32, 32, 3), jnp.uint8), (jnp.array([0.0, 8.0]), jnp.array([16.0, 24.0]))
    crop = jax.jit(lambda key: crop_picture(key, config, still, image, *corners))(jax.random.key(0))
    found = np.asarray(crop_parsing(jnp.ones((32, 32), jnp.uint8), crop))
    side = 16 * config.margin  # of the crop, whose centre is at (8, 16)
    beyond = round((side / 2 - 8) * 32 / side)
    assert beyond > 3 and (found[:, :beyond] == UNKNOWN).all() and (found[:, beyond:] == 1).all()
    labels = np.asarray(token_labels(jnp.asarray(found[None]), 2, 4, 4))
    assert labels[0, 0, 0].sum() < 1 and labels[0, 0, 3].sum() == 1
