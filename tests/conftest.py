"""Projects that tests write, and the `gage` command run in them as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No test is about time: a machine that is busy must not fail one.
settings.register_profile("gage", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gage")

# What would tell a command of the environment that the tests happen to run in.
_NOT_INHERITED = (
    *("RUN_ID", "RUN_DIR", "PROJECT_DIR", "VIRTUAL_ENV"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONIOENCODING"),
)
_LET_GO_PREFIXES = ("GAGE_", "XDG_", "NO_COLOR", "FORCE_COLOR", "CLICOLOR")


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and what it wrote to stdout and stderr."""

    args: tuple[str, ...]
    code: int
    out_bytes: bytes
    err_bytes: bytes

    @property
    def out(self) -> str:
        return os.fsdecode(self.out_bytes)

    @property
    def err(self) -> str:
        return os.fsdecode(self.err_bytes)

    @property
    def json(self) -> Any:
        """The standard output of a command that was given `--json`."""
        return json.loads(self.out_bytes)

    def succeeds(self) -> Outcome:
        """Assert exit code 0 and no traceback."""
        return self.exits(0)

    def exits(self, code: int) -> Outcome:
        """Assert this exit code and no traceback."""
        assert self.code == code, f"{self.code} is not {code}\n{self}"
        assert "Traceback" not in self.err, str(self)
        return self

    def fails(self, code: int, reference: str) -> Outcome:
        """Assert this exit code and an error on stderr with this reference."""
        self.exits(code)
        assert f"[{reference}]" in self.err, str(self)
        return self

    def __str__(self) -> str:
        return f"gage {' '.join(self.args)}\n--- out\n{self.out}\n--- err\n{self.err}"


@dataclass(frozen=True)
class Project:
    """A directory of files, with a home directory and an environment of its own."""

    dir: Path
    env: Mapping[str, str]

    def write(self, name: str, content: str | bytes, mode: int | None = None) -> Path:
        """Write a file, the directories above it too."""
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if mode is not None:
            path.chmod(mode)
        return path

    def gage(
        self,
        *args: str,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Outcome:
        """Run the real command here, to its end."""
        ended = subprocess.run(
            [sys.executable, "-m", "gage", *args],
            cwd=cwd or self.dir,
            env={**self.env, **(env or {})},
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            timeout=60,
        )
        return Outcome(args, ended.returncode, ended.stdout, ended.stderr)

    def begin(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        """Begin the real command here, and return its process."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {"cwd": self.dir, "env": self.env, **streams, **options}
        return subprocess.Popen([sys.executable, "-m", "gage", *args], **options)

    def python(self, code: str) -> Outcome:
        """Run Python code here that may `import gage`."""
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.dir,
            env=dict(self.env),
            capture_output=True,
            timeout=60,
        )
        return Outcome(("python", "-c", code), ended.returncode, ended.stdout, ended.stderr)

    @property
    def runs_home(self) -> Path:
        """Where runs of this project are kept unless a test says otherwise."""
        return self.dir / ".gage" / "runs"

    def runs(self) -> list[Path]:
        """Return the run dirs, the earliest first."""
        metas = self.runs_home.glob("*.meta")
        return [meta.with_suffix("") for meta in sorted(metas, key=_when_initialized)]

    def run(self) -> Path:
        """Return the run dir of the only run."""
        (run,) = self.runs()
        return run

    def meta(self, run_dir: Path | None = None) -> Path:
        """Return the meta dir that goes with a run dir, or that of the only run."""
        run_dir = run_dir or self.run()
        return run_dir.with_name(f"{run_dir.name}.meta")


def _when_initialized(meta: Path) -> int:
    stamp = meta / "initialized"
    return int(stamp.read_text()) if stamp.exists() else 0


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """Return what writes a project: `project({"train.py": "...", "gage.toml": "..."})`."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_LET_GO_PREFIXES)
    }
    home = tmp_path / "home"
    home.mkdir()
    # The `python3` of a run is the one that runs the tests.
    path = os.path.dirname(sys.executable) + os.pathsep + env["PATH"]
    env |= {"HOME": str(home), "GAGE_SYNC": "0", "PATH": path}

    def write_project(
        files: Mapping[str, str | bytes] | None = None, name: str = "project"
    ) -> Project:
        written = Project(tmp_path / name, env)
        written.dir.mkdir(parents=True)
        for path, content in (files or {}).items():
            written.write(path, content)
        return written

    return write_project
