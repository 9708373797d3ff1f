"""The seal: read back as it was written, and accepted by sha256sum."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.store import layout, meta
from gage._internal.store.manifest import Entry, Manifest, write_manifest
from gage._internal.store.seal import parse_seal, read_seal, seal_ended, seal_staged
from gage._internal.types import Run

name_bytes = st.binary(min_size=1, max_size=12).filter(
    lambda b: b"\0" not in b and b"/" not in b and b not in (b".", b"..")
)
FILE = Entry("a.py", "f", "s", 0o444, 1, "0" * 64)


def make_run(folder: os.PathLike[str]) -> Run:
    run_id = "0b1c2d3e-0000-4000-8000-000000000001"
    run = Run(run_id, os.path.join(folder, run_id))
    meta.write_json(run, layout.CMD, ["true"])
    meta.write_json(run, layout.ENV, {})
    write_manifest(run, Manifest((FILE,)))
    return run


@given(st.lists(name_bytes, max_size=5, unique=True))
def test_is_read_back_and_accepted_by_sha256sum(tmp_path_factory, raw: list[bytes]) -> None:
    run = make_run(tmp_path_factory.mktemp("home"))
    for name in map(os.fsdecode, raw):
        meta.write_text(run, f"user/{name}", name)
    seal_staged(run, meta.prepare_time(run, layout.STAGED, 5))
    staged = read_seal(run)
    assert {f"user/{os.fsdecode(name)}" for name in raw} <= staged.staged.keys()
    assert staged.ended is None
    meta.write_time(run, layout.STAGED, 5)
    meta.write_time(run, layout.STARTED, 6)
    write_manifest(run, Manifest((FILE._replace(superseded=True),), (FILE,)))
    seal_ended(run, meta.prepare_time(run, layout.STOPPED, 7))
    meta.write_time(run, layout.STOPPED, 7)
    ended = read_seal(run)
    assert ended[:4] == staged[:4]
    assert ended.ended is not None
    assert ended.ended.keys() == {layout.MANIFEST, layout.STARTED, layout.STOPPED}
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", "seal"],
        cwd=layout.run_meta_dir(run),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_inputs_are_what_decides_and_nothing_else(tmp_path) -> None:
    def inputs(name: str, **written: object) -> str:
        run = make_run(tmp_path / name)
        for key, value in written.items():
            meta.write_json(run, getattr(layout, key), value)
        seal_staged(run, meta.prepare_time(run, layout.STAGED, 5))
        return read_seal(run).inputs

    alike = inputs("first")
    assert inputs("again", INITIALIZED=7, OPDEF={"description": "other"}) == alike
    others = {
        inputs("command", CMD=["false"]),
        inputs("environment", ENV={"A": "1"}),
        inputs("config", CONFIG={"lr": 1}),
        inputs("runtime", RUNTIME={"name": "uv"}),
    }
    assert len(others) == 4 and alike not in others


def test_an_inherited_runtime_is_an_input_as_far_as_it_is_recorded(tmp_path) -> None:
    def inputs(name: str, **written: object) -> str:
        run = make_run(tmp_path / name)
        for key, value in written.items():
            meta.write_json(run, "runtime.json" if key == "runtime" else f"sys/{key}", value)
        seal_staged(run, meta.prepare_time(run, layout.STAGED, 5))
        return read_seal(run).inputs

    old, new = {"version": "3.9.1"}, {"version": "3.11.2"}
    none = inputs("none")
    assert inputs("machine", cpu={"count": 2}, git={"commit": "0"}) == none
    others = [
        none,
        inputs("old", interpreter=old),
        inputs("new", interpreter=new),
        inputs("packages", interpreter=new, packages={"numpy": "1.0"}),
        inputs("other packages", interpreter=new, packages={"numpy": "2.0"}),
    ]
    assert len(set(others)) == len(others)
    # What is staged is its own record.
    uv = {"name": "uv"}
    assert inputs("a", runtime=uv, interpreter=old) == inputs("b", runtime=uv, interpreter=new)


@pytest.mark.parametrize(
    ("type_", "target", "is_unique"),
    [
        ("d", "/data/a.csv", True),
        ("d", "../a.csv", False),
        ("d", "../../a.csv", True),
        ("s", "/src", True),
        ("r", "/usr/bin/python3", False),
    ],
)
def test_runs_with_content_behind_a_link_are_never_the_same(
    tmp_path, type_: str, target: str, is_unique: bool
) -> None:
    seals = []
    for home in ("first", "second"):
        run = make_run(tmp_path / home)
        link = Entry("d/link", "l", type_, 0o777, len(target), target=target)
        write_manifest(run, Manifest((FILE, link)))
        meta.write_text(run, layout.ID, home)
        seal_staged(run, meta.prepare_time(run, layout.STAGED, 5))
        seals.append(read_seal(run).inputs)
    assert (seals[0] != seals[1]) == is_unique


GOOD = f"# gage seal 1\n# inputs {'0' * 64}\n# staged\n#\tmanifest\t{'1' * 64}\n{'2' * 64}  id\n"


@pytest.mark.parametrize(
    "text",
    ["", GOOD[:-1], GOOD.replace("seal 1", "seal 2"), GOOD + "more\n", GOOD.replace("  id", " id")],
)
def test_what_is_no_seal_is_told(text: str) -> None:
    assert parse_seal(GOOD).staged == {"id": "2" * 64}
    with pytest.raises(ValueError, match="cut short"):
        parse_seal(text)
