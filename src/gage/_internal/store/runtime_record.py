"""What is known of the runtime of a run: `runtime.json`, from which a start gets it ready."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gage._internal.store import layout, meta
from gage._internal.types import NOTHING, Run

# How an environment comes with a run: as a list of what is in it, that with the packages
# themselves, all of it as one file, or ready to use; or as the name of an image.
LOCK, WHEELS, ARCHIVE, ENV, IMAGE = BUNDLES = ("lock", "wheels", "archive", "env", "image")
# Where an environment is in a run.
ENVIRONMENT = ".venv"
# The runtime whose environments are of conda packages.
CONDA = "conda"


class Index(NamedTuple):
    """Where packages are taken from, besides the index of the tool, or instead of it.

    uv has settings for one by its name, such as the password.
    """

    url: str
    name: str = ""
    is_default: bool = False


class RuntimeRecord(NamedTuple):
    """The runtime of a run; paths are relative to the run directory.

    `path` is the environment of `env`, the file of `archive`, the reference of `image`, and the
    list of what is locked else. `wheels` is the directory of the packages, `projects` are packages
    made of the project. `python` tells of the interpreter that the environment was made with, and
    whether the run has it (see `environments.interpreters`). `packages` maps names to versions.
    `platform` is what conda packages are for, `named` the file that tells which files of an
    environment of these name its directory (see `environments.prefixes`). `indexes` have what is
    locked, and their addresses no password.
    """

    name: str
    bundle: str
    path: str
    python: Mapping[str, Any] = NOTHING
    sha256: str = ""
    wheels: str | None = None
    projects: tuple[str, ...] = ()
    packages: Mapping[str, str] = NOTHING
    platform: str = ""
    named: str | None = None
    indexes: tuple[Index, ...] = ()


def find_runtime_record(run: Run) -> RuntimeRecord | None:
    """Return what is recorded of a run's runtime; None where the run has only what the system has.

    Raises:
        RunDamaged: the file cannot be understood.
    """
    data = meta.find_meta(run, layout.RUNTIME)
    if data is None:
        return None
    try:
        values = json.loads(data)
        projects = tuple(values.get("projects", ()))
        indexes = tuple(Index(**index) for index in values.get("indexes", ()))
        record = RuntimeRecord(**{**values, "projects": projects, "indexes": indexes})
    except (ValueError, TypeError, AttributeError):
        raise meta.damaged(run, layout.RUNTIME, "is not what a runtime writes") from None
    if record.bundle not in BUNDLES or not isinstance(record.python, Mapping):
        raise meta.damaged(run, layout.RUNTIME, "is not what a runtime writes")
    return record


def record_values(record: RuntimeRecord) -> dict[str, Any]:
    """Return a record as values that JSON has, less what has none."""
    values = record._asdict()
    values["projects"] = list(record.projects)
    values["indexes"] = [
        {name: v for name, v in index._asdict().items() if v} for index in record.indexes
    ]
    return {
        name: dict(v) if name in ("packages", "python") else v for name, v in values.items() if v
    }
