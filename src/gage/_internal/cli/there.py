"""Runs that execute on another machine: started there, followed, stopped, brought home.

While a run is there it is locked here, in the name of the process that executes it there, so that
nobody starts it here; and a note tells where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.moving import find_at, opened_local, opened_remote
from gage._internal.cli.starting import tell_ended
from gage._internal.engines.ssh import Lost, There
from gage._internal.errors import (
    AlreadyStarted,
    GageError,
    NotStaged,
    RemoteFailed,
    RunDamaged,
    RunNotFound,
    UsageError,
)
from gage._internal.fs import printable
from gage._internal.portable.logins import parse_address
from gage._internal.portable.transfer import Listener, transfer
from gage._internal.proc import ProcessId, this_process
from gage._internal.store import lock, status
from gage._internal.store.attributes import find_where, write_where
from gage._internal.store.names import run_name
from gage._internal.store.output import Piece
from gage._internal.store.record import RunRecord, find_record
from gage._internal.types import Run

# Where runs are on a machine for which nothing else is said: below the directory of the login.
_DEFAULT_HOME = "/~/.gage/runs"
_HOST_ONLY = re.compile(r"(ssh://[^/]+)/?")
_REFUSAL = re.compile(r"gage: (.*?) \[([a-z-]+)\]\n?(.*?)(?:hint: ([^\n]*)\n)?", re.DOTALL)
_LONGEST_PAUSE = 30.0


def is_there(text: str) -> bool:
    """Tell whether a word of the command line names a run on another machine."""
    return text.startswith("ssh://")


def find_to_start(text: str, context: Context) -> tuple[Run, str]:
    """Return the run that `ssh://HOST/RUN` or `ssh://HOST/DIRECTORY/RUN` means, and the address.

    A run that is here is meant first; one that is only there comes here.
    """
    address, _, word = text.rstrip("/").rpartition("/")
    if address in ("ssh:/", "ssh:"):
        raise UsageError(f"{printable(text)} names no run", "ssh://HOST/RUN")
    address = full_address(address)
    try:
        return context.find_run(word), address
    except RunNotFound:
        pass
    home = context.home()
    with opened_remote(context, address) as place:
        (run_id,) = find_at(place, [word])
        transfer(place, opened_local(home, make=True), run_id, Listener(printer.print_note))
    return context.find_run(run_id), address


def full_address(text: str) -> str:
    """Return the address of the runs home that is meant: the usual one where only a host is."""
    match = _HOST_ONLY.fullmatch(text)
    return match[1] + _DEFAULT_HOME if match else text


def start_there(
    run: Run,
    text: str,
    args: argparse.Namespace,
    context: Context,
    show: Callable[[RunRecord], None],
) -> int:
    """Push a run, start it there, follow it, and bring home what it made; return its exit status.

    Raises:
        GageError: it cannot be started there; it stays staged here.
    """
    address = full_address(text)
    name = run_name(run.id)
    there = _there(address)
    _claim(run)
    try:
        if address.endswith(_DEFAULT_HOME):
            # Elsewhere only the last directory is made: a path may be that of a missing disk.
            there.prepare()
        with opened_remote(context, address, make=True) as place, printer.ProgressLine() as line:
            listener = Listener(printer.print_note, lambda done, total: line(name, done, total))
            transfer(opened_local(os.path.dirname(run.run_dir)), place, run.id, listener)
    except BaseException:
        lock.release(run)
        raise
    _start(run, there, address, getattr(args, "force", False))
    if not args.quiet:
        printer.print_note(f"run {name} runs at {printable(address)}")
    echo = printer.Echo(stdout=2 if context.json else 1)
    try:
        follow_there(run, lambda piece: echo(piece.stream, piece.data))
        bring_home(run, context)
    except KeyboardInterrupt:
        printer.print_note(
            f"run {name} goes on at {printable(address)}: gage logs -f {name} follows it, gage stop"
            f" {name} stops it"
        )
        return 130
    record = find_record(run)
    if context.json:
        show(record)
    elif not args.quiet:
        tell_ended(record)
    if record.reason is not None and record.exit in (None, "0"):
        printer.print_note(record.reason)
        return 1
    return status.exit_code(record.exit) if record.exit is not None else 1


def _claim(run: Run) -> None:
    """Keep others from starting a staged run.

    Raises:
        AlreadyStarted, NotStaged: it is not one.
    """
    found = status.run_status(run)
    hint = "a staged run is started once; gage rerun makes another"
    if not find_record(run).staged:
        raise NotStaged(f"run {run.id} is not staged: it is {found}", "stage it again")
    if found != status.STAGED:
        raise AlreadyStarted(f"run {run.id} was started and is {found}", hint)
    try:
        lock.acquire(run)
    except FileExistsError:
        raise AlreadyStarted(f"run {run.id} was started by {lock.find_holder(run)}", hint) from None


def _start(run: Run, there: There, address: str, force: bool) -> None:
    """Start a run there. Unless that is refused for certain, it counts as started from then on.

    Raises:
        GageError: it is refused, or the connection was lost while it was started.
    """
    write_where(run, address)
    lock.pass_on(run, ProcessId(there.host, "", "", 0, ""))
    try:
        options = ["--force"] if force else []
        said = there.call("start", "--detach", *options, there.run_dir(run.id))
    except BaseException:
        name = run_name(run.id)
        printer.print_note(
            f"run {name} may have been started: gage show {name} says what is known at"
            f" {printable(address)}, gage stop {name} ends it or gives it back"
        )
        raise
    if said.code:
        write_where(run, None)
        lock.release(run)
        raise _refusal(said.err, there.host)
    process = _state(there, run)["process"]
    if process:
        lock.pass_on(run, ProcessId(**process))


def follow_there(run: Run, show: Callable[[Piece], None]) -> None:
    """Show what a run prints elsewhere, from its beginning to its end, however often it breaks.

    Raises:
        RemoteFailed: it cannot be followed at all.
    """
    address = _where(run)
    there = _there(address)
    seen, pause = 0, 1.0
    while True:
        try:
            there.follow(run.id, seen, lambda stream, data: show(Piece(0, stream, data)))
            return
        except Lost as lost:
            pause = 1.0 if lost.seen > seen else min(pause * 2, _LONGEST_PAUSE)
            seen = lost.seen
            printer.print_note(f"{lost.message}; the run goes on, trying again in {pause:.0f}s")
            time.sleep(pause)


def print_there(run: Run, follow: bool, show: Callable[[Piece], None], context: Context) -> None:
    """Show what a run that is elsewhere has printed; where it is followed, bring it home then."""
    if follow:
        follow_there(run, show)
        bring_home(run, context)
        return
    there = _there(_where(run))
    said = there.call("logs", there.run_dir(run.id))
    show(Piece(0, "o", said.out))
    show(Piece(0, "e", said.err.encode("utf-8", "surrogateescape")))


def stop_there(run: Run, context: Context) -> None:
    """Stop a run that executes elsewhere, and bring it home; also one that was not started.

    Raises:
        GageError: it does not run, or does not end.
    """
    there = _there(_where(run))
    said = there.call("stop", there.run_dir(run.id))
    if said.code and _state(there, run)["status"] in status.ACTIVE:
        raise _refusal(said.err, there.host)
    bring_home(run, context)


def status_there(run: Run) -> str:
    """Return the status that a run has where it is."""
    return str(_state(_there(_where(run)), run)["status"])


def bring_home(run: Run, context: Context) -> None:
    """Bring home a run that has ended elsewhere; one that has not stays there.

    Raises:
        GageError: it cannot be brought home.
    """
    address = _where(run)
    name = run_name(run.id)
    with opened_remote(context, address) as place, printer.ProgressLine() as line:
        # The claim passes from the process there to this one: no moment is without it.
        before = lock.find_holder(run)
        lock.pass_on(run, this_process())
        listener = Listener(printer.print_note, lambda done, total: line(name, done, total))
        try:
            transfer(place, opened_local(os.path.dirname(run.run_dir)), run.id, listener)
        except BaseException:
            if before is not None:
                lock.pass_on(run, before.process)
            raise
    write_where(run, None)
    lock.release(run)


def _there(address: str) -> There:
    return There(parse_address(address))


def _where(run: Run) -> str:
    address = find_where(run)
    if address is None:
        raise RunDamaged(f"nothing tells where run {run.id} is")
    return address


def _state(there: There, run: Run) -> dict:  # type: ignore[type-arg]
    said = there.call("state", there.run_dir(run.id))
    try:
        state: dict = json.loads(said.out)  # type: ignore[type-arg]
    except ValueError:
        raise RemoteFailed(f"{printable(there.host)}: {printable(said.err.strip())}") from None
    return state


def _refusal(said: str, host: str) -> GageError:
    """Return the error that the runner there told of."""
    match = _REFUSAL.fullmatch(said)
    if match is None:
        return RemoteFailed(f"{printable(host)}: {printable(said.strip())}")
    message, reference, rest, hint = match.groups()
    error = GageError(f"{printable(host)}: {message}\n{rest}".rstrip("\n"), hint)
    error.reference = reference
    return error
