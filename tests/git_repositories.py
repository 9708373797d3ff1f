"""Git repositories that tests make."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ENV = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
}  # fmt: skip


@dataclass(frozen=True)
class Repository:
    """A repository with a work tree, on the branch `main`."""

    dir: Path

    @classmethod
    def make(cls, path: Path, files: Mapping[str, bytes]) -> Repository:
        path.mkdir(parents=True)
        repository = cls(path)
        repository.git("init", "-q")
        repository.git("symbolic-ref", "HEAD", "refs/heads/main")
        repository.commit(files)
        return repository

    def git(self, *args: str, data: bytes = b"") -> str:
        """Run git there; return what it printed."""
        done = subprocess.run(
            ["git", *args], cwd=self.dir, env={**os.environ, **_ENV}, check=True,
            stdout=subprocess.PIPE, input=data,
        )  # fmt: skip
        return os.fsdecode(done.stdout).rstrip("\n")

    def commit(self, files: Mapping[str, bytes] = {}) -> str:
        """Write files and commit all there is; return the commit."""
        for name, data in files.items():
            path = self.dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")
