"""Staging a run again where what it was staged with cannot be shared, or never stays the same."""

import errno
import os
from pathlib import Path

import pytest

from gage._internal.errors import RunChanged
from gage._internal.lifecycle import copying
from gage._internal.lifecycle.rerun import stage_rerun
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store import status
from gage._internal.types import Run


@pytest.fixture
def original(make_initialized, tmp_path: Path) -> Run:
    """Return a staged run with a file that has another name."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("first.txt", "shared.txt"):
        (project / name).write_text(name)
    run = make_initialized("true")
    stage_run(run, str(project))
    os.link(f"{run.run_dir}/shared.txt", tmp_path / "another")
    return run


def test_a_file_that_has_all_names_that_it_can_have_is_copied(
    original: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(copying.os, "link", refuse)
    run = stage_rerun(original, str(tmp_path / "home"), durable=False)
    monkeypatch.undo()
    assert os.stat(f"{run.run_dir}/shared.txt").st_nlink == 1
    assert os.stat(f"{original.run_dir}/shared.txt").st_nlink == 2
    assert start_run(run).exit_code == 0


def test_a_shared_file_gets_another_name(original: Run, tmp_path: Path) -> None:
    run = stage_rerun(original, str(tmp_path / "home"))
    assert os.path.samefile(f"{run.run_dir}/shared.txt", f"{original.run_dir}/shared.txt")
    assert not os.path.samefile(f"{run.run_dir}/first.txt", f"{original.run_dir}/first.txt")
    assert status.run_status(run) == status.STAGED
    assert sorted(os.listdir(tmp_path / "home")) == [run.id, f"{run.id}.meta"]
    assert start_run(run).exit_code == 0


def test_a_file_that_never_stays_the_same_is_named(
    original: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copying.identity_of
    numbers = iter(range(1000))
    monkeypatch.setattr(copying, "identity_of", lambda found: (*real(found)[:4], next(numbers)))
    with pytest.raises(RunChanged, match=r"changes while it is copied: first\.txt"):
        stage_rerun(original, str(tmp_path / "home"))
