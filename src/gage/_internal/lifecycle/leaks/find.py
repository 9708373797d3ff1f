"""Find what a staged run refers to that would not be there elsewhere.

Of the files only those are opened that may have something: in which the copy saw the path of a
place, what hooks and runtimes made, executables, libraries, and what installers write. Of one
larger than `SEARCHED_SIZE` that much is searched. A run without leaks pays for this module alone:
what there is to find imports what understands it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.fs import printable
from gage._internal.lifecycle.copying import SEARCHED_SIZE
from gage._internal.lifecycle.leaks.places import Places
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store import meta
from gage._internal.store.command_lines import FINALIZE, command_words, exec_part
from gage._internal.store.logs import counted
from gage._internal.store.manifest import FILE, LINK, Entry
from gage._internal.types import OpDef, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gage._internal.lifecycle.elf import Elf
    from gage._internal.lifecycle.leaks.leak import Leak

_EXECUTE_BITS = 0o111
# Files with a form of their own, whose text is not searched besides.
_INSTALLER_ENDS = (".pth", ".egg-link", "pyvenv.cfg", "direct_url.json")
# What is in them counts where the operation that is staged says it.
_GAGE_FILES = ("gage.toml", "gage.yaml", "gage.yml", "gage.json")
_MOST_OF_A_FILE = 20
_MOST_NAMED = 3
_HEAD_SIZE = 4096
_NOT_PLAIN = "/~$= \t\n<>"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Search(NamedTuple):
    """What a search has found.

    `leaks` is what would break elsewhere, by path and line; `unsearched` what was not searched, in
    sentences; `natives` are the programs and libraries that it came by.
    """

    leaks: Sequence[Leak]
    unsearched: Sequence[str]
    natives: Mapping[str, Elf]


def find_leaks(
    run: Run, opdef: OpDef, project_dir: str | None, places: Places, files: StagedFiles
) -> Search:
    """Return what would break elsewhere, and what native code there is.

    A file that cannot be understood is no error.
    """
    scan = _Scan(run, project_dir, places, files)
    scan.search_values(opdef)
    scan.search_links()
    scan.search_files()
    # A value stands in a file too; there it is called by its name.
    named = {(leak.path, leak.line) for leak in scan.leaks if leak.holder}
    leaks = [leak for leak in scan.leaks if leak.holder or (leak.path, leak.line) not in named]
    leaks.sort(key=lambda leak: (os.fsencode(leak.path), leak.line or 0, leak.holder))
    return Search(leaks, list(scan.unsearched()), scan.natives)


class _Scan:
    """One search of a run: the leaks found so far, and the files that were not searched."""

    def __init__(
        self, run: Run, project_dir: str | None, places: Places, files: StagedFiles
    ) -> None:
        self.leaks: list[Leak] = []
        self.natives: dict[str, Elf] = {}
        self._run = run
        self._project_dir = project_dir
        self._places = places
        self._files = files
        self._failed: list[str] = []
        self._binary: list[str] = []
        self._large: list[str] = []

    def unsearched(self) -> Iterator[str]:
        """Yield what was not searched for leaks and why, in sentences."""
        yield from self._failed
        if self._binary:
            yield (
                f"Did not look into {_named(self._binary)}: binary, and has a path of the project,"
                " the home directory or an environment in it"
            )
        if self._large:
            yield f"Looked for leaks in the first MiB only of {_named(self._large)}"

    def search_values(self, opdef: OpDef) -> None:
        """Search config, command and environment, and what the command's script imports."""
        with _Guard(self._failed, "config, command and environment"):
            command = meta.read_cmd(self._run)
            texts = [*command.args, *command.env.values(), *_texts(meta.read_config(self._run))]
            texts += exec_part(opdef.data.get("exec"), FINALIZE) or ()
            if not all(map(self._is_plain, texts)):
                from gage._internal.lifecycle.leaks.values import value_leaks

                self.leaks += value_leaks(
                    self._run, opdef, self._project_dir, self._places, self._files
                )
        with _Guard(self._failed, "what the script imports and reads"):
            if self._project_dir is not None and any(map(_may_be_script, command.args)):
                from gage._internal.lifecycle.leaks.missing import missing_imports, missing_reads

                words = command_words(command.args)
                self.leaks += missing_imports(
                    self._run.run_dir, words, self._project_dir, self._files
                )
                self.leaks += missing_reads(
                    self._run.run_dir, words, self._project_dir, self._files
                )

    def _is_plain(self, text: str) -> bool:
        """Tell quickly that a text is no path, or is one that the run has."""
        if any(char in text for char in _NOT_PLAIN):
            return False
        if self._project_dir is None or not os.path.lexists(f"{self._project_dir}/{text}"):
            return True
        return self._files.has(text)

    def search_links(self) -> None:
        """Search for links that leave the run or lead to what is not in it."""
        for path, entry in self._files.by_path().items():
            if entry.kind == LINK:
                with _Guard(self._failed, path):
                    self._search_link(path, entry)

    def _search_link(self, path: str, entry: Entry) -> None:
        from gage._internal.lifecycle.leaks.installed import link_leak
        from gage._internal.lifecycle.leaks.missing import dangling_link

        leak = link_leak(path, entry.target, self._places)
        leak = leak or dangling_link(entry, self._project_dir, self._files)
        if leak:
            self.leaks.append(leak)

    def search_files(self) -> None:
        """Search the files that may have something."""
        suspects = self._files.suspects()
        for path, entry in self._files.by_path().items():
            if entry.kind != FILE:
                continue
            if entry.size > SEARCHED_SIZE:
                self._large.append(path)
            is_suspect = path in suspects
            if is_suspect or may_be_native(path, entry.mode) or path.endswith(_INSTALLER_ENDS):
                with _Guard(self._failed, path):
                    self.leaks += self._leaks_of(path, entry, is_suspect)

    def _leaks_of(self, path: str, entry: Entry, is_suspect: bool) -> list[Leak]:
        from gage._internal.lifecycle.elf import MAGIC, find_elf
        from gage._internal.lifecycle.leaks.installed import (
            elf_leaks,
            leaks_of_installer,
            shebang_leaks,
        )

        is_of_its_own = path.endswith(_INSTALLER_ENDS)
        fd = os.open(os.path.join(self._run.run_dir, path), _FLAGS)
        try:
            data = os.read(fd, SEARCHED_SIZE if is_suspect or is_of_its_own else _HEAD_SIZE)
            if data.startswith(MAGIC):
                elf = find_elf(fd)
                if elf is None:
                    return []
                self.natives[path] = elf
                return list(elf_leaks(path, elf.paths, self._places))
        finally:
            os.close(fd)
        if is_of_its_own:
            return list(leaks_of_installer(path, data, self._places))
        leaks: list[Leak] = []
        if entry.mode & _EXECUTE_BITS:
            leaks += shebang_leaks(path, data, self._places, self._files.has)
        if is_suspect and path not in _GAGE_FILES:
            leaks += self._leaks_of_text(path, data)
        return leaks

    def _leaks_of_text(self, path: str, data: bytes) -> list[Leak]:
        from gage._internal.lifecycle.leaks.leak import Leak
        from gage._internal.lifecycle.leaks.mentions import iter_mentions
        from gage._internal.lifecycle.leaks.remedies import remedy_for
        from gage._internal.lifecycle.leaks.text import find_in_text, is_binary

        if is_binary(data):
            if not path.endswith(".pyc") and any(iter_mentions(self._places, data)):
                self._binary.append(path)
            return []
        found = find_in_text(path, data, self._places)
        leaks = []
        for line, mention in found[:_MOST_OF_A_FILE]:
            remedy = remedy_for(mention.place, mention.target, self._files.has)
            leaks.append(Leak(path, line, mention.place.kind, mention.target, remedy))
        if len(found) > _MOST_OF_A_FILE:
            leaks[-1] = leaks[-1]._replace(more=len(found) - _MOST_OF_A_FILE)
        return leaks


