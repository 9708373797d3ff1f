"""Batches that end before their end: what is staged then, and what was found out once."""

import errno
import os
import stat
from pathlib import Path

import pytest

from gage._internal.catalog.find import list_runs
from gage._internal.errors import GageError
from gage._internal.lifecycle import batch, freeze
from gage._internal.lifecycle.batch import frozen_project, stage_batch
from gage._internal.lifecycle.freeze import Frozen
from gage._internal.project.operations import find_operation, parse_config
from gage._internal.project.projects import read_project
from gage._internal.store import status
from gage._internal.store.verify import verify
from gage.plugins import Provided


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_text("seed = 0\n")
    return folder


@pytest.fixture
def home(tmp_path):
    return str(tmp_path / "runs")


def stage(project, home, count, fill=None, on_staged=lambda run: None):
    operation = find_operation(read_project(str(project)), "a.py", str(project))
    configs = [parse_config(operation, [f"seed={seed}"]) for seed in range(count)]
    with frozen_project(home, operation.opdef, str(project)) as frozen:

        def each(run):
            if fill:
                fill(run)
            frozen(run)

        stage_batch(home, operation, configs, each, group="g", on_staged=on_staged)


def statuses(home):
    return [status.run_status(run) for run in reversed(list_runs(home))]


def left_in(home):
    return [name for name in os.listdir(home) if name.startswith(".")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GageError("no"), OSError(errno.ENOSPC, "")])
def test_what_ends_a_batch_leaves_what_is_ready_staged(project, home, error):
    seen = []

    def fill(run):
        seen.append(run)
        if len(seen) == 4:
            raise error

    staged = []
    with pytest.raises(error if isinstance(error, type) else type(error)):
        stage(project, home, 6, fill, staged.append)
    assert statuses(home) == ["staged"] * 3 + ["failed"]
    assert staged == seen[:3]
    assert left_in(home) == []


def test_nothing_is_called_staged_that_the_disk_has_not(project, home, monkeypatch):
    monkeypatch.setattr(batch, "_MOST_READY", 2)
    synced = []

    def sync(*paths):
        # A full disk is told when what was written is to be on it.
        synced.append(statuses(home))
        if len(synced) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(batch.fs, "sync", sync)
    with pytest.raises(OSError):
        stage(project, home, 6)
    # Before the first two are called staged, after that, and before the next two.
    assert synced == [["staging"] * 2, ["staged"] * 2, ["staged"] * 2 + ["staging"] * 2]
    assert statuses(home) == ["staged", "staged", "failed", "failed"]
    assert left_in(home) == []


def test_an_interruption_while_runs_are_called_staged_changes_nothing(project, home, monkeypatch):
    real = batch.fs.put_in_place
    calls = []

    def put_in_place(beside, path):
        if path.endswith("/staged"):
            calls.append(path)
            if len(calls) == 2:
                raise KeyboardInterrupt
        real(beside, path)

    monkeypatch.setattr(batch.fs, "put_in_place", put_in_place)
    staged = []
    with pytest.raises(KeyboardInterrupt):
        stage(project, home, 3, on_staged=staged.append)
    assert statuses(home) == ["staged"] * 3
    assert len(staged) == 3 and left_in(home) == []


def test_a_file_that_is_frozen_is_read_once(project, home, tmp_path):
    source = project / "data.txt"
    source.write_text("before")
    with Frozen(home, str(project), share=False) as frozen:
        first = frozen.freeze(
            str(project), [("data.txt", "data.txt")], lambda path: False, [b"for"]
        )
        source.write_text("after")
        again = frozen.freeze(str(project), [("data.txt", "data.txt")], lambda path: False, [])
        assert first == again and Path(first, "data.txt").read_text() == "before"
        known = frozen.known(f"{first}/data.txt")
        assert known and known.has_needle
    assert left_in(home) == []


@pytest.mark.parametrize("kept", [True, False])
def test_each_run_has_the_same_files_whether_they_are_kept_in_memory(
    project, home, monkeypatch, kept
):
    if not kept:
        monkeypatch.setattr(freeze, "_MOST_KEPT", 0)
    (project / "small.sh").write_bytes(b"#!/bin/sh\n\0\xff")
    (project / "small.sh").chmod(0o755)
    os.utime(project / "small.sh", ns=(1, 1_700_000_000_123_456_789))
    (project / "empty.txt").touch()
    (project / "large.txt").write_text("x" * 70_000)
    gage_file = (
        '[t]\nexec = "sh small.sh"\nsourcecode = ["*.txt", "*.sh"]\nwritable = ["empty.txt"]\n'
    )
    (project / "gage.toml").write_text(gage_file + "config = ['a.py']\n")
    operation = find_operation(read_project(str(project)), "t", str(project))
    configs = [parse_config(operation, [f"seed={seed}"]) for seed in range(3)]
    with frozen_project(home, operation.opdef, str(project)) as fill:
        stage_batch(home, operation, configs, fill, group="g")
    for run in list_runs(home):
        verify(run)
        for name, mode in (("small.sh", 0o555), ("large.txt", 0o444), ("empty.txt", 0o644)):
            copy, source = Path(run.run_dir, name), project / name
            assert copy.read_bytes() == source.read_bytes()
            assert stat.S_IMODE(copy.stat().st_mode) == mode, name
            assert copy.stat().st_mtime_ns == source.stat().st_mtime_ns
            assert copy.stat().st_nlink == 1


RUNTIME = """
[t]
exec = "true"
runtime = "counting"
config = ["{config}"]
"""


class Counting:
    """A runtime that goes by the directory `lib`."""

    provided = 0

    def provide(self, settings, context):
        context.digest("lib")
        context.notice("made")
        Counting.provided += 1
        return Provided(made={"made.txt": b"%d" % Counting.provided})


@pytest.mark.parametrize(
    ("config", "times"), [("params.py", 1), ("lib/params.py", 3), ("pyproject.toml", 3)]
)
def test_a_runtime_is_made_once_for_what_is_the_same(project, home, monkeypatch, config, times):
    monkeypatch.setattr("gage.plugins.find_runtime", lambda name: Counting())
    Counting.provided = 0
    (project / "lib").mkdir()
    (project / "lib" / "params.py").write_text("seed = 0\n")
    (project / "params.py").write_text("seed = 0\n")
    (project / "pyproject.toml").write_text("seed = 0\n")
    (project / "gage.toml").write_text(RUNTIME.format(config=config))
    operation = find_operation(read_project(str(project)), "t", str(project))
    configs = [parse_config(operation, [f"seed={seed}"]) for seed in (1, 2, 3)]
    with frozen_project(home, operation.opdef, str(project)) as fill:
        stage_batch(home, operation, configs, fill)
    made = [Path(run.run_dir, "made.txt").read_text() for run in reversed(list_runs(home))]
    assert made == ([str(n) for n in (1, 2, 3)] if times == 3 else ["1", "1", "1"])
    for run in list_runs(home):
        assert "Noticed: made\n" in Path(run.run_dir + ".meta", "log", "runner").read_text()
