"""Which files of a folder, list or archive are photographs; what else may be one is named."""

import io
import os
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from facejax.images import kinds, list_photos, list_sources, read_image
from facejax.images.kinds import is_heif, sort_files
from facejax.images.photo import Photo

# Suffixes of photographs, and the format of Pillow that writes one.
READ = {
    **dict.fromkeys((".jpg", ".JPG", ".jpeg", ".Jpeg", ".jpe", ".jfif", ".JFIF", ".jps"), "JPEG"),
    **dict.fromkeys((".png", ".PNG", ".apng"), "PNG"),
    **dict.fromkeys((".jp2", ".j2k", ".jpx", ".j2c"), "JPEG2000"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".tif", ".TIFF"), "TIFF"),
    **dict.fromkeys((".sgi", ".rgb"), "SGI"),
    **{".mpo": "MPO", ".webp": "WEBP", ".avif": "AVIF", ".gif": "GIF", ".bmp": "BMP", ".dib": "DIB"},
    **{".tga": "TGA", ".pcx": "PCX", ".qoi": "QOI"},
}
# Files beside photographs, and what the line says about them; None: nothing.
BESIDE = {
    "a.heic": "1 .heic (pip install 'facejax[heic]')",
    "a.HEIC": "1 .heic (pip install 'facejax[heic]')",
    "a.heif": "1 .heif (pip install 'facejax[heic]')",
    "a.dng": "1 .dng (convert them to JPEG or TIFF)",
    "a.CR2": "1 .cr2 (convert them to JPEG or TIFF)",
    "a.nef": "1 .nef (convert them to JPEG or TIFF)",
    "a.jxl": "1 .jxl (convert them to PNG or TIFF)",
    "a.exr": "1 .exr (convert them to PNG or TIFF)",
    "a.rar": "1 .rar (unpack it)",
    "a.tar.gz": "1 .tar.gz (unpack it)",
    "a.tgz": "1 .tgz (unpack it)",
    "a.jpg.gz": "1 .gz (unpack it)",
    "a.mov": "1 .mov",
    "a.MP4": "1 .mp4",
    "a.pdf": "1 .pdf",
    "a.eps": "1 .eps",
    "a.svg": "1 .svg",
    "a.ico": "1 .ico",
    "a.xyz": "1 .xyz",
    "a.png~": "1 named as backups (such as a.png~)",
    "a.jpg.bak": "1 named as backups (such as a.jpg.bak)",
    "._a.png": "1 hidden (such as ._a.png)",
    ".hidden.jpg": "1 hidden (such as .hidden.jpg)",
    ".thumb/a.jpg": "1 hidden (such as .thumb/a.jpg)",
    "__MACOSX/._000.jpg": "1 hidden (such as __MACOSX/._000.jpg)",
    "@eaDir/a.jpg": "1 hidden (such as @eaDir/a.jpg)",
    ".AppleDouble/a.jpg": "1 hidden (such as .AppleDouble/a.jpg)",
    "$RECYCLE.BIN/a.jpg": "1 hidden (such as $RECYCLE.BIN/a.jpg)",
    "000.seg.png": "1 named as masks of others (such as 000.seg.png)",
    "000_mask.png": "1 named as masks of others (such as 000_mask.png)",
    "000.mask.png": "1 named as masks of others (such as 000.mask.png)",
    "000_seg.PNG": "1 named as masks of others (such as 000_seg.PNG)",
    "000-mask.gif": "1 named as masks of others (such as 000-mask.gif)",
    "mask_000.png": "1 named as masks of others (such as mask_000.png)",
    "000.png.mask.png": "1 named as masks of others (such as 000.png.mask.png)",
    "000_segmentation.png": "1 named as masks of others (such as 000_segmentation.png)",
    **dict.fromkeys(("a.pts", "a.npy", "a.npz", "a.json", "a.ljson", "a.txt", "a.mat", "a.csv", "a.xml", "a.cls")),
    **dict.fromkeys(("README", "README.md", "LICENSE", "Makefile", "Thumbs.db", ".DS_Store", "desktop.ini", ".git/x")),
    **dict.fromkeys(("a.csv.gz", "a.aae", "a.xmp", "a.obj", "a.yaml", "sub/a.pkl", "._a.json")),
}


