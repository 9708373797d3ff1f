"""What a tree of files consists of, written down so that it need not be read again.

One line a file: digest (`-` for a link), mode, size, time of last modification in nanoseconds, and
the path; behind a tab, what a link points to.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from gage._internal import fs

_HEADER = "gage environment 1"
_READ_SIZE = 1 << 20


class Content(NamedTuple):
    """A file or a link: `path` relative to the tree, `target` where a link points to."""

    path: str
    mode: int
    size: int
    mtime_ns: int
    sha256: str
    target: str = ""

    def is_as_found(self, found: os.stat_result) -> bool:
        """Tell whether a file has the size, mode and time that it had when it was read."""
        return (found.st_mode, found.st_size, found.st_mtime_ns) == (
            stat.S_IFREG | self.mode,
            self.size,
            self.mtime_ns,
        )


def scan_contents(tree: str, needle: bytes) -> tuple[list[Content], list[str]]:
    """Read all files below a directory; return them by path, and those that have `needle` in them.

    Empty directories are none of them.
    """
    contents, mentions = [], []
    for path, stamp in sorted(fs.scan(tree).items()):
        full = f"{tree}/{path}"
        mode = stat.S_IMODE(stamp.mode)
        if stat.S_ISLNK(stamp.mode):
            contents.append(Content(path, mode, stamp.size, 0, "", os.readlink(full)))
        elif stat.S_ISREG(stamp.mode):
            sha256, has_needle = _read(full, needle)
            contents.append(Content(path, mode, stamp.size, stamp.mtime_ns, sha256))
            if has_needle:
                mentions.append(path)
    return contents, mentions


def _read(path: str, needle: bytes) -> tuple[str, bool]:
    hasher = hashlib.sha256()
    has_needle, before = False, b""
    with open(path, "rb") as file:
        while data := file.read(_READ_SIZE):
            hasher.update(data)
            has_needle = has_needle or needle in before + data
            before = data[-len(needle) :]
    return hasher.hexdigest(), has_needle


def write_contents(path: str, contents: Sequence[Content]) -> None:
    """Write a list of contents."""
    lines = []
    for each in contents:
        line = f"{each.sha256 or '-'} {each.mode:o} {each.size} {each.mtime_ns}"
        line += " " + fs.escape_path(each.path)
        lines.append(f"{line}\t{fs.escape_path(each.target)}" if each.target else line)
    body = os.fsencode("\n".join(lines))
    head = f"{_HEADER} {hashlib.sha256(body).hexdigest()}\n"
    fs.replace_file(path, head.encode() + body)


def find_contents(path: str) -> list[Content] | None:
    """Return a list of contents; None where there is none, or not as it was written."""
    try:
        head, _, body = fs.read_bytes(path).partition(b"\n")
    except OSError:
        return None
    if head != f"{_HEADER} {hashlib.sha256(body).hexdigest()}".encode():
        return None
    return [_parse(line) for line in os.fsdecode(body).split("\n") if line]


def _parse(line: str) -> Content:
    sha256, mode, size, mtime_ns, rest = line.split(" ", 4)
    path, _, target = rest.partition("\t")
    return Content(
        fs.unescape_path(path),
        int(mode, 8),
        int(size),
        int(mtime_ns),
        "" if sha256 == "-" else sha256,
        fs.unescape_path(target),
    )
