"""Who is staging or running a run: the lock, which is also the claim to start it.

The lock is made by linking, so of several processes one gets it, on a network file system
too. It is never broken: a lock whose process is gone tells what became of the run.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from gage._internal import fs
from gage._internal.proc import ProcessId, is_alive, this_process
from gage._internal.store import layout, meta
from gage._internal.types import Run


class Holder(NamedTuple):
    """The process that holds a lock, and whether it lives (None: cannot be known here)."""

    process: ProcessId
    alive: bool | None

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.process.host}"


def acquire(run: Run) -> None:
    """Take the lock of a run for this process.

    Raises:
        FileExistsError: the lock is held, or was when its process ended.
    """
    data = meta.json_bytes(this_process()._asdict())
    fs.create_file(layout.meta_path(run, layout.LOCK), data)


def release(run: Run) -> None:
    """Give the lock back; one that was given back already is no error."""
    fs.remove_file(layout.meta_path(run, layout.LOCK))


def find_holder(run: Run) -> Holder | None:
    """Return who holds the lock of a run, or None where nobody does."""
    data = meta.find_meta(run, layout.LOCK)
    if data is None:
        return None
    try:
        fields = json.loads(data)
        process = ProcessId(**fields)
    except (ValueError, TypeError):
        raise meta.damaged(run, layout.LOCK, "is not a process") from None
    return Holder(process, is_alive(process))
