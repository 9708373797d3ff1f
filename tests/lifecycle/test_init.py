"""What is known of a run from the first moment."""

import json
import stat
from pathlib import Path

import pytest

from gage._internal.lifecycle.init import init_run_meta
from gage._internal.lifecycle.make import make_run
from gage._internal.store import meta
from gage._internal.store.attributes import find_label, read_attributes
from gage._internal.store.status import run_status
from gage._internal.types import OpCmd, OpDef, OpRef, Run
from runs_on_disk import files_below

MINIMAL = {
    "__schema__",
    "id",
    "initialized",
    "log/runner",
    "name",
    "opdef.json",
    "opref",
    "proc/cmd",
    "proc/env",
}


def test_a_run_without_attributes_has_exactly_these_files(make_initialized) -> None:
    run = make_initialized("true")
    assert files_below(run.run_dir + ".meta") == MINIMAL
    assert files_below(run.run_dir) == set()
    assert run_status(run) == "initialized"


def test_meta_files_are_read_only_whatever_the_umask(make_initialized) -> None:
    run = make_initialized("true")
    for name in MINIMAL - {"log/runner"}:
        mode = Path(run.run_dir + ".meta", name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o444, name


def test_config_and_attributes_are_written_one_a_file(tmp_path: Path) -> None:
    run = make_run(str(tmp_path))
    command = OpCmd(["true"], {"B": "2", "A": "1"})
    user = {"label": "first try", "odd/../name": [1, None]}
    init_run_meta(run, OpRef("", "x"), OpDef("x", {}), command, user, {"cpu": 2}, {"lr": 0.1})
    assert files_below(run.run_dir + ".meta") - MINIMAL == {
        "config.json",
        "user/label",
        "user/odd%2F..%2Fname",
        "sys/cpu",
    }
    assert read_attributes(run, "user") == user
    assert find_label(run) == "first try"
    assert meta.read_config(run) == {"lr": 0.1}
    assert list(meta.read_cmd(run).env) == ["A", "B"]


def test_arguments_stand_one_a_line(make_initialized) -> None:
    run = make_initialized("python", "-c", "print('a b')\nprint(2)", "caf\u00e9 \U0001f600")
    lines = Path(run.run_dir + ".meta/proc/cmd").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "[",
        '  "python",',
        '  "-c",',
        "  \"print('a b')\\nprint(2)\",",
        '  "caf\u00e9 \U0001f600"',
        "]",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "a:b%c",
        "new\nline\ttab",
        "[red]x[/]",
        "\udcff\udc80",
        "\U0001f600 \u5b57",
        "'\"\\",
    ],
)
def test_any_text_survives(tmp_path: Path, text: str) -> None:
    run = make_run(str(tmp_path))
    opref = OpRef(text, text)
    command = OpCmd(["echo", text], {"NAME": text})
    init_run_meta(run, opref, OpDef(text, {"exec": text}), command, {text: text}, {}, {text: text})
    assert meta.read_opref(run) == opref
    assert meta.read_opdef(run).data == {"exec": text}
    assert meta.read_cmd(run) == command
    assert meta.read_config(run) == {text: text}
    assert read_attributes(run, "user") == {text: text}
    assert meta.read_meta(run, "opref").count(b"\n") == 1
    for name in ("opdef.json", "config.json", "proc/cmd", "proc/env"):
        json.loads(meta.read_meta(run, name).decode("utf-8"))


def test_a_missing_run_dir_is_a_plain_error(tmp_path: Path) -> None:
    run = Run("x", str(tmp_path / "x"))
    with pytest.raises(FileNotFoundError, match=f"Run dir does not exist: {tmp_path}/x"):
        init_run_meta(run, OpRef("", "x"), OpDef("x", {}), OpCmd([], {}), {}, {})


def test_a_run_is_initialized_once(make_initialized) -> None:
    run = make_initialized("true")
    with pytest.raises(FileExistsError):
        init_run_meta(run, OpRef("", "x"), OpDef("x", {}), OpCmd([], {}), {}, {})


def test_runs_have_ids_and_names_of_their_own(tmp_path: Path) -> None:
    runs = [make_run(str(tmp_path)) for _ in range(50)]
    assert len({run.id for run in runs}) == 50
    assert all(run.id[14] == "4" for run in runs)