def encode(format: str = "PNG", seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    kinds.reads_heif.cache_clear()
    yield
    kinds.reads_heif.cache_clear()


def pack(folder, out):
    """The files of a folder as a tar and a zip archive."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    with tarfile.open(f"{out}.tar", "w") as archive:
        for name in names:
            archive.add(folder / name, name)
    with zipfile.ZipFile(f"{out}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)


@pytest.mark.parametrize("suffix", READ)
def test_what_pillow_reads_is_a_photograph(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(encode(READ[suffix]))
    (photo,) = list_photos([tmp_path])
    assert photo.file == f"a{suffix}" and photo.folder == "a" and read_image(photo).shape == (16, 16, 3)


@pytest.mark.parametrize("name", ["IMG_0001", "a.jpg_large", "b.jpeg!d", "c.JPG.1", "sub/d"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_where_the_suffix_does_not_tell_the_first_bytes_do(tmp_path, name, kind):
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in" / name).write_bytes(encode(kind))
    (tmp_path / "in/LICENSE").write_text("BM PYthon P5 all rights")
    pack(tmp_path / "in", tmp_path / "all")
    for source in ("in", "all.tar", "all.zip"):
        listing = list_sources([tmp_path / source])
        assert [photo.file for photo in listing.photos] == [name] and not listing.left_out
        assert read_image(listing.photos[0]).shape == (16, 16, 3)


@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_is_named_or_clearly_no_photograph(tmp_path, name, without_heif):
    folder = tmp_path / "in"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"Python? BM P6 MM hello")
    (folder / "000.png").write_bytes(encode())
    pack(folder, tmp_path / "all")
    for source in (folder, tmp_path / "all.tar", tmp_path / "all.zip"):
        listing = list_sources([source])
        assert [photo.file for photo in listing.photos] == ["000.png"]
        said = [str(one) for one in listing.left_out]
        assert said == ([] if BESIDE[name] is None else [f"left out of {source}: {BESIDE[name]}"])
        photographs = "pip" in (BESIDE[name] or "") or "convert" in said[0] or "unpack" in said[0] if said else False
        assert listing.whole is not photographs


def test_one_line_counts_all_kinds_photographs_first(tmp_path, without_heif):
    for name in ("1.heic", "2.heic", "3.HEIC", "a.mov", "b.mov", "x.cr2", "ok.jpg", "ok.json", "._ok.jpg"):
        (tmp_path / name).write_bytes(b"video" if name.endswith("mov") else encode("JPEG"))
    (line,) = map(str, list_sources([tmp_path]).left_out)
    assert line == (
        f"left out of {tmp_path}: 3 .heic (pip install 'facejax[heic]'), 1 .cr2 (convert them to JPEG or TIFF), "
        "2 .mov, 1 hidden (such as ._ok.jpg)"
    )


def test_list_photos_tells_the_log(tmp_path, caplog, without_heif):
    (tmp_path / "a.jpg").write_bytes(encode("JPEG"))
    (tmp_path / "a.heic").touch()
    assert len(list_photos([tmp_path])) == 1 and "1 .heic (pip install" in caplog.text


def test_a_folder_of_nothing_that_is_read_says_what_it_holds(tmp_path, without_heif):
    (tmp_path / "a.heic").touch()
    with pytest.raises(ValueError, match=r"holds no photographs; left out of .*: 1 \.heic \(pip install"):
        list_sources([tmp_path])


def test_masks_alone_are_photographs(tmp_path):
    """Without the photograph beside it, and in another folder, `me_mask.png` may be a person with a mask."""
    (tmp_path / "other").mkdir()
    for name in ("me_mask.png", "other/me.png", "mask.png", "a.segment.png"):
        (tmp_path / name).write_bytes(encode())
    listing = list_sources([tmp_path])
    assert len(listing.photos) == 4 and not listing.left_out


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("a.jpg", "masks/a.png"),
        ("a.jpg", "Mask/a.png"),
        ("images/a.jpg", "masks/a.png"),
        ("x/images/a.jpg", "x/seg/a.png"),
        ("x/images/1/a.jpg", "x/segmentation/1/a.png"),
        ("x/a.jpg", "x/parsing/a.png"),
        ("sub/a.jpg", "masks/sub/a.png"),
    ],
)
def test_folders_of_masks_are_left_out(photo, mask):
    kept, left = sort_files([photo, mask, "masks/other.png"])
    assert kept == [photo, "masks/other.png"] and [name for name, _ in left] == [mask]


@pytest.mark.parametrize(
    "other", ["masks/a.png", "x/masks/b.png", "y/masks/a.png", "masked/a.png", "x/mask.png", "x/alpha/a.jpg"]
)
def test_other_folders_are_not(other):
    assert sort_files(["x/images/a.jpg", other])[0] == ["x/images/a.jpg", other]


def test_photographs_with_the_name_of_a_mask_are_taken(tmp_path):
    """A person with a mask is no mask; in a folder, a list, and both kinds of archive."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (90, 80, 3)).astype(np.uint8)
    masks = {
        "two values": Image.fromarray(np.where(noise[..., 0] > 99, 255, 0).astype(np.uint8)),
        "the same in RGB": Image.fromarray(np.where(noise[..., :1] > 99, 255, 0).astype(np.uint8).repeat(3, 2)),
        "a matte": Image.fromarray(noise[..., :1].repeat(3, 2)),
        "labels in colours": Image.fromarray(noise // 100 * 100),
        "a palette": Image.fromarray(noise).quantize(200),
        "cut out": Image.fromarray(random.integers(0, 255, (90, 80, 4)).astype(np.uint8)),
        "damaged": None,
    }
    for k, (case, picture) in enumerate([*masks.items(), ("photograph", Image.fromarray(noise))]):
        folder = tmp_path / str(k)
        folder.mkdir()
        Image.fromarray(noise).save(folder / "me.png")
        if picture is None:
            (folder / "me_mask.png").write_bytes(b"none")
        else:
            picture.save(folder / "me_mask.png")
        with zipfile.ZipFile(tmp_path / f"{k}.zip", "w") as zipped, tarfile.open(tmp_path / f"{k}.tar", "w") as tar:
            for name in ("me.png", "me_mask.png"):
                zipped.write(folder / name, name)
                tar.add(folder / name, name)
        (tmp_path / f"{k}.txt").write_text(f"{k}/me.png\n{k}/me_mask.png\n")
        for source in (folder, tmp_path / f"{k}.zip", tmp_path / f"{k}.tar", tmp_path / f"{k}.txt"):
            found = [photo.name for photo in list_photos([source])]
            assert found == ["me.png", *(["me_mask.png"] if case == "photograph" else [])], (case, source)


def test_not_every_mask_of_a_large_set_is_opened(tmp_path):
    places = {
        name: Photo(name, str(tmp_path / name)) for k in range(30) for name in (f"{k:02}.jpg", f"{k:02}_mask.png")
    }
    asked = []

    def place(name):
        asked.append(name)
        return places[name]

    kept, left = sort_files(list(places), place=place)
    assert len(kept) == len(left) == 30 and len(asked) < 10


def test_lists_leave_out_stray_files_and_masks_only(tmp_path):
    lines = ["a/000.jpg", "a/._000.jpg", "__MACOSX/a/000.jpg", "a/000.seg.png", "a/Thumbs.db", ".cache/x.jpg", "y"]
    lines += [f"{tmp_path}/.hidden/z.jpg", "@eaDir/a.jpg", ".DS_Store", "gone.jpg", "s3://b/.well/q.jpg"]
    (tmp_path / "l.txt").write_text("\n".join(lines))
    listing = list_sources([tmp_path / "l.txt"])
    assert [photo.name for photo in listing.photos] == ["000.jpg", "x.jpg", "y", "z.jpg", "gone.jpg", "q.jpg"]
    (line,) = map(str, listing.left_out)
    assert "5 hidden (such as a/._000.jpg)" in line and "1 named as masks of others" in line and listing.whole


def test_links_are_followed_once(tmp_path):
    (tmp_path / "in/real").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    for name in ("in/real/a.png", "far/b.png"):
        (tmp_path / name).write_bytes(encode())
    os.symlink(tmp_path / "far", tmp_path / "in/linked")
    os.symlink(tmp_path / "in", tmp_path / "in/real/circle")
    os.symlink(tmp_path / "nowhere.png", tmp_path / "in/dangling.png")
    photos = list_photos([tmp_path / "in"])
    assert [photo.file for photo in photos] == ["dangling.png", "linked/b.png", "real/a.png"]
    with pytest.raises(FileNotFoundError, match=r"dangling\.png: no such photo"):
        read_image(photos[0])


def test_links_in_a_tar_lead_to_their_photograph(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").write_bytes(encode())
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    os.symlink("../a.png", tmp_path / "sub/c.png")
    os.symlink("../outside.png", tmp_path / "d.png")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("a.png", "b.png", "sub/c.png", "d.png"):
            archive.add(tmp_path / name, name)
    listing = list_sources([tmp_path / "x.tar"])
    assert [photo.file for photo in listing.photos] == ["a.png", "b.png", "sub/c.png"]
    assert all(photo.open().read() == encode() for photo in listing.photos)
    assert "links to what is not in it (such as d.png)" in str(listing.left_out[0]) and not listing.whole


@pytest.mark.parametrize("name", ["torn.tar", "torn.zip", "torn.parquet"])
def test_a_torn_archive_among_photographs_is_named_and_the_others_go_on(tmp_path, name):
    (tmp_path / "a.png").write_bytes(encode())
    (tmp_path / name).write_bytes(b"no archive" * 100)
    (tmp_path / "l.txt").write_text(f"a.png\n{name}\n")
    for source in (tmp_path, tmp_path / "l.txt"):
        listing = list_sources([source])
        assert [photo.file for photo in listing.photos] == ["a.png"] and not listing.whole
        assert f"{name}: not a whole" in str(listing.left_out[0])
    with pytest.raises(ValueError, match="not a whole"):
        list_sources([tmp_path / name])


HEADS = [b"\0\0\0\x18ftypheic", b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", b"\0\0\0\x18ftyphevc", b"\0\0\0\x18ftypheix"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["a.heic", "a.jpg", "IMG"])
def test_heic_without_its_reader_names_the_extra(tmp_path, head, name, without_heif):
    """Also in files that are called otherwise: phones' photos are often renamed."""
    assert is_heif(head.ljust(64, b"\0"))
    (tmp_path / name).write_bytes(head.ljust(100, b"\0"))
    with pytest.raises(ValueError, match=r"is in HEIC, .*: pip install 'facejax\[heic\]', or convert it"):
        read_image(tmp_path / name)
    assert not is_heif(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif".ljust(64, b"\0"))
    assert not is_heif(encode("AVIF")[:64]) and not is_heif(encode("JPEG")[:64])


@pytest.mark.parametrize("name", ["a.dng", "a.CR2", "a.nef"])
def test_the_thumbnail_of_a_raw_file_is_not_taken_for_it(tmp_path, name):
    (tmp_path / name).write_bytes(encode("TIFF"))
    with pytest.raises(ValueError, match="camera raw files are not read; convert them to JPEG or TIFF"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.rar", "a.7z", "a.tar.gz", "a.tgz", "a.jpg.gz"])
def test_a_packed_archive_that_is_named_says_to_unpack_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"Rar!")
    with pytest.raises(ValueError, match=f"{name}: photos are read in place, .*: unpack it"):
        list_sources([tmp_path / name])


def test_heic_is_read_with_its_reader(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    pixels = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    heif.register_heif_opener()
    Image.fromarray(pixels).save(tmp_path / "a.heic", quality=-1)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.heic").read_bytes())
    listing = list_sources([tmp_path])
    assert [photo.file for photo in listing.photos] == ["a.heic", "b.jpg"] and listing.whole
    for photo in listing.photos:
        np.testing.assert_allclose(read_image(photo), pixels / 255.0, atol=0.02)


def test_at_a_url_only_names_are_looked_at():
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for name in ("a.jpg", "IMG_1", "README", "_SUCCESS", "clip.xyz", "a.seg.png", "._a.jpg"):
        files.pipe(f"/kinds/in/{name}", encode("JPEG"))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.png", encode())
    files.pipe("/kinds/in/0.zip", buffer.getvalue())
    listing = list_sources(["memory://kinds/in/"])
    assert [photo.file for photo in listing.photos] == ["b.png", "a.jpg"] and not listing.whole
    assert all(read_image(photo).shape == (16, 16, 3) for photo in listing.photos)
    (line,) = map(str, listing.left_out)
    assert line == (
        "left out of memory://kinds/in/: 1 without a suffix (give them one), 1 hidden (such as ._a.jpg), 1 .xyz, "
        "1 named as masks of others (such as a.seg.png)"
    )


def test_many_names_are_sorted():
    names = [f"{k:06d}.{kind}" for k in range(20_000) for kind in ("jpg", "json", "seg.png")]
    kept, left = sort_files(names)
    assert len(kept) == 20_000 == len(left)
