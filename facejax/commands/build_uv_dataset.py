"""`facejax build-uv-dataset`: photographs to a set of textures; a run can be stopped and resumed."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import tyro

from facejax.commands.photos import list_command_photos
from facejax.commands.runs import RunOptions, check_out, choose_engine, finish_run, note_unused
from facejax.commands.unwrap import check_options
from facejax.engine.run import Run, parse_shard
from facejax.engine.signals import STOPPED
from facejax.engine.uv_dataset import DatasetJob, DatasetOptions, count_textures
from facejax.export import write_summary
from facejax.export.manifest import FAILED, OK, RUN, Line
from facejax.export.uv_dataset import sheet_folders, write_index, write_sheet
from facejax.images.sources import is_collection


@dataclass(frozen=True, kw_only=True)
class BuildUvDataset(DatasetOptions, RunOptions):
    """A set of textures from all photos of a folder: OUT/<stem>/albedo.png, filled.png, photo.jpg and summary.json.

    Also OUT/manifest.jsonl (every photo with its figures), index.html, sheets/ to look through, and summary.json with
    the counts. What the filters leave out goes to OUT/filtered/. --resume continues a run that was stopped. Example:

        facejax build-uv-dataset photos --out set --size 1024
    """

    folder: tyro.conf.Positional[str]
    """folder of photographs, and of folders of them; or an archive (.tar, .zip), a list (.txt), a table (.parquet), or
    the URL of one of these"""


def run_build_uv_dataset(command: BuildUvDataset) -> int:
    """Returns the exit status: 0, 1 when photos failed or were left out or the set is empty, 143 when it was asked to
    stop."""
    shard = parse_shard(command.shard)
    check_out(command.out, command.engine)
    if not is_collection(command.folder):
        raise ValueError(f"{command.folder}: no such folder of photographs")
    listing = list_command_photos([command.folder], command.out)
    photos = listing.photos
    check_options(photos, command)
    note_unused(photos, landmarks=command.landmarks, boxes=command.boxes)
    run = Run(DatasetJob(command), photos, batch=command.batch, shard=shard, resume=command.resume)
    check_empty(run, command)
    done = finish_run(run, choose_engine(command), lambda line: ([], []))
    return report(run) or int(not listing.whole) if done else STOPPED


def check_empty(run: Run, command: BuildUvDataset) -> None:
    """Raises ValueError if OUT has content but no set: it may be somebody's folder, named by mistake.

    Not called for one of several shards, because the first may have begun the set.
    """
    names = [] if command.resume or run.part else run.store.names()
    if names and RUN not in names:
        raise ValueError(
            f"--out {command.out}: holds other files, but no {RUN} of a set: name an empty folder, or pass --resume"
        )


def report(run: Run) -> int:
    """Write sheets, index and summary of a set whose photos are all done. Returns the exit status."""
    lines = run.lines()
    counts = count_textures(lines)
    sheets = write_sheets(run, lines)
    with run.store.file(run.name("index.html")) as path:
        write_index(path, lines, counts, sheets)
    with run.store.file(run.name("summary.json")) as path:
        write_summary(path, counts)
    print(describe(run.store.address(), counts))
    return 0 if counts[OK] and not counts[FAILED] else 1


def write_sheets(run: Run, lines: list[Line]) -> list[str]:
    """Write the set's sheets in place of an earlier run's. Returns their names."""
    mine = rf"(filtered_)?\d+{re.escape(run.part)}\.jpg"
    for name in run.store.names("sheets"):
        if re.fullmatch(mine, name):
            run.store.remove(f"sheets/{name}")
    sheets = {f"sheets/{run.name(f'{sheet}.jpg')}": folders for sheet, folders in sheet_folders(lines).items()}
    for name, folders in sheets.items():
        with run.store.file(name) as path:
            write_sheet(path, folders, run.store.read)
    return list(sheets)


def describe(place: str, counts: dict[str, Any]) -> str:
    """How many photos succeeded, were filtered, and failed, in words."""
    why = Counter(counts["filtered_by"]) + Counter(counts["failed_by"])
    said = (
        f"{place}: {counts['ok']} textures from {counts['photos']} photos; {counts['filtered']} filtered, "
        f"{counts['failed']} failed, {counts['doubtful']} doubtful"
    )
    return said + "".join(f"\n  {count:5d} {name}" for name, count in why.most_common())
