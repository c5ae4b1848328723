"""StyleGAN2's layers and networks against float64 references, its sizes against the published ones."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from facejax.nets import stylegan2 as gan
from facejax.nets.stylegan2 import generator, resample
from facejax.nets.stylegan2.config import layer_index
from facejax.nets.stylegan2.discriminator import group_spread

RNG = np.random.default_rng(0)
TINY = gan.StyleGANConfig(resolution=8, channel_base=32, channel_max=8, latent=8, mapping_layers=1)
LINE = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def restless(tree, seed=0):
    """Weights of which none is at a special value."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape).astype("f4"), tree)


synthesize = jax.jit(gan.apply_synthesis, static_argnums=0, static_argnames="noise")
judge_all = jax.jit(gan.apply_discriminator, static_argnums=0)


def tiny_generator(config=TINY):
    weights = gan.init_generator(config, jax.random.key(0))
    return weights._replace(params=restless(weights.params))


def filter_loop(x, pads, gain=1.0):
    """Zero padding and the two-dimensional filter, pixel by pixel; (H, W)."""
    wide = np.pad(x, pads)
    kernel = gain * np.outer(LINE, LINE)
    shape = (wide.shape[0] - 3, wide.shape[1] - 3)
    return np.array([[np.sum(kernel * wide[i : i + 4, j : j + 4]) for j in range(shape[1])] for i in range(shape[0])])


def spread_zeros(x):
    out = np.zeros((2 * x.shape[0], 2 * x.shape[1]))
    out[::2, ::2] = x
    return out


def correlate(x, kernel):
    size = kernel.shape[0]
    shape = (x.shape[0] - size + 1, x.shape[1] - size + 1)
    parts = [[np.sum(kernel * x[i : i + size, j : j + size]) for j in range(shape[1])] for i in range(shape[0])]
    return np.array(parts)


@pytest.fixture
def plane(float64):
    return RNG.standard_normal((6, 8))


def one(result):
    return np.asarray(result)[0, :, :, 0]


def test_upsampling_filters_between_zeros(plane):
    expected = filter_loop(spread_zeros(plane), (2, 1), gain=4.0)
    np.testing.assert_allclose(one(resample.upsample(jnp.asarray(plane[None, :, :, None]))), expected, atol=1e-12)


def test_downsampling_filters_and_keeps_every_second_pixel(plane):
    expected = filter_loop(plane, (1, 1))[::2, ::2]
    np.testing.assert_allclose(one(resample.downsample(jnp.asarray(plane[None, :, :, None]))), expected, atol=1e-12)


def test_up_convolution_spreads_correlates_and_blurs(plane):
    kernel = RNG.standard_normal((3, 3))
    spread = np.pad(spread_zeros(plane), (2, 1))  # of the zeros after the last pixel one falls away
    expected = filter_loop(correlate(spread, kernel), 1, gain=4.0)
    result = resample.conv_up(jnp.asarray(plane[None, :, :, None]), jnp.asarray(kernel[:, :, None, None]))
    np.testing.assert_allclose(one(result), expected, atol=1e-12)


def test_down_convolution_blurs_and_strides(plane):
    kernel = RNG.standard_normal((3, 3))
    expected = correlate(filter_loop(plane, (2, 2)), kernel)[::2, ::2]
    result = resample.conv_down(jnp.asarray(plane[None, :, :, None]), jnp.asarray(kernel[:, :, None, None]))
    np.testing.assert_allclose(one(result), expected, atol=1e-12)


@pytest.mark.parametrize("change", [resample.upsample, resample.downsample])
def test_resampling_keeps_a_constant(change):
    result = change(jnp.full((1, 16, 16, 1), 0.7))
    np.testing.assert_allclose(result[0, 2:-2, 2:-2, 0], 0.7, atol=1e-6)


def test_config_f_has_the_published_sizes():
    config = gan.StyleGANConfig()
    weights = gan.generator_shapes(config)
    size = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in weights.params.items()}
    assert size == {"mapping": 2_101_248, "synthesis": 28_268_812}
    assert sum(leaf.size for leaf in jax.tree.leaves(weights.noise)) == 2_796_176
    assert sum(leaf.size for leaf in jax.tree.leaves(gan.discriminator_shapes(config))) == 29_012_513
    assert config.layers == 18
    assert [config.channels(side) for side in config.resolutions] == [512] * 5 + [256, 128, 64, 32]


@pytest.mark.parametrize("sizes", [(8, 64, 16, 8, 1), (32, 512, 32, 24, 3)])
def test_the_shapes_are_those_that_flax_gives_the_weights(sizes):
    config = gan.StyleGANConfig(*sizes)
    shapes, key = gan.generator_shapes(config), jax.random.key(0)
    ws = jnp.zeros((1, config.layers, config.latent))
    synthesis = jax.eval_shape(generator._Synthesis(config).init, key, ws, shapes.noise)["params"]
    mapping = jax.eval_shape(generator._Mapping(config).init, key, ws[:, 0])["params"]
    assert shapes.params == {"mapping": mapping, "synthesis": synthesis}


