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


GOOD = f"# gage seal 1\n# inputs {'0' * 64}\n# staged\n#\tmanifest\t{'1' * 64}\n{'2' * 64}  id\n"


@pytest.mark.parametrize(
    "text",
    ["", GOOD[:-1], GOOD.replace("seal 1", "seal 2"), GOOD + "more\n", GOOD.replace("  id", " id")],
)
def test_what_is_no_seal_is_told(text: str) -> None:
    assert parse_seal(GOOD).staged == {"id": "2" * 64}
    with pytest.raises(ValueError, match="cut short"):
        parse_seal(text)
