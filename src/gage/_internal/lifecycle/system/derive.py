"""Derive what a run needs of a system from its command and from what is staged.

What the command calls by a path in the run is no requirement of the system. A Python that is
inherited must be of the same major version, and at least of the minor that the run was staged with,
unless the Gage file says otherwise; where modules are staged that are built for one minor version,
it must be that one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from gage._internal.lifecycle.system.interpreters import find_interpreter
from gage._internal.lifecycle.system.programs import (
    find_program,
    is_python,
    programs_of,
    shebang_of,
)
from gage._internal.store.command_lines import FINALIZE, RUN, exec_part
from gage._internal.store.requirements import COMMAND, KINDS, PYTHON, Requirement
from gage._internal.types import OpCmd, OpDef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gage._internal.lifecycle.elf import Elf
    from gage._internal.lifecycle.system.interpreters import Interpreter

_MODULE = r".*\.cpython-(\d)(\d+)[a-z]?-[^/]*\.so"


class EnvironmentPrograms(NamedTuple):
    """What a runtime gives the commands of a run.

    `folders` are those of the run in which a program is found by its name alone, `names` programs
    that will be found besides. `python` is the name of the interpreter of the system that the
    environment will use, if it does. One that `is_open` may have any program, and one that
    `is_closed` has all that the command itself calls.
    """

    folders: Sequence[str] = ()
    names: Collection[str] = ()
    python: str = ""
    is_open: bool = False
    is_closed: bool = False


NO_PROGRAMS = EnvironmentPrograms()


class Staged(NamedTuple):
    """What is staged: all paths, where a file of them lies now, and what is native code.

    `cwd` is the directory that the command is executed in, or what stands for it. `environment` is
    what the runtime gives the command.
    """

    paths: Collection[str]
    locate: Callable[[str], str]
    natives: Mapping[str, Elf]
    cwd: str
    environment: EnvironmentPrograms = NO_PROGRAMS


class Calls(NamedTuple):
    """Programs of the system that a run calls: the requirements, and the Python of its command.

    `python` is how that is called, a path where it is staged; empty where the command calls none.
    `interpreter` is what it is, where it is the system's and here.
    """

    requirements: Sequence[Requirement]
    python: str
    interpreter: Interpreter | None


def derive_requirements(
    opdef: OpDef, calls: Calls, staged: Staged, extra: Sequence[Requirement] = ()
) -> list[Requirement]:
    """Return what a run needs of a system: derived, declared by the Gage file, and `extra`.

    `extra` is what a runtime needs for what it has staged.
    """
    found = [*calls.requirements]
    if staged.natives:
        from gage._internal.lifecycle.system.natives import native_requirements

        found += native_requirements(staged.natives, staged.paths)
    if staged.natives or any(path.endswith(".dist-info/METADATA") for path in staged.paths):
        from gage._internal.lifecycle.system.gpu_builds import gpu_requirements

        found += gpu_requirements(staged.natives, staged.paths)
    found = [*_with_modules(found, calls, staged), *extra]
    spec = opdef.data.get("requires")
    if spec:
        from gage._internal.project.requires import declared_requirements, is_declared

        declared = [
            each._replace(name=calls.python) if each.kind == PYTHON and calls.python else each
            for each in declared_requirements(spec)
        ]
        replaced = [each for each in calls.requirements if is_declared(each, declared)]
        found = [*(each for each in found if each not in replaced), *declared]
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(dict.fromkeys(found), key=lambda each: order.get(each.kind, len(order)))


def find_calls(opdef: OpDef, command: OpCmd, staged: Staged) -> Calls:
    """Return which programs of the system the command and the last hook of a run call."""
    finalize = exec_part(opdef.data.get("exec"), FINALIZE) or ()
    found: dict[str, Requirement] = {}
    python = ""
    interpreter = None
    environment = staged.environment
    for args, part in ((command.args, RUN), (finalize, FINALIZE)):
        if part == RUN and environment.is_closed:
            continue
        for number, word in enumerate(programs_of(args)):
            name, by = _name_and_caller(word, f"exec.{part}", staged)
            own = _in_folders(name, staged) if name else word
            if own:
                python = python or (own if is_python(own) else "")
                continue
            if name in environment.names:
                python = python or (environment.python if is_python(name) else "")
                continue
            path = find_program(word if word.startswith(os.sep) else name, command.env, staged.cwd)
            # A shell can do without a program that was not here either.
            if name in found or (path is None and (number or environment.is_open)):
                continue
            if not is_python(name):
                found[name] = Requirement(COMMAND, name, "", by)
                continue
            known = find_interpreter(path, staged.cwd) if path else None
            if not python:
                python, interpreter = name, known
            found[name] = Requirement(PYTHON, name, _needed(known), by)
    return Calls(list(found.values()), python, interpreter)


def _in_folders(name: str, staged: Staged) -> str:
    paths = (f"{folder}/{name}" for folder in staged.environment.folders)
    return next((path for path in paths if path in staged.paths), "")


def _name_and_caller(word: str, by: str, staged: Staged) -> tuple[str, str]:
    """Return the name of a program and who calls it; no name where it is one of the run.

    Of a script that is staged it is what that says in its first line.
    """
    if word.startswith(os.sep):
        return os.path.basename(word), by
    if os.sep not in word:
        return word, by
    path = os.path.normpath(word)
    is_script = path in staged.paths and path not in staged.natives
    return (_shebang(staged.locate(path)) if is_script else ""), path


def _shebang(path: str) -> str:
    """Return the name of the interpreter that a script names; empty where it names none."""
    words = shebang_of(path)
    if words and os.path.basename(words[0]) == "env":
        return next(iter(programs_of(["env", *words[1:]])[1:]), "")
    return os.path.basename(words[0]) if words else ""


def _needed(interpreter: Interpreter | None) -> str:
    if interpreter is None or not interpreter.version:
        return ""
    major, minor = interpreter.version.split(".")[:2]
    return f">={major}.{minor},<{int(major) + 1}"


def _with_modules(found: Sequence[Requirement], calls: Calls, staged: Staged) -> list[Requirement]:
    """Return requirements with the version that modules which are staged are built for."""
    inherited = [each for each in found if each.kind == PYTHON]
    minors = {} if not inherited else _minors(calls, staged)
    here = tuple(map(int, calls.interpreter.version.split(".")[:2])) if calls.interpreter else ()
    minor = here if here in minors else next(iter(minors)) if len(minors) == 1 else None
    if minor is None:
        return list(found)
    major, number = minor
    needed = f">={major}.{number},<{major}.{number + 1}"
    built = Requirement(PYTHON, calls.python, needed, minors[minor])
    return [*(each for each in found if each.name != calls.python), built]


def _minors(calls: Calls, staged: Staged) -> dict[tuple[int, ...], str]:
    """Return the minor versions that modules are built for, each with the first such module."""
    minors: dict[tuple[int, ...], str] = {}
    for path in sorted(staged.natives):
        match = re.fullmatch(_MODULE, path)
        if match:
            minors.setdefault((int(match[1]), int(match[2])), path)
    if calls.interpreter:
        compiled = (p for p in staged.paths if p.endswith(".pyc") and "__pycache__/" not in p)
        path = min(compiled, default="")
        if path:
            here = tuple(map(int, calls.interpreter.version.split(".")[:2]))
            minors.setdefault(here, path)
    return minors
