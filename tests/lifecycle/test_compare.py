"""Requirements compared with systems that were recorded: each kind of mismatch, and the table."""

from __future__ import annotations

import pytest

from gage._internal.lifecycle.system.compare import compare
from gage._internal.lifecycle.system.found import System
from gage._internal.lifecycle.system.hardware import Gpu
from gage._internal.lifecycle.system.table import table_lines
from gage._internal.store.requirements import KINDS, Requirement

GIB = 1 << 30

# What was found on three machines, as far as the requirements below ask for it.
WORKSTATION = System(
    platform="linux",
    architecture="x86_64",
    cpu_level=4,
    programs={"python3": "3.11.7", "ffmpeg": "6.1", "sh": ""},
    libraries=["libGL.so.1", "libstdc++.so.6"],
    symbols={"GLIBC": "2.36", "GLIBCXX": "3.4.30"},
    gpus=[Gpu("nvidia", "NVIDIA A100"), Gpu("nvidia", "NVIDIA A100")],
    driver="535.104.05",
    cpus=32,
    memory=63 * GIB,
    disk=500 * GIB,
)
OLD_SERVER = System(
    platform="linux",
    architecture="aarch64",
    programs={"python3": "3.9.18", "ffmpeg": "4.4.2", "sh": ""},
    symbols={"GLIBC": "2.28", "GLIBCXX": "3.4.25"},
    cpus=4,
    memory=8 * GIB - 1,
    disk=GIB // 2,
)
LAPTOP = System(
    platform="darwin",
    architecture="arm64",
    programs={"sh": ""},
    gpus=[Gpu("apple")],
    cpus=8,
    memory=16 * GIB,
    disk=100 * GIB,
)

NEEDS = [
    Requirement("platform", "linux", "", "lib/fast.so"),
    Requirement("architecture", "x86_64", "", "lib/fast.so"),
    Requirement("cpu", "x86-64-v3", "", "lib/fast.so"),
    Requirement("python", "python3", ">=3.11,<4", "exec.run"),
    Requirement("command", "ffmpeg", ">=5", "requires"),
    Requirement("command", "sh", "", "exec.finalize"),
    Requirement("library", "libGL.so.1", "", "lib/fast.so"),
    Requirement("symbols", "GLIBC", ">=2.34", "lib/fast.so"),
    Requirement("symbols", "GLIBCXX", ">=3.4.29", "lib/other.so"),
    Requirement("gpu", "nvidia", ">=2", "requires"),
    Requirement("driver", "nvidia", ">=525.60.13", "torch-2.1.0+cu121.dist-info/METADATA"),
    Requirement("cpus", "cpus", ">=8", "requires"),
    Requirement("memory", "memory", ">=64GiB", "requires"),
    Requirement("disk", "disk", ">=100GiB", "requires"),
]


def test_every_kind_is_tried() -> None:
    assert {each.kind for each in NEEDS} == set(KINDS)


def test_a_system_that_has_it_all() -> None:
    assert [each for each in compare(NEEDS, WORKSTATION) if not each.is_met] == []


def test_a_system_that_has_none_of_it() -> None:
    compared = compare(NEEDS, OLD_SERVER)
    assert table_lines(compared, with_result=True) == TABLE.strip("\n").splitlines()


TABLE = """
        needed                     found                        needed by                             what would mend it
ok      linux                      linux                        lib/fast.so
failed  x86_64                     aarch64                      lib/fast.so                           start it on x86_64, or stage it here
failed  CPU x86-64-v3              another                      lib/fast.so                           start it on a newer CPU, or build it for older ones
failed  python3 >=3.11,<4          3.9.18                       exec.run                              put a Python >=3.11,<4 on PATH as python3, or stage it with the one here
failed  ffmpeg >=5                 4.4.2                        requires                              install ffmpeg >=5
ok      sh                         found                        exec.finalize
failed  library libGL.so.1         not found                    lib/fast.so                           install the package that has it, or stage it with the run
failed  GLIBC symbols >=2.34       2.28                         lib/fast.so                           start it on a newer system, or build it on an older one
failed  GLIBCXX symbols >=3.4.29   3.4.25                       lib/other.so                          install a newer libstdc++, or stage libstdc++.so.6 with the run
failed  nvidia GPU >=2             none                         requires                              start it where there is a GPU of nvidia
ok      nvidia driver >=525.60.13  no GPU that it would be for  torch-2.1.0+cu121.dist-info/METADATA
failed  cpus >=8                   4                            requires                              start it where this process may use more CPUs
failed  memory >=64GiB             7.9 GiB                      requires                              start it where there is more memory
failed  free disk >=100GiB         0.5 GiB free                 requires                              make room, or move the run to a larger disk
"""  # noqa: E501


