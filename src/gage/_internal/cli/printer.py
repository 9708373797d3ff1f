"""All that Gage prints: data to stdout, everything else to stderr.

Tables are drawn with rich, which is imported when one is. Colour appears on a terminal only,
and not where `NO_COLOR` is set.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Sequence
from typing import Any

from gage._internal.errors import GageError
from gage._internal.store.output import STDERR

_WIDE = 10_000


def print_data(text: str) -> None:
    """Print a line of data."""
    print(text)


def print_bytes(data: bytes) -> None:
    """Print data that is not ours to change."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print data as JSON."""
    print(json.dumps(value, indent=2))


def print_note(text: str) -> None:
    """Print a line that is no data."""
    print(f"gage: {text}", file=sys.stderr, flush=True)


def print_error(error: GageError, as_json: bool) -> None:
    """Print an error, as people read it or as one JSON object."""
    if as_json:
        fields = {"reference": error.reference, "message": error.message, "hint": error.hint}
        print(json.dumps({"error": fields}), file=sys.stderr)
        return
    first, newline, rest = error.message.partition("\n")
    print(f"gage: {first} [{error.reference}]{newline}{rest}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], shrink: str) -> None:
    """Print a table; on a terminal it is fitted to its width, the column `shrink` first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console(width=None if on_terminal else _WIDE, highlight=False, soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in columns:
        fixed = name != shrink
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis", min_width=4 if fixed else 6)
    for row in rows:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    if on_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())


_STYLES = {
    "completed": "green",
    "failed": "red",
    "lost": "red",
    "unknown": "red",
    "terminated": "yellow",
    "running": "blue",
    "staging": "blue",
}


def confirm(question: str) -> bool:
    """Ask a question on the terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Echo:
    """Passes a run's output on to stdout and stderr, byte for byte.

    Where one is closed, or its terminal is gone, the run goes on without being watched.
    """

    def __init__(self, stdout: int = 1, stderr: int = 2) -> None:
        self._fds = {"o": stdout, STDERR: stderr}
        self._closed: set[str] = set()

    def __call__(self, stream: str, data: bytes) -> None:
        """Write a piece of output to the stream it came from."""
        if stream in self._closed:
            return
        fd = self._fds[stream]
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                select.select([], [fd], [])
            except OSError:
                self._closed.add(stream)
                return
