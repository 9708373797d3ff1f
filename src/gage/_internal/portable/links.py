"""What a container does with a job: all that it needs of an object store are links.

A capsule is behind `capsule`, and whoever writes `begun` first executes it. What the job has left
goes to `pieces`, since a store takes no more than so much at once; when all of them are stored, the
list of them goes to `left`. Sent there with `errand`, where no Gage is installed: standard library
alone.
"""

from __future__ import annotations

import hashlib
import json
import signal
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, Any, NamedTuple

from gage._internal.portable.errand import CHUNK, Errand, run_errand

_LONGEST = 2048
_TRIES = 5
_TIMEOUT = 60
# What a store answers where there is such an object, or one is just being written.
_TAKEN = (409, 412)


class Order(NamedTuple):
    """What a container is to do: a job, and the links that it needs.

    Each of `pieces` takes `piece` bytes of what the job has left.
    """

    number: int
    run: str
    python: str
    capsule: str
    begun: str
    left: str
    pieces: Sequence[str]
    piece: int


def pack_order(order: Order) -> bytes:
    """Return an order as a container takes it: packed, since many have to go into a Secret."""
    return zlib.compress(json.dumps(order._asdict()).encode())


def unpack_order(data: bytes) -> Order:
    """Return the order that was packed."""
    return Order(**json.loads(zlib.decompress(data)))


def execute_linked(path: str, last_words: str) -> int:
    """Execute the job of an order that is in a file; return the exit status of the container.

    What there is to say of it is written to the file `last_words`.

    Raises:
        OSError: the store does not answer.
    """
    with open(path, "rb") as file:
        order = unpack_order(file.read())
    with tempfile.TemporaryFile() as left:
        line = _Line(order, left)
        # The first process of a container takes no signal that it does not ask for.
        signal.signal(signal.SIGTERM, line.stop)
        run_errand(Errand(order.number, order.run, order.python), line)
    if line.said:
        try:
            with open(last_words, "w", encoding="utf-8") as file:
                file.write(line.said[:_LONGEST])
        except OSError:
            pass
    return 0 if line.has_left else 1


class _Line:
    """How a container speaks with whoever submitted its job."""

    def __init__(self, order: Order, left: IO[bytes]) -> None:
        self._order = order
        self._left = left
        self._is_stopped = False
        self.said = "it was begun before, or cancelled"
        self.has_left = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopped = True

    def begin(self, host: str) -> str:
        request = _put(self._order.begun, host.encode(), {"If-None-Match": "*"})
        try:
            # Not tried again: an answer that was lost may have been that it is ours.
            urllib.request.urlopen(request, timeout=_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            if error.code in _TAKEN:
                return "no"
            raise
        return "go"

    def is_stopped(self) -> bool:
        return self._is_stopped

    def fetch(self) -> Iterator[bytes]:
        with _open(urllib.request.Request(self._order.capsule)) as answer:
            expected = answer.headers.get("Content-Length")
            size = 0
            for chunk in iter(lambda: answer.read(CHUNK), b""):
                size += len(chunk)
                yield chunk
        if expected is not None and size != int(expected):
            raise OSError(f"of its capsule came {size} of {expected} bytes")

    def give(self, chunk: bytes) -> None:
        self._left.write(chunk)

    def end(self, said: str, has_begun: bool, has_left: bool) -> None:
        if has_left:
            try:
                fault = self._store_left()
            except OSError as error:
                fault = f"what it has left cannot be stored: {error}"
            if fault:
                self.said = fault
                return
        self.said, self.has_left = said, has_left

    def _store_left(self) -> str:
        """Store what the job has left; return why that cannot be.

        Raises:
            OSError: the store does not take it.
        """
        size, order = self._left.tell(), self._order
        most = order.piece * len(order.pieces)
        if size > most:
            return (
                f"what it has left is {size} bytes, and there are links for {most}: nothing of it"
                " is stored; the option size says how much a run may leave"
            )
        lines = []
        for number, begin in enumerate(range(0, size, order.piece)):
            piece = _Piece(self._left, begin, min(order.piece, size - begin))
            _store(order.pieces[number], piece.iter_chunks, piece.size)
            lines.append(f"{piece.sha256}  {order.number}.left.{number}\n")
        listed = "".join(lines).encode()
        _store(order.left, lambda: iter([listed]), len(listed))
        return ""


class _Piece:
    """A part of a file, which can be read again; `sha256` is of what was read last."""

    def __init__(self, file: IO[bytes], begin: int, size: int) -> None:
        self._file = file
        self._begin = begin
        self.size = size
        self.sha256 = ""

    def iter_chunks(self) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        self._file.seek(self._begin)
        left = self.size
        while left:
            chunk = self._file.read(min(CHUNK, left))
            hasher.update(chunk)
            left -= len(chunk)
            self.sha256 = hasher.hexdigest()
            yield chunk


def _store(link: str, chunks: Callable[[], Iterator[bytes]], size: int) -> None:
    """Write an object; what goes wrong is tried again, as `chunks` can be called again."""
    for tries in range(_TRIES):
        request = _put(link, chunks(), {"Content-Length": str(size)})
        try:
            urllib.request.urlopen(request, timeout=_TIMEOUT).close()
            return
        except OSError:
            if tries == _TRIES - 1:
                raise
            time.sleep(2**tries)


def _put(link: str, data: Any, headers: Mapping[str, str]) -> urllib.request.Request:
    # Without a type of its own, urllib would add one, of which the signature knows nothing.
    return urllib.request.Request(
        link, data=data, method="PUT", headers={"Content-Type": "", **headers}
    )


def _open(request: urllib.request.Request) -> Any:
    for tries in range(_TRIES):
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT)
        except OSError:
            if tries == _TRIES - 1:
                raise
            time.sleep(2**tries)
    raise AssertionError
