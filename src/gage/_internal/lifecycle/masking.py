"""Mask secrets in what is recorded: each value is replaced by `***`, also as URLs write it.

A stream comes in pieces, so the end of a piece that may be the beginning of a secret is held back
until more comes, or the stream ends; then, if it is more than a few characters, it is masked too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection

MASK = "***"
# To mask every `1` would destroy an output, and guard nothing.
SHORTEST = 4


class Mask:
    """Masks the values of secrets."""

    def __init__(self, values: Collection[str] = ()) -> None:
        texts = {value for value in values if len(value) >= SHORTEST}
        if texts:
            from urllib.parse import quote

            texts |= {quote(value, safe="") for value in texts}
        # The longest first: one may begin as another.
        self.values = sorted(map(os.fsencode, texts), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self.values)))

    def data(self, data: bytes) -> bytes:
        """Return `data` with what is secret masked."""
        return self._pattern.sub(MASK.encode(), data) if self.values else data

    def text(self, text: str) -> str:
        """Return `text` with what is secret masked."""
        return os.fsdecode(self.data(os.fsencode(text))) if self.values else text


class MaskedStream:
    """A stream that comes in pieces, masked."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what is sure of the stream so far and was not returned yet."""
        data = self._mask.data(self._held + data)
        held = max((_overlap(data, value) for value in self._mask.values), default=0)
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    def close(self) -> bytes:
        """Return what is left at the end of the stream."""
        held, self._held = self._held, b""
        return MASK.encode() if len(held) >= SHORTEST else held


class MaskedOutput:
    """Output with the secrets in it masked, on its way to whoever takes it."""

    def __init__(self, mask: Mask, output: Callable[[str, bytes], None]) -> None:
        self._mask = mask
        self._output = output
        self._streams: dict[str, MaskedStream] = {}

    def write(self, stream: str, data: bytes) -> None:
        """Take a piece of a stream."""
        if self._mask.values:
            masked = self._streams.setdefault(stream, MaskedStream(self._mask))
            data = masked.feed(data)
        if data:
            self._output(stream, data)

    def close(self) -> None:
        """Pass on what is left at the end."""
        for stream, masked in self._streams.items():
            rest = masked.close()
            if rest:
                self._output(stream, rest)


def _overlap(data: bytes, value: bytes) -> int:
    """Return how many bytes at the end of `data` are the beginning of `value` and not all of it."""
    for size in range(min(len(data), len(value) - 1), 0, -1):
        if data.endswith(value[:size]):
            return size
    return 0
