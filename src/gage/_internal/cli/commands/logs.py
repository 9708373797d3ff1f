"""`gage logs`: print what a run printed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from gage._internal import fs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.store import layout, output, status
from gage._internal.store.attributes import find_where
from gage._internal.store.command_lines import RUN
from gage._internal.store.following import iter_output
from gage._internal.store.jobs import find_open_job
from gage._internal.store.output import Piece

DESCRIPTION = (
    "Print what a run printed, byte for byte: its standard output to stdout, its standard error"
    " to stderr. With --json a line for each piece: time in microseconds since the epoch, stream"
    " and text."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", nargs="?", default="1", metavar="RUN", help="a run; default: newest")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    parser.add_argument(
        "--phase",
        default=RUN,
        help="what this phase printed: sourcecode, runtime, dependencies, run or finalize",
    )
    streams = parser.add_mutually_exclusive_group()
    streams.add_argument("--stdout", action="store_true", help="standard output only")
    streams.add_argument("--stderr", action="store_true", help="standard error only")
    streams.add_argument(
        "--runner", action="store_true", help="what was done to the run, from the runner log"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = context.find_run(args.run)
    if args.runner:
        data = fs.read_bytes(layout.meta_path(found, layout.RUNNER_LOG))
        if context.json:
            for line in data.decode("utf-8", "surrogateescape").splitlines():
                time_text, _, text = line.partition(" ")
                printer.print_json_line({"time": time_text, "text": text})
        else:
            printer.print_bytes(data)
        return 0
    if os.sep in args.phase or (args.phase != RUN and args.phase not in output.phases(found)):
        known = ", ".join(sorted(output.phases(found))) or "none"
        raise UsageError(f"no phase {args.phase} of the run printed anything", f"known: {known}")
    wanted = output.STDERR if args.stderr else output.STDOUT if args.stdout else None
    show = _print_as_json if context.json else _as_is()

    def show_wanted(piece: Piece) -> None:
        if wanted in (None, piece.stream):
            show(piece)

    if args.phase == RUN and find_where(found):
        from gage._internal.cli.there import print_there

        print_there(found, args.follow, show_wanted, context)
        return 0
    if args.phase == RUN and find_open_job(found):
        from gage._internal.cli.submitting import await_output

        await_output(found, args.follow)
    if args.follow and status.run_status(found) == status.STAGED:
        printer.print_note("the run is staged: waiting for its start")
    for piece in iter_output(found, args.phase, follow=args.follow):
        show_wanted(piece)
    return 0


def _print_as_json(piece: Piece) -> None:
    stream = "stderr" if piece.stream == output.STDERR else "stdout"
    text = piece.data.decode("utf-8", "surrogateescape")
    printer.print_json_line({"time": piece.time, "stream": stream, "text": text})


def _as_is() -> Callable[[Piece], None]:
    echo = printer.Echo()
    return lambda piece: echo(piece.stream, piece.data)
