"""Which files of a collection are photographs, and which are left out: by their names, or else their first bytes.

Taken are the formats that Pillow reads, except documents, videos, icons and containers of other data.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from PIL import Image, features

from facejax.images.masks import photographs_among
from facejax.images.photo import Photo

ARCHIVES = (".tar", ".zip", ".parquet")
HEIF = (".heic", ".heif", ".hif")
HEIF_HINT = "pip install 'facejax[heic]'"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIGNED = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000")  # known by more than two bytes
_CODECS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # formats that a build of Pillow may lack


def _split(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


_NO_PHOTOGRAPHS = _split("PDF EPS WMF MPEG FLI BUFR GRIB HDF5 FITS IPTC ICO CUR ICNS")  # formats of Pillow
RAW = _split(
    ".3fr .arw .bay .cap .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .ori",
    ".pef .ptx .r3d .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
)
RAW_HINT = "convert them to JPEG or TIFF"
# Photographs that are not read, by what helps.
_UNREAD = {
    HEIF_HINT: HEIF,
    "pip install 'pillow>=11.3'": (".avif", ".avifs"),
    RAW_HINT: RAW,
    "convert them to PNG or TIFF": _split(
        ".bpg .djvu .exr .flif .hdp .hdr .jls .jng .jxl .jxr .jxs .kra .livp .ora .psb .wdp .xcf"
    ),
}
PACKED = _split(
    ".7z .bz2 .cbz .gz .iso .lz4 .lzma .rar .tar.bz2 .tar.gz .tar.lz4 .tar.xz .tar.zst .tbz .tbz2 .tgz .txz .xz .z .zst"
)
# What lies beside photographs and is none: landmarks, tables, notes, programs, meshes.
_BESIDE = _split(
    ".aae .ann .asf .bat .bib .bnd .cam .caption .cff .cfg .cls .conf .css .csv .db .dcm .docx .fbx .glb .gltf .h5",
    ".hdf5 .htm .html .id .idx .index .info .ini .ipynb .js .json .jsonl .key .landmarks .ljson .lm2 .lm3 .lnk .lock",
    ".log .m .mat .md .md5 .meta .mtl .ndjson .npy .npz .obj .off .onnx .pickle .pkl .ply .pose .pt .pth .pts .py .pyc",
    ".rst .rtf .safetensors .sh .sha1 .sha256 .sqlite .stl .tfevents .toml .tsv .txt .url .wrl .xls .xlsx .xml .xmp",
    ".yaml .yml",
)
_NOTES = _split("readme license licence copying notice authors changelog contributing makefile version _success")
_SYSTEM = (
    *("__macosx", "@eadir", "@__thumb", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "system volume information", "icon\r"),
)
_BACKUP = re.compile(r"(~|\.bak|\.orig|\.old|\.tmp|\.temp|\.part|\.partial|\.crdownload|_original)$", re.IGNORECASE)
_MASK_WORDS = "masks?|segs?|segm|segment|segmentation|matte|matting|trimap|parsing|silhouette|alpha|depth|labels?"
_MASK_FOLDERS = "masks?|segs?|segmentations?|mattes?|trimaps?|parsing"
_MASK_FOLDER = re.compile(rf"(?P<root>(.*/)?)({_MASK_FOLDERS})/(?P<rest>.+)", re.IGNORECASE)
_MASK = re.compile(rf"(?P<a>.+)[-._ ]({_MASK_WORDS})|({_MASK_WORDS})[-._ ](?P<b>.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Why:
    """Why files of a kind are left out."""

    kind: str  # such as ".heic", "hidden files"
    hint: str = ""  # what helps
    photographs: bool = False  # whether they are photographs, or may hold some


NOTHING = Why("")  # clearly no photograph: left out without a word
HIDDEN = Why("hidden")
MASKS = Why("named as masks of others")
BACKUP = Why("named as backups")
ENCRYPTED = Why("encrypted", "unpack them", True)
LINK = Why("links to what is not in it", "", True)


@cache
def photo_suffixes() -> frozenset[str]:
    """The suffixes of photographs that are read here, in lower case, such as ".jpg"; without those of HEIF."""
    known = {suffix for suffix, format in Image.registered_extensions().items() if _read_here(format)}
    return frozenset(known | {".mpo", ".jps"})  # both are JPEGs


def is_photo_name(name: str) -> bool:
    """Whether a file is read as a photograph, by its suffix."""
    suffix = suffix_of(name)
    return suffix in photo_suffixes() or (suffix in HEIF and reads_heif())


@cache
def reads_heif() -> bool:
    """Whether HEIF files can be read here; registers their reader with Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def is_heif(head: bytes) -> bool:
    """Whether the first bytes of a file (64 or more) are those of HEIF, which iPhones write, and not of AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avi" not in head[8:64]


def is_picture(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a photograph in a format that is read."""
    Image.init()
    tests = [Image.OPEN[format][1] for format in _SIGNED if format in Image.OPEN and _read_here(format)]
    return any(test is not None and test(head[:16]) is True for test in tests) or is_heif(head)


def _read_here(format: str) -> bool:
    if format in _NO_PHOTOGRAPHS or format not in {*Image.OPEN, "MPO"}:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older Pillow does not know every codec
        return format not in _CODECS or bool(features.check(_CODECS[format]))


