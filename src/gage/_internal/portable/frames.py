"""Frames that two places exchange over a connection, and streams within them.

A frame is a letter, four bytes of length and so many bytes. `J` is a request or an answer, JSON,
packed with zlib where that is shorter; `E` the answer that it could not be done; `D` a piece of a
stream, `A` the number of bytes of it that the receiver has, as eight bytes. The sender is never
further ahead of the receiver than a window, so that no more is lost when either is killed.
"""

from __future__ import annotations

import json
import select
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from gage._internal.portable.items import READ_SIZE, Refused

_PACKED = 1 << 10
_LONGEST_FRAME = 1 << 30


class Channel:
    """Frames to and from the other end."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self.idle: float | None = None

    def send(self, kind: bytes, payload: bytes) -> None:
        """Send a frame."""
        view = memoryview(kind + struct.pack(">I", len(payload)) + payload)
        write_all(self._writer, view)

    def send_json(self, value: Any, kind: bytes = b"J") -> None:
        """Send a request or an answer; packed, where that is shorter."""
        data = json.dumps(value, separators=(",", ":")).encode()
        self.send(kind, zlib.compress(data, 6) if len(data) > _PACKED else data)

    def receive(self) -> tuple[bytes, bytes]:
        """Return the next frame.

        Raises:
            EOFError: the other end has gone.
        """
        head = self._read(5)
        size = struct.unpack(">I", head[1:])[0]
        if size > _LONGEST_FRAME:
            raise EOFError
        return head[:1], self._read(size)

    def receive_json(self) -> Any:
        """Return the next request or answer.

        Raises:
            Refused: it is the answer that something cannot be done.
            EOFError: the other end has gone.
        """
        kind, payload = self.receive()
        while kind == b"A":
            kind, payload = self.receive()
        return self.value_of(kind, payload)

    def value_of(self, kind: bytes, payload: bytes) -> Any:
        """Return the value of a frame of JSON."""
        if kind not in (b"J", b"E"):
            raise EOFError
        value = json.loads(zlib.decompress(payload) if payload[:1] == b"\x78" else payload)
        if kind == b"E":
            raise Refused(value["kind"], value["reason"], value["hint"])
        return value

    def _read(self, size: int) -> bytes:
        pieces = []
        while size:
            if self.idle is not None and not select.select([self._reader], [], [], self.idle)[0]:
                raise EOFError
            data = self._reader.read(min(size, 1 << 20))
            if not data:
                raise EOFError
            pieces.append(data)
            size -= len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send_stream(self, content: Iterable[bytes], window: int) -> None:
        """Send a stream, never further ahead than the window."""
        sent = done = 0
        size = max(1, min(READ_SIZE, window // 4))
        for data in content:
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                while sent - done > window - len(piece) and sent != done:
                    done = self._receive_done()
                self.send(b"D", piece)
                sent += len(piece)
        while done < sent:
            done = self._receive_done()

    def _receive_done(self) -> int:
        kind, payload = self.receive()
        if kind != b"A":
            self.value_of(kind, payload)
            raise EOFError
        return int(struct.unpack(">Q", payload)[0])

    def receive_stream(self, total: int, window: int) -> Iterator[bytes]:
        """Yield a stream of so many bytes, telling the sender what has been taken."""
        done = told = 0
        while done < total:
            kind, data = self.receive()
            if kind != b"D":
                self.value_of(kind, data)
                raise EOFError
            yield data
            done += len(data)
            if done - told >= window // 4 or done == total:
                told = done
                self.send(b"A", struct.pack(">Q", done))


def write_all(file: BinaryIO, view: memoryview) -> None:
    while view:
        view = view[file.write(view) or 0 :]
