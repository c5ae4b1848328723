"""Photos, landmark files and crops."""

import io
import json
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms

from facejax.camera import PerspectiveCamera, project, transform_camera
from facejax.engine.faces import read_mask
from facejax.fitting import prepare_crops
from facejax.images import Crop, Photo, apply_crop, as_photo, face_crop, find_landmarks, read_image, read_landmarks
from facejax.images.box_files import box_count
from facejax.images.read import held_bytes, read_pixels

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
ORANGE = np.array([200, 100, 50], np.float32) / np.float32(255)
POINTS = np.random.default_rng(1).uniform(20, 180, (68, 2)).astype(np.float32)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_rgb_file_reads_exactly(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, COLOURS.astype(np.float32) / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    """Stored so that the viewer sees COLOURS: the eight cases written out as array operations."""
    stored = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: np.rot90(COLOURS, 1),
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOURS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLOURS.astype(np.float32) / 255)


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0junk junk", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_a_damaged_exif_block_does_not_lose_the_photo(tmp_path, block):
    Image.new("RGB", (16, 8), "red").save(tmp_path / "a.jpg", quality=95, exif=block)
    assert read_image(tmp_path / "a.jpg").shape == (8, 16, 3)


def test_grey_palette_and_bilevel_become_rgb(tmp_path):
    grey = COLOURS[..., 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    np.testing.assert_array_equal(read_image(tmp_path / "l.png"), np.repeat(grey[..., None] / np.float32(255), 3, -1))
    flat = np.zeros((4, 4, 3), np.uint8)
    flat[:, 2:] = 255, 0, 128
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), flat / np.float32(255))
    Image.fromarray(flat[..., 0] > 0).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png")[..., 1], flat[..., 0] > 0)


def test_sixteen_bit_grey_keeps_its_precision(tmp_path):
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[..., 0], values / 65535, atol=1e-6)


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.dstack([COLOURS, np.full(COLOURS.shape[:2], 64, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    alpha = 64 / 255
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), COLOURS / 255 * alpha + 1 - alpha, atol=1e-6)
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "b.png", transparency=1)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), np.ones((3, 3, 3)))


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    colour = read_image(tmp_path / "a.jpg").mean(axis=(0, 1))
    assert colour[0] > 0.9 and colour[1] < 0.1 and colour[2] < 0.1


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif")[0, 0], [1, 0, 0])


def test_embedded_profile_is_converted_to_srgb(tmp_path):
    """sRGB itself changes nothing; with red's and green's primaries exchanged the colours change; junk is ignored."""
    srgb = ImageCms.createProfile("sRGB")
    image = Image.new("RGB", (4, 4), (200, 100, 50))
    icc = ImageCms.ImageCmsProfile(srgb).tobytes()
    image.save(tmp_path / "same.png", icc_profile=icc)
    np.testing.assert_array_equal(read_image(tmp_path / "same.png")[0, 0], ORANGE)
    image.save(tmp_path / "swapped.png", icc_profile=_with_swapped_primaries(icc))
    red, green, blue = read_image(tmp_path / "swapped.png")[0, 0]
    assert red < green and abs(blue - 50 / 255) < 0.1  # what the file calls red is green
    image.save(tmp_path / "broken.png", icc_profile=b"not a profile")
    np.testing.assert_array_equal(read_image(tmp_path / "broken.png")[0, 0], ORANGE)


def _with_swapped_primaries(icc: bytes) -> bytes:
    """The profile with the tags of its red and green primaries exchanged, under another description."""
    swapped = icc.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
    return swapped.replace("sRGB".encode("utf-16-be"), "GRBs".encode("utf-16-be")).replace(b"sRGB", b"GRBs")


def test_bytes_stay_bytes_where_a_file_has_no_more(tmp_path):
    rgba = np.dstack([COLOURS, COLOURS[..., 0]])
    deep = np.arange(54, dtype=np.uint16).reshape(6, 9)
    for name, pixels in {"rgb": COLOURS, "grey": COLOURS[..., 0], "rgba": rgba, "deep": deep}.items():
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        held = read_pixels(path)
        assert held.dtype == (np.uint8 if name in ("rgb", "grey") else np.float32) and held.nbytes == held_bytes(path)
        np.testing.assert_array_equal(as_photo(held), read_image(path))
    (tmp_path / "cut.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cut\.png: not an image"):
        held_bytes(tmp_path / "cut.png")


