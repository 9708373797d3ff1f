"""Config applied to staged files, and the diff that takes it back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gage._internal.catalog.patches import unified_diff
from runs_on_disk import meta_file

ODD_NAMES = [
    "a b.py",
    " lead.py",
    "tab\there.py",
    "new\nline.py",
    "return\r.py",
    'quo"te.py',
    "back\\slash.py",
    "it's.py",
    "caf\u00e9.py",
    "b\udcffyte.py",
    "sub dir/\u65e5\u672c.py",
]


def take_back(folder: Path, patch: bytes) -> None:
    """Undo a diff with the patch program, as a user of it types it."""
    done = subprocess.run(
        ["patch", "-R", "-p1", "-f"], cwd=folder, input=patch, capture_output=True, check=False
    )
    assert done.returncode == 0, done
    assert b"fuzz" not in done.stdout and b"offset" not in done.stdout, done.stdout
    left = [name for _, _, names in os.walk(folder) for name in names if ".orig" in name]
    assert not left


def staged_and_taken_back(
    make_staged: Any, project_dir: Path, files: dict[str, bytes], **options: Any
) -> dict[str, bytes]:
    """Stage files with config, and return what is in the run; its patch gives the files back."""
    for name, content in files.items():
        path = project_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    run = make_staged("true", **options)
    staged = {name: Path(run.run_dir, name).read_bytes() for name in files}
    copy = project_dir.parent / "copy"
    shutil.copytree(run.run_dir, copy)
    take_back(copy, meta_file(run, "log/patched").read_bytes())
    assert {name: (copy / name).read_bytes() for name in files} == files
    return staged


def test_files_of_any_ending_are_taken_back(make_staged, project_dir: Path) -> None:
    files = {
        "crlf.py": b"a = 1\r\n# x\r\nb = 2",
        "cr.py": b"c = 1\r# x\rd = 2\r",
        "mixed.json": b'{"e": 1,\r\n"f": 2,\n\r"g": 3}\r\n',
        "bare.toml": b"h = 1",
        "wide.yaml": "\ufeffi: 1\n# é\nj: 2\n".encode("utf-16-le"),
        "cookie.py": b"# coding: latin-1\nk = '\xe9'\n",
        "s.ini": b"[s]\nl = 1\n",
    }
    config = dict.fromkeys("abcdefghij", 7) | {"k": "x", "s.l": "7"}
    opdef = {"config": list(files), "sourcecode": "*"}
    staged = staged_and_taken_back(make_staged, project_dir, files, opdef=opdef, config=config)
    assert staged["crlf.py"] == b"a = 7\r\n# x\r\nb = 7"
    assert staged["cr.py"] == b"c = 7\r# x\rd = 7\r"
    assert staged["mixed.json"] == b'{"e": 7,\r\n"f": 7,\n\r"g": 7}\r\n'
    assert staged["bare.toml"] == b"h = 7"
    assert staged["wide.yaml"] == "\ufeffi: 7\n# é\nj: 7\n".encode("utf-16-le")
    assert staged["cookie.py"] == b"# coding: latin-1\nk = 'x'\n"
    assert staged["s.ini"] == b"[s]\nl = 7\n"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_is_taken_back(make_staged, project_dir: Path, name: str) -> None:
    staged_and_taken_back(
        make_staged, project_dir, {name: b"a = 1\n"}, opdef={"config": name}, config={"a": 2}
    )


def test_a_file_that_is_two_sources_is_patched_once(make_staged, project_dir: Path) -> None:
    files = {"a.py": b"x = 1\ny = 2\n"}
    sources = [{"file": "a.py", "keys": "x"}, {"file": "./a.py", "keys": "y"}]
    staged = staged_and_taken_back(
        make_staged, project_dir, files, opdef={"config": sources}, config={"x": 3, "y": 4}
    )
    assert staged == {"a.py": b"x = 3\ny = 4\n"}


def test_a_link_stays_a_link_to_the_file_that_is_patched(make_staged, project_dir: Path) -> None:
    files = {"conf/a.py": b"x = 1\ny = 2\n"}
    (project_dir / "link.py").symlink_to("conf/a.py")
    sources = [{"file": "link.py", "keys": "x"}, {"file": "conf/a.py", "keys": "y"}]
    staged = staged_and_taken_back(
        make_staged, project_dir, files, opdef={"config": sources}, config={"x": 3, "y": 4}
    )
    assert staged == {"conf/a.py": b"x = 3\ny = 4\n"}
    (run_dir,) = (path for path in (project_dir.parent / "runs").iterdir() if path.suffix == "")
    assert (run_dir / "link.py").is_symlink()
    assert (run_dir / "conf/a.py").stat().st_mode & 0o777 == 0o444


LINES = st.lists(
    st.sampled_from([b"a", b"b", b"", b"-- x", b"+", b"\\", b"@@ -1 +1 @@", b"\xff\0"])
    | st.binary(max_size=3),
    max_size=8,
)
ENDINGS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(LINES, LINES, ENDINGS, st.booleans(), st.booleans())
@example([b"a"], [b"b"], b"\n", False, True)
def test_patch_takes_any_difference_back(
    tmp_path: Path, old: list[bytes], new: list[bytes], ending: bytes, one: bool, other: bool
) -> None:
    before = b"x" + ending.join(old) + ending * one
    after = b"x" + ending.join(new) + ending * other
    if before == after:
        return
    (tmp_path / "a.py").write_bytes(after)
    take_back(tmp_path, unified_diff("a.py", before, after))
    assert (tmp_path / "a.py").read_bytes() == before
