"""`gage cat`: print a file of a run."""

from __future__ import annotations

import argparse
import os

from gage._internal import fs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.store import layout

DESCRIPTION = "Print a file of a run, byte for byte."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", metavar="RUN", help="a run")
    parser.add_argument("path", metavar="FILE", help="a path in its run directory")
    parser.add_argument("--meta", action="store_true", help="a path in its meta directory instead")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    found = context.find_run(args.run)
    root = layout.run_meta_dir(found) if args.meta else found.run_dir
    path = os.path.realpath(os.path.join(root, args.path))
    if os.path.commonpath([os.path.realpath(root), path]) != os.path.realpath(root):
        raise UsageError(f"{printable(args.path)} is not in the run")
    if os.path.isdir(path):
        raise UsageError(
            f"{printable(args.path)} is a directory", f"gage show --files {found.id[:8]}"
        )
    data = fs.read_bytes(path)
    if context.json:
        printer.print_json({"path": args.path, "bytes": len(data), **_content(data)})
    else:
        printer.print_bytes(data)
    return 0


def _content(data: bytes) -> dict[str, str]:
    import base64

    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}
