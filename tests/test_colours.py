"""Colours of files come out as sRGB, whatever they are coded in and however their profile is called."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from facejax.images import read_image
from facejax.images.colours import Coding, code_to_srgb
from facejax.images.read import read_pixels

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# The columns of Display P3 and of Adobe RGB (1998) in their published profiles, adapted to D50.
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
COLOURS = np.random.default_rng(5).integers(0, 256, (8, 10, 3), np.uint8)
DARK = np.array([55, 13, 147], np.uint8)


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def profile(*, columns=None, gamma=None, name="sRGB") -> bytes:
    """An ICC profile made from sRGB's: with other primaries, and a power in place of its curve."""
    icc = SRGB
    for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns or (), strict=False):
        place = struct.unpack(">I", icc[icc.index(tag, 128) + 4 :][:4])[0]
        icc = icc[: place + 8] + b"".join(map(fixed, column)) + icc[place + 20 :]
    if gamma is not None:
        place = icc.index(b"para\0\0\0\0\0\3")
        icc = icc[: place + 8] + b"\0\0\0\0" + fixed(gamma) + icc[place + 16 :]
    if name != "sRGB":
        icc = icc.replace("sRGB".encode("utf-16-be"), name[:4].encode("utf-16-be"))
    return icc


def grey_profile(gamma: float) -> bytes:
    """A profile of version 2 for grey with a power as its curve."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ \0\0\0\0" + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + b"\0" * 78
    text = text.ljust(-(-len(text) // 4) * 4, b"\0")
    place, table, body = 128 + 4 + 3 * 12, b"", b""
    for tag, content in ((b"desc", text), (b"wtpt", white), (b"kTRC", curve)):
        table += tag + struct.pack(">II", place + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", 3) + table + body


def lcms(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """LittleCMS's own conversion, by another entry than the library's."""
    found = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.NOOPTIMIZE,
    )
    assert found is not None
    return np.asarray(found)


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    body = kind + content
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def save_coded(path, pixels: np.ndarray, *code: int) -> None:
    buffer = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    path.write_bytes(with_chunk(buffer, b"cICP", bytes(code)))


PROFILES = {
    "linear, called sRGB": profile(gamma=1.0),
    "gamma 1.8, called sRGB": profile(gamma=1.8),
    "gamma 2.2, called sRGB": profile(gamma=2.2),
    "P3, called sRGB": profile(columns=P3),
    "Adobe RGB, called sRGB": profile(columns=ADOBE, gamma=2.2),
    "P3": profile(columns=P3, name="P3xx"),
    "primaries exchanged": profile(columns=(P3[1], P3[0], P3[2])),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "webp"])
def test_profiles_are_converted_whatever_they_are_called(tmp_path, name, kind):
    path = tmp_path / f"a.{kind}"
    exact = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    Image.fromarray(COLOURS).save(path, icc_profile=PROFILES[name], **exact)
    with Image.open(path) as image:
        stored = np.asarray(image.convert("RGB"))
    found = read_pixels(path)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), lcms(stored, PROFILES[name]), atol=1)
    assert np.abs(found.astype(int) - stored).max() > 4


def test_the_linear_profile_of_the_report(tmp_path):
    Image.fromarray(np.tile(DARK, (2, 2, 1))).save(tmp_path / "a.png", icc_profile=profile(gamma=1.0))
    assert read_pixels(tmp_path / "a.png")[0, 0].tolist() == [128, 64, 200]


@pytest.mark.parametrize("icc", [SRGB, profile(name="RGBs"), profile(gamma=None, columns=None, name="abcd")])
def test_srgb_by_its_numbers_changes_nothing(tmp_path, icc):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=icc)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), COLOURS)


def test_grey_and_transparent_photos_have_profiles_too(tmp_path, caplog):
    grey, icc = COLOURS[..., 0], grey_profile(1.0)
    wanted = lcms(grey, icc)
    assert np.abs(wanted[..., 0].astype(int) - grey).max() > 50
    Image.fromarray(grey).save(tmp_path / "l.png", icc_profile=icc)
    np.testing.assert_allclose(read_pixels(tmp_path / "l.png").astype(int), wanted, atol=1)
    Image.fromarray(np.dstack([grey, np.full_like(grey, 255)])).save(tmp_path / "la.png", icc_profile=icc)
    np.testing.assert_allclose(read_image(tmp_path / "la.png"), wanted / 255, atol=0.005)
    rgb = profile(gamma=1.0)
    Image.fromarray(grey).save(tmp_path / "g.png", icc_profile=rgb)  # grey with a profile for RGB
    np.testing.assert_allclose(read_pixels(tmp_path / "g.png"), lcms(np.repeat(grey[..., None], 3, -1), rgb), atol=1)
    opaque = np.dstack([COLOURS, np.full_like(grey, 255)])
    Image.fromarray(opaque).save(tmp_path / "rgba.png", icc_profile=rgb)
    np.testing.assert_allclose(read_image(tmp_path / "rgba.png"), lcms(COLOURS, rgb) / 255.0, atol=0.005)
    Image.fromarray(COLOURS).convert("P").save(tmp_path / "p.png", icc_profile=rgb)
    with Image.open(tmp_path / "p.png") as image:
        np.testing.assert_allclose(read_pixels(tmp_path / "p.png"), lcms(np.asarray(image.convert("RGB")), rgb), atol=1)
    assert not caplog.text


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_photos_of_16_bits_keep_their_precision_under_a_profile(tmp_path, gamma):
    """A profile that is a power and no more has its formula; 8 bits would give 13 levels between the darkest two."""
    ramp = np.linspace(0.02, 1, 500).reshape(20, 25)
    wanted = ramp**gamma
    wanted = np.where(wanted <= 0.0031308, 12.92 * wanted, 1.055 * wanted ** (1 / 2.4) - 0.055)
    values = np.rint(ramp * 65535).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "l.png", icc_profile=grey_profile(gamma))
    np.testing.assert_allclose(read_image(tmp_path / "l.png")[..., 1], wanted, atol=0.006)
    Image.fromarray(COLOURS).save(tmp_path / "b.png", icc_profile=profile(gamma=gamma))
    content = (tmp_path / "b.png").read_bytes()
    start = content.index(b"iCCP")
    chunk = content[start + 4 :][: int.from_bytes(content[start - 4 : start], "big")]
    deep = cv2.imencode(".png", np.repeat(values[..., None], 3, -1))[1].tobytes()
    (tmp_path / "c.png").write_bytes(with_chunk(deep, b"iCCP", chunk))
    np.testing.assert_allclose(read_image(tmp_path / "c.png")[..., 1], wanted, atol=0.006)


@pytest.mark.parametrize(
    "icc", [b"no profile", SRGB[:200], grey_profile(2.2), b"", SRGB[:128] + b"\xff" * 300], ids=range(5)
)
def test_profiles_that_cannot_be_used_are_named_and_ignored(tmp_path, caplog, icc):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=icc)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), COLOURS)
    assert not icc or f"{tmp_path / 'a.png'}: its colour profile is ignored: " in caplog.text


def test_cmyk_with_the_profile_of_another_space_is_named(tmp_path, caplog):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100, icc_profile=SRGB)
    colour = read_image(tmp_path / "a.jpg").mean(axis=(0, 1))
    assert colour[0] > 0.9 and colour[1] < 0.1 and "it is for RGB, the image is CMYK" in caplog.text


def test_lab_is_converted(tmp_path):
    lab = ImageCms.profileToProfile(
        Image.fromarray(COLOURS), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), COLOURS / 255, atol=0.07)  # LAB of 8 bits is coarse


def test_cicp_of_display_p3_is_what_its_profile_gives(tmp_path):
    save_coded(tmp_path / "a.png", COLOURS, 12, 13, 0, 1)
    wanted = lcms(COLOURS, profile(columns=P3))
    found = read_pixels(tmp_path / "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), wanted, atol=2)
    assert np.abs(found.astype(int) - COLOURS).max() > 10
    values = COLOURS.astype(np.uint16) * 257
    save_coded(tmp_path / "deep.png", values, 12, 13, 0, 1)
    np.testing.assert_allclose(read_image(tmp_path / "deep.png"), wanted / 255.0, atol=0.009)


def test_cicp_goes_before_a_profile(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, "PNG", icc_profile=profile(columns=ADOBE, gamma=2.2))
    (tmp_path / "srgb.png").write_bytes(with_chunk(buffer.getvalue(), b"cICP", bytes((1, 13, 0, 1))))
    np.testing.assert_array_equal(read_pixels(tmp_path / "srgb.png"), COLOURS)
    (tmp_path / "p3.png").write_bytes(with_chunk(buffer.getvalue(), b"cICP", bytes((12, 13, 0, 1))))
    np.testing.assert_allclose(read_pixels(tmp_path / "p3.png"), lcms(COLOURS, profile(columns=P3)), atol=2)


@pytest.mark.parametrize(
    ("code", "value", "wanted"),
    [
        ((1, 13), 0.5, 0.5),
        ((1, 8), 0.2140, 0.5),  # linear light
        ((9, 8), 0.2140, 0.5),  # grey is the same with any primaries
        ((12, 13), 0.3, 0.3),
        ((1, 4), 0.5, 0.5029),  # gamma 2.2: 0.5 ** 2.2 = 0.21764
        ((1, 1), 0.5, 0.5454),  # BT.709: ((0.5 + 0.099) / 1.099) ** (1 / 0.45) = 0.25972
        ((1, 6), 0.5, 0.5454),
        ((9, 14), 0.5, 0.5454),
        ((9, 16), 0.58069, 1.0),  # PQ of 203 cd/m2, ITU-R BT.2408
        ((9, 16), 0.50808, 0.7305),  # PQ of 100 cd/m2: 100 / 203 of white
        ((9, 16), 0.9, 1.0),  # brighter than white
        ((9, 18), 0.75, 1.0),  # HLG of white, ITU-R BT.2408
        ((9, 18), 0.0, 0.0),
    ],
)
def test_codings_of_grey(code, value, wanted):
    found = code_to_srgb(np.full((1, 1, 3), value, np.float32), Coding(*code))
    np.testing.assert_allclose(found, wanted, atol=0.004)


def test_narrow_range_is_widened(tmp_path):
    pixels = np.array([[[16, 16, 16], [235, 235, 235], [126, 126, 126]]], np.uint8)
    save_coded(tmp_path / "a.png", pixels, 1, 13, 0, 0)
    assert read_pixels(tmp_path / "a.png")[0, :, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize(("code", "said"), [((99, 13), "99, 13"), ((1, 77), "1, 77"), ((2, 2), ""), ((2, 13), "")])
def test_unknown_codings_are_named_and_the_profile_is_used(tmp_path, caplog, code, said):
    save_coded(tmp_path / "a.png", COLOURS, *code, 0, 1)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), COLOURS)
    assert (f"a.png: its colour code points {said} are not known" in caplog.text) == bool(said)


def test_avif_of_display_p3_without_a_profile(tmp_path):
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    content = (tmp_path / "a.avif").read_bytes()
    assert read_image(tmp_path / "a.avif")[8, 8] == pytest.approx(np.array([200, 100, 50]) / 255, abs=0.01)
    place = content.index(b"colrnclx") + 8
    (tmp_path / "b.avif").write_bytes(content[:place] + struct.pack(">H", 12) + content[place + 2 :])
    wanted = lcms(np.full((1, 1, 3), (200, 100, 50), np.uint8), profile(columns=P3))[0, 0] / 255
    assert read_image(tmp_path / "b.avif")[8, 8] == pytest.approx(wanted, abs=0.015)
