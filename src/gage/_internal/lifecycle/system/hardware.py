"""The machine: its CPU, memory, disk and GPUs, read from where the kernel tells of them.

Nothing is started for that, but on Windows' Linux, which tells of NVIDIA's GPUs by `nvidia-smi`
only. `root` is where `proc`, `sys` and `dev` are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from gage._internal.store.requirements import NVIDIA

_LEVELS = (
    frozenset(["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"]),
    frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"]),
    frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]),
)
_DRIVER_VERSION = r"Kernel Module\s.*?(\d+(?:\.\d+)+)"
_MOST_OF_CPUINFO = 1 << 14
_NVIDIA_PROC = "proc/driver/nvidia"


class Gpu(NamedTuple):
    """A GPU: who makes it (`nvidia`, `amd`, `apple`), and its model where that is known."""

    vendor: str
    model: str = ""


class Cpu(NamedTuple):
    """The CPU: its model, and the x86-64 level of what it can do, 0 on others."""

    model: str
    level: int


def find_cpu(root: str = "/") -> Cpu:
    """Return what the first CPU is."""
    text = _read(os.path.join(root, "proc/cpuinfo"), _MOST_OF_CPUINFO).partition("\n\n")[0]
    lines = (line.partition(":") for line in text.split("\n"))
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = set(fields.get("flags", "").split())
    level = 1 if "lm" in flags else 0
    for needed in _LEVELS:
        if level and needed <= flags:
            level += 1
        else:
            break
    return Cpu(fields.get("model name", fields.get("Model", "")), level)


def count_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def find_memory(root: str = "/") -> int:
    """Return the bytes of memory that there are; 0 where that is not told."""
    for line in _read(os.path.join(root, "proc/meminfo")).split("\n"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def find_memory_limit(root: str = "/") -> int | None:
    """Return the bytes of memory that this process may use, where a control group limits it."""
    match = re.search(r"^0::/(.*)$", _read(os.path.join(root, "proc/self/cgroup")), re.MULTILINE)
    if match is None:
        return None
    group = match[1]
    limits = []
    while True:
        limit = _read(os.path.join(root, "sys/fs/cgroup", group, "memory.max")).strip()
        if limit.isdigit():
            limits.append(int(limit))
        if not group:
            return min(limits, default=None)
        group = os.path.dirname(group)


def find_room(path: str) -> int:
    """Return the bytes that are free where a path lies."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def find_gpus(root: str = "/") -> list[Gpu]:
    """Return the GPUs that programs can use."""
    return list(_iter_gpus(root))


def _iter_gpus(root: str) -> Iterator[Gpu]:
    folder = os.path.join(root, _NVIDIA_PROC, "gpus")
    for name in _list(folder):
        text = _read(os.path.join(folder, name, "information"))
        match = re.search(r"^Model:\s*(.*?)\s*$", text, re.MULTILINE)
        yield Gpu(NVIDIA, match[1] if match else "")
    if os.path.exists(os.path.join(root, "dev/dxg")):
        for line in _ask_nvidia("name"):
            yield Gpu(NVIDIA, line)
    folder = os.path.join(root, "sys/class/kfd/kfd/topology/nodes")
    for name in _list(folder):
        text = _read(os.path.join(folder, name, "properties"))
        if re.search(r"^simd_count [1-9]", text, re.MULTILINE):
            yield Gpu("amd", _read(os.path.join(folder, name, "name")).strip())
    if sys.platform == "darwin" and os.uname().machine == "arm64":
        yield Gpu("apple")


def find_driver(root: str = "/") -> str:
    """Return the version of NVIDIA's driver; empty where there is none."""
    match = re.search(_DRIVER_VERSION, _read(os.path.join(root, _NVIDIA_PROC, "version")))
    if match:
        return match[1]
    if os.path.exists(os.path.join(root, "dev/dxg")):
        return next(iter(_ask_nvidia("driver_version")), "")
    return ""


def _ask_nvidia(field: str) -> list[str]:
    import subprocess

    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.decode(errors="replace").split("\n")[:-1] if not done.returncode else []


def _read(path: str, most: int = 1 << 16) -> str:
    """Return the beginning of a file; nothing where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, most).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _list(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
