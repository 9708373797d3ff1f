"""Pack runs into a capsule: read once, compared with the manifest on the way, renamed into place.

Equal runs give equal bytes: members are in order, and what differs from machine to machine, such as
times of modification, is not in them (`log/files` has these).
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gage
from gage._internal import fs
from gage._internal.errors import NotStaged, RunChanged
from gage._internal.fs import printable
from gage._internal.portable import members
from gage._internal.portable.bag import bag_files, manifest_of
from gage._internal.portable.carried import iter_runner
from gage._internal.portable.crate import PackedRun, crate_metadata
from gage._internal.store import layout, meta, status
from gage._internal.store.manifest import DIRECTORY, FILE, GENERATED, entry_of, read_manifest
from gage._internal.store.record import read_record
from gage._internal.store.seal import read_seal
from gage._internal.store.verify import ADDED, CHANGED, MISSING, Fault, compare_meta, faults_text
from gage._internal.types import Run

_CHUNK = 1 << 20
# What is compressed to see whether it is worth it, and what it must come to.
_SAMPLE = 64 << 10
_SMALL = 4 << 10
_WORTH = 0.8
_LEVEL = 1
_BLOCK = 512

# Is told how many bytes of how many are packed.
Progress = Callable[[int, int], None]


class Packed(NamedTuple):
    """What was packed: how many files and bytes of runs, and how large the capsule is."""

    files: int
    bytes: int
    size: int


class _Member(NamedTuple):
    """A file or empty directory on its way: where it is, its name, and what it must be."""

    source: str
    name: str
    mode: int
    size: int
    sha256: str = ""
    is_dir: bool = False


class _Content(NamedTuple):
    """All that goes into a capsule of a run."""

    run: PackedRun
    members: Sequence[_Member]
    names: Mapping[str, str]
    sparse: Sequence[str]
    links: Mapping[str, str]
    seal: str


def pack_runs(
    runs: Sequence[Run],
    path: str,
    progress: Progress = lambda done, total: None,
    *,
    held: bool = False,
) -> Packed:
    """Pack staged or ended runs into a file, and those that nobody executes though they are `held`.

    Raises:
        NotStaged: a run was not staged, or is being run.
        RunChanged: a run is not as it was recorded.
        RunDamaged: its meta files cannot be read.
        OSError: something cannot be read or written.
    """
    contents = [_read_content(run, held) for run in sorted(runs)]
    beside = fs.path_beside(path)
    try:
        with open(beside, "xb") as out:
            packed = _write(out, contents, progress)
            out.flush()
            fs.sync_file(out.fileno())
        fs.put_in_place(beside, path)
    except BaseException:
        fs.discard(beside)
        raise
    return packed


def _read_content(run: Run, held: bool) -> _Content:
    record = read_record(run)
    is_active = record.status in status.ACTIVE and not held
    if is_active or record.staged is None:
        raise NotStaged(f"run {run.id} cannot be packed: it is {record.status}", "gage list")
    seal = read_seal(run)
    is_open = seal.ended is None and record.started is not None
    faults = list(compare_meta(run, seal, is_open))
    expected = read_manifest(run).present()
    found = set(fs.iter_paths(run.run_dir))
    if is_open:
        # Nothing recorded what a run had generated that was lost.
        more = {p: entry_of(run.run_dir, p, GENERATED) for p in found - expected.keys()}
        expected = {**expected, **more}
    faults += [Fault(each, MISSING) for each in expected.keys() - found]
    faults += [Fault(each, ADDED) for each in found - expected.keys()]
    if faults:
        raise _changed(run, faults)
    names: dict[str, str] = {}
    entries, packed, sparse = [], [], []
    links: dict[str, str] = {}
    for entry in sorted(expected.values(), key=lambda each: os.fsencode(each.path)):
        name = _name(f"{run.id}/{entry.path}", names)
        packed.append((entry, name))
        if entry.kind not in (FILE, DIRECTORY):
            # BagIt has no links; the manifest has them, but for those that a lost run made.
            if is_open and entry.type == GENERATED:
                links[f"{run.id}/{entry.path}"] = entry.target
            continue
        full = f"{run.run_dir}/{entry.path}"
        is_changeable = is_open and (entry.is_writable or entry.type == GENERATED)
        digest = "" if is_changeable else entry.sha256
        is_dir = entry.kind == DIRECTORY
        entries.append(_Member(full, name, entry.mode, entry.size, digest, is_dir))
        if not is_dir and _is_sparse(full):
            sparse.append(members.PAYLOAD + name)
    entries += _record_members(run, names)
    return _Content(PackedRun(record, packed), entries, names, sparse, links, seal.digest)


def _record_members(run: Run, names: dict[str, str]) -> Iterator[_Member]:
    """Yield the files of the meta directory, and the notes."""
    for folder, left_out in (
        (layout.run_meta_dir(run), (layout.LOCK, layout.SPARE)),
        (layout.run_notes_dir(run), layout.NOTES_HERE),
    ):
        if not os.path.isdir(folder):
            continue
        for path in sorted(fs.iter_paths(folder), key=os.fsencode):
            is_passing = fs.find_name_beside(os.path.basename(path)) is not None
            if is_passing or path in left_out:
                continue
            found = os.lstat(f"{folder}/{path}")
            if stat.S_ISREG(found.st_mode):
                name = _name(f"{os.path.basename(folder)}/{path}", names)
                mode = stat.S_IMODE(found.st_mode)
                yield _Member(f"{folder}/{path}", name, mode, found.st_size)


def _name(path: str, names: dict[str, str]) -> str:
    """Return what a path goes by; `names` gets all names that stand for another."""
    name = members.member_name(path, names)
    if name != path:
        names[name] = path
    return name


def _is_sparse(path: str) -> bool:
    found = os.lstat(path)
    return found.st_size > _CHUNK and found.st_blocks * _BLOCK < found.st_size // 2


def _changed(run: Run, faults: Sequence[Fault]) -> RunChanged:
    told = f"run {run.id} is not as it was recorded:{faults_text(faults)}"
    return RunChanged(told, "what is not whole is not packed")


def _write(out: Any, contents: Sequence[_Content], progress: Progress) -> Packed:
    total = sum(member.size for content in contents for member in content.members)
    tags: dict[str, str] = {}
    payload: dict[str, str] = {}
    done = 0
    with zipfile.ZipFile(out, "w") as archive:

        def add_tag(name: str, data: bytes) -> None:
            _add(archive, name, data)
            tags[name] = hashlib.sha256(data).hexdigest()

        for name, data in iter_runner():
            add_tag(name, data)
        add_tag(members.INDEX, _index(contents))
        for content in contents:
            for member in content.members:
                name = members.PAYLOAD + member.name
                if member.is_dir:
                    archive.writestr(_info(name + "/", stat.S_IFDIR | member.mode), b"")
                    continue
                payload[name] = _add_file(archive, name, member, content.run.record.run)
                done += member.size
                progress(done, total)
        records = [content.run.record for content in contents]
        crate = crate_metadata([content.run for content in contents])
        _add(archive, members.CRATE, crate)
        payload[members.CRATE] = hashlib.sha256(crate).hexdigest()
        for name, data in bag_files(payload, total + len(crate), records):
            add_tag(name, data)
        _add(archive, members.TAG_MANIFEST, manifest_of(tags))
    return Packed(sum(len(content.run.files) for content in contents), total, out.tell())


def _index(contents: Sequence[_Content]) -> bytes:
    names: dict[str, str] = {}
    for content in contents:
        names.update((members.PAYLOAD + name, path) for name, path in content.names.items())
    return meta.json_bytes(
        {
            "format": members.FORMAT,
            "gage": gage.__version__,
            "runs": [{"id": each.run.record.run.id, "seal": each.seal} for each in contents],
            "names": names,
            "sparse": [name for content in contents for name in content.sparse],
            "links": {path: to for content in contents for path, to in content.links.items()},
        }
    )


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    # A time is wanted, and the same for all; this is the first that zip has.
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = _info(name, stat.S_IFREG | mode)
    kind = zipfile.ZIP_DEFLATED if _is_worth(data) else zipfile.ZIP_STORED
    archive.writestr(info, data, kind, _LEVEL)


def _is_worth(data: bytes) -> bool:
    """Tell by the start of a file whether it becomes so much smaller that it is worth the time."""
    sample = data[:_SAMPLE]
    if len(sample) < _SMALL:
        return False
    return len(zlib.compress(sample, _LEVEL)) < len(sample) * _WORTH


def _add_file(archive: zipfile.ZipFile, name: str, member: _Member, run: Run) -> str:
    """Add a file; return its digest.

    Raises:
        RunChanged: it is not what it should be.
    """
    with open(member.source, "rb", buffering=0) as file:
        data = file.read(min(member.size, _CHUNK) + 1)
        if len(data) == member.size:
            digest = hashlib.sha256(data).hexdigest()
            _check(digest, len(data), member, run)
            _add(archive, name, data, member.mode)
            return digest
        info = _info(name, stat.S_IFREG | member.mode)
        info.file_size = member.size
        if _is_worth(data):
            info.compress_type = zipfile.ZIP_DEFLATED
            # A file that is written piece by piece takes its level from here only.
            info._compresslevel = _LEVEL  # type: ignore[attr-defined]
        hasher = hashlib.sha256()
        size = 0
        with archive.open(info, "w") as out:
            while data:
                hasher.update(data)
                out.write(data)
                size += len(data)
                if size > member.size:
                    break
                data = file.read(_CHUNK)
    digest = hasher.hexdigest()
    _check(digest, size, member, run)
    return digest


def _check(digest: str, size: int, member: _Member, run: Run) -> None:
    if size != member.size or (member.sha256 and digest != member.sha256):
        path = member.name.partition("/")[2]
        expected = f"sha256 {member.sha256}" if member.sha256 else f"{member.size} bytes"
        raise _changed(run, [Fault(printable(path), CHANGED, expected, digest)])
