"""Staging: what is copied, with which mode, what is refused, and what a failure leaves."""

import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gage._internal.errors import (
    ConfigFileError,
    DependencyError,
    HookFailed,
    SourceRefused,
    StageFailed,
)
from gage._internal.lifecycle.make import make_run
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store import manifest
from gage._internal.store.logs import parse_file_event
from gage._internal.store.record import read_record
from gage._internal.store.status import run_status
from gage._internal.store.verify import verify
from gage._internal.types import Run
from runs_on_disk import files_below, meta_file, read


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def staged_mode(run: Run, name: str) -> int:
    return mode_of(os.path.join(run.run_dir, name))


def test_source_is_copied_read_only_and_vouched_for(make_staged, project_dir: Path) -> None:
    (project_dir / "train.py").write_text("print(1)\n")
    (project_dir / "pkg").mkdir()
    (project_dir / "pkg" / "mod.py").write_text("x = 1\n")
    run = make_staged("python3", "train.py")
    assert files_below(run.run_dir) == {"train.py", "pkg/mod.py"}
    assert run_status(run) == "staged"
    entries = {entry.path: entry for entry in manifest.read_manifest(run).staged}
    digest = hashlib.sha256(b"print(1)\n").hexdigest()
    assert (entries["train.py"].sha256, entries["train.py"].size) == (digest, 9)
    assert [parse_file_event(line)[:2] for line in read(run, "log/files").splitlines()] == [
        ("a", "s"),
        ("a", "s"),
    ]
    assert read(run, "log/runner").splitlines()[-1].endswith(" Writing staged")


@pytest.mark.parametrize(
    ("mode", "staged"),
    [(0o644, 0o444), (0o755, 0o555), (0o600, 0o400), (0o700, 0o500), (0o664, 0o444)],
)
def test_modes_are_kept_less_the_write_bits(
    make_staged, project_dir: Path, mode: int, staged: int
) -> None:
    (project_dir / "file").write_text("#!/bin/sh\n")
    (project_dir / "file").chmod(mode)
    assert staged_mode(make_staged("./file"), "file") == staged


def test_a_private_directory_does_not_become_open(make_staged, project_dir: Path) -> None:
    (project_dir / "private").mkdir()
    (project_dir / "private" / "file").write_text("x")
    (project_dir / "private").chmod(0o700)
    assert staged_mode(make_staged("true"), "private") == 0o700


def test_an_executable_script_starts(make_staged, project_dir: Path) -> None:
    (project_dir / "run.sh").write_text("#!/bin/sh\necho started\n")
    (project_dir / "run.sh").chmod(0o755)
    run = make_staged("./run.sh")
    assert start_run(run).exit_code == 0
    assert read(run, "output/run") == "started\n"


def test_writable_files_keep_their_write_bits(make_staged, project_dir: Path) -> None:
    (project_dir / "state").mkdir()
    for name in ("state/a.txt", "fixed.txt"):
        (project_dir / name).write_text("x")
    run = make_staged("true", opdef={"writable": ["state/**"]})
    assert staged_mode(run, "state/a.txt") == 0o644
    assert staged_mode(run, "fixed.txt") == 0o444


def test_links_inside_are_kept_as_links(make_staged, project_dir: Path) -> None:
    (project_dir / "data").mkdir()
    (project_dir / "data" / "v1.txt").write_text("x")
    (project_dir / "latest.txt").symlink_to("data/v1.txt")
    (project_dir / "dir").symlink_to("data")
    run = make_staged("true")
    assert os.readlink(os.path.join(run.run_dir, "latest.txt")) == "data/v1.txt"
    assert os.readlink(os.path.join(run.run_dir, "dir")) == "data"
    assert len(verify(run)) == 3


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.txt", "sub/../../outside.txt"])
def test_a_link_that_leaves_the_run_is_refused(
    make_initialized, project_dir: Path, target: str
) -> None:
    (project_dir / "link").symlink_to(target)
    run = make_initialized("true")
    with pytest.raises(SourceRefused, match="link is a link that leaves the run: ") as caught:
        stage_run(run, str(project_dir))
    assert target in str(caught.value)
    assert run_status(run) == "failed"
    assert read_record(run).reason == str(caught.value)


