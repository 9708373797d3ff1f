"""How runs lie in an object store: names, pieces and packs, and the states of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gage._internal.errors import RemoteFailed
from gage._internal.portable.items import MANIFEST, Item
from gage._internal.store.manifest import FILE

VERSION = 1
# From so many bytes on a file is not packed with others.
SMALL = 1 << 18
# Bytes of an object: the more, the fewer requests; the fewer, the less is lost when one breaks off.
_LEAST_PIECE = 1 << 18
_MOST_PIECE = 32 << 20
_PIECES = 256
_DIGITS = 6
# Small files of the meta directory that are part of the state itself.
_MOST_INLINE = 1 << 16
_NOT_INLINE = ("meta/log/", "meta/output/", "meta/sys/", MANIFEST, "meta/uncommitted.patch")

# Where bytes of a file are: the digest of an object, and from where to where in it.
Span = tuple[str, int, int]


class State(NamedTuple):
    """A state of a run: its number, the object that lists its files, and its small files."""

    number: int
    listed: str
    files: Mapping[str, bytes]


class Pack:
    """Small files that become one object."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: list[tuple[str, bytes]] = []
        self._length = 0

    def add(self, sha256: str, data: bytes) -> None:
        """Add a file."""
        self._pieces.append((sha256, data))
        self._length += len(data)

    def is_full(self) -> bool:
        """Tell whether it is as large as it should be."""
        return self._length >= self._size

    def data(self) -> bytes:
        """Return the content of the object."""
        return b"".join(data for _, data in self._pieces)

    def spans(self, name: str) -> dict[str, list[Span]]:
        """Return where the files are in the object of this digest; the next pack is empty."""
        found: dict[str, list[Span]] = {}
        at = 0
        for sha256, data in self._pieces:
            found[sha256] = [(name, at, at + len(data))]
            at += len(data)
        self._pieces, self._length = [], 0
        return found


class Reader:
    """A stream, read in pieces of any size."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._content = iter(content)
        self._left = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        pieces, missing = [], size
        while missing:
            if not self._left:
                self._left = next(self._content)
            piece, self._left = self._left[:missing], self._left[missing:]
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def is_inline(item: Item) -> bool:
    """Tell whether a file is part of the state itself."""
    return (
        item.kind == FILE
        and item.path.startswith("meta/")
        and not item.path.startswith(_NOT_INLINE)
        and item.size <= _MOST_INLINE
    )


def object_name(sha256: str) -> str:
    """Return the name of the object with a digest."""
    return f"objects/{sha256[:2]}/{sha256}"


def state_name(run_id: str, number: int) -> str:
    """Return the name of a state of a run."""
    return f"runs/{run_id}/{number:0{_DIGITS}}"


def parse_state(number: int, data: bytes) -> State | None:
    """Return a state; None where it was not written to its end.

    Raises:
        RemoteFailed: it was written by a newer Gage.
    """
    try:
        value = json.loads(data)
        version, listed = value["version"], value["list"]
        files = {path: text.encode("latin-1") for path, text in value["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if version != VERSION:
        raise RemoteFailed(
            f"a run was pushed in version {version}; this Gage reads version {VERSION}",
            "use the Gage that wrote it, or a newer one",
        )
    return State(number, listed, {**files, "run": b"", MANIFEST: b""})


def piece_size(size: int) -> int:
    """Return how many bytes of so many make an object: a power of two, about a 256th."""
    piece = 1 << max(0, (size // _PIECES).bit_length() - 1)
    return min(_MOST_PIECE, max(_LEAST_PIECE, piece))


def wanted_spans(
    spans: Mapping[str, Sequence[Span]], wants: Iterable[tuple[Item, int]]
) -> Iterator[Span]:
    """Yield where the bytes of files are that are wanted, each file from an offset on."""
    for item, offset in wants:
        for name, start, end in spans.get(item.path, ()):
            skipped = min(offset, end - start)
            offset -= skipped
            if start + skipped < end:
                yield name, start + skipped, end


def joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans, those that follow each other in an object as one."""
    last: Span | None = None
    for span in spans:
        if last and span[0] == last[0] and span[1] == last[2]:
            last = (last[0], last[1], span[2])
            continue
        if last:
            yield last
        last = span
    if last:
        yield last
