"""`gage completion`: print the completion script of a shell."""

from __future__ import annotations

import argparse

from gage._internal.cli import printer
from gage._internal.cli.context import Context

DESCRIPTION = (
    "Print a script that completes commands and options of gage: for bash,"
    " `gage completion bash > ~/.local/share/bash-completion/completions/gage`."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    import shtab

    from gage._internal.cli.main import COMMANDS, build_parser

    printer.print_data(shtab.complete(build_parser(list(COMMANDS)), shell=args.shell))
    return 0
