"""Backgrounds, camera effects, occluders and re-crops, against Pillow, SciPy and arithmetic by hand."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from facejax.synthetic import camera_effects as effects
from facejax.synthetic import fields
from facejax.synthetic.backgrounds import background
from facejax.synthetic.occluders import occlude
from facejax.synthetic.warp import bend_points, draw_bend, pick, resample

pytestmark = pytest.mark.promotes("ranks")  # colours times fields of pixels, all through that room

SIZE = 48
KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Something with edges, slopes and colours, 64 pixels wide."""
    y, x = np.mgrid[:64, :64] / 64
    waves = np.stack([x, y, 0.5 + 0.4 * np.sin(9 * x + 5 * y)], axis=-1)
    waves[20:40, 24:50] = [0.8, 0.55, 0.4]
    return waves.astype(np.float32)


@pytest.fixture(scope="module")
def batch(picture):
    """(backgrounds, photographs, occluded, masks) of eight keys, again in the opposite order, and at strength 0."""

    def everything(key, amount):
        image = jnp.asarray(picture[:SIZE, :SIZE])
        return background(key, SIZE), effects.photograph(key, image, amount), *occlude(key, image, amount)

    keys = jax.random.split(KEY, 8)
    many = jax.jit(jax.vmap(everything, in_axes=(0, None)))
    return many(keys, 1.0), many(keys[::-1], 1.0), many(keys, 0.0)


@pytest.mark.parametrize("which", range(4), ids=["background", "photograph", "occluded", "mask"])
def test_pictures_are_in_range_repeatable_and_each_its_own(batch, which):
    first, turned = (np.asarray(results[which]) for results in batch[:2])
    assert np.isfinite(first).all() and first.min() >= 0 and first.max() <= 1
    np.testing.assert_array_equal(first, turned[::-1])
    assert len({one.tobytes() for one in first}) >= 7


def test_occluder_changes_only_what_the_mask_says(batch, picture):
    _, _, occluded, mask = (np.asarray(result) for result in batch[0])
    image = np.broadcast_to(picture[:SIZE, :SIZE], occluded.shape)
    np.testing.assert_array_equal(occluded[mask == 0], image[mask == 0])
    assert (mask.max(axis=(1, 2)) == 1).sum() >= 5  # the others lie off the picture or are fainter


def test_strength_zero_leaves_the_picture_alone(batch, picture):
    _, photograph, occluded, mask = batch[2]
    image = np.broadcast_to(picture[:SIZE, :SIZE], photograph.shape)
    np.testing.assert_allclose(photograph, image, atol=2e-5)
    np.testing.assert_array_equal(occluded, image)
    assert np.max(mask) == 0


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_jpeg_is_as_good_and_as_bad_as_pillows(picture, quality):
    rng = np.random.default_rng(0)
    image = np.clip(picture + 0.05 * rng.normal(size=picture.shape), 0, 1)
    pixels = np.round(255 * image).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(file), np.float32) / 255
    ours = np.asarray(effects.jpeg(jnp.asarray(pixels, jnp.float32) / 255, jnp.float32(quality)))

    def psnr(a, b):
        return -10 * np.log10(np.mean((a - b) ** 2))

    original = pixels / 255.0
    assert abs(psnr(ours, original) - psnr(theirs, original)) < 0.5
    luma = np.array([0.299, 0.587, 0.114])
    assert (
        psnr(ours @ luma, theirs @ luma) > psnr(theirs @ luma, original @ luma) + 8
    )  # the same blocks, not just as bad


def test_defocus_is_a_gaussian_filter(picture):
    blurred = effects.optics(jnp.asarray(picture), jnp.float32(1.2), jnp.zeros(2), jnp.float32(0))
    expected = scipy.ndimage.gaussian_filter(picture.astype(np.float64), (1.2, 1.2, 0), mode="reflect", truncate=6)
    inside = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(blurred[inside], expected[inside], atol=2e-3)
    np.testing.assert_allclose(np.mean(blurred, axis=(0, 1)), picture.mean(axis=(0, 1)), atol=2e-3)


