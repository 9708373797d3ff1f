"""What there is of all that a run needs of a system."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gage._internal.lifecycle.system.hardware import (
    Gpu,
    count_cpus,
    find_cpu,
    find_driver,
    find_gpus,
    find_memory,
    find_memory_limit,
    find_room,
)
from gage._internal.lifecycle.system.libraries import Libraries
from gage._internal.lifecycle.system.programs import (
    find_program,
    program_version,
    programs_of,
    python_version,
    shebang_of,
)
from gage._internal.store.requirements import (
    COMMAND,
    CPU,
    DISK,
    DRIVER,
    GPU,
    LIBRARY,
    MEMORY,
    PYTHON,
    SYMBOLS,
    Requirement,
)
from gage._internal.types import NOTHING, OpCmd


class System(NamedTuple):
    """What was found of a system, as far as it was looked for.

    `programs` has the version of each program that is there, empty where it was not asked for or
    not told; `symbols` the newest of each library's. `cpu_level` is the x86-64 level, `driver` the
    version of NVIDIA's. `memory`, `memory_limit` (of this process) and `disk` (what is free) are in
    bytes.
    """

    platform: str = ""
    architecture: str = ""
    cpu_level: int = 0
    programs: Mapping[str, str] = NOTHING
    libraries: Collection[str] = ()
    symbols: Mapping[str, str] = NOTHING
    gpus: Sequence[Gpu] = ()
    driver: str = ""
    cpus: int = 0
    memory: int = 0
    memory_limit: int | None = None
    disk: int = 0


def find_system(
    requirements: Sequence[Requirement], run_dir: str, commands: Sequence[OpCmd]
) -> System:
    """Look on this system for what a run requires, and for nothing else.

    `commands` are those that the run executes, which tell where programs are searched. A program
    is started only where its version is needed.
    """
    kinds = {each.kind for each in requirements}
    env = commands[0].env if commands else NOTHING
    system = System(sys.platform, os.uname().machine, cpus=count_cpus())
    if kinds & {COMMAND, PYTHON}:
        system = system._replace(programs=_find_programs(requirements, run_dir, commands))
    if kinds & {LIBRARY, SYMBOLS}:
        libraries = Libraries(env)
        names = (each.name for each in requirements if each.kind == LIBRARY)
        symbols = (each.name for each in requirements if each.kind == SYMBOLS)
        system = system._replace(
            libraries=[name for name in names if libraries.find(name)],
            symbols={name: libraries.newest(name) for name in symbols},
        )
    if CPU in kinds:
        system = system._replace(cpu_level=find_cpu().level)
    if kinds & {GPU, DRIVER}:
        system = system._replace(gpus=find_gpus(), driver=find_driver())
    if MEMORY in kinds:
        system = system._replace(memory=find_memory(), memory_limit=find_memory_limit())
    if DISK in kinds:
        system = system._replace(disk=find_room(run_dir))
    return system


def _find_programs(
    requirements: Sequence[Requirement], run_dir: str, commands: Sequence[OpCmd]
) -> dict[str, str]:
    env = commands[0].env if commands else NOTHING
    # A command may say where a program is; what is required of it is told by its name.
    words = [word for command in commands for word in programs_of(command.args)]
    places = {os.path.basename(word): word for word in words if word.startswith(os.sep)}
    found: dict[str, str] = {}
    for each in requirements:
        if each.kind not in (COMMAND, PYTHON):
            continue
        place = _place_of(each, run_dir) or places.get(each.name, each.name)
        path = find_program(place, env, run_dir)
        if path is None:
            continue
        version = found.get(each.name, "")
        if each.needed and not version:
            is_python = each.kind == PYTHON
            version = python_version(path, run_dir) if is_python else program_version(path)
        found[each.name] = version
    return found


def _place_of(requirement: Requirement, run_dir: str) -> str | None:
    """Return the path at which a program is looked for; None for one that is found on PATH.

    That is the case of one in the run, and of the interpreter that a staged script names so.
    """
    name = requirement.name
    if os.sep in name:
        return os.path.join(run_dir, name)
    words = shebang_of(os.path.join(run_dir, requirement.by))[:1]
    return words[0] if words and os.path.basename(words[0]) == name else None
