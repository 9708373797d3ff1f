"""Start a staged run: compare the system, verify it, claim it, execute its command, finalize it.

Needs nothing but the run and meta directories and the standard library.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from gage._internal import clock, fs, proc
from gage._internal.errors import AlreadyStarted, GageError, NotStaged, RunChanged
from gage._internal.fs import Stamp
from gage._internal.lifecycle.containers import container_command
from gage._internal.lifecycle.environment import (
    Environment,
    Notice,
    find_environment,
    linked,
    without_foreign,
)
from gage._internal.lifecycle.execute import CannotExecute, Ended, Output, StopSignals, execute
from gage._internal.lifecycle.finalize import finalize_run
from gage._internal.lifecycle.hooks import run_env
from gage._internal.lifecycle.masking import Mask, MaskedOutput
from gage._internal.lifecycle.resume import Gone, find_gone, reopen, take_over
from gage._internal.lifecycle.secret_values import read_secrets, secret_names
from gage._internal.lifecycle.system.compare import Comparison, check_system
from gage._internal.store import layout, lock, meta, status
from gage._internal.store.attempts import is_resumable, list_attempts
from gage._internal.store.command_lines import RUN
from gage._internal.store.heartbeat import Heart
from gage._internal.store.logs import counted, log_action
from gage._internal.store.manifest import read_manifest
from gage._internal.store.output import OutputWriter
from gage._internal.store.verify import verify
from gage._internal.types import NOTHING, OpCmd, Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.isolation.isolate import Isolation
    from gage._internal.lifecycle.isolation.options import Isolated

# Held while the run executes, so that its end can be recorded on a disk it has filled.
_SPARE_BYTES = 64 * 1024


class Outcome(NamedTuple):
    """How a started run ended.

    `exit_code` is as a shell gives it; `signal` the name of a signal that told the run to stop;
    `error` what failed that is not the command's own exit, in words.
    """

    exit_code: int
    signal: str | None = None
    error: str | None = None


def start_run(
    run: Run,
    echo: Output = lambda stream, data: None,
    *,
    force: bool = False,
    notice: Notice = lambda sentence: None,
    sealed: Isolated | None = None,
    timeout: float | None = None,
) -> Outcome:
    """Start a staged run, or go on with one that was stopped or lost, and see it to its end.

    `echo` is given each piece of output as it comes: the stream (`o` or `e`) and the bytes.
    `force` starts it on a system that is not compatible too. `notice` is told in sentences what
    takes long before that. With `sealed` nothing is there for its commands but what a run may rely
    on, and a file that they reach outside of that is an error. After `timeout` seconds the run is
    told to stop, and has failed.

    Raises:
        NotStaged: the run is not staged.
        AlreadyStarted: the run was started before and cannot be gone on with, or somebody is
            starting it now.
        RunChanged: its files are not those that were staged; it stays staged.
        RuntimeFailed: its environment cannot be made ready here; it stays staged.
        IncompatibleSystem: it needs what this system does not have; it stays staged.
        SecretMissing: a secret that it needs has no value here; it stays staged.
        CannotIsolate: it is to be sealed, and this system has no way to; it stays staged.
        RunDamaged: its meta files cannot be read, or were written by a newer Gage.
    """
    with ExitStack() as isolations:
        return _start(run, echo, force, notice, sealed, isolations, timeout)


def _start(
    run: Run,
    echo: Output,
    force: bool,
    notice: Notice,
    sealed: Isolated | None,
    isolations: ExitStack,
    timeout: float | None,
) -> Outcome:
    is_fresh = lock.is_kept(run)
    try:
        gone = None if is_fresh else _find_gone(run, notice)
        command, unmet, stamps, secrets = _prepare(run, force, gone)
        environment = find_environment(run, notice)
        isolation = _isolate(run, environment, sealed, isolations) if sealed else None
    except BaseException:
        if is_fresh:
            _give_back(run, is_fresh)
        raise

    def tell_late() -> None:
        notice(f"run {run.id} has ended: what it made is being recorded")

    with StopSignals(tell_late) as signals:
        with ExitStack() as stack:
            left = _claim(run, gone)
            is_stamped = meta.has_meta(run, layout.STARTED)
            try:
                if gone and gone.has_begun:
                    stamps = _of_staged(run, stamps)
                    reopen(run)
                if left:
                    log_action(run, f"Ended what an attempt before left: {_listed(left)}")
                log_action(run, f"Verified {counted(len(stamps), 'file')}")
                for each in unmet:
                    needed = each.requirement
                    told = f"needs {needed.text} (by {needed.by}), here is: {each.found}"
                    log_action(run, f"Told to start all the same: {told}")
                stack.enter_context(linked(environment))
                fs.replace_file(layout.meta_path(run, layout.SPARE), bytes(_SPARE_BYTES))
                if isolation:
                    isolation.record()
                attempt = len(list_attempts(run)) + 1
                number = f"attempt {attempt}: " if attempt > 1 else ""
                log_action(run, f"Starting {number}" + " ".join(command.args))
                if not is_stamped:
                    meta.write_time(run, layout.STARTED, clock.now())
                recorder = _Recorder(run, echo)
            except (OSError, GageError):
                # Nothing has run: the run stays staged.
                if not is_stamped:
                    fs.remove_file(layout.meta_path(run, layout.STARTED))
                _remove_spare(run)
                _give_back(run, is_fresh)
                raise
            heart = Heart(run, lambda: proc.send_signal(proc.run_processes(run.id), signal.SIGKILL))
            doing = _Doing(run, attempt, environment, secrets, isolation, heart, timeout)
            ended, error = _execute(doing, command, recorder, signals)
        return _end(doing, ended, error, stamps)


def _isolate(
    run: Run, environment: Environment, sealed: Isolated, isolations: ExitStack
) -> Isolation:
    from gage._internal.lifecycle.isolation.isolate import isolate

    return isolations.enter_context(isolate(run, environment, sealed))


class _Doing(NamedTuple):
    """A run that is executed: its attempt, what its commands find, the right to do it, its time."""

    run: Run
    attempt: int
    environment: Environment
    secrets: Mapping[str, str]
    isolation: Isolation | None
    heart: Heart
    timeout: float | None


def _execute(
    doing: _Doing, command: OpCmd, recorder: _Recorder, signals: StopSignals
) -> tuple[Ended, str | None]:
    """Run the command; return how it ended, and what failed that is not its own exit."""
    run, environment, isolation = doing.run, doing.environment, doing.isolation
    if not doing.heart.beat():
        # This process was suspended since its claim, and another has gone on: nothing begins.
        recorder.let_go()
        return Ended("SIGKILL"), None
    output = MaskedOutput(Mask(doing.secrets.values()), recorder.write)
    own = {"PYTHONUNBUFFERED": os.environ.get("PYTHONUNBUFFERED", "1"), **command.env}
    own |= {**environment.variables, **doing.secrets, **run_env(run)}
    own["RUN_ATTEMPT"] = str(doing.attempt)
    args = command.args
    if environment.container:
        args, own = container_command(environment.container, run.run_dir, own, args)
    inherited = without_foreign(os.environ, environment)
    env = isolation.variables(inherited, own) if isolation else {**inherited, **own}
    spawn = isolation.spawn if isolation else None
    try:
        ended = execute(
            *(args, run.run_dir, env, output.write, run.id, signals, spawn),
            *(doing.heart.beating, doing.timeout),
        )
        output.close()
        error = recorder.close()
        if ended.is_late:
            error = f"the run was stopped: it took longer than {doing.timeout:g} seconds"
    except CannotExecute as failure:
        recorder.close()
        ended, error = Ended(str(failure.exit_code)), str(failure)
    if isolation:
        ended, error = _end_isolated(run, ended, error, isolation)
    return ended, error


def _end_isolated(
    run: Run, ended: Ended, error: str | None, isolation: Isolation
) -> tuple[Ended, str | None]:
    """End what a sealed command left; return the same, with what it reached in the error."""
    from gage._internal.lifecycle.isolation.isolate import describe_reached, last_printed

    reached = isolation.close(ended, lambda: last_printed(run, RUN))
    if reached:
        error = "\n".join([describe_reached(reached), *([error] if error else [])])
    return ended._replace(left=()), error


def _prepare(
    run: Run, force: bool, gone: Gone | None
) -> tuple[OpCmd, Sequence[Comparison], Mapping[str, Stamp], Mapping[str, str]]:
    """Return what starts a run, what of its needs is not met, its files, and its secrets.

    All is then as it was staged, and the system has what is needed, unless by `force`.
    """
    meta.check_schema(run)
    # Needed when the run has ended: what cannot be read is to be known before it starts.
    names = secret_names(meta.read_opdef(run).data)
    command = meta.read_cmd(run)
    unmet = check_system(run, force)
    secrets = read_secrets(names) if names else NOTHING
    try:
        is_lost = gone is not None and gone.has_begun and gone.stopped is None
        return command, unmet, verify(run, is_open=is_lost), secrets
    except RunChanged:
        # Another may have started it meanwhile, and what it generates is no change.
        if gone is None:
            _check_staged(run)
        raise


def _of_staged(run: Run, stamps: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """Return the stamps of the files that are what they were staged as."""
    same = (e.path for e in read_manifest(run).staged if not e.superseded)
    return {path: stamps[path] for path in same if path in stamps}


def let_others_start(run: Run) -> None:
    """Let others start a run, too, that was staged for this process: it waits for the disk now."""
    if lock.is_kept(run):
        _give_back(run, is_fresh=True)


def _give_back(run: Run, is_fresh: bool) -> None:
    """Give the claim back; a run whose staging did not wait for the disk does so now."""
    if is_fresh:
        fs.sync(run.run_dir, layout.run_meta_dir(run))
    lock.release(run)


def check_startable(run: Run) -> None:
    """Make sure that a run may be started: it is staged, or may be gone on with.

    Raises:
        NotStaged, AlreadyStarted: it may not.
    """
    if status.run_status(run) in (status.TERMINATED, status.LOST):
        has_begun = status.has_begun(run, lock.find_holder(run))
        if is_resumable(run) or not has_begun:
            return
    _check_staged(run)


def _find_gone(run: Run, notice: Notice) -> Gone | None:
    """Return the attempt that is gone on with; None where the run is staged, to be started.

    Raises:
        NotStaged: the run is not staged.
        AlreadyStarted: it was started, and is not to be again.
    """
    gone = find_gone(run, notice, to_execute=True)
    if gone is None:
        _check_staged(run)
    return gone


def _check_staged(run: Run) -> None:
    if lock.is_kept(run):
        return
    found = status.run_status(run)
    if found == status.STAGED:
        return
    if found in (status.UNKNOWN, status.INITIALIZED, status.STAGING) or not meta.has_meta(
        run, layout.STAGED
    ):
        raise NotStaged(f"run {run.id} is not staged: it is {found}", "stage it again")
    raise _already_started(run, found)


def _already_started(run: Run, found: str) -> AlreadyStarted:
    holder = lock.find_holder(run)
    who = f" by {holder}" if holder else ""
    return AlreadyStarted(
        f"run {run.id} was started{who} and is {found}",
        "a staged run is started once; gage rerun makes another one of it",
    )


def _claim(run: Run, gone: Gone | None) -> Sequence[int]:
    """Claim a run for this process; return the pids of what the last attempt left, ended now."""
    if gone:
        return take_over(run, gone)
    try:
        lock.acquire(run, lock.heartbeat())
    except FileExistsError:
        raise _already_started(run, status.run_status(run)) from None
    # A claim that came just after another run of it ended finds what that left.
    meta.look_again(run)
    if meta.has_meta(run, layout.STARTED):
        lock.release(run)
        raise _already_started(run, status.run_status(run))
    return ()


def _listed(pids: Sequence[int]) -> str:
    return ", ".join(map(str, pids))


def _remove_spare(run: Run) -> None:
    try:
        os.unlink(layout.meta_path(run, layout.SPARE))
    except FileNotFoundError:
        pass


def _end(doing: _Doing, ended: Ended, error: str | None, stamps: Mapping[str, Stamp]) -> Outcome:
    """Record how the command ended, at once, then finalize the run.

    Of a run that another process has taken over, nothing is recorded.
    """
    run, heart = doing.run, doing.heart
    code = status.exit_code(ended.exit_text)
    if not heart.beat():
        return Outcome(code, ended.signal, "another process has taken it over")
    _remove_spare(run)
    if ended.signal:
        meta.write_text(run, layout.SIGNAL, ended.signal)
    meta.write_text(run, layout.EXIT, ended.exit_text)
    log_action(run, f"Ended with {ended.exit_text}")
    if ended.left:
        log_action(run, f"Left running: {_listed(ended.left)}")
    hook = doing.environment, doing.isolation
    error = finalize_run(run, error, stamps, doing.secrets, *hook, heart)
    return Outcome(code, ended.signal, error)


class _Recorder:
    """Gives output to the file and to whoever watches; neither can stop the run."""

    def __init__(self, run: Run, echo: Output) -> None:
        self._writer = OutputWriter(run, RUN)
        self._echo = echo
        self._error: str | None = None

    def write(self, stream: str, data: bytes) -> None:
        """Record and show a piece of output."""
        if self._error is None:
            try:
                self._writer.write(stream, data)
            except OSError as error:
                self._error = f"output was not captured to its end: {error.strerror}"
        self._echo(stream, data)

    def let_go(self) -> None:
        """Leave the files to another process."""
        self._writer.let_go()

    def close(self) -> str | None:
        """Close the files; return what went wrong, if anything did."""
        self._writer.close()
        return self._error
