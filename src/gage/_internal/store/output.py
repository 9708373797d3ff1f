"""What a phase or the run printed: the bytes as they came, and who printed them when.

`output/PHASE` holds the bytes of both streams in the order in which they arrived.
`output/PHASE.index` has a line for each piece: time in microseconds since the epoch, stream
(`o` stdout, `e` stderr), number of bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from gage._internal import clock, fs
from gage._internal.store import layout
from gage._internal.types import Run

STDOUT = "o"
STDERR = "e"
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Piece(NamedTuple):
    """A piece of output: `time` in microseconds since the epoch, `stream` `o` or `e`."""

    time: int
    stream: str
    data: bytes


class OutputWriter:
    """Writes the output of one phase as it comes."""

    def __init__(self, run: Run, phase: str) -> None:
        path, index = layout.output_path(run, phase), layout.output_index_path(run, phase)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._bytes = os.open(path, _FLAGS, 0o644)
        try:
            self._index = os.open(index, _FLAGS, 0o644)
        except OSError:
            if not os.fstat(self._bytes).st_size:
                fs.discard(path)
            os.close(self._bytes)
            raise

    def write(self, stream: str, data: bytes) -> None:
        """Write a piece; the bytes first, so that an index never tells of what is not there."""
        fs.write_all(self._bytes, data)
        fs.write_all(self._index, b"%d %s %d\n" % (clock.now(), stream.encode(), len(data)))

    def let_go(self) -> None:
        """Close both files as they are."""
        os.close(self._bytes)
        os.close(self._index)

    def close(self) -> None:
        """Close both files, read-only from now on."""
        for fd in (self._bytes, self._index):
            os.fchmod(fd, fs.READ_ONLY)
            os.close(fd)


def phases(run: Run) -> list[str]:
    """Return the phases of a run that printed something, in no particular order."""
    try:
        names = os.listdir(layout.meta_path(run, layout.OUTPUT))
    except FileNotFoundError:
        return []
    return [name for name in names if not name.endswith(".index")]


def iter_pieces(run: Run, phase: str, start: int = 0, is_over: bool = True) -> Iterator[Piece]:
    """Yield the pieces of a phase's output in order, from byte `start` on.

    Where the phase is over, bytes that the index does not tell of (the writer was killed
    between the two) come last, as standard output.

    Raises:
        FileNotFoundError: the phase has printed nothing.
    """
    end = 0
    time = 0
    with (
        open(layout.output_index_path(run, phase), "rb") as index,
        open(layout.output_path(run, phase), "rb") as data,
    ):
        data.seek(start)
        for line in index:
            if not line.endswith(b"\n"):
                break
            when, stream, size = line.split()
            time = int(when)
            end += int(size)
            if end > start:
                yield Piece(time, stream.decode(), data.read(min(int(size), end - start)))
        rest = data.read() if is_over else b""
    if rest:
        yield Piece(time, STDOUT, rest)
