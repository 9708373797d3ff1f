"""All that Gage prints: data to stdout, everything else to stderr.

Tables are drawn with rich, which is imported when one is. Colour appears on a terminal only,
and not where `NO_COLOR` is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gage._internal.errors import GageError, IncompatibleSystem

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


def print_diff(data: bytes) -> None:
    """Print a unified diff: as it is, but in colours and with escapes on a terminal."""
    if not sys.stdout.isatty():
        print_bytes(data)
        return
    from rich.console import Console
    from rich.text import Text

    from gage._internal.fs import printable

    console = Console(highlight=False, soft_wrap=True)
    for line in data.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n"):
        text = "\t".join(map(printable, line.split("\t")))
        console.print(Text(text, _DIFF_STYLES.get(line[:1], "")))


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

        fields: dict[str, Any] = {
            "reference": error.reference,
            "message": error.message,
            "hint": error.hint,
        }
        if isinstance(error, IncompatibleSystem):
            fields["unmet"] = error.unmet
        _print_to_stderr(json.dumps({"error": fields}))
        return
    first, newline, rest = error.message.partition("\n")
    _print_to_stderr(f"gage: {first} [{error.reference}]{newline}{rest}")
    if error.hint:
        _print_to_stderr(f"hint: {error.hint}")


def print_no_notes() -> None:
    """Let nothing that is no data be printed any more by this process."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


@contextmanager
def printing_above(draw: Callable[[str], None]) -> Iterator[None]:
    """Let what is no data be printed, within a context, by what draws on the terminal."""
    _drawing.append(draw)
    try:
        yield
    finally:
        _drawing.pop()


_drawing: list[Callable[[str], None]] = []


def _print_to_stderr(text: str) -> None:
    ProgressLine.clear()
    with going_on():
        if _drawing:
            _drawing[-1](text)
        else:
            print(text, file=sys.stderr, flush=True)


@contextmanager
def going_on() -> Iterator[None]:
    """Go on where stderr does not take what is printed: what cannot be told ends nothing.

    Whoever read it has gone, its terminal is closed, or its disk is full.
    """
    try:
        yield
    except BlockingIOError:
        # It is kept, and printed with what comes next.
        pass
    except OSError:
        print_no_notes()


class ProgressLine:
    """The last line of a terminal, which tells of what takes longer than a second.

    It is there within a context, and goes before anything else is printed to stderr.
    """

    _is_shown = False
    _AFTER = 1.0
    _EVERY = 0.1

    def __init__(self) -> None:
        self._is_on = sys.stderr.isatty()
        self._what = ""
        self._from = 0
        self._begun = 0.0
        self._told = 0.0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *args: object) -> None:
        self.clear()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Tell how many bytes of what are there, and of how many, if that is known."""
        if not self._is_on:
            return
        import time

        now = time.monotonic()
        if what != self._what or done < self._from:
            self._what, self._from, self._begun = what, done, now
        if done == total:
            self.clear()
        elif now - self._begun >= self._AFTER and now - self._told >= self._EVERY:
            self._told = now
            self._show(progress_text(what, done, total, (done - self._from) / (now - self._begun)))

    def _show(self, text: str) -> None:
        with going_on():
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            if len(text) >= width:
                text = "…" + text[-(width - 2) :]
            ProgressLine._is_shown = True
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    @classmethod
    def clear(cls) -> None:
        """Take the line away, if it is there."""
        if cls._is_shown:
            cls._is_shown = False
            with going_on():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_text(what: str, done: int, total: int | None, rate: float) -> str:
    """Return how far something is: `https://host/a  3.1 MB of 12.0 MB  1.2 MB/s  7s left`."""
    from gage._internal.cli.times import duration_text
    from gage._internal.cli.values import counted_bytes
    from gage._internal.fs import printable

    parts = [printable(what), counted_bytes(done), f"{counted_bytes(int(rate))}/s"]
    if total is not None:
        parts[1] += f" of {counted_bytes(total)}"
    if total is not None and rate >= 1:
        parts.append(f"{duration_text(int((total - done) / rate * 1e6))} left")
    return "  ".join(parts)


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


_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_STYLES = {
    "completed": "green",
    "failed": "red",
    "lost": "red",
    "unknown": "red",
    "terminated": "yellow",
    "running": "blue",
    "staging": "blue",
}


def is_watched() -> bool:
    """Tell whether somebody sees on a terminal what is no data."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


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
