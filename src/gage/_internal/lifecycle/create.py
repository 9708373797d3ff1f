"""Create a run of an operation: made and initialized, ready to be staged."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gage
from gage._internal import fs
from gage._internal.errors import SecretWritten
from gage._internal.fs import printable
from gage._internal.lifecycle.init import init_run_meta
from gage._internal.lifecycle.make import make_run
from gage._internal.lifecycle.masking import SHORTEST
from gage._internal.lifecycle.secret_values import find_secrets, secret_names
from gage._internal.project.operations import Operation, operation_cmd
from gage._internal.store import layout, lock
from gage._internal.store.attributes import add_tags, check_tags
from gage._internal.types import OpCmd, OpDef, OpRef, Run

# What else the system is is captured when the run is staged.
_WRITER = {"gage": gage.__version__}


def create_run(
    home: str,
    operation: Operation,
    config: Mapping[str, Any],
    label: str | None = None,
    tags: Sequence[str] = (),
    group: str | None = None,
    is_one_more: bool = False,
) -> Run:
    """Make a run in a runs home and initialize it with all that defines it.

    For one that `is_one_more` of a batch the home has been cleared.

    Raises:
        UsageError: a tag is empty or too long; no run is made.
        SecretWritten: the value of a secret would be written down; no run is made.
    """
    command = operation_cmd(operation, config)
    _check_no_secret(operation, command, config)
    opref, opdef = operation.opref, operation.opdef
    return define_run(home, opref, opdef, command, config, label, tags, group, is_one_more)


def define_run(
    home: str,
    opref: OpRef,
    opdef: OpDef,
    command: OpCmd,
    config: Mapping[str, Any],
    label: str | None = None,
    tags: Sequence[str] = (),
    group: str | None = None,
    is_one_more: bool = False,
) -> Run:
    """Make a run in a runs home and initialize it with what defines it, as that is given.

    Raises:
        UsageError: a tag is empty or too long; no run is made.
    """
    check_tags(tags)
    user_attrs = {} if label is None else {"label": label}
    # To look at all names in the home for each of many runs would take longer than the runs.
    if not is_one_more:
        clear_home(home)
    run = make_run(home, marked=True)
    try:
        _hide_from_git(home)
        init_run_meta(run, opref, opdef, command, user_attrs, _WRITER, config, group)
        if tags:
            add_tags(run, tags)
    except BaseException:
        discard_run(run)
        raise
    return run


def clear_home(home: str) -> None:
    """Finish off what interrupted commands left in a runs home, where there is something."""
    if lock.list_abandoned(home):
        from gage._internal.catalog.leftovers import clear_abandoned

        clear_abandoned(home)


def _check_no_secret(operation: Operation, command: OpCmd, config: Mapping[str, Any]) -> None:
    names = secret_names(operation.opdef.data)
    if not names:
        return
    secrets = {name: v for name, v in find_secrets(names).items() if len(v) >= SHORTEST}
    written = [*(("the command", word) for word in command.args)]
    written += [(f"env {name}", value) for name, value in command.env.items()]
    written += [(f"config {name}", str(value)) for name, value in config.items()]
    written += [("the operation", text) for text in _texts(operation.opdef.data)]
    for where, text in written:
        for name, value in secrets.items():
            if value in text:
                raise SecretWritten(
                    f"{printable(where)} has the value of the secret {name}, and would be kept",
                    f"leave it out: the run has {name} in its environment when it starts",
                )


def _texts(value: Any) -> Iterator[str]:
    """Yield each text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def discard_run(run: Run) -> None:
    """Remove what there is of a run; where that fails, it is a leftover that is found later."""
    try:
        for path in (run.run_dir, layout.run_notes_dir(run), layout.run_meta_dir(run)):
            fs.remove_tree(path)
        lock.withdraw(run)
    except OSError:
        pass


def _hide_from_git(home: str) -> None:
    """Let git ignore the `.gage` directory of a project."""
    folder = os.path.dirname(os.path.abspath(home))
    path = os.path.join(folder, ".gitignore")
    if os.path.basename(folder) == layout.PROJECT_FOLDER and not os.path.lexists(path):
        for name in lock.list_abandoned(folder):
            fs.discard(os.path.join(folder, name))
        fs.replace_file(path, b"*\n", mode=0o644)
