"""Parquet tables: the column that holds encoded images is found, whatever it is called and however it is nested."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from facejax.images import list_sources


def encode(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


IMAGES = [encode(seed) for seed in range(3)]
NAMES = ["a.png", "b.png", "c.png"]
PAIR = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LARGE = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
PAIRS = [{"bytes": image, "path": name} for image, name in zip(IMAGES, NAMES, strict=True)]
SHARED = [f"x/{row:08d}" for row in range(3)]  # where nothing names the rows of x.parquet

HELD = {
    "bytes": ({"image": IMAGES}, SHARED),
    "large bytes": ({"image": pa.array(IMAGES, pa.large_binary())}, SHARED),
    "view of bytes": ({"image": pa.array(IMAGES, pa.binary_view())}, SHARED),
    "repeated bytes": ({"image": pa.array(IMAGES).dictionary_encode()}, SHARED),
    "file names beside bytes": ({"image": NAMES, "jpg": IMAGES}, NAMES),
    "words beside bytes": ({"image": ["one", "two", "three"], "jpg": IMAGES}, SHARED),
    "numbers beside bytes": ({"image": [[1, 2], [3], [4]], "png": IMAGES}, SHARED),
    "captions": ({"content": ["a man", "a woman", "a man"], "image_bytes": IMAGES}, SHARED),
    "pairs": ({"image": pa.array(PAIRS, PAIR)}, NAMES),
    "large pairs": ({"image": pa.array(PAIRS, LARGE)}, NAMES),
    "pairs without paths": ({"image": pa.array([{"bytes": one} for one in IMAGES])}, SHARED),
    "pairs with empty paths": ({"image": pa.array([{"bytes": one, "path": None} for one in IMAGES], PAIR)}, SHARED),
    "lists of pairs": ({"image": pa.array([[one] for one in PAIRS], pa.list_(PAIR))}, NAMES),
    "large lists of pairs": ({"images": pa.array([[one] for one in PAIRS], pa.large_list(PAIR))}, NAMES),
    "lists of one pair": ({"images": pa.array([[one] for one in PAIRS], pa.list_(PAIR, 1))}, NAMES),
    "lists of bytes": ({"image": pa.array([[one] for one in IMAGES])}, SHARED),
    "another name": ({"face": IMAGES, "age": [1, 2, 3]}, SHARED),
    "another name, pairs": ({"face": pa.array(PAIRS, PAIR), "mask": IMAGES}, NAMES),
    "capitals": ({"Image": IMAGES, "mask": IMAGES}, SHARED),
    "a usual name among others": ({"mask": IMAGES[::-1], "jpg": IMAGES}, SHARED),
    "named rows": ({"image": IMAGES, "key": NAMES}, NAMES),
    "numbered rows": ({"image": IMAGES, "id": [7, 8, 9]}, ["7", "8", "9"]),
    "a key that is no name": ({"image": IMAGES, "key": [{"a": 1}] * 3}, SHARED),
    "a repeated name": ({"image": IMAGES, "key": ["a", "a", "b"]}, SHARED),
    "repeated names as a dictionary": ({"image": IMAGES, "key": pa.array(NAMES).dictionary_encode()}, NAMES),
}


@pytest.mark.parametrize("name", HELD)
def test_the_column_that_holds_image_files_is_read(tmp_path, name):
    columns, names = HELD[name]
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=2)
    listing = list_sources([tmp_path / "x.parquet"])
    assert [photo.file for photo in listing.photos] == names and not listing.left_out
    assert [photo.open().read() for photo in listing.photos] == IMAGES


REFUSED = {
    "text": ({"image": NAMES}, "its column 'image' holds string, not image files: store bytes of JPEG or PNG"),
    "tensors": ({"image": [[[1, 2]]] * 3}, "its column 'image' holds list<element: list<element: int64>>, not image"),
    "flat tensors": ({"jpg": [[1, 2]] * 3}, "its column 'jpg' holds list<element: int64>, not image files"),
    "numbers": ({"image": [1.0, 2.0, 3.0]}, "its column 'image' holds double, not image files"),
    "arrow's tensors": (
        {"image": pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((3, 2, 2, 3), np.uint8))},
        "its column 'image' holds extension<arrow.fixed_shape_tensor",
    ),
    "pairs of text": ({"image": [{"bytes": "abc"}] * 3}, "its column 'image' holds struct<bytes: string>"),
    "hashes": ({"image": pa.array([b"abc"] * 3, pa.binary(3))}, "its column 'image' holds fixed_size_binary"),
    "nothing": ({"age": [1, 2, 3]}, "no column of images; name one of its columns 'image'"),
    "two of unusual names": ({"left": IMAGES, "right": IMAGES}, "columns left, right hold bytes: name the one with"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_tables_are_refused_in_one_line(tmp_path, name):
    columns, said = REFUSED[name]
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(ValueError) as caught:
        list_sources([tmp_path / "x.parquet"])
    assert str(caught.value).startswith(f"{tmp_path / 'x.parquet'}: {said}") and "\n" not in str(caught.value)


def test_rows_without_an_image_fail_alone_and_further_ones_are_named(tmp_path):
    lists = pa.array([[PAIRS[0], PAIRS[1]], [], None, [None], PAIRS], pa.list_(PAIR))
    nested = pa.array(
        [PAIRS[0], None, {"bytes": None, "path": "q.png"}, {"bytes": b"", "path": "r.png"}, PAIRS[1]], PAIR
    )
    for column, whole in ((lists, False), (nested, True)):
        parquet.write_table(pa.table({"image": column}), tmp_path / "x.parquet", row_group_size=2)
        listing = list_sources([tmp_path / "x.parquet"])
        assert len(listing.photos) == 5 and listing.whole is whole
        assert listing.photos[0].open().read() == IMAGES[0]
        for photo in listing.photos[1:4]:
            with pytest.raises(ValueError, match=f"x.parquet: {photo.file}: the table holds no image there"):
                photo.open()
        if not whole:
            assert str(listing.left_out[0]).endswith("3 not first in their row (give each a row of its own)")
