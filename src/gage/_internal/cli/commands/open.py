"""`gage open`: open the directory of a run."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.store import layout

DESCRIPTION = "Open the run directory of a run in the file manager, or with a command."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", nargs="?", default="1", metavar="RUN", help="a run; default: newest")
    parser.add_argument("--meta", action="store_true", help="its meta directory instead")
    parser.add_argument(
        "-p", "--path", action="store_true", help="only print the path, as for cd $(gage open -p)"
    )
    parser.add_argument(
        "-w",
        "--with",
        dest="program",
        default=os.environ.get("GAGE_OPEN"),
        metavar="COMMAND",
        help="open it with a command, such as an editor (GAGE_OPEN)",
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = context.find_run(args.run)
    path = layout.run_meta_dir(found) if args.meta else found.run_dir
    if context.json:
        printer.print_json({"path": path})
        return 0
    if args.path:
        printer.print_bytes(os.fsencode(path) + b"\n")
        return 0
    default = "open" if sys.platform == "darwin" else "xdg-open"
    command = _words(args.program or "") or [default]
    if shutil.which(command[0]) is None:
        raise UsageError(
            f"{printable(command[0])}: command not found; the run is at {printable(path)}",
            "name one with --with",
        )
    return subprocess.run([*command, path], check=False).returncode and 1


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--with {printable(command)}: {error}") from None
