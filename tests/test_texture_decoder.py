"""The texture decoder: latents in, albedo maps out; its files."""

import math
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.face_model import AlbedoModel
from facejax.lighting import linear_to_srgb
from facejax.nets.stylegan2 import (
    StyleGANConfig,
    apply_mapping,
    apply_synthesis,
    generator_shapes,
    init_generator,
    synthesis_flops,
)
from facejax.programs import jit
from facejax.texture import (
    LIGHT,
    SMALL,
    DetailedTexture,
    MappedTexture,
    TextureDecoder,
    decode_texture,
    from_standard,
    import_decoder,
    load_decoder,
    mean_latents,
    sample_latents,
    sample_textures,
    save_decoder,
    texture_decoder,
    to_standard,
)
from facejax.texture.decoder import learn_glimpse

TINY = StyleGANConfig(resolution=8, channel_base=32, channel_max=8, latent=8, mapping_layers=1)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def decoder() -> TextureDecoder:
    weights = init_generator(TINY, jax.random.key(0))
    return texture_decoder(TINY, weights, count=2000)


def test_maps_are_linear_light_of_the_network_s_display_values(decoder):
    ws = from_standard(decoder, jnp.asarray(RNG.standard_normal((2, TINY.layers, 8)), jnp.float32))
    maps = jax.jit(jax.vmap(lambda w: decode_texture(decoder, w)))(ws)
    display = jax.jit(jax.vmap(lambda w: decode_texture(decoder, w, linear=False)))(ws)
    made = jax.jit(lambda ws: apply_synthesis(TINY, decoder.weights, ws))(ws)
    assert maps.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(display, (made + 1) / 2, atol=1e-5)
    np.testing.assert_allclose(linear_to_srgb(maps), display, atol=2e-4)


def test_standard_latents_are_centred_and_go_both_ways(decoder):
    z = jax.random.normal(jax.random.key(5), (4000, 8))
    w = apply_mapping(TINY, decoder.weights, z)
    standard = np.asarray(to_standard(decoder, w[:, None]))[:, 0]
    np.testing.assert_allclose(standard.mean(0), 0, atol=0.15)
    np.testing.assert_allclose(standard.std(0), 1, atol=0.15)
    np.testing.assert_allclose(from_standard(decoder, to_standard(decoder, w[:5, None])), w[:5, None], atol=1e-5)


def test_truncated_to_nothing_every_sample_is_the_mean_map(decoder):
    maps = sample_textures(decoder, jax.random.key(0), 2, psi=0.0)
    mean = decode_texture(decoder, mean_latents(decoder))
    np.testing.assert_allclose(maps, np.stack([mean, mean]), atol=1e-5)
    latents = sample_latents(decoder, jax.random.key(0), 3, psi=0.5, cutoff=1)
    whole = sample_latents(decoder, jax.random.key(0), 3)
    np.testing.assert_allclose(latents[:, 1:], whole[:, 1:], atol=1e-6)
    np.testing.assert_allclose(latents[:, 0], (whole[:, 0] + decoder.w_avg[None]) / 2, atol=1e-6)


def test_a_decoder_comes_back_from_its_file(tmp_path, decoder):
    save_decoder(tmp_path / "exact", decoder, half=False)
    save_decoder(tmp_path / "half", decoder)
    exact, half = load_decoder(tmp_path / "exact"), load_decoder(tmp_path / "half")
    assert exact.config == decoder.config and jax.tree.structure(exact) == jax.tree.structure(decoder)
    chex.assert_trees_all_equal(exact, decoder)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), half, decoder)


def test_two_decoders_are_small_enough_to_be_shipped():
    for config, megabytes, operations in ((LIGHT, 15, 3.1e9), (SMALL, 7, 1e9)):
        numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(generator_shapes(config)))
        assert 2 * numbers < megabytes * 1e6 and synthesis_flops(config) < operations  # in 16 bits


def test_the_shipped_decoder_makes_skin_and_finds_it_again():
    """Maps of the default head's size and colours; a start that is nearer to a random map than the mean map is."""
    shipped = load_decoder()
    assert shipped.config == SMALL and shipped is load_decoder("default")
    decode = jit(shipped.decode)
    latents = 0.5 * jax.random.normal(jax.random.key(0), (4, 1, shipped.config.latent)).repeat(SMALL.layers, axis=1)
    maps = [np.asarray(decode({"latents": z})) for z in latents]
    middle = np.stack([one[64:192, 64:192] for one in maps]).mean(axis=(1, 2))
    assert (middle[:, 0] > middle[:, 1]).all() and (middle[:, 1] > middle[:, 2]).all()  # red, then green, then blue
    assert ((middle > 0.1) & (middle < 0.9)).all()
    mean = np.asarray(decode({"latents": jnp.zeros(shipped.blocks["latents"])}))
    found = [np.asarray(decode(shipped.encode(jnp.asarray(one)))) for one in maps]
    assert sum(np.square(a - b).mean() for a, b in zip(found, maps, strict=True)) < 0.5 * sum(
        np.square(mean - one).mean() for one in maps
    )


