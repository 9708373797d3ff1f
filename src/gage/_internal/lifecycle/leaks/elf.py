"""Which paths an ELF file has its loader look at: the interpreter, RPATH, RUNPATH and libraries.

Only what is needed for that is read: the program headers, the dynamic section and its strings.
Whatever a file claims, no more is read than there is of it, and what makes no sense has no paths.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"\x7fELF"

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 15, 29
_NAMES = {_DT_NEEDED: "NEEDED", _DT_RPATH: "RPATH", _DT_RUNPATH: "RUNPATH"}
_INTERP = "interpreter"
# More than any linker writes.
_MOST_HEADERS = 4096
_MOST_DYNAMIC = 1 << 20
_LONGEST_STRING = 1 << 16


class ElfPath(NamedTuple):
    """A path that a loader uses, and the entry it stands in, such as `RUNPATH`."""

    entry: str
    path: str


class _Header(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def find_elf_paths(fd: int) -> list[ElfPath]:
    """Return the paths in an open ELF file; none for anything else or a broken one."""
    try:
        return list(_iter_paths(fd))
    except (struct.error, ValueError, OverflowError, OSError):
        return []


def _iter_paths(fd: int) -> Iterator[ElfPath]:
    ident = os.pread(fd, 64, 0)
    if ident[:4] != MAGIC or len(ident) < 52 or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return
    is_64, order = ident[4] == 2, "<" if ident[5] == 1 else ">"
    headers = _read_headers(fd, ident, is_64, order)
    for header in headers:
        if header.kind == _PT_INTERP:
            yield ElfPath(_INTERP, _read_string(fd, header.offset))
    for header in headers:
        if header.kind == _PT_DYNAMIC:
            yield from _read_dynamic(fd, header, headers, f"{order}{'qQ' if is_64 else 'iI'}")


def _read_headers(fd: int, ident: bytes, is_64: bool, order: str) -> list[_Header]:
    start, size_and_count = (32, 54) if is_64 else (28, 42)
    (offset,) = struct.unpack_from(f"{order}{'Q' if is_64 else 'I'}", ident, start)
    size, count = struct.unpack_from(f"{order}HH", ident, size_and_count)
    form = struct.Struct(f"{order}IIQQQQ" if is_64 else f"{order}IIIII")
    data = os.pread(fd, size * min(count, _MOST_HEADERS), offset)
    headers = []
    for at in range(0, len(data) - form.size + 1, size):
        fields = form.unpack_from(data, at)
        if is_64:
            kind, _, offset, address, _, file_size = fields
        else:
            kind, offset, address, _, file_size = fields
        headers.append(_Header(kind, offset, address, file_size))
    return headers


def _read_dynamic(
    fd: int, dynamic: _Header, headers: list[_Header], form: str
) -> Iterator[ElfPath]:
    data = os.pread(fd, min(dynamic.size, _MOST_DYNAMIC), dynamic.offset)
    entry = struct.Struct(form)
    strings = None
    named = []
    for tag, value in entry.iter_unpack(data[: len(data) // entry.size * entry.size]):
        if tag == _DT_NULL:
            break
        if tag == _DT_STRTAB:
            strings = _offset_of(value, headers)
        elif tag in _NAMES:
            named.append((_NAMES[tag], value))
    if strings is None:
        return
    for name, value in named:
        for path in _read_string(fd, strings + value).split(":"):
            if path:
                yield ElfPath(name, path)


def _offset_of(address: int, headers: list[_Header]) -> int | None:
    for header in headers:
        if header.kind == _PT_LOAD and header.address <= address < header.address + header.size:
            return address - header.address + header.offset
    return None


def _read_string(fd: int, offset: int) -> str:
    data, end, _ = os.pread(fd, _LONGEST_STRING, offset).partition(b"\0")
    return os.fsdecode(data) if end else ""
