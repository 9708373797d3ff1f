"""What is known of files since they were staged the last time, so that they need not be hashed.

The runs home has one file for each operation of a project, `.digests-KEY`, with a line for each
file that the newest run of it was staged with: what the source was (device, inode, size, mtime,
ctime), its digest, and what its copy in that run was. While all five are the same the content is.
That copy, which is read-only, is also what a later run may share as a hard link.

A file that changed less than a minute ago is not remembered. It may change again within one step
of the file system's clock; and a program that writes to mapped memory changes the times when the
kernel writes that back, after half a minute.

These files are disposable. One that is damaged, or of another version, counts as none; what it
tells is checked against the files by whoever copies; and a start reads every staged file anyway.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence

from gage._internal import fs
from gage._internal.lifecycle.copying import Copied, Known

_HEADER = "gage digests 1"
# Nanoseconds.
_YOUNG = 60 * 10**9


class Digests:
    """The digests of one operation: those of the last staging to find, those of this one to add.

    With `share`, what is found has the copy in the last run as its twin. Without a path, nothing
    is known and nothing remembered.
    """

    def __init__(
        self,
        path: str | None = None,
        run_dir: str = "",
        needles: Sequence[bytes] = (),
        share: bool = False,
    ) -> None:
        self._path = path
        self._run_dir = run_dir
        self._share = share
        self._needles = hashlib.sha256(b"\0".join(needles)).hexdigest()
        self._last_run_dir, self._known = _read(path, self._needles) if path else ("", {})
        self._old = time.time_ns() - _YOUNG
        self._lines: list[str] = []

    def find(self, source: str, path: str) -> Known | None:
        """Return what was found in a source, an absolute path, when it was copied to `path`."""
        line = self._known.get(f"{source}\t{path}") if self._known else None
        if line is None:
            return None
        sha256, needle, *numbers = line.split()
        device, inode, size, mtime, ctime, *twin = map(int, numbers)
        identity = device, inode, size, mtime, ctime
        if not self._share:
            return Known(identity, sha256, needle == "+")
        twin_identity = twin[0], twin[1], size, twin[2], twin[3]
        return Known(identity, sha256, needle == "+", f"{self._last_run_dir}/{path}", twin_identity)

    def add(self, source: str, path: str, copied: Copied) -> None:
        """Remember a copy, unless its source is young."""
        if self._path is None:
            return
        device, inode, size, mtime, ctime = copied.origin
        is_line = not any(char in source + path for char in "\n\t")
        if is_line and mtime < self._old and ctime < self._old:
            twin_device, twin_inode, _, twin_mtime, twin_ctime = copied.identity
            self._lines.append(
                f"{copied.sha256} {'+' if copied.has_needle else '-'}"
                f" {device} {inode} {size} {mtime} {ctime}"
                f" {twin_device} {twin_inode} {twin_mtime} {twin_ctime}\t{source}\t{path}"
            )

    def write(self) -> None:
        """Write what was added in place of what was known; where that fails, it is forgotten."""
        if self._path is None or not (self._lines or self._known):
            return
        lines = [self._needles, fs.escape_path(self._run_dir), *self._lines]
        body = os.fsencode("\n".join(lines))
        head = f"{_HEADER} {hashlib.sha256(body).hexdigest()}\n"
        try:
            fs.replace_file(self._path, head.encode() + body)
        except OSError:
            pass


def digests_path(home: str, project_dir: str, opref: str) -> str:
    """Return the path of the file of an operation in a runs home."""
    key = hashlib.sha256(os.fsencode(f"{project_dir}\0{opref}")).hexdigest()
    return os.path.join(home, f".digests-{key[:16]}")


def _read(path: str, needles: str) -> tuple[str, dict[str, str]]:
    """Return the directory of the last run and its lines by source and path."""
    nothing: tuple[str, dict[str, str]] = ("", {})
    try:
        head, _, body = fs.read_bytes(path).partition(b"\n")
    except OSError:
        return nothing
    if head != f"{_HEADER} {hashlib.sha256(body).hexdigest()}".encode():
        return nothing
    found_needles, run_dir, *lines = os.fsdecode(body).split("\n")
    if found_needles != needles:
        return nothing
    known = {}
    for line in lines:
        values, _, paths = line.partition("\t")
        known[paths] = values
    return fs.unescape_path(run_dir), known
