"""Compare what a run needs of a system with what there is, all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gage._internal.errors import IncompatibleSystem
from gage._internal.lifecycle.system.found import System, find_system
from gage._internal.store import meta
from gage._internal.store.command_lines import FINALIZE, exec_part
from gage._internal.store.logs import counted
from gage._internal.store.needed import is_amount_met, is_version_met
from gage._internal.store.requirements import (
    ANY_GPU,
    ARCHITECTURE,
    COMMAND,
    CPU,
    CPUS,
    DECLARED,
    DISK,
    DRIVER,
    GPU,
    LIBRARY,
    MEMORY,
    PLATFORM,
    PYTHON,
    SYMBOLS,
    Requirement,
    read_requirements,
)
from gage._internal.types import OpCmd, Run

_MISSING = "not found"
# Of a machine's memory, firmware and kernel keep this part for themselves: one that is sold with
# 16 GiB has no 16 GiB.
_KEPT = 0.1
# Architectures whose programs another one executes too.
_ALSO = {("i686", "x86_64"), ("armv7l", "aarch64"), ("arm64", "aarch64"), ("aarch64", "arm64")}


class Comparison(NamedTuple):
    """A requirement, what was found, whether it is met, and else what would mend it."""

    requirement: Requirement
    found: str
    is_met: bool
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as an object of JSON."""
        return {**self.requirement._asdict(), "found": self.found, "remedy": self.remedy}


def compare(requirements: Sequence[Requirement], system: System) -> list[Comparison]:
    """Compare each requirement with what was found of a system."""
    return [_compared(each, system) for each in requirements]


def compare_here(run: Run) -> list[Comparison]:
    """Compare all that a run requires with this system.

    Raises:
        RunDamaged: a meta file cannot be understood.
    """
    requirements = read_requirements(run)
    if not requirements:
        return []
    command = meta.read_cmd(run)
    finalize = exec_part(meta.read_opdef(run).data.get("exec"), FINALIZE)
    commands = [command, *([OpCmd(finalize, command.env)] if finalize else [])]
    return compare(requirements, find_system(requirements, run.run_dir, commands))


def check_system(run: Run, force: bool = False) -> list[Comparison]:
    """Make sure that a run can execute on this system; return what is not met, with `force`.

    Raises:
        IncompatibleSystem: something that it needs is not here.
        RunDamaged: a meta file cannot be understood.
    """
    compared = compare_here(run)
    unmet = [each for each in compared if not each.is_met]
    if unmet and not force:
        from gage._internal.lifecycle.system.table import table_lines

        is_or_are = "is" if len(unmet) == 1 else "are"
        lines = "".join(f"\n  {line}" for line in table_lines(unmet))
        raise IncompatibleSystem(
            f"run {run.id} needs what this system does not have: {len(unmet)} of"
            f" {counted(len(compared), 'requirement')} {is_or_are} not met{lines}",
            "it stays staged; --force starts it all the same",
            [each.as_json() for each in unmet],
        )
    return unmet


def _compared(requirement: Requirement, system: System) -> Comparison:
    compare_kind = _BY_KIND.get(requirement.kind)
    if compare_kind is None:
        return Comparison(requirement, "not known to this Gage", False, "use a newer Gage")
    try:
        found, is_met, remedy = compare_kind(requirement, system)
    except ValueError:
        return Comparison(requirement, "not understood", False, "use the Gage that staged it")
    return Comparison(requirement, found, is_met, "" if is_met else remedy)


_Found = tuple[str, bool, str]


def _platform(needed: Requirement, system: System) -> _Found:
    is_met = system.platform.startswith(needed.name)
    return system.platform, is_met, f"start it on {needed.name}, or stage it here"


def _architecture(needed: Requirement, system: System) -> _Found:
    found = system.architecture
    is_met = found == needed.name or (needed.name, found) in _ALSO
    return found, is_met, f"start it on {needed.name}, or stage it here"


def _cpu(needed: Requirement, system: System) -> _Found:
    level = int(needed.name.rpartition("-v")[2])
    found = f"x86-64-v{system.cpu_level}" if system.cpu_level else "another"
    remedy = "start it on a newer CPU, or build it for older ones"
    return found, system.cpu_level >= level, remedy


