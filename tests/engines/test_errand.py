"""What a worker does with a job, by itself: nothing of it outlives the worker."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Project
from gage._internal import fs
from gage._internal.portable.carried import keep_runner
from gage._internal.portable.errand import Errand, run_errand

from .slurm_cluster import until

_WORKER = """
import json, sys, time
from gage._internal.portable.errand import Errand, run_errand

class Line:
    begin = lambda self, host: "go"
    is_stopped = lambda self: False
    end = lambda self, *told: print(told)

run_errand(Errand(**json.loads(sys.argv[1])), Line())
"""


class Line:
    """A line on which the engine answers as a test says, and which keeps what it is told."""

    def __init__(self, *answers: str, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self.answers = list(answers)
        self.is_stopped = is_stopped
        self.told: list[Any] = []

    def begin(self, host: str) -> str:
        return self.answers.pop(0)

    def fetch(self) -> Iterator[bytes]:
        yield b"no capsule"

    def give(self, chunk: bytes) -> None:
        self.told.append(chunk)

    def end(self, *told: Any) -> None:
        self.told.append(told)


@pytest.fixture
def staged(project: Callable[..., Project]) -> tuple[Path, Errand]:
    made = project({"work.py": "import time\nprint('on', flush=True)\ntime.sleep(600)\n"})
    run = Path(made.runs_home / made.gage("stage", "work.py").succeeds().out.strip())
    listing = made.dir / "runs.json"
    listing.write_text(json.dumps([str(run)]))
    sha256 = hashlib.sha256(listing.read_bytes()).hexdigest()
    runner = keep_runner(str(made.runs_home))
    return run, Errand(0, run.name, sys.executable, runner, str(listing), sha256)


def test_a_run_ends_with_its_worker(staged: tuple[Path, Errand]) -> None:
    run, errand = staged
    words = [sys.executable, "-c", _WORKER, json.dumps(errand._asdict())]
    worker = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    meta = run.with_name(f"{run.name}.meta")
    until((meta / "started").exists)
    worker.kill()
    worker.wait()
    until((meta / "stopped").exists)
    assert (meta / "proc" / "signal").read_text() == "SIGTERM\n"


def test_a_run_that_is_to_stop_is_told(staged: tuple[Path, Errand]) -> None:
    run, errand = staged
    meta = run.with_name(f"{run.name}.meta")
    line = Line("wait", "go", is_stopped=(meta / "started").exists)
    run_errand(errand, line)
    assert line.told == [("", True, False)]
    assert (meta / "proc" / "signal").read_text() == "SIGTERM\n"


def test_a_job_that_another_worker_has_is_left_alone(staged: tuple[Path, Errand]) -> None:
    run, errand = staged
    line = Line("no")
    run_errand(errand, line)
    assert line.told == []
    assert not run.with_name(f"{run.name}.meta").joinpath("started").exists()


def test_a_runs_home_that_is_another_one_is_told(staged: tuple[Path, Errand]) -> None:
    run, errand = staged
    Path(errand.listing).write_text("[]")
    line = Line("go")
    run_errand(errand, line)
    ((said, has_begun, has_left),) = line.told
    assert said.endswith("does not have the files of the runs home")
    assert not has_begun and not has_left
    assert not run.with_name(f"{run.name}.meta").joinpath("started").exists()


def test_a_runner_that_was_damaged_is_written_anew(
    staged: tuple[Path, Errand], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, errand = staged
    runner = Path(errand.runner)
    content, inode = runner.read_bytes(), runner.stat().st_ino
    home = str(runner.parent.parent)
    assert keep_runner(home) == errand.runner and runner.stat().st_ino == inode
    synced: list[bytes] = []
    monkeypatch.setattr(fs, "sync", lambda *_: synced.append(runner.read_bytes()))
    # As a power cut may leave it, and as a disk may.
    for damaged in (b"", content[:-1] + b"!"):
        runner.chmod(0o644)
        runner.write_bytes(damaged)
        assert keep_runner(home) == errand.runner
        assert runner.read_bytes() == content and list(runner.parent.iterdir()) == [runner]
        # What it is to be is on the disk before it has its name, and so is that.
        assert synced == [damaged, content]
        synced.clear()


def test_what_is_no_capsule_is_refused(tmp_path: Path) -> None:
    line = Line("go")
    run_errand(Errand(0, "id", sys.executable, directory=str(tmp_path / "place")), line)
    ((said, has_begun, has_left),) = line.told
    assert said.startswith("its capsule was refused") and not has_begun and not has_left
    # Nothing of it is left on the worker.
    assert list((tmp_path / "place").iterdir()) == []


@pytest.fixture
def brought(project: Callable[..., Project], tmp_path: Path) -> tuple[bytes, Errand]:
    """A run that is brought, and its errand."""
    made = project({"work.py": "open('made', 'w').write('made')\n"})
    run = Path(made.runs_home / made.gage("stage", "work.py").succeeds().out.strip())
    made.gage("pack", run.name, "-o", str(tmp_path / "run.pyz")).succeeds()
    folder = str(tmp_path / "away")
    return (tmp_path / "run.pyz").read_bytes(), Errand(
        0, run.name, sys.executable, directory=folder
    )


class Bringing(Line):
    """A line on which a capsule comes, and maybe nothing can be given back."""

    def __init__(self, capsule: bytes, gives: bool = True) -> None:
        super().__init__("go")
        self.capsule = capsule
        self.gives = gives

    def fetch(self) -> Iterator[bytes]:
        yield self.capsule

    def give(self, chunk: bytes) -> None:
        if not self.gives:
            raise RuntimeError("the store is full")


def test_what_is_brought_leaves_nothing_where_it_was(brought: tuple[bytes, Errand]) -> None:
    capsule, errand = brought
    line = Bringing(capsule)
    run_errand(errand, line)
    assert line.told == [("", True, True)]
    assert list(Path(errand.directory).iterdir()) == []


def test_what_cannot_be_given_back_is_kept(brought: tuple[bytes, Errand]) -> None:
    capsule, errand = brought
    line = Bringing(capsule, gives=False)
    run_errand(errand, line)
    ((said, has_begun, has_left),) = line.told
    assert (has_begun, has_left) == (True, False)
    (folder,) = Path(errand.directory).iterdir()
    assert said.endswith(f": the store is full; what it has left is in {folder} there")
    assert (folder / "runs" / errand.run_id / "made").read_text() == "made"


def test_what_could_not_be_brought_has_not_begun(brought: tuple[bytes, Errand]) -> None:
    capsule, errand = brought
    Path(errand.directory).touch()
    line = Bringing(capsule)
    run_errand(errand, line)
    ((said, has_begun, has_left),) = line.told
    assert "File exists" in said and (has_begun, has_left) == (False, False)
    line = Bringing(capsule[:-1000])
    run_errand(errand._replace(directory=""), line)
    ((said, has_begun, has_left),) = line.told
    assert said.startswith("its capsule was refused: ") and (has_begun, has_left) == (False, False)
