"""Which files of a project are its source, and why.

The default rule takes what git would commit where git manages the project, repositories inside
it included; elsewhere text files, but for those in hidden directories and in what builds leave.
Rules refine it: of those that match a path the last one decides.

Under any rule some things are left out unless a rule names them: directories that are pruned
(version control, environments, caches, what asks not to be copied), which are not walked, and
files that hold secrets. Where a rule names a pruned directory, that rule alone takes files from
it. A runs home, wherever it lies, is never walked: no run contains earlier runs.

One walk serves staging and explaining. A directory is entered when something in it is source by
default or could match a rule; links are never followed. A walk lists a directory's files by name
and then its directories by name.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from gage._internal.errors import SourceRefused
from gage._internal.fs import printable
from gage._internal.project.git_files import GitMissing, find_git_files
from gage._internal.project.globs import START
from gage._internal.project.secrets import is_named, is_secret
from gage._internal.project.source_rules import Rule
from gage._internal.store import layout

PRUNED = (
    ".git", ".hg", ".svn", ".gage", "node_modules", "__pycache__", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".tox", ".nox",
)  # fmt: skip
_MARKERS = {
    "pyvenv.cfg": "it is a virtual environment",
    "conda-meta": "it is a conda environment",
    ".nocopy": "it has a .nocopy",
}
_BUILD_OUTPUT = ("build", "dist", "*.egg-info")
_TEXT_PROBE = 8192

# Why a path is in or out, where no rule decides.
BY_GIT = "git would commit it"
NOT_BY_GIT = "git would not commit it"
IS_TEXT = "it is text"
IS_LINK = "it is a link"
IS_BINARY = "it is not text"
IS_SPECIAL = "it is a socket, a pipe or a device"
IS_HIDDEN = "it is a hidden directory"
IS_BUILD_OUTPUT = "it is named as build output is"
IS_PRUNED = "it is never source unless a rule names it"
IS_RUNS_HOME = "runs are kept there"
IS_RUN = "it is of a run"
IS_SECRET = "it may hold secrets"
NOT_CHECKED_OUT = "it is a submodule that is not checked out"
IS_IN_NAMED = "no rule that names the directory takes it"
NO_GIT = "git is not here: all text files are taken for source, ignored or not"


class Verdict(NamedTuple):
    """Whether a path is source, and by what: a rule, or else for a reason in words.

    The path is relative to the project; that of a directory, which is there when nothing in it
    is source, ends in a slash. `limit` is a rule whose size or number of matches leaves the path
    out. `is_notable` marks what somebody may miss in a run.
    """

    path: str
    is_taken: bool
    reason: str = ""
    rule: Rule | None = None
    limit: Rule | None = None
    is_notable: bool = False


class Selection(NamedTuple):
    """The verdicts on a project, and what else there is to say of how they came about."""

    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()

    @property
    def paths(self) -> list[str]:
        """The paths that are source, in the order of the walk."""
        return [verdict.path for verdict in self.verdicts if verdict.is_taken]


def select_source(
    project_dir: str, rules: Sequence[Rule] | None, prune: Iterable[str] = ()
) -> Selection:
    """Decide on each path of a project, but for those in a directory that is left out whole.

    `rules` None means that nothing is source. `prune` holds absolute paths of directories that
    are never entered: runs homes.

    Raises:
        SourceRefused: git refuses to say what is source, or a directory cannot be read.
    """
    if rules is None:
        return Selection(())
    walk = _Walk(project_dir, rules, prune)
    return Selection(list(walk.verdicts()), walk.notes)


class _Default(Protocol):
    """What is source in a directory where no rule decides."""

    def decide(self, path: str, entry: os.DirEntry[str]) -> tuple[bool, str]:
        """Tell whether a file is source, and why."""

    def enter(self, path: str, name: str) -> _Default:
        """Return what is source in a directory below; `path` is its path."""

    def has_files(self) -> bool:
        """Tell whether there may be source here at all."""


class _Nothing:
    """No file is source."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def decide(self, path: str, entry: os.DirEntry[str]) -> tuple[bool, str]:
        return False, self.reason

    def enter(self, path: str, name: str) -> _Default:
        return self

    def has_files(self) -> bool:
        return False


class _Text:
    """Text is, and links are, but for hidden directories and the output of builds."""

    def __init__(self, project_dir: str) -> None:
        self._project_dir = project_dir

    def decide(self, path: str, entry: os.DirEntry[str]) -> tuple[bool, str]:
        if entry.is_symlink():
            return True, IS_LINK
        if not entry.is_file(follow_symlinks=False):
            return False, IS_SPECIAL
        return (True, IS_TEXT) if is_text(entry.path) else (False, IS_BINARY)

    def enter(self, path: str, name: str) -> _Default:
        if name.startswith("."):
            return _Nothing(IS_HIDDEN)
        if any(fnmatch.fnmatchcase(name, glob) for glob in _BUILD_OUTPUT):
            return _Nothing(IS_BUILD_OUTPUT)
        return self

    def has_files(self) -> bool:
        return True


