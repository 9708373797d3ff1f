"""Dependencies: what each resolver takes, where it goes, how it gets there, and what is kept."""

import csv
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gage._internal.errors import DependencyError, SourceRefused
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store.attributes import add_tags, set_label
from gage._internal.store.status import run_status
from gage._internal.store.verify import verify
from gage._internal.types import Run
from runs_on_disk import files_below, meta_file, read


@pytest.fixture
def stage(make_initialized, project_dir: Path):
    """Return a function that stages a run with nothing but one dependency."""

    def stage(told: list[str] | None = None, **depends: Any) -> Run:
        settings = {key.replace("_", "-"): value for key, value in depends.items()}
        opdef = {"sourcecode": False, "depends": settings}
        run = make_initialized("true", opdef=opdef, name="use")
        stage_run(run, str(project_dir), notice=(told if told is not None else []).append)
        verify(run)
        return run

    return stage


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files outside of the project."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("aaa")
    (folder / "b.bin").write_bytes(b"\0" * 5000)
    (folder / "sub" / "c.txt").write_text("c")
    (folder / "sub" / "empty").mkdir()
    return folder


@pytest.fixture
def prepared(make_initialized, project_dir: Path):
    """Return a function that runs an operation `prepare` whose output says what it is given."""

    def prepare(word: str, name: str = "prepare", script: str = "") -> Run:
        run = make_initialized("sh", "-c", f"echo {word} >out.txt; {script}", name=name)
        stage_run(run)
        start_run(run)
        return run

    return prepare


def content(run: Run, name: str) -> str:
    return Path(run.run_dir, name).read_text()


def record(run: Run) -> dict[str, Any]:
    (found,) = json.loads(read(run, "depends.json"))
    assert isinstance(found, dict)
    return found


class TestFiles:
    def test_a_file_has_its_name_and_a_directory_too(self, stage, data: Path) -> None:
        run = stage(files=[str(data / "a.txt"), str(data / "sub")])
        assert files_below(run.run_dir) == {"a.txt", "sub/c.txt"}
        assert (Path(run.run_dir) / "sub" / "empty").is_dir()

    def test_patterns_home_and_relative_paths(
        self, stage, data: Path, project_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(data.parent))
        (project_dir / "own.txt").write_text("own")
        run = stage(files=["~/data/*.txt", "../data/b.bin", "own.txt"])
        assert files_below(run.run_dir) == {"a.txt", "b.bin", "own.txt"}

    def test_what_is_not_there_is_named(self, stage, data: Path) -> None:
        with pytest.raises(DependencyError, match=r"files no\*: there is no .*/no\*"):
            stage(files="no*")

    def test_a_relative_link_goes_along_and_one_that_leaves_is_refused(
        self, stage, data: Path
    ) -> None:
        (data / "link").symlink_to("sub/c.txt")
        run = stage(files=str(data))
        assert os.readlink(Path(run.run_dir, "data/link")) == "sub/c.txt"
        (data / "link").unlink()
        (data / "link").symlink_to("../../elsewhere")
        with pytest.raises(SourceRefused, match="leaves the run"):
            stage(files=str(data))


@pytest.mark.parametrize(
    ("select", "taken"),
    [
        ("*.txt", {"a.txt", "sub/c.txt"}),
        ("-*.txt", {"b.bin"}),
        (["-sub dir"], {"a.txt", "b.bin"}),
        (["* text"], {"a.txt", "sub/c.txt"}),
        (["* binary"], {"b.bin"}),
        (["* size<1K"], {"a.txt", "sub/c.txt"}),
        (["* size>1K"], {"b.bin"}),
        (["* max-matches=2"], {"a.txt", "b.bin"}),
        (["*", "-* sentinel=c.txt"], {"a.txt", "b.bin"}),
        (["*", "-/sub/*", "c.txt"], {"a.txt", "b.bin", "sub/c.txt"}),
    ],
)
def test_select_has_the_rules_of_source(
    stage, data: Path, project_dir: Path, select: Any, taken: set[str]
) -> None:
    (data / "sub" / "empty").rmdir()
    data.rename(project_dir / "data")
    run = stage(project_files="data", select=select_below("data", select))
    assert files_below(run.run_dir) == {f"data/{path}" for path in taken}


def select_below(folder: str, select: Any) -> Any:
    """Return rules that hold in a directory of the project; those of any depth as they are."""
    rules = [select] if isinstance(select, str) else select
    return [rule.replace("/sub", f"/{folder}/sub") for rule in rules]