def test_sharpening_adds_the_difference_to_a_blurred_copy(picture):
    soft = scipy.ndimage.gaussian_filter(picture.astype(np.float64), (1.0, 1.0, 0), mode="reflect")
    sharp = effects.optics(jnp.asarray(soft, jnp.float32), jnp.float32(0), jnp.zeros(2), jnp.float32(0.7))
    blurred = scipy.ndimage.gaussian_filter(soft, (1.5, 1.5, 0), mode="reflect", truncate=6)
    expected = np.clip(soft + 0.7 * (soft - blurred), 0, 1)
    np.testing.assert_allclose(sharp[8:-8, 8:-8], expected[8:-8, 8:-8], atol=3e-3)


def test_motion_smears_a_spot_along_its_path():
    y, x = np.mgrid[:64, :64] - 32.0
    spot = np.exp(-(x * x + y * y) / (2 * 2.0**2)).astype(np.float32) * 0.9
    smeared = effects.optics(
        jnp.asarray(np.stack([spot] * 3, -1)), jnp.float32(0), jnp.array([6.0, 3.0]), jnp.float32(0)
    )
    weight = np.asarray(smeared[..., 0], np.float64)
    weight /= weight.sum()
    moments = [(weight * a * b).sum() for a, b in ((x, x), (x, y), (y, y))]
    np.testing.assert_allclose(moments, [4 + 36 / 12, 18 / 12, 4 + 9 / 12], rtol=0.05)  # Gaussian plus a uniform path


@pytest.mark.parametrize(("shot", "read", "chroma"), [(0.1, 0.0, 0.0), (0.0, 0.05, 0.5), (0.08, 0.04, 1.0)])
def test_noise_has_the_stated_variance_and_colour(shot, read, chroma):
    image = jnp.full((128, 128, 3), 0.4)
    numbers = {"shot": jnp.float32(shot), "read": jnp.float32(read), "chroma": jnp.float32(chroma)}
    noise = np.asarray(effects.noise(KEY, image, **numbers) - 0.4, np.float64).reshape(-1, 3)
    covariance = np.cov(noise.T)
    variance = shot**2 * 0.4 + read**2
    np.testing.assert_allclose(np.diag(covariance), variance, rtol=0.05)
    np.testing.assert_allclose(covariance[0, 1], (1 - chroma) * variance, atol=0.05 * variance)
    assert abs(noise.mean()) < 4 * np.sqrt(variance / len(noise))


@pytest.mark.parametrize("small", [64, 32, 27])
def test_resolution_is_pillows_box_and_bilinear_resize(picture, small):
    ours = effects.resolution(jnp.asarray(picture), jnp.float32(small / 64))
    for channel in range(3):
        plane = Image.fromarray(picture[..., channel])
        back = plane.resize((small, small), Image.Resampling.BOX).resize((64, 64), Image.Resampling.BILINEAR)
        error = np.abs(np.asarray(ours[..., channel]) - np.asarray(back))
        # Where shares of pixels are cut, Pillow takes whole pixels by their centres.
        assert error.max() < 1e-5 if small in (64, 32) else error.mean() < 0.02


def test_tone_contrast_and_colour_by_hand():
    image = jnp.broadcast_to(jnp.array([0.2, 0.4, 0.6]), (16, 16, 3))
    toned = effects.tone(image, jnp.float32(2.0), jnp.array([1.0, 0.5, 1.0]), jnp.float32(2.0))
    np.testing.assert_allclose(toned[0, 0], [0.16, 0.16, 1.0], rtol=1e-5)
    stretched = effects.contrast(image, jnp.float32(2.0), jnp.float32(0.4))
    np.testing.assert_allclose(stretched[3, 5], [0.0, 0.4, 0.8], atol=1e-6)
    one, zero = jnp.float32(1), jnp.float32(0)
    np.testing.assert_allclose(effects.colours(image, one, zero, zero), image, atol=1e-6)
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    np.testing.assert_allclose(effects.colours(image, one, one, zero)[1, 2], [grey] * 3, rtol=1e-5)
    doubled = effects.colours(image, jnp.float32(2.0), zero, zero)[0, 0]
    np.testing.assert_allclose(doubled, grey + 2 * (np.array([0.2, 0.4, 0.6]) - grey), atol=1e-6)
    red, _, blue = np.asarray(effects.colours(image, one, zero, one)[0, 0])
    assert red > blue


