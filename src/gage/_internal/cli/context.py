"""Where a command runs: the project and the runs home that its options mean."""

from __future__ import annotations

import os
from typing import NamedTuple

from gage._internal.catalog.find import find_run
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.project.projects import (
    Project,
    check_width,
    find_project_dir,
    read_project,
    runs_home,
)
from gage._internal.types import Run


class Context(NamedTuple):
    """The global options of a command line: `-C`, `--runs` and `--json`."""

    directory: str | None
    runs: str | None
    json: bool

    @property
    def cwd(self) -> str:
        """The directory that relative paths of the command line start from."""
        if self.directory is None:
            return os.getcwd()
        path = os.path.abspath(self.directory)
        if not os.path.isdir(path):
            raise UsageError(f"-C {printable(self.directory)}: there is no such directory")
        return path

    def project(self, script: str | None = None) -> Project:
        """Return the project: the nearest with a Gage file, else that of the script, else here.

        A script outside of it is taken with its own directory as the project.
        """
        cwd = self.cwd
        found = find_project_dir(cwd)
        if script is not None:
            path = os.path.normpath(os.path.join(cwd, script))
            inside = os.path.commonpath([found or cwd, path]) == (found or cwd)
            if not inside and os.path.isfile(path):
                folder = os.path.dirname(path)
                found = find_project_dir(folder) or folder
        project = read_project(found or cwd)
        check_width(project)
        return project

    def home(self, project: Project | None = None) -> str:
        """Return the runs home, an absolute path.

        Raises:
            GageFileError: the project's Gage file, which may say where it is, has faults.
        """
        explicit = self.runs or os.environ.get("GAGE_RUNS")
        if explicit or project:
            return runs_home(
                project.dir if project else None, project.runs if project else None, explicit
            )
        found = find_project_dir(self.cwd)
        setting = read_project(found).runs if found else None
        return runs_home(found, setting)

    def find_run(self, text: str) -> Run:
        """Return the run that a word of the command line names."""
        is_path = os.sep in text or text in (os.curdir, os.pardir)
        return find_run(self.home(), os.path.join(self.cwd, text) if is_path else text)
