"""Groups on the command line: an option that stands for all runs of one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gage._internal.catalog.find import find_group
from gage._internal.cli.context import Context
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.types import Run

_LONGEST = 100


def add_group_argument(parser: argparse._ActionsContainer, does: str) -> None:
    """Add the option that names a group; `does` says what is done to its runs."""
    parser.add_argument("--group", type=group_name, metavar="GROUP", help=does)


def group_name(text: str) -> str:
    """Return a text that can be the name of a group."""
    if not text.strip() or printable(text) != text or len(text) > _LONGEST:
        raise argparse.ArgumentTypeError(f"{printable(text)!r} cannot be the name of a group")
    return text


def find_named(words: Sequence[str], group: str | None, context: Context) -> list[Run]:
    """Return the runs that words name, and those of a group, each once.

    Raises:
        UsageError: there is neither word nor group.
        RunNotFound, RunAmbiguous: a word means no run, or several; or there is no such group.
    """
    if not words and group is None:
        raise UsageError("which runs?", "name them as gage list does, or --group GROUP")
    found = [context.find_run(text) for text in words]
    if group is not None:
        found += find_group(context.home(), group)
    return list(dict.fromkeys(found))
