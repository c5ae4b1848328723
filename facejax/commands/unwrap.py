"""`facejax unwrap`: makes the texture of each photograph's face, or one texture from several views of one face."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from facejax.commands.runs import describe_doubts, note_unused
from facejax.engine.faces import check_source
from facejax.engine.job import make_groups, work_here
from facejax.engine.models import load_model
from facejax.engine.progress import progress
from facejax.engine.textures import UNSOUND, TextureJob, TextureOptions, fit_figures
from facejax.export.manifest import OK
from facejax.images import Photo
from facejax.images.sources import check_folders, photo_file
from facejax.unwrap.agreement import LEAST_AGREEMENT, find_stranger, view_agreement_jit


@dataclass(frozen=True, kw_only=True)
class Unwrap(TextureOptions):
    """Textures in the UV layout of the face model: of each photo's largest face, or of one face seen in --views.

    Writes OUT/<stem>/albedo.png, filled.png and repaired.png, seen.png (or seen_<stem>.png of each view) and
    summary.json. With --views the folder is named by the first one's stem; nothing is written if a view shows no face
    or another person. Example:

        facejax unwrap --views front.jpg left.jpg right.jpg --out textures
    """

    photos: tyro.conf.Positional[tuple[Path, ...]] = ()
    """photographs, a face each"""
    views: tuple[Path, ...] = ()
    """photographs of one face, such as front, left and right, instead"""
    least_agreement: float = LEAST_AGREEMENT
    """least correlation of the skin in --views at which they show one person; -1 does not check"""


def run_unwrap(command: Unwrap) -> int:
    """Returns the exit status: 0, or 1 when some photos failed."""
    photos = check_command(command)
    job = TextureJob(command)
    if command.views:
        with progress(len(photos)):
            failures = unwrap_views(job, photos, command.least_agreement)
        for failure in failures:
            print(f"facejax: error: {failure}", file=sys.stderr)
        return 1 if failures else 0
    failed, doubtful = 0, []
    size = min(command.batch, len(photos))
    with progress(len(photos), 0) as bar:
        for _, lines in work_here(job, make_groups(photos, size), size):
            for line in (line for line in lines if line["status"] == OK):
                bar.write(describe(job.store.address(line["folder"]), line["figures"]), file=sys.stdout)
            errors = [line["error"] for line in lines if "error" in line]
            for error in errors:
                bar.write(f"facejax: error: {error}", file=sys.stderr)
            failed += len(errors)
            doubtful += [line["file"] for line in lines if "doubtful" in line]
            bar.update(len(lines), len(errors))
    if failed or doubtful:
        doubts = f"; {describe_doubts(doubtful)}" if doubtful else ""
        print(f"{len(photos) - failed} of {len(photos)} photos unwrapped{doubts}", file=sys.stderr)
    return 1 if failed else 0


def check_command(command: Unwrap) -> list[Photo]:
    """Check the options before anything is read. Returns the photographs; raises ValueError."""
    if command.photos and command.views:
        raise ValueError("photos and --views: name photos of a face each, or --views of one face, not both")
    photos = [photo_file(path) for path in command.views or command.photos]
    check_options(photos, command)
    check_folders(photos)
    note_unused(photos, landmarks=None, boxes=command.boxes)
    return photos


def check_options(photos: Sequence[Photo], options: TextureOptions) -> None:
    """Check the options of textures before anything is read. Raises ValueError."""
    check_source(
        photos,
        landmarks=options.landmarks,
        boxes=options.boxes,
        recipe=options.recipe,
        batch=options.batch,
    )
    load_model(options.model)  # one without landmarks, say, fails before a photo is read
    if options.masks is not None and not options.masks.is_dir():
        raise ValueError(f"--masks {options.masks}: no such folder")


def unwrap_views(job: TextureJob, photos: Sequence[Photo], least_agreement: float) -> list[str]:
    """Unwrap and write one face from all of the photos. Returns a line for each photo that prevents it."""
    job.load(len(photos))
    begin = time.perf_counter()
    faces, failures = job.finder.find_faces(photos)
    fitted, unsound = job.fitter.fit(faces) if not failures else ([], {})
    if failures or unsound:
        return [*failures.values(), *unsound.values()]
    made = job.unwrap(fitted, [job.cut(one) for one in fitted], [f"seen_{photo.stem}" for photo in photos])
    agreement = np.asarray(view_agreement_jit(jax.tree.map(jnp.asarray, made.views), job.layout.regions))
    stranger = find_stranger(agreement, least_agreement)
    if stranger is not None:
        return [f"{photos[stranger.view]}: {stranger.reason}"]
    doubtful = [face.photo.name for face in faces if face.doubt is not None]
    if doubtful:
        print(describe_doubts(doubtful), file=sys.stderr)
    quality = made.quality
    if quality["seen"] is None:
        return [UNSOUND.format(photos[0])]
    summary = {
        "images": [photo.name for photo in photos],
        **job.about(),
        "fit": {one.face.photo.name: fit_figures(one) for one in fitted},
        "quality": quality,
        **made.about,
        "agreement": np.round(agreement, 4),
        "seconds": {"all": time.perf_counter() - begin},
    }
    folder = photos[0].stem
    job.save(folder, made.pictures, summary)
    print(describe(job.store.address(folder), quality))
    return []


def describe(place: str, quality: dict[str, float | None]) -> str:
    """The quality of a texture, in one line."""
    percent, error = (partial(_number, quality, form=form) for form in ("{:.0%}", "{:.1f}"))
    return (
        f"{place}: {percent('seen')} of the face from photos, {percent('strange')} of what they show is no skin, "
        f"BS error {error('bs_photo')} as unwrapped, {error('bs')} in the end"
    )


def _number(quality: dict[str, float | None], name: str, form: str) -> str:
    value = quality[name]
    return "unknown" if value is None else form.format(value).replace("%", " %")
