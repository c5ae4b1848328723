"""Text of any encoding, line end and byte order mark gives the same lists, boxes and landmarks."""

import json
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from facejax.images import box_of, find_landmarks, list_photos, read_boxes, read_landmarks
from facejax.text_files import decode_text, parse_json, read_json, read_text, text_lines

POINTS = np.random.default_rng(1).uniform(20, 180, (68, 2)).round(3).astype(np.float32)
NAMES = ["eins.png", "sub/zwei.png", "grün.png"]
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",  # with a mark, little-endian
    "utf-16-be": "\ufeff".encode("utf-16-be"),
    "utf-16-le": b"",  # without a mark
    "utf-32": b"",
    "utf-32-be": "\ufeff".encode("utf-32-be"),
    "cp1252": b"",
}
ENDS = ["\n", "\r\n", "\r"]
CASES = [(encoding, end) for encoding in ENCODINGS for end in ENDS]


def encoded(text: str, encoding: str, end: str) -> bytes:
    return ENCODINGS[encoding] + text.replace("\n", end).encode(encoding)


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(("encoding", "end"), CASES)
def test_every_encoding_gives_the_same_text_list_boxes_and_points(folder, encoding, end):
    lines = "# Fotos\n" + "\n".join(NAMES) + "\n"
    (folder / "a.txt").write_bytes(encoded(lines, encoding, end))
    assert read_text(folder / "a.txt") == lines
    assert [photo.file for photo in list_photos([folder / "a.txt"])] == NAMES
    boxes = {name: [1, 2, 30, 40] for name in NAMES}
    (folder / "b.json").write_bytes(encoded(json.dumps(boxes, indent=1, ensure_ascii=False), encoding, end))
    assert list(read_boxes(folder / "b.json")) == NAMES
    (folder / "l.json").write_bytes(encoded(json.dumps({"grün": 1, "points": POINTS.tolist()}), encoding, end))
    np.testing.assert_allclose(read_landmarks(folder / "l.json"), POINTS)
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in POINTS)
    (folder / "l.pts").write_bytes(encoded(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n", encoding, end))
    np.testing.assert_allclose(read_landmarks(folder / "l.pts"), POINTS - 0.5, rtol=1e-5)
    (folder / "l.csv").write_bytes(encoded(rows.replace(" ", ","), encoding, end))
    np.testing.assert_allclose(read_landmarks(folder / "l.csv"), POINTS, rtol=1e-5)


@pytest.mark.parametrize(
    "line",
    [
        '"sub/zwei.png"',
        "'sub/zwei.png'",
        "sub\\zwei.png",
        '"sub\\zwei.png"',
        "./sub/zwei.png",
        "  sub/zwei.png \t",
        "\ufeffsub/zwei.png",  # of a second list that was appended
        "sub/zwei.png\x1a",  # the end of a file in DOS
        "\xa0sub/zwei.png\xa0",  # from a web page
    ],
)
def test_lines_as_people_have_them(folder, line):
    (folder / "a.txt").write_bytes(f"eins.png\r\n{line}".encode())
    photos = list_photos([folder / "a.txt"])
    assert [photo.name for photo in photos] == ["eins.png", "zwei.png"]
    assert (folder / "a.txt").parent.joinpath(photos[1].source).exists()


def test_names_that_are_no_unicode_are_found_by_their_bytes(tmp_path):
    name = b"caf\xe9.png"
    with open(bytes(tmp_path) + b"/" + name, "wb"):
        pass
    (tmp_path / "a.txt").write_bytes(name)
    (photo,) = list_photos([tmp_path / "a.txt"])
    with photo.open() as file:
        assert file.read() == b"" and photo.file.encode()


def test_windows_paths_are_keys_of_boxes(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({"sub\\a.png": [1, 2, 30, 40]}))
    assert list(read_boxes(tmp_path / "b.json")) == ["sub/a.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea", "not text (UTF-16 that is cut short or damaged)"),
        (b"\xff\xfe\x00\x00\x01", "not text (UTF-32 that is cut short or damaged)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not text (it has zero bytes)"),
        ("日本".encode("utf-16-le") + b"\0a", "not text (it has zero bytes)"),
    ],
)
def test_what_is_no_text_is_one_line(content, message):
    with pytest.raises(ValueError) as caught:
        decode_text(content, "a.txt")
    assert str(caught.value) == f"a.txt: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON (Expecting property name"),
        (b"", "not JSON (Expecting value"),
        (b"[" * 100_000, "not JSON that can be read (nested too deeply)"),
        (b"\xff\xfe{", "not text"),
    ],
)
def test_what_is_no_json_is_one_line(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: {message}") and "\n" not in str(caught.value)
    for read in (read_boxes, read_landmarks):
        with pytest.raises(ValueError, match=r"a\.json: ") as caught:
            read(tmp_path / "a.json")
        assert "\n" not in str(caught.value) and str(caught.value).count("a.json") == 1


def test_names_with_letters_that_end_lines_elsewhere_stay_whole():
    assert text_lines("a\u2028b\x85c\x0bd.png\ne.png") == ["a\u2028b\x85c\x0bd.png", "e.png"]
    assert parse_json("[1]", "a") == [1]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_of_a_list_may_be_written_otherwise_than_those_of_the_files(tmp_path, form: Literal["NFC", "NFD"]):
    """As macOS writes names, and other systems."""
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"
    (tmp_path / unicodedata.normalize(other, "Jörg.png")).touch()
    (tmp_path / "l.txt").write_text(unicodedata.normalize(form, "Jörg.png\n"))
    (photo,) = list_photos([tmp_path / "l.txt"])
    assert Path(photo.source).exists()
    points = tmp_path / unicodedata.normalize(form, "Jörg.npy")
    points.touch()
    assert find_landmarks(tmp_path, photo) == points
    assert box_of(photo, {unicodedata.normalize(form, "Jörg.png"): np.ones((1, 4))}) is not None
