"""What a run needs of a system, derived while it is staged."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from elf_files import elf_file
from gage._internal.errors import RunDamaged
from gage._internal.lifecycle.elf import find_elf
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.system import gpu_builds
from gage._internal.lifecycle.system.derive import (
    EnvironmentPrograms,
    Staged,
    derive_requirements,
    find_calls,
)
from gage._internal.lifecycle.system.hardware import (
    Gpu,
    find_cpu,
    find_driver,
    find_gpus,
    find_memory,
    find_memory_limit,
)
from gage._internal.lifecycle.system.libraries import Libraries
from gage._internal.lifecycle.system.programs import program_version, programs_of
from gage._internal.store.requirements import Requirement, read_requirements
from gage._internal.types import OpCmd, OpDef, Run
from runs_on_disk import meta_file

HERE = os.uname().machine
OTHER = "aarch64" if HERE != "aarch64" else "x86_64"
MACHINES = {"i686": 3, "ppc64le": 21, "x86_64": 62, "aarch64": 183, "riscv64": 243}
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
INHERITED = f">={MINOR},<{sys.version_info[0] + 1}"
TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-{HERE}-linux-gnu"


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory on PATH, with this Python in it."""
    path = tmp_path / "bin"
    path.mkdir()
    (path / "python3").symlink_to(sys.executable)
    for name in ("sh", "env", "cat"):
        program(path, name)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    return path


def program(folder: Path, name: str, text: str = "#!/bin/sh\n") -> Path:
    folder.joinpath(name).write_text(text)
    folder.joinpath(name).chmod(0o755)
    return folder / name


@pytest.fixture
def derive(make_initialized, project_dir: Path, bin_dir: Path) -> Callable[..., list[Requirement]]:
    """Return a function that stages a command with files and returns what that needs."""

    def stage(
        *args: str, files: Mapping[str, bytes] | None = None, **opdef: Any
    ) -> list[Requirement]:
        for path, data in (files or {}).items():
            full = project_dir / path
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_bytes(data)
            full.chmod(0o755 if data.startswith((b"#!", b"\x7fELF")) else 0o644)
        run = make_initialized(*args, opdef={"sourcecode": "*", **opdef})
        stage_run(run, str(project_dir))
        return read_requirements(run)

    return stage


def texts(requirements: Sequence[Requirement]) -> list[str]:
    return [f"{each.kind} {each.name} {each.needed} by {each.by}" for each in requirements]


# Commands.


def test_the_interpreter_and_its_version(derive) -> None:
    assert texts(derive("python3", "train.py")) == [f"python python3 {INHERITED} by exec.run"]


def test_an_application_that_is_not_here_is_needed_all_the_same(derive) -> None:
    assert texts(derive("no-such-tool")) == ["command no-such-tool  by exec.run"]
    assert texts(derive("python2.7", "a.py")) == ["python python2.7  by exec.run"]


def test_hooks_of_the_run_phase_count_and_those_of_staging_do_not(derive) -> None:
    hooks = {"run": "cat x", "finalize": "env A=b no-such", "stage-sourcecode": "/bin/true"}
    assert texts(derive("cat", "x", exec=hooks)) == [
        "command cat  by exec.run",
        "command env  by exec.finalize",
    ]


def test_a_command_that_is_staged_is_no_application(derive) -> None:
    scripts = {
        "run.sh": b"#!/bin/sh -e\n",
        "run.py": b"#!/usr/bin/env -S python3 -u\n",
        "bin/tool": b"text\n",
    }
    assert texts(derive("./run.sh", files=scripts)) == ["command sh  by run.sh"]
    assert texts(derive("./run.py")) == [f"python python3 {INHERITED} by run.py"]
    assert texts(derive("bin/tool")) == []
    assert texts(derive("./run.py", requires="python>=3.5")) == ["python python3 >=3.5 by requires"]


def test_no_path_of_this_machine_is_recorded(derive, bin_dir: Path, project_dir: Path) -> None:
    found = derive(str(bin_dir / "python3"), str(bin_dir / "cat"), f"{project_dir}/a.py")
    assert texts(found) == [f"python python3 {INHERITED} by exec.run"]


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("a | b && c; d & e", "a b c d e"),
        ("a || b", "a"),
        ("A=1 B=2 a b", "a"),
        ("cd x && a >out 2>&1 <in", "a"),
        ("a 'b; c' \"d | e\"", "a"),
        ("(a; b)", "a b"),
        ("set -e\na\n# b c\nd", "a d"),
        ("if a; then b; else c; fi; d", "d"),
        ("for i in 1 2; do a $i; done", "a"),
        ("while read x; do a; done", "a"),
        ("case $x in a) b ;; esac; c", "c"),
        ("$TOOL a; `b` c; ~/d", ""),
        ("command -v a && b", "b"),
        ("env A=1 nice -n python3 a", "env nice python3"),
        ("! a", "a"),
        ("exec a", "a"),
        ("a; b 'unended", "a b"),
        ("echo $(a b)", "a"),
    ],
)
def test_programs_of_a_shell(command: str, programs: str) -> None:
    assert programs_of(["sh", "-c", command]) == ["sh", *programs.split()]


