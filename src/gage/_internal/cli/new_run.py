"""What `run` and `stage` share: a new run from the words of a command line, staged."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.lifecycle.create import create_run
from gage._internal.lifecycle.stage import stage_run
from gage._internal.project.operations import Operation, find_operation, parse_config
from gage._internal.project.projects import Project
from gage._internal.types import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which operation, with which config, and how the run is to be known."""
    parser.add_argument(
        "operation",
        nargs="?",
        metavar="OP|SCRIPT",
        help="an operation of the Gage file or a script; default: the default operation",
    )
    parser.add_argument("config", nargs="*", metavar="NAME=VALUE", help="a config value, or a run")
    parser.add_argument("--label", help="give the run a label")
    parser.add_argument(
        "--tag", dest="tags", action="append", default=[], metavar="TAG", help="add a tag"
    )
    parser.add_argument(
        "--strict", action="store_true", help="make it an error if something would break elsewhere"
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="link files that did not change since the last run instead of copying them",
    )


class Choice(NamedTuple):
    """What a command line chose to run."""

    project: Project
    operation: Operation
    config: Mapping[str, Any]


def choose(args: argparse.Namespace, context: Context) -> Choice:
    """Return the operation and the config that the words of a command line mean.

    Raises:
        GageError: there is no such operation, or its config is not right.
    """
    name, words = args.operation, list(args.config)
    project = context.project(name)
    is_named = name in project.operations or os.path.isfile(os.path.join(context.cwd, name or ""))
    if name is not None and "=" in name and not is_named:
        name, words = None, [name, *words]
    operation = find_operation(project, name, context.cwd)
    if "depends" in operation.opdef.data:
        operation, words = _with_chosen_runs(operation, words, project, context)
    return Choice(project, operation, parse_config(operation, words))


def _with_chosen_runs(
    operation: Operation, words: Sequence[str], project: Project, context: Context
) -> tuple[Operation, list[str]]:
    """Return the operation with the runs that words choose for dependencies, and other words."""
    from gage._internal.project.chosen_runs import names_of_runs, with_runs

    names = names_of_runs(operation)
    chosen = {}
    rest = []
    for word in words:
        name, equals, text = word.partition("=")
        if name in names and equals:
            run = context.find_run(text)
            # In the list that a number is of, the run that is made now is the first.
            is_here = os.path.dirname(run.run_dir) == context.home(project)
            chosen[name] = run.id if is_here else run.run_dir
        else:
            rest.append(word)
    return with_runs(operation, chosen), rest


def new_staged_run(args: argparse.Namespace, context: Context, durable: bool) -> Run:
    """Create a run and stage it.

    Raises:
        GageError: the operation or its config is not right, in which case no run is made; or
            the run could not be staged, in which case it is there as failed.
    """
    project, operation, config = choose(args, context)
    run = create_run(context.home(project), operation, config, args.label, args.tags)
    with printer.ProgressLine() as progress:
        stage_run(
            run,
            project.dir,
            durable=durable,
            strict=args.strict,
            share=args.share or project.share,
            notice=printer.print_note,
            progress=progress,
        )
    return run
