"""What is particular to object storage: what lies there, and stores that honour less."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Project
from real_servers import S3, SECRET

from .conftest import TRAIN, Bench, Far, far_of_s3, of_weak_s3, tree


@pytest.fixture
def bench(project: Callable[..., Project], s3: S3, tmp_path: Path) -> Bench:
    return Bench(project({"train.py": TRAIN}), far_of_s3(s3, s3.port, tmp_path))


def objects(s3: S3, bench: Bench) -> dict[str, bytes]:
    """Return all that lies at the remote, by name."""
    root = bench.far.location.removeprefix("s3://")
    found = s3.file_system().cat(s3.file_system().find(root))
    return {name.removeprefix(root + "/"): data for name, data in found.items()}


def test_what_lies_there_is_what_the_format_says(bench: Bench, s3: S3) -> None:
    run_id = bench.run("size=900")
    bench.gage("tag", run_id, "a b").succeeds()
    bench.push(run_id)
    found = objects(s3, bench)
    names = {name for name in found if not name.startswith("objects/")}
    assert names == {f"runs/{run_id}/000001", f"runs/{run_id}/notes/tags/a%20b"}
    for name in found.keys() - names:
        sha256 = hashlib.sha256(found[name]).hexdigest()
        assert name == f"objects/{sha256[:2]}/{sha256}"
    state = json.loads(found[f"runs/{run_id}/000001"])
    assert state["version"] == 1 and state["files"]["meta/id"] == f"{run_id}\n"
    assert SECRET not in json.dumps(state)
    listed = json.loads(zlib.decompress(found[f"objects/{state['list'][:2]}/{state['list']}"]))
    contents = {}
    for path, kind, _, _, size, sha256, _, spans in listed:
        data = b"".join(found[f"objects/{o[:2]}/{o}"][start:end] for o, start, end in spans)
        assert kind != "f" or (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)
        contents[path] = len(spans)
    # A large file is cut, a small one is a part of a pack.
    assert contents["run/out/model.bin"] == 4 and contents["run/train.py"] == 1


def test_a_later_state_is_added_and_nothing_changed(bench: Bench, s3: S3) -> None:
    run_id = bench.stage()
    bench.push(run_id)
    before = objects(s3, bench)
    bench.gage("start", run_id).succeeds()
    bench.push(run_id)
    after = objects(s3, bench)
    assert before.items() <= after.items() and f"runs/{run_id}/000002" in after
    # Cut short, as a file system without whole writes can leave it, it is as if it were not there.
    root = bench.far.location.removeprefix("s3://")
    s3.file_system().pipe_file(f"{root}/runs/{run_id}/000003", b"{")
    assert bench.far_status(run_id) == "completed"


def test_a_store_that_ignores_conditions_is_named_once(
    request: pytest.FixtureRequest, project: Callable[..., Project], s3: S3, tmp_path: Path
) -> None:
    bench = Bench(project({"train.py": TRAIN}), of_weak_s3(request, tmp_path))

    def said(run_ids: list[str]) -> int:
        done = bench.gage("push", *run_ids, "store").succeeds()
        return done.err.count("does not honour writes on condition")

    assert said([bench.stage(), bench.stage()]) == 1
    far_of_s3(s3, s3.port, tmp_path)
    assert said([bench.stage()]) == (0 if _writes_on_condition() else 1)


def _writes_on_condition() -> bool:
    """Tell whether the s3fs that is installed is new enough to ask for it."""
    import inspect

    import s3fs

    return "mode" in inspect.signature(s3fs.S3FileSystem._pipe_file).parameters


def test_what_is_damaged_there_does_not_arrive(bench: Bench, s3: S3, tmp_path: Path) -> None:
    run_id = bench.run("size=900")
    bench.push(run_id)
    root = bench.far.location.removeprefix("s3://")
    found = objects(s3, bench)
    largest = max(found, key=lambda name: len(found[name]))
    s3.file_system().pipe_file(f"{root}/{largest}", b"x" * len(found[largest]))
    home = tmp_path / "other"
    bench.gage("--runs", str(home), "pull", run_id, "store").fails(1, "remote-failed")
    s3.file_system().rm_file(f"{root}/{largest}")
    refused = bench.gage("--runs", str(home), "pull", run_id, "store").fails(1, "remote-failed")
    assert "is missing or cut short" in refused.err
    assert not (home / f"{run_id}.meta").exists()
    s3.file_system().pipe_file(f"{root}/{largest}", found[largest])
    bench.pull(home, run_id)
    assert tree(home, run_id) == tree(bench.project.runs_home, run_id)


def test_what_goes_wrong_is_told(bench: Bench, s3: S3, tmp_path: Path) -> None:
    run_id = bench.run()
    settings = tmp_path / "config" / "gage" / "settings.toml"
    good = settings.read_text()
    settings.write_text(good.replace(f"s3://{s3.bucket}", "s3://nothing"))
    nowhere = bench.gage("push", run_id, "store").fails(1, "remote-unreachable")
    assert "nothing" in nowhere.err
    settings.write_text(re.sub(r":[0-9]+\"", ':1"', good))
    bench.gage("list", "--remote", "store").fails(1, "remote-unreachable")
    settings.write_text(good)
    no_login = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    denied = bench.project.gage("push", run_id, "store", env={**bench.far.env, **no_login})
    denied.fails(1, "remote-denied")
    unfit = bench.gage("push", run_id, "gs://bucket/x").fails(1, "remote-unfit")
    assert "pip install 'gage[gs]'" in unfit.err
    bench.gage("push", run_id, "nosuch://bucket/x").fails(1, "remote-unfit")


def test_any_file_system_of_fsspec_will_do(project: Callable[..., Project], tmp_path: Path) -> None:
    """One that neither writes whole nor on condition: that of this machine."""
    (tmp_path / "far").mkdir()
    bench = Bench(project({"train.py": TRAIN}), Far("local", f"local://{tmp_path}/far"))
    run_id = bench.stage()
    bench.push(run_id)
    assert [each["outcome"] for each in bench.push(run_id)] == ["already there"]
    bench.gage("start", run_id).succeeds()
    assert [each["outcome"] for each in bench.push(run_id)] == ["merged"]
    bench.pull(tmp_path / "other", run_id)
    assert tree(tmp_path / "other", run_id) == tree(bench.project.runs_home, run_id)
