"""What the runs of a batch have in common: found out once, for the first of them.

All files that are copied into the first run are copied into a directory of the runs home before, a
frozen one, and from there into it and the others: so all have the same bytes, whatever is done to
the project meanwhile. So it is with what was found out otherwise: which files are source, what git
says, what dependencies resolve to. The directory goes when the batch is staged. What a dependency
links to, where it says `link`, is no copy, and is not frozen either.

Processes that were forked share what was frozen before that; what each freezes then is its own (see
`Frozen.branch`).
"""

from __future__ import annotations

import copy
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from gage._internal import fs
from gage._internal.lifecycle.copying import Copied, Job, Known
from gage._internal.lifecycle.staged_files import copy_or_refuse, special, target_of_link
from gage._internal.lifecycle.system.uncommitted import Diff

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")

_FOLDER = "frozen"
# Small files are kept in memory too, so that they need not be opened for each run.
_SMALL = 64 << 10
_MOST_KEPT = 64 << 20


class Frozen:
    """What is frozen of a project, in a context: what it has on disk goes when that is left.

    With `share`, runs are given frozen files under other names instead of copies.
    """

    def __init__(self, home: str, project_dir: str | None, share: bool) -> None:
        self.may_link = share
        self.diff = Diff(project_dir)
        # Others know by its name that it is of use while this process lives.
        self.folder = fs.path_beside(os.path.join(os.path.abspath(home), _FOLDER))
        self._roots: dict[str, str] = {}
        self._known: dict[str, Known | None] = {}
        self._kept = 0
        self._home = home
        self._before: Frozen | None = None
        self._found: dict[object, object] = {}

    def __enter__(self) -> Frozen:
        os.makedirs(self.folder, 0o700)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.diff.__exit__()
        self._remove()

    @contextmanager
    def branch(self) -> Iterator[Frozen]:
        """Yield one that has all that is frozen here, and keeps what is new for itself."""
        own = copy.copy(self)
        own.folder = fs.path_beside(os.path.join(os.path.abspath(self._home), _FOLDER))
        own._before, own._roots, own._known = self, {}, {}
        own._found = dict(self._found)
        os.makedirs(own.folder, 0o700)
        try:
            yield own
        finally:
            own._remove()

    def _remove(self) -> None:
        try:
            fs.remove_tree(self.folder)
        except OSError:
            # The runs are staged; it is a leftover that is found later.
            pass

    def once(self, key: object, find: Callable[[], T]) -> T:
        """Return what `find` returned when it was called for this key, or returns now."""
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]  # type: ignore[assignment]
        return found

    def folder_of(self, name: str) -> str:
        """Return an empty directory for what is unpacked of something of this name."""

        def make() -> str:
            folder = f"{self.folder}/unpacked{len(self._found)}"
            os.mkdir(folder)
            return folder

        return self.once(("folder", name), make)

    def known(self, source: str) -> Known | None:
        """Return what is known of a frozen file; None for what is no regular file."""
        if self._before and source not in self._known:
            return self._before.known(source)
        return self._known.get(source)

    def _has(self, root: str, paths: Iterable[str]) -> bool:
        base = self._roots.get(root)
        return base is not None and all(f"{base}/{path}" in self._known for path in paths)

    def freeze(
        self,
        root: str,
        pairs: Sequence[tuple[str, str]],
        is_writable: Callable[[str], bool],
        needles: Sequence[bytes],
    ) -> str:
        """Copy what lies below `root` and is not frozen; return the directory that it lies in now.

        `pairs` hold a path relative to `root`, and the one that it gets in runs, which
        `is_writable` is asked about.

        Raises:
            SourceRefused: a link leaves the run, or a file is special, gone or never still.
        """
        if self._before and self._before._has(root, [source for source, _ in pairs]):
            return self._before._roots[root]
        base = self._roots.setdefault(root, f"{self.folder}/{len(self._roots)}")
        new = [pair for pair in dict(pairs).items() if f"{base}/{pair[0]}" not in self._known]
        for source, _ in new:
            _make_parents(root, base, os.path.dirname(source))
        jobs = [Job(f"{root}/{s}", f"{base}/{s}", is_writable(path)) for s, path in new]
        copies = copy_or_refuse(jobs, needles)
        for (_, path), job, copied in zip(new, jobs, copies, strict=True):
            if copied is None:
                _copy_other(job, path)
                self._known[job.target] = None
            else:
                known = Known(copied.identity, copied.sha256, copied.has_needle)
                self._known[job.target] = self._with_content(known, job.target, copied)
        return base

    def _with_content(self, known: Known, path: str, copied: Copied) -> Known:
        """Add the content of a frozen file to what is known of it, where it is small."""
        if self.may_link or copied.size > _SMALL or self._kept + copied.size > _MOST_KEPT:
            return known
        content = fs.read_bytes(path)
        if hashlib.sha256(content).hexdigest() != copied.sha256:
            raise OSError(errno.EIO, "it was not read as it was written", path)
        self._kept += copied.size
        return known._replace(content=content, mode=copied.mode)


def _make_parents(root: str, base: str, folder: str) -> None:
    """Make the directory of a path, and those above it, as open as those of the source."""
    missing = []
    while not os.path.isdir(f"{base}/{folder}"):
        missing.append(folder)
        if not folder:
            break
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        mode = stat.S_IMODE(os.stat(f"{root}/{each}").st_mode)
        os.mkdir(f"{base}/{each}", mode | 0o700)


def _copy_other(job: Job, path: str) -> None:
    """Copy what is no regular file: a link, or an empty directory."""
    found = os.lstat(job.source)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(target_of_link(job.source, path), job.target)
    elif stat.S_ISDIR(found.st_mode):
        os.mkdir(job.target, stat.S_IMODE(found.st_mode) | 0o700)
    else:
        raise special(job.source)