def may_be_native(path: str, mode: int) -> bool:
    """Tell whether a file, by its name and mode, may be a native program or library."""
    return bool(mode & _EXECUTE_BITS) or ".so" in path


def find_natives(sources: Mapping[str, str]) -> dict[str, Elf]:
    """Return what files that are native code say of themselves, by path.

    `sources` tells where each is. What cannot be read is none: whoever stages it will tell.
    """
    from gage._internal.lifecycle.elf import find_elf

    natives = {}
    for path, source in sources.items():
        try:
            found = os.lstat(source)
            if not stat.S_ISREG(found.st_mode) or not may_be_native(path, found.st_mode):
                continue
            with open(source, "rb") as opened:
                elf = find_elf(opened.fileno())
        except OSError:
            continue
        if elf is not None:
            natives[path] = elf
    return natives


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings in a value of config."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)


def _may_be_script(word: str) -> bool:
    return ".py" in word or "-m" in word


class _Guard:
    """Lets a search go on where one file cannot be searched, and tells of it."""

    def __init__(self, failed: list[str], path: str) -> None:
        self._failed = failed
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self._failed.append(f"Could not look for leaks in {printable(self._path)}: {reason}")
        return True


def _named(paths: list[str]) -> str:
    named = ", ".join(printable(path) for path in paths[:_MOST_NAMED])
    if len(paths) <= _MOST_NAMED:
        return named
    return f"{counted(len(paths), 'file')} ({named} and {len(paths) - _MOST_NAMED} more)"
