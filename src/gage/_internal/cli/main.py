"""The `gage` command: find the command that is meant, run it, turn errors into exit statuses.

A command is imported when it is used. Exit status: a run's own for `run`, `start` and `rerun`, and
125 where Gage itself could not do it; 0 or 1 for the other commands; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import gage
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import GageError, UsageError
from gage._internal.fs import printable

COMMANDS = {
    "init": "write a commented Gage file for the scripts that are here",
    "operations": "list what can be run here, with its config",
    "run": "stage an operation or script, then start it",
    "stage": "stage an operation or script, to be started later",
    "start": "start staged runs",
    "rerun": "run a run again, and compare what comes of it",
    "stop": "stop running runs with all their processes",
    "jobs": "list the runs that engines were given, and what became of them",
    "list": "list runs",
    "show": "show all that is known of a run",
    "cat": "print a file of a run",
    "logs": "print what a run printed",
    "open": "open the directory of a run",
    "diff": "compare two runs: what went into them, and what came out",
    "label": "give a run a label, or take it away",
    "tag": "add tags to runs, or take them away",
    "comment": "comment on a run",
    "delete": "move runs to the trash",
    "restore": "bring runs back from the trash",
    "purge": "remove deleted runs for good",
    "verify": "compare runs with what was recorded of them, to the last byte",
    "pack": "pack runs into one file that starts anywhere",
    "unpack": "put the runs of such a file into the runs home",
    "push": "bring runs to a remote",
    "pull": "bring runs from a remote",
    "check": "check a run, or this installation and project",
    "cache": "list, verify or clear what was downloaded",
    "completion": "print the completion script of a shell",
}
_RUNNING = ("run", "start", "rerun")
_CANNOT = 125
_VALUED_OPTIONS = ("-C", "--runs")


class SystemFault(GageError):
    """The system refused something: a full disk, a missing permission."""

    reference = "system-error"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are errors of Gage, and whose help is drawn when it is asked for."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_unfitted, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()
        super().exit(status, message)

    def format_help(self) -> str:
        if sys.stdout.isatty():
            self.formatter_class = _fitted
        else:
            self.formatter_class = argparse.HelpFormatter
        return super().format_help()


def _fitted(prog: str) -> argparse.HelpFormatter:
    """Return what draws help on a terminal, also on one that does not know its width."""
    import shutil

    from rich_argparse import RichHelpFormatter

    return RichHelpFormatter(prog, width=(shutil.get_terminal_size().columns or 80) - 2)


def _unfitted(prog: str) -> argparse.HelpFormatter:
    """Return what argparse checks arguments with: to find the terminal's width takes imports."""
    return argparse.HelpFormatter(prog, width=80)


class _CommandParser(_Parser):
    """The parser of one command: its options may stand anywhere among its other arguments."""

    _is_intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        if rest and not self._is_intermixed:
            self._is_intermixed = True
            found, rest = self.parse_known_intermixed_args(args)
            if rest:
                from gage._internal.cli.unknown_words import options_of, unknown_arguments

                raise unknown_arguments(self.prog, rest, options_of(self), _all_parsers)
        return found, rest


def main(argv: Sequence[str]) -> int:
    """Run the command line with its arguments; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end a command.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    name = _find_command(argv)
    as_json = "--json" in argv
    try:
        if name is not None and name not in COMMANDS:
            from gage._internal.cli.unknown_words import unknown_command

            raise unknown_command(name, list(COMMANDS))
        args = build_parser([name] if name else list(COMMANDS)).parse_args(argv)
        if args.command is None:
            raise UsageError("which command?", "gage --help")
        as_json = bool(args.json)
        module = _import(args.command)
        code = int(module.run(args, Context(args.directory, args.runs, as_json)))
        sys.stdout.flush()
        return code
    except GageError as error:
        printer.print_error(error, as_json)
        return _CANNOT if name in _RUNNING and error.exit_code == 1 else error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone: there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _CANNOT if name in _RUNNING else 1
    except OSError as error:
        if "GAGE_DEBUG" in os.environ:
            raise
        printer.print_error(_system_fault(error), as_json)
        return _CANNOT if name in _RUNNING else 1
    except KeyboardInterrupt:
        printer.print_note("interrupted")
        return 130


def _system_fault(error: OSError) -> SystemFault:
    reason = error.strerror or str(error)
    named = isinstance(error.filename, str)
    return SystemFault(f"{printable(error.filename)}: {reason}" if named else reason)


def _find_command(argv: Sequence[str]) -> str | None:
    """Return the first word that is neither an option nor the value of one."""
    words = iter(argv)
    for word in words:
        if word in _VALUED_OPTIONS:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def build_parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the command line that knows commands of these names."""
    parser = _Parser(
        prog="gage",
        description="Stage and run experiments.",
        epilog="gage COMMAND --help tells more of a command.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"gage {gage.__version__}")
    _add_global_options(parser, top=True)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_CommandParser
    )
    for name in names:
        module = _import(name)
        command = commands.add_parser(name, help=COMMANDS[name], description=module.DESCRIPTION)
        module.add_arguments(command)
        _add_global_options(command, top=False)
    return parser


def _all_parsers() -> Mapping[str, argparse.ArgumentParser]:
    """Return the parsers of all commands."""
    found = {}
    for name in COMMANDS:
        found[name] = argparse.ArgumentParser(prog=f"gage {name}")
        _import(name).add_arguments(found[name])
    return found


def _add_global_options(parser: argparse.ArgumentParser, top: bool) -> None:
    group = parser.add_argument_group("global options")
    default: Any = None if top else argparse.SUPPRESS
    group.add_argument(
        "-C", dest="directory", metavar="DIR", default=default, help="the project; default: here"
    )
    group.add_argument(
        "--runs", metavar="DIR", default=default, help="where runs are kept (GAGE_RUNS)"
    )
    group.add_argument(
        "--json", action="store_true", default=default, help="print data and errors as JSON"
    )


def _import(name: str) -> Any:
    return importlib.import_module(f"gage._internal.cli.commands.{name}")
