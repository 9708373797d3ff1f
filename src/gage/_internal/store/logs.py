"""The logs of a run: what the runner did, and every change to the run directory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from gage._internal import clock, fs
from gage._internal.store import layout
from gage._internal.types import Run

ADDED = "a"
MODIFIED = "m"
DELETED = "d"


class FileEvent(NamedTuple):
    """A change to one file of the run directory.

    `event` is `a`, `m` or `d`; `type` the file's type (`s r d g`); `modified` the file's time
    of modification in microseconds since the epoch, for a deleted file the time it was missed.
    """

    event: str
    type: str
    modified: int
    path: str


def log_action(run: Run, sentence: str) -> None:
    """Add to the runner log what was done: a sentence that starts with a capital letter."""
    log_actions(run, [sentence])


def log_actions(run: Run, sentences: Iterable[str]) -> None:
    """Add several sentences to the runner log at once."""
    date = clock.log_date(clock.now())
    text = "".join(f"{date} {fs.printable(sentence)}\n" for sentence in sentences)
    _append(layout.meta_path(run, layout.RUNNER_LOG), text)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def log_files(run: Run, events: Iterable[FileEvent]) -> None:
    """Add changes of files to the file log."""
    text = "".join(f"{e.event} {e.type} {e.modified} {fs.escape_path(e.path)}\n" for e in events)
    if text:
        _append(layout.meta_path(run, layout.FILES_LOG), text)


def parse_file_event(line: str) -> FileEvent:
    """Return the change that a line of the file log (without its newline) tells."""
    event, type_, modified, path = line.split(" ", 3)
    return FileEvent(event, type_, int(modified), fs.unescape_path(path))


def _append(path: str, text: str) -> None:
    data = os.fsencode(text)
    try:
        fs.append_file(path, data)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path))
        fs.append_file(path, data)
