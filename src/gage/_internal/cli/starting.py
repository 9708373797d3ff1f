"""What `run` and `start` share: start a run, show its output, say how it ended."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.times import duration_text, parse_duration
from gage._internal.errors import GageError, IncompatibleSystem, RunDamaged, UsageError
from gage._internal.fs import printable
from gage._internal.lifecycle.isolation.options import RUNGS, Isolated
from gage._internal.lifecycle.start import check_startable, let_others_start, start_run
from gage._internal.project.projects import find_project_dir
from gage._internal.store import manifest, meta
from gage._internal.store.logs import counted
from gage._internal.store.names import run_name
from gage._internal.store.record import RunRecord, find_record
from gage._internal.types import NOTHING, Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.host_locks import GpuLocks
    from gage._internal.project.engines import EngineSetting

_MOST_NAMED = 3
# Seconds between two looks at GPUs that others have.
_POLL = 1.0


class RunFailed(GageError):
    """The command has ended, but something that belongs to the run failed."""

    reference = "run-failed"


def add_quiet_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves out the closing line."""
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="do not say at the end how the run ended"
    )


def add_isolation_arguments(
    parser: argparse.ArgumentParser,
    does: str = "start it where the project, the home directory and other runs do not exist",
) -> None:
    """Add the options that seal a run; `does` says what that does."""
    parser.add_argument("--sealed", action="store_true", help=does)
    parser.add_argument(
        "--no-network", action="store_true", help="with --sealed: leave it no network either"
    )
    parser.add_argument(
        "--rung", choices=RUNGS, help="with --sealed: how; default: the first that works here"
    )


def find_isolated(args: argparse.Namespace, context: Context) -> Isolated | None:
    """Return how runs are to be sealed, if they are.

    Raises:
        UsageError: an option is given that only goes with another.
    """
    if not getattr(args, "sealed", False):
        for option in ("no_network", "rung"):
            if getattr(args, option, None):
                raise UsageError(f"--{option.replace('_', '-')} goes with --sealed")
        return None
    if getattr(args, "on", None):
        raise UsageError("--sealed is for runs that are started here", "leave out --on")
    found = find_project_dir(context.cwd)
    return Isolated(not args.no_network, args.rung, [found] if found else [])


def find_engine(args: argparse.Namespace, context: Context) -> EngineSetting | None:
    """Return the engine that runs are to be given to, if they are.

    Raises:
        UnknownEngine: what `--on` names is neither an engine nor a remote.
        UsageError: an option is given that only goes with an engine.
    """
    found = None
    if args.on:
        from gage._internal.cli import submitting

        found = submitting.find_engine(args.on, context)
    if args.on and is_queued(args):
        what = "--jobs, --keep-going, --retries and --timeout are for runs that are started here"
        raise UsageError(what, "leave out --on")
    if args.wait and found is None:
        raise UsageError("--wait goes with --on and an engine")
    if found and getattr(args, "force", False):
        raise UsageError("--force is for runs that are started here", "leave out --on")
    return found


def start(
    run: Run, args: argparse.Namespace, context: Context, show: Callable[[RunRecord], None]
) -> int:
    """Start a staged run and see it to its end; return its exit status.

    With `--json` the record of the run that has ended is given to `show`.

    Raises:
        RunFailed: the command exited with 0, but the run failed all the same.
    """
    echo = printer.Echo(stdout=2 if context.json else 1)
    force = getattr(args, "force", False)
    sealed = find_isolated(args, context)
    with _having_its_share(run, force):
        outcome = start_run(run, echo, force=force, notice=printer.print_note, sealed=sealed)
    record = find_record(run)
    if context.json:
        show(record)
    elif not args.quiet:
        tell_ended(record)
    if outcome.error is not None and outcome.exit_code == 0:
        raise RunFailed(f"run {run_name(run.id)} failed: {outcome.error}")
    if outcome.error is not None:
        printer.print_note(outcome.error)
    return outcome.exit_code


@contextmanager
def _having_its_share(run: Run, force: bool) -> Iterator[None]:
    """Let a run have what it is to have of this machine, where its operation says.

    Raises:
        AlreadyStarted: somebody has started it while it waited for GPUs.
        IncompatibleSystem: there never is as much.
    """
    try:
        opdef = meta.read_opdef(run).data
    except RunDamaged:
        # The start tells of it.
        opdef = NOTHING
    if "resources" not in opdef:
        yield
        return
    from gage._internal.lifecycle import budget, host_locks

    needed = budget.said_resources(opdef)
    machine = budget.find_machine(with_gpus=bool(needed.gpus))
    lack = budget.Budget(machine).find_lack(needed)
    if lack is not None and not force:
        let_others_start(run)
        hint = "gage start --force starts it all the same"
        raise IncompatibleSystem(f"run {run.id} stays staged: {lack}", hint)
    if not needed.gpus:
        yield
        return
    # By force it has what there is.
    count = min(needed.gpus, len(machine.gpus))
    locks = host_locks.GpuLocks()
    variables = locks.variables(_wait_for_gpus(run, locks, machine.gpus, count))
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
        locks.close()


