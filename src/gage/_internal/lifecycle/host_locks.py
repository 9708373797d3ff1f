"""What processes of a user have of a host for themselves: GPUs, and slots for jobs.

It is told by files that are locked (flock), so that it is free again when the last process ends
that has the file open, however it ends. Home directories may be shared, what a host has is not: so
its name is in the paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from gage._internal import fs
from gage._internal.lifecycle.budget import GPUS_VARIABLE
from gage._internal.lock_files import find_unlocked

# Which locks the process has that started a run, and those that this one was started by.
_HELD_VARIABLE = "GAGE_GPU_LOCKS"


def state_dir() -> str:
    """Return where Gage keeps, for a user, what goes on."""
    states = os.environ.get("XDG_STATE_HOME", "")
    if not states.startswith("/"):
        states = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(states, "gage")


def find_free(names: Sequence[str], count: int) -> Mapping[str, int] | None:
    """Lock so many of this host's files of these names; return them open, None where too few are.

    Raises:
        OSError: they cannot be reached.
    """
    folder = os.path.join(state_dir(), "hosts", _host())
    os.makedirs(folder, exist_ok=True)
    found: dict[str, int] = {}
    try:
        for name in names:
            if len(found) == count:
                break
            path = os.path.join(folder, name)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            fd = find_unlocked(path)
            if fd is not None:
                found[name] = fd
    except BaseException:
        _close(found.values())
        raise
    if len(found) < count:
        _close(found.values())
        return None
    return found


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _host() -> str:
    return fs.file_name_for(os.uname().nodename)


class GpuLocks:
    """The GPUs that this process has locked, by their ids.

    They stay locked as long as a process has what `fds` returns open.
    """

    def __init__(self) -> None:
        held = os.environ.get(_HELD_VARIABLE, "")
        self._held = held.split(",") if held else []
        self._fds: dict[str, int] = {}

    def take(self, gpus: Sequence[str], count: int) -> Sequence[str] | None:
        """Lock so many of some GPUs; return which, None where others have too many of them."""
        names = {self._name(gpu): gpu for gpu in gpus}
        try:
            found = find_free(list(names), count)
        except OSError:
            # As in a home directory that cannot be written to: nobody knows what others have.
            return list(gpus[:count])
        if found is None:
            return None
        for name, fd in found.items():
            self._fds[names[name]] = fd
        return [names[name] for name in found]

    def fds(self, gpus: Sequence[str]) -> Sequence[int]:
        """Return the files that are locked for GPUs."""
        return [self._fds[gpu] for gpu in gpus if gpu in self._fds]

    def let_go(self, gpus: Sequence[str]) -> None:
        """Close the files of GPUs."""
        _close(self._fds.pop(gpu) for gpu in gpus if gpu in self._fds)

    def close(self) -> None:
        """Close the files of all."""
        self.let_go(list(self._fds))

    def variables(self, gpus: Sequence[str]) -> Mapping[str, str]:
        """Return the environment of a run that has some GPUs, and of what it starts."""
        held = [*self._held, *(f"{_host()}/{self._name(gpu)}" for gpu in gpus)]
        return {GPUS_VARIABLE: ",".join(gpus), _HELD_VARIABLE: ",".join(held)}

    def _name(self, gpu: str) -> str:
        name = f"gpu-{fs.file_name_for(gpu)}"
        if "SLURM_JOB_GPUS" in os.environ or "SLURM_STEP_GPUS" in os.environ:
            # There each job has GPUs of its own, which may have the same ids in all of them.
            name += f"-of-{fs.file_name_for(os.environ.get('SLURM_JOB_ID', ''))}"
        while f"{_host()}/{name}" in self._held:
            # What this process was started by has it: what is started by that shares it out.
            name += "-within"
        return name