def test_an_absolute_link_into_the_project_is_refused(make_initialized, project_dir: Path) -> None:
    (project_dir / "a.txt").write_text("x")
    (project_dir / "link").symlink_to(project_dir / "a.txt")
    with pytest.raises(SourceRefused):
        stage_run(make_initialized("true"), str(project_dir))


def test_what_a_link_points_to_keeps_its_mode(make_initialized, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o664)
    hook = f"ln -s {outside} soft; ln {outside} hard; ln -s {tmp_path} dir"
    run = make_initialized("true", opdef={"exec": {"run": "true", "stage-sourcecode": hook}})
    stage_run(run)
    assert mode_of(outside) == 0o664
    assert outside.read_text() == "x"
    assert staged_mode(run, "hard") == 0o444
    assert os.lstat(os.path.join(run.run_dir, "hard")).st_nlink == 1


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_special_file_is_refused_by_name(
    make_initialized, project_dir: Path, monkeypatch, kind: str
) -> None:
    monkeypatch.chdir(project_dir)
    if kind == "pipe":
        os.mkfifo("special")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("special")
    run = make_initialized("true", opdef={"sourcecode": ["special"]})
    with pytest.raises(SourceRefused, match="special is a socket, a pipe or a device"):
        stage_run(run, str(project_dir))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_special_file_that_nobody_selected_is_no_matter(make_staged, project_dir: Path) -> None:
    os.mkfifo(project_dir / "pipe")
    (project_dir / "a.txt").write_text("x")
    assert files_below(make_staged("true").run_dir) == {"a.txt"}


def test_a_file_that_never_stands_still_is_refused(make_initialized, project_dir: Path) -> None:
    code = "import time\nwhile True: open('busy.txt', 'a').write('x'); time.sleep(0.001)"
    (project_dir / "busy.txt").write_text("x" * 30_000_000)
    writer = subprocess.Popen([sys.executable, "-c", code], cwd=project_dir)
    try:
        while (project_dir / "busy.txt").stat().st_size == 30_000_000:
            pass
        with pytest.raises(SourceRefused, match=r"busy\.txt changes while it is copied"):
            stage_run(make_initialized("true"), str(project_dir))
    finally:
        writer.kill()
        writer.wait()


def test_the_project_is_not_changed(make_staged, project_dir: Path) -> None:
    (project_dir / "train.py").write_text("lr = 1\n")
    (project_dir / "train.py").chmod(0o664)
    before = os.stat(project_dir / "train.py")
    make_staged("true", opdef={"config": "train.py"}, config={"lr": 2})
    after = os.stat(project_dir / "train.py")
    assert (project_dir / "train.py").read_text() == "lr = 1\n"
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    assert files_below(project_dir) == {"train.py"}


def test_the_manifest_is_accepted_by_sha256sum(make_staged, project_dir: Path) -> None:
    names = ["plain.txt", "with space.txt", "back\\slash", "new\nline", "cr\rx", "-dash", "#hash"]
    for name in [*map(os.fsencode, names), b"\xff\xfe.txt"]:
        Path(os.fsdecode(os.path.join(os.fsencode(project_dir), name))).write_text("x")
    (project_dir / "link").symlink_to("plain.txt")
    run = make_staged("true")
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", f"../{run.id}.meta/manifest"],
        cwd=run.run_dir,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(b": OK\n") == len(names) + 1


