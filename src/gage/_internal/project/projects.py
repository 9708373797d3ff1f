"""A project: the directory that operations are defined in, and where its runs are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from gage._internal.errors import ProjectTooWide
from gage._internal.store.layout import is_run_dir
from gage._internal.types import NOTHING, OpDef

DEFAULT_RUNS = os.path.join(".gage", "runs")
RUNS_VARIABLE = "GAGE_RUNS"


class Project(NamedTuple):
    """A project directory and what its Gage file says; `gage_file` is None without one.

    `runs` is the project's setting of where its runs are kept, as it was written; `share` that of
    whether a run shares files with the one before it, `remotes` that of where else runs are kept,
    `engines` that of where else they execute.
    """

    dir: str
    gage_file: str | None = None
    operations: Mapping[str, OpDef] = NOTHING
    runs: str | None = None
    share: bool = False
    remotes: Mapping[str, Any] = NOTHING
    engines: Mapping[str, Any] = NOTHING

    @property
    def name(self) -> str:
        """The name of the project: that of its directory."""
        return os.path.basename(self.dir)


def read_project(directory: str) -> Project:
    """Return the project that is a directory, with its Gage file if it has one.

    Raises:
        GageFileError: the Gage file has faults.
    """
    from gage._internal.project.gage_file import find_gage_file, read_gage_file

    directory = os.path.abspath(directory)
    path = find_gage_file(directory)
    if path is None:
        return Project(directory)
    file = read_gage_file(path)
    return Project(
        directory, path, file.operations, file.runs, file.share, file.remotes, file.engines
    )


def find_project_dir(start: str) -> str | None:
    """Return the nearest directory, `start` or above, that has a Gage file or runs of its own.

    A run directory ends the search: a run is independent of its project, and a project to runs
    that it starts.
    """
    from gage._internal.project.gage_file import find_gage_file

    folder = os.path.abspath(start)
    home = os.path.expanduser("~")
    while True:
        if find_gage_file(folder) or is_run_dir(folder):
            return folder
        if folder != home and os.path.isdir(os.path.join(folder, DEFAULT_RUNS)):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def runs_home(project_dir: str | None, setting: str | None, explicit: str | None = None) -> str:
    """Return where runs are kept, an absolute path.

    The first of: `explicit`, the environment's `GAGE_RUNS`, where the project is a run the home
    of that, the project's setting (relative to the project), `.gage/runs` in the project,
    `.gage/runs` in the home directory.
    """
    chosen = explicit or os.environ.get(RUNS_VARIABLE)
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    if project_dir is None:
        return os.path.join(os.path.expanduser("~"), DEFAULT_RUNS)
    if is_run_dir(os.path.abspath(project_dir)):
        return os.path.dirname(os.path.abspath(project_dir))
    return os.path.abspath(os.path.join(project_dir, os.path.expanduser(setting or DEFAULT_RUNS)))


def check_width(project: Project) -> None:
    """Refuse a directory that nobody means as a project, unless a Gage file says so.

    Raises:
        ProjectTooWide: the directory is the home directory or the root.
    """
    wide = (os.path.expanduser("~"), os.sep)
    if project.gage_file is None and project.dir in map(os.path.realpath, wide):
        raise ProjectTooWide(
            f"{project.dir} as a project would stage everything in it",
            "move the script to a directory of its own, or write a gage.toml here",
        )
