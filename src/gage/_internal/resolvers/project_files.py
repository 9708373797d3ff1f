"""Dependency on files of the project: `project-files = "data/*.csv"`, or a list of patterns."""

from __future__ import annotations

import os
from typing import Any

from gage._internal.errors import DependencyError
from gage._internal.fs import files_of, printable
from gage._internal.types import as_patterns
from gage.plugins import ResolveContext, Resolved


class ProjectFiles:
    """Takes files and whole directories of the project, ignored by git or not."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files below the project that patterns match.

        A pattern is a path, or one with `*`, `?` or `[]`; `**` crosses directories. A directory
        stands for all in it.
        """
        paths: list[str] = []
        for pattern in as_patterns(spec):
            found = _expand(context.project_dir, pattern)
            if not found:
                raise DependencyError(
                    f"project-files {printable(pattern)}: there is no such file in"
                    f" {printable(context.project_dir)}"
                )
            paths += found
        return Resolved(
            context.project_dir,
            sorted(set(paths)),
            "the project",
            lineage={"project": context.project_dir},
        )


def _expand(root: str, pattern: str) -> list[str]:
    import glob

    matches = [pattern] if os.path.lexists(os.path.join(root, pattern)) else []
    matches = matches or glob.glob(pattern, root_dir=root, recursive=True)
    return [
        os.path.normpath(os.path.join(match, path))
        for match in matches
        for path in files_of(os.path.join(root, match))
    ]
