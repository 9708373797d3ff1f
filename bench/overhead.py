"""What `gage run` adds to a script that prints a line, and what sealing it adds to that."""

from __future__ import annotations

import os
import sys

from bench.place import HELLO, Place
from bench.rows import Bar, Row

_FILES = {"hello.py": HELLO, "README.md": "A small project.\n", "lib/__init__.py": ""}


def overhead_rows(place: Place) -> list[Row]:
    """Return a row for a project without git, and one for a project in git."""
    plain = place.project("plain", _FILES)
    in_git = place.project("git", _FILES)
    place.commit(in_git)
    return [
        _row(place, "gage run", plain),
        _row(place, "gage run in git", in_git),
        _sealed_row(place, place.project("sealed", _FILES)),
    ]


def _row(place: Place, name: str, project: str) -> Row:
    return Row(
        f"{name} hello.py | python hello.py",
        place.command([place.gage, "run", "hello.py"], project),
        place.command(["python3", "hello.py"], project),
        Bar(1, 0.080),
    )


def _sealed_row(place: Place, project: str) -> Row:
    # A sealed run has no virtual environment, so neither has the other.
    base = os.path.dirname(os.path.realpath(sys.executable))
    env = {"PATH": os.pathsep.join([base, os.defpath])}
    return Row(
        "gage run --sealed hello.py | gage run hello.py",
        place.command([place.gage, "run", "--sealed", "hello.py"], project, env),
        place.command([place.gage, "run", "hello.py"], project, env),
        Bar(1, 0.050),
    )
