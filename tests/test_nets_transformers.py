"""ViT, T2T-ViT and LV-ViT against the same layers written with loops in float64; MixToken; the released sizes.

experiments/check_encoders.py compares them with their authors' own code.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from facejax import nets
from facejax.nets import _transformer, lv_vit, t2t_vit, vit

CLASSES = 5
VIT = vit.ViTConfig(size=16, patch=8, width=8, hidden=12, heads=2, layers=2, classes=CLASSES)
T2T = t2t_vit.T2TViTConfig(
    *(16, ((7, 4, 2), (3, 2, 1))), token=6, features=4, width=8, hidden=12, heads=2, layers=1, classes=CLASSES
)
LV = lv_vit.LVViTConfig(
    *(16, 8, 8), width=8, hidden=12, heads=2, layers=1, residual=2.0, classes=CLASSES, token_classes=CLASSES
)
IMAGES = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype("f4")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def init(function, config):
    return jax.jit(function, static_argnums=0)(config, jax.random.key(0))


def shuffle(tree, seed=0):
    """Random values everywhere, those of norms and variances around 1."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        spread = (leaf.size // leaf.shape[-1]) ** -0.5 if leaf.ndim > 1 else 0.3
        return jnp.asarray(rng.normal(0, spread, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, tree)


# --- the same with loops ----------------------------------------------------------------------------------------------


def dense(p, x):
    return x @ np.asarray(p["kernel"], float) + np.asarray(p.get("bias", 0.0), float)


def norm(p, x, epsilon):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return x * np.asarray(p["scale"], float) + np.asarray(p["bias"], float)


def gelu(x, exact):
    if exact:
        return 0.5 * x * (1 + erf(x / np.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def mlp(p, x, exact):
    return dense(p["fc2"], gelu(dense(p["fc1"], x), exact))


def attention(p, x, heads, scale):
    """One picture, one head and one token at a time."""
    size = x.shape[1] // heads
    queries, keys, values = np.split(dense(p["qkv"], x), 3, axis=1)
    result = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for token in range(len(x)):
            score = np.exp((scale or size**-0.5) * (keys[:, part] @ queries[token, part]))
            result[token, part] = score / score.sum() @ values[:, part]
    return dense(p["proj"], result)


def transformer(p, x, config, *, exact, epsilon, scale=None, residual=1.0, positions=None):
    x = np.concatenate([np.asarray(p["class_token"], float)[None], x])
    x = x + (np.asarray(p["positions"], float) if positions is None else positions)
    for layer in range(config.layers):
        block = p[f"block_{layer}"]
        y = norm(block["norm1"], x, epsilon)
        x = x + attention(block["attention"], y, config.heads, scale) / residual
        x = x + mlp(block["mlp"], norm(block["norm2"], x, epsilon), exact) / residual
    return norm(p["norm"], x, epsilon)


def convolve(p, x, stride, padding):
    kernel = np.asarray(p["kernel"], float)
    side = kernel.shape[0]
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((length - side) // stride + 1 for length in x.shape[:2])
    result = np.zeros((rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[i * stride : i * stride + side, j * stride : j * stride + side]
            result[i, j] = np.tensordot(window, kernel, 3)
    return result + np.asarray(p.get("bias", 0.0), float)


def unfold(x, side, stride, padding):
    """Channel by channel, each row by row."""
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((length - side) // stride + 1 for length in x.shape[:2])
    result = np.zeros((rows, columns, side * side * x.shape[2]))
    for i in range(rows):
        for j in range(columns):
            window = x[i * stride : i * stride + side, j * stride : j * stride + side]
            result[i, j] = np.concatenate([window[..., channel].ravel() for channel in range(x.shape[2])])
    return result


def performer(p, x):
    """Every weight of every pair of tokens, which the network never computes."""
    keys, queries, values = np.split(dense(p["kqv"], norm(p["norm1"], x, 1e-5)), 3, axis=1)
    directions = np.asarray(p["features"], float)

    def lift(one):
        return np.exp(directions @ one - one @ one / 2) / np.sqrt(len(directions))

    weights = np.array([[lift(query) @ lift(key) for key in keys] for query in queries])
    mixed = weights @ values / (weights.sum(axis=1, keepdims=True) + 1e-8)
    y = values + dense(p["proj"], mixed)
    return y + mlp(p["mlp"], norm(p["norm2"], y, 1e-5), exact=True)


def test_vit_is_its_layers():
    params = shuffle(init(vit.init_vit, VIT))
    found = jax.jit(nets.apply_vit, static_argnums=0)(VIT, params, IMAGES)
    for number, image in enumerate(IMAGES.astype(float)):
        x = convolve(params["embedding"], 2 * image - 1, 8, 0).reshape(4, 8)
        x = transformer(params["transformer"], x, VIT, exact=False, epsilon=1e-6)
        np.testing.assert_allclose(found.tokens[number], x[1:].reshape(2, 2, 8), atol=1e-4)
        np.testing.assert_allclose(found.token[number], x[0], atol=1e-4)
        np.testing.assert_allclose(found.logits[number], dense(params["head"], x[0]), atol=1e-4)


@pytest.mark.parametrize("scale", [None, 8**-0.5])
def test_t2t_vit_is_its_layers(scale):
    config = replace(T2T, scale=scale)
    params = shuffle(init(t2t_vit.init_t2t_vit, config))
    found = jax.jit(nets.apply_t2t_vit, static_argnums=0)(config, params, IMAGES)
    angles = np.arange(5)[:, None] / 10000.0 ** (2 * np.arange(4)[None] / 8)
    positions = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(5, 8)
    for number, image in enumerate((IMAGES - MEAN) / STD):
        x = unfold(image, 7, 4, 2)
        x = performer(params["performer_0"], x.reshape(16, -1)).reshape(4, 4, -1)
        x = dense(params["project"], unfold(x, 3, 2, 1).reshape(4, -1))
        x = transformer(params["transformer"], x, config, exact=True, epsilon=1e-5, scale=scale, positions=positions)
        np.testing.assert_allclose(found.tokens[number], x[1:].reshape(2, 2, 8), atol=1e-4)
        np.testing.assert_allclose(found.logits[number], dense(params["head"], x[0]), atol=1e-4)


def test_lv_vit_is_its_layers():
    network = nets.Network(*map(shuffle, init(lv_vit.init_lv_vit, LV)))
    found = jax.jit(nets.apply_lv_vit, static_argnums=0)(LV, network, IMAGES)
    params, statistics = jax.tree.map(lambda leaf: np.asarray(leaf, float), network)
    for number, image in enumerate((IMAGES - MEAN) / STD):
        x = image
        for name, stride, padding in (("1", 2, 3), ("2", 1, 1), ("3", 1, 1)):
            x = convolve(params[f"conv{name}"], x, stride, padding)
            of, averages = params[f"norm{name}"], statistics[f"norm{name}"]
            x = (x - averages["mean"]) / np.sqrt(averages["var"] + 1e-5) * of["scale"] + of["bias"]
            x = np.maximum(x, 0)
        x = convolve(params["proj"], x, 4, 0).reshape(4, 8)
        x = transformer(params["transformer"], x, LV, exact=True, epsilon=1e-5, residual=2.0)
        each = dense(params["token_head"], x[1:])
        one = dense(params["head"], x[0])
        np.testing.assert_allclose(found.token_logits[number], each.reshape(2, 2, -1), atol=1e-4)
        np.testing.assert_allclose(found.logits[number], one, atol=1e-4)
        np.testing.assert_allclose(lv_vit.joint_logits(found)[number], one + 0.5 * each.max(axis=0), atol=1e-4)


def test_the_trained_stem_does_not_depend_on_the_batch():
    config = replace(LV, norm="group", classes=0, token_classes=0)
    network = init(lv_vit.init_lv_vit, config)
    assert network.statistics == {}
    look = jax.jit(nets.apply_lv_vit, static_argnums=0)
    both, alone = look(config, network, IMAGES), look(config, network, IMAGES[:1])
    np.testing.assert_allclose(both.tokens[0], alone.tokens[0], atol=1e-5)
    assert both.logits.shape == (2, 0) and both.token_logits.shape == (2, 2, 2, 0)


def test_many_random_features_are_softmax_attention():
    """In expectation a product of two lifted vectors is exp of their product."""
    x, y = np.random.default_rng(1).normal(0, 0.5, (2, 1, 8, 6)).astype("f4")
    directions = jax.random.normal(jax.random.key(2), (100_000, 6))
    lifted = (t2t_vit.positive_features(jnp.asarray(one), directions) for one in (x, y))
    found = np.einsum("ntm,nsm->ts", *lifted)
    np.testing.assert_allclose(found, np.exp(x[0] @ y[0].T), rtol=0.1)


def test_features_start_orthogonal_and_are_not_trained():
    config = replace(T2T, token=8)
    params = init(t2t_vit.init_t2t_vit, config)
    directions = np.asarray(params["performer_0"]["features"])
    np.testing.assert_allclose(directions @ directions.T, 4 * np.eye(4), atol=1e-5)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(nets.apply_t2t_vit(config, p, jnp.asarray(IMAGES)).tokens[..., 0])))(
        params
    )
    assert np.all(np.asarray(gradient["performer_0"]["features"]) == 0)
    assert np.any(np.asarray(gradient["performer_0"]["kqv"]["kernel"]) != 0)


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "init", "sizes"),  # millions of parameters, as published
    [
        (vit.VIT, vit.init_vit, {"Ti/16": 5.7, "S/16": 22.1, "B/16": 86.6, "L/16": 304.3, "H/14": 632.0}),
        (
            *(t2t_vit.T2T_VIT, t2t_vit.init_t2t_vit),
            {"7": 4.3, "10": 5.8, "12": 6.9, "14": 21.5, "19": 39.1, "24": 64.0},
        ),
        (lv_vit.LV_VIT, lv_vit.init_lv_vit, {"T": 8.53, "S": 26.15, "M": 55.83, "L": 150.0}),
    ],
)
def test_released_sizes_have_the_published_numbers_of_parameters(module, init, sizes):
    assert set(module) == {*sizes, "small"}
    for name, millions in sizes.items():
        shapes = jax.eval_shape(lambda key, name=name: init(module[name], key), jax.random.key(0))
        params = shapes.params if isinstance(shapes, nets.Network) else shapes
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count / 1e6 == pytest.approx(millions, rel=0.01), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nets.init_vit(replace(VIT, patch=7), jax.random.key(0)), "multiple of patch"),
        (lambda: nets.init_t2t_vit(replace(T2T, size=20), jax.random.key(0)), "multiple of 8"),
        (lambda: nets.init_lv_vit(replace(LV, heads=3), jax.random.key(0)), "multiple of heads"),
        (lambda: nets.init_lv_vit(replace(LV, norm="layer"), jax.random.key(0)), "norm is 'batch', or 'group'"),
        (lambda: nets.apply_vit(VIT, {}, jnp.zeros((1, 24, 24, 3))), r"takes \(N, 16, 16, 3\)"),
    ],
)
def test_sizes_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_positions_of_the_first_token_and_the_second():
    found = _transformer.sinusoids(2, 4)
    np.testing.assert_allclose(found, [[0, 1, 0, 1], [np.sin(1), np.cos(1), np.sin(0.01), np.cos(0.01)]], atol=1e-12)


