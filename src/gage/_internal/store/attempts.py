"""The attempts at a run: how each but the last ended, and who has the right to the next.

`attempts/N.json` is written when attempt N + 1 begins. It tells how attempt N ended, as far as
that is known, and which process makes the next one: whoever creates the file has the right to, and
nobody else ever has. So of several processes that find a run whose runner is gone, one goes on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import clock, fs
from gage._internal.proc import ProcessId, this_process
from gage._internal.store import layout, meta
from gage._internal.types import Run

_SUFFIX = ".json"
# What one attempt leaves that the next one must not find.
_ENDS = {"exit": layout.EXIT, "signal": layout.SIGNAL, "error": layout.ERROR}


class Attempt(NamedTuple):
    """How an attempt ended, each None where that is not known, and when and by whom it was ended.

    Times are in microseconds since the epoch: `stopped` of its end, `resumed` of the beginning of
    the next, which `next` makes. `process` is the one that made this one, where that is known.
    """

    process: ProcessId | None
    exit: str | None
    signal: str | None
    error: str | None
    stopped: int | None
    resumed: int
    next: ProcessId


def is_resumable(run: Run) -> bool:
    """Tell whether a run may execute once more after its command has begun."""
    return bool(meta.read_opdef(run).data.get("resumable"))


def list_attempts(run: Run) -> Sequence[Attempt]:
    """Return the attempts at a run that were followed by another, in their order.

    Raises:
        RunDamaged: one cannot be understood.
    """
    attempts: list[Attempt] = []
    while True:
        name = _name(len(attempts) + 1)
        if not meta.has_meta(run, name):
            return attempts
        attempts.append(_parse(run, name, meta.read_json(run, name)))


def sum_pauses(run: Run) -> int:
    """Return the microseconds between attempts at a run, as far as they are known.

    Raises:
        RunDamaged: an attempt cannot be understood.
    """
    made = list_attempts(run)
    return sum(each.resumed - each.stopped for each in made if each.stopped is not None)


def claim_next(run: Run, number: int, process: ProcessId | None) -> None:
    """Take the right to follow attempt `number`, which `process` made; keep how that ended.

    Raises:
        FileExistsError: another process has it.
    """
    record = {
        "process": process and process._asdict(),
        **{key: meta.find_text(run, name) for key, name in _ENDS.items()},
        "stopped": meta.find_time(run, layout.STOPPED),
        "resumed": clock.now(),
        "next": this_process()._asdict(),
    }
    path = layout.meta_path(run, _name(number))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fs.create_file(path, meta.json_bytes(record))


def forget_end(run: Run) -> None:
    """Remove what tells how the last attempt ended, of which a record is kept; `stopped` first."""
    for name in (layout.STOPPED, *_ENDS.values(), layout.SUMMARY, layout.SEALED):
        fs.remove_file(layout.meta_path(run, name))


def _name(number: int) -> str:
    return f"{layout.ATTEMPTS}/{number}{_SUFFIX}"


def _parse(run: Run, name: str, record: Any) -> Attempt:
    try:
        table: Mapping[str, Any] = dict(record)
        process = table["process"] and ProcessId(**table["process"])
        return Attempt(**{**table, "process": process, "next": ProcessId(**table["next"])})
    except (TypeError, ValueError, KeyError):
        raise meta.damaged(run, name, "is no record of an attempt") from None