class _Git:
    """What git would commit is, as it says; `root` is the repository's path in the project."""

    def __init__(self, walk: _Walk, known: set[str], root: str = "") -> None:
        self._walk = walk
        self._known = known
        self._root = root
        self._folders = {""}
        for path in known:
            folder = path.rpartition("/")[0]
            while folder not in self._folders:
                self._folders.add(folder)
                folder = folder.rpartition("/")[0]

    def decide(self, path: str, entry: os.DirEntry[str]) -> tuple[bool, str]:
        if path[len(self._root) :] in self._known:
            return True, BY_GIT
        return False, NOT_BY_GIT

    def enter(self, path: str, name: str) -> _Default:
        inner = path[len(self._root) :]
        if inner in self._known:
            full = self._walk.full(path)
            if os.path.lexists(os.path.join(full, ".git")):
                return self._walk.default_of(f"{path}/")
            if not os.listdir(full):
                return _Nothing(NOT_CHECKED_OUT)
        return self if inner in self._folders else _Nothing(NOT_BY_GIT)

    def has_files(self) -> bool:
        return True


class _Directory(NamedTuple):
    """A directory to walk, and what is known of it from the way to it.

    `path` ends in a slash, or is empty. `states` holds for each rule where it stands in its
    pattern; `covering` the rules, as bits, that match the directory or one above it; `active`
    those that count in it.
    """

    path: str
    default: _Default
    states: tuple[int, ...]
    covering: int
    active: int