def test_a_photo_in_bytes_gives_the_crop_of_its_as_photo():
    photo = np.random.default_rng(2).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    crops = [prepare_crops([image], [POINTS]) for image in (photo, photo / np.float32(255))]
    np.testing.assert_array_equal(crops[0].images, crops[1].images)


def test_unreadable_files_give_one_line_with_their_name(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:1500])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "bomb.png").write_bytes(_png_header(20000, 20000))
    for name in ("cut.jpg", "empty.png", "text.jpg", "folder.jpg", "bomb.png"):
        with pytest.raises(ValueError, match=name) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="megapixels"):
        read_image(tmp_path / "bomb.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg: no such photo"):
        read_image(tmp_path / "gone.jpg")


def _png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 10)
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# --- landmark files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_arrays_of_whole_numbers_become_as_photo(kind):
    most = np.iinfo(kind).max
    pixels = np.array([[[0, 1, most], [most // 2, 7, 9]]], kind)
    np.testing.assert_allclose(as_photo(pixels), pixels.astype(np.float64) / most, rtol=1e-6)
    assert as_photo(jnp.asarray(pixels)).dtype == np.float32


def test_arrays_of_display_values_are_taken_as_they_are():
    pixels = np.array([[[0.0, -0.01, 1.02]]], np.float32)
    assert as_photo(pixels) is pixels
    np.testing.assert_array_equal(as_photo(jnp.asarray(pixels)), pixels)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((2, 2, 3), 200.0), "mine has values from 0 to 200: pass display values"),
        (np.full((2, 2, 3), 3), "mine has values from 0 to 3"),
        (np.array([[[0.0, np.nan, 1.0]]]), "mine has values from nan to nan"),
        (np.full((2, 2, 3), -np.inf), "mine has values from -inf to 0"),
        (np.zeros((2, 2)), r"mine has shape \(2, 2\)"),
        (np.zeros((2, 2, 4)), r"mine has shape \(2, 2, 4\)"),
    ],
)
def test_other_arrays_are_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        as_photo(pixels, "mine")


def test_pts_counts_from_one(tmp_path):
    rows = "\n".join(f"{x} {y}" for x, y in POINTS)
    (tmp_path / "a.pts").write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n")
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.pts"), POINTS - 0.5, rtol=1e-6)


def test_arrays_and_plain_json_are_taken_as_they_are(tmp_path):
    np.save(tmp_path / "a.npy", POINTS)
    np.save(tmp_path / "deep.npy", np.c_[POINTS, np.ones(68)])
    np.savez(tmp_path / "one.npz", anything=POINTS)
    (tmp_path / "renamed.npz").write_bytes((tmp_path / "a.npy").read_bytes())
    np.savez(tmp_path / "two.npz", other=np.zeros(3), landmarks=POINTS)
    (tmp_path / "list.json").write_text(json.dumps(POINTS.tolist()))
    (tmp_path / "named.json").write_text(json.dumps({"landmarks": POINTS.tolist()}))
    (tmp_path / "points.json").write_text(json.dumps({"points": POINTS.tolist()}))
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_landmarks(path), POINTS, err_msg=path.name)


def test_menpo_files_hold_rows_and_columns_of_centres(tmp_path):
    pairs = (POINTS[:, ::-1].astype(float) - 0.5).tolist()
    groups = [{"label": "jaw", "landmarks": [{"point": pair} for pair in pairs[:17]]}]
    groups.append({"label": "rest", "landmarks": [{"point": pair} for pair in pairs[17:]]})
    one = {"version": 1, "groups": groups}
    two = {"version": 2, "labels": [], "landmarks": {"connectivity": [], "points": pairs}}
    three = {"version": 3, "groups": {"LJSON": {"labels": [], "landmarks": {"points": pairs}}}}
    for version, content in enumerate((one, two, three)):
        path = tmp_path / f"{version}.{'json' if version == 1 else 'ljson'}"
        path.write_text(json.dumps(content))
        np.testing.assert_allclose(read_landmarks(path), POINTS, rtol=1e-6)


