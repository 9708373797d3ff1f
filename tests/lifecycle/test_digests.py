"""Staging again: what did not change is not hashed, shared if asked for, and never wrong."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gage._internal.catalog.trash import delete_run, purge_run
from gage._internal.errors import RunChanged
from gage._internal.fs import remove_tree
from gage._internal.lifecycle import copying, digests
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store import manifest
from gage._internal.store.verify import verify
from gage._internal.types import Run


@pytest.fixture(autouse=True)
def nothing_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_YOUNG", 0)


@pytest.fixture
def project_dir(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    (path / "train.py").write_text("print(1)\n")
    (path / "tool.sh").write_text("echo\n")
    (path / "tool.sh").chmod(0o755)
    (path / "empty").write_text("")
    return path


@pytest.fixture
def stage(make_initialized, project_dir: Path):
    """Return a function that makes a run and stages it from `project_dir`."""

    def stage(share: bool = False, **options) -> Run:
        run = make_initialized("true", **options)
        stage_run(run, str(project_dir), share=share)
        verify(run)
        return run

    return stage


def digest_of(run: Run, name: str) -> str:
    return next(entry.sha256 for entry in manifest.read_manifest(run).staged if entry.path == name)


def file_of(run: Run, name: str) -> Path:
    return Path(run.run_dir, name)


def inode_of(run: Run, name: str) -> int:
    return os.lstat(file_of(run, name)).st_ino


def kept_in(run: Run) -> list[Path]:
    return list(Path(run.run_dir).parent.glob(".digests-*"))


@pytest.mark.parametrize("share", [False, True])
def test_what_did_not_change_is_not_hashed(stage, monkeypatch, share: bool) -> None:
    first = stage()
    with monkeypatch.context() as patch:
        run = make_unhashed(stage, patch, share)
    assert manifest.read_manifest(run) == manifest.read_manifest(first)
    assert (inode_of(run, "train.py") == inode_of(first, "train.py")) is share


def make_unhashed(stage, patch: pytest.MonkeyPatch, share: bool) -> Run:
    """Stage where the copy cannot hash; what verifies can."""

    def hash_in_copy(*data: bytes) -> None:
        pytest.fail("the copy hashed")

    class Hashlib:
        sha256 = staticmethod(hash_in_copy)

    patch.setattr(copying, "hashlib", Hashlib)
    return stage(share)


def test_the_first_staging_hashes(stage, monkeypatch) -> None:
    with pytest.raises(pytest.fail.Exception, match="the copy hashed"):
        make_unhashed(stage, monkeypatch, share=False)


def rewritten_in_place(path: Path) -> None:
    path.write_text("print(2)\n")


def rewritten_with_its_time(path: Path) -> None:
    found = os.stat(path)
    path.write_text("print(2)\n")
    os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))


def replaced_with_its_time(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("print(2)\n")
    found = os.stat(path)
    os.utime(other, ns=(found.st_mtime_ns, found.st_mtime_ns))
    os.replace(other, path)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize(
    "change", [rewritten_in_place, rewritten_with_its_time, replaced_with_its_time]
)
def test_a_change_is_seen(stage, project_dir: Path, change, share: bool) -> None:
    stage(share)
    change(project_dir / "train.py")
    run = stage(share)
    assert file_of(run, "train.py").read_text() == "print(2)\n"
    assert digest_of(run, "train.py") == hashlib.sha256(b"print(2)\n").hexdigest()


def test_a_file_of_this_minute_is_not_remembered(stage, monkeypatch, project_dir: Path) -> None:
    monkeypatch.setattr(digests, "_YOUNG", 60 * 10**9)
    first = stage()
    assert kept_in(first) == []
    # To set the time back does not make it old: the time of that is kept too.
    os.utime(project_dir / "train.py", (1, 1))
    assert kept_in(stage()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(500)),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"digests 1", b"digests 2")),
        lambda path: path.write_bytes(path.read_bytes().replace(b"train", b"brain")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "zeros", "cut", "newer", "edited", "directory"],
)
def test_what_is_damaged_counts_as_nothing(stage, spoil) -> None:
    first = stage(share=True)
    (path,) = kept_in(first)
    path.chmod(0o644)
    spoil(path)
    run = stage(share=True)
    assert inode_of(run, "train.py") != inode_of(first, "train.py")
    assert manifest.read_manifest(run) == manifest.read_manifest(first)


def test_a_leak_is_told_again(make_initialized, project_dir: Path) -> None:
    (project_dir / "train.py").write_text(f"open({str(project_dir / 'data')!r})\n")
    for share in (False, False, True):
        told: list[str] = []
        run = make_initialized("python3", "train.py")
        stage_run(run, str(project_dir), share=share, notice=told.append)
        assert [line for line in told if "train.py:1" in line], told


def test_other_places_are_searched_for_anew(
    make_initialized, project_dir: Path, monkeypatch
) -> None:
    (project_dir / "train.py").write_text("open('/elsewhere/data/x')\n")
    told: list[str] = []
    stage_run(make_initialized("true"), str(project_dir), notice=told.append)
    assert told == []
    monkeypatch.setenv("HOME", "/elsewhere/data")
    stage_run(make_initialized("true"), str(project_dir), notice=told.append)
    assert "train.py:1" in "".join(told)


def test_shared_files_are_those_that_nobody_writes(stage, project_dir: Path) -> None:
    opdef = {"writable": ["log.txt"], "config": "train.py"}
    (project_dir / "log.txt").write_text("")
    (project_dir / "train.py").write_text("lr = 1\n")
    first = stage(True, opdef=opdef, config={"lr": 2})
    second = stage(True, opdef=opdef, config={"lr": 3})
    third = stage(True, opdef=opdef, config={"lr": 3})
    shared = {
        name
        for name in os.listdir(third.run_dir)
        if inode_of(first, name) == inode_of(second, name) == inode_of(third, name)
    }
    assert shared == {"tool.sh", "empty"}
    assert os.stat(file_of(third, "tool.sh")).st_mode & 0o777 == 0o555
    assert file_of(third, "train.py").read_text() == "lr = 3\n"


def test_each_link_is_known_of(stage, monkeypatch) -> None:
    first = stage(share=True)
    for _ in range(3):
        with monkeypatch.context() as patch:
            run = make_unhashed(stage, patch, share=True)
        assert inode_of(run, "train.py") == inode_of(first, "train.py")


def test_what_a_hook_may_write_to_is_copied(stage) -> None:
    opdef = {"exec": {"run": "true", "stage-dependencies": "echo more >> train.py"}}
    first = stage(share=True)
    second = stage(True, opdef=opdef)
    assert file_of(second, "train.py").read_text() == "print(1)\nmore\n"
    verify(first)


@pytest.mark.parametrize("order", [("none", "train.py"), ("train.py", "none")])
def test_what_becomes_writable_or_read_only_is_copied(stage, order: tuple[str, str]) -> None:
    first, second = (stage(True, opdef={"writable": [name]}) for name in order)
    assert inode_of(first, "train.py") != inode_of(second, "train.py")
    assert inode_of(first, "empty") == inode_of(second, "empty")


def test_a_mode_that_changed_is_not_shared(stage, project_dir: Path) -> None:
    first = stage(share=True)
    (project_dir / "train.py").chmod(0o755)
    second = stage(share=True)
    modes = [os.stat(file_of(run, "train.py")).st_mode & 0o777 for run in (first, second)]
    assert modes == [0o444, 0o555]


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_copy_that_was_written_to_is_not_shared(stage, keep_time: bool) -> None:
    first = stage(share=True)
    path = file_of(first, "train.py")
    found = os.stat(path)
    path.chmod(0o644)
    path.write_text("print(9)\n")
    path.chmod(0o444)
    if keep_time:
        os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))
    second = stage(share=True)
    assert file_of(second, "train.py").read_text() == "print(1)\n"
    assert inode_of(second, "empty") == inode_of(first, "empty")


def test_shared_files_outlive_the_run_they_were_copied_for(stage) -> None:
    first = stage(share=True)
    second = stage(share=True)
    delete_run(first)
    purge_run(Run(first.id, str(Path(first.run_dir).parent / ".trash" / first.id)))
    verify(second)
    # The link that went changed the last of its times: it is read, found to be the same, shared.
    third = stage(share=True)
    assert inode_of(third, "train.py") == inode_of(second, "train.py")


def test_without_the_last_run_all_is_copied(stage) -> None:
    first = stage(share=True)
    remove_tree(first.run_dir)
    stage(share=True)


def test_a_run_that_writes_to_a_shared_file_is_found_out(stage) -> None:
    first, second = stage(share=True), stage(share=True)
    path = file_of(first, "train.py")
    path.chmod(0o644)
    path.write_text("print(9)\n")
    with pytest.raises(RunChanged, match=r"changed: train\.py"):
        start_run(second)


@pytest.mark.parametrize("share", [False, True])
def test_many_files_at_once(stage, project_dir: Path, share: bool) -> None:
    for i in range(1000):
        (project_dir / f"{i}.txt").write_text(str(i))
    first = stage(share)
    (project_dir / "7.txt").write_text("other")
    second = stage(share)
    different = {
        a.path
        for a, b in zip(
            manifest.read_manifest(first).staged, manifest.read_manifest(second).staged, strict=True
        )
        if a != b
    }
    assert different == {"7.txt"}
    assert (inode_of(first, "8.txt") == inode_of(second, "8.txt")) is share


@pytest.mark.parametrize("kind", ["plain", "sparse"])
def test_large_files_are_copied_whole(stage, project_dir: Path, kind: str) -> None:
    with (project_dir / "large.txt").open("wb") as file:
        file.write(random.Random(1).randbytes(5 << 20).replace(b"\0", b" "))
        if kind == "sparse":
            file.truncate(100 << 20)
    (project_dir / "gage.toml").write_text("")
    opdef = {"sourcecode": ["large.txt"]}
    first, second = stage(opdef=opdef), stage(opdef=opdef)
    assert digest_of(first, "large.txt") == digest_of(second, "large.txt")
    blocks = os.stat(file_of(second, "large.txt")).st_blocks
    assert blocks * 512 < 6 << 20


@pytest.mark.parametrize("name", ["a\nb.py", "a\tb.py", os.fsdecode(b"\xff.py")])
def test_any_name_may_come_again(stage, project_dir: Path, name: str) -> None:
    (project_dir / name).write_text("1")
    for _ in range(2):
        assert file_of(stage(share=True), name).read_text() == "1"


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A file system that allows 65,000 links to a file; root only, as in CI."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_file_that_has_all_the_links_it_can_have_is_copied(stage, ext4: Path) -> None:
    first = stage(True, home=ext4 / "runs")
    folder = ext4 / "links"
    folder.mkdir()
    with pytest.raises(OSError, match="Too many links"):
        for i in range(70_000):
            os.link(file_of(first, "empty"), folder / str(i))
    second = stage(True, home=ext4 / "runs")
    third = stage(True, home=ext4 / "runs")
    assert inode_of(first, "empty") != inode_of(second, "empty") == inode_of(third, "empty")
    assert inode_of(first, "train.py") == inode_of(third, "train.py")


def test_what_is_searched_for_has_an_order(tmp_path: Path) -> None:
    code = (
        "from gage._internal.lifecycle.leaks.places import find_places\n"
        "print(find_places('/a/b', '/long/project').needles())"
    )
    env = {**os.environ, "HOME": "/long/homedir", "VIRTUAL_ENV": "/long/environ"}
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**env, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(8)
    }
    assert len(found) == 1