def test_select_that_takes_nothing_is_an_error(stage, data: Path) -> None:
    with pytest.raises(DependencyError, match=r"select takes none of 4 files"):
        stage(files=str(data), select="*.csv")


def test_files_are_renamed_and_placed(stage, data: Path) -> None:
    rename = {"data/sub": "s", "data/sub/c.txt": "c/d.txt", "data": "all"}
    run = stage(files=str(data), rename=rename, target="in")
    assert files_below(run.run_dir) == {"in/all/a.txt", "in/all/b.bin", "in/c/d.txt"}
    assert (Path(run.run_dir) / "in" / "s" / "empty").is_dir()


def test_a_rename_of_what_is_not_there_is_an_error(stage, data: Path) -> None:
    with pytest.raises(DependencyError, match="rename has data/x, which is none of its files"):
        stage(files=str(data), rename={"data/x": "y"})


def test_two_files_at_one_path_are_an_error_that_names_both(stage, data: Path) -> None:
    with pytest.raises(DependencyError, match=r"b\.bin would replace same") as caught:
        stage(files=str(data), rename={"data/a.txt": "same", "data/b.bin": "same"})
    assert "a.txt is staged as" in str(caught.value)


class TestSha256:
    def test_of_one_file(self, stage, data: Path) -> None:
        stage(files=str(data / "a.txt"), sha256=hashlib.sha256(b"aaa").hexdigest().upper())

    def test_of_several_is_what_sha256sum_says(self, stage, data: Path, tmp_path: Path) -> None:
        printed = subprocess.run(
            "sha256sum data/a.txt data/b.bin data/sub/c.txt | sha256sum",
            shell=True, cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        digest = printed.stdout.split()[0]
        assert record(stage(files=str(data), sha256=digest, target="x"))["sha256"] == digest

    def test_another_one_fails_and_tells_what_it_is(self, stage, data: Path) -> None:
        found = hashlib.sha256(b"aaa").hexdigest()
        with pytest.raises(DependencyError, match=f"sha256 is {found}, not {'0' * 64}"):
            stage(files=str(data / "a.txt"), sha256="0" * 64)


class TestLink:
    def test_a_hard_link_is_the_file(self, stage, data: Path) -> None:
        (data / "a.txt").chmod(0o440)
        run = stage(files=str(data / "a.txt"), link="hardlink")
        assert os.path.samefile(data / "a.txt", Path(run.run_dir, "a.txt"))
        assert os.stat(data / "a.txt").st_mode & 0o777 == 0o440

    def test_a_file_that_is_not_read_only_is_not_linked(self, stage, data: Path) -> None:
        with pytest.raises(SourceRefused, match=r"a\.txt is not read-only") as caught:
            stage(files=str(data / "a.txt"), link="hardlink")
        assert "chmod a-w" in str(caught.value.hint)
        assert (data / "a.txt").stat().st_nlink == 1

    def test_a_hook_does_not_change_the_mode_of_a_linked_file(
        self, make_initialized, data: Path, project_dir: Path
    ) -> None:
        (data / "a.txt").chmod(0o444)
        depends = {"files": str(data / "a.txt"), "link": "hardlink"}
        hook = "stat -c %a a.txt >mode"
        opdef = {"depends": depends, "exec": {"run": "true", "stage-dependencies": hook}}
        run = make_initialized("true", opdef=opdef)
        stage_run(run, str(project_dir))
        assert content(run, "mode") == "444\n"

    def test_another_file_system_cannot_be_linked(self, stage, small_disk) -> None:
        path = small_disk("size=1m") / "a.txt"
        path.write_text("a")
        path.chmod(0o444)
        with pytest.raises(SourceRefused, match=r"a\.txt cannot be linked: Invalid cross-device"):
            stage(files=str(path), link="hardlink")

    def test_a_symbolic_link_is_told_as_what_breaks_elsewhere(self, stage, data: Path) -> None:
        told: list[str] = []
        run = stage(told, files=str(data), link="symlink")
        assert os.readlink(Path(run.run_dir, "data/a.txt")) == str(data / "a.txt")
        assert "data/a.txt" in "".join(told)
        assert record(run)["relocatable"] is False

    def test_blocks_are_shared_or_it_is_an_error(self, stage, small_disk) -> None:
        path = small_disk("size=1m") / "a.txt"
        path.write_text("a")
        with pytest.raises(SourceRefused, match="cannot share blocks"):
            stage(files=str(path), link="reflink")

    @pytest.mark.parametrize("link", ["hardlink", "symlink"])
    def test_a_run_does_not_write_to_what_it_is_linked_to(
        self, stage, data: Path, link: str
    ) -> None:
        with pytest.raises(DependencyError, match=f"writable does not go with link = {link}"):
            stage(files=str(data), link=link, writable=True)

    def test_a_plain_copy(self, stage, data: Path) -> None:
        run = stage(files=str(data / "a.txt"), link="copy")
        assert os.stat(Path(run.run_dir, "a.txt")).st_nlink == 1


def test_a_dependency_can_be_writable(stage, data: Path) -> None:
    run = stage(files=str(data), writable=True)
    assert os.stat(Path(run.run_dir, "data/a.txt")).st_mode & 0o777 == 0o644


class TestRunFiles:
    def test_the_newest_completed_run_of_an_operation(self, stage, prepared) -> None:
        prepared("first")
        prepared("second")
        prepared("broken", script="exit 1")
        assert content(stage(run_files="prepare"), "out.txt") == "second\n"

    def test_the_run_that_is_meant(self, stage, prepared) -> None:
        first, second = prepared("first"), prepared("second")
        broken = prepared("broken", script="exit 1")
        other = prepared("other", name="clean")
        add_tags(first, ["good"])
        set_label(second, "baseline")
        choices: list[tuple[dict[str, str], str]] = [
            ({"tag": "good"}, "first"),
            ({"label": "baseline"}, "second"),
            ({"operation": "prepare", "status": "failed"}, "broken"),
            ({"run": first.id}, "first"),
            ({"run": broken.id[:8]}, "broken"),
            ({"operation": "clean"}, "other"),
        ]
        for choice, word in choices:
            assert content(stage(run_files=choice), "out.txt") == f"{word}\n", choice
        assert run_status(other) == "completed"

    def test_what_is_kept_of_it(self, stage, prepared) -> None:
        upstream = prepared("x")
        found = record(stage(run_files="prepare", name="data"))
        digest = hashlib.sha256(meta_file(upstream, "manifest").read_bytes()).hexdigest()
        assert found["lineage"] == {"run": upstream.id, "manifest": digest}
        assert (found["name"], found["files"], found["bytes"]) == ("data", 1, 2)
        assert found["sha256"] == hashlib.sha256(b"x\n").hexdigest()

    @pytest.mark.parametrize(
        "choice",
        ["none", {"tag": "no"}, {"run": "nosuchrun"}, {"operation": "prepare", "tag": "t"}],
    )
    def test_none_is_an_error(self, stage, prepared, choice: Any) -> None:
        prepared("x")
        with pytest.raises(DependencyError, match=r"^run-files .*there is no"):
            stage(run_files=choice)


class TestRunsSummary:
    def test_a_table_of_runs(self, stage, prepared) -> None:
        runs = [
            prepared(word, script=f"""echo '{{"loss": {loss}, "t": "{word}"}}' >summary.json""")
            for word, loss in (("a", 0.5), ("b", 1))
        ]
        rows = json.loads(content(stage(runs_summary="prepare"), "runs.json"))
        assert [row["id"] for row in rows] == [run.id for run in runs]
        assert [row["summary.loss"] for row in rows] == [0.5, 1]
        choice = {"operation": "prepare", "format": "csv"}
        run = stage(runs_summary=choice, target="in")
        with Path(run.run_dir, "in/runs.csv").open(newline="") as file:
            assert [row["summary.loss"] for row in csv.DictReader(file)] == ["0.5", "1"]
        assert record(run)["lineage"] == {"runs": [run.id for run in runs]}
        assert os.stat(Path(run.run_dir, "in/runs.csv")).st_mode & 0o777 == 0o444

    def test_none_is_an_error(self, stage) -> None:
        with pytest.raises(DependencyError, match="runs-summary train: there is no such run"):
            stage(runs_summary="train")


def test_what_config_changed_is_not_replaced(make_initialized, project_dir: Path, data: Path):
    (project_dir / "a.txt").write_text("mine")
    run = make_initialized("true", opdef={"depends": {"files": str(data / "a.txt")}})
    with pytest.raises(DependencyError, match=r"would replace a\.txt, which is staged already"):
        stage_run(run, str(project_dir))
