"""Create a run of an operation: made and initialized, ready to be staged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gage
from gage._internal import fs
from gage._internal.lifecycle.init import init_run_meta
from gage._internal.lifecycle.make import make_run
from gage._internal.project.operations import Operation, operation_cmd
from gage._internal.store.attributes import add_tags, check_tags
from gage._internal.types import Run


def create_run(
    home: str,
    operation: Operation,
    config: Mapping[str, Any],
    label: str | None = None,
    tags: Sequence[str] = (),
) -> Run:
    """Make a run in a runs home and initialize it with all that defines it.

    Raises:
        UsageError: a tag is empty or too long; no run is made.
    """
    check_tags(tags)
    command = operation_cmd(operation, config)
    user_attrs = {} if label is None else {"label": label}
    run = make_run(home)
    _hide_from_git(home)
    init_run_meta(
        run, operation.opref, operation.opdef, command, user_attrs, _system_attrs(), config
    )
    if tags:
        add_tags(run, tags)
    return run


def _system_attrs() -> Mapping[str, Any]:
    system = os.uname()
    return {
        "gage": gage.__version__,
        "platform": {
            "system": system.sysname,
            "release": system.release,
            "machine": system.machine,
        },
    }


def _hide_from_git(home: str) -> None:
    """Let git ignore the `.gage` directory of a project."""
    folder = os.path.dirname(os.path.abspath(home))
    path = os.path.join(folder, ".gitignore")
    if os.path.basename(folder) == ".gage" and not os.path.lexists(path):
        fs.replace_file(path, b"*\n", mode=0o644)
