"""Read a capsule that may be hostile: nothing is taken from it that was not checked.

What a capsule says is compared with itself: members are those that a capsule has, none twice, none
over another, none outside; sizes are those of the manifests. A capsule is a bomb where what it says
it holds, holes left out, is more than 200 times its size and more than 1 GiB.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from gage._internal.errors import CapsuleRefused
from gage._internal.fs import printable
from gage._internal.portable import members
from gage._internal.store import layout
from gage._internal.types import Run

_MOST_RATIO = 200
_LARGE = 1 << 30
_CHUNK = 1 << 20
_ENCRYPTED = 0x1
_HEADER_SIZE = 30
_MOST_INDEX = 256 << 20


class File(NamedTuple):
    """A file of a run, or an empty directory: its path there, and where it is in the capsule."""

    path: str
    info: zipfile.ZipInfo
    is_sparse: bool = False


class CapsuleRun(NamedTuple):
    """A run in a capsule, by part: files of the run directory, of its meta, and of the notes.

    `links` are those that the run made before it was lost, of which its manifest does not tell.
    """

    id: str
    seal: str
    files: Sequence[File]
    meta: Sequence[File]
    notes: Sequence[File]
    links: Mapping[str, str]


class Capsule(NamedTuple):
    """An open capsule and the runs in it."""

    path: str
    archive: zipfile.ZipFile
    runs: Sequence[CapsuleRun]


@contextmanager
def open_capsule(path: str) -> Iterator[Capsule]:
    """Open a capsule and check what it says of itself.

    Raises:
        CapsuleRefused: it is none, is damaged, or holds what an honest one does not.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            yield Capsule(path, archive, _runs(path, archive))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise refusal(path, f"is damaged or no capsule: {error}") from None


def has_runs(path: str) -> bool:
    """Tell whether a file that Python executes has runs in it, and not the runner only."""
    with zipfile.ZipFile(path) as archive:
        return members.INDEX in archive.namelist()


def refusal(path: str, what: str) -> CapsuleRefused:
    """Return the error for a capsule that is not taken."""
    return CapsuleRefused(f"{printable(path)} {what}", "nothing of it was taken; get it again")


def _check_members(path: str, archive: zipfile.ZipFile) -> None:
    infos = archive.infolist()
    seen = set()
    for info in infos:
        name = info.filename
        shown = printable(name)
        if name in seen:
            raise refusal(path, f"has {shown} twice")
        seen.add(name)
        mode = info.external_attr >> 16
        if not (members.is_tag(name) or name.startswith(members.PAYLOAD)):
            raise refusal(path, f"has what a capsule has not: {shown}")
        if info.orig_filename != name or not members.is_safe(name.rstrip("/")):
            raise refusal(path, f"has a name that leads elsewhere: {printable(info.orig_filename)}")
        if stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFDIR) or info.is_dir() != stat.S_ISDIR(
            mode
        ):
            raise refusal(path, f"has a link or a device: {shown}")
        if info.flag_bits & _ENCRYPTED:
            raise refusal(path, f"is encrypted: {shown}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refusal(path, f"is compressed in a way that a capsule is not: {shown}")
    end = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset < end:
            raise refusal(path, f"is a bomb: {printable(info.filename)} overlaps another member")
        end = info.header_offset + _HEADER_SIZE + info.compress_size
    if end > os.path.getsize(path):
        raise refusal(path, "is cut short")


def _runs(path: str, archive: zipfile.ZipFile) -> Sequence[CapsuleRun]:
    index = _read_index(path, archive)
    names, sparse = index["names"], set(index["sparse"])
    parts: dict[str, tuple[str, str, list[File]]] = {}
    runs = []
    for each in index["runs"]:
        found: list[list[File]] = [[], [], []]
        run = Run(each["id"], "/" + each["id"])
        folders = (run.run_dir, layout.run_meta_dir(run), layout.run_notes_dir(run))
        for folder, files in zip(folders, found):  # noqa: B905 - Python 3.9 has no strict
            parts[folder[1:]] = (each["id"], folder, files)
        start = each["id"] + "/"
        links = {p[len(start) :]: to for p, to in index["links"].items() if p.startswith(start)}
        if not all(map(members.is_safe, links)):
            raise refusal(path, f"has a link that leads elsewhere: {printable(str(links))}")
        runs.append(CapsuleRun(each["id"], each["seal"], found[0], found[1], found[2], links))
    size, real, seen = 0, 0, set()
    for info in archive.infolist():
        name = info.filename.rstrip("/")
        if not info.filename.startswith(members.PAYLOAD) or name == members.CRATE:
            continue
        full = names.get(name, name[len(members.PAYLOAD) :])
        folder, _, inner = full.partition("/")
        if folder not in parts or not members.is_safe(full) or not inner:
            raise refusal(path, f"has a file of no run in it: {printable(full)}")
        if full in seen:
            raise refusal(path, f"has {printable(full)} twice")
        seen.add(full)
        is_sparse = info.filename in sparse
        parts[folder][2].append(File(inner, info, is_sparse))
        size += info.file_size
        real += 0 if is_sparse else info.file_size
    for full in seen:
        parent = full.rpartition("/")[0]
        while "/" in parent:
            if parent in seen:
                raise refusal(path, f"has files below a file: {printable(full)}")
            parent = parent.rpartition("/")[0]
    if real > _LARGE and real > os.path.getsize(path) * _MOST_RATIO:
        raise refusal(path, f"is a bomb: it says that it holds {real} bytes")
    return runs


def _read_index(path: str, archive: zipfile.ZipFile) -> Mapping[str, dict]:  # type: ignore[type-arg]
    try:
        info = archive.getinfo(members.INDEX)
    except KeyError:
        raise refusal(path, "is no capsule: it has no capsule.json") from None
    if info.file_size > _MOST_INDEX:
        raise refusal(path, "is a bomb: its capsule.json is too large")
    try:
        index = json.loads(archive.read(info))
        if index["format"] > members.FORMAT:
            what = f"has format {index['format']}; this Gage reads up to {members.FORMAT}"
            raise CapsuleRefused(f"{printable(path)} {what}", "use a newer Gage")
        ids = [run["id"] for run in index["runs"]]
        is_good = (
            all(isinstance(i, str) and layout.is_run_id(i) for i in ids)
            and len(set(ids)) == len(ids)
            and all(isinstance(run["seal"], str) for run in index["runs"])
            and all(isinstance(name, str) for name in index["names"].values())
            and all(isinstance(to, str) for to in index["links"].values())
            and isinstance(index["sparse"], list)
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_good = False
    if not is_good:
        raise refusal(path, "is damaged: its capsule.json cannot be understood")
    checked: Mapping[str, dict] = index  # type: ignore[type-arg]
    return checked


def read_file(
    capsule: Capsule,
    file: File,
    take: Callable[[bytes], object],
) -> str:
    """Read a file of a capsule piece by piece; return its digest.

    Raises:
        CapsuleRefused: it is not as large as it says, or damaged.
    """
    hasher = hashlib.sha256()
    size = 0
    try:
        with capsule.archive.open(file.info) as source:
            while data := source.read(_CHUNK):
                size += len(data)
                hasher.update(data)
                take(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise refusal(capsule.path, f"is damaged: {printable(file.path)}: {error}") from None
    if size != file.info.file_size:
        raise refusal(
            capsule.path, f"is damaged: {printable(file.path)} is not as large as it says"
        )
    return hasher.hexdigest()