class TestConfig:
    def test_values_are_applied_to_the_copy(self, make_staged, project_dir: Path) -> None:
        (project_dir / "train.py").write_text("lr = 0.1  # rate\nepochs = 3\n")
        (project_dir / "model.json").write_text('{"size": {"hidden": 16}}')
        run = make_staged(
            "true",
            opdef={"config": ["train.py", "model.json"]},
            config={"lr": 0.5, "epochs": 3, "size.hidden": 32},
        )
        assert Path(run.run_dir, "train.py").read_text() == "lr = 0.5  # rate\nepochs = 3\n"
        assert Path(run.run_dir, "model.json").read_text() == '{"size": {"hidden": 32}}'
        assert mode_of(Path(run.run_dir, "train.py")) == 0o444
        assert len(verify(run)) == 2

    def test_the_patch_can_be_taken_back(self, make_staged, project_dir: Path) -> None:
        (project_dir / "a.py").write_bytes(b"x = 1\r\ny = 2")
        (project_dir / "b.json").write_text('{"z": 1}')
        run = make_staged(
            "true", opdef={"config": ["a.py", "b.json"]}, config={"x": 5, "y": 6, "z": 7}
        )
        copy = project_dir.parent / "copy"
        shutil.copytree(run.run_dir, copy)
        for name in ("a.py", "b.json"):
            (copy / name).chmod(0o644)
        patch = meta_file(run, "log/patched").read_bytes()
        subprocess.run(["patch", "-R", "-p1", "--binary"], cwd=copy, input=patch, check=True)
        assert (copy / "a.py").read_bytes() == b"x = 1\r\ny = 2"
        assert (copy / "b.json").read_text() == '{"z": 1}'

    def test_what_is_recorded_is_applied_even_if_the_project_was_edited_since(
        self, make_initialized, project_dir: Path
    ) -> None:
        (project_dir / "train.py").write_text("lr = 0.1\n")
        run = make_initialized("true", opdef={"config": "train.py"}, config={"lr": 0.1})
        (project_dir / "train.py").write_text("lr = 0.9\n")
        stage_run(run, str(project_dir))
        assert Path(run.run_dir, "train.py").read_text() == "lr = 0.1\n"

    def test_a_tuple_stays_a_tuple(self, make_staged, project_dir: Path) -> None:
        (project_dir / "train.py").write_text("a = (1, 2)\nb = (3,)\n")
        make = {"opdef": {"config": "train.py"}, "config": {"a": [1, 2], "b": [4]}}
        run = make_staged("true", **make)
        assert Path(run.run_dir, "train.py").read_text() == "a = (1, 2)\nb = (4,)\n"

    def test_a_config_file_that_is_not_staged_is_an_error(
        self, make_initialized, project_dir: Path
    ) -> None:
        (project_dir / "train.py").write_text("lr = 0.1\n")
        opdef = {"config": "train.py", "sourcecode": ["-train.py"]}
        run = make_initialized("true", opdef=opdef, config={"lr": 1})
        with pytest.raises(ConfigFileError, match=r"train\.py is not among the staged files"):
            stage_run(run, str(project_dir))


