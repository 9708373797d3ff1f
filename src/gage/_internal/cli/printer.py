"""All that Gage prints: data to stdout, everything else to stderr.

Tables are drawn with rich, which is imported when one is. Colour appears on a terminal only,
and not where `NO_COLOR` is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from gage._internal.errors import GageError

_WIDE = 10_000
_GAP = 2
_NARROWEST = 6


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
    import json

    print(json.dumps(value, indent=2))


def print_json_line(value: Any) -> None:
    """Print one of many values, each as JSON on a line of its own, as it comes."""
    import json

    print(json.dumps(value), flush=True)


def print_note(text: str) -> None:
    """Print a line that is no data."""
    _print_to_stderr(f"gage: {text}")


def print_error(error: GageError, as_json: bool) -> None:
    """Print an error, as people read it or as one JSON object."""
    if as_json:
        import json

        fields = {"reference": error.reference, "message": error.message, "hint": error.hint}
        _print_to_stderr(json.dumps({"error": fields}))
        return
    first, newline, rest = error.message.partition("\n")
    _print_to_stderr(f"gage: {first} [{error.reference}]{newline}{rest}")
    if error.hint:
        _print_to_stderr(f"hint: {error.hint}")


def _print_to_stderr(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        # Whoever read it has gone; what the command does is not to end for that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], shrink: Sequence[str]
) -> None:
    """Print a table; on a terminal it is fitted to its width, first the columns `shrink`."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console(width=None if on_terminal else _WIDE, highlight=False, soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, _GAP, 0, 0))
    widths = {
        name: max(map(cell_len, cells))
        for name, *cells in zip(columns, columns, *rows, strict=True)
    }
    excess = sum(widths.values()) + _GAP * (len(columns) - 1) - console.width
    for name in shrink:
        less = max(0, min(excess, widths[name] - _NARROWEST))
        widths[name] -= less
        excess -= less
    for name in columns:
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis", max_width=widths[name])
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
        from gage._internal.store.output import STDERR, STDOUT

        self._fds = {STDOUT: stdout, STDERR: stderr}
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
                import select

                select.select([], [fd], [])
            except OSError:
                self._closed.add(stream)
                return
