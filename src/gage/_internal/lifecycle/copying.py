"""Copy many files, each in one pass: read, hash, write.

The digest is that of the bytes that were written. A file is opened without following links; one
that changes while it is copied is copied again, and given up after a few times. Where the file
system can share blocks (FICLONE) it does, and the copy, which nobody else writes to, is what is
hashed. Holes stay holes.

A file whose digest is known is not hashed (see `Known`), and where it has a twin, a read-only copy
in an earlier run, that is linked instead of copied.

While the content is at hand it is searched for what the caller looks for (the leak scan: paths
that lead out of the run). To read the files once more for that would take a quarter of the time
that the copy takes; so it is a twentieth. Of a large file only the beginning is searched.

Several processes copy at once where there is enough to copy (see `cores`).
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gage._internal import cores

_READ_SIZE = 1 << 20
# As much of a file is searched.
SEARCHED_SIZE = _READ_SIZE
_CHUNK = 4 << 20
_KERNEL_CHUNK = 64 << 20
_NOT_IN_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_TRIES = 3
_RESTLESS = "restless"
_REFUSED = "refused"
_OWNER_WRITE = 0o200
_WRITE_BITS = 0o222

_NOT_READ_ONLY = (
    "is not read-only, and what writes to it would write to the run",
    "take its write permission (chmod a-w), or use link = auto",
)

_FICLONE = 0x40049409
_SOURCE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_TARGET_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


# How a copy gets its content: blocks are shared where that can be, or never, or it is an error; or
# the copy is the file itself, under another name.
AUTO, COPY, REFLINK, HARDLINK = LINKS = ("auto", "copy", "reflink", "hardlink")

# What tells that a file is still the one that was read: device, inode, size, mtime, ctime.
Identity = tuple[int, int, int, int, int]


class Known(NamedTuple):
    """What was found in a file when it was copied before, true while `identity` is the same.

    `twin` is the path of a copy that may be linked, if any, and `twin_identity` what it was when
    its content was known; where only the time of its last link tells it apart, it is read again.
    Where the `content` is given, all of it, the file is not looked at any more: `mode` is its.
    """

    identity: Identity
    sha256: str
    has_needle: bool
    twin: str | None = None
    twin_identity: Identity = (0, 0, 0, 0, 0)
    content: bytes | None = None
    mode: int = 0


class Job(NamedTuple):
    """A file to copy: two absolute paths, whether the copy stays writable, and what is known.

    `link` is one of `LINKS`.
    """

    source: str
    target: str
    is_writable: bool = False
    known: Known | None = None
    link: str = "auto"


class Copied(NamedTuple):
    """A copy: its permission bits and digest, and what tells that it and its source are the same.

    `has_needle` tells whether one of what was looked for is in it.
    """

    mode: int
    sha256: str
    has_needle: bool
    identity: Identity
    origin: Identity

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.identity[2]


# Tells whether something is in a file's content.
Find = Callable[[bytes], object]


class Restless(Exception):
    """A file changed each time that it was copied."""


class CannotLink(Exception):
    """A file cannot be linked as asked; reason and remedy are the rest of sentences about it."""

    def __init__(self, source: str, reason: str, remedy: str) -> None:
        super().__init__(f"{source} {reason}")
        self.source = source
        self.reason = reason
        self.remedy = remedy


def copy_files(jobs: Sequence[Job], needles: Sequence[bytes] = ()) -> list[Copied | None]:
    """Copy files, with all cores where that is faster; return the copies in the jobs' order.

    Each is searched for `needles`, up to `SEARCHED_SIZE`.

    The copies have the modes of their sources, less the write bits unless they stay writable.
    For a source that is no regular file nothing is made, and None returned.

    Raises:
        Restless: a file changed each time; its argument is the source.
        CannotLink: a file cannot be linked as asked.
        OSError: a file cannot be read or written; `filename` is its path.
    """
    items = [(*job[:3], job.known and tuple(job.known), job.link) for job in jobs]
    much = cores.is_much(len(jobs), lambda: sum(_size(job.source) for job in jobs))
    copies = cores.do_all(copy_one, items, list(needles), much)
    if _RESTLESS in copies:
        raise Restless(jobs[copies.index(_RESTLESS)].source)
    refused = next((each for each in copies if each and each[0] == _REFUSED), None)
    if refused:
        raise CannotLink(*refused[1:])
    return [copied and Copied(*copied) for copied in copies]


def copy_one(item: tuple[Any, ...], needles: Sequence[bytes]) -> tuple[Any, ...] | str | None:
    """Copy the file of a job; return `_RESTLESS` or `_REFUSED` for what could not be.

    What it is given and returns are the plain values of `Job` and `Copied`, as `cores` needs them.
    """
    source, target, is_writable, known, link = item
    job = Job(source, target, is_writable, known and Known(*known), link)
    find = _finder(tuple(needles))
    try:
        copied = _link_itself(job, find) if link == HARDLINK else _copy_file(job, find)
    except Restless:
        return _RESTLESS
    except CannotLink as error:
        return _REFUSED, error.source, error.reason, error.remedy
    return copied and tuple(copied)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _copy_file(job: Job, find: Find) -> Copied | None:
    source = job.source
    if job.known and job.known.twin and not job.is_writable and job.link == AUTO:
        copied = _link_twin(job, job.known, job.known.twin)
        if copied is not None:
            return copied
    if job.known and job.known.content is not None and job.link in (AUTO, COPY):
        return _write_known(job, job.known, job.known.content)
    for _ in range(_TRIES):
        try:
            fd = os.open(source, _SOURCE_FLAGS)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return None
            raise
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                return None
            copied = _try_copy(fd, before, job, find)
        finally:
            os.close(fd)
        if copied is not None:
            return copied
        os.unlink(job.target)
    raise Restless(source)


def identity_of(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _link_twin(job: Job, known: Known, twin: str) -> Copied | None:
    """Link the twin of a file to its target; return None where that cannot be vouched for."""
    try:
        source = os.lstat(job.source)
        found = os.lstat(twin)
        mode = source.st_mode & 0o777 & ~_WRITE_BITS
        if (
            identity_of(source) != known.identity
            or found.st_mode != stat.S_IFREG | mode
            or not _is_twin(found, known, twin)
        ):
            return None
        os.link(twin, job.target, follow_symlinks=False)
    except OSError:
        # It is gone, has as many links as it can, or lies elsewhere: then there is a copy.
        return None
    linked = os.lstat(job.target)
    if identity_of(linked)[:4] != known.twin_identity[:4]:
        os.unlink(job.target)
        return None
    return Copied(mode, known.sha256, known.has_needle, identity_of(linked), known.identity)


def _link_itself(job: Job, find: Find) -> Copied | None:
    """Make the target another name of the source, which must be read-only, and hash it.

    Raises:
        CannotLink: it is not, or lies on another file system.
    """
    try:
        fd = os.open(job.source, _SOURCE_FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        mode = found.st_mode & 0o777
        if mode & _WRITE_BITS or job.is_writable:
            raise CannotLink(job.source, *_NOT_READ_ONLY)
        try:
            os.link(job.source, job.target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            reason = f"cannot be linked: {error.strerror}"
            raise CannotLink(job.source, reason, "use link = auto") from None
        before = os.fstat(fd)
        has_needle = bool(find(os.pread(fd, SEARCHED_SIZE, 0)))
        size, sha256 = _digest_large(fd, None, before.st_size)
        identity = identity_of(os.lstat(job.target))
        if (
            size != before.st_size
            or not identity_of(os.fstat(fd)) == identity_of(before) == identity
        ):
            raise Restless(job.source)
        return Copied(mode, sha256, has_needle, identity, identity)
    finally:
        os.close(fd)


def _is_twin(found: os.stat_result, known: Known, twin: str) -> bool:
    identity = identity_of(found)
    if identity == known.twin_identity:
        return True
    # Each link that is made or removed changes the last time; so does a write, with the others.
    if identity[:4] != known.twin_identity[:4]:
        return False
    fd = os.open(twin, _SOURCE_FLAGS)
    try:
        read = _digest_large(fd, None, found.st_size)
        return read == (found.st_size, known.sha256) and identity_of(os.fstat(fd)) == identity
    finally:
        os.close(fd)


def _try_copy(fd: int, before: os.stat_result, job: Job, find: Find) -> Copied | None:
    """Copy an open file; return None if it has changed since `before`."""
    origin = identity_of(before)
    known = job.known if job.known and job.known.identity == origin else None
    mode = _mode_of(job, before.st_mode)
    copy = os.open(job.target, _TARGET_FLAGS, 0o600)
    try:
        size, sha256, has_needle = _copy_content(fd, copy, before, find, known, job)
        made = _finish(copy, mode, before.st_mtime_ns)
    except OSError as error:
        raise OSError(error.errno, error.strerror, job.target) from None
    finally:
        os.close(copy)
    if size != before.st_size or made.st_size != size or identity_of(os.fstat(fd)) != origin:
        return None
    return Copied(mode, sha256, has_needle, identity_of(made), origin)


def _write_known(job: Job, known: Known, content: bytes) -> Copied:
    """Make the copy of a file from its content alone."""
    mode = _mode_of(job, known.mode)
    copy = os.open(job.target, _TARGET_FLAGS, 0o600)
    try:
        _write_all(copy, content)
        made = _finish(copy, mode, known.identity[3])
    except OSError as error:
        raise OSError(error.errno, error.strerror, job.target) from None
    finally:
        os.close(copy)
    return Copied(mode, known.sha256, known.has_needle, identity_of(made), known.identity)


def _mode_of(job: Job, mode: int) -> int:
    mode &= 0o777
    return mode | _OWNER_WRITE if job.is_writable else mode & ~_WRITE_BITS


def _finish(copy: int, mode: int, mtime_ns: int) -> os.stat_result:
    os.fchmod(copy, mode)
    os.utime(copy, ns=(mtime_ns, mtime_ns))
    return os.fstat(copy)


def _copy_content(
    fd: int, copy: int, before: os.stat_result, find: Find, known: Known | None, job: Job
) -> tuple[int, str, bool]:
    size = before.st_size
    if size < _READ_SIZE and job.link != REFLINK:
        data = os.read(fd, size + 1)
        if len(data) != size:
            # It is another size than it was: what was read is of no use.
            return -1, "", False
        if os.write(copy, data) != size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if known:
            return size, known.sha256, known.has_needle
        return size, hashlib.sha256(data).hexdigest(), bool(find(data))
    is_cloned = job.link != COPY and _clone(fd, copy)
    if job.link == REFLINK and not is_cloned and size:
        raise CannotLink(
            job.source,
            "and a copy of it cannot share blocks on this file system",
            "use link = auto",
        )
    if known:
        size = size if is_cloned else _copy_known(fd, copy, before)
        return size, known.sha256, known.has_needle
    has_needle = bool(find(os.pread(fd, SEARCHED_SIZE, 0)))
    if is_cloned:
        return *_digest_large(copy, None, size), has_needle
    if before.st_blocks * 512 < size:
        return *_copy_sparse(fd, copy, size, hashlib.sha256()), has_needle
    return *_digest_large(fd, copy, size), has_needle


def _copy_known(fd: int, copy: int, before: os.stat_result) -> int:
    """Copy a large file that need not be hashed; return its size."""
    size = before.st_size
    if before.st_blocks * 512 < size:
        return _copy_sparse(fd, copy, size, None)[0]
    done = _copy_in_kernel(fd, copy, size)
    while done <= size:
        data = os.read(fd, _READ_SIZE)
        if not data:
            break
        _write_all(copy, data)
        done += len(data)
    return done


def _copy_in_kernel(fd: int, copy: int, size: int) -> int:
    """Copy as much as the file systems let the kernel do by itself; return how much."""
    done = 0
    try:
        while done < size:
            count = os.copy_file_range(fd, copy, min(_KERNEL_CHUNK, size - done))
            if not count:
                break
            done += count
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NOT_IN_KERNEL:
            raise
    return done


@functools.lru_cache(maxsize=1)
def _finder(needles: tuple[bytes, ...]) -> Find:
    """Return a function that tells whether one of `needles` is in what it is given."""
    if not needles:
        return lambda data: False
    if len(needles) == 1:
        return lambda data: needles[0] in data
    # For several of them this takes as long as for one.
    import re

    return re.compile(b"|".join(map(re.escape, needles))).search


def _clone(fd: int, copy: int) -> bool:
    import fcntl

    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(copy, _FICLONE, fd)
    except OSError:
        return False
    return True


def _digest_large(fd: int, copy: int | None, size: int) -> tuple[int, str]:
    """Hash a large file, writing it to `copy` meanwhile; return the bytes read and the digest.

    A thread hashes what was read while this one writes it and reads on. Reads stop behind
    `size`: a file that grows faster than it is copied has no end.
    """
    import queue
    import threading

    chunks: queue.Queue[bytes] = queue.Queue(maxsize=2)
    hasher = hashlib.sha256()

    def hash_chunks() -> None:
        for data in iter(chunks.get, b""):
            hasher.update(data)

    thread = threading.Thread(target=hash_chunks, daemon=True)
    thread.start()
    done = 0
    try:
        while done <= size:
            data = os.read(fd, _CHUNK)
            if not data:
                break
            chunks.put(data)
            done += len(data)
            if copy is not None:
                _write_all(copy, data)
    finally:
        chunks.put(b"")
        thread.join()
    return done, hasher.hexdigest()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _copy_sparse(fd: int, copy: int, size: int, hasher: Any) -> tuple[int, str]:
    """Copy a file with holes, which are hashed as the zeros that they read as.

    Without a hasher there is no digest.
    """
    os.ftruncate(copy, size)
    done = 0
    for start, end in _data_ranges(fd, size):
        _hash_zeros(hasher, start - done)
        done = start
        os.lseek(fd, start, os.SEEK_SET)
        os.lseek(copy, start, os.SEEK_SET)
        while done < end:
            data = os.read(fd, min(_CHUNK, end - done))
            if not data:
                return done, ""
            if hasher:
                hasher.update(data)
            _write_all(copy, data)
            done += len(data)
    _hash_zeros(hasher, size - done)
    return size, hasher.hexdigest() if hasher else ""


def _data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < end:
            yield start, end


def _hash_zeros(hasher: Any, count: int) -> None:
    zeros = bytes(min(count, _CHUNK)) if hasher else b""
    while zeros and count > 0:
        hasher.update(zeros[:count])
        count -= len(zeros)
