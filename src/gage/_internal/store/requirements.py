"""What a run needs of a system: `requires.json`, written while the run is staged.

A requirement says what is needed and by what, never where that was on the machine that staged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gage._internal.store import layout, meta
from gage._internal.types import Run

PLATFORM = "platform"
ARCHITECTURE = "architecture"
CPU = "cpu"
PYTHON = "python"
COMMAND = "command"
LIBRARY = "library"
SYMBOLS = "symbols"
GPU = "gpu"
DRIVER = "driver"
MEMORY = "memory"
DISK = "disk"
CPUS = "cpus"
# In the order in which they are told.
KINDS = (
    *(PLATFORM, ARCHITECTURE, CPU, PYTHON, COMMAND, LIBRARY, SYMBOLS),
    *(GPU, DRIVER, CPUS, MEMORY, DISK),
)

# The name of any GPU, as a requirement or one that was found has it.
ANY_GPU = "gpu"
NVIDIA = "nvidia"

# What a requirement is needed by that the Gage file declares.
DECLARED = "requires"


class Requirement(NamedTuple):
    """One thing that a run needs.

    `kind` is one of `KINDS`, `name` which of that kind. `needed` are comparisons, each of an
    operator and a version or amount, joined by commas, such as `>=3.11,<4`; empty where it is
    enough that it is there. `by` is the staged file that needs it, or the key of the Gage file.
    """

    kind: str
    name: str
    needed: str = ""
    by: str = ""

    @property
    def text(self) -> str:
        """What is needed, as people read it: `ffmpeg >=5`."""
        words = "GPU" if (self.kind, self.name) == (GPU, ANY_GPU) else _WORDS.get(self.kind, "{}")
        return f"{words.format(self.name)} {self.needed}".strip()


_WORDS = {
    LIBRARY: "library {}",
    SYMBOLS: "{} symbols",
    CPU: "CPU {}",
    GPU: "{} GPU",
    DRIVER: "{} driver",
    DISK: "free {}",
}


def write_requirements(run: Run, requirements: Sequence[Requirement]) -> None:
    """Write what a run needs of a system."""
    meta.write_json(run, layout.REQUIRES, [each._asdict() for each in requirements])


def read_requirements(run: Run) -> list[Requirement]:
    """Return what a run needs of a system; nothing where that was not written.

    Raises:
        RunDamaged: the file cannot be understood.
    """
    if not meta.has_meta(run, layout.REQUIRES):
        return []
    records = meta.read_json(run, layout.REQUIRES)
    if not isinstance(records, list):
        raise meta.damaged(run, layout.REQUIRES, "is not a list")
    return [_requirement(run, record) for record in records]


def _requirement(run: Run, record: Any) -> Requirement:
    if not isinstance(record, dict):
        raise meta.damaged(run, layout.REQUIRES, "is not a list of objects")
    values = [record.get(field, "") for field in Requirement._fields]
    if not all(isinstance(value, str) for value in values) or not values[0] or not values[1]:
        raise meta.damaged(run, layout.REQUIRES, "has a requirement without kind or name")
    return Requirement(*values)