def test_what_a_shell_calls_counts_where_it_is_here(derive) -> None:
    found = derive("sh", "-c", "cat a | no-such-filter | python3 b.py")
    assert texts(found) == [
        f"python python3 {INHERITED} by exec.run",
        "command sh  by exec.run",
        "command cat  by exec.run",
    ]


def test_a_staged_environment_provides_its_programs(bin_dir: Path) -> None:
    paths = [".venv/bin/python3", "a.py"]
    environment = EnvironmentPrograms([".venv/bin"])
    staged = Staged(paths, lambda path: path, {}, "/", environment)
    opdef = OpDef("a", {"requires": ["python>=3.9"]})
    calls = find_calls(opdef, OpCmd(["python3", "a.py"]), staged)
    extra = [Requirement("library", "libssl.so.3", "", "uv.lock")]
    assert derive_requirements(opdef, calls, staged, extra) == [
        Requirement("python", ".venv/bin/python3", ">=3.9", "requires"),
        *extra,
    ]
    assert calls.interpreter is None


def test_an_environment_links_a_python_of_the_system(bin_dir: Path) -> None:
    environment = EnvironmentPrograms((), {"python", "tool"}, "python3.9")
    staged = Staged(["a.py"], lambda path: path, {}, "/", environment)
    opdef = OpDef("a", {"requires": ["python>=3.9"], "exec": {"run": "x", "finalize": "tool"}})
    calls = find_calls(opdef, OpCmd(["python", "a.py"]), staged)
    assert calls.requirements == []
    declared = Requirement("python", "python3.9", ">=3.9", "requires")
    assert derive_requirements(opdef, calls, staged) == [declared]


def test_an_environment_that_is_made_at_start_may_have_any_program(bin_dir: Path) -> None:
    environment = EnvironmentPrograms(is_open=True)
    staged = Staged([], lambda path: path, {}, "/", environment)
    assert find_calls(OpDef("a", {}), OpCmd(["no-such-tool"]), staged).requirements == []
    closed = staged._replace(environment=EnvironmentPrograms(is_closed=True))
    opdef = OpDef("a", {"exec": {"run": "x", "finalize": "sh"}})
    (needed,) = find_calls(opdef, OpCmd(["python3"]), closed).requirements
    assert needed == Requirement("command", "sh", "", "exec.finalize")


# What the Gage file declares.


def test_what_is_declared_takes_the_place_of_what_the_command_tells(derive) -> None:
    requires = ["python>=3.8", "cmd:cat>=8", "memory>=1GiB"]
    found = derive("sh", "-c", "cat a | python3 b", requires=requires)
    assert texts(found) == [
        "python python3 >=3.8 by requires",
        "command sh  by exec.run",
        "command cat >=8 by requires",
        "memory memory >=1GiB by requires",
    ]


# Native code.


def test_native_code(derive) -> None:
    machine = MACHINES[HERE]
    files = {
        "lib/a.so": elf_file(
            ["libc.so.6", "libm.so.6", "libb.so.1", "libGL.so.1", "libcuda.so.1", "libz.so"],
            ["GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_PRIVATE", "GCC_3.0"],
            weak=["GLIBC_2.99"],
            machine=machine,
        ),
        "lib/b.so": elf_file(
            ["libstdc++.so.6", "libGL.so.1"],
            ["GLIBC_2.17", "GLIBCXX_3.4.9", "GLIBCXX_3.4.21", "CXXABI_1.3"],
            soname="libb.so.1",
            machine=machine,
        ),
        "lib/libz.so": elf_file(machine=machine),
        "lib/c.o": elf_file(["libnone.so.1"], machine=machine, kind=1),
        "lib/other.so": elf_file(["libnone.so.2"], ["GLIBC_2.40"], machine=MACHINES[OTHER]),
        "data.so": b"no code",
    }
    found = derive("cat", files=files)
    assert [text for text in texts(found) if not text.startswith("driver")] == [
        "platform linux  by lib/a.so",
        f"architecture {HERE}  by lib/a.so",
        "command cat  by exec.run",
        "library libGL.so.1  by lib/a.so",
        "library libstdc++.so.6  by lib/b.so",
        "symbols CXXABI >=1.3 by lib/b.so",
        "symbols GLIBC >=2.17 by lib/b.so",
        "symbols GLIBCXX >=3.4.21 by lib/b.so",
    ]


