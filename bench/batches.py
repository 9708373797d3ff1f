"""What it takes to stage many runs of one project, beside as many copies of its files."""

from __future__ import annotations

import functools

from bench.place import Place
from bench.rows import Row

_RUNS = 1000
_FILES = 100
_LINES = 200
_SCRIPT = "seed = 0\nprint(seed)\n"
_COPY = 'mkdir "$1" && for i in $(seq "$2"); do cp -a "$0" "$1/$i"; done && sync -f "$1"'


def batch_rows(place: Place) -> list[Row]:
    """Return the rows."""
    text = "A line of a source file as long as they are.\n" * _LINES
    files = {f"package{i // 10}/module{i}.txt": text for i in range(_FILES - 1)}
    project = place.project("batch", {"train.py": _SCRIPT, **files})
    copies, runs = place.path("batch-copies"), place.path("batch-runs")
    copy = place.command(
        ["sh", "-c", _COPY, project, copies, str(_RUNS)],
        place.folder,
        before=functools.partial(place.set_aside, copies),
    )
    rows = []
    for options in ([], ["--share"]):
        name = " ".join(["gage stage", *options])
        command = [place.gage, "--runs", runs, "stage", "train.py", f"seed=range({_RUNS})"]
        rows.append(
            Row(
                f"{name}, {_RUNS} runs of {_FILES} files | cp -a; sync",
                place.command(
                    [*command, *options],
                    project,
                    before=functools.partial(place.set_aside, runs),
                ),
                copy,
            )
        )
    return rows
