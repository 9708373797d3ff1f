"""`gage diff`: compare two runs."""

from __future__ import annotations

import argparse

from gage._internal.catalog.compare import (
    OUTPUT,
    PARTS,
    Comparison,
    compare_runs,
    comparison_as_json,
)
from gage._internal.catalog.compare_sides import Side, read_side
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.differences import print_part
from gage._internal.fs import printable

DESCRIPTION = (
    "Compare two runs, a and b: command, config, source code, runtime, dependencies and system that"
    " went into them, and their output. At the end it is told whether the results differ, and"
    " what else does. With options only these parts are compared."
)

_TOLD = {
    "command": "the command, its environment, and how the operation is defined",
    "config": "config",
    "source": "source code, as unified diffs",
    "runtime": "the interpreter and its packages",
    "dependencies": "dependencies: where they came from, and their digests",
    "system": "the system that the run was staged on, and what it needs",
    "output": "the results: summary, exit status, and generated files, text as unified diffs",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a run: id or its beginning, name, number in the list, or path of its directory",
        )
    for part, told in _TOLD.items():
        parser.add_argument(
            f"--{part}", dest="parts", action="append_const", const=part, help=f"compare {told}"
        )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    before, after = context.find_run(args.a), context.find_run(args.b)
    with_diffs = bool(args.parts) and OUTPUT in args.parts
    comparison = compare_runs(read_side(before), read_side(after), with_diffs)
    parts = [part for part in PARTS if not args.parts or part in args.parts]
    if context.json:
        printer.print_json(comparison_as_json(comparison, parts))
        return 0
    if not args.parts:
        _print_sides(comparison)
    for part in parts:
        print_part(part, comparison.parts[part])
    if not args.parts:
        printer.print_data(printable(comparison.conclusion))
    return 0


def _print_sides(comparison: Comparison) -> None:
    before, after = comparison.before, comparison.after
    for name, side, other, word in (("a", before, after, "b"), ("b", after, before, "a")):
        rerun = f"  rerun of {word}" if side.rerun == other.run.id else ""
        printer.print_data(f"{name}: {_side_text(side)}{rerun}")
        for lack in side.lacks:
            printer.print_data(f"  ({printable(lack)})")


def _side_text(side: Side) -> str:
    record = side.record
    words = (record.name, printable(record.opref.name), record.status, record.run.id)
    return "  ".join(filter(None, words))
