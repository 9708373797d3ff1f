"""An operation run after those whose files it needs, each of which is run anew."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.many import work
from gage._internal.cli.new_batch import frozen, split_had, stage_filled, waiting_of
from gage._internal.cli.new_run import choose_all
from gage._internal.errors import UsageError
from gage._internal.lifecycle.budget import said_resources
from gage._internal.lifecycle.tasks import Task
from gage._internal.project.chosen_runs import with_runs
from gage._internal.project.operations import parse_config
from gage._internal.project.upstream import Step, upstream_steps
from gage._internal.store import meta
from gage._internal.store.names import group_name
from gage._internal.types import Run


def run_with_upstream(args: argparse.Namespace, context: Context) -> int:
    """Run an operation after what it needs; return the exit status.

    Each run is staged when those are completed whose files it takes, all of the source code as it
    is now; where only what is needed is asked for, one that has completed with the same stands for
    it. A batch goes on with the runs that its group has.

    Raises:
        DependencyError: operations need each other; nothing is run.
        UsageError: runs are to be started elsewhere, or are those of another run.
    """
    if args.on or args.proto:
        raise UsageError(
            "--with-upstream does not go with --on or --proto",
            "run what is upstream first, then this without --with-upstream",
        )
    choices = choose_all(args, context)
    *upstream, last = upstream_steps(choices.project, choices.operation)
    home = context.home(choices.project)
    tasks: list[Task] = []
    missing = list(choices.configs)
    if choices.is_batch and args.group:
        missing, had = split_had(home, args.group, last.operation, choices.configs)
        tasks += [
            Task(run.id, said_resources(meta.read_opdef(run).data), run) for run in waiting_of(had)
        ]
    if choices.is_batch:
        args.group = args.group or group_name()
        printer.print_note(f"the runs are of group {args.group}")
    args.jobs = args.jobs or 1
    again = f"the same command with --group {args.group} --needed" if args.group else None
    # What says how runs are to be known is for those that are asked for.
    unnamed = argparse.Namespace(**{**vars(args), "label": None, "tags": [], "group": None})
    with ExitStack() as stack:

        def fill_of(step: Step) -> Callable[[Run], None]:
            return stack.enter_context(
                frozen(choices.project, step.operation, home, args, now=True)
            )

        for step in upstream if missing else ():
            defaults = parse_config(step.operation, [])
            name = step.operation.opdef.name
            tasks.append(_task(name, step, defaults, home, fill_of(step), unnamed))
        fill = fill_of(last) if missing else None
        for number, config in enumerate(missing, start=1):
            name = last.operation.opdef.name
            name = f"{name} {number}" if choices.is_batch else name
            assert fill
            tasks.append(_task(name, last, config, home, fill, args))
        return work(tasks, args, context, again)


def _task(
    name: str,
    step: Step,
    config: Mapping[str, Any],
    home: str,
    fill: Callable[[Run], None],
    args: argparse.Namespace,
) -> Task:
    def make(runs: Mapping[str, Run]) -> Run:
        chosen = {dependency: runs[needed].id for dependency, needed in step.needs.items()}
        operation = with_runs(step.operation, chosen)
        return stage_filled(home, operation, config, fill, args)

    resources = said_resources(step.operation.opdef.data)
    return Task(name, resources, make=make, needs=tuple(step.needs.values()))
