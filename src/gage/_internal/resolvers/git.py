"""Dependency on a git repository: `git = "https://host/repo.git"`, or a table.

The table has `repository`, and where wanted `revision` (a branch, a tag or a commit; else the HEAD
of the repository) and `path`, a file or directory in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from gage._internal import clock
from gage._internal.caches import cache_dir
from gage._internal.downloads.addresses import (
    is_local_repository,
    repository_name,
    repository_problem,
    revision_problem,
)
from gage._internal.downloads.git_process import GitFailed
from gage._internal.downloads.git_trees import (
    ObjectMissing,
    Tree,
    find_tree,
    list_tree,
    take_tree,
)
from gage._internal.downloads.mirrors import Mirror, find_record, is_commit_id, mirror_folder
from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.store.logs import counted
from gage.plugins import ResolveContext, Resolved

_MOST_NAMED = 3


class _Wanted(NamedTuple):
    """What a dependency names: a repository, a revision of it, and a path in it."""

    address: str
    revision: str | None
    path: str | None

    @property
    def name(self) -> str:
        """What it is called in the run: as what is at the path, or as git would clone it."""
        return os.path.basename(self.path) if self.path else repository_name(self.address)


class _Found(NamedTuple):
    commit: str
    tree: str
    files: Tree


class Git:
    """Takes the files of a commit, by way of a mirror in the user's cache."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files of a commit, in the cache, read-only.

        In the run they are in a directory called as the repository is, or as what is at `path`.
        Nothing is asked where a full commit id is at hand, and in a preview.
        """
        wanted = _wanted(spec, context.project_dir)
        cache = cache_dir()
        found = _find(cache, wanted) if context.is_preview else _fetch(cache, wanted, context)
        origin = printable(wanted.address)
        if wanted.revision:
            origin += f" at {printable(wanted.revision)}"
        if found is None:
            # A single file or a whole directory: which of them it is is not known.
            return Resolved(cache, (), origin, awaited=[wanted.name + "/"])
        if not context.is_preview:
            _tell(wanted, found.files, context)
        if not found.files.paths:
            raise DependencyError(f"git {origin}: there are no files in it")
        if not is_commit_id(wanted.revision):
            origin += f" (commit {found.commit[:12]})"
        is_file = wanted.path is not None and found.tree.count("-") == 1
        prefix = "" if is_file else wanted.name + "/"
        lineage = {
            "repository": wanted.address,
            "revision": wanted.revision,
            "commit": found.commit,
            "tree": found.tree.partition("-")[0],
            "path": wanted.path,
        }
        names = [prefix + path for path in found.files.paths]
        if not found.files.root:
            return Resolved(cache, (), origin, awaited=names)
        return Resolved(
            found.files.root,
            found.files.paths,
            origin,
            names=names,
            lineage={"git": {key: value for key, value in lineage.items() if value is not None}},
            digests=found.files.digests,
        )


def _wanted(spec: Any, project_dir: str) -> _Wanted:
    table = spec if isinstance(spec, Mapping) else {"repository": spec}
    address, revision = table["repository"], table.get("revision")
    problem = repository_problem(address) or (revision and revision_problem(revision))
    if problem:
        raise DependencyError(f"git {problem}")
    if is_local_repository(address):
        address = os.path.join(project_dir or os.getcwd(), os.path.expanduser(address))
        address = os.path.normpath(address)
    path = table.get("path")
    path = None if path is None else os.path.normpath(path)
    # That of the repository, as it is when none is named.
    revision = None if revision == "HEAD" else revision
    return _Wanted(address, revision, None if path == "." else path)


def _find(cache: str, wanted: _Wanted) -> _Found | None:
    """Return what is at hand of what a revision was; nothing is written, and no server asked.

    Files that were not taken out of the mirror yet are only named.
    """
    record = find_record(mirror_folder(cache, wanted.address))
    if record is None or not record.fetched:
        return None
    mirror = Mirror(cache, wanted.address, lambda: None)
    try:
        commit = mirror.find_commit(wanted.revision)
        if commit is None:
            return None
        tree, paths = list_tree(mirror, commit, wanted.path)
    except (GitFailed, DependencyError):
        # What it has may be old: the repository will have to say.
        return None
    return _Found(commit, tree, find_tree(mirror.folder, tree) or Tree("", paths, {}, {}, ()))


def _fetch(cache: str, wanted: _Wanted, context: ResolveContext) -> _Found:
    shown = printable(wanted.address)
    asked = clock.now()

    def wait() -> None:
        context.notice(f"waiting for another process that uses the mirror of {shown}")

    try:
        with Mirror(cache, wanted.address, wait) as mirror:
            commit = _commit(mirror, wanted, context, asked)
            try:
                tree, files = take_tree(mirror, commit, wanted.path)
            except (ObjectMissing, GitFailed):
                # What the mirror has is damaged.
                mirror.begin_anew()
                commit = _commit(mirror, wanted, context, asked)
                tree, files = take_tree(mirror, commit, wanted.path)
            mirror.keep(commit)
            mirror.mark_used()
    except ObjectMissing:
        raise DependencyError(f"git {shown}: it lacks objects of its own") from None
    except GitFailed as error:
        raise DependencyError(f"git {shown}: {error.reason}", error.hint) from None
    except DependencyError as error:
        if error.message.startswith("git"):
            raise
        raise DependencyError(f"git {shown}: {error.message}", error.hint) from None
    return _Found(commit, tree, files)


def _commit(mirror: Mirror, wanted: _Wanted, context: ResolveContext, asked: int) -> str:
    """Return the commit that is meant, now in the mirror."""
    commit = mirror.find_commit(wanted.revision) if mirror.fetched else None
    # Another process may have asked while this one waited for it.
    if commit and (is_commit_id(wanted.revision) or mirror.fetched >= asked):
        return commit
    try:
        mirror.fetch(
            wanted.revision, lambda done: context.progress(printable(wanted.address), done, None)
        )
    except GitFailed as error:
        if commit is None:
            raise
        what = f"the HEAD of {printable(wanted.address)}"
        if wanted.revision:
            what = f"{printable(wanted.revision)} of {printable(wanted.address)}"
        date = clock.log_date(mirror.fetched)[:16].replace("T", " ")
        context.notice(f"{error.reason}: taking what {what} was on {date}, commit {commit[:12]}")
        return commit
    commit = mirror.find_commit(wanted.revision)
    if commit is None:
        raise _no_such(mirror, wanted.revision)
    return commit


def _no_such(mirror: Mirror, revision: str | None) -> GitFailed:
    import difflib

    if revision is None:
        return GitFailed("there is no commit at its HEAD", "name a revision")
    near = difflib.get_close_matches(revision, mirror.names(), 1)
    return GitFailed(
        f"there is no branch, tag or commit {printable(revision)}",
        f"did you mean {printable(near[0])}?" if near else "git ls-remote shows what there is",
    )


def _tell(wanted: _Wanted, files: Tree, context: ResolveContext) -> None:
    shown = printable(wanted.address)
    if files.submodules:
        named = [f"{path} (commit {commit[:12]})" for path, commit in files.submodules.items()]
        context.notice(
            f"left out of {shown}: {counted(len(named), 'submodule')}, {_named(named)}: make each a"
            " dependency of its own, with a target"
        )
    if files.pointers:
        context.notice(
            f"{counted(len(files.pointers), 'file')} of {shown} only stands for what Git LFS keeps"
            f" elsewhere: {_named(files.pointers)}"
        )


def _named(paths: list[str] | Any) -> str:
    more = len(paths) - _MOST_NAMED
    shown = ", ".join(map(printable, paths[:_MOST_NAMED]))
    return shown + (f" and {more} more" if more > 0 else "")
