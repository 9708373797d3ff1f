r"""The manifest: every file a run was staged with, then every file it ended with.

In the run directory `sha256sum -c ../ID.meta/manifest` accepts it. What that format has no
room for stands in comment lines of tab-separated fields, one before each file's digest:

    # gage manifest 1
    # staged
    #	f	s	0555	120
    2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  run.sh
    #	l	s	0777	6	latest	run.sh
    #	d	d	0755	0	empty
    # ended
    #	f	g	0644	3
    98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4  out.txt

The digest lines are those of sha256sum, escapes included. A staged file that the run changed
or removed keeps its lines, the digest line behind `#- ` so that it is not checked any more.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from typing import NamedTuple

from gage._internal import fs
from gage._internal.errors import RunDamaged
from gage._internal.store import layout, meta
from gage._internal.types import Run

FILE = "f"
LINK = "l"
DIRECTORY = "d"

SOURCE = "s"
RUNTIME = "r"
DEPENDENCY = "d"
GENERATED = "g"

_HEADER = f"# gage manifest {layout.SCHEMA_VERSION}"
_STAGED = "# staged"
_ENDED = "# ended"
_SUPERSEDED = "#- "
_DASH = "./-"
_OWNER_WRITE = 0o200
_READ_SIZE = 1 << 20
# A file whose path needs no escapes and stays below the directory it is relative to.
_PLAIN_ENTRY = re.compile(
    r"#\tf\t(.)\t([0-7]{4})\t([0-9]+)\n"
    r"([0-9a-f]{64})  ((?!(?:[^\n]*/)?\.{0,2}(?:/|\n))[^\\\r\n]+)\n"
)


class Entry(NamedTuple):
    """One file, link or empty directory of a run.

    `kind` is `f`, `l` or `d`; `type` the file's type (`s r d g`); `mode` the permission bits;
    `size` in bytes; `sha256` the hexadecimal digest of a file; `target` what a link holds.
    """

    path: str
    kind: str
    type: str
    mode: int
    size: int
    sha256: str = ""
    target: str = ""
    superseded: bool = False

    @property
    def is_writable(self) -> bool:
        """Tell whether the run may write to it."""
        return bool(self.kind == FILE and self.mode & _OWNER_WRITE)

    @property
    def leads_out(self) -> bool:
        """Tell whether it is a link to what is not in the run."""
        if self.kind != LINK:
            return False
        inside = os.path.normpath(os.path.join(os.path.dirname(self.path), self.target))
        return self.target.startswith("/") or inside.split("/")[0] == os.pardir


class Manifest(NamedTuple):
    """The entries of a run, by path: as it was staged, and what it ended with besides."""

    staged: tuple[Entry, ...]
    ended: tuple[Entry, ...] | None = None

    def changed(self) -> list[Entry]:
        """Return the staged entries of read-only files that the run has changed or removed."""
        return [e for e in self.staged if e.superseded and not e.mode & _OWNER_WRITE]

    def present(self) -> Mapping[str, Entry]:
        """Return the entries that describe the run directory as it should be now."""
        entries = {entry.path: entry for entry in self.staged if not entry.superseded}
        entries.update((entry.path, entry) for entry in self.ended or ())
        return entries


def entry_of(root: str, path: str, type_: str) -> Entry:
    """Return the entry of what lies at `path` below `root`, reading it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a socket, a pipe or a device.
    """
    full = os.path.join(root, path)
    found = os.lstat(full)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISREG(found.st_mode):
        size, digest = file_digest(full)
        return Entry(path, FILE, type_, mode, size, sha256=digest)
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(full)
        return Entry(path, LINK, type_, mode, len(os.fsencode(target)), target=target)
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, DIRECTORY, type_, mode, 0)
    raise ValueError(f"{fs.printable(path)} is a socket, a pipe or a device")


def file_digest(path: str) -> tuple[int, str]:
    """Return the size and the SHA-256 of a regular file.

    Raises:
        OSError: it cannot be read, or is a link.
    """
    hasher = hashlib.sha256()
    size = 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        while True:
            data = os.read(fd, _READ_SIZE)
            if not data:
                return size, hasher.hexdigest()
            hasher.update(data)
            size += len(data)
    finally:
        os.close(fd)


def write_manifest(run: Run, manifest: Manifest) -> None:
    """Write the manifest of a run in place of the one it has."""
    meta.write_meta(run, layout.MANIFEST, os.fsencode(format_manifest(manifest)))


def read_manifest(run: Run) -> Manifest:
    """Return the manifest of a run.

    Raises:
        RunDamaged: it is missing or cannot be understood.
    """
    text = os.fsdecode(meta.read_meta(run, layout.MANIFEST))
    try:
        return parse_manifest(text)
    except ValueError as error:
        raise RunDamaged(f"run {run.id} is damaged: manifest: {error}") from None


def find_changed(run: Run) -> list[str]:
    """Return the files that a run was staged with, read-only, and has changed or removed.

    A large manifest is only parsed where there are some; a run that has none has changed nothing.

    Raises:
        RunDamaged: the manifest cannot be understood.
    """
    data = meta.find_meta(run, layout.MANIFEST)
    if data is None or f"\n{_SUPERSEDED}".encode() not in data:
        return []
    return [entry.path for entry in read_manifest(run).changed()]


def has_content_outside(data: bytes) -> bool:
    """Tell whether a link of a staged run has source or dependencies elsewhere, by its manifest.

    What a runtime links to is an interpreter, of which there is a record. Like `find_changed`, this
    does not parse what has no links.
    """
    if f"\n#\t{LINK}\t".encode() not in data:
        return False
    entries = parse_manifest(os.fsdecode(data)).staged
    return any(entry.leads_out and entry.type != RUNTIME for entry in entries)


def format_manifest(manifest: Manifest) -> str:
    """Return the text of a manifest."""
    lines = [_HEADER, _STAGED]
    for entry in manifest.staged:
        lines += _entry_lines(entry)
    if manifest.ended is not None:
        lines.append(_ENDED)
        for entry in manifest.ended:
            lines += _entry_lines(entry)
    return "\n".join(lines) + "\n"


def _entry_lines(entry: Entry) -> list[str]:
    fields = f"#\t{entry.kind}\t{entry.type}\t{entry.mode:04o}\t{entry.size}"
    if entry.kind == FILE:
        line = _digest_line(entry)
        return [fields, _SUPERSEDED + line if entry.superseded else line]
    fields += f"\t{fs.escape_path(entry.path)}"
    if entry.kind == LINK:
        fields += f"\t{fs.escape_path(entry.target)}"
    return [_SUPERSEDED + fields if entry.superseded else fields]


def _digest_line(entry: Entry) -> str:
    # For sha256sum a sole `-` is the standard input.
    path = _DASH if entry.path == "-" else entry.path
    if "\\" in path or "\n" in path or "\r" in path:
        path = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        return f"\\{entry.sha256}  {path}"
    return f"{entry.sha256}  {path}"


def parse_manifest(text: str) -> Manifest:
    """Return the manifest that `text` is.

    Raises:
        ValueError: it is not one; the message names the line.
    """
    head = f"{_HEADER}\n{_STAGED}\n"
    if not text.startswith(head) or not text.endswith("\n"):
        raise ValueError("is cut short, or was written by another version")
    staged: list[Entry] = []
    ended: list[Entry] | None = None
    entries = staged
    at = len(head)
    plain = _PLAIN_ENTRY.match
    while at < len(text):
        # Nearly all of a large manifest, which is read at each start.
        match = plain(text, at)
        if match:
            type_, mode, size, sha256, path = match.groups()
            entries.append(Entry(path, FILE, type_, int(mode, 8), int(size), sha256))
            at = match.end()
            continue
        end = text.index("\n", at)
        line, second = text[at:end], text[end + 1 : text.find("\n", end + 1)]
        if line == _ENDED and ended is None:
            entries = ended = []
            at += len(line) + 1
            continue
        try:
            entry = _parse_entry(line, second)
        except (ValueError, IndexError):
            number = text.count("\n", 0, at) + 1
            raise ValueError(f"line {number} is no entry") from None
        entries.append(entry)
        at += len(line) + 1 + (len(second) + 1 if entry.kind == FILE else 0)
    return Manifest(tuple(staged), None if ended is None else tuple(ended))


def _parse_entry(line: str, second: str) -> Entry:
    """Return an entry; that of a file has a second line."""
    superseded = line.startswith(_SUPERSEDED)
    fields = (line[len(_SUPERSEDED) :] if superseded else line).split("\t")
    mark, kind, type_, mode, size = fields[:5]
    if mark != "#" or kind not in (FILE, LINK, DIRECTORY):
        raise ValueError
    entry = Entry("", kind, type_, int(mode, 8), int(size), superseded=superseded)
    if kind == FILE:
        return _parse_digest(entry, second)
    path = _safe_path(fs.unescape_path(fields[5]))
    return entry._replace(path=path, target=fs.unescape_path(fields[6]) if kind == LINK else "")


def _parse_digest(entry: Entry, line: str) -> Entry:
    superseded = line.startswith(_SUPERSEDED)
    line = line[len(_SUPERSEDED) :] if superseded else line
    escaped = line.startswith("\\")
    digest, gap, path = (
        line[escaped : escaped + 64],
        line[escaped + 64 : escaped + 66],
        line[escaped + 66 :],
    )
    if gap != "  " or not path:
        raise ValueError
    path = _safe_path("-" if path == _DASH else fs.unescape_path(path) if escaped else path)
    return entry._replace(path=path, sha256=digest, superseded=superseded)


def _safe_path(path: str) -> str:
    """Return `path` if it stays below the directory it is relative to.

    A manifest may come from elsewhere, and what it names is opened.
    """
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError
    return path
