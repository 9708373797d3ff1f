"""Packages that are built for a GPU, and the driver that such a build needs.

A build for CUDA runs without a GPU too, and so do many programs that have one. That there is a GPU
is only required where the run is staged with one; the driver counts where there is a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from gage._internal.lifecycle.elf import Elf
from gage._internal.lifecycle.system.hardware import find_gpus
from gage._internal.store.requirements import DRIVER, GPU, NVIDIA, Requirement

# The oldest driver on Linux that a major version of CUDA works with, as NVIDIA's release notes say.
_DRIVERS = {10: "410.48", 11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
_INFO = ".dist-info/METADATA"
_PACKAGE = re.compile(
    r"(?:.*/)?(?:nvidia_cuda_runtime(?:_cu\d+)?-(\d+)\..*"
    r"|[^/]*-[^/-]*\+cu(\d\d)\d+[^/]*"
    r"|(?:jax_cuda|cupy_cuda)(\d\d)(?:x|_plugin|_pjrt)?-[^/]*)",
    re.IGNORECASE,
)
_RUNTIME = re.compile(r"libcudart\.so\.(\d+)(?:\.\d+)*")


class _Build(NamedTuple):
    """A build for CUDA: its major version, 0 where it does not tell, and the file that says so."""

    cuda: int
    path: str


def gpu_requirements(natives: Mapping[str, Elf], paths: Collection[str]) -> list[Requirement]:
    """Return the GPU and driver that what is staged is built for, by the newest CUDA of it."""
    builds = [*_packages(paths), *_libraries(natives)]
    if not builds:
        return []
    cuda, path = max(builds, key=lambda build: build.cuda)
    driver = _DRIVERS.get(cuda)
    found = [Requirement(DRIVER, NVIDIA, f">={driver}" if driver else "", path)]
    if any(gpu.vendor == NVIDIA for gpu in find_gpus()):
        found.append(Requirement(GPU, NVIDIA, "", path))
    return found


def _packages(paths: Collection[str]) -> list[_Build]:
    found = []
    for path in paths:
        if path.endswith(_INFO):
            match = _PACKAGE.fullmatch(path[: -len(_INFO)])
            if match:
                found.append(_Build(int(next(filter(None, match.groups()))), path))
    return sorted(found)


def _libraries(natives: Mapping[str, Elf]) -> list[_Build]:
    found = []
    for path, elf in natives.items():
        for name in elf.needed:
            match = _RUNTIME.fullmatch(name)
            if match or name == "libcuda.so.1":
                found.append(_Build(int(match[1]) if match else 0, path))
    return sorted(found)
