"""Capture what the system is that a run is staged on, for those who look at the run later.

Nothing here is needed to start the run. No path of this machine is captured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gage._internal.lifecycle.masking import Mask
from gage._internal.lifecycle.system.hardware import (
    count_cpus,
    find_cpu,
    find_driver,
    find_gpus,
    find_memory,
)
from gage._internal.lifecycle.system.interpreters import Interpreter, installed_packages
from gage._internal.lifecycle.system.libraries import glibc_version
from gage._internal.lifecycle.system.uncommitted import MOST, PATIENCE, Diff, Patch
from gage._internal.store import layout, meta
from gage._internal.store.attributes import write_attributes
from gage._internal.store.logs import log_action
from gage._internal.types import Run


def capture_system(
    run: Run,
    python: str,
    interpreter: Interpreter | None,
    packages: Mapping[str, str],
    diff: Diff,
    mask: Mask,
) -> None:
    """Write what this system is, and what of the project is not committed, to a run's meta.

    `python` is how the command calls its interpreter, `packages` what the run's own
    environment has, if it has one. What `mask` knows is masked in the patch.
    """
    capture_machine(run, python, interpreter, packages)
    if diff.commit:
        patch = diff.read(mask)
        git = {**diff.commit._asdict(), **_changes(patch)}
        if patch is not None:
            _write_patch(run, patch)
        write_attributes(run, layout.SYS, {"git": git})


def capture_machine(
    run: Run, python: str, interpreter: Interpreter | None, packages: Mapping[str, str]
) -> None:
    """Write what this system is, but for the project; see `capture_system`."""
    attributes = {**_machine(), **_python(python, interpreter)}
    if packages:
        attributes["packages"] = dict(packages)
    write_attributes(run, layout.SYS, attributes)


def _machine() -> dict[str, Any]:
    system = os.uname()
    platform = {
        "system": system.sysname,
        "release": system.release,
        "machine": system.machine,
        "distribution": _distribution(),
    }
    cpu = find_cpu()
    gpus = [gpu._asdict() for gpu in find_gpus()]
    driver = find_driver()
    libc = glibc_version()
    return {
        "platform": {name: value for name, value in platform.items() if value},
        "cpu": {"model": cpu.model, "level": cpu.level, "count": count_cpus()},
        "memory": {"bytes": find_memory()},
        **({"libc": {"name": "glibc", "version": libc}} if libc else {}),
        **({"gpu": gpus} if gpus else {}),
        **({"driver": {"name": "nvidia", "version": driver}} if driver else {}),
    }


def _distribution() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip("\"'")
    except OSError:
        pass
    return ""


def _python(name: str, interpreter: Interpreter | None) -> dict[str, Any]:
    if interpreter is None:
        return {}
    found = {
        "name": name,
        "implementation": interpreter.implementation,
        "version": interpreter.version,
        "tag": interpreter.tag,
    }
    packages = installed_packages(interpreter)
    return {"interpreter": found, **({"packages": packages} if packages else {})}


def _changes(patch: Patch | None) -> Mapping[str, Any]:
    if patch is None:
        return {}
    return {
        "changed_files": patch.files,
        "left_out": list(patch.left_out),
        "masked": patch.masked,
        "capped": patch.is_capped,
    }


def _write_patch(run: Run, patch: Patch) -> None:
    for path in patch.left_out:
        log_action(run, f"Left out of {layout.UNCOMMITTED} {path}: it may hold secrets")
    if patch.masked:
        log_action(run, f"Masked in {layout.UNCOMMITTED} what looks like a secret")
    if patch.is_capped:
        limits = f"{MOST >> 20} MiB or {PATIENCE:g} s"
        log_action(run, f"Left out of {layout.UNCOMMITTED} what is beyond {limits}")
    if patch.data:
        meta.write_meta(run, layout.UNCOMMITTED, patch.data)
