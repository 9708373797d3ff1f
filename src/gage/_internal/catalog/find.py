"""Find runs in a runs home: all, the newest, or the one that somebody means."""

from __future__ import annotations

import os

from gage._internal.errors import RunAmbiguous, RunDamaged, RunNotFound
from gage._internal.fs import printable
from gage._internal.store import layout, meta, status
from gage._internal.store.names import run_name
from gage._internal.types import Run

_SHORTEST_PREFIX = 4


def list_runs(home: str) -> list[Run]:
    """Return the runs of a runs home, newest first; a home that does not exist has none.

    A run that is damaged is among them, by the time of its meta directory.
    """
    try:
        with os.scandir(home) as entries:
            names = [entry.name for entry in entries if layout.is_meta_dir_name(entry.name)]
    except FileNotFoundError:
        return []
    home = os.path.abspath(home)
    runs = [layout.run_of_meta_name(home, name) for name in names]
    return sorted(runs, key=lambda run: (_age_key(run), run.id), reverse=True)


def _age_key(run: Run) -> int:
    try:
        initialized = meta.find_time(run, layout.INITIALIZED)
        if initialized is not None:
            return initialized
    except RunDamaged:
        pass
    try:
        return os.stat(layout.run_meta_dir(run)).st_mtime_ns // 1000
    except OSError:
        return 0


def find_group(home: str, group: str) -> list[Run]:
    """Return the runs of a group in the order in which they were made.

    Raises:
        RunNotFound: there are none.
    """
    found = list_group(home, group)
    if not found:
        raise RunNotFound(
            f"there is no group {printable(group)} in {printable(home)}",
            "gage show RUN tells the group of a run",
        )
    return found


def list_group(home: str, group: str) -> list[Run]:
    """Return the runs of a group, if any, in the order in which they were made."""
    return [run for run in reversed(list_runs(home)) if _is_of(run, group)]


def _is_of(run: Run, group: str) -> bool:
    try:
        return meta.find_text(run, layout.GROUP) == group
    except RunDamaged:
        return False


def find_newest(home: str, operation: str) -> Run | None:
    """Return the newest completed run of an operation, or None."""
    for run in list_runs(home):
        try:
            if (
                meta.read_opref(run).name == operation
                and status.run_status(run) == status.COMPLETED
            ):
                return run
        except RunDamaged:
            pass
    return None


def find_newest_staged(home: str, operation: str) -> Run | None:
    """Return the newest run of an operation that was staged, whatever became of it, or None."""
    for run in list_runs(home):
        try:
            if meta.read_opref(run).name == operation and meta.has_meta(run, layout.STAGED):
                return run
        except RunDamaged:
            pass
    return None


def find_run(home: str, text: str) -> Run:
    """Return the run that `text` names.

    It is a run's id, the unique beginning of one (four characters at least), its name, its
    number in the list (1 is the newest), or the path of its run directory.

    Raises:
        RunNotFound: no run goes by that.
        RunAmbiguous: several do; the message lists them.
    """
    if os.sep in text or text in (os.curdir, os.pardir):
        return _run_at(text)
    runs = list_runs(home)
    if text.isascii() and text.isdigit() and len(text) < _SHORTEST_PREFIX + 2:
        number = int(text)
        if 1 <= number <= len(runs):
            return runs[number - 1]
    found = [run for run in runs if run.id == text] or [
        run
        for run in runs
        if run_name(run.id) == text or (len(text) >= _SHORTEST_PREFIX and run.id.startswith(text))
    ]
    if not found:
        raise RunNotFound(f"there is no run {printable(text)} in {printable(home)}", "gage list")
    if len(found) > 1:
        raise RunAmbiguous(
            f"{printable(text)} may be any of {len(found)} runs:"
            + "".join(f"\n  {run.id}  {run_name(run.id)}" for run in found)
        )
    return found[0]


def _run_at(path: str) -> Run:
    run = layout.run_of_dir(os.path.realpath(path))
    if not layout.is_run_id(run.id) or not os.path.isdir(layout.run_meta_dir(run)):
        raise RunNotFound(
            f"{printable(path)} is not the run directory of a run",
            "its meta directory must lie beside it",
        )
    return run
