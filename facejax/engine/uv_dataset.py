"""The job of `facejax build-uv-dataset`: a set of textures, and those that did not pass its filters."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facejax.engine.faces import about_doubt
from facejax.engine.job import describe_options
from facejax.engine.textures import Made, Texture, TextureJob, TextureOptions, Worked, is_texture_file
from facejax.export.manifest import FAILED, FILTERED, MANIFEST, OK, RUN, Line
from facejax.export.uv_dataset import small_picture
from facejax.images import Photo
from facejax.unwrap.dataset import Filters
from facejax.unwrap.photos import CutOut


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(TextureOptions, Filters):
    """How photographs become a set of textures."""

    size: int = 512
    """texels a side: a power of two from 64 to 4096"""


class DatasetJob(TextureJob):
    """A `Job` (`facejax.engine.job`) that writes OUT/<stem> or OUT/filtered/<stem> per photograph, without times."""

    reserved: Collection[str] = ("filtered", "sheets", MANIFEST, RUN, "summary.json", "index.html")

    def __init__(self, options: DatasetOptions):
        super().__init__(options)
        self.filters: Filters = options

    def describe(self) -> dict[str, Any]:
        return describe_options(self.options, DatasetOptions)

    def folders(self, photo: Photo) -> Sequence[str]:
        """One, named by the stem; with its archive in front where several archives have such a photograph."""
        return [f"{photo.shard.replace('/', '_')}_{photo.stem}" if photo.shard else photo.stem]

    def pictures(self, made: Made, cut: CutOut) -> dict[str, np.ndarray]:
        left_out = ("repaired.png", "seen.png", "photo.png")
        maps = {name: picture for name, picture in made.pictures.items() if name not in left_out}
        return {"photo.jpg": small_picture(cut.image)} | maps

    def write(self, worked: Worked) -> tuple[int, list[Line]]:
        for photo in worked.group.photos:  # results of an earlier run, also of a photograph that fails now
            if photo.file not in worked.group.taken:
                stem = self.folders(photo)[0]
                for folder in (stem, f"filtered/{stem}"):
                    self.store.remove_face(folder, is_texture_file)
        return super().write(worked)

    def write_one(self, one: Texture, seconds: float) -> Line:
        stem, known = self.folders(one.face.photo)[0], one.fit | one.quality
        reasons = self.filters.reasons(known)
        why = ({"reasons": reasons} if reasons else {}) | about_doubt(one.face)
        line = {"status": FILTERED if reasons else OK, "folder": f"filtered/{stem}" if reasons else stem}
        summary = {
            "file": one.face.photo.file,
            "status": line["status"],
            **why,
            "figures": known,
            **one.about,
            **self.about(),
        }
        self.save(line["folder"], one.pictures, summary)
        return line | why | {"figures": known}


def count_textures(lines: Sequence[Line]) -> dict[str, Any]:
    """Counts by status and cause, and the means of all figures over the set and over all photographs with a face."""
    reasons = Counter(reason for line in lines for reason in line.get("reasons", ()))
    causes = Counter(line["cause"] for line in lines if line["status"] == FAILED)
    kept = [line["figures"] for line in lines if line["status"] == OK]
    found = [line["figures"] for line in lines if line["status"] != FAILED]
    return {
        "photos": len(lines),
        **{status: sum(line["status"] == status for line in lines) for status in (OK, FILTERED, FAILED)},
        "filtered_by": dict(sorted(reasons.items())),  # a photograph may have several
        "failed_by": dict(sorted(causes.items())),
        "doubtful": sum("doubtful" in line for line in lines),
        "means": _means(kept),
        "means_with_filtered": _means(found),
    }


def _means(figures: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in figures:
        for name, value in one.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: round(float(np.mean(each)), 4) for name, each in sorted(values.items())}
