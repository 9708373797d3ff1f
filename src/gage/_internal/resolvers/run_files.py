"""Dependency on files of another run: `run-files = "prepare"`, its operation's name, or a table."""

from __future__ import annotations

import hashlib
from typing import Any

from gage._internal.catalog.choice import choice_in_words, choose_runs
from gage._internal.errors import DependencyError, RunAmbiguous, RunNotFound
from gage._internal.store import layout, manifest, meta
from gage._internal.store.names import run_name
from gage.plugins import ResolveContext, Resolved


class RunFiles:
    """Takes the files that the newest of the runs that are meant has generated."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files that a run ended with and did not start with (see `choose_runs`).

        Files that were staged and changed by the run are among them; Python's bytecode is not.
        """
        wanted = choice_in_words(spec)
        try:
            run = next(choose_runs(context.runs_home, spec), None)
        except (RunNotFound, RunAmbiguous) as error:
            raise DependencyError(f"run-files {wanted}: {error.message}", error.hint) from None
        if run is None:
            operation = spec if isinstance(spec, str) else spec.get("operation")
            raise DependencyError(
                f"run-files {wanted}: there is no completed run of it"
                if isinstance(spec, str)
                else f"run-files {wanted}: there is no such run",
                f"run it first: gage run {wanted if isinstance(spec, str) else operation}"
                if operation
                else "gage list",
            )
        ended = manifest.read_manifest(run).ended or ()
        paths = [entry.path for entry in ended if "__pycache__" not in entry.path.split("/")]
        sha256 = hashlib.sha256(meta.read_meta(run, layout.MANIFEST)).hexdigest()
        return Resolved(
            run.run_dir,
            paths,
            f"run {run.id} ({run_name(run.id)})",
            lineage={"run": run.id, "manifest": sha256},
        )
