"""Mirrors of git repositories in the user's cache, one of each address.

See `docs/format.md` for the files. A mirror is locked (flock) by the process that uses it, and by
the git that this has started: where both are killed, the next one clears away what git left half
done. Branches and tags are as the repository had them when it was last asked; each commit that was
asked for by its id, or used, stays.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

from gage._internal import clock, fs
from gage._internal.caches import make_folder
from gage._internal.downloads.cache import key_of
from gage._internal.downloads.git_process import GitDiskFull, GitFailed, run_git
from gage._internal.lock_files import open_locked
from gage._internal.store.meta import json_bytes

GIT = "git"
LOCK = "lock"
RECORD = "record.json"
MIRROR = "mirror"
TREES = "trees"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATED = re.compile(r"[0-9a-f]{4,64}", re.IGNORECASE)
_HEAD = "refs/gage/HEAD"
_KEPT = "refs/gage/kept/"
_HALF_DONE = (".lock", ".keep")


class MirrorRecord(NamedTuple):
    """What is known of a mirror: its repository, and when that was last asked (0: never)."""

    address: str
    fetched: int


def mirror_folder(cache: str, address: str) -> str:
    """Return the directory with all that is kept of a repository."""
    return os.path.join(cache, GIT, key_of(address))


def find_record(folder: str) -> MirrorRecord | None:
    """Return what is known of a mirror; None where that cannot be understood."""
    try:
        value = json.loads(fs.read_bytes(os.path.join(folder, RECORD)))
        record = MirrorRecord(**value)
    except (OSError, ValueError, TypeError):
        return None
    is_right = isinstance(record.address, str) and isinstance(record.fetched, int)
    return record if is_right else None


def is_commit_id(revision: str | None) -> bool:
    """Tell whether a revision is the full id of a commit, which is the same for ever."""
    return revision is not None and bool(_COMMIT.fullmatch(revision.lower()))


class Mirror:
    """A context in which this process alone uses the mirror of a repository.

    What only reads can be called outside of it too. `wait` is called where another process is at it
    for longer than a second.
    """

    def __init__(self, cache: str, address: str, wait: Callable[[], None]) -> None:
        self._cache = cache
        self._address = address
        self._wait = wait
        self._lock = -1
        self.folder = mirror_folder(cache, address)
        self.path = os.path.join(self.folder, MIRROR)
        self.fetched = 0

    def __enter__(self) -> Mirror:
        path = os.path.join(self.folder, LOCK)
        while self._lock < 0:
            make_folder(self._cache, path)
            try:
                self._lock = open_locked(path, self._wait)
            except FileNotFoundError:
                # Somebody has just removed all that was kept of it.
                pass
        try:
            self._take_up()
        except BaseException as error:
            self._leave(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        try:
            if error is not None:
                self._mend()
                if not self.fetched:
                    # Nothing of it is of use.
                    self.remove()
        finally:
            os.close(self._lock)

    def run(self, *args: str, data: bytes = b"") -> bytes:
        """Run a command of git on the mirror; return what it printed.

        Raises:
            GitFailed: it failed.
        """
        lock = None if self._lock < 0 else self._lock
        return run_git([f"--git-dir={self.path}", *args], data=data, lock=lock)

    def find_commit(self, revision: str | None) -> str | None:
        """Return the id of the commit that a branch, a tag, or the beginning of an id names here.

        Without a revision, that which the repository had at its HEAD.

        Raises:
            GitFailed: it names more than one.
        """
        if revision is None:
            return self._commits_of([_HEAD])[0]
        names = [revision] if revision.startswith("refs/") else []
        names = names or [f"refs/heads/{revision}", f"refs/tags/{revision}"]
        named = self._commits_of([_own_name(name) for name in names])
        found = [commit for commit in named if commit]
        if len(set(found)) > 1:
            raise GitFailed(
                f"{revision} is both a branch and a tag",
                f"write refs/heads/{revision} or refs/tags/{revision}",
            )
        if not found and _ABBREVIATED.fullmatch(revision):
            (commit,) = self._commits_of([revision.lower()])
            found = [commit] if commit and commit.startswith(revision.lower()) else []
        return found[0] if found else None

    def tree_of(self, commit: str) -> str:
        """Return the id of the tree of a commit."""
        return self._text("rev-parse", "--verify", f"{commit}^{{tree}}")

    def names(self) -> list[str]:
        """Return the names of all branches and tags."""
        args = ("for-each-ref", "--format=%(refname)", "refs/heads/", "refs/tags/")
        return [name.split("/", 2)[2] for name in self._text(*args).splitlines()]

    def fetch(self, revision: str | None, received: Callable[[int], None]) -> None:
        """Ask the repository for all its branches and tags, and for what a revision needs besides.

        Raises:
            GitFailed: it cannot be reached, or has no such thing.
            OSError: there is no room for it.
        """
        specs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        if revision is None:
            specs.append(f"+HEAD:{_HEAD}")
        elif _own_name(revision) != revision:
            specs.append(f"+{revision}:{_own_name(revision)}")
        self._fetch("--prune", self._address, *specs, received=received)
        if revision is not None and is_commit_id(revision) and not self.find_commit(revision):
            # On no branch: some servers give it all the same.
            commit = revision.lower()
            self._fetch(self._address, f"+{commit}:{_KEPT}{commit}", received=received)
        self.fetched = clock.now()
        self._write_record()

    def keep(self, commit: str) -> None:
        """Have a commit stay, whatever becomes of its branch."""
        self.run("update-ref", _KEPT + commit, commit)

    def mark_used(self) -> None:
        """Note that it was used: the time of its record tells when it last was."""
        try:
            os.utime(os.path.join(self.folder, RECORD))
        except OSError:
            # A cache that can only be read is as good.
            pass

    def begin_anew(self) -> None:
        """Forget all that was fetched."""
        fs.remove_tree(self.path)
        fs.remove_file(os.path.join(self.folder, RECORD))
        self.fetched = 0
        self._make()

    def remove(self) -> None:
        """Remove all that is kept of the repository."""
        remove_folder(self.folder)

    def _take_up(self) -> None:
        record = find_record(self.folder)
        if record is None or record.address != self._address or not os.path.isdir(self.path):
            self.begin_anew()
            return
        self.fetched = record.fetched
        self._mend()

    def _make(self) -> None:
        try:
            # With no template: no hooks of anybody.
            run_git(["init", "--quiet", "--bare", "--template=", self.path], lock=self._lock)
        except GitDiskFull as error:
            raise self._no_room() from error
        self._write_record()

    def _write_record(self) -> None:
        record = MirrorRecord(self._address, self.fetched)
        fs.replace_file(os.path.join(self.folder, RECORD), json_bytes(record._asdict()))

    def _fetch(self, *args: str, received: Callable[[int], None]) -> None:
        options = [
            *("--progress", "--force", "--no-tags", "--no-recurse-submodules"),
            *("--update-shallow", "--no-write-fetch-head"),
        ]
        try:
            command = [f"--git-dir={self.path}", "fetch", *options, *args]
            run_git(command, lock=self._lock, received=received)
        except GitDiskFull as error:
            raise self._no_room() from error

    def _no_room(self) -> OSError:
        import errno

        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    def _mend(self) -> None:
        """Remove what a git that was killed has left."""
        for folder, folders, files in os.walk(self.path):
            is_of_objects = f"{folder}/".startswith(os.path.join(self.path, "objects") + "/")
            for name in files:
                if name.startswith("tmp_") if is_of_objects else name.endswith(_HALF_DONE):
                    fs.discard(os.path.join(folder, name))
            for name in [name for name in folders if name.startswith("tmp_objdir-")]:
                shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
                folders.remove(name)
        trees = os.path.join(self.folder, TREES)
        for name in os.listdir(trees) if os.path.isdir(trees) else ():
            if fs.find_name_beside(name) is not None:
                fs.remove_tree(os.path.join(trees, name))

    def _commits_of(self, names: Sequence[str]) -> list[str | None]:
        asked = "".join(f"{name}^{{commit}}\n" for name in names)
        output = self.run("cat-file", "--batch-check", data=os.fsencode(asked))
        lines = os.fsdecode(output).splitlines()
        words = [line.split() for line in lines]
        return [each[0] if len(each) == 3 and each[1] == "commit" else None for each in words]

    def _text(self, *args: str) -> str:
        return os.fsdecode(self.run(*args)).rstrip("\n")


def remove_folder(folder: str) -> None:
    """Remove all that is kept of a repository, the lock at last; whoever calls has it locked."""
    for name in (RECORD, MIRROR, TREES):
        fs.remove_tree(os.path.join(folder, name))
    fs.remove_file(os.path.join(folder, LOCK))
    try:
        os.rmdir(folder)
    except OSError:
        # There is something else in it, or somebody begins anew.
        pass


def _own_name(revision: str) -> str:
    """Return the name that a ref of a repository has in its mirror."""
    if not revision.startswith("refs/") or revision.startswith(("refs/heads/", "refs/tags/")):
        return revision
    return f"refs/gage/other/{revision[len('refs/') :]}"