# --- MixToken ---------------------------------------------------------------------------------------------------------


def test_mixed_tokens_are_the_other_pictures_in_the_box_alone():
    tokens = np.arange(2 * 3 * 4).reshape(2, 3, 4, 1).astype("f4")
    box = lv_vit.TokenBox(jnp.array([1, 3]), jnp.array([0, 2]))
    mixed = np.asarray(lv_vit.mix_tokens(box, jnp.asarray(tokens)))
    expected = tokens.copy()
    expected[:, 1:3, :2] = tokens[::-1, 1:3, :2]
    np.testing.assert_array_equal(mixed, expected)
    np.testing.assert_array_equal(lv_vit.mix_tokens(box, jnp.asarray(mixed)), tokens)
    assert float(lv_vit.kept_share(box, 3, 4)) == pytest.approx(1 - 4 / 12)


def test_token_classes_are_put_back_where_they_belong():
    """Without layers a token sees nothing of the others, so mixing changes no token's class."""
    config = replace(LV, layers=0)
    network = nets.Network(*map(shuffle, init(lv_vit.init_lv_vit, config)))
    box = lv_vit.TokenBox(jnp.array([0, 1]), jnp.array([1, 2]))
    plain, mixed = (
        jax.jit(nets.apply_lv_vit, static_argnums=0)(config, network, IMAGES, mix=mix) for mix in (None, box)
    )
    np.testing.assert_allclose(mixed.token_logits, plain.token_logits, atol=1e-6)
    np.testing.assert_allclose(mixed.tokens[0, 0, 1], plain.tokens[1, 0, 1], atol=1e-6)


def test_drawn_boxes_lie_in_the_grid_and_have_the_papers_sizes():
    """Half the area on average before clipping, so less after it."""
    boxes = jax.vmap(lambda key: lv_vit.draw_token_box(key, 12, 14))(jax.random.split(jax.random.key(0), 4000))
    rows, columns = np.asarray(boxes.rows), np.asarray(boxes.columns)
    assert rows.min() == 0 and rows.max() == 12 and columns.min() == 0 and columns.max() == 14
    assert np.all(np.diff(rows) >= 0) and np.all(np.diff(columns) >= 0)
    rng = np.random.default_rng(0)  # the released code's draw
    areas = []
    for share in rng.beta(1.0, 1.0, 4000):
        ends = []
        for length in (12, 14):
            half, centre = int(length * np.sqrt(1 - share)) // 2, rng.integers(length)
            ends.append(np.clip(centre + half, 0, length) - np.clip(centre - half, 0, length))
        areas.append(ends[0] * ends[1])
    area = (np.diff(rows) * np.diff(columns)).ravel()
    assert area.mean() == pytest.approx(np.mean(areas), rel=0.06)
    assert np.quantile(area, 0.9) == pytest.approx(np.quantile(areas, 0.9), rel=0.1)