def test_a_released_decoder_with_its_statistics(tmp_path):
    torch = pytest.importorskip("torch", reason="released weights are PyTorch's: pip install facejax[torch]")
    import torch_stylegan2 as theirs

    torch.save(theirs.random_generator(8, latent=8), tmp_path / "texgan.pth")
    torch.save({"w_avg": torch.ones(1, 1, 8), "w_std": torch.full((1, 1, 8), 2.0)}, tmp_path / "stats.pt")
    decoder = import_decoder(tmp_path / "texgan.pth", tmp_path / "stats.pt")
    np.testing.assert_array_equal(decoder.w_std, np.full(8, 2.0))
    torch.save({"w_avg": torch.ones(4), "w_std": torch.ones(4)}, tmp_path / "stats.pt")
    with pytest.raises(ValueError, match="give its own"):
        import_decoder(tmp_path / "texgan.pth", tmp_path / "stats.pt")


def test_latents_of_another_decoder_are_refused(decoder):
    with pytest.raises(ValueError, match="this generator takes"):
        decode_texture(decoder, jnp.zeros((18, 8)))


def test_the_decoder_is_an_albedo_model(decoder: TextureDecoder):
    mapped = MappedTexture(decoder)
    assert isinstance(decoder, AlbedoModel) and isinstance(mapped, AlbedoModel)
    z = RNG.standard_normal((TINY.layers, 8)).astype("f4")
    expected = decode_texture(decoder, decoder.w_avg[None] + z * decoder.w_std[None], linear=False)
    np.testing.assert_allclose(decoder.decode({"latents": jnp.asarray(z)}), expected, atol=1e-5)
    assert decoder.encode(expected)["latents"].shape == decoder.blocks["latents"] == (TINY.layers, 8)
    near = mapped.encode(expected)
    w = apply_mapping(TINY, decoder.weights, near["latents"])
    expected = decode_texture(decoder, jnp.tile(w, (TINY.layers, 1)), linear=False)
    np.testing.assert_allclose(mapped.decode(near), expected, atol=1e-5)


def test_a_start_is_read_off_a_map(decoder, tmp_path):
    """The regressed latent makes a map that is nearer to a random one than the mean map is."""
    assert decoder.glimpse is None and not decoder.encode(jnp.ones((8, 8, 3)))["latents"].any()
    seeing = replace(decoder, glimpse=learn_glimpse(decoder, 600, seed=3))
    save_decoder(tmp_path / "seeing", seeing, half=False)
    np.testing.assert_array_equal(load_decoder(tmp_path / "seeing").glimpse, seeing.glimpse)
    maps = linear_to_srgb(sample_textures(decoder, jax.random.key(9), 20))
    found = jnp.stack([seeing.decode(seeing.encode(one)) for one in maps])
    mean = decoder.decode({"latents": jnp.zeros(decoder.blocks["latents"])})
    assert float(jnp.mean((found - maps) ** 2)) < 0.3 * float(jnp.mean((mean[None] - maps) ** 2))
    assert not seeing.encode(jnp.ones((5, 3)))["latents"].any()  # an albedo by vertex says nothing to it


def test_details_are_added_to_the_noise_maps(decoder):
    """Without details it is the decoder; a detail changes the map around its texel, as a changed noise map does."""
    texture = DetailedTexture(decoder, coarsest=16)
    assert isinstance(texture, AlbedoModel)
    side = decoder.config.resolution
    fine = [s for s in decoder.config.resolutions if s >= 16]
    shapes = texture.blocks
    assert shapes == {**decoder.blocks, "details": (2 * sum(s * s for s in fine),)}
    start = texture.encode(jnp.full((side, side, 3), 0.5))
    assert {name: block.shape for name, block in start.items()} == shapes and not start["details"].any()
    latents = 0.5 * jax.random.normal(jax.random.key(3), shapes["latents"])
    plain = texture.decode({"latents": latents, "details": jnp.zeros(shapes["details"])})
    np.testing.assert_array_equal(plain, decoder.decode({"latents": latents}))

    details = jax.random.normal(jax.random.key(4), shapes["details"])
    noise, at = dict(decoder.weights.noise), 0
    for name in sorted(f"b{s}" for s in fine):
        noise[name] = dict(noise[name])
        for layer in ("conv0", "conv1"):
            old = noise[name][layer]
            noise[name][layer] = old + 0.1 * details[at : at + old.size].reshape(old.shape)
            at += old.size
    by_hand = replace(decoder, weights=decoder.weights._replace(noise=noise)).decode({"latents": latents})
    np.testing.assert_allclose(texture.decode({"latents": latents, "details": details}), by_hand, atol=1e-5)
