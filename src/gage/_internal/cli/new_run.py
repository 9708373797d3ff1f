"""What `run` and `stage` share: new runs from the words of a command line, staged."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument
from gage._internal.errors import UsageError
from gage._internal.lifecycle.create import create_run
from gage._internal.lifecycle.stage import stage_run
from gage._internal.project.operations import Operation, find_operation, parse_config
from gage._internal.project.projects import Project
from gage._internal.store.logs import counted
from gage._internal.types import NOTHING, Run


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
    _add_batch_arguments(parser)


def _add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch",
        dest="batches",
        action="append",
        default=[],
        metavar="FILE",
        help="a run for each row of a CSV, JSON, YAML or TOML file; several multiply",
    )
    parser.add_argument(
        "--trials",
        type=_count,
        metavar="N",
        help="draw N times what is given as uniform(A, B), loguniform(A, B), randint(A, B) or"
        " choice(A, B)",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="draw the same as another time")
    parser.add_argument(
        "--max-runs", type=_count, metavar="N", help="of a batch stage the first N runs only"
    )
    parser.add_argument(
        "--proto",
        metavar="RUN",
        help="take the source, and the config that is not given, of a run instead of a project's",
    )
    add_group_argument(parser, "call the runs of a batch so, or go on with a batch of that name")
    parser.add_argument(
        "--needed",
        action="store_true",
        help="stage only what no completed run did with the same source, config, runtime,"
        " dependencies and command",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)


class Choice(NamedTuple):
    """What a command line chose to run."""

    project: Project
    operation: Operation
    config: Mapping[str, Any]


class Choices(NamedTuple):
    """What a command line chose to run, once or, where it `is_batch`, once for each config."""

    project: Project
    operation: Operation
    configs: Sequence[Mapping[str, Any]]
    is_batch: bool


def choose(args: argparse.Namespace, context: Context) -> Choice:
    """Return the operation and the config that the words of a command line mean.

    Of a batch it is the first config.

    Raises:
        GageError: there is no such operation, or its config is not right.
    """
    if args.proto is not None:
        raise UsageError("--proto stages what a run was staged with", "gage show --files RUN")
    project, operation, configs, is_batch = choose_all(args, context)
    if is_batch:
        printer.print_note(f"this is the first of {counted(len(configs), 'run')}")
    return Choice(project, operation, configs[0])


def choose_all(args: argparse.Namespace, context: Context) -> Choices:
    """Return the operation and the configs that the words and files of a command line mean.

    Raises:
        GageError: there is no such operation, or its config is not right.
    """
    project, operation, words = find_chosen(args, context)
    # To see that there is no batch takes no import.
    if any(word.endswith(("]", ")")) for word in words) or _asks_for_batch(args):
        configs, is_batch = read_configs(operation, words, args, context)
        return Choices(project, operation, configs, is_batch)
    return Choices(project, operation, [parse_config(operation, words)], is_batch=False)


def find_chosen(args: argparse.Namespace, context: Context) -> tuple[Project, Operation, list[str]]:
    """Return the project, the operation, and the words that are its config.

    Raises:
        GageError: there is no such operation.
    """
    name, words = args.operation, list(args.config)
    project = context.project(name)
    is_named = name in project.operations or os.path.isfile(os.path.join(context.cwd, name or ""))
    if name is not None and "=" in name and not is_named:
        name, words = None, [name, *words]
    operation = find_operation(project, name, context.cwd)
    if "depends" in operation.opdef.data:
        operation, words = _with_chosen_runs(operation, words, project, context)
    return project, operation, words


def _asks_for_batch(args: argparse.Namespace) -> bool:
    return bool(args.batches) or (args.trials, args.seed) != (None, None)


def read_configs(
    operation: Operation,
    words: Sequence[str],
    args: argparse.Namespace,
    context: Context,
    base: Mapping[str, Any] = NOTHING,
) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Return the configs that words and files mean, and whether they are a batch.

    What is not given is as in `base`.
    """
    from gage._internal.project.batches import choose_configs, parse_batch

    batch = parse_batch(operation, words, args.batches, context.cwd, args.trials is not None)
    batch = batch._replace(fixed={**base, **batch.fixed})
    is_batch = not batch.is_one or _asks_for_batch(args)
    chosen = choose_configs(operation, batch, args.trials, args.seed, args.max_runs)
    if args.seed is None and chosen.seed is not None:
        args.seed = chosen.seed
        printer.print_note(f"drawn at random; --seed {chosen.seed} draws the same again")
    if chosen.same:
        runs = counted(chosen.same, "run")
        printer.print_note(f"{runs} would be the same as others, and would tell nothing new")
    left_out = chosen.total - chosen.same - len(chosen.configs)
    if left_out:
        printer.print_note(f"--max-runs leaves out {left_out} of {chosen.total} runs")
    return chosen.configs, is_batch


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


def new_staged_runs(args: argparse.Namespace, context: Context, durable: bool) -> list[Run]:
    """Create the runs that a command line means and stage them; return those to be started.

    Of a batch all are durable; and those that its group has already are not staged again.

    Raises:
        GageError: the operation or its config is not right, in which case no run is made; or
            a run could not be staged, in which case it is there as failed.
    """
    return stage_chosen(args, context, durable)[0]


def stage_chosen(
    args: argparse.Namespace, context: Context, durable: bool
) -> tuple[list[Run], bool]:
    """Do what `new_staged_runs` does; tell besides whether there may be more or less than one."""
    if args.proto is not None:
        from gage._internal.cli.new_batch import new_staged_of_proto

        return new_staged_of_proto(args, context)
    choices = choose_all(args, context)
    if choices.is_batch or args.needed:
        from gage._internal.cli.new_batch import new_staged_batch

        return new_staged_batch(choices, args, context), True
    return [stage_one(choices, args, context, durable)], False


def stage_one(choices: Choices, args: argparse.Namespace, context: Context, durable: bool) -> Run:
    """Create the one run that was chosen, and stage it; see `new_staged_runs`."""
    project, operation, (config,), _ = choices
    home = context.home(project)
    run = create_run(home, operation, config, args.label, args.tags, args.group)
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
