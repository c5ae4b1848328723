"""Which value is white, in files and arrays of more than 8 bits."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from facejax.cli import warnings_as_lines
from facejax.images import as_photo, read_image
from facejax.images.read import held_bytes, read_pixels

RANDOM = np.random.default_rng(3)
GREY = RANDOM.uniform(size=(12, 16)).astype(np.float32)
GREY[0, :2] = 0.0, 1.0
RGB = RANDOM.uniform(size=(12, 16, 3)).astype(np.float32)
RGB[0, 0], RGB[0, 1] = 0.0, 1.0


def write(path, values, **tags):
    """Pixels as a file; of TIFFs by OpenCV for RGB, and by Pillow for grey, with tags."""
    if values.ndim == 3:
        assert cv2.imwrite(str(path), values[..., ::-1] if values.shape[2] == 3 else values[..., [2, 1, 0, 3]])
        return path
    if path.suffix == ".tif":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in tags.items():
            info[int(tag[1:])] = value
        Image.fromarray(values).save(path, tiffinfo=info)
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_bits_in_the_lower_part_of_16_are_recognised(tmp_path, caplog, suffix, pixels, bits):
    values = np.rint(pixels * (2**bits - 1)).astype(np.uint16)
    path = write(tmp_path / f"a{suffix}", values)
    wanted = values / np.float32(2**bits - 1)
    wanted = wanted if pixels.ndim == 3 else np.repeat(wanted[..., None], 3, -1)
    np.testing.assert_allclose(read_image(path), wanted, atol=1e-6)
    if bits < 16:
        assert f"{path}: its brightest value is {2**bits - 1} of 65535: read as {bits} bits" in caplog.text
    else:
        assert not caplog.text
    assert held_bytes(path) == read_pixels(path).nbytes
    if pixels.ndim == 3:  # an array is read like a file
        np.testing.assert_allclose(as_photo(values), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.rint(GREY * 13107), "read as a dark photo"),  # a fifth of 16 bits
        (np.rint(GREY * 9000), "read as a dark photo"),
        (np.rint(GREY * 4200), "read as a dark photo"),
        (np.rint(GREY * 15) * 257, ""),  # dark, and made from 8 bits for all of 16
        (np.rint(GREY * 15) * 256, ""),
        (np.rint(GREY * 20000), ""),
        (GREY * 0, ""),  # black
    ],
)
def test_an_honest_dark_photo_of_16_bits_stays_dark(tmp_path, caplog, values, said):
    path = write(tmp_path / "a.png", values.astype(np.uint16))
    np.testing.assert_allclose(read_image(path)[..., 0], values / 65535, atol=1e-6)
    assert (said in caplog.text) if said else not caplog.text


@pytest.mark.parametrize(
    ("tags", "white"),
    [
        ({"t281": 65535}, 65535),
        ({"t281": 4095}, 4095),
        ({"t341": 1023}, 1023),
        ({"t281": 700}, 1023),  # only what happens to be the largest
        ({"t281": 255}, 1023),
    ],
)
def test_what_a_file_declares_decides(tmp_path, tags, white):
    values = np.rint(GREY * 1000).astype(np.uint16)
    path = write(tmp_path / "a.tif", values, **tags)
    np.testing.assert_allclose(read_image(path)[..., 0], values / white, atol=1e-6)


FLOATS = {
    "0-1": (GREY, 1.0),
    "0-1.2": (GREY * 1.2, 1.0),
    "a little under": (GREY * 1.05 - 0.02, 1.0),
    "0-255": (GREY * 255, 255.0),
    "0-254.6": (GREY * 254.6, 255.0),
    "dark of 255": (GREY * 60, 255.0),
    "0-258": (GREY * 258, 255.0),
    "0-1023": (GREY * 1023, 1023.0),
    "0-4095": (GREY * 4095, 4095.0),
    "0-16383": (GREY * 16383, 16383.0),
    "0-65535": (GREY * 65535, 65535.0),
}


@pytest.mark.parametrize("name", FLOATS)
def test_ranges_of_floating_point_files_are_recognised(tmp_path, caplog, name):
    values, white = FLOATS[name]
    path = write(tmp_path / "a.tif", values)
    np.testing.assert_allclose(read_image(path)[..., 0], np.clip(values / white, 0, 1), atol=1e-6)
    assert (f"{path}: has numbers from 0 to" in caplog.text) == (white > 1)


def test_rgb_of_floating_point_numbers_is_read(tmp_path, caplog):
    """Pillow does not know it."""
    for name, scale in (("a.tif", 1.0), ("b.tiff", 255.0)):
        path = write(tmp_path / name, RGB * np.float32(scale))
        np.testing.assert_allclose(read_image(path), RGB, atol=1e-6)
        assert held_bytes(path) == read_pixels(path).nbytes
    assert "b.tiff: has numbers" in caplog.text and "a.tif:" not in caplog.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (GREY * 2 - 1, "from -1 to 1: save it with 0 to 1, or 0 to 255"),
        (GREY * 255 - 128, "from -128 to 127"),
        (GREY * 7, "from 0 to 7"),
        (GREY * 1e6, "from 0 to 1e"),
        (GREY * np.nan, "has no finite value"),
        (np.rint(GREY * 100).astype(np.int32) - 50, "from -50 to 50: save it with 8 or 16 bits"),
        (np.rint(GREY * 2**24).astype(np.int32), "from 0 to 16777216: save it with 8 or 16 bits"),
    ],
)
def test_other_ranges_are_refused_by_name(tmp_path, values, said):
    path = write(tmp_path / "a.tif", values)
    with pytest.raises(ValueError, match=said) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: has ") and "\n" not in str(caught.value)


def test_what_is_not_finite_is_black_or_white(tmp_path):
    values = GREY.copy()
    values[3, :3] = np.nan, np.inf, -np.inf
    assert read_image(write(tmp_path / "a.tif", values))[3, :3, 0].tolist() == [0.0, 1.0, 0.0]


def test_sixteen_bit_rgb_keeps_its_precision_and_its_transparency(tmp_path):
    """Pillow gives 8 bits of it."""
    values = np.rint(RGB * 65535).astype(np.uint16)
    alpha = np.full((12, 16, 1), 16384, np.uint16)
    alpha[0, 0] = 65535
    for suffix in (".png", ".tif"):
        assert np.abs(read_image(write(tmp_path / f"a{suffix}", values)) - values / 65535).max() < 1e-6
        found = read_image(write(tmp_path / f"b{suffix}", np.dstack([values, alpha])))
        share = alpha / 65535.0
        np.testing.assert_allclose(found, values / 65535 * share + 1 - share, atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_photos_are_turned_like_others(tmp_path, orientation):
    values = np.rint(RGB * 65535).astype(np.uint16)
    write(tmp_path / "a.png", values)
    with Image.open(tmp_path / "a.png") as image:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / "b.png", exif=exif)  # in 8 bits
        content = (tmp_path / "a.png").read_bytes()
    chunk = (tmp_path / "b.png").read_bytes()
    start = chunk.index(b"eXIf") - 4
    length = int.from_bytes(chunk[start : start + 4], "big") + 12
    (tmp_path / "c.png").write_bytes(content[:33] + chunk[start : start + length] + content[33:])
    np.testing.assert_allclose(read_image(tmp_path / "c.png"), read_image(tmp_path / "b.png"), atol=1 / 255)


def test_damaged_deep_files_are_one_line(tmp_path, capfd):
    values = np.rint(RGB * 65535).astype(np.uint16)
    for name in ("a.png", "a.tif"):
        content = write(tmp_path / name, values).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=name) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    content = write(tmp_path / "f.tif", RGB * 255).read_bytes()
    (tmp_path / "f.tif").write_bytes(content[:300])
    with pytest.raises(ValueError, match=r"f\.tif: ") as caught:
        read_image(tmp_path / "f.tif")
    assert "\n" not in str(caught.value)


def test_twelve_bits_packed_are_twelve_bits(tmp_path):
    """A TIFF whose samples have 12 bits: three bytes hold two of them."""
    values = np.rint(GREY * 4095).astype(np.uint32)
    pairs = values.reshape(12, 8, 2)
    word = (pairs[..., 0] << 12) | pairs[..., 1]
    packed = np.stack([word >> 16, (word >> 8) & 255, word & 255], -1).astype(np.uint8).tobytes()
    info = {256: 16, 257: 12, 258: 12, 259: 1, 262: 1, 273: 200, 277: 1, 278: 12, 279: len(packed)}
    entries = b"".join(
        tag.to_bytes(2, "big") + b"\0\4\0\0\0\1" + value.to_bytes(4, "big") for tag, value in info.items()
    )
    head = b"MM\0*\0\0\0\x08" + len(info).to_bytes(2, "big") + entries + b"\0\0\0\0"
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + packed)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[..., 0], values / 4095, atol=1e-6)


@pytest.mark.parametrize("most", [1023, 4095, 16383, 65535])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_netpbm_files_declare_their_white(tmp_path, caplog, most, pixels):
    values = np.rint(pixels * 0.8 * most).astype(">u2")
    head = f"P{5 if pixels.ndim == 2 else 6}\n16 12\n{most}\n".encode()
    (tmp_path / "a.pnm").write_bytes(head + values.tobytes())
    wanted = values / most if pixels.ndim == 3 else np.repeat(values[..., None] / most, 3, -1)
    np.testing.assert_allclose(read_image(tmp_path / "a.pnm"), wanted, atol=0.003)
    assert not caplog.text


def test_cmyk_of_16_bits_is_read_in_8(tmp_path):
    """OpenCV would take it for RGB with transparency."""
    ink = np.zeros((4, 4, 4), "<u2")
    ink[..., 1:3] = 65535
    entries = [(256, 4, 4), (257, 4, 4), (258, 3, 0), (259, 3, 1), (262, 3, 5), (273, 4, 300), (277, 3, 4), (278, 4, 4)]
    entries += [(279, 4, ink.nbytes), (332, 3, 1)]
    body = b"".join(
        struct.pack("<HHII", tag, kind, 4, 200) if tag == 258 else struct.pack("<HHII", tag, kind, 1, value)
        for tag, kind, value in entries
    )
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + body + b"\0\0\0\0"
    content = head.ljust(200, b"\0") + struct.pack("<4H", 16, 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(content.ljust(300, b"\0") + ink.tobytes())
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[0, 0], [1, 0, 0], atol=0.1)


def test_an_array_is_named_in_the_warning(caplog):
    values = np.rint(RGB * 4095).astype(np.uint16)
    np.testing.assert_allclose(as_photo(values, "mine"), RGB, atol=1e-3)
    assert "mine: its brightest value is 4095 of 65535: read as 12 bits" in caplog.text


def test_commands_print_such_warnings_as_lines(capsys):
    with warnings_as_lines():
        as_photo(np.rint(RGB * 4095).astype(np.uint16), "mine")
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "facejax: warning: mine: its brightest value is 4095 of 65535: read as 12 bits"
    as_photo(np.rint(RGB * 4095).astype(np.uint16), "mine")
    assert not capsys.readouterr().err
