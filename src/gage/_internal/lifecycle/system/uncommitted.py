"""What git knows of a project: commit, branch, and what was changed since, as a patch.

Commit and branch are read from git's files. The patch is made by git while the run is staged; it
leaves out what may hold secrets, and is kept up to a size.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from gage._internal.lifecycle.masking import Mask
from gage._internal.project.secrets import is_secret

# Bytes.
MOST = 1 << 20
# Seconds that git has when all else of a staging is done: of large files a patch takes long.
PATIENCE = 1.0
_READ_SIZE = 1 << 16
_SHA_SIZES = (40, 64)
_BEGIN = b"diff --git "
_COMMAND = (
    *("git", "--no-optional-locks", "-c", "core.quotePath=false", "-c", "core.fsmonitor=false"),
    *("diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--", "."),
)


class Commit(NamedTuple):
    """Where a repository is: the commit, and the branch unless it is detached."""

    commit: str
    branch: str | None


class Patch(NamedTuple):
    """What is kept of the changes since a commit.

    `files` is how many are changed, as far as the patch was read; `left_out` those that may hold
    secrets; `masked` how often something was masked; `is_capped` tells that there is more, or
    would be after a longer time.
    """

    data: bytes
    files: int
    left_out: tuple[str, ...]
    masked: int
    is_capped: bool


def find_commit(directory: str) -> Commit | None:
    """Return where the repository of a directory is; None where there is none, or no commit yet."""
    git_dir = _find_git_dir(directory)
    if git_dir is None:
        return None
    head = _read(os.path.join(git_dir, "HEAD"))
    if _is_sha(head):
        return Commit(head, None)
    ref = head.removeprefix("ref: ")
    common = os.path.join(git_dir, _read(os.path.join(git_dir, "commondir")) or ".")
    sha = _read(os.path.join(common, ref)) or _packed(common, ref)
    if not _is_sha(sha):
        return None
    return Commit(sha, ref.removeprefix("refs/heads/"))


class Diff:
    """Git, making a patch of what is not committed below a directory, meanwhile.

    A context: where it is left before the patch was read, git is stopped.
    """

    def __init__(self, directory: str | None) -> None:
        self.commit = find_commit(directory) if directory else None
        self._process: Any = None
        self._patch: Patch | None = None
        self._is_read = False
        if directory and self.commit:
            import subprocess

            from gage._internal.project.git_files import own_environment

            try:
                self._process = subprocess.Popen(
                    _COMMAND,
                    cwd=directory,
                    env=own_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            except OSError:
                # There is no git here.
                pass

    def __enter__(self) -> Diff:
        return self

    def __exit__(self, *args: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.stdout.close()
            self._process.wait()

    def read(self, mask: Mask) -> Patch | None:
        """Return the patch, with what looks like a secret masked; None where git makes none."""
        if not self._is_read:
            self._patch = self._read(mask)
            self._is_read = True
        return self._patch

    def _read(self, mask: Mask) -> Patch | None:
        if self._process is None:
            return None
        import select
        import time

        until = time.monotonic() + PATIENCE
        fd = self._process.stdout.fileno()
        pieces: list[bytes] = []
        size = 0
        while size <= MOST and select.select([fd], [], [], max(0.0, until - time.monotonic()))[0]:
            piece = os.read(fd, _READ_SIZE)
            if not piece:
                return screen(b"".join(pieces), False, mask) if not self._process.wait() else None
            pieces.append(piece)
            size += len(piece)
        return screen(b"".join(pieces), True, mask)


def screen(data: bytes, is_capped: bool, mask: Mask) -> Patch:
    """Return what may be kept of a patch; of a capped one the last file, which has no end, goes."""
    starts = [match.start() for match in re.finditer(b"^" + _BEGIN, data, re.MULTILINE)]
    ends = [*starts, len(data)][1:]
    parts = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    if is_capped:
        parts = parts[:-1]
    kept = []
    left_out = []
    masked = 0
    for part in parts:
        path = _path_of(part)
        if is_secret(path):
            left_out.append(path)
            continue
        from gage._internal.lifecycle.system.tokens import mask_tokens

        own = mask.data(part)
        part, count = mask_tokens(own) if b"GIT binary patch" not in part else (own, 0)
        masked += count + (own != part and not count)
        kept.append(part)
    return Patch(b"".join(kept), len(parts), tuple(left_out), masked, is_capped)


def _path_of(part: bytes) -> str:
    """Return the path of a file from the first line of its patch, which has it twice."""
    line = part[len(_BEGIN) :].partition(b"\n")[0]
    half = line[: len(line) // 2]
    if half.startswith(b'"'):
        import ast

        try:
            half = ast.literal_eval("b" + half.decode("utf-8", "backslashreplace"))
        except (ValueError, SyntaxError):
            pass
    return os.fsdecode(half.removeprefix(b"a/"))


def _find_git_dir(directory: str) -> str | None:
    folder = os.path.abspath(directory)
    while True:
        path = os.path.join(folder, ".git")
        if os.path.isdir(path):
            return path
        pointer = _read(path)
        if pointer.startswith("gitdir: "):
            return os.path.join(folder, pointer.removeprefix("gitdir: "))
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _is_sha(text: str) -> bool:
    return len(text) in _SHA_SIZES and set(text) <= set("0123456789abcdef")


def _packed(common: str, ref: str) -> str:
    for line in _read(os.path.join(common, "packed-refs")).split("\n"):
        sha, _, name = line.partition(" ")
        if name == ref:
            return sha
    return ""


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read()).strip()
    except OSError:
        return ""
