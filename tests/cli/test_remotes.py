"""How remotes are named, and what `push`, `pull` and `list --remote` say."""

import os
import pty
import re
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def here(project):
    here = project({"train.py": "lr = 0.1\n"})
    here.gage("run", "train.py").succeeds()
    return here


def test_names_of_the_project_and_of_the_user(here, tmp_path):
    run_id = here.run().name
    here.write("gage.toml", '[remotes]\nbox = "../box"\n[train]\nexec = "true"\n')
    config = tmp_path / "home" / ".config" / "gage" / "settings.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[remotes]\nbox = "not-this-one"\nmine.address = "mine"\n')
    (here.dir / "sub").mkdir()
    assert "pushed to box: " in here.gage("-C", "sub", "push", "1", "box").succeeds().err
    here.gage("push", "1", "mine").succeeds()
    for folder in (tmp_path / "box", tmp_path / "home" / "mine"):
        assert run_id in os.listdir(folder)
    assert here.gage("list", "--remote", "mine", "--json").json[0]["id"] == run_id
    other = tmp_path / "elsewhere"
    config.write_text(f'remotes.mine = "{other}"\n')
    here.gage("push", "1", "mine", env={"XDG_CONFIG_HOME": str(config.parent.parent)}).succeeds()
    assert run_id in os.listdir(other)
    unknown = here.gage("push", "1", "min").fails(1, "unknown-remote")
    assert "there are box, mine" in unknown.err
    for wrong in ("remotes = 1", "remotes.x = 1", "remotes.x.options = {}", "["):
        config.write_text(wrong)
        faulty = here.gage("push", "1", "mine").fails(1, "gage-file-invalid")
        assert str(config) in faulty.err


def test_addresses(here, tmp_path):
    run_id = here.run().name
    here.gage("push", "1", "./a").succeeds()
    here.gage("push", str(here.run()), f"file://{tmp_path}/b").succeeds()
    here.gage("push", "1", "~/c").succeeds()
    for folder in (here.dir / "a", tmp_path / "b", tmp_path / "home" / "c"):
        assert run_id in os.listdir(folder)
    assert "./a" in here.gage("push", "1", "a").fails(1, "unknown-remote").err
    nowhere = here.gage("push", "1", "./no/where").fails(1, "remote-unreachable")
    assert "no/where" in nowhere.err and not (here.dir / "no").exists()
    here.gage("list", "--remote", "./no").fails(1, "remote-unreachable")
    here.gage("pull", "1", "./no").fails(1, "remote-unreachable")


def test_what_anybody_copied_is_listed_and_pulled(here, tmp_path):
    run_id = here.run().name
    shutil.copytree(here.runs_home, tmp_path / "copied", symlinks=True)
    listed = here.gage("list", "--remote", str(tmp_path / "copied")).succeeds()
    assert run_id[:8] in listed.out
    shutil.rmtree(here.runs_home)
    pulled = here.gage("pull", "1", str(tmp_path / "copied")).succeeds()
    assert re.search(r"1 run pulled from .*/copied: \d+ files, [\d.]+ kB sent", pulled.err)
    here.gage("check", run_id).succeeds()


def test_what_is_said(here, tmp_path):
    here.gage("stage", "train.py").succeeds()
    far = str(tmp_path / "far")
    said = here.gage("push", "1", "2", far).succeeds()
    assert said.out == ""
    assert re.fullmatch(
        rf"gage: 2 runs pushed to {far}: \d+ files, [\d.]+ kB sent(, \d+ k?B were there)?\n",
        said.err,
    )
    again = here.gage("push", "1", "2", far).succeeds()
    assert again.err.count(f"is at {far} already\n") == 2 and "sent" not in again.err
    rows = here.gage("push", "1", far, "--json").succeeds().json
    assert list(rows[0]) == ["id", "name", "outcome", "files", "bytes", "sent"]
    here.gage("start", "1").succeeds()
    assert "has been brought up to date" in here.gage("push", "1", far).succeeds().err
    assert "no runs at " in here.gage("pull", "-a", str(here.runs_home.parent)).succeeds().err


def test_wrong_usage(here, tmp_path):
    here.gage("push", "1").fails(2, "usage")
    here.gage("pull", str(tmp_path)).fails(2, "usage")
    here.gage("pull", "--all", "1", str(tmp_path)).fails(2, "usage")
    here.gage("pull", "a/b", str(tmp_path)).fails(2, "usage")
    here.gage("list", "--deleted", "--remote", str(tmp_path)).fails(2, "usage")


def test_all_is_looked_at_before_anything_is_sent(here, tmp_path):
    here.gage("stage", "train.py").succeeds()
    path = here.runs()[0] / "train.py"
    path.chmod(0o644)
    path.write_text("")
    far = tmp_path / "far"
    here.gage("push", "1", "2", str(far)).fails(1, "run-changed")
    assert not far.exists()


def test_progress_on_a_terminal(project, tmp_path):
    here = project({"big.py": "open('big', 'wb').truncate(90_000_000)\n"})
    here.gage("run", "big.py").succeeds()
    terminal, end = pty.openpty()
    # At once: no test is to take longer only so that something can be seen.
    code = (
        "import sys; from gage._internal.cli import main, printer;"
        "printer.ProgressLine._AFTER = 0.01;"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "push", "1", str(tmp_path / "far")]
    process = subprocess.Popen(
        command, stdout=end, stderr=end, stdin=end, cwd=here.dir, env={**here.env, "COLUMNS": "80"}
    )
    os.close(end)
    printed = b""
    try:
        while data := os.read(terminal, 4096):
            printed += data
    except OSError:
        # How a terminal ends whose other end is closed.
        pass
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    assert re.search(
        rb"[a-z]{5}-[a-z]{5}  [\d.]+ MB of 90.0 MB  [\d.]+ [kMG]B/s  .*s left", printed
    ), printed