def counted_flops(function, *arguments) -> float:
    cost = jax.jit(function).lower(*arguments).compile().cost_analysis()
    assert cost is not None
    return cost["flops"]


def test_operations_are_counted_as_the_compiler_counts_them():
    """XLA counts every addition and multiplication, the cheap ones a texel too, and no products with padding."""
    config = gan.StyleGANConfig(resolution=32, channel_base=2048, channel_max=64, latent=16, mapping_layers=1)
    weights = gan.init_generator(config, jax.random.key(0))
    ws = jnp.zeros((1, config.layers, 16))
    counted = counted_flops(lambda weights, ws: gan.apply_synthesis(config, weights, ws), weights, ws)
    assert gan.synthesis_flops(config) == pytest.approx(counted, rel=0.15)


def test_each_latent_steers_the_layers_that_it_should():
    """A block's colours share their latent with the next block's first convolution; every latent moves the picture."""
    assert [layer_index(block)[1:] for block in range(2)] == [(0, 1), (2, 3)]
    assert layer_index(1)[0] == layer_index(0)[2]
    weights = tiny_generator()
    ws = jnp.asarray(RNG.standard_normal((1, TINY.layers, 8)), jnp.float32)

    torgb = weights.params["synthesis"]["b8"]["torgb"]

    @jax.jit
    def gradient(ws, kernel):
        synthesis = weights.params["synthesis"]
        params = {"synthesis": {**synthesis, "b8": {**synthesis["b8"], "torgb": {**torgb, "kernel": kernel}}}}
        weigh = jnp.arange(8.0)[None, None, :, None]
        run = weights._replace(params=params)
        return jax.grad(lambda ws: jnp.sum(weigh * gan.apply_synthesis(TINY, run, ws)))(ws)

    seen = np.abs(gradient(ws, torgb["kernel"])[0]).max(axis=1)
    assert np.all(seen > 1e-3)
    # Without colours from the last block, only the first one's convolution and colours show.
    blind = np.abs(gradient(ws, 0 * torgb["kernel"])[0]).max(axis=1)
    assert np.all(blind[:2] > 1e-3) and not np.any(blind[2:])


def test_activations_keep_their_variance_at_the_start():
    config = gan.StyleGANConfig(resolution=32, channel_base=2048, channel_max=64, latent=64, mapping_layers=2)
    layer = generator.ModulatedConv(64, clamp=None)
    x = jnp.asarray(RNG.standard_normal((4, 32, 32, 64)), jnp.float32)
    weights = gan.init_generator(config, jax.random.key(0)).params["synthesis"]["b32"]["conv1"]
    w = jnp.asarray(RNG.standard_normal((4, 64)), jnp.float32)
    y = jax.jit(layer.apply)({"params": weights}, x, w, None)
    assert float(jnp.mean(jnp.square(y[:, 2:-2, 2:-2]))) == pytest.approx(1.04, abs=0.15)  # E lrelu^2 = 0.52, times 2
    mapped = gan.apply_mapping(config, gan.init_generator(config, jax.random.key(1)), w)
    assert float(jnp.mean(jnp.square(mapped))) == pytest.approx(1.0, abs=0.4)


def test_noise_modes():
    weights = tiny_generator()
    ws = jnp.asarray(RNG.standard_normal((2, TINY.layers, 8)), jnp.float32)
    first, again, other = (synthesize(TINY, weights, ws, noise="random", key=jax.random.key(k)) for k in (0, 0, 1))
    none = synthesize(TINY, weights, ws, noise="none")
    const = synthesize(TINY, weights, ws)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01 and np.abs(const - none).max() > 0.01
    silent = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 0 if path[-1].key == "strength" else leaf, weights.params
    )
    still = synthesize(TINY, weights._replace(params=silent), ws)
    np.testing.assert_allclose(still, none, atol=1e-5)
    with pytest.raises(ValueError, match="pass a key"):
        gan.apply_synthesis(TINY, weights, ws, noise="random")


def test_a_picture_does_not_depend_on_its_batch_nor_on_vmap():
    weights = tiny_generator()
    ws = jnp.asarray(RNG.standard_normal((3, TINY.layers, 8)), jnp.float32)
    batch = synthesize(TINY, weights, ws)
    mapped = jax.jit(jax.vmap(lambda w: gan.apply_synthesis(TINY, weights, w[None])[0]))(ws)
    np.testing.assert_allclose(mapped, batch, atol=2e-5)
    np.testing.assert_allclose(synthesize(TINY, weights, ws[1:2])[0], batch[1], atol=2e-5)


