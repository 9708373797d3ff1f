"""Dependency on files of another run: `run-files = "prepare"`, its operation's name."""

from __future__ import annotations

from typing import Any

from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.store import manifest
from gage._internal.store.names import run_name
from gage.plugins import ResolveContext, Resolved


class RunFiles:
    """Takes the files that the newest completed run of an operation generated."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files that a run of the operation `spec` ended with and did not start with.

        Files that were staged and changed by the run are among them; Python's bytecode is not.
        """
        run = context.find_run(spec)
        if run is None:
            raise DependencyError(
                f"run-files {printable(spec)}: there is no completed run of it",
                f"run it first: gage run {printable(spec)}",
            )
        ended = manifest.read_manifest(run).ended or ()
        paths = [entry.path for entry in ended if "__pycache__" not in entry.path.split("/")]
        return Resolved(run.run_dir, paths, f"run {run.id} ({run_name(run.id)})")
