"""Where the benchmark works: directories, the environment of commands, small projects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from bench.measure import Command

HELLO = 'print("hello")\n'
# Set for the benchmark itself, they would change what is measured.
_NOT_PASSED_ON = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONHOME")


class Place:
    """A directory of the benchmark's own, and commands that are run there."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        # Not resolved: in a virtual environment it is a link that knows its environment.
        self.bin = os.path.dirname(os.path.abspath(sys.executable))
        self.python = sys.executable
        self.gage = os.path.join(self.bin, "gage")
        os.makedirs(self.path("home"), exist_ok=True)

    def path(self, *names: str) -> str:
        """Return a path below the directory."""
        return os.path.join(self.folder, *names)

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of commands.

        Its first `python3` is this Python itself, not a script that looks for one.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_PASSED_ON and not name.startswith("GAGE_")
        }
        path = os.pathsep.join([self.bin, kept.get("PATH", os.defpath)])
        return {**kept, "PATH": path, "HOME": self.path("home"), **(extra or {})}

    def command(
        self,
        args: Sequence[str],
        cwd: str,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Command:
        """Return a command that runs in a directory, `env` added to the environment."""
        return Command(args, cwd, self.env(env), before)

    def project(self, name: str, files: Mapping[str, str]) -> str:
        """Make a project of files by path; return its directory."""
        folder = self.path(name)
        for path, text in files.items():
            full = os.path.join(folder, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        return folder

    def set_aside(self, *paths: str) -> None:
        """Let nothing be at paths, without removing what is there before the benchmark ends.

        ext4 passes over each inode that was freed in the last minute, so that files which are made
        just after as many were removed take twice as long as others.
        """
        aside = self.path("aside")
        os.makedirs(aside, exist_ok=True)
        for path in paths:
            if os.path.lexists(path):
                os.rename(path, os.path.join(aside, str(len(os.listdir(aside)))))

    def commit(self, folder: str) -> None:
        """Make a directory a git repository, with all that is in it committed."""
        who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        for args in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "All"]):
            subprocess.run(["git", *args], cwd=folder, env=self.env(), check=True)


def remove(*paths: str) -> None:
    """Remove files, and directories with all in them, that are there."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