def unmet(needed: Requirement, system: System) -> tuple[str, str] | None:
    (compared,) = compare([needed], system)
    assert bool(compared.remedy) is not compared.is_met
    return None if compared.is_met else (compared.found, compared.remedy)


@pytest.mark.parametrize("needed", [each for each in NEEDS if each.name != "sh"])
def test_each_need_by_itself_on_another_platform(needed: Requirement) -> None:
    is_met = needed.kind in ("cpus", "disk", "driver")
    assert (unmet(needed, LAPTOP) is None) is is_met


def test_what_is_missing_is_not_what_is_too_old() -> None:
    assert unmet(NEEDS[3], LAPTOP) == (
        "not found",
        "install Python >=3.11,<4, or put it on PATH",
    )
    assert unmet(NEEDS[4], LAPTOP) == ("not found", "install ffmpeg >=5, or put it on PATH")
    silent = LAPTOP._replace(programs={"ffmpeg": ""})
    assert unmet(NEEDS[4], silent) == ("it tells no version", "install ffmpeg >=5")


def test_gpus() -> None:
    any_gpu = Requirement("gpu", "gpu", "", "requires")
    assert unmet(any_gpu, LAPTOP) is None
    assert unmet(any_gpu, OLD_SERVER) == ("none", "start it where there is a GPU")
    nvidia = Requirement("gpu", "nvidia", "", "a")
    assert unmet(nvidia, LAPTOP) == ("apple", "start it where there is a GPU of nvidia")
    three = Requirement("gpu", "gpu", ">=3", "requires")
    assert unmet(three, WORKSTATION) == ("2: NVIDIA A100", "start it where there are >=3 GPUs")


def test_a_driver_counts_where_there_is_a_gpu_or_where_it_is_asked_for() -> None:
    derived = Requirement("driver", "nvidia", ">=580", "a.so")
    assert unmet(derived, OLD_SERVER) is None
    assert unmet(derived, WORKSTATION) == ("535.104.05", "install a driver >=580")
    no_driver = WORKSTATION._replace(driver="")
    assert unmet(derived, no_driver) == ("not found", "install a driver >=580")
    declared = derived._replace(by="requires")
    assert unmet(declared, OLD_SERVER) == ("not found", "install a driver >=580")


def test_memory_as_it_is_sold_but_limits_as_they_are() -> None:
    needed = Requirement("memory", "memory", ">=16GiB", "requires")
    sold = LAPTOP._replace(memory=int(15.2 * GIB))
    assert unmet(needed, sold) is None
    assert unmet(needed, sold._replace(memory=int(14.2 * GIB))) is not None
    limited = sold._replace(memory_limit=15 * GIB + GIB // 2)
    assert unmet(needed, limited._replace(memory=64 * GIB)) == (
        "15.5 GiB allowed",
        "ask for more memory, or start it elsewhere",
    )
    assert unmet(needed, sold._replace(memory_limit=1 << 60)) is None


def test_an_architecture_that_executes_another() -> None:
    needed = Requirement("architecture", "i686", "", "tool")
    assert unmet(needed, WORKSTATION) is None
    assert unmet(needed, OLD_SERVER) is not None


def test_what_this_gage_does_not_know_is_not_met() -> None:
    assert unmet(Requirement("quantum", "qubits", ">=3", "a"), WORKSTATION) == (
        "not known to this Gage",
        "use a newer Gage",
    )
    assert unmet(Requirement("memory", "memory", "lots", "a"), WORKSTATION) is not None
