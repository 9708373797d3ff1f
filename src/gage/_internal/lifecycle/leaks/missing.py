"""Files that a run needs and no rule selected: what links point to, its script imports or reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from gage._internal import fs
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store.manifest import SOURCE, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gage._internal.lifecycle.leaks.leak import Leak


# A text in quotes that may be a path: a longer one is none that somebody wrote.
_QUOTED = re.compile(rb"""["']([^"'\\\n]{1,200})["']""")
_READS = re.compile(r"(open|load|read|imread|loadtxt|genfromtxt|fromfile)(_\w+)?")
_WRITING_MODE = frozenset("wax+")


def dangling_link(entry: Entry, project_dir: str | None, files: StagedFiles) -> Leak | None:
    """Return the leak that a link within the run is whose target was not staged.

    A link of the project that leads nowhere there either is as it was.
    """
    inner = os.path.normpath(os.path.join(os.path.dirname(entry.path), entry.target))
    if entry.target.startswith("/") or inner.split("/")[0] == os.pardir:
        return None
    if inner == "." or files.has(inner) or files.is_writable(inner):
        return None
    if entry.type == SOURCE and not _is_in_project(inner, project_dir):
        return None
    from gage._internal.lifecycle.leaks.leak import MISSING, Leak

    remedy = f"stage {fs.printable(inner)} too, or leave the link out"
    return Leak(entry.path, None, MISSING, entry.target, remedy, "a link")


def missing_imports(
    run_dir: str, words: Sequence[str], project_dir: str, files: StagedFiles
) -> Iterator[Leak]:
    """Yield the modules of the project that the command's Python script imports and has not.

    Only that script is looked at, and nothing is executed. It is parsed where it seems to import
    something that the project has.
    """
    script = _script(words, files)
    if script is None:
        return
    data = fs.read_bytes(os.path.join(run_dir, script))
    # A script that is started with -m finds modules where the command starts.
    folder = "" if "-m" in words[:-1] else os.path.dirname(script)
    beside = os.path.join(project_dir, folder)
    if not any(_is_module(os.path.join(beside, name)) for name in _first_names(data)):
        return
    from gage._internal.lifecycle.leaks.leak import MISSING, Leak
    from gage._internal.lifecycle.leaks.remedies import quoted

    told = set()
    for line, base, name in _imported(data, script, folder):
        missing = _missing_module(base, name, project_dir, files)
        if missing and missing not in told:
            told.add(missing)
            remedy = f"select it, sourcecode = [{quoted(missing)}]"
            yield Leak(script, line, MISSING, missing, remedy, f"import of {name}")


def missing_reads(
    run_dir: str, words: Sequence[str], project_dir: str, files: StagedFiles
) -> Iterator[Leak]:
    """Yield the files of the project that the command's Python script reads by a path and has not.

    What counts is a call that opens for reading, or whose name begins with read or load, with a
    path of the project written out: `open("data/x.csv")`, `pd.read_csv("x.csv")`,
    `Path("x").read_text()`. What is opened for writing may be there from an earlier run.
    """
    script = _script(words, files)
    if script is None:
        return
    data = fs.read_bytes(os.path.join(run_dir, script))
    quoted_texts = {os.fsdecode(text) for text in _QUOTED.findall(data)}
    missing = {text for text in quoted_texts if _is_missing(text, project_dir, files)}
    if not missing:
        return
    from gage._internal.lifecycle.leaks.leak import MISSING, Leak
    from gage._internal.lifecycle.leaks.remedies import declaration

    for line, path in _read_paths(data, script):
        if path in missing:
            missing.discard(path)
            inner = os.path.normpath(path)
            yield Leak(script, line, MISSING, path, f"declare it, {declaration(inner)}", "a path")


def _is_missing(text: str, project_dir: str, files: StagedFiles) -> bool:
    inner = os.path.normpath(text)
    if text.startswith("/") or inner.split("/")[0] in (os.pardir, os.curdir):
        return False
    return not (files.has(inner) or files.is_writable(inner)) and _is_in_project(inner, project_dir)


def _read_paths(data: bytes, script: str) -> Iterator[tuple[int, str]]:
    """Yield line and path of each call that reads a path which is written out."""
    import ast

    for node in ast.walk(_parse(data, script)):
        if not isinstance(node, ast.Call):
            continue
        function, arguments = node.func, node.args
        name = getattr(function, "attr", getattr(function, "id", ""))
        mode = arguments[1] if len(arguments) > 1 else None
        owner = getattr(function, "value", None)
        if isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "Path":
            # The path is what the method is called on, and comes before its own arguments.
            mode, arguments = (arguments[0] if arguments else None), owner.args
        mode = next((each.value for each in node.keywords if each.arg == "mode"), mode)
        if _READS.fullmatch(name) and arguments and not _is_for_writing(name, mode):
            path = arguments[0]
            if isinstance(path, ast.Constant) and isinstance(path.value, str):
                yield path.lineno, path.value


def _is_for_writing(name: str, mode: object) -> bool:
    value = getattr(mode, "value", None)
    return name == "open" and isinstance(value, str) and not _WRITING_MODE.isdisjoint(value)


def _script(words: Sequence[str], files: StagedFiles) -> str | None:
    for position, word in enumerate(words):
        if word == "-m" and position + 1 < len(words):
            base = words[position + 1].replace(".", "/")
            for path in (f"{base}.py", f"{base}/__main__.py"):
                if files.has(path):
                    return path
            return None
        if word.endswith(".py"):
            path = os.path.normpath(word)
            return path if not path.startswith(("/", "../")) and files.has(path) else None
    return None


def _first_names(data: bytes) -> set[str]:
    """Return the first part of what each line imports, "" for what is relative."""
    names: set[str] = set()
    for line in data.splitlines():
        kind, _, rest = os.fsdecode(line.strip()).partition(" ")
        if kind == "import":
            names.update(each.split()[0].split(".")[0] for each in rest.split(",") if each.strip())
        elif kind == "from" and rest.strip():
            names.add(rest.split()[0].split(".")[0])
    return names


def _imported(data: bytes, script: str, folder: str) -> Iterator[tuple[int, str, str]]:
    """Yield each import's line, the directory where it is looked for, and its dotted name.

    What `from a import b` takes may be a module too, `a.b`.
    """
    import ast

    for node in ast.walk(_parse(data, script)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, folder, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = folder
            if node.level:
                package = os.path.dirname(script).split("/")
                base = "/".join(package[: len(package) - node.level + 1])
            names = [f"{node.module}." if node.module else ""]
            names += [names[0] + alias.name for alias in node.names]
            for name in names:
                if name.rstrip("."):
                    yield node.lineno, base, name.rstrip(".")


def _parse(data: bytes, script: str) -> Any:
    import ast
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(data, script)


def _missing_module(folder: str, name: str, project_dir: str, files: StagedFiles) -> str | None:
    """Return what the project has of a module and the run has not; the outermost package first."""
    base = folder
    for part in name.split("."):
        base = os.path.join(base, part)
        if files.has(f"{base}.py"):
            return None
        if files.has(base):
            continue
        if _is_in_project(f"{base}.py", project_dir):
            return f"{base}.py"
        # A package: other directories may just be called as a module that is installed.
        if _is_package(os.path.join(project_dir, base)):
            return base
        return None
    return None


def _is_module(path: str) -> bool:
    return os.path.lexists(f"{path}.py") or os.path.isdir(path)


def _is_package(path: str) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(path))
    except OSError:
        return False


def _is_in_project(path: str, project_dir: str | None) -> bool:
    return project_dir is not None and os.path.lexists(os.path.join(project_dir, path))