def test_native_code_for_another_machine_only(derive) -> None:
    other = elf_file(["libx.so"], machine=MACHINES[OTHER])
    assert texts(derive("cat", files={"a.so": other})) == [
        "platform linux  by a.so",
        f"architecture {OTHER}  by a.so",
        "command cat  by exec.run",
        "library libx.so  by a.so",
    ]
    third = elf_file(machine=MACHINES["riscv64"])
    assert texts(derive("cat", files={"b.so": third})) == ["command cat  by exec.run"]


def test_the_cpu_that_code_says_it_needs(tmp_path: Path) -> None:
    levels = []
    for level in range(5):
        path = tmp_path / f"{level}.so"
        path.write_bytes(elf_file(level=level))
        with open(path, "rb") as file:
            levels.append(find_elf(file.fileno()).cpu_level)
    assert levels == [0, 1, 2, 3, 4]


@pytest.mark.skipif(HERE != "x86_64", reason="it is another CPU")
def test_the_cpu_of_the_most_demanding_file(derive) -> None:
    files = {f"{level}.so": elf_file(level=level) for level in (1, 2, 3)}
    assert "cpu x86-64-v3  by 3.so" in texts(derive("cat", files=files))


def test_modules_that_are_built_for_one_python(derive) -> None:
    module = elf_file(machine=MACHINES[HERE])
    built = f">={MINOR},<{sys.version_info[0]}.{sys.version_info[1] + 1}"
    files = {f"ext/a.{TAG}.so": module, "ext/b.cpython-37m-x86_64-linux-gnu.so": module}
    found = derive("python3", "a.py", files=files, requires="python>=3.5")
    assert [text for text in texts(found) if text.startswith("python")] == [
        f"python python3 {built} by ext/a.{TAG}.so",
        "python python3 >=3.5 by requires",
    ]


def test_source_that_is_compiled_and_not_there(derive) -> None:
    built = f">={MINOR},<{sys.version_info[0]}.{sys.version_info[1] + 1}"
    found = derive("python3", "a.py", files={"lib/b.pyc": b"x\0", "__pycache__/a.pyc": b"x\0"})
    assert texts(found) == [f"python python3 {built} by lib/b.pyc"]


# GPUs.

CUDA = {
    "env/torch-2.1.0+cu118.dist-info/METADATA": b"",
    "env/nvidia_cuda_runtime_cu12-12.1.105.dist-info/METADATA": b"",
    "env/numpy-1.26.4.dist-info/METADATA": b"",
}


def test_a_build_for_a_gpu_needs_a_driver_for_the_newest_of_it(
    derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_builds, "find_gpus", list)
    by = "env/nvidia_cuda_runtime_cu12-12.1.105.dist-info/METADATA"
    driver = f"driver nvidia >=525.60.13 by {by}"
    assert texts(derive("cat", files=CUDA)) == ["command cat  by exec.run", driver]
    monkeypatch.setattr(gpu_builds, "find_gpus", lambda: [Gpu("amd"), Gpu("nvidia")])
    assert texts(derive("cat")) == ["command cat  by exec.run", f"gpu nvidia  by {by}", driver]


@pytest.mark.parametrize(
    ("name", "driver"),
    [
        ("torch-2.1.0+cu118", ">=450.80.02"),
        ("torch-2.9.0+cu130", ">=580.65.06"),
        ("jax_cuda12_plugin-0.4.30", ">=525.60.13"),
        ("cupy_cuda11x-13.0.0", ">=450.80.02"),
        ("nvidia_cuda_runtime-13.0.96", ">=580.65.06"),
        ("torch-2.1.0+cpu", None),
        ("nvidia_ml_py-12.535.108", None),
        ("cucumber-12.1", None),
    ],
)
def test_names_of_builds(name: str, driver: str | None) -> None:
    found = gpu_builds.gpu_requirements({}, [f"site-packages/{name}.dist-info/METADATA"])
    assert [each.needed for each in found if each.kind == "driver"] == ([driver] if driver else [])


# The file.


