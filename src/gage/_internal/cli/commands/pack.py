"""`gage pack`: one file that holds runs and a program that starts them anywhere."""

from __future__ import annotations

import argparse
import os

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument, find_named
from gage._internal.cli.values import counted_bytes
from gage._internal.errors import UsageError
from gage._internal.fs import file_name_for, printable
from gage._internal.portable.pack import pack_runs
from gage._internal.store.logs import counted
from gage._internal.store.names import run_name

DESCRIPTION = (
    "Pack staged or ended runs into a capsule: one file that needs nothing but Python 3.9 to list,"
    " verify, check, unpack and start what is in it, with python3 FILE. All files are compared with"
    " the manifest on the way."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_pack", nargs="*", metavar="RUN", help="a run")
    add_group_argument(parser, "pack all runs of a group")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the file to write; default: NAME.capsule.zip"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = find_named(args.runs_to_pack, args.group, context)
    name = run_name(found[0].id) if args.group is None else file_name_for(args.group)
    output = args.output or f"{name}.capsule.zip"
    path = os.path.join(context.cwd, output)
    if os.path.lexists(path):
        raise UsageError(f"{printable(output)} is there already", "name another: -o FILE")
    with printer.ProgressLine() as line:
        packed = pack_runs(found, path, lambda done, total: line(f"pack {output}", done, total))
    if context.json:
        printer.print_json({"path": path, "runs": [each.id for each in found], **packed._asdict()})
    else:
        printer.print_data(output)
        printer.print_note(
            f"packed {counted(len(found), 'run')}, {counted(packed.files, 'file')},"
            f" {counted_bytes(packed.bytes)} into {counted_bytes(packed.size)}"
        )
    return 0
