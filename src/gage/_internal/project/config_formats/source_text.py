"""The text of a config file, with what is needed to write its bytes again."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from gage._internal import fs
from gage._internal.errors import ConfigFileError

# UTF-32 first: its little-endian mark begins with the one of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NEWLINE = re.compile(r"\r\n|\r|\n")


class SourceText(NamedTuple):
    """The characters of a file, and how they are encoded."""

    path: str
    text: str
    encoding: str = "utf-8"
    bom: bytes = b""

    @property
    def line_starts(self) -> Sequence[int]:
        """Offset of the first character of each line."""
        return line_starts(self.text)

    def line(self, offset: int) -> int:
        """Return the number of the line that holds the character, counted from 1."""
        return bisect_right(self.line_starts, offset)

    def place(self, offset: int) -> str:
        """Return `path:line` of the character, for messages."""
        return f"{fs.printable(self.path)}:{self.line(offset)}"

    def fault(self, offset: int, what: str) -> ConfigFileError:
        """Return an error that names the line of the offset."""
        return ConfigFileError(f"{self.place(offset)}: {what}")

    def encode(self, text: str) -> bytes:
        """Return the bytes of a text in the file's encoding."""
        return self.bom + text.encode(self.encoding)


@lru_cache(maxsize=2)
def line_starts(text: str) -> Sequence[int]:
    """Return the offset of the first character of each line; lines end in LF, CRLF or CR."""
    return (0, *(newline.end() for newline in _NEWLINE.finditer(text)))


def newline_of(text: str) -> str:
    """Return the line ending that a text uses first, LF where it has none."""
    newline = _NEWLINE.search(text)
    return newline[0] if newline else "\n"


def decode(path: str, data: bytes, encoding: str = "utf-8") -> SourceText:
    """Decode a file that is in `encoding` unless a byte order mark says otherwise."""
    bom = b""
    for mark, marked_encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            bom, encoding = mark, marked_encoding
            break
    try:
        return SourceText(path, data[len(bom) :].decode(encoding), encoding, bom)
    except UnicodeDecodeError as error:
        line = len(line_starts(data[: len(bom) + error.start].decode("latin-1")))
        raise ConfigFileError(f"{fs.printable(path)}:{line}: not {encoding.upper()} text") from None
    except LookupError:
        raise ConfigFileError(f"{fs.printable(path)}:1: unknown encoding {encoding}") from None
