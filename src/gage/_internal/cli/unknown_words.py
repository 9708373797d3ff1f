"""Words of a command line that its command does not know: what they were meant to be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from gage._internal.errors import UsageError
from gage._internal.fs import printable

# As alike as two names are of which one is probably the other, misspelt.
_ALIKE = 0.75
_MOST_NAMED = 3


def unknown_command(name: str, commands: Sequence[str]) -> UsageError:
    """Return what is told of a command that there is not."""
    near = get_close_matches(name, commands, 1)
    hint = f"did you mean {near[0]}?" if near else "gage --help lists them"
    return UsageError(f"there is no command {printable(name)}", hint)


def unknown_arguments(
    prog: str,
    rest: Sequence[str],
    options: Sequence[str],
    others: Callable[[], Mapping[str, argparse.ArgumentParser]],
) -> UsageError:
    """Return what is told of what is left of a command line.

    `prog` is the command, `options` are those that it has, and `others` returns all commands.
    """
    named = next((word for word in rest if word.startswith("--")), None)
    if named is None:
        words = " ".join(map(printable, rest))
        return UsageError(f"{prog} does not take {words}", f"{prog} --help")
    option, _, value = named.partition("=")
    near = get_close_matches(option, options, 1, _ALIKE)
    if near:
        hint = f"did you mean {near[0]}?"
    else:
        elsewhere = [f"gage {name}" for name, each in others().items() if has(each, option)]
        value = value or next(iter(rest[rest.index(named) + 1 :]), "")
        hint = _elsewhere_hint(elsewhere) or _config_hint(option, value) or f"{prog} --help"
    return UsageError(f"{prog} has no option {printable(option)}", hint)


def has(parser: argparse.ArgumentParser, option: str) -> bool:
    """Tell whether a parser has an option."""
    return option in options_of(parser)


def options_of(parser: argparse.ArgumentParser) -> Sequence[str]:
    """Return the long options of a parser."""
    return [word for word in parser._option_string_actions if word.startswith("--")]


def _elsewhere_hint(commands: Sequence[str]) -> str | None:
    if not commands:
        return None
    return f"it is an option of {', '.join(commands[:_MOST_NAMED])}"


def _config_hint(option: str, value: str) -> str | None:
    """Return what to write for an option that is meant as config: `lr=0.1` for `--lr 0.1`."""
    if not re.fullmatch(r"--[\w-]+", option) or not re.fullmatch(r"[^\s-]\S*", value):
        return None
    return f"config is written without dashes: {option[2:].replace('-', '_')}={value}"
