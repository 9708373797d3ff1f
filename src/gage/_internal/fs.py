"""Files as Gage writes them: whole or not at all, and with any name.

Paths are `str` as `os.fsdecode` gives them, so a name that is not UTF-8 survives. Records
are lines, so `escape_path` and `unescape_path` stand for a path in one.

Durability: `replace_file` and `create_file` do not wait for the disk; `sync` does, once for
everything written before it. Each commit point calls `sync` first (see `docs/format.md`).
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from gage._internal import proc

READ_ONLY = 0o444

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {escape: char for char, escape in _ESCAPES.items()}
_TO_ESCAPE = re.compile(r"[\\\n\r\t]")
_TO_UNESCAPE = re.compile(r"\\[\\nrt]")
# What is there for a moment only: the start of a name, the pid of who made it, where that pid
# means something, which of the processes that had it one after the other, and a number.
_BESIDE = re.compile(r"\.(.*)\.(\d+)\.([0-9a-f]{8})([0-9a-f]{8})[0-9a-f]{8}", re.DOTALL)
# Of any characters as many fit into a file name, with what is added.
_LONGEST_START = 48
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def escape_path(path: str) -> str:
    r"""Return `path` with backslash, newline, carriage return and tab as `\\ \n \r \t`."""
    return _TO_ESCAPE.sub(lambda m: _ESCAPES[m.group()], path)


def unescape_path(text: str) -> str:
    """Return the path that `escape_path` made `text` of."""
    return _TO_UNESCAPE.sub(lambda m: _UNESCAPES[m.group()], text)


def printable(text: str) -> str:
    r"""Return `text` for a line that people read: control and undecodable characters escaped.

    Letters and symbols of every script stay; a newline becomes `\n`, a byte that is not UTF-8
    becomes `\xNN`.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _visible(char) for char in text)


def _visible(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def file_name_for(name: str) -> str:
    """Return a file name for any text: bytes that a file name cannot hold as `%XX`.

    Percent signs, slashes, control characters, a leading dot and bytes that are not UTF-8 are
    encoded as in URLs; the rest stays as it is.
    """
    return "".join(
        _percent(char) if _needs_percent(char, first=i == 0) else char
        for i, char in enumerate(name)
    )


def name_of_file(file_name: str) -> str:
    """Return the text that `file_name_for` made `file_name` of."""
    raw = re.sub(
        rb"%([0-9A-F]{2})",
        lambda m: bytes([int(m.group(1), 16)]),
        os.fsencode(file_name),
    )
    return os.fsdecode(raw)


def _needs_percent(char: str, first: bool) -> bool:
    return (char in "%/" or char < " " or char == "\x7f" or "\udc80" <= char <= "\udcff") or (
        first and char == "."
    )


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(char))


def replace_file(path: str, data: bytes, mode: int = READ_ONLY) -> None:
    """Write `data` beside `path` and rename it into place, with exactly `mode`."""
    put_in_place(write_beside(path, data, mode), path)


def put_in_place(beside: str, path: str) -> None:
    """Rename what `write_beside` wrote into its place."""
    try:
        os.replace(beside, path)
    except BaseException:
        discard(beside)
        raise