def _wait_for_gpus(run: Run, locks: GpuLocks, gpus: Sequence[str], count: int) -> Sequence[str]:
    """Lock so many of some GPUs as soon as others leave as many; return which.

    Raises:
        AlreadyStarted: somebody has started the run meanwhile.
    """
    found = locks.take(gpus, count)
    if found is not None:
        return found
    # As long as it waits it is a staged run as others are.
    let_others_start(run)
    try:
        printer.print_note(f"waiting for {counted(count, 'GPU')}: others have them")
        while found is None:
            time.sleep(_POLL)
            check_startable(run)
            found = locks.take(gpus, count)
    except KeyboardInterrupt:
        printer.print_note(f"run {run_name(run.id)} stays staged")
        raise
    return found


def add_on_argument(parser: argparse.ArgumentParser) -> None:
    """Add the options that start a run on another machine, or give it to an engine."""
    parser.add_argument(
        "--on",
        metavar="WHERE",
        help="start it elsewhere: an engine such as slurm, or one of the settings; ssh://HOST,"
        " ssh://HOST/DIRECTORY, or a remote's name",
    )
    parser.add_argument(
        "--wait", action="store_true", help="with an engine: see it to its end, not only submitted"
    )


def add_queue_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of starting many runs."""
    parser.add_argument(
        "--jobs",
        type=_number(1),
        metavar="N",
        help="how many runs execute at once, if the resources they ask for allow it; default: 1,"
        " with its output passed on",
    )
    parser.add_argument(
        "-k",
        "--keep-going",
        action="store_true",
        help="start others after one has failed; default: what has not started stays staged",
    )
    parser.add_argument(
        "--retries",
        type=_number(0),
        default=0,
        metavar="N",
        help="run a run that fails again, as a new run, up to N times",
    )
    parser.add_argument(
        "--timeout",
        type=_duration,
        metavar="TIME",
        help="stop a run that takes longer, such as 30s, 5m, 2h or 1d: it has failed",
    )


def _number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} on")
        return int(text)

    return parse


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a time such as 30s, 5m or 2h") from None


def is_queued(args: argparse.Namespace) -> bool:
    """Tell whether runs are to be started as a queue, by the options of one."""
    return bool(args.jobs or args.keep_going or args.retries or args.timeout)


def start_many(runs: Sequence[Run], args: argparse.Namespace, context: Context) -> int:
    """Start staged runs as a queue, and see them to their ends; return the exit status."""
    from gage._internal.cli.many import start_runs

    args.jobs = args.jobs or 1
    return start_runs(runs, args, context)


def start_each(
    runs: Sequence[tuple[Run, str | None]], args: argparse.Namespace, context: Context
) -> int:
    """Start runs one after the other, here or at an address; return the first status not 0."""
    if len(runs) == 1:
        return _start_one(*runs[0], args, context, print_record)
    records: list[RunRecord] = []
    codes = []
    try:
        for run, on in runs:
            codes.append(_start_one(run, on, args, context, records.append))
            if codes[-1] > 128:
                break
    finally:
        if context.json:
            print_records(records)
    return next((code for code in codes if code), 0)


def _start_one(
    run: Run,
    on: str | None,
    args: argparse.Namespace,
    context: Context,
    show: Callable[[RunRecord], None],
) -> int:
    if on is None:
        return start(run, args, context, show)
    from gage._internal.cli.there import start_there

    return start_there(run, on, args, context, show)


def tell_ended(record: RunRecord) -> None:
    """Say how a run ended, and what it changed that it was staged with."""
    took = duration_text(record.duration)
    printer.print_note(f"run {record.name} {record.status} after {took}")
    _tell_changed(record.run)


def _tell_changed(run: Run) -> None:
    try:
        changed = list(map(printable, manifest.find_changed(run)))
    except RunDamaged:
        return
    if changed:
        named = ", ".join(changed[:_MOST_NAMED])
        rest = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
        printer.print_note(f"the run changed or removed what it was staged with: {named}{rest}")


def print_record(record: RunRecord) -> None:
    """Print the record of a run as JSON."""
    from gage._internal.catalog.rows import record_as_json

    printer.print_json(record_as_json(record))


def print_records(records: Sequence[RunRecord]) -> None:
    """Print the records of several runs as JSON."""
    from gage._internal.catalog.rows import record_as_json

    printer.print_json([record_as_json(record) for record in records])
