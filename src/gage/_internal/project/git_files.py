"""What git would commit of a directory: tracked, or untracked and not ignored.

Git itself is asked, so that each `.gitignore`, `info/exclude`, global excludes, work trees and
sparse checkouts count as they do for git.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gage._internal.downloads.git_process import LOCAL_VARIABLES
from gage._internal.errors import SourceRefused
from gage._internal.fs import printable

_NO_REPOSITORY = "fatal: not a git repository (or any"
_GIT = ("git", "--no-optional-locks", "-c", "core.quotePath=false")


class _NotInRepository(SourceRefused):
    """Git finds no repository."""


class GitMissing(Exception):
    """A directory is in a git work tree, and there is no git here."""


class IgnoredBy(NamedTuple):
    """The pattern that makes git ignore a path, and its place, `FILE:LINE`."""

    pattern: str
    place: str


def find_git_files(
    directory: str, unwalked: Sequence[str] = (), left_out: Sequence[str] = ()
) -> set[str] | None:
    """Return the paths that git would commit, relative to a directory; None where it manages none.

    A path may be gone from the disk, or be a directory: a repository of its own, a submodule or
    a nested clone, which git does not look into. `unwalked` are names of directories that git
    need not search for untracked files, `left_out` relative paths of directories to leave out.

    Raises:
        GitMissing: git is not installed.
        SourceRefused: git refuses to answer.
    """
    if not _in_work_tree(directory):
        return None
    command = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    command += [f"--exclude={name}/" for name in unwalked]
    command += ["--", ".", *(f":(exclude,literal){path}" for path in left_out)]
    is_top = os.path.lexists(os.path.join(directory, ".git"))
    try:
        listed = _git(directory, command)
    except _NotInRepository:
        # A .git above it that git does not look at: beyond a mount point or a ceiling directory.
        if is_top:
            raise
        return None
    paths = {os.fsdecode(path).rstrip("/") for path in listed.split(b"\0") if path}
    if not paths and not is_top and _is_ignored(directory):
        return None
    return paths


def find_ignoring(directory: str, paths: Iterable[str]) -> dict[str, IgnoredBy]:
    """Return, for those paths that git ignores, by what."""
    command = ["check-ignore", "-z", "--verbose", "--stdin"]
    text = b"\0".join(map(os.fsencode, paths))
    fields = [os.fsdecode(field) for field in _git(directory, command, text, (0, 1)).split(b"\0")]
    return {
        path: IgnoredBy(pattern, f"{source}:{line}")
        for source, line, pattern, path in zip(
            fields[0::4], fields[1::4], fields[2::4], fields[3::4], strict=False
        )
    }


def own_environment() -> dict[str, str]:
    """Return the environment for git, which then speaks English and finds the repository itself."""
    env = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
    env["LC_ALL"] = "C"
    return env


def _in_work_tree(directory: str) -> bool:
    folder = os.path.abspath(directory)
    while not os.path.lexists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent
    return True


def _is_ignored(directory: str) -> bool:
    """Tell whether git ignores a whole directory, as it does runs: then it manages none of it."""
    return bool(_git(directory, ["check-ignore", "."], ok=(0, 1)))


def _git(directory: str, args: Sequence[str], text: bytes = b"", ok: Sequence[int] = (0,)) -> bytes:
    import subprocess

    try:
        done = subprocess.run(
            [*_GIT, *args],
            cwd=directory,
            input=text,
            env=own_environment(),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise GitMissing(directory) from None
    if done.returncode in ok:
        return done.stdout
    said = os.fsdecode(done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
    hint = next((line.strip() for line in said if line.startswith("\tgit config")), None)
    refusal = _NotInRepository if said[0].startswith(_NO_REPOSITORY) else SourceRefused
    raise refusal(
        f"git does not say which files of {printable(directory)} are source: {printable(said[0])}",
        hint or "see what git status says there",
    )
