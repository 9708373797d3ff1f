"""What native code that is staged needs: platform, CPU, symbols and libraries of the system."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping

from gage._internal.lifecycle.elf import Elf
from gage._internal.store.needed import version_numbers
from gage._internal.store.requirements import (
    ARCHITECTURE,
    CPU,
    LIBRARY,
    PLATFORM,
    SYMBOLS,
    Requirement,
)

_LINUX = "linux"
_VERSIONED = re.compile(r"(GLIBC|GLIBCXX|CXXABI)_(\d+(?:\.\d+)*)")
_OF_GLIBC = re.compile(r"(?:lib(?:c|m|pthread|dl|rt|util|resolv|anl)|ld-linux[^/]*)\.so(?:\.\d+)+")
# What comes with a driver, and what comes with the interpreter.
_OF_OTHERS = re.compile(
    r"(?:libcuda|libnvidia-[\w-]+|libnvcuvid|libnvoptix|libpython\d[\w.]*?)\.so(?:\.[\d.]+)?"
)


def native_requirements(natives: Mapping[str, Elf], paths: Collection[str]) -> list[Requirement]:
    """Return what native code needs, of which `natives` tells by path; `paths` are all staged.

    Code for this machine's architecture counts, or, where there is none, for the only other one.
    """
    architecture = _architecture(natives)
    if not architecture:
        return []
    ours = {path: natives[path] for path in sorted(natives)}
    ours = {path: elf for path, elf in ours.items() if elf.machine == architecture}
    first = next(iter(ours))
    symbols = list(_symbols(ours))
    found = [Requirement(PLATFORM, _LINUX, "", first)]
    found.append(Requirement(ARCHITECTURE, architecture, "", first))
    found += _cpu(ours)
    found += _libraries(ours, paths, has_glibc=any(each.name == "GLIBC" for each in symbols))
    return found + symbols


def _architecture(natives: Mapping[str, Elf]) -> str:
    machines = {elf.machine for elf in natives.values() if elf.machine}
    here = os.uname().machine
    if here in machines:
        return here
    return machines.pop() if len(machines) == 1 else ""


def _cpu(natives: Mapping[str, Elf]) -> Iterator[Requirement]:
    level, path = max((elf.cpu_level, path) for path, elf in natives.items())
    # The first level is any x86-64.
    if level > 1:
        yield Requirement(CPU, f"x86-64-v{level}", "", path)


def _symbols(natives: Mapping[str, Elf]) -> Iterator[Requirement]:
    newest: dict[str, tuple[list[int], str, str]] = {}
    for path, elf in natives.items():
        for version in elf.versions:
            match = _VERSIONED.fullmatch(version)
            if match and version_numbers(match[2]) > newest.get(match[1], ([], "", ""))[0]:
                newest[match[1]] = version_numbers(match[2]), match[2], path
    for name in sorted(newest):
        _, version, path = newest[name]
        yield Requirement(SYMBOLS, name, f">={version}", path)


def _libraries(
    natives: Mapping[str, Elf], paths: Collection[str], has_glibc: bool
) -> Iterator[Requirement]:
    staged = {elf.soname for elf in natives.values()}
    staged.update(path.rpartition("/")[2] for path in paths if ".so" in path)
    told = set()
    for path, elf in natives.items():
        for name in elf.needed:
            name = os.path.basename(name)
            if name in staged or name in told or _OF_OTHERS.fullmatch(name):
                continue
            if not (has_glibc and _OF_GLIBC.fullmatch(name)):
                told.add(name)
                yield Requirement(LIBRARY, name, "", path)
