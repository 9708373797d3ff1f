"""`gage run --optimize`: trials proposed, staged and started, until there are enough."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from gage._internal.catalog.find import list_group
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.new_run import find_chosen
from gage._internal.cli.values import config_text, value_text
from gage._internal.errors import SearchFailed, UsageError
from gage._internal.fs import printable
from gage._internal.lifecycle.batch import frozen_project, stage_batch
from gage._internal.lifecycle.search import Space, Trial, metric_of
from gage._internal.project.batches import Batch, parse_batch
from gage._internal.project.operations import Operation, all_config
from gage._internal.store import status
from gage._internal.store.logs import counted
from gage._internal.store.names import group_name, run_name
from gage._internal.store.record import RunRecord, find_record
from gage._internal.types import NOTHING, Run

_STOPPED = (status.TERMINATED, status.LOST)


class _Search(NamedTuple):
    """What is searched, and where."""

    home: str
    operation: Operation
    batch: Batch
    fill: Callable[[Run], None]


def search(args: argparse.Namespace, context: Context) -> int:
    """Search for the best config; return 0 if there is one, as far as was searched.

    Raises:
        UsageError: nothing varies, or nobody says how often to try.
        SearchFailed: Optuna is not installed, or no trial has the metric.
    """
    if args.trials is None:
        raise UsageError(
            f"how many runs may it take to find the best {args.optimize}?", "--trials N"
        )
    if args.needed or args.max_runs is not None or args.on is not None:
        raise UsageError("--optimize goes without --needed, --max-runs and --on")
    if args.with_upstream or args.keep_going or args.retries or args.timeout:
        raise UsageError(
            "--optimize goes without --with-upstream, --keep-going, --retries and --timeout"
        )
    group = args.group or group_name()
    with _opened(args, context) as found:
        if found.batch.is_one:
            raise UsageError(
                "there is nothing to search: all config has one value", "lr=loguniform(1e-4, 1e-1)"
            )
        seed = args.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(3), "big")
            printer.print_note(f"drawn at random; --seed {seed} draws the same again")
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            _Trials(found, group, seed, args, context.json).work_through(args.trials)
        except KeyboardInterrupt:
            printer.print_note(f"the same command with --group {printable(group)} goes on")
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
    return _tell_best(found, group, args, context)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Have SIGTERM end a search as Ctrl-C does."""
    raise KeyboardInterrupt


@contextmanager
def _opened(args: argparse.Namespace, context: Context) -> Iterator[_Search]:
    """Yield what is searched: an operation of the project, which is frozen, or of a run."""

    def batch_of(operation: Operation, words: list[str], base: Mapping[str, Any]) -> Batch:
        batch = parse_batch(operation, words, args.batches, context.cwd, trials=True)
        return batch._replace(fixed={**base, **batch.fixed})

    if args.proto is not None:
        from gage._internal.cli.new_batch import words_of_proto
        from gage._internal.lifecycle.proto import read_proto

        with read_proto(context.find_run(args.proto)) as proto:
            words = words_of_proto(args, proto)
            batch = batch_of(proto.operation, words, proto.config)
            yield _Search(context.home(), proto.operation, batch, proto.fill)
        return
    project, operation, words = find_chosen(args, context)
    home = context.home(project)
    batch = batch_of(operation, words, NOTHING)
    with frozen_project(
        home,
        operation.opdef,
        project.dir,
        strict=args.strict,
        share=args.share or project.share,
        notice=printer.print_note,
    ) as fill:
        yield _Search(home, operation, batch, fill)


