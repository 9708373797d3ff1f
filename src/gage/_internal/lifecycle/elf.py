"""What an ELF file says of itself: for which machine it is, and what its loader looks for.

Only what is needed for that is read: the headers, the dynamic section with its strings and the
versions of symbols it names, and the note that tells the CPU. Whatever a file claims, no more is
read than there is of it, and what makes no sense says nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"\x7fELF"

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_PROPERTY = 1, 2, 3, 0x6474E553
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 14, 15, 29
_DT_VERNEED = 0x6FFFFFFE
_NAMES = {_DT_NEEDED: "NEEDED", _DT_RPATH: "RPATH", _DT_RUNPATH: "RUNPATH", _DT_SONAME: "SONAME"}
_INTERP = "interpreter"
_EXECUTABLE, _SHARED = 2, 3
_MACHINES = {
    3: "i686",
    21: "ppc64le",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_X86_NEEDED = 0xC0008002
_WEAK = 2
# More than any linker writes.
_MOST_HEADERS = 4096
_MOST_DYNAMIC = 1 << 20
_MOST_VERSIONS = 4096
_LONGEST_STRING = 1 << 16


class ElfPath(NamedTuple):
    """A path that a loader uses, and the entry it stands in, such as `RUNPATH`."""

    entry: str
    path: str


class Elf(NamedTuple):
    """What a program or library says of itself.

    `machine` is what `uname -m` calls the machine it is for, or empty where that is not known.
    `paths` are those that a loader uses, `soname` what others call it by, `versions` those of the
    symbols it needs, such as `GLIBC_2.34`. `cpu_level` is the x86-64 level that it says it needs,
    0 for none.
    """

    machine: str
    paths: tuple[ElfPath, ...] = ()
    soname: str = ""
    versions: tuple[str, ...] = ()
    cpu_level: int = 0

    @property
    def needed(self) -> list[str]:
        """The names of the libraries that it needs."""
        return [path for entry, path in self.paths if entry == "NEEDED"]


class _Header(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class _Reader(NamedTuple):
    """An open ELF file, its program headers, and how it writes numbers."""

    fd: int
    is_64: bool
    order: str
    headers: list[_Header]

    def offset_of(self, address: int) -> int | None:
        """Return where in the file an address is."""
        for header in self.headers:
            if header.kind == _PT_LOAD and header.address <= address < header.address + header.size:
                return address - header.address + header.offset
        return None

    def string(self, offset: int) -> str:
        """Return the string at an offset."""
        data, end, _ = os.pread(self.fd, _LONGEST_STRING, offset).partition(b"\0")
        return os.fsdecode(data) if end else ""


def find_elf_paths(fd: int) -> list[ElfPath]:
    """Return the paths in an open ELF file; none for anything else or a broken one."""
    elf = find_elf(fd)
    return list(elf.paths) if elf else []


def find_elf(fd: int) -> Elf | None:
    """Return what an open ELF file says; None for anything else, or what is no program or library.

    Of a broken one it is what can be understood.
    """
    try:
        return _read(fd)
    except (struct.error, ValueError, OverflowError, OSError):
        return None


def _read(fd: int) -> Elf | None:
    ident = os.pread(fd, 64, 0)
    if ident[:4] != MAGIC or len(ident) < 52 or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    is_64, order = ident[4] == 2, "<" if ident[5] == 1 else ">"
    kind, machine = struct.unpack_from(f"{order}HH", ident, 16)
    if kind not in (_EXECUTABLE, _SHARED):
        return None
    reader = _Reader(fd, is_64, order, _read_headers(fd, ident, is_64, order))
    elf = Elf(_MACHINES.get(machine, ""))
    paths: list[ElfPath] = []
    versions: list[str] = []
    try:
        for header in reader.headers:
            if header.kind == _PT_INTERP:
                paths.append(ElfPath(_INTERP, reader.string(header.offset)))
            elif header.kind == _PT_PROPERTY and elf.machine == "x86_64":
                elf = elf._replace(cpu_level=_read_level(reader, header))
        for header in reader.headers:
            if header.kind == _PT_DYNAMIC:
                for entry, text in _iter_dynamic(reader, header, versions):
                    if entry == "SONAME":
                        elf = elf._replace(soname=text)
                    else:
                        paths.append(ElfPath(entry, text))
    except (struct.error, ValueError, OverflowError, OSError):
        pass
    return elf._replace(paths=tuple(paths), versions=tuple(versions))


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


def _iter_dynamic(
    reader: _Reader, dynamic: _Header, versions: list[str]
) -> Iterator[tuple[str, str]]:
    """Yield the entries that are strings; add the versions of symbols that are needed."""
    data = os.pread(reader.fd, min(dynamic.size, _MOST_DYNAMIC), dynamic.offset)
    entry = struct.Struct(f"{reader.order}{'qQ' if reader.is_64 else 'iI'}")
    strings = version_needs = None
    named = []
    for tag, value in entry.iter_unpack(data[: len(data) // entry.size * entry.size]):
        if tag == _DT_NULL:
            break
        if tag == _DT_STRTAB:
            strings = reader.offset_of(value)
        elif tag == _DT_VERNEED:
            version_needs = reader.offset_of(value)
        elif tag in _NAMES:
            named.append((_NAMES[tag], value))
    if strings is None:
        return
    for name, value in named:
        text = reader.string(strings + value)
        for part in [text] if name == "SONAME" else text.split(":"):
            if part:
                yield name, part
    if version_needs is not None:
        versions += _iter_versions(reader, version_needs, strings)


def _iter_versions(reader: _Reader, offset: int, strings: int) -> Iterator[str]:
    need = struct.Struct(f"{reader.order}HHIII")
    version = struct.Struct(f"{reader.order}IHHII")
    seen = 0
    while seen < _MOST_VERSIONS:
        _, count, _, first, step = need.unpack(os.pread(reader.fd, need.size, offset))
        at = offset + first
        for _ in range(min(count, _MOST_VERSIONS - seen)):
            seen += 1
            _, flags, _, name, following = version.unpack(os.pread(reader.fd, version.size, at))
            if not flags & _WEAK:
                yield reader.string(strings + name)
            if not following:
                break
            at += following
        seen += 1
        if not step:
            break
        offset += step


def _read_level(reader: _Reader, header: _Header) -> int:
    """Return the x86-64 level in the properties of a file, 0 where it names none."""
    data = os.pread(reader.fd, min(header.size, _MOST_DYNAMIC), header.offset)
    if len(data) < 16 or data[12:16] != b"GNU\0":
        return 0
    at = 16
    while at + 12 <= len(data):
        kind, size = struct.unpack_from(f"{reader.order}II", data, at)
        if kind == _X86_NEEDED:
            (levels,) = struct.unpack_from(f"{reader.order}I", data, at + 8)
            return int(levels & 0xF).bit_length()
        at += 8 + (size + 7) // 8 * 8
    return 0
