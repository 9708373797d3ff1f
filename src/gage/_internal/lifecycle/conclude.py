"""Record the end of a run whose runner is gone, that nobody goes on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gage._internal.errors import AlreadyStarted, SecretMissing
from gage._internal.lifecycle.finalize import finalize_run
from gage._internal.lifecycle.resume import Gone, Notice, find_gone, open_again, reopen, take_over
from gage._internal.lifecycle.secret_values import find_secrets, secret_names
from gage._internal.store import layout, lock, meta
from gage._internal.store.heartbeat import Heart
from gage._internal.store.logs import log_action
from gage._internal.types import NOTHING, Run


def conclude_run(run: Run, notice: Notice = lambda sentence: None) -> bool:
    """Record how a run ended that has begun and that nobody executes; tell whether this did it.

    What its command exited with stands, if its runner saw that; else the run was terminated. Its
    summary is left out where a secret has no value here, by which it could be masked.

    Raises:
        RunDamaged: its meta files cannot be read.
        OSError: they cannot be written.
    """
    gone = find_gone(run, notice)
    if gone is None or not gone.has_begun:
        return False
    try:
        take_over(run, gone)
    except AlreadyStarted:
        return False
    has_exited = meta.has_meta(run, layout.EXIT) and gone.stopped is None
    (open_again if has_exited else reopen)(run)
    log_action(run, f"Ended: {_name(gone)} is gone")
    names = secret_names(meta.read_opdef(run).data)
    secrets = _find_secrets(names)
    unknown = [name for name in names if name not in secrets]
    if unknown:
        log_action(run, f"Left out the summary, which may have secrets: {', '.join(unknown)}")
    heart = Heart(run, lambda: None)
    finalize_run(run, secrets=secrets, heart=heart, hook=False, summary=not unknown)
    return True


def _find_secrets(names: Sequence[str]) -> Mapping[str, str]:
    try:
        return find_secrets(names) if names else NOTHING
    except SecretMissing:
        # None can be read here.
        return NOTHING


def _name(gone: Gone) -> str:
    return str(lock.Holder(gone.process, alive=False)) if gone.process else "its process"