class _Walk:
    """One walk through a project."""

    def __init__(self, project_dir: str, rules: Sequence[Rule], prune: Iterable[str]) -> None:
        self.notes: list[str] = []
        self._project_dir = project_dir
        self._rules = rules
        self._includes = _bits(i for i, rule in enumerate(rules) if rule.is_include)
        self._counts = [0] * len(rules)
        self._homes = [path for path in map(os.path.realpath, prune) if os.path.isdir(path)]
        self._home_inodes = {os.stat(path).st_ino for path in self._homes}

    def full(self, path: str) -> str:
        return f"{self._project_dir}/{path}"

    def verdicts(self) -> Iterator[Verdict]:
        states = (START,) * len(self._rules)
        everything = (1 << len(self._rules)) - 1
        folders = [_Directory("", self.default_of(""), states, 0, everything)]
        while folders:
            folder = folders.pop()
            inner = []
            for entry in self._entries(folder.path):
                found = self._enter(folder, entry) if _is_dir(entry) else self._judge(folder, entry)
                if isinstance(found, _Directory):
                    inner.append(found)
                else:
                    yield found
            folders += reversed(inner)

    def default_of(self, root: str) -> _Default:
        """Return the default rule of a directory that is the project, or a repository in it."""
        directory = self.full(root).rstrip("/") or "/"
        real = os.path.realpath(directory)
        homes = [os.path.relpath(home, real) for home in self._homes if home.startswith(f"{real}/")]
        try:
            known = find_git_files(directory, PRUNED, homes)
        except GitMissing:
            self.notes.append(NO_GIT)
            known = None
        return _Text(self._project_dir) if known is None else _Git(self, known, root)

    def _entries(self, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.full(path)) as entries:
                return sorted(entries, key=_name)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SourceRefused(
                f"{printable(self.full(path))}: {error.strerror}", "exclude it"
            ) from None

    def _enter(self, folder: _Directory, entry: os.DirEntry[str]) -> _Directory | Verdict:
        """Return a directory to walk, or why not."""
        name, path = entry.name, folder.path + entry.name
        if self._is_home(entry):
            return Verdict(f"{path}/", False, IS_RUNS_HOME)
        if layout.is_part_of_run(entry.path):
            return Verdict(f"{path}/", False, IS_RUN)
        states, matching = self._step(folder, name, is_dir=True)
        covering = folder.covering | _bits(
            i for i in matching if self._has_sentinel(self._rules[i], entry)
        )
        active = folder.active
        default: _Default
        pruned = _pruned(entry)
        if pruned:
            naming = active & _bits(
                i
                for i, rule in enumerate(self._rules)
                if rule.is_include and name in rule.glob.names and (states[i] or i in matching)
            )
            if not naming:
                is_missed = name in PRUNED and folder.default.enter(path, name).has_files()
                return Verdict(f"{path}/", False, pruned, is_notable=is_missed and name != ".git")
            active = active & ~self._includes | naming
            default = _Nothing(IS_IN_NAMED)
        else:
            default = folder.default.enter(path, name)
        blocking = self._blocking(covering & active)
        alive = active & self._includes & (covering | _bits(i for i, s in enumerate(states) if s))
        if alive >> (blocking + 1) or (default.has_files() and blocking < 0):
            return _Directory(f"{path}/", default, states, covering, active)
        if blocking >= 0:
            return Verdict(f"{path}/", False, rule=self._rules[blocking])
        _, reason = default.decide(path, entry)
        return Verdict(f"{path}/", False, reason, is_notable=reason == NOT_CHECKED_OUT)

    def _judge(self, folder: _Directory, entry: os.DirEntry[str]) -> Verdict:
        """Return the verdict on what is no directory."""
        path = folder.path + entry.name
        rule, limit = None, None
        if self._rules:
            _, matching = self._step(folder, entry.name, is_dir=False)
            candidates = folder.active & (folder.covering | _bits(matching))
            rule, limit = self._deciding_rule(candidates, entry)
        if rule is not None:
            is_taken, reason = rule.is_include, ""
        else:
            is_taken, reason = folder.default.decide(path, entry)
        if not is_taken:
            is_notable = limit is not None or reason == IS_BINARY
            return Verdict(path, False, reason, rule, limit, is_notable)
        if entry.name == ".git":
            return Verdict(path, False, IS_PRUNED)
        if is_secret(path) and not (rule is not None and is_named(path, rule.glob.names)):
            return Verdict(path, False, IS_SECRET, is_notable=True)
        return Verdict(path, True, reason, rule)

    def _step(
        self, folder: _Directory, name: str, is_dir: bool
    ) -> tuple[tuple[int, ...], Sequence[int]]:
        """Return the state of each rule at an entry, and the rules whose pattern matches it."""
        states, matching = [], []
        for i, rule in enumerate(self._rules):
            state = folder.states[i]
            if state:
                state, is_match = rule.glob.step(state, name, is_dir)
                if is_match and (is_dir or not rule.is_dir):
                    matching.append(i)
            states.append(state)
        return tuple(states), matching

    def _deciding_rule(
        self, candidates: int, entry: os.DirEntry[str]
    ) -> tuple[Rule | None, Rule | None]:
        """Return the last rule that matches a file, and the last that would but for a limit."""
        limit = None
        while candidates:
            i = candidates.bit_length() - 1
            candidates &= ~(1 << i)
            rule = self._rules[i]
            if rule.content and rule.content != _content(entry):
                continue
            is_sized = rule.below is not None or rule.above is not None
            if is_sized and not _fits(rule, entry):
                if rule.is_include:
                    limit = limit or rule
                continue
            if rule.max_matches is not None:
                if self._counts[i] == rule.max_matches:
                    if rule.is_include:
                        limit = limit or rule
                    continue
                self._counts[i] += 1
            if not rule.is_include and is_sized:
                limit = limit or rule
            return rule, limit
        return None, limit

    def _blocking(self, covering: int) -> int:
        """Return the last rule that leaves out all in a directory, or -1."""
        while covering:
            i = covering.bit_length() - 1
            covering &= ~(1 << i)
            if not self._rules[i].is_include and _is_of_all(self._rules[i]):
                return i
        return -1

    def _is_home(self, entry: os.DirEntry[str]) -> bool:
        return entry.inode() in self._home_inodes and any(
            os.path.samefile(entry.path, home) for home in self._homes
        )

    @staticmethod
    def _has_sentinel(rule: Rule, entry: os.DirEntry[str]) -> bool:
        return rule.sentinel is None or os.path.lexists(f"{entry.path}/{rule.sentinel}")


def is_text(path: str) -> bool:
    """Tell whether a file is text: no NUL byte in its first 8 KiB.

    What is no regular file is not.

    Raises:
        SourceRefused: the file cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return b"\0" not in os.read(fd, _TEXT_PROBE)
        finally:
            os.close(fd)
    except PermissionError as error:
        raise SourceRefused(f"{printable(path)}: {error.strerror}", "exclude it") from None
    except OSError:
        # A socket, a pipe nobody writes to, a device that is not there; or it is gone.
        return False


def _is_of_all(rule: Rule) -> bool:
    return rule.content is None and rule.below is rule.above is rule.max_matches is None


def _bits(numbers: Iterable[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_dir(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _pruned(entry: os.DirEntry[str]) -> str:
    """Return why a directory is not walked; "" if it is."""
    if entry.name in PRUNED:
        return IS_PRUNED
    for marker, reason in _MARKERS.items():
        if os.path.lexists(f"{entry.path}/{marker}"):
            return reason
    return ""


def _content(entry: os.DirEntry[str]) -> str:
    # A link holds a path, which is text.
    return "text" if entry.is_symlink() or is_text(entry.path) else "binary"


def _fits(rule: Rule, entry: os.DirEntry[str]) -> bool:
    size = entry.stat(follow_symlinks=False).st_size
    return (rule.below is None or size < rule.below) and (rule.above is None or size > rule.above)
