"""Dependency on files anywhere on this machine: `files = "/data/faces"`, or a list of patterns."""

from __future__ import annotations

import glob
import os
from typing import Any

from gage._internal.errors import DependencyError
from gage._internal.fs import files_of, printable
from gage._internal.types import as_patterns
from gage.plugins import ResolveContext, Resolved


class Files:
    """Takes files by their own name, and whole directories by theirs."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files that paths or patterns match.

        A path is absolute, starts with `~`, or is relative to the project. In the run a file has
        its name, and what is in a directory the name of the directory before its own.
        """
        paths: list[str] = []
        names: list[str] = []
        found: list[str] = []
        for pattern in as_patterns(spec):
            full = os.path.join(context.project_dir or os.getcwd(), os.path.expanduser(pattern))
            full = os.path.normpath(full)
            matches = [full] if os.path.lexists(full) else sorted(glob.glob(full, recursive=True))
            if not matches:
                raise DependencyError(f"files {printable(pattern)}: there is no {printable(full)}")
            for match in matches:
                inner = files_of(match)
                paths += [os.path.join(match, path).strip("/") for path in inner]
                names += [os.path.join(os.path.basename(match), path).rstrip("/") for path in inner]
            found += matches
        return Resolved(
            "/",
            paths,
            ", ".join(printable(path) for path in found[:3])
            + (f" and {len(found) - 3} more" if len(found) > 3 else ""),
            names=names,
            lineage={"files": found},
        )