def test_wrong_landmark_files_give_one_line_naming_the_file_and_the_fix(tmp_path):
    broken = POINTS.copy()
    broken[5] = np.nan
    np.save(tmp_path / "nan.npy", broken)
    np.save(tmp_path / "five.npy", POINTS[:5])
    np.save(tmp_path / "fractions.npy", POINTS / 200)
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(tmp_path / "nameless.npz", a=POINTS, b=POINTS)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "nameless.npz").read_bytes()[:300])
    (tmp_path / "cut.pts").write_text("version: 1\nn_points:  68\n{\n1 2\n")
    (tmp_path / "ragged.pts").write_text("version: 1\n{\n1 2\n3\n}\n")
    (tmp_path / "cut.json").write_text("[[1, 2], [3")
    (tmp_path / "other.json").write_text('{"mouth": 1}')
    (tmp_path / "words.json").write_text('["a", "b"]')
    (tmp_path / "a.csv").write_text("1,2")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=path.name) as caught:
            read_landmarks(path)
        assert "\n" not in str(caught.value), path.name
    with pytest.raises(ValueError, match="landmark 5 is not finite"):
        read_landmarks(tmp_path / "nan.npy")
    with pytest.raises(ValueError, match="not fractions"):
        read_landmarks(tmp_path / "fractions.npy")
    with pytest.raises(ValueError, match=r"\(5, 2\), expected \(68, 2\)"):
        read_landmarks(tmp_path / "five.npy")
    with pytest.raises(FileNotFoundError, match=r"gone\.pts"):
        read_landmarks(tmp_path / "gone.pts")


def test_what_belongs_to_a_photo_by_its_folder_goes_before_what_has_its_name(tmp_path):
    """Landmarks, boxes and masks of photos that share a name."""
    names = ("1.jpg", "a/1.jpg", "b/1.jpg", "c/1.jpg")
    photos = [Photo(name, f"/somewhere/{name}") for name in names]
    for place in ("1", "a/1", "b/1"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / f"{place}.pts").touch()
        Image.new("L", (4 + len(place), 3), 255).save(tmp_path / f"{place}.png")
    (tmp_path / "1.npy").touch()
    assert [find_landmarks(tmp_path, photo).relative_to(tmp_path).as_posix() for photo in photos] == [
        "1.pts",
        "a/1.pts",
        "b/1.pts",
        "1.pts",
    ]
    for photo, width in zip(photos, (5, 7, 7, 5), strict=True):  # a mask of another size is refused
        assert read_mask(tmp_path, photo, (3, width)).shape == (3, width)
    boxes = {name: np.full((k, 4), k) for k, name in enumerate(("1.jpg", "a/1.jpg", "/somewhere/b/1.jpg"), 1)}
    assert [box_count(photo, boxes) for photo in photos] == [1, 2, 3, 1]
    assert box_count(Photo("2.jpg", "2.jpg"), boxes) == 1


def test_masks_of_zeros_and_ones_are_white_where_they_are_one(tmp_path):
    mask = np.eye(5, dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path, Photo("a.jpg", "a.jpg"), (5, 5)), mask)


def test_landmarks_of_a_photo_are_found_by_its_stem(tmp_path):
    np.save(tmp_path / "anna.npy", POINTS)
    np.save(tmp_path / "ben.v2.npy", POINTS)
    assert find_landmarks(tmp_path, "photos/anna.jpg") == tmp_path / "anna.npy"
    assert find_landmarks(tmp_path, "ben.v2.jpeg") == tmp_path / "ben.v2.npy"
    assert find_landmarks(tmp_path / "anna.npy", "whoever.png") == tmp_path / "anna.npy"
    with pytest.raises(FileNotFoundError, match=r"no landmarks for carl.jpg; add carl.pts"):
        find_landmarks(tmp_path, "carl.jpg")
    with pytest.raises(FileNotFoundError, match="no such landmark file or folder"):
        find_landmarks(tmp_path / "nowhere", "carl.jpg")


# --- crops ------------------------------------------------------------------------------------------------------------


def make_crop(scale, x, y):
    return Crop(np.asarray(scale, np.float32), np.asarray([x, y], np.float32))


def test_crop_contains_the_landmarks_centred_in_x():
    crop = face_crop(POINTS, 224)
    inside = crop.apply_points(POINTS)
    assert inside.min() > 0 and inside.max() < 224
    np.testing.assert_allclose(inside[:, 0].min(), 224 - inside[:, 0].max(), atol=1e-3)
    np.testing.assert_allclose(crop.invert_points(inside), POINTS, rtol=1e-4)
    with pytest.raises(ValueError, match="no extent"):
        face_crop(np.ones((68, 2), np.float32), 224)


