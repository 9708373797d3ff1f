"""Everything that is known about one run, read at once for those who show it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from gage._internal.errors import NewerSchema, RunDamaged
from gage._internal.store import layout, meta, status
from gage._internal.store.attempts import sum_pauses
from gage._internal.store.attributes import find_label, list_tags
from gage._internal.store.names import run_name
from gage._internal.types import NOTHING, OpCmd, OpRef, Run

_NO_OPREF = OpRef("", "")
_NO_CMD = OpCmd(())

T = TypeVar("T")


class RunRecord(NamedTuple):
    """What is known about a run; times in microseconds since the epoch, None if not stamped.

    `group` names the runs that it was staged with, None where it was staged alone.
    `damage` says what cannot be read of a run whose meta files are missing or broken; then
    the other fields hold what can be.
    """

    run: Run
    name: str
    status: str
    opref: OpRef = _NO_OPREF
    config: Mapping[str, Any] = NOTHING
    cmd: OpCmd = _NO_CMD
    group: str | None = None
    label: str | None = None
    tags: Sequence[str] = ()
    summary: Mapping[str, Any] = NOTHING
    initialized: int | None = None
    staged: int | None = None
    started: int | None = None
    stopped: int | None = None
    exit: str | None = None
    reason: str | None = None
    damage: str | None = None
    paused: int = 0

    @property
    def duration(self) -> int | None:
        """Microseconds between start and stop, without pauses; None until both are known."""
        if self.started is None or self.stopped is None:
            return None
        return self.stopped - self.started - self.paused


def read_record(run: Run) -> RunRecord:
    """Return what is known about a run.

    Raises:
        RunDamaged: a meta file or the run directory is missing, or cannot be read.
    """
    meta.check_schema(run)
    if meta.read_text(run, layout.ID) != run.id:
        raise meta.damaged(run, layout.ID, "is that of another run")
    initialized = meta.find_time(run, layout.INITIALIZED)
    if initialized is None:
        raise meta.damaged(run, layout.INITIALIZED, "was never written")
    if not os.path.isdir(run.run_dir):
        raise RunDamaged(f"run {run.id} is damaged: its run directory is missing")
    meta.read_opdef(run)
    staged = meta.find_time(run, layout.STAGED)
    if staged is not None and not meta.has_meta(run, layout.MANIFEST):
        raise meta.damaged(run, layout.MANIFEST, "is missing")
    found = status.run_status(run)
    return RunRecord(
        run=run,
        name=meta.read_text(run, layout.NAME),
        status=found,
        opref=meta.read_opref(run),
        config=meta.read_config(run),
        cmd=meta.read_cmd(run),
        group=meta.find_text(run, layout.GROUP),
        label=find_label(run),
        tags=list_tags(run),
        summary=meta.find_summary(run),
        initialized=initialized,
        staged=staged,
        started=meta.find_time(run, layout.STARTED),
        stopped=meta.find_time(run, layout.STOPPED),
        exit=meta.find_text(run, layout.EXIT),
        reason=status.find_reason(run, found),
        paused=sum_pauses(run),
    )


def find_record(run: Run) -> RunRecord:
    """Return what is known about a run, however damaged it is."""
    try:
        return read_record(run)
    except NewerSchema as error:
        return RunRecord(run, run_name(run.id), status.UNKNOWN, damage=error.message)
    except (RunDamaged, OSError) as error:
        damage = error.message if isinstance(error, RunDamaged) else str(error)
    return RunRecord(
        run=run,
        name=run_name(run.id),
        status=status.UNKNOWN,
        opref=_read_or(_NO_OPREF, lambda: meta.read_opref(run)),
        config=_read_or({}, lambda: meta.read_config(run)),
        cmd=_read_or(_NO_CMD, lambda: meta.read_cmd(run)),
        group=_read_or(None, lambda: meta.find_text(run, layout.GROUP)),
        label=_read_or(None, lambda: find_label(run)),
        tags=_read_or((), lambda: list_tags(run)),
        summary=_read_or({}, lambda: meta.find_summary(run)),
        initialized=_read_or(None, lambda: meta.find_time(run, layout.INITIALIZED)),
        staged=_read_or(None, lambda: meta.find_time(run, layout.STAGED)),
        started=_read_or(None, lambda: meta.find_time(run, layout.STARTED)),
        stopped=_read_or(None, lambda: meta.find_time(run, layout.STOPPED)),
        exit=_read_or(None, lambda: meta.find_text(run, layout.EXIT)),
        damage=damage,
    )


def _read_or(default: T, read: Callable[[], T]) -> T:
    try:
        return read()
    except (RunDamaged, OSError):
        return default
