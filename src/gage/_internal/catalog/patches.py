"""Unified diffs: of two contents of a file, and what a patch of `log/patched` was made to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# A carriage return ends no line for patch(1).
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_ODD_CHARACTER = re.compile(rb'[\x00-\x1f\x7f"\\]')
_OCTAL = re.compile(rb"\\([0-7]{3})")
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n")
_NO_NEWLINE = b"\\ No newline at end of file\n"


class Hunk(NamedTuple):
    """A part of a file that a patch has changed: where it is now, and its lines then and now."""

    start: int
    before: Sequence[bytes]
    after: Sequence[bytes]


def unified_diff(path: str, before: bytes, after: bytes) -> bytes:
    """Return the difference of two contents of a file, as `patch` takes it."""
    import difflib

    lines = difflib.diff_bytes(
        difflib.unified_diff,
        _LINE.findall(before),
        _LINE.findall(after),
        _diff_name(b"a/" + os.fsencode(path)),
        _diff_name(b"b/" + os.fsencode(path)),
    )
    return b"".join(line if line.endswith(b"\n") else line + b"\n" + _NO_NEWLINE for line in lines)


def _diff_name(name: bytes) -> bytes:
    """Return a file name as patch(1) and git read it: quoted as in C where it has odd characters.

    A blank needs no quotes, but a tab that ends the name.
    """
    if _ODD_CHARACTER.search(name):
        return b'"' + _ODD_CHARACTER.sub(lambda odd: b"\\%03o" % odd[0][0], name) + b'"'
    return name + b"\t" if b" " in name else name


def parse_patches(patches: bytes) -> Mapping[str, Sequence[Hunk]]:
    """Return the parts that patches have changed, by the path of the file.

    Raises:
        ValueError: they are not what `unified_diff` makes.
    """
    lines = _LINE.findall(patches)
    found: dict[str, list[Hunk]] = {}
    at = 0
    while at < len(lines):
        if not lines[at].startswith(b"--- ") or at + 1 == len(lines):
            raise ValueError(f"line {at + 1} begins no patch")
        hunks = found.setdefault(_path(lines[at + 1]), [])
        at += 2
        while at < len(lines):
            match = _HUNK.fullmatch(lines[at])
            if not match:
                break
            counts = int(match[1] or 1), int(match[3] or 1)
            at, before, after = _read_hunk(lines, at + 1, *counts)
            # Where it has no lines now, the number is that of the line before.
            hunks.append(Hunk(int(match[2]) - (counts[1] > 0), before, after))
    return found


def _read_hunk(
    lines: Sequence[bytes], at: int, before: int, after: int
) -> tuple[int, list[bytes], list[bytes]]:
    """Return where a hunk of so many lines before and after ends, and these lines."""
    old: list[bytes] = []
    new: list[bytes] = []
    while len(old) < before or len(new) < after or lines[at : at + 1] == [_NO_NEWLINE]:
        if at == len(lines):
            raise ValueError("a hunk is cut short")
        mark, line = lines[at][:1], lines[at][1:]
        if lines[at + 1 : at + 2] == [_NO_NEWLINE]:
            line = line[:-1]
        if mark in b" -":
            old.append(line)
        if mark in b" +":
            new.append(line)
        at += 1
    return at, old, new


def _path(line: bytes) -> str:
    """Return the path that the second line of a patch names."""
    name = line[len("+++ ") : -1]
    if name.startswith(b'"'):
        name = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), name[1:-1])
    elif name.endswith(b"\t"):
        name = name[:-1]
    if not name.startswith(b"b/"):
        raise ValueError("a patch names no file")
    return os.fsdecode(name[2:])


def taken_back(content: bytes, hunks: Sequence[Hunk]) -> bytes:
    """Return what a file held before parts of it were changed.

    Raises:
        ValueError: it is not what it became by that.
    """
    lines = _LINE.findall(content)
    for hunk in reversed(hunks):
        end = hunk.start + len(hunk.after)
        if lines[hunk.start : end] != list(hunk.after):
            raise ValueError("the file is not what the patch made of it")
        lines[hunk.start : end] = hunk.before
    return b"".join(lines)
