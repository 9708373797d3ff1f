"""The runtime of the system: what the command names is found on PATH when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gage.plugins import Provided, RuntimeContext


class Inherit:
    """Stages nothing."""

    def provide(self, settings: Mapping[str, Any], context: RuntimeContext) -> Provided:
        """Return nothing: the run uses the interpreter that is there."""
        return Provided()