class _Trials:
    """The trials of a search: those of earlier times, and those that are executed now."""

    def __init__(
        self, found: _Search, group: str, seed: int, args: argparse.Namespace, is_json: bool
    ) -> None:
        self._found = found
        self._group = group
        self._seed = seed
        self._args = args
        self._space = Space(found.batch)
        self._at_once = args.jobs or 1
        # What several runs print at once nobody can read; it is in their logs.
        self._stdout = subprocess.DEVNULL if self._at_once > 1 else 2 if is_json else None
        self._options = ["--sealed"] if args.sealed else []
        self._options += ["--no-network"] if args.no_network else []
        self._options += ["--rung", args.rung] if args.rung else []
        self._active: dict[int, tuple[Run, subprocess.Popen[bytes]]] = {}

    def work_through(self, count: int) -> None:
        """Execute trials until there are so many in the group."""
        records = [find_record(run) for run in list_group(self._found.home, self._group)]
        # Those that were stopped are drawn again.
        records = [record for record in records if record.status not in _STOPPED]
        waiting = [record.run for record in records if record.status == status.STAGED]
        runs = [record.run for record in records if record.staged is not None]
        if runs:
            were = f"{counted(len(runs), 'trial')} of {count}"
            told = f"group {printable(self._group)} has {were} already, with the source of then"
            printer.print_note(told)
        try:
            while waiting or self._active or len(runs) < count:
                while len(self._active) < self._at_once and (waiting or len(runs) < count):
                    run = waiting.pop(0) if waiting else self._stage(runs)
                    if run not in runs:
                        runs.append(run)
                    self._start(run)
                self._wait()
        except BaseException:
            # A terminal has told them too; then they end by themselves.
            for _, process in self._active.values():
                process.terminate()
            while self._active:
                self._wait()
            raise

    def _stage(self, runs: list[Run]) -> Run:
        """Stage what is proposed after all runs there are."""
        trials = [_trial(find_record(run), self._args.optimize) for run in runs]
        given = self._space.propose(trials, self._seed, self._args.maximize)
        operation = self._found.operation
        config = all_config(operation, {**self._found.batch.fixed, **given})
        staged: list[Run] = []
        stage_batch(
            self._found.home,
            operation,
            [config],
            self._found.fill,
            group=self._group,
            label=self._args.label,
            tags=self._args.tags,
            on_staged=staged.append,
        )
        return staged[0]

    def _start(self, run: Run) -> None:
        command = [sys.executable, "-m", "gage", "start", "-q", run.run_dir, *self._options]
        stderr = subprocess.DEVNULL if self._at_once > 1 else None
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._stdout, stderr=stderr
        )
        self._active[process.pid] = run, process

    def _wait(self) -> None:
        """Wait until a run has ended, and tell of it."""
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            # A signal came between the end of the last one and its entry being removed.
            self._active.clear()
            return
        pid = found.si_pid if found else 0
        if pid not in self._active:
            os.waitpid(pid, 0)
            return
        run, process = self._active.pop(pid)
        process.wait()
        record = find_record(run)
        value = metric_of(record.summary, self._args.optimize)
        metric = printable(self._args.optimize)
        told = f"no {metric}" if value is None else f"{metric} {value_text(value)}"
        what = f"{told}: {_varied(self._found, record)}"
        printer.print_note(f"run {record.name} {record.status}, {what}")


def _trial(record: RunRecord, metric: str) -> Trial:
    is_over = record.status not in (*status.ACTIVE, status.STAGED)
    is_good = record.status == status.COMPLETED
    value = metric_of(record.summary, metric) if is_good else None
    return Trial(record.config, value, is_over)


def _varied(found: _Search, record: RunRecord) -> str:
    names = found.batch.names
    return config_text({name: record.config[name] for name in names if name in record.config})


def _tell_best(found: _Search, group: str, args: argparse.Namespace, context: Context) -> int:
    records = [find_record(run) for run in list_group(found.home, group)]
    valued = [
        (trial.value, record)
        for record in records
        if (trial := _trial(record, args.optimize)).value is not None
    ]
    if not valued:
        raise SearchFailed(
            f"no run of group {printable(group)} has completed with a number"
            f" {printable(args.optimize)} in its summary",
            f"gage show --group {printable(group)} shows what they have",
        )
    sign = -1 if args.maximize else 1
    value, best = min(valued, key=lambda pair: sign * (pair[0] or 0.0))
    if context.json:
        from gage._internal.catalog.rows import record_as_json

        runs = [record_as_json(record) for record in records]
        printer.print_json({"group": group, "best": best.run.id, "runs": runs})
    printer.print_note(
        f"best of {counted(len(records), 'trial')} in group {printable(group)}: run"
        f" {run_name(best.run.id)}, {printable(args.optimize)} {value_text(value)}:"
        f" {_varied(found, best)}"
    )
    return 0
