"""Runs that are to be started: those that are staged, and those that failed and were not rerun."""

from __future__ import annotations

from gage._internal.catalog.find import list_runs
from gage._internal.errors import RunDamaged
from gage._internal.store import layout, meta, status
from gage._internal.store.jobs import find_job
from gage._internal.types import Run

_FAILED = (status.FAILED, status.TERMINATED, status.LOST)


def list_staged(home: str) -> list[Run]:
    """Return the staged runs of a runs home that no engine was given, the oldest first."""
    return [run for run in reversed(list_runs(home)) if _is_staged(run)]


def list_failed(home: str) -> list[Run]:
    """Return the runs that were started and not completed, and not rerun since, oldest first."""
    runs = list_runs(home)
    rerun = {_original(run) for run in runs}
    return [run for run in reversed(runs) if run.id not in rerun and _has_failed(run)]


def _is_staged(run: Run) -> bool:
    try:
        return status.run_status(run) == status.STAGED and find_job(run) is None
    except RunDamaged:
        return False


def _has_failed(run: Run) -> bool:
    try:
        return meta.has_meta(run, layout.STARTED) and status.run_status(run) in _FAILED
    except RunDamaged:
        return False


def _original(run: Run) -> str | None:
    try:
        return meta.find_text(run, layout.RERUN)
    except RunDamaged:
        return None
