"""Places that a run must not depend on: the project, the home directory, environments.

Which paths lead there is decided here, once, for files, commands and values alike. Every staging
imports this: what only a run with leaks needs is elsewhere (see `mentions`).
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

PROJECT = "project"
HOME = "home"
ENVIRONMENT = "environment"
RUN = "run"

# These are on every system, or are nobody's own.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/dev", "/proc", "/sys")
_TOO_WIDE = frozenset(
    [
        *(*_SYSTEM, "/", "/usr/local", "/home", "/Users", "/opt", "/mnt", "/media", "/srv"),
        *("/run", "/tmp", "/private/tmp", "/var", "/var/tmp", "/var/empty", "/nonexistent"),
    ]
)
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")


class Place(NamedTuple):
    """A directory that a run must not depend on, and what it is to the run."""

    kind: str
    path: str


class Places:
    """All places of one run, the innermost first, and which paths lead there."""

    def __init__(self, places: list[Place]) -> None:
        self.all = tuple(sorted(places, key=lambda place: -len(place.path)))
        self._environments: dict[str, str | None] = {}

    def needles(self) -> list[bytes]:
        """Return what is in every text that mentions a place, but for the run's own.

        As few as will do: one that holds another is left out.
        """
        needles: list[bytes] = []
        paths = {place.path for place in self.all if place.kind != RUN}
        # Always in the same order: what was searched for these before is known by them.
        for path in sorted(paths, key=lambda path: (len(path), path)):
            # Nobody writes `/root` alone, but `</root>` is in many files.
            needle = os.fsencode(path + "/" if path.count("/") == 1 else path)
            if not any(shorter in needle for shorter in needles):
                needles.append(needle)
        return needles

    def find(self, path: str) -> Place | None:
        """Return the place that an absolute path leads to; environments are recognized too."""
        place = next((place for place in self.all if _is_below(path, place.path)), None)
        if place is None and (not path.startswith("/") or is_of_system(path)):
            return None
        if place is None or place.kind in (PROJECT, HOME):
            found = self._find_environment(os.path.normpath(path))
            if found and (place is None or len(found) > len(place.path)):
                return Place(ENVIRONMENT, found)
        return place

    def _find_environment(self, path: str) -> str | None:
        folder = os.path.dirname(path)
        if path == "/" or folder in _TOO_WIDE:
            return None
        if folder not in self._environments:
            marked = any(os.path.lexists(f"{folder}/{mark}") for mark in _ENVIRONMENT_MARKS)
            self._environments[folder] = folder if marked else self._find_environment(folder)
        return self._environments[folder]


def find_places(run_dir: str, project_dir: str | None) -> Places:
    """Return the places that the run in `run_dir` must not depend on."""
    found = [(RUN, run_dir), (PROJECT, project_dir), (HOME, os.path.expanduser("~"))]
    found += [(ENVIRONMENT, os.environ.get(name)) for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    found.append((ENVIRONMENT, sys.prefix))
    places: dict[str, Place] = {}
    for kind, path in found:
        if not path or not path.startswith("/"):
            continue
        for each in (os.path.normpath(path), os.path.realpath(path)):
            if each not in _TOO_WIDE and not (kind == ENVIRONMENT and is_of_system(each)):
                places.setdefault(each, Place(kind, each))
    return Places(list(places.values()))


def is_of_system(path: str) -> bool:
    """Tell whether an absolute path leads to what a run may rely on."""
    path = os.path.normpath(path)
    return any(_is_below(path, top) for top in _SYSTEM)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
