"""What is to be done about a leak."""

from __future__ import annotations

import os
from collections.abc import Callable

from gage._internal.fs import printable
from gage._internal.lifecycle.leaks.places import ENVIRONMENT, PROJECT, RUN, Place


def remedy_for(place: Place, target: str, is_staged: Callable[[str], bool]) -> str:
    """Return what to do about a path that leads to a place."""
    if place.kind == RUN:
        return f"write {_inner(place, target)}: a run can be moved, and starts in its directory"
    if place.kind == ENVIRONMENT:
        return (
            "name the program alone, so that it is found on PATH"
            " (in a script: #!/usr/bin/env PROGRAM)"
        )
    if place.kind != PROJECT:
        return (
            "copy it into the project and write its path there, or let it come as config or from"
            " the environment"
        )
    inner = _inner(place, target)
    if inner == "." or is_staged(os.path.normpath(inner)):
        return f"write {inner}: a run starts in its own copy of the project"
    if os.path.lexists(os.path.join(place.path, inner)):
        return f"write {inner} and declare it, {declaration(inner)}"
    return f"write {inner}: a run starts in its own copy of the project"


def _inner(place: Place, target: str) -> str:
    return printable(os.path.relpath(target, place.path))


def declaration(path: str) -> str:
    """Return the line of a Gage file that makes a path of the project a dependency."""
    return f"depends = {{ project-files = {quoted(path)} }}"


def quoted(path: str) -> str:
    """Return a path as a Gage file writes it."""
    text = printable(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