def test_what_is_written(derive, make_initialized, project_dir: Path, bin_dir: Path) -> None:
    run = make_initialized("cat")
    stage_run(run)
    path = meta_file(run, "requires.json")
    assert json.loads(path.read_text()) == [
        {"kind": "command", "name": "cat", "needed": "", "by": "exec.run"}
    ]
    assert path.stat().st_mode & 0o777 == 0o444
    empty = make_initialized("./cat")
    stage_run(empty)
    assert meta_file(empty, "requires.json").read_text() == "[]\n"


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"kind": "gpu"}]', '[{"kind": 1, "name": ""}]']
)
def test_a_damaged_file(make_initialized, text: str) -> None:
    run: Run = make_initialized("true")
    meta_file(run, "requires.json").write_text(text)
    with pytest.raises(RunDamaged, match=r"requires\.json"):
        read_requirements(run)


# What is found on this system.


def test_versions_that_programs_tell(bin_dir: Path) -> None:
    def version(text: str) -> str:
        name = f"tool{len(list(bin_dir.iterdir()))}"
        return program_version(str(program(bin_dir, name, f"#!/bin/sh\n{text}\n")))

    assert version("echo tool 5.3.1") == "5.3.1"
    assert version("echo 'gcc (Debian 12.2.0-14) 12.2.0'") == "12.2.0"
    assert version("echo 'ffmpeg version 4.4.2-0ubuntu' >&2; exit 1") == "4.4.2"
    assert version("""echo 'openjdk version "17.0.2" 2022-01-18' >&2""") == "17.0.2"
    assert version('[ "$1" = version ] && echo go version go1.21.0') == "1.21.0"
    assert version("echo rsync  version 3  protocol version 31") == "3"
    assert version("exit 3") == ""


def test_libraries_and_their_symbols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    (tmp_path / "etc").mkdir()
    (tmp_path / "opt").mkdir()
    (tmp_path / "usr/lib").mkdir(parents=True)
    cache = b"glibc-ld.so.cache1.1\0libx.so.1\0/opt/libx.so.1\0/gone/liby.so\0/opt/libstdc++.so.6\0"
    (tmp_path / "etc/ld.so.cache").write_bytes(cache)
    (tmp_path / "opt/libx.so.1").touch()
    (tmp_path / "usr/lib/libw.so").touch()
    symbols = b"\0GLIBCXX_3.4.9\0GLIBCXX_3.4.30\0GLIBCXX_DEBUG\0CXXABI_1.3.13\0"
    (tmp_path / "opt/libstdc++.so.6").write_bytes(symbols)
    libraries = Libraries({}, str(tmp_path))
    assert libraries.find("libx.so.1") == str(tmp_path / "opt/libx.so.1")
    assert libraries.find("libw.so") and not libraries.find("liby.so")
    assert not libraries.find("x.so.1")
    assert libraries.newest("GLIBCXX") == "3.4.30" and libraries.newest("CXXABI") == "1.3.13"
    (tmp_path / "own").mkdir()
    (tmp_path / "own/libv.so").touch()
    own = Libraries({"LD_LIBRARY_PATH": f"{tmp_path}/own:"}, str(tmp_path))
    assert own.find("libv.so") and not libraries.find("libv.so")


def test_hardware_as_the_kernel_tells_it(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        tmp_path.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(path).write_text(text)

    root = str(tmp_path)
    assert find_gpus(root) == [] or sys.platform == "darwin"
    assert (find_driver(root), find_memory_limit(root), find_cpu(root)) == ("", None, ("", 0))
    flags = "lm cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
    write(
        "proc/cpuinfo", f"processor: 0\nmodel name\t: A CPU\nflags\t\t: {flags}\n\nprocessor: 1\n"
    )
    assert find_cpu(root) == ("A CPU", 3)
    write("proc/cpuinfo", f"flags\t\t: {flags.replace('popcnt', '')}\n")
    assert find_cpu(root).level == 1
    write("proc/meminfo", "MemTotal:       16326264 kB\nMemFree: 1 kB\n")
    assert find_memory(root) == 16326264 * 1024
    write("proc/self/cgroup", "0::/a/b\n")
    write("sys/fs/cgroup/a/b/memory.max", "max\n")
    write("sys/fs/cgroup/a/memory.max", "4096\n")
    assert find_memory_limit(root) == 4096
    write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA A100\nIRQ: 1\n")
    write(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 2023\n"
        "GCC version:  gcc version 12.2.0\n",
    )
    write("sys/class/kfd/kfd/topology/nodes/0/properties", "cpu_cores_count 8\nsimd_count 0\n")
    write("sys/class/kfd/kfd/topology/nodes/1/properties", "simd_count 416\n")
    write("sys/class/kfd/kfd/topology/nodes/1/name", "gfx90a\n")
    assert find_gpus(root)[:2] == [("nvidia", "NVIDIA A100"), ("amd", "gfx90a")]
    assert find_driver(root) == "535.104.05"
    write(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n",
    )
    assert find_driver(root) == "550.54.15"
