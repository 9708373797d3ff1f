"""Runs that tests make, stage and start without a command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gage._internal.lifecycle.init import init_run_meta
from gage._internal.lifecycle.make import make_run
from gage._internal.lifecycle.stage import stage_run
from gage._internal.types import OpCmd, OpDef, OpRef, Run

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("GAGE_", "RUN_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GAGE_SYNC", "0")


@pytest.fixture
def project_dir(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


@pytest.fixture
def make_initialized(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that makes and initializes a run in `tmp_path/runs`."""

    def make(
        *args: str,
        opdef: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        name: str = "test",
        home: Path | None = None,
    ) -> Run:
        run = make_run(str(home or tmp_path / "runs"))
        opref, command = OpRef("project", name), OpCmd(list(args), env or {})
        init_run_meta(run, opref, OpDef(name, opdef or {}), command, {}, {}, config)
        return run

    return make


@pytest.fixture
def make_staged(make_initialized: Callable[..., Run], project_dir: Path) -> Callable[..., Run]:
    """Return a function that makes a run and stages it from `project_dir`."""

    def make(*args: str, **options: Any) -> Run:
        run = make_initialized(*args, **options)
        stage_run(run, str(project_dir))
        return run

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a file system of a size; root only, as in CI."""
    mounted = []

    def mount(options: str) -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)
