"""Initialize a run: write down what it is before anything is done for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gage._internal import clock
from gage._internal.store import layout, meta
from gage._internal.store.attributes import write_attributes
from gage._internal.store.logs import log_action
from gage._internal.store.names import run_name
from gage._internal.types import OpCmd, OpDef, OpRef, Run


def init_run_meta(
    run: Run,
    opref: OpRef,
    opdef: OpDef,
    cmd: OpCmd,
    user_attrs: Mapping[str, Any],
    system_attrs: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    group: str | None = None,
) -> None:
    """Write the meta directory of a run that was made; `group` names those it is staged with.

    `cmd.env` is recorded as it is; of the inherited environment nothing is. `initialized` is
    stamped last.

    Raises:
        FileNotFoundError: the run directory does not exist.
        FileExistsError: the run has a meta directory.
    """
    if not os.path.isdir(run.run_dir):
        raise FileNotFoundError(f"Run dir does not exist: {run.run_dir}")
    meta_dir = layout.run_meta_dir(run)
    for folder in (meta_dir, os.path.join(meta_dir, "log"), os.path.join(meta_dir, "proc")):
        os.mkdir(folder)
    meta.write_text(run, layout.SCHEMA, str(layout.SCHEMA_VERSION))
    meta.write_text(run, layout.ID, run.id)
    meta.write_text(run, layout.NAME, run_name(run.id))
    meta.write_text(run, layout.OPREF, meta.encode_opref(opref))
    meta.write_json(run, layout.OPDEF, opdef.data)
    meta.write_json(run, layout.CMD, list(cmd.args))
    meta.write_json(run, layout.ENV, dict(sorted(cmd.env.items())))
    if group is not None:
        meta.write_text(run, layout.GROUP, group)
    if config:
        meta.write_json(run, layout.CONFIG, config)
    write_attributes(run, layout.USER, user_attrs)
    write_attributes(run, layout.SYS, system_attrs)
    log_action(run, "Writing initialized")
    meta.write_time(run, layout.INITIALIZED, clock.now())
