"""Which files of a project are its source.

The default rule takes what git would commit (tracked, or untracked and not ignored) where the
project is in a git work tree; elsewhere text files. A Gage file's patterns refine it: they
have the form and meaning of gitignore patterns, `-` in front excludes, and of those that match
a path the last one decides.

Under any rule some things are left out unless a pattern names them: directories that are
pruned (not even walked) and files that hold secrets. A pattern names a directory or file when
one of its parts, between slashes, is that name.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.types import NOTHING

PRUNED = (".git", ".hg", ".svn", ".gage", "node_modules", "__pycache__")
_SECRETS = (
    ".env", ".env.*", ".netrc", ".pypirc", ".pgpass", "id_rsa", "id_dsa", "id_ecdsa",
    "id_ed25519", "*.pem", "*.key", "*.p12", "*.pfx",
)  # fmt: skip
_NOT_SECRETS = (".env.example", ".env.sample", ".env.template", "*.pub")
_BUILD_OUTPUT = ("build", "dist", "*.egg-info", ".*")
_TEXT_PROBE = 8192

# Whether a pattern includes, and the pattern.
_Rules = list[tuple[bool, Any]]


class Selection(NamedTuple):
    """What was selected: paths relative to the project, sorted; and what was left out and why.

    `left_out` maps a reason to the paths; what git ignores, what is pruned and what a pattern
    excludes is not in it.
    """

    paths: Sequence[str]
    left_out: Mapping[str, Sequence[str]] = NOTHING


def select_source(project_dir: str, spec: Any, prune: Iterable[str] = ()) -> Selection:
    """Select the source files of a project.

    `spec` is the operation's `sourcecode` attribute: `None` and `True` mean the default rule,
    `False` none, a string or a list patterns that refine the default. `prune` holds absolute
    paths of directories that are never entered, such as the runs home.
    """
    if spec is False:
        return Selection(())
    patterns = [spec] if isinstance(spec, str) else list(spec) if isinstance(spec, list) else []
    named = {part for pattern in patterns for part in pattern.lstrip("-!").split("/")}
    pruned = {os.path.realpath(path) for path in prune}
    known = _git_files(project_dir)
    if known is None or patterns:
        candidates = _walk(project_dir, named, pruned)
    else:
        candidates = (path for path in sorted(known) if not _is_pruned(project_dir, path, pruned))
    rules = _compile(patterns)
    paths: list[str] = []
    left_out: dict[str, list[str]] = {}
    for path in candidates:
        chosen = _last_match(rules, path)
        if chosen is None:
            reason = _default_reason(project_dir, path, known)
        else:
            reason = None if chosen else ""
        if reason is None and _is_secret(path) and path.rpartition("/")[2] not in named:
            reason = "it may hold secrets"
        if reason is None:
            paths.append(path)
        elif reason:
            left_out.setdefault(reason, []).append(path)
    return Selection(paths, {reason: tuple(group) for reason, group in left_out.items()})


def match_files(root: str, patterns: Sequence[str]) -> list[str]:
    """Return the files below `root` that patterns select, relative to it, sorted.

    Nothing is pruned and nothing selected by default; without patterns everything is.
    """
    rules = _compile(patterns)
    return [path for path in _walk(root, None, set()) if not rules or _last_match(rules, path)]


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether patterns select a path."""
    rules = _compile(patterns)
    return lambda path: bool(_last_match(rules, path))


def _compile(patterns: Sequence[str]) -> _Rules:
    if not patterns:
        return []
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    rules: _Rules = []
    for pattern in patterns:
        include = not pattern.startswith("-")
        rules.append((include, GitIgnoreSpecPattern(pattern if include else pattern[1:])))
    return rules


def _last_match(rules: _Rules, path: str) -> bool | None:
    for include, pattern in reversed(rules):
        if pattern.match_file(path) is not None:
            return include
    return None


def _default_reason(project_dir: str, path: str, known: set[str] | None) -> str | None:
    """Return why the default rule leaves a file out; "" where that goes without saying."""
    if known is not None:
        return None if path in known else ""
    if any(fnmatch.fnmatch(part, name) for part in path.split("/")[:-1] for name in _BUILD_OUTPUT):
        return ""
    full = os.path.join(project_dir, path)
    if os.path.islink(full):
        return None
    return None if _is_text(full) else "it is not text"


def _is_text(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return b"\0" not in file.read(_TEXT_PROBE)


def _is_secret(path: str) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, secret) for secret in _SECRETS) and not any(
        fnmatch.fnmatchcase(name, fine) for fine in _NOT_SECRETS
    )


def _walk(root: str, named: set[str] | None, pruned: set[str]) -> Iterator[str]:
    """Yield every file and link below `root`, sorted, without entering pruned directories.

    `named` None means that no directory is pruned.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        inner = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield path
            elif named is None or not _is_pruned_dir(entry, named, pruned):
                inner.append(path)
        folders.extend(reversed(inner))


def _is_pruned_dir(entry: os.DirEntry[str], named: set[str], pruned: set[str]) -> bool:
    if os.path.realpath(entry.path) in pruned:
        return True
    if entry.name in named:
        return False
    return entry.name in PRUNED or _has_marker(entry.path)


def _has_marker(folder: str) -> bool:
    """Tell whether a directory is a virtual or conda environment, or asks not to be copied."""
    return any(
        os.path.lexists(os.path.join(folder, marker))
        for marker in ("pyvenv.cfg", "conda-meta", ".nocopy")
    )


def _is_pruned(project_dir: str, path: str, pruned: set[str]) -> bool:
    parts = path.split("/")[:-1]
    if any(part in PRUNED for part in parts):
        return True
    folder = project_dir
    for part in parts:
        folder = os.path.join(folder, part)
        if folder in pruned or _has_marker(folder):
            return True
    return False


def _git_files(project_dir: str) -> set[str] | None:
    """Return what git would commit of a directory; None where git does not manage it."""
    if not _in_work_tree(project_dir):
        return None
    import subprocess

    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=project_dir, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if done.returncode != 0:
        return None
    paths = {os.fsdecode(path) for path in done.stdout.split(b"\0") if path}
    # A path that the index has may be deleted, and a submodule is listed as a directory.
    if not paths and _is_ignored(project_dir):
        return None
    return {
        path
        for path in paths
        if os.path.lexists(os.path.join(project_dir, path))
        and (
            os.path.islink(os.path.join(project_dir, path))
            or not os.path.isdir(os.path.join(project_dir, path))
        )
    }


def _is_ignored(project_dir: str) -> bool:
    """Tell whether git ignores a whole directory, as it does runs: then it manages none of it."""
    import subprocess

    command = ["git", "check-ignore", "--quiet", "."]
    return subprocess.run(command, cwd=project_dir, check=False).returncode == 0


def _in_work_tree(directory: str) -> bool:
    folder = os.path.abspath(directory)
    while not os.path.lexists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent
    return True