class TestHooks:
    def test_each_runs_in_the_run_dir_with_its_variables(
        self, make_initialized, project_dir: Path
    ) -> None:
        phases = ("sourcecode", "runtime", "dependencies")
        line = 'echo {0} "$RUN_ID" "$RUN_DIR" "$PROJECT_DIR" "$PWD"; echo made > {0}.txt'
        hooks = {f"stage-{phase}": line.format(phase) for phase in phases}
        run = make_initialized("true", opdef={"exec": {"run": "true", **hooks}})
        stage_run(run, str(project_dir))
        for phase in phases:
            expected = f"{phase} {run.id} {run.run_dir} {project_dir} {run.run_dir}\n"
            assert read(run, f"output/{phase}") == expected
        types = {e.path: e.type for e in manifest.read_manifest(run).staged}
        assert types == {"sourcecode.txt": "s", "runtime.txt": "r", "dependencies.txt": "d"}

    def test_what_a_hook_changes_and_removes_is_logged(
        self, make_initialized, project_dir: Path
    ) -> None:
        for name in ("changed.txt", "removed.txt"):
            (project_dir / name).write_text("x")
        hook = "echo more >> changed.txt; rm removed.txt"
        run = make_initialized("true", opdef={"exec": {"run": "true", "stage-runtime": hook}})
        stage_run(run, str(project_dir))
        events = [parse_file_event(line) for line in read(run, "log/files").splitlines()]
        assert [(e.event, e.type, e.path) for e in events[2:]] == [
            ("d", "s", "removed.txt"),
            ("m", "s", "changed.txt"),
        ]
        assert len(verify(run)) == 1

    def test_a_failing_hook_is_named_with_its_status_and_last_lines(
        self, make_initialized, project_dir: Path
    ) -> None:
        hook = "for i in 1 2 3 4 5 6 7; do echo line $i; done; echo bad >&2; exit 3"
        run = make_initialized("true", opdef={"exec": {"run": "true", "stage-runtime": hook}})
        with pytest.raises(HookFailed) as caught:
            stage_run(run, str(project_dir))
        assert str(caught.value).splitlines() == [
            "exec.stage-runtime exited with 3",
            *(f"  line {i}" for i in (4, 5, 6, 7)),
            "  bad",
        ]
        record = read_record(run)
        assert (record.status, record.reason) == ("failed", str(caught.value))
        assert not meta_file(run, "staged").exists()
        assert "line 1\n" in read(run, "output/runtime")

    def test_a_hook_that_is_missing_is_named(self, make_initialized, project_dir: Path) -> None:
        hooks = {"run": "true", "stage-runtime": ["no-such-command"]}
        run = make_initialized("true", opdef={"exec": hooks})
        with pytest.raises(HookFailed, match="no-such-command: command not found"):
            stage_run(run, str(project_dir))


class TestDependencies:
    def test_project_files_are_copied_even_if_git_ignores_them(
        self, make_staged, project_dir: Path
    ) -> None:
        subprocess.run(["git", "init", "-q"], cwd=project_dir, check=True)
        (project_dir / ".gitignore").write_text("data/\n")
        (project_dir / "data" / "deep").mkdir(parents=True)
        (project_dir / "data" / "deep" / "a.bin").write_bytes(b"\0")
        (project_dir / "data" / "b.csv").write_text("1")
        run = make_staged("true", opdef={"depends": {"project-files": "data"}})
        assert files_below(run.run_dir) == {".gitignore", "data/deep/a.bin", "data/b.csv"}
        types = {e.path: e.type for e in manifest.read_manifest(run).staged}
        assert types["data/b.csv"] == "d"

    def test_select_and_target(self, make_staged, project_dir: Path) -> None:
        (project_dir / "data").mkdir()
        for name in ("a.csv", "b.csv", "notes.txt"):
            (project_dir / "data" / name).write_text(name)
        depends = {"project-files": "data", "select": ["*.csv", "-b.csv"], "target": "in"}
        run = make_staged("true", opdef={"sourcecode": False, "depends": [depends]})
        assert files_below(run.run_dir) == {"in/data/a.csv"}

    def test_a_missing_dependency_is_named(self, make_initialized, project_dir: Path) -> None:
        run = make_initialized("true", opdef={"depends": {"project-files": "no/such"}})
        with pytest.raises(DependencyError, match="project-files no/such: there is no such file"):
            stage_run(run, str(project_dir))
        assert run_status(run) == "failed"

    def test_an_optional_dependency_may_be_missing(self, make_staged) -> None:
        depends = {"project-files": "no/such", "optional": True}
        assert run_status(make_staged("true", opdef={"depends": depends})) == "staged"

    def test_source_is_not_replaced(self, make_initialized, project_dir: Path) -> None:
        (project_dir / "a.txt").write_text("source")
        run = make_initialized("true", opdef={"depends": {"project-files": "a.txt"}})
        with pytest.raises(DependencyError, match=r"a\.txt would replace a\.txt"):
            stage_run(run, str(project_dir))

    def test_run_files_are_those_of_the_newest_completed_run(self, make_staged) -> None:
        for text in ("old", "new"):
            code = f"echo {text} > model.txt; mkdir -p __pycache__; echo > __pycache__/x.pyc"
            assert start_run(make_staged("sh", "-c", code, name="prepare")).exit_code == 0
        start_run(make_staged("sh", "-c", "echo bad > model.txt; exit 1", name="prepare"))
        depends = {"run-files": "prepare", "target": "from"}
        run = make_staged("true", opdef={"depends": depends}, name="train")
        assert files_below(run.run_dir) == {"from/model.txt"}
        assert Path(run.run_dir, "from/model.txt").read_text() == "new\n"

    def test_a_run_that_is_needed_and_not_there_is_named(self, make_initialized) -> None:
        run = make_initialized("true", opdef={"depends": {"run-files": "prepare"}})
        with pytest.raises(DependencyError, match="there is no completed run") as caught:
            stage_run(run)
        assert caught.value.hint == "run it first: gage run prepare"


