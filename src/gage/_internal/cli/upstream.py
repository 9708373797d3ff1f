"""An operation run after those whose files it needs, each of which is run anew."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.many import work
from gage._internal.cli.new_batch import stage_unless_same
from gage._internal.cli.new_run import Choices, choose_all, stage_one
from gage._internal.errors import UsageError
from gage._internal.lifecycle.budget import said_resources
from gage._internal.lifecycle.queue import Task
from gage._internal.project.chosen_runs import with_runs
from gage._internal.project.operations import parse_config
from gage._internal.project.projects import Project
from gage._internal.project.upstream import Step, upstream_steps
from gage._internal.store.names import group_name
from gage._internal.types import Run


def run_with_upstream(args: argparse.Namespace, context: Context) -> int:
    """Run an operation after what it needs; return the exit status.

    Each run is staged when those are completed whose files it takes; where only what is needed is
    asked for, one that has completed with the same stands for it.

    Raises:
        DependencyError: operations need each other; nothing is run.
        UsageError: runs are to be started elsewhere, or are those of another run.
    """
    if args.on or args.proto:
        raise UsageError("--with-upstream does not go with --on or --proto")
    choices = choose_all(args, context)
    *upstream, last = upstream_steps(choices.project, choices.operation)
    if choices.is_batch:
        args.group = args.group or group_name()
        printer.print_note(f"the runs are of group {args.group}")
    tasks = []
    # What says how runs are to be known is for those that are asked for.
    unnamed = argparse.Namespace(**{**vars(args), "label": None, "tags": [], "group": None})
    for step in upstream:
        defaults = parse_config(step.operation, [])
        name = step.operation.opdef.name
        tasks.append(_task(name, step, choices.project, defaults, unnamed, context))
    for number, config in enumerate(choices.configs, start=1):
        name = last.operation.opdef.name
        name = f"{name} {number}" if choices.is_batch else name
        tasks.append(_task(name, last, choices.project, config, args, context))
    args.jobs = args.jobs or 1
    return work(tasks, args, context)


def _task(
    name: str,
    step: Step,
    project: Project,
    config: Mapping[str, Any],
    args: argparse.Namespace,
    context: Context,
) -> Task:
    def make(runs: Mapping[str, Run]) -> Run:
        chosen = {dependency: runs[needed].id for dependency, needed in step.needs.items()}
        operation = with_runs(step.operation, chosen)
        choices = Choices(project, operation, [config], is_batch=False)
        if args.needed:
            return stage_unless_same(choices, args, context)
        return stage_one(choices, args, context, durable=False)

    resources = said_resources(step.operation.opdef.data)
    return Task(name, resources, make=make, needs=tuple(step.needs.values()))
