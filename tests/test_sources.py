"""Photographs from folders, lists, archives and tables: the same names, order and pixels wherever they lie."""

import io
import os
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from facejax.images import Photo, list_photos, list_sources, read_image
from facejax.images.sources import check_folders, photo_file, taken_folders


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


NAMES = ("a.png", "sub/b.png", "sub/c.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same three pictures in every kind of place."""
    root = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(NAMES):
        (root / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "all" / name).write_bytes(picture(seed))
    (root / "all" / ".hidden.png").write_bytes(picture(9))
    (root / "all" / "notes.md").write_text("no photo")
    (root / "list.txt").write_text("# which\n" + "\n\n".join(f"all/{name}" for name in NAMES))
    with tarfile.open(root / "all.tar", "w") as archive:
        for seed, name in enumerate(NAMES):
            for suffix, content in ((name, picture(seed)), (name[:-3] + "json", b"{}")):
                member = tarfile.TarInfo(f"./{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(root / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for seed, name in enumerate(NAMES):
            how = zipfile.ZIP_STORED if seed == 1 else zipfile.ZIP_DEFLATED
            archive.writestr(name, picture(seed), how)
            archive.writestr(name[:-3] + "json", b"{}")
    images = [picture(seed) for seed in range(3)]
    parquet.write_table(pa.table({"image": images, "file_name": list(NAMES)}), root / "all.parquet", row_group_size=2)
    nested = [{"bytes": image, "path": name} for image, name in zip(images, NAMES, strict=True)]
    parquet.write_table(pa.table({"image": nested}), root / "nested.parquet", row_group_size=2)
    parquet.write_table(pa.table({"image": [images[0], None]}), root / "bare.parquet")
    return root


@pytest.mark.parametrize("source", ["all", "all.tar", "all.zip", "all.parquet", "nested.parquet", "list.txt"])
@pytest.mark.parametrize("remote", [False, True])
def test_every_place_gives_the_same_photographs(folder, source, remote):
    place = f"file://{folder / source}" if remote else folder / source
    if remote and source == "all":
        place += "/"
    photos = list_photos([place])
    prefix = "all/" if source == "list.txt" else ""
    assert [photo.file for photo in photos] == [prefix + name for name in NAMES]
    assert [photo.folder for photo in photos] == [prefix + name[:-4] for name in NAMES]
    for seed in (2, 0, 1):  # in any order
        want = np.asarray(Image.open(io.BytesIO(picture(seed))), np.float32) / 255
        np.testing.assert_array_equal(read_image(photos[seed]), want)


def test_archives_in_folders_and_several_sources(folder, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").write_bytes((folder / "all.tar").read_bytes())
    photos = list_photos([tmp_path / "shards", folder / "bare.parquet", "elsewhere.jpg"])
    assert [photo.file for photo in photos[:3]] == list(NAMES)
    assert [photo.file for photo in photos[3:]] == ["bare/00000000", "bare/00000001", "elsewhere.jpg"]
    with pytest.raises(ValueError, match=r"bare\.parquet: bare/00000001: the table holds no image there"):
        read_image(photos[4])
    with pytest.raises(FileNotFoundError, match=r"elsewhere\.jpg: no such photo"):
        read_image(photos[5])


def test_results_are_no_photographs(folder):
    photos = list_photos([folder / "all"], without=folder / "all" / "sub")
    assert [photo.file for photo in photos] == ["a.png"]


def test_results_may_lie_around_the_photographs_but_not_among_them(folder, monkeypatch):
    """OUT is the folder's own, one above it, or one beside it whose name begins alike."""
    for out in (folder, folder / "al", folder / "all2"):
        for prefix, end in (("", ""), ("file://", "/")):
            photos = list_photos([f"{prefix}{folder / 'all'}{end}"], without=f"{prefix}{out}")
            assert [photo.file for photo in photos] == list(NAMES)
    monkeypatch.chdir(folder / "all")
    (folder / "all/all").mkdir()  # in which OUT/all/b would be a result, if OUT were `folder`
    (folder / "all/all/b.png").write_bytes(picture(3))
    url = f"file://{folder}/all"
    for source, out in ((".", "."), (folder / "all", "."), (f"{url}/", url), (f"{url}/", "."), ("..", url[7:-4])):
        with pytest.raises(ValueError, match=r"--out .*: results would lie among the photographs; use another"):
            list_photos([source], without=out)
    with pytest.raises(ValueError, match="results would lie among the photographs"):
        list_photos([folder / "all"], without=folder)


def test_names_that_are_no_text_are_made_readable(tmp_path):
    strange = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(strange, "wb") as file:
        file.write(picture(1))
    (photo,) = list_photos([tmp_path])
    assert photo.file == "caf\ufffd.png" and photo.file.encode() and read_image(photo).shape == (5, 4, 3)


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def test_names_in_archives_and_tables_that_are_no_text_are_made_readable(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w", encoding="utf-8", errors="surrogateescape") as archive:
        add_member(archive, os.fsdecode(b"caf\xe9.png"), picture(1))
    names = pa.array([b"caf\xe9.png", b"na\xefve.png"]).view(pa.string())
    parquet.write_table(pa.table({"image": [picture(1)] * 2, "path": names}), tmp_path / "x.parquet")
    nested = pa.StructArray.from_arrays([pa.array([picture(1)] * 2), names], ["bytes", "path"])
    parquet.write_table(pa.table({"image": nested}), tmp_path / "nested.parquet")
    parquet.write_table(pa.table({"image": [picture(1)], "key": [b"caf\xe9"]}), tmp_path / "bytes.parquet")
    for name, wanted in {
        "x.tar": ["caf\ufffd.png"],
        "x.parquet": ["caf\ufffd.png", "na\ufffdve.png"],
        "nested.parquet": ["caf\ufffd.png", "na\ufffdve.png"],
        "bytes.parquet": ["caf\ufffd"],
    }.items():
        photos = list_photos([tmp_path / name])
        assert [photo.file for photo in photos] == wanted and all(photo.file.encode() for photo in photos)
        assert read_image(photos[-1]).shape == (5, 4, 3)


OUTSIDE = {
    "/data/imgs/1.png": "data/imgs/1",
    "//data/2.png": "data/2",
    "../up/y.png": "up/y",
    "a/../../../z.png": "a/z",
    "./b.png": "b",
    "c/...png": "c",
    "...png": "photo",
    "..png": "photo",
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_results(name):
    photo = Photo(name, "x.tar", 0, 9)
    if not name.endswith("..png"):  # which Pythons call otherwise
        assert photo.folder == OUTSIDE[name]
    assert photo.file == name and photo.stem == photo.folder.rpartition("/")[2]
    assert (Path("/out") / photo.folder).parts[:2] == ("/", "out") and ".." not in photo.folder.split("/")


def test_results_of_collections_stay_below_their_folder_and_clashes_are_found(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("/abs/x.png", "../abs/x.jpg"):
            add_member(archive, name, picture(1))
    parquet.write_table(pa.table({"image": [picture(1)] * 2, "path": ["/d/1.png", ""]}), tmp_path / "x.parquet")
    (tmp_path / "x.txt").write_text("../photos/b.png\n/photos/b.jpg\n")
    photos = list_photos([tmp_path / f"x.{kind}" for kind in ("tar", "parquet", "txt")])
    assert [photo.folder for photo in photos] == ["abs/x"] * 2 + ["d/1", "photo"] + ["photos/b"] * 2
    assert taken_folders(photos) == {photos[1]: photos[0], photos[5]: photos[4]}


def test_damaged_pictures_in_archives_are_named(folder, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("bad.jpg")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"abcde"))
    (photo,) = list_photos([tmp_path / "x.tar"])
    with pytest.raises(ValueError, match=r"x\.tar: bad\.jpg: not an image"):
        read_image(photo)


def test_what_cannot_be_listed_says_why(folder, tmp_path):
    (tmp_path / "torn.tar").write_bytes((folder / "all.tar").read_bytes()[100:900])
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "z.tar.gz").write_bytes(b"")
    parquet.write_table(pa.table({"age": [1]}), tmp_path / "ages.parquet")
    (tmp_path / "photos.csv").write_text("a.jpg\n")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "torn.tar": "not a whole tar archive",
        "torn.parquet": "not a whole Parquet file",
        "empty.txt": "holds no photographs",
        "empty": "holds no photographs",
        "z.tar.gz": "unpack it",
        "ages.parquet": "no column of images",
        "photos.csv": "a list of photographs is a .txt file",
    }.items():
        with pytest.raises(ValueError, match=message):
            list_photos([tmp_path / name])
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such photo, folder"):
        list_photos([tmp_path / "nowhere"])


def test_faces_of_one_photograph_and_another_photograph_of_their_name_are_found():
    """x.jpg with two faces writes to x_0 and x_1; whichever is later is refused, and refused ones take no folder."""
    x, first, second, other = photos = [photo_file(name) for name in ("x.jpg", "x_0.jpg", "x_1.png", "x.png")]
    faces = {x: 2, other: 3}
    folders = lambda photo: photo.folders(faces.get(photo, 1))  # noqa: E731
    assert taken_folders(photos, folders) == {first: x, second: x, other: x}
    assert taken_folders([first, x, other, second], folders) == {x: first, other: first}
    assert taken_folders(photos) == {other: x}
    with pytest.raises(ValueError, match=r"x_0\.jpg and x\.jpg would both write to x_0/"):
        check_folders(photos, folders)


def test_two_photographs_of_one_folder_are_found():
    photos = [photo_file(name) for name in ("x/a.png", "b.png", "y/a.jpg")]
    assert taken_folders(photos) == {photos[2]: photos[0]}
    with pytest.raises(ValueError, match=r"y/a\.jpg and x/a\.png would both write to a/"):
        check_folders(photos)


# --- names that several sources share ---------------------------------------------------------------------------------


def write_shard(path: Path, names: Sequence[str]) -> Path:
    """An archive or table with a picture of each name; all of them differ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = {name: picture(hash((path.name, name)) % 1000) for name in names}
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as archive:
            for name, content in pictures.items():
                add_member(archive, name, content)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in pictures.items():
                archive.writestr(name, content)
    else:
        parquet.write_table(pa.table({"image": list(pictures.values()), "key": list(pictures)}), path)
    return path


NUMBERED = ["000000.png", "000001.png"]


@pytest.mark.parametrize("suffix", ["tar", "zip", "parquet"])
@pytest.mark.parametrize("listed", ["named", "folder", "list"])
def test_shards_with_the_same_names_get_their_own(tmp_path, suffix, listed):
    shards = [write_shard(tmp_path / f"in/shard-{k}.{suffix}", NUMBERED) for k in range(3)]
    (tmp_path / "in/l.txt").write_text("\n".join(shard.name for shard in shards))
    sources = {"named": shards, "folder": [tmp_path / "in"], "list": [tmp_path / "in/l.txt"]}[listed]
    photos = list_photos(sources)
    assert [photo.file for photo in photos] == [f"shard-{k}/{name}" for k in range(3) for name in NUMBERED]
    assert not taken_folders(photos) and list_photos(sources) == photos
    want = [photo.open().read() for shard in shards for photo in list_photos([shard])]
    assert [photo.open().read() for photo in photos] == want


@pytest.mark.parametrize(
    ("files", "names"),
    [
        # A shard whose names nobody else has keeps them.
        ({"0.tar": ["a.png"], "1.tar": ["b.png"]}, ["a.png", "b.png"]),
        ({"0.tar": ["a.png"], "1.tar": ["a.png"], "2.tar": ["c.png"]}, ["0/a.png", "1/a.png", "c.png"]),
        # All photos of a shard are named alike, also those that no other has.
        ({"0.tar": ["a.png", "b.png"], "1.tar": ["b.png"]}, ["0/a.png", "0/b.png", "1/b.png"]),
        # It is the folder of results that counts.
        ({"0.tar": ["a.png"], "1.tar": ["a.jpg"]}, ["0/a.png", "1/a.jpg"]),
        ({"0.tar": ["s/a.png"], "1.zip": ["s/a.png"]}, ["0/s/a.png", "1/s/a.png"]),
        # Archives of one name are told apart by the folders around them.
        ({"x/0.tar": ["a.png"], "y/0.tar": ["a.png"]}, ["x/0/a.png", "y/0/a.png"]),
        ({"x/0.tar": ["a.png"], "y/0.tar": ["a.png"], "y/1.tar": ["a.png"]}, ["x/0/a.png", "y/0/a.png", "y/1/a.png"]),
        ({"0.tar": ["a.png"], "0.zip": ["a.png"]}, ["0.tar/a.png", "0.zip/a.png"]),
        # A loose photo keeps its name.
        ({"0.tar": ["a.png"], "a.png": []}, ["0/a.png", "a.png"]),
        ({"0.tar": ["/a.png"], "1.tar": ["../a.png"]}, ["0/a.png", "1/../a.png"]),
        # Twice in one archive.
        ({"0.tar": ["a.png", "a.jpg"]}, ["a.png", "a.jpg"]),
    ],
)
def test_names_in_front_are_no_longer_than_needed(tmp_path, files, names):
    for name, members in files.items():
        if members:
            write_shard(tmp_path / "in" / name, members)
        else:
            (tmp_path / "in" / name).write_bytes(picture(0))
    photos = list_photos([tmp_path / "in"])
    assert [photo.file for photo in photos] == names and len({photo.file for photo in photos}) == len(names)
    kept = [photo for photo in photos if photo not in taken_folders(photos)]
    assert len({photo.folder for photo in kept}) == len(kept)


def test_a_photo_that_is_there_twice_fails_the_later_one(folder, tmp_path):
    (tmp_path / "twice.txt").write_text(f"{folder}/all/a.png\n{folder}/all/sub/b.png\n{folder}/all/a.png\n")
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for seed in range(2):
            add_member(archive, "a.png", picture(seed))
    shard = tmp_path / "bare.parquet"
    shard.write_bytes((folder / "bare.parquet").read_bytes())
    for sources in (
        [tmp_path / "twice.txt"],
        [tmp_path / "twice.tar"],
        [folder / "all", folder / "all"],
        [folder / "all.tar", folder / "all.tar"],
        [folder / "all.zip", folder / "all.zip"],
        [folder / "all.parquet", folder / "all.parquet"],
        [shard, shard],  # names without a suffix
    ):
        photos = list_photos(sources)
        taken = taken_folders(photos)
        assert len({photo.file for photo in photos}) == len(photos)
        assert all(photo.file.endswith("#2") for photo in taken), sources
        assert len(taken) == {"twice.txt": 1, "twice.tar": 1}.get(sources[0].name, len(photos) // 2)
        assert all(later.folder == first.folder for later, first in taken.items())


def test_a_folder_and_an_archive_are_both_listed(folder, tmp_path):
    photos = list_photos([folder / "all/sub", folder / "all.tar", folder / "all/sub/b.png"])
    assert [photo.file for photo in photos] == ["b.png", "c.png", *NAMES, "b.png#2"]
    photos = list_photos([folder / "list.txt", write_shard(tmp_path / "x.tar", ["all/a.png", "y.png"])])
    assert [photo.file for photo in photos[3:]] == ["x/all/a.png", "x/y.png"]


# --- zip --------------------------------------------------------------------------------------------------------------


def test_members_of_a_zip_that_cannot_be_read_fail_alone(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.png", "c.png"):
            archive.writestr(name, picture(len(name) + ord(name[0])))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    place = content.index(b"b.png") + 5
    content[place + 3 : place + 30] = b"\xff" * 27  # in the middle of b's bytes
    (tmp_path / "x.zip").write_bytes(content)
    a, b, c = list_photos([tmp_path / "x.zip"])
    assert read_image(a).shape == read_image(c).shape == (5, 4, 3)
    with pytest.raises(ValueError, match=r"x\.zip: b\.png: cannot be unpacked") as caught:
        read_image(b)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_of_every_packing_are_read(tmp_path, how):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", how) as archive:
        archive.mkdir("sub")
        archive.writestr("sub\\a.png", picture(1))  # as some programs of Windows write it
        archive.writestr("grün.png", picture(2))
    photos = list_photos([tmp_path / "x.zip"])
    assert [photo.file for photo in photos] == ["sub/a.png", "grün.png"]
    assert [photo.open().read() for photo in photos] == [picture(1), picture(2)]


def test_encrypted_members_and_archives_in_archives_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", picture(1))
        archive.writestr("secret.png", picture(2))
        archive.writestr("inner.zip", b"")
        archive.writestr("inner.tar", b"")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag of encryption in both headers
        start = content.rindex(mark, 0, content.rindex(b"secret.png") if offset == 8 else content.index(b"secret.png"))
        content[start + offset] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    listing = list_sources([tmp_path / "x.zip"])
    assert [photo.file for photo in listing.photos] == ["a.png"] and not listing.whole
    (line,) = map(str, listing.left_out)
    assert "1 encrypted (unpack them)" in line and "1 .zip (an archive in an archive: unpack it)" in line


def test_a_zip_that_was_written_anew_is_read_anew(tmp_path):
    for seed in (1, 2):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr(f"{seed}.png", picture(seed))
        os.utime(tmp_path / "x.zip", (seed, seed))
        (photo,) = list_photos([tmp_path / "x.zip"])
        assert photo.file == f"{seed}.png" and photo.open().read() == picture(seed)
