"""Runs that execute, on a terminal: a line for each, redrawn; what has ended scrolls away above."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Any, cast

from rich.console import Console, Group
from rich.live import Live as Drawn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gage._internal.cli import printer
from gage._internal.cli.many import (
    called,
    tell_awaiting,
    tell_dropped,
    tell_end,
    tell_stopping,
    what_of,
)
from gage._internal.cli.progress import Said, read_said
from gage._internal.cli.times import duration_text
from gage._internal.fs import printable
from gage._internal.lifecycle.tasks import Counts, End, Running, Task
from gage._internal.store import layout
from gage._internal.store.command_lines import RUN
from gage._internal.types import Run

_INTERVAL = 0.2
_TAIL = 4096
_BAR = 12
_WHAT = 28
_NO_PROGRESS = Said("", None)
_NOTHING = Counts(0, 0, 0, 0)


class _Stderr:
    """Stderr, as what draws on it sees it: never does it refuse what is written."""

    def write(self, text: str) -> int:
        """Write a text, if it is taken."""
        with printer.going_on():
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Have what was written printed, if it is taken."""
        with printer.going_on():
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


class Live:
    """Tells of a queue, within a context, on the terminal that stderr is."""

    interval: float | None = _INTERVAL

    def __init__(self) -> None:
        self._console = Console(file=cast(IO[str], _Stderr()), highlight=False)
        self._drawn = Drawn(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._drawing = ExitStack()
        self._since = time.monotonic()
        self._drawn_at = 0.0

    def __enter__(self) -> Live:
        self._drawing.enter_context(self._drawn)
        self._drawing.enter_context(printer.printing_above(self._print))
        return self

    def __exit__(self, *exc: object) -> None:
        self._drawing.close()

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def began(self, running: Running) -> None:
        """Do nothing: what is there is drawn."""

    def ended(self, end: End, again: bool) -> None:
        """Tell how a run ended."""
        tell_end(end, again, as_json=False, is_quiet=False)

    def dropped(self, task: Task, reason: str) -> None:
        """Tell what is not started."""
        tell_dropped(task, reason)

    def stopping(self, running: Sequence[Running]) -> None:
        """Tell what is waited for."""
        tell_stopping(running)

    def awaiting(self, gpus: int) -> None:
        """Tell what is waited for."""
        tell_awaiting(gpus)

    def refresh(self, running: Sequence[Running], counts: Counts) -> None:
        """Draw what executes, if it was not drawn just now."""
        now = time.monotonic()
        if now - self._drawn_at >= _INTERVAL / 2:
            self._drawn_at = now
            elapsed = now - self._since
            view = draw(running, counts, now, elapsed, self._console.height)
            self._drawn.update(view, refresh=True)


def draw(
    running: Sequence[Running], counts: Counts, now: float, elapsed: float, height: int
) -> Group:
    """Return the view: at most as many lines as the terminal has, the last one with counts."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=_WHAT)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, width=_BAR)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    most = max(1, height - 3)
    shown = running if len(running) <= most else running[: most - 1]
    for each in shown:
        said = _read_said(each.run)
        table.add_row(
            Text(called(each.task, each.run), "blue"),
            _what(each.run),
            duration_text(int((now - each.since) * 1e6)),
            *_progress_cells(said),
            Text(printable(said.line), "dim"),
        )
    if len(shown) < len(running):
        table.add_row(Text(f"and {len(running) - len(shown)} more", "dim"))
    return Group(table, _counts_line(counts, elapsed))


@functools.cache
def _what(run: Run | None) -> str:
    return "" if run is None else what_of(run)


def _progress_cells(said: Said) -> tuple[ProgressBar | str, str]:
    if said.progress is None:
        return "", ""
    bar = ProgressBar(100, said.progress.percent, width=_BAR)
    left = f" {said.progress.left} left" if said.progress.left else ""
    return bar, f"{said.progress.percent}%{left}"


def _counts_line(counts: Counts, elapsed: float) -> Text:
    parts = [
        (f"{counts.done} done", "green" if counts.done else "dim"),
        (f"{counts.failed} failed", "red" if counts.failed else "dim"),
        (f"{counts.running} running", "blue" if counts.running else "dim"),
        (f"{counts.waiting} waiting", ""),
        (duration_text(int(elapsed * 1e6)), "dim"),
    ]
    return Text("  ").join(Text(text, style) for text, style in parts)


def _read_said(run: Run | None) -> Said:
    """Return what a run has printed last; nothing where it has not printed yet."""
    if run is None:
        return _NO_PROGRESS
    try:
        with open(layout.output_path(run, RUN), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL))
            return read_said(file.read())
    except OSError:
        return _NO_PROGRESS
