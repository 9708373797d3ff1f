"""The runtime of the system: what the command names is found on PATH when it starts."""

from __future__ import annotations

from gage._internal.types import Run


class Inherit:
    """Stages nothing."""

    def stage(self, run: Run, project_dir: str | None) -> None:
        """Do nothing: the run uses the interpreter that is there."""
