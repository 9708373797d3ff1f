"""Unpack an archive that may be hostile into an empty directory.

Zip, and tar in any compression that this Python reads. Whatever an archive says, nothing is
written outside of the directory or through a link, and there is nothing in it but files,
directories and links that stay in it; one path is written once. What is wrong is told by the name
of the member, and whoever called removes what was unpacked until then.

An archive is a bomb where it would take more room than there is, or where it is more than 200 times
its own size and more than 1 GiB: beyond what data compresses to, within what a disk takes.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from gage._internal.errors import ArchiveRefused
from gage._internal.fs import printable

_MOST_RATIO = 200
_LARGE = 1 << 30
_MOST_MEMBERS = 1_000_000
_CHUNK = 1 << 20
_ENCRYPTED = 0x1

_FILE, _DIRECTORY, _LINK, _HARD_LINK = "file", "directory", "link", "hard link"


class _Member(NamedTuple):
    """A member of an archive: `target` is what a link points to, `content` what a file holds."""

    name: str
    kind: str
    mode: int = 0o644
    mtime: float = 0
    size: int = 0
    target: str = ""
    content: IO[bytes] | None = None


def unpack_archive(archive: str, folder: str) -> None:
    """Unpack a zip or tar file into an empty directory.

    Raises:
        ArchiveRefused: it is none, is damaged, or holds what an honest archive does not.
        OSError: the file cannot be read, or the disk is full.
    """
    unpacking = _Unpacking(archive, folder)
    try:
        for member in _members(archive):
            unpacking.add(member)
    except _broken() as error:
        raise _refusal(archive, "is damaged", str(error)) from None


def _members(archive: str) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield from _zip_members(archive, file)
        return
    try:
        opened = tarfile.open(archive, "r:*")  # noqa: SIM115
    except tarfile.ReadError:
        raise _refusal(archive, "is no zip or tar archive") from None
    with opened:
        for info in opened:
            yield _tar_member(archive, opened, info)
        _read_to_the_end(archive, opened)


def _read_to_the_end(archive: str, file: tarfile.TarFile) -> None:
    """Read what follows the last member: there a compressed file has its checksum."""
    assert file.fileobj
    done = 0
    while data := file.fileobj.read(_CHUNK):
        done += len(data)
        if done > _LARGE:
            raise _refusal(archive, "is a bomb", "there is more behind its end")


def _zip_members(archive: str, file: zipfile.ZipFile) -> Iterator[_Member]:
    infos = file.infolist()
    if sum(info.compress_size for info in infos) > os.path.getsize(archive):
        raise _refusal(archive, "is a bomb", "its members overlap")
    for info in infos:
        mode = info.external_attr >> 16
        if info.flag_bits & _ENCRYPTED:
            raise _refusal(archive, f"is encrypted: {printable(info.filename)}")
        mtime = _zip_time(info)
        if info.is_dir():
            yield _Member(info.filename, _DIRECTORY)
        elif stat.S_ISLNK(mode):
            yield _Member(info.filename, _LINK, target=os.fsdecode(file.read(info)))
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            with file.open(info) as content:
                bits = mode & 0o777 or 0o644
                yield _Member(info.filename, _FILE, bits, mtime, info.file_size, "", content)
        else:
            raise _special(archive, info.filename)


def _zip_time(info: zipfile.ZipInfo) -> float:
    import time

    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0


def _tar_member(archive: str, file: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    if info.isdir():
        return _Member(info.name, _DIRECTORY)
    if info.issym():
        return _Member(info.name, _LINK, target=info.linkname)
    if info.islnk():
        return _Member(info.name, _HARD_LINK, target=info.linkname)
    if info.isfile():
        content = file.extractfile(info)
        return _Member(info.name, _FILE, info.mode & 0o777, info.mtime, info.size, "", content)
    raise _special(archive, info.name)


class _Unpacking:
    """An archive on its way into a directory."""

    def __init__(self, archive: str, folder: str) -> None:
        self._archive = archive
        self._folder = folder
        self._kinds: dict[str, str] = {}
        size = os.path.getsize(archive)
        self._limit = max(size * _MOST_RATIO, _LARGE)
        free = os.statvfs(folder)
        self._room = free.f_bavail * free.f_frsize
        self._written = 0

    def add(self, member: _Member) -> None:
        """Write a member."""
        path = self._path_of(member)
        if not path:
            return
        full = os.path.join(self._folder, path)
        if member.kind == _DIRECTORY:
            self._make_directory(member, path)
            return
        self._make_directory(member, os.path.dirname(path))
        if path in self._kinds:
            raise self._refuse(member, "stands in it twice")
        self._kinds[path] = member.kind
        if len(self._kinds) > _MOST_MEMBERS:
            raise self._refuse(member, f"is beyond the first {_MOST_MEMBERS} files")
        if member.kind == _LINK:
            self._check_stays(member, path)
            os.symlink(member.target, full)
        elif member.kind == _HARD_LINK:
            self._copy_earlier(member, full)
        else:
            self._write(member, full)

    def _path_of(self, member: _Member) -> str:
        name = member.name
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise self._refuse(member, "leads out of it")
        return "/".join(parts)

    def _make_directory(self, member: _Member, path: str) -> None:
        missing = []
        while path and path not in self._kinds:
            missing.append(path)
            path = os.path.dirname(path)
        if path and self._kinds[path] != _DIRECTORY:
            raise self._refuse(member, f"is in {printable(path)}, which is a {self._kinds[path]}")
        for path in reversed(missing):
            os.mkdir(os.path.join(self._folder, path), 0o755)
            self._kinds[path] = _DIRECTORY

    def _check_stays(self, member: _Member, path: str) -> None:
        inside = os.path.normpath(os.path.join(os.path.dirname(path), member.target))
        if member.target.startswith("/") or inside.split("/")[0] == ".." or not member.target:
            raise self._refuse(member, f"is a link out of it, to {printable(member.target)}")

    def _copy_earlier(self, member: _Member, full: str) -> None:
        target = self._path_of(member._replace(name=member.target))
        if self._kinds.get(target) not in (_FILE, _HARD_LINK):
            raise self._refuse(
                member, f"is a hard link to {printable(member.target)}, no file before it"
            )
        source = os.path.join(self._folder, target)
        self._count(member, os.path.getsize(source))
        shutil.copy2(source, full)

    def _write(self, member: _Member, full: str) -> None:
        assert member.content
        with open(full, "xb") as file:
            done = 0
            while data := member.content.read(_CHUNK):
                done += len(data)
                if done > member.size:
                    raise self._refuse(member, "is longer than it is said to be")
                self._count(member, len(data))
                file.write(data)
        if done < member.size:
            raise self._refuse(member, "is shorter than it is said to be")
        os.chmod(full, member.mode | 0o400)
        os.utime(full, (member.mtime, member.mtime))

    def _count(self, member: _Member, size: int) -> None:
        self._written += size
        if self._written > min(self._limit, self._room):
            archive = f"{os.path.getsize(self._archive)} bytes"
            what = "more than there is room for" if self._written > self._room else "a bomb"
            raise self._refuse(member, f"makes it {what}: {self._written} bytes of {archive}")

    def _refuse(self, member: _Member, why: str) -> ArchiveRefused:
        return _refusal(self._archive, f"is not unpacked: {printable(member.name)} {why}")


def _special(archive: str, name: str) -> ArchiveRefused:
    return _refusal(archive, f"is not unpacked: {printable(name)} is a device or a pipe")


def _refusal(archive: str, what: str, why: str = "") -> ArchiveRefused:
    text = f"{printable(archive)} {what}"
    return ArchiveRefused(f"{text}: {why}" if why else text)


def _broken() -> tuple[type[Exception], ...]:
    import gzip
    import lzma

    reading = (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError)
    return (*reading, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
