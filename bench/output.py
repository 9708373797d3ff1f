"""What it takes to capture what a program prints."""

from __future__ import annotations

import functools

from bench.place import Place, remove
from bench.rows import Bar, Row

_MEGABYTES = 200
_PRINT = """\
import os

chunk = (b"x" * 79 + b"\\n") * 800
left = {size}
while left > 0:
    left -= os.write(1, chunk[:left])
"""


def output_rows(place: Place) -> list[Row]:
    """Return the row of a program whose output is kept by Gage, and by tee."""
    script = _PRINT.format(size=_MEGABYTES * 1_000_000)
    project = place.project("printing", {"printing.py": script})
    home = place.path("printing-runs")
    return [
        Row(
            f"gage run, {_MEGABYTES} MB of output | tee",
            place.command(
                [place.gage, "--runs", home, "run", "printing.py"],
                project,
                before=functools.partial(remove, home),
            ),
            place.command(
                ["sh", "-c", 'python3 printing.py | tee "$0" > /dev/null', place.path("printed")],
                project,
            ),
            Bar(1.2),
        )
    ]
