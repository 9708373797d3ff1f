"""Hooks: commands of the operation that run at a phase, in the run directory.

Their output goes to `output/PHASE`. A hook that fails ends what it is part of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from gage._internal.errors import HookFailed
from gage._internal.fs import printable
from gage._internal.lifecycle.environment import Environment, linked, without_foreign
from gage._internal.lifecycle.execute import CannotExecute, Ended, StopSignals, execute
from gage._internal.lifecycle.masking import Mask, MaskedOutput
from gage._internal.store import layout
from gage._internal.store.logs import log_action
from gage._internal.store.output import OutputWriter
from gage._internal.types import Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.isolation.isolate import Isolation

_LAST_LINES = 5
_LAST_BYTES = 16 * 1024


def run_env(run: Run) -> Mapping[str, str]:
    """Return the variables by which a run's processes know it."""
    return {"RUN_ID": run.id, "RUN_DIR": run.run_dir}


def run_hook(
    run: Run,
    phase: str,
    command: Sequence[str],
    env: Mapping[str, str],
    environment: Environment,
    name: str,
    mask: Mask,
    isolation: Isolation | None = None,
    meanwhile: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Run the hook of a phase; `name` is its key in the Gage file, `env` added to the inherited.

    It finds what the run's `environment` has. A hook is never run in a container, but within the
    `isolation` of the run, if that has one.

    What `mask` knows as secret is not in the output that is kept.

    Raises:
        HookFailed: it cannot be started, or did not exit with 0.
    """
    log_action(run, f"Running {name}")
    writer = OutputWriter(run, phase)
    output = MaskedOutput(mask, writer.write)
    try:
        inherited = without_foreign(os.environ, environment)
        own = {**env, **environment.variables}
        env = isolation.variables(inherited, own) if isolation else {**inherited, **own}
        spawn = isolation.spawn if isolation else None
        with linked(environment), StopSignals() as signals:
            ended = execute(
                command, run.run_dir, env, output.write, run.id, signals, spawn, meanwhile
            )
        output.close()
    except CannotExecute as error:
        raise HookFailed(f"{name} cannot be started: {error}") from None
    finally:
        writer.close()
    if isolation:
        _check_reached(run, phase, name, ended, isolation)
    if ended.exit_text != "0":
        how = "was ended by" if ended.exit_text.startswith("SIG") else "exited with"
        raise HookFailed(f"{name} {how} {ended.exit_text}{_last_lines(run, phase)}")


def _check_reached(run: Run, phase: str, name: str, ended: Ended, isolation: Isolation) -> None:
    from gage._internal.lifecycle.isolation.isolate import describe_reached, last_printed

    reached = isolation.close(ended, lambda: last_printed(run, phase))
    if reached:
        raise HookFailed(f"{name}: {describe_reached(reached)}")


def _last_lines(run: Run, phase: str) -> str:
    with open(layout.output_path(run, phase), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES))
        printed = file.read().decode(errors="surrogateescape")
    lines = printed.rstrip("\n").split("\n")[-_LAST_LINES:]
    return "".join(f"\n  {printable(line)}" for line in lines) if printed.strip() else ""
