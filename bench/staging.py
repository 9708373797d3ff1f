"""What it takes to stage a small project, without waiting for the disk and with."""

from __future__ import annotations

import functools

from bench.place import HELLO, Place, remove
from bench.rows import Row

_FILES = 100
_LINES = 200


def staging_rows(place: Place) -> list[Row]:
    """Return the rows, each beside a copy of the same files."""
    text = "A line of a source file as long as they are.\n" * _LINES
    files = {f"package{i // 10}/module{i}.txt": text for i in range(_FILES - 1)}
    project = place.project("small", {"hello.py": HELLO, **files})
    copy = place.path("copy")
    clear = functools.partial(remove, copy)
    stage = [place.gage, "--runs", place.path("small-runs"), "stage", "hello.py"]
    return [
        Row(
            f"gage stage, {_FILES} files, no sync | cp -a",
            place.command(stage, project, {"GAGE_SYNC": "0"}),
            place.command(["cp", "-a", project, copy], place.folder, before=clear),
        ),
        Row(
            f"gage stage, {_FILES} files | cp -a; sync -f",
            place.command(stage, project),
            place.command(
                ["sh", "-c", 'cp -a "$0" "$1" && sync -f "$1"', project, copy],
                place.folder,
                before=clear,
            ),
        ),
    ]
