"""What it takes to start: `gage --version`, and `import gage`."""

from __future__ import annotations

from bench.place import Place
from bench.rows import Bar, Row


def startup_rows(place: Place) -> list[Row]:
    """Return the rows, each beside Python that does nothing."""
    bare = place.command([place.python, "-c", "pass"], place.folder)
    return [
        Row(
            "gage --version | python -c pass",
            place.command([place.gage, "--version"], place.folder),
            bare,
            Bar(2, 0.030),
        ),
        Row(
            "import gage | python -c pass",
            place.command([place.python, "-c", "import gage"], place.folder),
            bare,
            Bar(1, 0.030),
        ),
    ]