def _python(needed: Requirement, system: System) -> _Found:
    version = system.programs.get(needed.name)
    if version is None:
        return _MISSING, False, f"install Python{_space(needed)}, or put it on PATH"
    is_met = is_version_met(needed.needed, version)
    how = f"put a Python{_space(needed)} on PATH as {needed.name}, or stage it with the one here"
    return version or "found", is_met, how


def _command(needed: Requirement, system: System) -> _Found:
    version = system.programs.get(needed.name)
    if version is None:
        return _MISSING, False, f"install {needed.name}{_space(needed)}, or put it on PATH"
    is_met = is_version_met(needed.needed, version)
    found = version or ("it tells no version" if needed.needed else "found")
    return found, is_met, f"install {needed.name}{_space(needed)}"


def _library(needed: Requirement, system: System) -> _Found:
    is_met = needed.name in system.libraries
    remedy = "install the package that has it, or stage it with the run"
    return "found" if is_met else _MISSING, is_met, remedy


def _symbols(needed: Requirement, system: System) -> _Found:
    version = system.symbols.get(needed.name, "")
    is_met = bool(version) and is_version_met(needed.needed, version)
    if needed.name == "GLIBC":
        remedy = "start it on a newer system, or build it on an older one"
    else:
        remedy = "install a newer libstdc++, or stage libstdc++.so.6 with the run"
    return version or _MISSING, is_met, remedy


def _gpu(needed: Requirement, system: System) -> _Found:
    gpus = [gpu for gpu in system.gpus if needed.name in (ANY_GPU, gpu.vendor)]
    is_met = is_amount_met(needed.needed or ">=1", len(gpus))
    if not gpus:
        others = sorted({gpu.vendor for gpu in system.gpus})
        return ", ".join(others) or "none", is_met, f"start it where there is {_a_gpu(needed)}"
    models = sorted({gpu.model or gpu.vendor for gpu in gpus})
    remedy = f"start it where there are {needed.needed} GPUs"
    return f"{len(gpus)}: {', '.join(models)}", is_met, remedy


def _a_gpu(needed: Requirement) -> str:
    return "a GPU" if needed.name == ANY_GPU else f"a GPU of {needed.name}"


def _driver(needed: Requirement, system: System) -> _Found:
    has_gpu = any(gpu.vendor == needed.name for gpu in system.gpus)
    if not has_gpu and not system.driver and needed.by != DECLARED:
        return "no GPU that it would be for", True, ""
    remedy = f"install a driver{_space(needed)}"
    is_met = bool(system.driver) and is_version_met(needed.needed, system.driver)
    return system.driver or _MISSING, is_met, remedy


def _cpus(needed: Requirement, system: System) -> _Found:
    is_met = is_amount_met(needed.needed, system.cpus)
    return str(system.cpus), is_met, "start it where this process may use more CPUs"


def _memory(needed: Requirement, system: System) -> _Found:
    limit = system.memory_limit
    if limit is not None and limit < system.memory:
        is_met = is_amount_met(needed.needed, limit)
        return f"{_gib(limit)} allowed", is_met, "ask for more memory, or start it elsewhere"
    # Whichever of the two suits the comparison.
    most = int(system.memory / (1 - _KEPT))
    is_met = any(is_amount_met(needed.needed, size) for size in (system.memory, most))
    return _gib(system.memory), is_met, "start it where there is more memory"


def _disk(needed: Requirement, system: System) -> _Found:
    is_met = is_amount_met(needed.needed, system.disk)
    return f"{_gib(system.disk)} free", is_met, "make room, or move the run to a larger disk"


def _space(needed: Requirement) -> str:
    return f" {needed.needed}" if needed.needed else ""


def _gib(size: int) -> str:
    """Return bytes in GiB, never more than there are."""
    return f"{size * 10 // 2**30 / 10:.1f} GiB"


_BY_KIND: dict[str, Callable[[Requirement, System], _Found]] = {
    PLATFORM: _platform,
    ARCHITECTURE: _architecture,
    CPU: _cpu,
    PYTHON: _python,
    COMMAND: _command,
    LIBRARY: _library,
    SYMBOLS: _symbols,
    GPU: _gpu,
    DRIVER: _driver,
    CPUS: _cpus,
    MEMORY: _memory,
    DISK: _disk,
}
