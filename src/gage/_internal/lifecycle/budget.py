"""What this machine has for runs that execute at once, and what each of them has of it.

What an operation does not say is not counted: how many such runs are at once is for whoever starts
them to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.lifecycle.system import hardware
from gage._internal.store.logs import counted
from gage._internal.store.requirements import NVIDIA
from gage._internal.store.resources import Resources, resources_of

GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
Choice = Callable[[Sequence[str], int], Sequence[str] | None]
_DEVICE = re.compile(r"nvidia\d+")


class Machine(NamedTuple):
    """What there is: CPUs, bytes of memory (None where that is not told), GPUs by their ids."""

    cpus: int
    memory: int | None
    gpus: Sequence[str] = ()


class Share(NamedTuple):
    """What a run has of a machine."""

    cpus: int
    memory: int
    gpus: Sequence[str]


def at_most(needed: Resources, machine: Machine) -> Resources:
    """Return what a run is to have, but no more than there is."""
    memory = needed.memory
    if memory is not None and machine.memory is not None:
        memory = min(memory, machine.memory)
    return Resources(min(needed.cpus, machine.cpus), memory, min(needed.gpus, len(machine.gpus)))


class Budget:
    """What is left of a machine.

    `choose` takes so many of the GPUs that are left; None where it cannot have as many.
    """

    def __init__(self, machine: Machine, choose: Choice | None = None) -> None:
        self._machine = machine
        self._choose = choose or (lambda gpus, count: gpus[:count])
        self._cpus = machine.cpus
        self._memory = machine.memory
        self._gpus = list(machine.gpus)

    def find_lack(self, needed: Resources) -> str | None:
        """Return what of it there never is, in words; None where all there can be."""
        machine = self._machine
        memory = needed.memory or 0
        if needed.cpus > machine.cpus:
            return f"it is to have {counted(needed.cpus, 'CPU')}, and there are {machine.cpus}"
        if machine.memory is not None and memory > machine.memory:
            there = _gib(machine.memory)
            return f"it is to have {_gib(memory)} of memory, and there are {there}"
        if needed.gpus > len(machine.gpus):
            return f"it is to have {counted(needed.gpus, 'GPU')}, and there are {len(machine.gpus)}"
        return None

    def take(self, needed: Resources) -> Share | None:
        """Take what a run is to have; None where that is not left."""
        memory = needed.memory or 0
        if needed.cpus > self._cpus or needed.gpus > len(self._gpus):
            return None
        if self._memory is not None and memory > self._memory:
            return None
        gpus = self._choose(self._gpus, needed.gpus) if needed.gpus else ()
        if gpus is None:
            return None
        if self._memory is not None:
            self._memory -= memory
        self._cpus -= needed.cpus
        self._gpus = [gpu for gpu in self._gpus if gpu not in gpus]
        return Share(needed.cpus, memory, gpus)

    def give_back(self, share: Share) -> None:
        """Give back what a run had."""
        self._cpus += share.cpus
        if self._memory is not None:
            self._memory += share.memory
        self._gpus += share.gpus
        self._gpus.sort(key=list(self._machine.gpus).index)


def said_resources(opdef: Mapping[str, Any]) -> Resources:
    """Return what runs of an operation are to have; no CPUs where it does not say how many."""
    said = resources_of(opdef)
    return said if "cpus" in (opdef.get("resources") or {}) else said._replace(cpus=0)


def find_machine(with_gpus: bool) -> Machine:
    """Return what there is for this process; GPUs are looked for where they are asked for."""
    limit = hardware.find_memory_limit()
    found = hardware.find_memory()
    memory = min(filter(None, (limit, found)), default=None)
    return Machine(hardware.count_cpus(), memory, _find_gpus() if with_gpus else ())


def _find_gpus() -> Sequence[str]:
    """Return the ids of the GPUs that are visible, as CUDA takes them."""
    visible = os.environ.get(GPUS_VARIABLE)
    if visible is None:
        count = sum(gpu.vendor == NVIDIA for gpu in hardware.find_gpus())
        if not count:
            count = sum(_DEVICE.fullmatch(name) is not None for name in os.listdir("/dev"))
        return [str(number) for number in range(count)]
    ids: list[str] = []
    for text in map(str.strip, visible.split(",")):
        # CUDA sees none from the first one on that is none.
        if not text or text == "-1" or text in ids:
            break
        ids.append(text)
    return ids


def _gib(amount: int) -> str:
    return f"{amount / (1 << 30):,.1f} GiB"