def test_vignette_darkens_corners_and_posterising_leaves_few_values(picture):
    dark = np.asarray(effects.vignette(jnp.ones((64, 64, 3)), jnp.float32(0.5), KEY))
    assert dark.max() > 0.99 and dark.min() >= 0.5 - 1e-6 and dark[0, 0].min() < 0.9
    few = np.asarray(effects.posterise(jnp.asarray(picture), jnp.float32(4.0)))
    assert set(np.unique(few)) <= {0.0, 0.25, 0.5, 0.75, 1.0} and np.abs(few - picture).max() <= 0.1251


def test_random_numbers_have_the_stated_moments_and_keys_do_not_share_them():
    a, b = jax.random.split(KEY)
    normal = np.asarray(fields.normal(a, (100, 1000)), np.float64)
    assert abs(normal.mean()) < 0.015 and abs(normal.var() - 1) < 0.02 and abs((normal**3).mean()) < 0.05
    assert abs((normal[:, 1:] * normal[:, :-1]).mean()) < 0.015
    assert abs((normal * np.asarray(fields.normal(b, (100, 1000)))).mean()) < 0.015
    uniform = np.sort(np.asarray(fields.uniform(b, (10000,), 2.0, 4.0), np.float64))
    assert np.abs((uniform - 2) / 2 - np.linspace(0, 1, 10000)).max() < 0.025  # Kolmogorov-Smirnov
    picks = jax.vmap(lambda key: fields.choice(key, (0.5, 0.2, 0.3)))(jax.random.split(a, 4000))
    np.testing.assert_allclose(np.bincount(np.asarray(picks), minlength=3) / 4000, [0.5, 0.2, 0.3], atol=0.04)


def test_resampling_takes_painted_spots_where_the_map_takes_their_points():
    points = np.array([[40.0, 42.5], [90.3, 50.0], [61.0, 95.2]], np.float32)
    y, x = np.mgrid[:128, :128] + 0.5
    spots = np.stack([np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points], axis=-1).astype(np.float32)
    take = jax.jit(lambda affine: resample(jnp.asarray(spots), affine, 96))
    at = np.arange(96) + 0.5
    for angle, scale in ((0.0, 0.7), (0.4, 0.8), (-0.3, 0.6)):
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = 48 - linear @ points.mean(axis=0)
        crop = np.asarray(take(jnp.asarray(np.column_stack([linear, offset]), jnp.float32)), np.float64)
        weight = crop / crop.sum(axis=(0, 1))
        centroid = np.stack([(weight * at[None, :, None]).sum((0, 1)), (weight * at[:, None, None]).sum((0, 1))], -1)
        np.testing.assert_allclose(centroid, points @ linear.T + offset, atol=0.1)


def test_resampling_turns_and_enlarges_as_scipy_does(picture):
    angle, scale = 0.3, 1.3
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = np.array([3.0, -12.0])
    affine = jnp.asarray(np.concatenate([linear, offset[:, None]], 1), jnp.float32)
    y, x = np.mgrid[:64, :64] + 0.5
    old = np.linalg.inv(linear) @ (np.stack([x.ravel(), y.ravel()]) - offset[:, None]) - 0.5
    for border, mode in ((0, "nearest"), (2, "reflect")):
        crop = resample(jnp.asarray(picture), affine, 64, border)
        for channel in range(3):
            plane = picture[..., channel].astype(np.float64)
            expected = scipy.ndimage.map_coordinates(plane, old[::-1], order=1, mode=mode)
            np.testing.assert_allclose(crop[..., channel].ravel(), expected, atol=1e-4)