def create_file(path: str, data: bytes, mode: int = READ_ONLY) -> None:
    """Create `path` whole, unless it exists: of several creators exactly one succeeds.

    Uses link(2), which is atomic on network file systems too, and O_EXCL where the file
    system has no hard links.

    Raises:
        FileExistsError: `path` exists.
    """
    beside = write_beside(path, data, mode)
    try:
        _link(beside, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _write(path, data, mode)
    finally:
        discard(beside)


def _link(beside: str, path: str) -> None:
    try:
        os.link(beside, path)
    except FileExistsError:
        # A network file system may repeat a request that had succeeded.
        if os.stat(beside).st_nlink != 2:
            raise


def write_beside(path: str, data: bytes, mode: int = READ_ONLY) -> str:
    """Write what is to be renamed to `path`, with exactly `mode`; return where."""
    beside = path_beside(path)
    _write(beside, data, mode)
    return beside


def path_beside(path: str) -> str:
    """Return a path that nobody uses, beside `path`, for what is there for a moment only.

    Its name tells who made it (see `name_beside` and `is_abandoned`).
    """
    return _beside(path, os.urandom(4).hex())


def mark_beside(path: str) -> str:
    """Return the one path beside `path` that is this process's own, to mark that it works on it."""
    return _beside(path, "00000000")


def _beside(path: str, number: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name[:_LONGEST_START]}.{_maker(os.getpid())}{number}")


@functools.cache
def _maker(pid: int) -> str:
    return f"{pid}.{proc.pid_space()}{proc.find_life(pid)}"


def find_name_beside(name: str) -> str | None:
    """Return the name (the start of a long one) beside which a path of Gage's own stands.

    None where `name` is not one of `path_beside` and `mark_beside`.
    """
    match = _BESIDE.fullmatch(name)
    return None if match is None else match[1]


def is_abandoned(name: str) -> bool:
    """Tell whether a name is one of `path_beside` or `mark_beside`, of a process surely gone.

    A process of another host, or of another container on this one, cannot be seen.
    """
    match = _BESIDE.fullmatch(name)
    if match is None or match[3] != proc.pid_space():
        return False
    return proc.find_life(int(match[2])) != match[4]


def _write(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, data)
            os.fchmod(fd, mode)
        finally:
            # A network file system may tell only now that the disk is full.
            os.close(fd)
    except OSError as error:
        discard(path)
        raise OSError(error.errno, error.strerror, path) from None
    except BaseException:
        discard(path)
        raise


def discard(path: str) -> None:
    """Remove a file that is of no use; where that fails, it is a leftover that is found later."""
    try:
        os.unlink(path)
    except OSError:
        pass


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to `fd`, however many calls that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def append_file(path: str, data: bytes) -> None:
    """Append `data` to `path` in one write, creating it if need be; all of it or nothing."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(fd).st_size
        try:
            write_all(fd, data)
        except OSError as error:
            # On a disk that fills up, a part of a line would spoil the next one.
            os.ftruncate(fd, size)
            raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def read_bytes(path: str) -> bytes:
    """Return the whole of a file."""
    # Unbuffered: the records of a run are many small files.
    with open(path, "rb", buffering=0) as file:
        return file.read()


def make_read_only(path: str) -> None:
    """Take all write bits from a regular file; links are left alone, with what they point to."""
    mode = os.lstat(path).st_mode
    if mode & 0o170000 == 0o100000 and mode & 0o222:
        os.chmod(path, mode & 0o7555)


def make_writable(path: str) -> None:
    """Give the owner's write bit to a file; one that is not there is no error."""
    try:
        os.chmod(path, os.lstat(path).st_mode & 0o7777 | 0o200)
    except FileNotFoundError:
        pass


def sync(*paths: str) -> None:
    """Wait until all that was written to the file systems of `paths` is on disk.

    One syncfs(2) costs what one fsync(2) does, where a flush for every file costs many times
    a copy; and it writes what no fsync of a file does, the directories above it. Does nothing
    when the environment has `GAGE_SYNC=0`.

    Raises:
        OSError: the file system reports that it lost something.
    """
    if os.environ.get("GAGE_SYNC") == "0":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    for path in {os.stat(path).st_dev: path for path in paths}.values():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), path)
        finally:
            os.close(fd)


def sync_file(fd: int) -> None:
    """Wait until all that was written to an open file is on disk, unless `GAGE_SYNC=0`."""
    if os.environ.get("GAGE_SYNC") != "0":
        os.fsync(fd)


class Stamp(NamedTuple):
    """What tells that a file is still the one that was seen: it changes when the file does."""

    inode: int
    size: int
    mode: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        """Return the stamp of a file from its `lstat`."""
        return cls(stat.st_ino, stat.st_size, stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns)


def scan(root: str) -> dict[str, Stamp]:
    """Return every file, link and empty directory below `root`, by path relative to it."""
    return {path: Stamp.of(os.lstat(f"{root}/{path}")) for path in iter_paths(root)}


def iter_paths(root: str) -> Iterator[str]:
    """Yield the path of every file, link and empty directory below `root`, relative to it."""
    folders = [""]
    while folders:
        folder = folders.pop()
        prefix = f"{folder}/" if folder else ""
        with os.scandir(f"{root}/{folder}") as entries:
            empty = True
            for entry in entries:
                empty = False
                if entry.is_dir(follow_symlinks=False):
                    folders.append(prefix + entry.name)
                else:
                    yield prefix + entry.name
        if empty and folder:
            yield folder


def files_of(path: str) -> list[str]:
    """Return what there is to copy of a path, relative to it.

    The files, links and empty directories below a directory; "" for a file, a link, or a directory
    that is empty itself.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        return [""]
    return sorted(scan(path)) or [""]


def remove_tree(path: str) -> None:
    """Remove a directory and all in it, or a file; what is not there is no error.

    It may be deeper than `shutil.rmtree` can recurse into.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        remove_file(path)
        return
    folders = [path]
    for folder in folders:
        try:
            entries = _unlink_files(folder)
        except PermissionError:
            # A hook or a run may have taken its own right to write to a directory.
            os.chmod(folder, 0o700)
            entries = _unlink_files(folder)
        folders += entries
    for folder in reversed(folders):
        os.rmdir(folder)


def _unlink_files(folder: str) -> list[str]:
    """Remove the files in a directory; return the directories."""
    with os.scandir(folder) as scanned:
        entries = list(scanned)
    folders = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.path)
        else:
            remove_file(entry.path)
    return folders


def empty_dir(path: str) -> None:
    """Remove all in a directory; make it where it is not there."""
    os.makedirs(path, exist_ok=True)
    for name in os.listdir(path):
        remove_tree(os.path.join(path, name))


def remove_file(path: str) -> None:
    """Remove a file; one that is not there is no error."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