def test_vmap_keeps_one_convolution_for_all_styles():
    weights = tiny_generator()
    ws = jnp.zeros((3, TINY.layers, 8))
    text = jax.jit(jax.vmap(lambda w: gan.apply_synthesis(TINY, weights, w[None])[0])).lower(ws).as_text()
    assert "feature_group_count = 1 " in text and "feature_group_count = 3 " not in text


def test_truncation_draws_the_first_layers_to_the_mean():
    ws, mean = jnp.asarray(RNG.standard_normal((2, 6, 8))), jnp.asarray(RNG.standard_normal(8))
    half = gan.truncate(ws, mean, 0.5, cutoff=2)
    np.testing.assert_allclose(half[:, :2], (ws[:, :2] + mean[None, None]) / 2, atol=1e-6)
    np.testing.assert_array_equal(half[:, 2:], ws[:, 2:])
    np.testing.assert_allclose(gan.truncate(ws, mean, 0.0), np.broadcast_to(mean, ws.shape), atol=1e-6)


def test_latent_statistics_are_those_of_all_draws():
    weights = tiny_generator()
    key = jax.random.key(3)
    mean, std = gan.latent_statistics(TINY, weights, key, count=500, batch=100)
    z = jnp.concatenate([jax.random.normal(one, (100, 8)) for one in jax.random.split(key, 5)])
    w = np.asarray(gan.apply_mapping(TINY, weights, z), np.float64)
    np.testing.assert_allclose(mean, w.mean(0), atol=1e-5)
    np.testing.assert_allclose(std, w.std(0), rtol=1e-4)


def test_bfloat16_layers_stay_close_and_their_gradients_too():
    weights = tiny_generator()
    half = replace(TINY, half=2)
    assert [half.is_half(side) for side in half.resolutions] == [False, True]  # the first block never is
    ws = jnp.asarray(RNG.standard_normal((2, TINY.layers, 8)), jnp.float32)

    def total(config, ws):
        return jnp.sum(jnp.tanh(gan.apply_synthesis(config, weights, ws)) * jnp.linspace(-1, 1, 8)[None, None, :, None])

    full, rough = (jax.jit(jax.value_and_grad(lambda ws, c=c: total(c, ws)))(ws) for c in (TINY, half))
    assert jax.eval_shape(lambda ws: gan.apply_synthesis(half, weights, ws), ws).dtype == jnp.float32
    scale = np.abs(full[1]).max()
    assert 0 < np.abs(full[1] - rough[1]).max() < 0.05 * scale
    judge = restless(gan.init_discriminator(TINY, jax.random.key(0)))
    pictures = jnp.asarray(RNG.standard_normal((4, 8, 8, 3)), jnp.float32)
    logits = [judge_all(config, judge, pictures) for config in (TINY, half)]
    np.testing.assert_allclose(logits[1], logits[0], atol=0.05 * np.abs(logits[0]).max())


def test_gradients_agree_with_differences(float64):
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tiny_generator())
    ws = jnp.asarray(RNG.standard_normal((1, TINY.layers, 8)))
    run = jax.jit(lambda ws: gan.apply_synthesis(TINY, weights, ws)[0, ::3, ::3])
    check_grads(run, (ws,), 1, modes=["rev"], eps=1e-6)


def test_the_spread_is_seen_within_strided_groups(float64):
    x = RNG.standard_normal((8, 4, 4, 3))
    spread = np.asarray(group_spread(jnp.asarray(x), 4))[:, 0, 0, 0]
    for first in range(2):
        expected = np.mean(np.sqrt(x[first::2].var(axis=0) + 1e-8))
        np.testing.assert_allclose(spread[first::2], expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 48}, "power of two"),
        ({"channel_base": 4}, "at least resolution"),
        ({"half": 9}, "highest first"),
        ({"latent": 0}, "at least 1"),
    ],
)
def test_impossible_sizes_are_named(changes, message):
    config = gan.StyleGANConfig(**{"resolution": 16, "channel_base": 64, **changes})
    with pytest.raises(ValueError, match=message) as error:
        gan.init_generator(config, jax.random.key(0))
    assert "\n" not in str(error.value)


def test_wrong_inputs_are_named():
    judge = gan.init_discriminator(TINY, jax.random.key(0))
    with pytest.raises(ValueError, match="takes \\(N, 8, 8, 3\\)"):
        gan.apply_discriminator(TINY, judge, jnp.zeros((4, 16, 16, 3)))
    with pytest.raises(ValueError, match="multiple of 4"):
        gan.apply_discriminator(TINY, judge, jnp.zeros((6, 8, 8, 3)))
    with pytest.raises(ValueError, match="takes \\(N, 4, 8\\)"):
        gan.apply_synthesis(TINY, tiny_generator(), jnp.zeros((1, 6, 8)))