def test_a_missing_run_dir_or_meta_dir_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^Run dir does not exist: /.*/none$"):
        stage_run(Run("", str(tmp_path / "none")))
    run = make_run(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^Run meta dir does not exist: /.*\.meta$"):
        stage_run(run)


def test_a_run_is_staged_once(make_staged) -> None:
    run = make_staged("true")
    with pytest.raises(StageFailed, match="is staged already"):
        stage_run(run)


@pytest.mark.parametrize("options", ["size=256k", "size=4m,nr_inodes=45"])
def test_a_full_disk_leaves_a_failed_run_with_the_reason(
    make_initialized, project_dir: Path, small_disk, options: str
) -> None:
    home = small_disk(options)
    for i in range(40):
        (project_dir / f"{i}.txt").write_text("x" * 10_000)
    run = make_initialized("true", home=home)
    with pytest.raises(OSError, match="No space left on device"):
        stage_run(run, str(project_dir))
    record = read_record(run)
    assert record.status == "failed"
    assert "No space left on device" in (record.reason or "")
    assert files_below(run.run_dir) == set()
    for path in project_dir.iterdir():
        path.unlink()
    again = make_initialized("true", home=home)
    stage_run(again, str(project_dir))
    assert run_status(again) == "staged"


def test_a_killed_staging_is_not_staged(make_initialized, project_dir: Path) -> None:
    hooks = {"run": "true", "stage-runtime": "kill -9 $PPID; sleep 1"}
    run = make_initialized("true", opdef={"exec": hooks})
    code = (
        "import sys; from gage._internal.lifecycle.stage import stage_run;"
        "from gage._internal.types import Run; stage_run(Run(*sys.argv[1:]))"
    )
    killed = subprocess.run([sys.executable, "-c", code, run.id, run.run_dir], check=False)
    assert killed.returncode == -9
    record = read_record(run)
    assert record.status == "failed"
    assert (record.reason or "").startswith("staging was interrupted: process ")


def test_the_environment_of_the_parent_is_written_nowhere(
    make_staged, project_dir: Path, monkeypatch
) -> None:
    monkeypatch.setenv("CANARY", "c4n4ry-value")
    (project_dir / "train.py").write_text("print(1)\n")
    hooks = {"run": "true", "stage-runtime": "true", "finalize": "true"}
    run = make_staged("python3", "train.py", opdef={"exec": hooks}, env={"CHOSEN": "yes"})
    start_run(run)
    assert json.loads(read(run, "proc/env")) == {"CHOSEN": "yes"}
    for root in (run.run_dir, run.run_dir + ".meta"):
        for name in files_below(root):
            assert b"c4n4ry" not in Path(root, name).read_bytes(), name
