"""Runs over many photographs that survive being killed: what a run is, and which of its photographs are done.

Photographs are taken in fixed groups, in an order that does not change. OUT/manifest.jsonl has a line for each, added a
group at a time when all files of the group are written. What a killed process left beyond the last whole group is cut
off and that group is made again, so an interrupted run ends like an unbroken one.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facejax.atomic import write_text
from facejax.export.summary import versions, write_summary

Line = dict[str, Any]  # of a manifest: file, group, status, and what there is to say
MANIFEST, RUN = "manifest.jsonl", "run.json"
OK, FILTERED, FAILED = "ok", "filtered", "failed"  # status of a line


def describe_run(path: Path, options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Write what a run is: its options, the versions, its photographs."""
    write_summary(path, _description(options, names))


def check_begun(begun: Mapping[str, Any], options: Mapping[str, Any], names: Sequence[str], place: str) -> None:
    """Raises ValueError, in words, when the run that was begun is another one than that of `options` and `names`.

    `begun` is what `parse_run` gives; `place` says where it lies, for the message.
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
    """What `describe_run` wrote at `place`. Raises ValueError when it is damaged."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{place}: damaged ({error}); take another --out") from error


def _description(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {"options": dict(options), "versions": versions(), "photos": list(names)}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first entry in which two runs' descriptions differ, in words; None where they are equal."""
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            return f"{name} was {old.get(name)!r} and is now {new.get(name)!r}"
    return None


def read_manifest(path: Path, names: Sequence[str], batch: int) -> dict[int, list[Line]]:
    """The whole groups, by their number; what follows them in the file is cut off. No file: none.

    Raises ValueError for a manifest that is not of these photographs.
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
    """A manifest's whole groups, in whatever order they were finished, and how many bytes they take.

    Lines whose group is null are of earlier runs, and stay.
    """
    groups: dict[int, list[Line]] = {}
    open_group: list[Line] = []
    length = whole = 0
    for number, raw in enumerate(content.splitlines(keepends=True), 1):
        line = _parsed(raw)
        if line is None:  # torn; nothing after it can be trusted
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
    """Add a group's lines in one write, and wait until they are on the disk."""
    with path.open("ab") as file:
        file.write(lines_to_text(lines).encode())
        file.flush()
        os.fsync(file.fileno())


def keep_others(path: Path, names: Iterable[str]) -> None:
    """Begin a manifest anew: only the lines of photographs that this run has not are kept, as of an earlier run."""
    if path.exists():
        write_text(path, other_lines(path.read_bytes(), names))


def other_lines(content: bytes, names: Iterable[str]) -> str:
    """Of a manifest the lines of photographs that are not in `names`, as of an earlier run."""
    mine = set(names)
    lines = filter(None, map(_parsed, content.splitlines(keepends=True)))
    return lines_to_text(line | {"group": None} for line in lines if line.get("file") not in mine)


def lines_to_text(lines: Iterable[Line]) -> str:
    """A line of JSON for each."""
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
