"""Runs over many photographs that survive being killed: a run's description, and which photographs are done.

Photographs are processed in fixed groups, in a fixed order. OUT/manifest.jsonl has a line for each, added one group at
a time when all files of the group are written. Lines of an incomplete group that a killed process left are cut off, and
that group is done again, so an interrupted run gives the same result as an uninterrupted one.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facejax.atomic import write_text
from facejax.export.summary import versions, write_summary

Line = dict[str, Any]  # of a manifest: file, group, status, and further entries
MANIFEST, RUN = "manifest.jsonl", "run.json"
OK, FILTERED, FAILED = "ok", "filtered", "failed"  # status of a line


def describe_run(path: Path, options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Write the description of a run: its options, the versions, its photographs."""
    write_summary(path, _description(options, names))


def check_begun(begun: Mapping[str, Any], options: Mapping[str, Any], names: Sequence[str], place: str) -> None:
    """Raises ValueError, with the difference, if a run with these options and photographs is not the one begun.

    Args:
        begun: the result of `parse_run`.
        options: of the new run.
        names: of its photographs.
        place: where the run lies, for the error.
    """
    new = _description(options, names)
    for part in ("options", "versions"):
        if (words := difference(begun[part], json.loads(json.dumps(new[part], default=str)))) is not None:
            raise ValueError(f"{place}: was begun otherwise: {words}; take that again, or another --out")
    if begun["photos"] != list(names):
        changed = sorted(set(begun["photos"]) ^ set(names)) or ["their order"]
        raise ValueError(
            f"{place}: was begun with {len(begun['photos'])} photos, now {len(names)}, such as {changed[0]}: "
            "bring them back, or take another --out"
        )


def parse_run(content: bytes, place: str) -> dict[str, Any]:
    """Read what `describe_run` wrote at `place`. Raises ValueError if it is damaged."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{place}: damaged ({error}); take another --out") from error


def _description(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {"options": dict(options), "versions": versions(), "photos": list(names)}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first entry in which the descriptions of two runs differ, in words; None if they are equal.

    An option that an older version did not have is like one that is off.
    """
    for name in [*old, *(name for name in new if name not in old)]:
        was, now = old.get(name), new.get(name)
        if was != now and (was or now):
            return f"{name} was {was!r} and is now {now!r}"
    return None


def read_manifest(path: Path, names: Sequence[str], batch: int) -> dict[int, list[Line]]:
    """Read the complete groups of a manifest, by number, and cut off the rest of the file. No file gives no groups.

    Raises ValueError for a manifest of other photographs.
    """
    if not path.exists():
        return {}
    content = path.read_bytes()
    groups, length = whole_groups(content, names, batch)
    if length < len(content):
        with path.open("r+b") as file:
            file.truncate(length)
            os.fsync(file.fileno())
    return groups


def whole_groups(content: bytes, names: Sequence[str], batch: int) -> tuple[dict[int, list[Line]], int]:
    """A manifest's complete groups, in the order in which they were finished, and their length in bytes.

    Lines whose group is null are from earlier runs, and stay.
    """
    groups: dict[int, list[Line]] = {}
    open_group: list[Line] = []
    length = whole = 0
    for number, raw in enumerate(content.splitlines(keepends=True), 1):
        line = _parsed(raw)
        if line is None:  # incomplete; nothing after it can be trusted
            break
        length += len(raw)
        if line.get("group") is not None:
            open_group.append(line)
            group, place = line["group"], len(open_group) - 1
            wanted = names[group * batch : (group + 1) * batch] if group not in groups else []
            if open_group[0]["group"] != group or place >= len(wanted) or line.get("file") != wanted[place]:
                raise ValueError(f"manifest.jsonl, line {number}: {line.get('file')!r} is not what this run would have")
            if len(open_group) == len(wanted):
                groups[group], open_group = open_group, []
        if not open_group:
            whole = length
    return groups, whole


def _parsed(raw: bytes) -> Line | None:
    try:
        line = json.loads(raw) if raw.endswith(b"\n") else None
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def append_group(path: Path, lines: Iterable[Line]) -> None:
    """Append a group's lines in one write, and wait until they are on the disk."""
    with path.open("ab") as file:
        file.write(lines_to_text(lines).encode())
        file.flush()
        os.fsync(file.fileno())


def keep_others(path: Path, names: Iterable[str]) -> None:
    """Begin a new manifest, and keep the lines of photographs that are not in this run as an earlier run's."""
    if path.exists():
        write_text(path, other_lines(path.read_bytes(), names))


def other_lines(content: bytes, names: Iterable[str]) -> str:
    """The lines of photographs that are not in `names`, marked as an earlier run's."""
    mine = set(names)
    lines = filter(None, map(_parsed, content.splitlines(keepends=True)))
    return lines_to_text(line | {"group": None} for line in lines if line.get("file") not in mine)


def lines_to_text(lines: Iterable[Line]) -> str:
    """One line of JSON for each line of the manifest."""
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
