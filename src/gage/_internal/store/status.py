"""The status of a run, derived from its meta files and never stored."""

from __future__ import annotations

from gage._internal import proc
from gage._internal.store import layout, lock, meta
from gage._internal.store.lock import Holder
from gage._internal.types import Run

UNKNOWN = "unknown"
INITIALIZED = "initialized"
STAGING = "staging"
STAGED = "staged"
RUNNING = "running"
COMPLETED = "completed"
FAILED = "failed"
TERMINATED = "terminated"
LOST = "lost"

ALL = (UNKNOWN, INITIALIZED, STAGING, STAGED, RUNNING, COMPLETED, FAILED, TERMINATED, LOST)
ACTIVE = (STAGING, RUNNING)

# Signals that a program brings on itself by a fault; the others are sent by somebody.
_FAULTS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")


def run_status(run: Run) -> str:
    """Return the status of a run.

    Reads no more files than it needs; see "Status" in `docs/format.md` for the rules.

    Raises:
        RunDamaged: a file that the status depends on cannot be understood.
    """
    if not meta.has_meta(run, layout.INITIALIZED):
        return UNKNOWN
    if meta.has_meta(run, layout.STOPPED):
        return _ended(run)
    # In this order, since a start takes the lock, then stamps `started`, and an end stamps
    # `stopped`, then gives the lock back: what is seen fits together at any moment.
    started = meta.has_meta(run, layout.STARTED)
    holder = lock.find_holder(run)
    staged = meta.has_meta(run, layout.STAGED)
    if holder is None:
        if started:
            meta.look_again(run)
            return _ended(run) if meta.has_meta(run, layout.STOPPED) else LOST
        return STAGED if staged else INITIALIZED
    if holder.alive is not False:
        return RUNNING if staged else STAGING
    if meta.has_meta(run, layout.STOPPED) or (staged and meta.has_meta(run, layout.EXIT)):
        return _ended(run)
    if staged and not has_begun(run, holder):
        return STAGED
    return LOST if staged else FAILED


def is_cut(run: Run, holder: Holder | None) -> bool:
    """Tell whether the command of a run has ended, and its runner was gone before it recorded that.

    What the command exited with is known then, and neither what it made nor its summary.
    """
    return (
        holder is not None
        and holder.alive is False
        and meta.has_meta(run, layout.EXIT)
        and not meta.has_meta(run, layout.STOPPED)
    )


def has_begun(run: Run, holder: Holder | None) -> bool:
    """Tell whether the command of a staged run may have been started, whose holder is gone.

    After a power cut `started` may be missing where it was, so only in the boot of the holder does
    that tell anything.
    """
    if meta.has_meta(run, layout.STARTED):
        return True
    return holder is not None and not lock.is_of_this_boot(holder)


def _ended(run: Run) -> str:
    exit_text = meta.find_text(run, layout.EXIT)
    if meta.has_meta(run, layout.ERROR):
        return FAILED
    if exit_text is None:
        # Nobody saw it end: who executed it was gone.
        return TERMINATED if meta.has_meta(run, layout.STARTED) else FAILED
    if meta.has_meta(run, layout.SIGNAL):
        return TERMINATED
    if exit_text.startswith("SIG"):
        return FAILED if exit_text in _FAULTS else TERMINATED
    return COMPLETED if exit_text == "0" else FAILED


def exit_code(exit_text: str) -> int:
    """Return the exit code that a shell gives for the text of `proc/exit`.

    A status as it is; 128 plus the number of the signal that ended the run.
    """
    return 128 + proc.signal_number(exit_text) if exit_text.startswith("SIG") else int(exit_text)


def find_reason(run: Run, status: str) -> str | None:
    """Return why a run of a status is not `completed`; None where it is or still can be."""
    if status not in (FAILED, LOST, TERMINATED):
        return None
    error = meta.find_text(run, layout.ERROR)
    if error is not None:
        return error
    if status == FAILED and not meta.has_meta(run, layout.STAGED):
        return f"staging was interrupted: {_gone(run)}"
    exit_text = meta.find_text(run, layout.EXIT)
    if status == LOST:
        return f"the runner was interrupted: {_gone(run)}"
    if status == TERMINATED:
        sent = meta.find_text(run, layout.SIGNAL)
        if sent or exit_text:
            return f"stopped by {sent or exit_text}"
        return "its runner was gone before it had ended"
    if status == FAILED and exit_text is not None:
        how = "was ended by" if exit_text.startswith("SIG") else "exited with"
        return f"the command {how} {exit_text}"
    return None


def _gone(run: Run) -> str:
    holder = lock.find_holder(run)
    return f"{holder} is gone" if holder else "its process is gone"
