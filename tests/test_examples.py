"""The examples, each run as its README tells, with the results looked at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from console_sessions import check_sessions, run_shell

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())

# What depends on versions of NumPy and of the shell, besides what differs from run to run.
MASKS = {
    "digits": {r"\b\d\.\d{3,4}\b": "<number>", r"2 \(\d+ bytes\)": "<size>"},
    "phases": {r"  sh: .*": "<error of the shell>"},
}

# How an example is staged, after what has to be run first.
STAGED = {
    "config": ([], "settings title=changed"),
    "digits": ([], "train epochs=3"),
    "hello": ([], "hello.py name=Ada"),
    "phases": ([], "count"),
    "pipeline": (["prepare"], "train"),
}


@pytest.fixture
def copied(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a copy of the example that the test names, as a project of its own."""
    return copy_example(request.param, tmp_path)


def copy_example(name: str, to: Path) -> Path:
    ignored = shutil.ignore_patterns(".gage", "__pycache__")
    return Path(shutil.copytree(EXAMPLES / name, to / name, ignore=ignored))


def show(project: Path, run: str = "1") -> Any:
    return json.loads(run_shell(f"gage show {run} --json", project))


def content(project: Path) -> dict[str, bytes]:
    """Return the files of a project, without its runs."""
    paths = [path for path in project.rglob("*") if path.is_file()]
    relative = {str(path.relative_to(project)): path for path in paths}
    return {name: path.read_bytes() for name, path in relative.items() if ".gage/" not in name}


def test_examples_are_the_ones_tested() -> None:
    assert sorted(STAGED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_readme(name: str, tmp_path: Path) -> None:
    check_sessions(EXAMPLES / name / "README.md", copy_example(name, tmp_path), MASKS.get(name))


@pytest.mark.parametrize("name", NAMES)
def test_runs_after_project_is_deleted(name: str, tmp_path: Path) -> None:
    project = copy_example(name, tmp_path)
    runs = f"--runs '{tmp_path}/kept runs'"
    before, operation = STAGED[name]
    for command in before:
        run_shell(f"gage run {command} {runs}", project)
    run_id = run_shell(f"gage stage {operation} {runs} 2>/dev/null", project).strip()
    shutil.rmtree(project)

    printed = run_shell(f"gage start {run_id} {runs}; echo exit $?", tmp_path)

    assert printed.splitlines()[-1] == "exit 0", printed
    found = json.loads(run_shell(f"gage show {run_id} --json {runs}", tmp_path))
    assert found["status"] == "completed"


@pytest.mark.parametrize("name", NAMES)
def test_project_is_left_as_it_was(name: str, tmp_path: Path) -> None:
    project = copy_example(name, tmp_path)
    before, operation = STAGED[name]
    for command in [*before, operation]:
        run_shell(f"gage run {command}", project)
    assert show(project)["status"] == "completed"
    assert content(project) == content(EXAMPLES / name)


@pytest.mark.parametrize("copied", ["digits"], indirect=True)
def test_digits_are_learnt(copied: Path) -> None:
    printed = run_shell("gage run train", copied)
    learnt = show(copied)["summary"]
    run_shell("gage run train lr=0.001", copied)
    hardly_learnt = show(copied)["summary"]
    run_shell("gage run train", copied)
    again = show(copied)["summary"]

    assert learnt["accuracy"] > 0.93
    assert learnt["loss"] < 0.3
    assert hardly_learnt["accuracy"] < 0.6
    assert again == learnt
    epochs = [line.split() for line in printed.splitlines() if line.startswith("epoch ")]
    assert [int(words[1]) for words in epochs] == list(range(1, 21))
    assert float(epochs[-1][-1]) == pytest.approx(learnt["accuracy"], abs=0.001)
    assert float(epochs[0][-1]) < learnt["accuracy"]


@pytest.mark.parametrize("copied", ["digits"], indirect=True)
def test_digits_are_held_out_by_seed(copied: Path) -> None:
    run_shell("gage run train epochs=5", copied)
    one = show(copied)["summary"]
    run_shell("gage run train epochs=5 seed=2", copied)
    assert show(copied)["summary"] != one


@pytest.mark.parametrize("copied", ["pipeline"], indirect=True)
def test_pipeline_takes_newest_files(copied: Path) -> None:
    run_shell("gage run prepare test_share=0.5; gage run prepare seed=7; gage run train", copied)
    train, prepare = (Path(show(copied, run)["run_dir"]) for run in "12")
    for name in ("train.csv", "test.csv"):
        assert (train / "data" / name).read_bytes() == (prepare / name).read_bytes()
    assert len((train / "data" / "test.csv").read_text().splitlines()) == 1 + 45
    assert show(copied)["summary"]["accuracy"] > 0.85


@pytest.mark.parametrize("copied", ["phases"], indirect=True)
def test_phases_tell_files_apart(copied: Path) -> None:
    run_shell("gage run count", copied)
    files = json.loads(run_shell("gage show --files --json", copied))
    assert {file["path"]: file["type"] for file in files} == {
        "count.py": "source",
        "gage.toml": "source",
        "summarize.py": "source",
        "vendor/words.py": "runtime",
        "poem.txt": "dependency",
        "counts.json": "generated",
        "summary.json": "generated",
    }
    assert show(copied)["summary"] == {"words": 45, "different": 31}
