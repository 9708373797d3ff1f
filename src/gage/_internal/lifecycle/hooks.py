"""Hooks: commands of the operation that run at a phase, in the run directory.

Their output goes to `output/PHASE`. A hook that fails ends what it is part of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from gage._internal.errors import HookFailed
from gage._internal.fs import printable
from gage._internal.lifecycle.environment import Environment, linked, without_foreign
from gage._internal.lifecycle.execute import CannotExecute, StopSignals, execute
from gage._internal.lifecycle.masking import Mask, MaskedOutput
from gage._internal.store import layout
from gage._internal.store.logs import log_action
from gage._internal.store.output import OutputWriter
from gage._internal.types import Run

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
) -> None:
    """Run the hook of a phase; `name` is its key in the Gage file, `env` added to the inherited.

    It finds what the run's `environment` has. A hook is never run in a container.

    What `mask` knows as secret is not in the output that is kept.

    Raises:
        HookFailed: it cannot be started, or did not exit with 0.
    """
    log_action(run, f"Running {name}")
    writer = OutputWriter(run, phase)
    output = MaskedOutput(mask, writer.write)
    try:
        inherited = without_foreign(os.environ, environment)
        env = {**inherited, **env, **environment.variables}
        with linked(environment), StopSignals() as signals:
            ended = execute(command, run.run_dir, env, output.write, run.id, signals)
        output.close()
    except CannotExecute as error:
        raise HookFailed(f"{name} cannot be started: {error}") from None
    finally:
        writer.close()
    if ended.exit_text != "0":
        how = "was ended by" if ended.exit_text.startswith("SIG") else "exited with"
        raise HookFailed(f"{name} {how} {ended.exit_text}{_last_lines(run, phase)}")


def _last_lines(run: Run, phase: str) -> str:
    with open(layout.output_path(run, phase), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES))
        printed = file.read().decode(errors="surrogateescape")
    lines = printed.rstrip("\n").split("\n")[-_LAST_LINES:]
    return "".join(f"\n  {printable(line)}" for line in lines) if printed.strip() else ""
