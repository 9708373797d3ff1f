"""What `gage run` adds to a script that prints a line."""

from __future__ import annotations

from bench.place import HELLO, Place
from bench.rows import Bar, Row

_FILES = {"hello.py": HELLO, "README.md": "A small project.\n", "lib/__init__.py": ""}


def overhead_rows(place: Place) -> list[Row]:
    """Return a row for a project without git, and one for a project in git."""
    plain = place.project("plain", _FILES)
    in_git = place.project("git", _FILES)
    place.commit(in_git)
    return [_row(place, "gage run", plain), _row(place, "gage run in git", in_git)]


def _row(place: Place, name: str, project: str) -> Row:
    return Row(
        f"{name} hello.py | python hello.py",
        place.command([place.gage, "run", "hello.py"], project),
        place.command(["python3", "hello.py"], project),
        Bar(1, 0.080),
    )
