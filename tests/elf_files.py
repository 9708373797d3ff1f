"""ELF files that tests make, with what a loader reads and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MACHINE = 62


def elf_file(
    needed: Sequence[str] = (),
    versions: Sequence[str] = (),
    *,
    machine: int = _MACHINE,
    soname: str = "",
    level: int = 0,
    kind: int = 3,
    weak: Sequence[str] = (),
) -> bytes:
    """Return a 64-bit little-endian library that needs other ones, and versions of symbols.

    `level` is the x86-64 level that it says it needs, `kind` the type of the file, of which 3 is a
    library; `weak` are versions that it can do without.
    """
    strings = b"\0"
    places = {}
    for text in (*needed, *versions, *weak, soname):
        places[text] = len(strings)
        strings += text.encode() + b"\0"
    strings += bytes(-len(strings) % 8)
    header, program = 64, 56
    at = header + 3 * program
    needs = b""
    for number, text in enumerate((*versions, *weak)):
        is_last = number == len(versions) + len(weak) - 1
        needs += struct.pack("<HHIII", 1, 1, 0, 16, 0 if is_last else 32)
        needs += struct.pack("<IHHII", 0, 2 if text in weak else 0, 0, places[text], 0)
    entries = [(5, at), (14, places[soname])] if soname else [(5, at)]
    entries += [(1, places[text]) for text in needed]
    entries += [(0x6FFFFFFE, at + len(strings))] if needs else []
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in (*entries, (0, 0)))
    note = struct.pack("<III4s", 4, 16, 5, b"GNU\0")
    note += struct.pack("<IIII", 0xC0008002, 4, (1 << level) - 1, 0)
    tail = strings + needs + dynamic + note

    def segment(kind: int, start: int, size: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 4, start, start, 0, size, size, 1)

    start = at + len(strings) + len(needs)
    segments = [
        segment(1, 0, at + len(tail)),
        segment(2, start, len(dynamic)),
        segment(0x6474E553, start + len(dynamic), len(note)) if level else segment(0, 0, 0),
    ]
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    rest = struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, 0, header, 0, 0, header, program, 3, 0, 0, 0
    )
    return ident + rest + b"".join(segments) + tail