def test_shrinking_does_not_alias_and_borders_are_filled_as_asked(picture):
    y, x = np.mgrid[:64, :64]
    checks = jnp.asarray(np.stack([(x + y) % 2] * 3, -1), jnp.float32)
    half = jnp.array([[0.55, 0.0, 0.0], [0.0, 0.55, 0.0]])
    small = resample(checks, half, 32)
    assert np.std(small[2:-2, 2:-2]) < 0.12  # 0.3 without the smoothing
    away = jnp.array([[1.0, 0.0, 64.0], [0.0, 1.0, 0.0]])  # the picture moves out to the right
    replicated, blurred, black = (resample(jnp.asarray(picture), away, 64, border) for border in (0, 1, 3))
    np.testing.assert_allclose(replicated, np.broadcast_to(picture[:, :1], (64, 64, 3)), atol=1e-6)
    assert np.max(black) == 0
    assert np.abs(np.diff(blurred[:, :40], axis=0)).max() < 0.05 < np.abs(np.diff(picture, axis=0)).max()


def test_labels_move_with_the_pixels(picture):
    """Every pixel of the resampled picture shows the label of the pixel that lies there, whatever its type."""
    angle, scale = 0.3, 1.3
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = np.array([3.0, -12.0])
    affine = jnp.asarray(np.column_stack([linear, offset]), jnp.float32)
    labels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    picked, inside = pick(jnp.asarray(labels), affine, 64)
    y, x = np.mgrid[:64, :64] + 0.5
    old = np.linalg.inv(linear) @ (np.stack([x.ravel(), y.ravel()]) - offset[:, None]) - 0.5
    expected = scipy.ndimage.map_coordinates(labels, old[::-1], order=0, mode="nearest", output=np.uint16)
    assert picked.dtype == jnp.uint16 and np.mean(np.asarray(picked).ravel() == expected) > 0.999
    within = ((old > -0.5) & (old < 63.5)).all(axis=0)
    assert np.mean(np.asarray(inside).ravel() == within) > 0.999 and not within.all()
    bend = draw_bend(jax.random.key(2), 64, 0.02)
    ramp = jnp.asarray(np.stack([x, y, x], axis=-1), jnp.float32)  # a bent ramp is nearly the place that is shown
    bent, _ = pick(ramp, jnp.eye(2, 3), 64, bend)
    smooth = resample(ramp, jnp.eye(2, 3), 64, bend=bend)
    assert np.abs(np.asarray(bent) - np.asarray(smooth))[4:-4, 4:-4].max() <= 0.51


def test_a_bend_moves_points_and_pixels_alike():
    bend = draw_bend(jax.random.key(2), 64, 0.02)
    y, x = np.mgrid[:64, :64] + 0.5
    places = jnp.array([[20.0, 24.0], [45.0, 30.0], [33.0, 48.0]])
    moved = bend_points(bend, 64, places)
    assert np.abs(moved - places).max() > 0.5
    for place, expected in zip(np.asarray(places), np.asarray(moved), strict=True):
        spot = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 8.0)
        image = jnp.asarray(np.stack([spot] * 3, -1), jnp.float32)
        bent = np.asarray(resample(image, jnp.eye(2, 3), 64, bend=bend))[..., 0].astype(np.float64)
        np.testing.assert_allclose([(bent * x).sum() / bent.sum(), (bent * y).sum() / bent.sum()], expected, atol=0.15)


def test_a_bend_is_as_strong_as_asked():
    bends = jax.vmap(lambda key: draw_bend(key, 100, 0.015))(jax.random.split(KEY, 300))
    places = jnp.asarray(np.stack(np.meshgrid([15.0, 40.0, 77.0], [10.0, 50.0, 81.0]), -1).reshape(-1, 2), jnp.float32)
    moved = jax.vmap(lambda bend: bend_points(bend, 100, places))(bends)
    assert float(jnp.std(moved - places)) == pytest.approx(1.5, rel=0.1)
