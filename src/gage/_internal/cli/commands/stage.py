"""`gage stage`: stage an operation or script, to be started later."""

from __future__ import annotations

import argparse

from gage._internal.cli import new_run, printer
from gage._internal.cli.context import Context

DESCRIPTION = (
    "Stage an operation or script and print the id of the run. A staged run is independent of"
    " the project: edit on, move it, or start it months later."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    new_run.add_arguments(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    staged = new_run.new_staged_run(args, context, durable=True)
    if context.json:
        printer.print_json({"id": staged.id, "run_dir": staged.run_dir})
    else:
        printer.print_data(staged.id)
    return 0
