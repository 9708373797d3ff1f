"""`gage stage`: stage an operation or script, to be started later."""

from __future__ import annotations

import argparse
import os

from gage._internal.cli import new_run, printer
from gage._internal.cli.context import Context
from gage._internal.errors import UnknownOperation, UsageError

DESCRIPTION = (
    "Stage an operation or script and print the id of the run. A staged run is independent of"
    " the project: edit on, move it, or start it months later. Where config has several values,"
    " lr=[0.1,0.01] seed=range(5), there is a run for each combination, and an id a line."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    new_run.add_arguments(parser)
    plans = parser.add_mutually_exclusive_group()
    plans.add_argument(
        "--explain",
        nargs="?",
        const="",
        metavar="PATH",
        help="stage nothing; say of each path, or of PATH and what is below, why it is in or out",
    )
    plans.add_argument(
        "--preview", action="store_true", help="stage nothing; say what would be staged"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    if args.explain is not None:
        _explain(args, context)
    elif args.preview:
        _preview(args, context)
    else:
        _stage(args, context)
    return 0


def _stage(args: argparse.Namespace, context: Context) -> None:
    staged, are_many = new_run.stage_chosen(args, context, durable=True)
    if context.json:
        found = [{"id": each.id, "run_dir": each.run_dir} for each in staged]
        printer.print_json(found if are_many else found[0])
        return
    for each in staged:
        printer.print_data(each.id)


def _explain(args: argparse.Namespace, context: Context) -> None:
    from gage._internal.cli import explanation
    from gage._internal.lifecycle.plan import difference, plan_run

    if args.operation is None and _is_operation(args.explain, context):
        args.operation, args.explain = args.explain, ""
    try:
        choice = new_run.choose(args, context)
    except (UnknownOperation, UsageError):
        # The word behind --explain may have been meant as the operation.
        if args.operation is not None or not args.explain:
            raise
        args.operation, args.explain = args.explain, ""
        choice = new_run.choose(args, context)
    project, operation, config = choice
    home = context.home(project)
    plan = plan_run(operation, config, project.dir, home)
    lines = explanation.explain(plan, project, context.cwd, args.explain)
    since = None if args.explain else difference(plan, home)
    if context.json:
        printer.print_json(explanation.as_json(lines, plan, since))
        return
    for text in explanation.as_text(lines, plan, since, is_whole=not args.explain):
        printer.print_data(text)


def _is_operation(word: str, context: Context) -> bool:
    """Tell whether the word behind --explain is an operation rather than a path."""
    is_path = os.path.lexists(os.path.join(context.cwd, word))
    return not is_path and word in context.project().operations


def _preview(args: argparse.Namespace, context: Context) -> None:
    from gage._internal.cli import preview
    from gage._internal.lifecycle.plan import plan_run

    project, operation, config = new_run.choose(args, context)
    plan = plan_run(operation, config, project.dir, context.home(project))
    if context.json:
        printer.print_json(preview.as_json(plan))
        return
    for text in preview.as_text(plan):
        printer.print_data(text)
    printer.print_bytes(b"".join(diff for _, diff in plan.patches.values()))