def suffix_of(name: str) -> str:
    """The suffix in lower case; of a packed tar both, as in ".tar.gz"."""
    suffixes = [one.lower() for one in PurePosixPath(name).suffixes[-2:]]
    return "".join(suffixes) if suffixes[:1] == [".tar"] else "".join(suffixes[-1:])


def sort_files(
    names: Sequence[str],
    *,
    archives: bool = True,
    listed: bool = False,
    head: Callable[[str], bytes] | None = None,
    place: Callable[[str], Photo] | None = None,
) -> tuple[list[str], list[tuple[str, Why]]]:
    """Sort the files of a collection.

    Args:
      names: the files, with "/" between folders.
      archives: whether archives and tables among them are read.
      listed: whether a person listed them one by one: then only stray files and masks are left out.
      head: the first 64 bytes of a file, which is asked where the name does not tell; None: no file is opened.
      place: where a file is, for those that are named as masks of others: photographs among them are kept; None: they
        are not opened.

    Returns:
      Photographs (and archives) in the order of the names, and what is left out and why; files that are clearly no
      photographs are in neither.
    """
    kept: list[str] = []
    left: list[tuple[str, Why]] = []
    for name in names:
        why = _stray(name, listed) if listed or _is_hidden(name) else _why(name, archives, head)
        if why is None:
            kept.append(name)
        elif why is not NOTHING:
            left.append((name, why))
    masks = _masks([name for name in kept if listed or suffix_of(name) not in ARCHIVES])
    if place is not None:
        masks -= photographs_among([name for name in kept if name in masks], place)
    return [name for name in kept if name not in masks], [*left, *((name, MASKS) for name in kept if name in masks)]


def _why(name: str, archives: bool, head: Callable[[str], bytes] | None) -> Why | None:
    """Why a file that is not hidden is left out; None: it is not."""
    suffix = suffix_of(name)
    if is_photo_name(name):
        return None
    if suffix in ARCHIVES:
        return None if archives else Why(suffix, "an archive in an archive: unpack it", True)
    if hint := next((hint for hint, kinds in _UNREAD.items() if suffix in kinds), ""):
        return Why(suffix, hint, True)
    if suffix in _BESIDE or name.endswith((".", "/")):
        return NOTHING
    if suffix in PACKED:
        inner = suffix_of(PurePosixPath(name).stem)
        return NOTHING if inner in _BESIDE else Why(suffix, "unpack it", True)
    if _BACKUP.search(name):
        return BACKUP
    if head is not None and is_picture(head(name)):
        return None
    if suffix:
        return Why(suffix)
    known = PurePosixPath(name).name.lower() in _NOTES
    return NOTHING if known or head is not None else Why("without a suffix", "give them one", True)


def _stray(name: str, listed: bool) -> Why | None:
    """Why a hidden file, or a listed one, is left out; None: it is not."""
    if not _is_hidden(name, listed):
        return None
    suffix = suffix_of(name)
    photograph = is_photo_name(name) or any(suffix in kinds for kinds in _UNREAD.values())
    return HIDDEN if photograph or listed else NOTHING


def _is_hidden(name: str, listed: bool = False) -> bool:
    """Whether the file or one of its folders is hidden or the system's.

    Of listed files the folders may be hidden, since lists have paths from anywhere.
    """
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    if any(part.lower() in _SYSTEM or part.lower().startswith((".thumb", ".appledouble", ".trash")) for part in parts):
        return True
    return any(part.startswith(".") for part in (parts[-1:] if listed else parts))


def _masks(names: Sequence[str]) -> set[str]:
    """Those that are named as the mask of a photograph: a.seg.png or a_mask.png beside a.jpg, or masks/a.png beside
    a.jpg or images/a.jpg.
    """
    places: dict[str, str] = {}  # of masks: the photograph that each belongs to, perhaps without suffix
    roots: dict[str, tuple[str, str]] = {}  # of those in a folder of masks: what is around it, and the rest of the name
    photos: set[str] = set()
    for name in names:
        folder, slash, file = name.rpartition("/")
        stem = PurePosixPath(file).stem
        if found := _MASK.fullmatch(stem):
            places[name] = f"{folder}{slash}{found['a'] or found['b']}"
        elif found := _MASK_FOLDER.fullmatch(f"{folder}{slash}{stem}"):
            roots[name] = (found["root"] or "", found["rest"])
        photos |= {name, f"{folder}{slash}{stem}"}
    masks = {name for name, photo in places.items() if photo in photos}
    if roots:
        around = {root for root, _ in roots.values()}
        others = [name for name in names if name not in roots]
        beside = {(root, rest) for name in others for root, rest in _without_a_folder(name) if root in around}
        masks |= {name for name, place in roots.items() if place in beside}
    return masks


def _without_a_folder(name: str) -> Iterator[tuple[str, str]]:
    """What is around each folder of a file, and the rest of its name without suffix; also without leaving one out."""
    parts = name.split("/")
    parts[-1] = PurePosixPath(parts[-1]).stem
    for k in range(len(parts)):
        root = "".join(f"{part}/" for part in parts[:k])
        yield root, "/".join(parts[k:])
        yield root, "/".join(parts[k + 1 :])
