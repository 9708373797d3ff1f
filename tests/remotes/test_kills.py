"""Pushes and pulls that are killed or cut off, and repeated: the rest is sent, and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Project
from real_servers import S3, Machine

from .conftest import TRAIN, Bench, Far, far_of_s3, tree
from .counting_proxy import CountingProxy

# Kilobytes that are one file, besides many small ones.
SIZE = 16_000
# Where it is interrupted, in percent of all bytes.
POINTS = [4, 31, 60, 97]
# Bytes that SSH has taken, a window of a channel, and that may not have come to who writes them: on
# a busy machine that ends before it has read them.
IN_FLIGHT = 2 << 20
MORE = (
    "os.mkdir('small')\n"
    "for i in range(400):\n"
    "    with open(f'small/{i}', 'wb') as file:\n"
    "        file.write(random.Random(i + 1).randbytes(8000))\n"
)


@pytest.fixture
def proxy(machine: Machine) -> Iterator[CountingProxy]:
    found = CountingProxy(machine.port)
    yield found
    found.close()


def write_run(project: Callable[..., Project], far: Far, size: int = SIZE) -> tuple[Bench, str]:
    bench = Bench(project({"train.py": TRAIN + MORE}), far)
    return bench, bench.run(f"size={size}")


def is_hidden(home: Path, run_id: str) -> bool:
    """Tell whether there is nothing of a run that a reader would take for one."""
    return not (home / f"{run_id}.meta").exists()


@pytest.fixture
def over_proxy(
    project: Callable[..., Project], machine: Machine, proxy: CountingProxy, tmp_path: Path
) -> tuple[Bench, str]:
    env = machine.reached_by(tmp_path, proxy.port)
    home = machine.root / tmp_path.name
    return write_run(project, Far("ssh", f"ssh://far/root/{tmp_path.name}", env, home))


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "cut"])
def test_push_over_ssh(
    over_proxy: tuple[Bench, str], proxy: CountingProxy, is_killed: bool
) -> None:
    bench, run_id = over_proxy
    home = bench.far.home
    assert home is not None
    expected = tree(bench.project.runs_home, run_id)
    bench.push(run_id)
    whole = proxy.count
    for point in POINTS:
        shutil.rmtree(home)
        proxy.count, proxy.limit = 0, whole * point // 100
        process = bench.begin("push", run_id, bench.far.address)
        proxy.at_limit = process.kill if is_killed else proxy.cut
        _, said = process.communicate()
        if is_killed:
            assert process.returncode == -9
        else:
            assert process.returncode == 1 and b"[remote-" in said, said
        assert is_hidden(home, run_id), point
        bench.push(run_id)
        assert tree(home, run_id) == expected, point
        assert proxy.count < whole * 1.01 + IN_FLIGHT, (point, proxy.count / whole)


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "cut"])
def test_pull_over_ssh(
    over_proxy: tuple[Bench, str], proxy: CountingProxy, is_killed: bool, tmp_path: Path
) -> None:
    bench, run_id = over_proxy
    expected = tree(bench.project.runs_home, run_id)
    bench.push(run_id)
    home = tmp_path / "other"
    proxy.count = 0
    bench.pull(home, run_id)
    whole = proxy.count
    for point in POINTS:
        shutil.rmtree(home)
        proxy.count, proxy.limit = 0, whole * point // 100
        process = bench.begin("--runs", str(home), "pull", run_id, bench.far.address)
        proxy.at_limit = process.kill if is_killed else proxy.cut
        _, said = process.communicate()
        assert process.returncode == (-9 if is_killed else 1), said
        assert is_hidden(home, run_id), point
        bench.pull(home, run_id)
        assert tree(home, run_id) == expected, point
        assert proxy.count < whole * 1.01 + IN_FLIGHT, (point, proxy.count / whole)


def test_push_to_s3_and_pull(
    project: Callable[..., Project], s3: S3, s3_proxy: CountingProxy, tmp_path: Path
) -> None:
    """It begins and ends with whole objects: few bytes of many are more than one."""
    far = far_of_s3(s3, s3_proxy.port, tmp_path)
    bench, run_id = write_run(project, far, size=72_000)
    expected = tree(bench.project.runs_home, run_id)
    prefix, home = far.location.partition(f"{s3.bucket}/")[2], tmp_path / "other"
    whole: dict[str, int] = {}
    for point in (None, 25, 60, 97):
        for words in (["push", run_id, "store"], ["--runs", str(home), "pull", run_id, "store"]):
            s3_proxy.count = 0
            if point is not None:
                s3_proxy.limit = whole[words[-3]] * point // 100
                process = bench.begin(*words)
                s3_proxy.at_limit = process.kill
                process.communicate()
                assert process.returncode == -9
                assert is_hidden(home, run_id)
                if words[0] == "push":
                    assert bench.far_status(run_id) is None
            bench.gage(*words).succeeds()
            if point is None:
                whole[words[-3]] = s3_proxy.count
            else:
                ratio = s3_proxy.count / whole[words[-3]]
                assert ratio < 1.01, (words, point, ratio)
        assert tree(home, run_id) == expected, point
        shutil.rmtree(home)
        s3.remove(prefix)


def killed_at(bench: Bench, calls: str, number: int, *args: str, path: Path | None = None) -> bool:
    """Run a command that is killed before the nth of some system calls; tell whether it was.

    With a path, only calls count that have to do with that file.
    """
    command = [shutil.which("strace"), "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
    command += ["-P", str(path)] if path else []
    for call in calls.split(","):
        command += ["-e", f"inject={call}:signal=KILL:when={number}"]
    gage = [*command, sys.executable, "-m", "gage", *args]
    ended = subprocess.run(
        gage, cwd=bench.project.dir, env=dict(bench.project.env), capture_output=True, check=False
    )
    assert ended.returncode in (0, -9, 137), ended.stderr
    return ended.returncode != 0


def size_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def in_directory(project: Callable[..., Project], tmp_path: Path) -> tuple[Bench, str]:
    far = Far("directory", str(tmp_path / "far"), home=tmp_path / "far")
    return write_run(project, far, size=4_000)


@pytest.mark.parametrize("command", ["push", "pull"])
def test_killed_while_it_writes(
    in_directory: tuple[Bench, str], command: str, tmp_path: Path
) -> None:
    bench, run_id = in_directory
    expected = tree(bench.project.runs_home, run_id)
    home, words = tmp_path / "far", ["push", run_id, str(tmp_path / "far")]
    if command == "pull":
        bench.push(run_id)
        home = tmp_path / "other"
        words = ["--runs", str(home), "pull", run_id, str(tmp_path / "far")]
    incoming = home / ".incoming" / run_id / "run"
    large = incoming / "out" / "model.bin"
    for number, path in ((20, None), (150, None), (300, None), (2, large), (9, large), (15, large)):
        shutil.rmtree(home, ignore_errors=True)
        assert killed_at(bench, "write", number, *words, path=path)
        assert is_hidden(home, run_id)
        if path:
            assert 0 < large.stat().st_size < 4_000_000
        there = size_below(incoming)
        (moved,) = bench.gage(*words, "--json").succeeds().json
        assert moved["sent"] <= moved["bytes"] - there, number
        assert tree(home, run_id) == expected, number
        assert not (home / ".incoming").exists()


@pytest.mark.parametrize("is_merged", [False, True], ids=["new", "merged"])
def test_killed_while_it_is_put_into_its_place(
    project: Callable[..., Project], is_merged: bool, tmp_path: Path
) -> None:
    home = tmp_path / "far"
    far = Far("directory", str(home), home=home)
    bench = Bench(project({"train.py": TRAIN}), far)
    run_id = bench.stage()
    before = tree(bench.project.runs_home, run_id)
    if is_merged:
        bench.push(run_id)
        shutil.copytree(home, tmp_path / "kept", symlinks=True)
        bench.gage("start", run_id).succeeds()
    expected = tree(bench.project.runs_home, run_id)
    calls = "rename,renameat2,link,unlink,rmdir"
    killed = 0
    for call in calls.split(","):
        for number in range(1, 400, 9 if call == "rename" else 2):
            shutil.rmtree(home, ignore_errors=True)
            if is_merged:
                shutil.copytree(tmp_path / "kept", home, symlinks=True)
            if not killed_at(bench, call, number, "push", run_id, str(home)):
                break
            killed += 1
            if is_merged:
                # Between two calls that follow each other, the one directory is that of before.
                seen = _files(tree(home, run_id))
                assert any(seen == _files(each) for each in (before, expected))
            else:
                assert is_hidden(home, run_id) or tree(home, run_id) == expected
            bench.push(run_id)
            assert tree(home, run_id) == expected, (call, number)
            assert not (home / ".incoming").exists()
    assert killed > 3


def _files(found: dict[str, tuple[object, ...]]) -> dict[str, object]:
    """Return the content of the files of the record, but what a process leaves that is killed."""
    return {
        path: value
        for path, (_, _, value) in found.items()
        if value is not None and path != "ID.meta/proc/lock"
        if path.startswith("ID.meta") and not os.path.basename(path).startswith(".")
    }