@pytest.mark.parametrize(("scale", "x", "y"), [(1.0, 0.0, 0.0), (0.37, -11.3, -4.7), (2.6, -140.2, -77.7)])
def test_a_linear_ramp_stays_the_same_ramp(scale, x, y):
    """Value at a pixel = its own centre's coordinates: wrong by half a pixel if any convention slips."""
    rows, columns = np.mgrid[:100, :120].astype(np.float32) + 0.5
    crop = make_crop(scale, x, y)
    result, mask = apply_crop(np.dstack([columns, rows, columns + rows]), crop, 32)
    new_rows, new_columns = np.mgrid[:32, :32] + 0.5
    margin = 1 + 1 / scale
    scale, (x, y) = float(crop.scale), crop.offset.tolist()  # as rounded to float32
    expected = np.dstack([(new_columns - x) / scale, (new_rows - y) / scale])
    deep = (expected > margin).all(-1) & (expected < np.array([120, 100]) - margin).all(-1)
    assert deep.sum() > 200
    # a triangle of a width that is no whole number of pixels is sampled a little off its centre, as in Pillow
    np.testing.assert_allclose(result[..., :2][deep], expected[deep], atol=1e-3 if scale >= 1 else 0.06)
    np.testing.assert_array_equal(mask, ((expected >= 0) & (expected <= [120, 100])).all(-1))


@pytest.mark.parametrize("factor", [0.3, 0.71, 1.7])
def test_resampling_agrees_with_pillow(factor):
    """The same triangle filter, in Pillow's own implementation, over a box inside the photo."""
    image = np.random.default_rng(2).uniform(size=(90, 110, 3)).astype(np.float32)
    size, left, top = 24, 13.25, 9.5
    box = (left, top, left + size / factor, top + size / factor)
    result, mask = apply_crop(image, make_crop(factor, -left * factor, -top * factor), size)
    channels = [
        Image.fromarray(image[..., k]).resize((size, size), Image.Resampling.BILINEAR, box=box) for k in range(3)
    ]
    pillow = np.dstack([np.asarray(channel) for channel in channels])
    inner = slice(2, -2)  # Pillow does not look beyond the box
    np.testing.assert_allclose(result[inner, inner], pillow[inner, inner], atol=2e-5)
    assert mask.all()


def test_outside_of_the_photo_its_border_goes_on_and_the_mask_is_zero():
    image = np.random.default_rng(3).uniform(size=(10, 12, 3)).astype(np.float32)
    result, mask = apply_crop(image, make_crop(1.0, 5.0, 7.0), 40)
    np.testing.assert_allclose(result[7:17, 5:17], image, atol=1e-6)
    assert mask.sum() == 120 and mask[7:17, 5:17].all()
    np.testing.assert_allclose(result[:7, :5], np.broadcast_to(image[0, 0], (7, 5, 3)), atol=1e-6)
    np.testing.assert_allclose(result[30, 5:17], image[-1], atol=1e-6)
    far, empty = apply_crop(image, make_crop(1.0, 5000.0, 7.0), 8)
    assert np.isfinite(far).all() and not empty.any()


def test_shrinking_does_not_alias():
    """A one-pixel checkerboard, shrunk 4.3 times, is grey."""
    board = (np.indices((200, 200)).sum(0) % 2).astype(np.float32)
    result, _ = apply_crop(np.repeat(board[..., None], 3, -1), make_crop(1 / 4.3, 0.0, 0.0), 40)
    assert np.abs(result[2:-2, 2:-2] - 0.5).max() < 0.02


def test_crop_and_camera_agree():
    """Projecting with the crop's camera is projecting with the photo's, then cropping the points."""
    crop = face_crop(POINTS, 224)
    camera = PerspectiveCamera(jnp.asarray(900.0), jnp.asarray([320.0, 240.0]))
    points = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)) * 60 + [0, 0, -900], jnp.float32)
    moved = transform_camera(camera, jnp.asarray(crop.scale), jnp.asarray(crop.offset))
    expected = crop.apply_points(np.asarray(project(camera, points))[:, :2])
    np.testing.assert_allclose(project(moved, points)[:, :2], expected, atol=1e-3)


def test_real_landmarks_lie_inside_their_crops(shared):
    for name in ("eos_image_0010", "menpo_lenna"):
        image = read_image(shared / "photos" / f"{name}.png")
        points = read_landmarks(shared / "photos" / f"{name}.npy") + np.float32(0.5)
        crop = face_crop(points, 128)
        result, mask = apply_crop(image, crop, 128)
        assert crop.apply_points(points).min() > 0 and crop.apply_points(points).max() < 128
        assert mask.mean() > 0.5 and result.min() >= 0 and result.max() <= 1.0001
