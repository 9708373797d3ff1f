"""Runs that are started on another machine: pushed, started, followed, stopped, brought home."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from real_servers import Machine
from remotes.conftest import Bench, Far, tree
from remotes.counting_proxy import CountingProxy

WORK = """
import os, socket, sys, time
print("on", socket.gethostname(), flush=True)
print("told", file=sys.stderr, flush=True)
for i in range(1000):
    if os.path.exists("/root/go"):
        break
    time.sleep(0.02)
open("made.txt", "w").write("made there")
print("done")
"""


@pytest.fixture
def there(project, machine: Machine, tmp_path: Path) -> Bench:
    go(machine)
    far = Far("ssh", f"ssh://far/~/{tmp_path.name}", machine.env, machine.root)
    return Bench(project({"work.py": WORK}), far)


def go(machine: Machine) -> None:
    (machine.root / "go").write_text("")


def wait(machine: Machine) -> None:
    (machine.root / "go").unlink(missing_ok=True)


def there_home(bench: Bench, machine: Machine) -> Path:
    return machine.root / bench.far.address.partition("/~/")[2]


def until(true) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_run_runs_there_and_its_results_come_home(there: Bench, machine: Machine) -> None:
    ran = there.gage("run", "work.py", "--on", there.far.address).succeeds()
    assert ran.out == "on far\ndone\n" and "told\n" in ran.err and "completed after" in ran.err
    run_dir = there.project.run()
    assert (run_dir / "made.txt").read_text() == "made there"
    there.gage("verify", "1").succeeds()
    (row,) = there.gage("list", "--json").json
    assert row["status"] == "completed"
    home = there_home(there, machine)
    assert tree(there.project.runs_home, run_dir.name) == tree(home, run_dir.name)
    assert there.gage("logs", "1").out == "on far\ndone\n"
    # Nothing is left of that it was elsewhere.
    assert not run_dir.with_name(run_dir.name + ".notes").exists()
    there.gage("start", "1").fails(125, "run-already-started")


def test_the_usual_place_and_a_run_by_its_address(there: Bench, machine: Machine) -> None:
    there.gage("stage", "work.py").succeeds()
    name = there.gage("list", "--json").json[0]["name"]
    started = there.gage("start", f"ssh://far/{name}").succeeds()
    assert started.out == "on far\ndone\n"
    run_id = there.project.run().name
    assert (machine.root / ".gage" / "runs" / run_id).is_dir()
    # One that is only there comes here.
    there.gage("stage", "work.py").succeeds()
    other = there.project.runs()[-1].name
    there.gage("push", other, there.far.address).succeeds()
    there.gage("delete", "-y", other).succeeds()
    there.gage("start", f"{there.far.address}/{other}").succeeds()
    assert there.gage("list", "--json").json[0]["id"] == other


def test_what_the_system_there_lacks_is_told_before_anything_runs(there: Bench) -> None:
    there.project.write("gage.toml", '[w]\nexec = "true"\nrequires = ["cmd:no-such-tool"]\n')
    refused = there.gage("run", "w", "--on", there.far.address).fails(125, "incompatible-system")
    assert "far: run" in refused.err and "no-such-tool" in refused.err
    (row,) = there.gage("list", "--json").json
    assert row["status"] == "staged"


def test_it_is_looked_at_stopped_and_brought_home(there: Bench, machine: Machine) -> None:
    wait(machine)
    process = there.begin("run", "work.py", "--on", there.far.address)
    assert process.stdout and process.stdout.readline() == b"on far\n"
    name = there.gage("list", "--json").json[0]["name"]
    assert there.gage("list", "--json").json[0]["status"] == "running"
    # Whoever follows it goes, and the run goes on.
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and f"gage stop {name}".encode() in err
    assert there.gage("logs", "1").out == "on far\n"
    shown = there.gage("show", "1").out
    assert f"where        {there.far.address} (running)" in shown
    there.gage("start", "1").fails(125, "run-already-started")
    there.gage("delete", "-y", "1").fails(1, "run-active")
    assert "is terminated" in there.gage("stop", "1").succeeds().err
    assert there.gage("list", "--json").json[0]["status"] == "terminated"
    assert there.gage("logs", "1").out == "on far\n"
    assert "where" not in there.gage("show", "1").out


def test_following_again_brings_it_home(there: Bench, machine: Machine) -> None:
    wait(machine)
    process = there.begin("run", "work.py", "--on", there.far.address)
    assert process.stdout and process.stdout.readline() == b"on far\n"
    process.kill()
    process.communicate()
    assert there.gage("list", "--json").json[0]["status"] == "running"
    go(machine)
    followed = there.gage("logs", "-f", "1").succeeds()
    assert followed.out == "on far\ndone\n"
    assert there.gage("list", "--json").json[0]["status"] == "completed"
    assert (there.project.run() / "made.txt").exists()


def test_a_lost_connection_harms_nothing(there: Bench, machine: Machine, tmp_path: Path) -> None:
    wait(machine)
    with closing(CountingProxy(machine.port)) as proxy:
        env = machine.reached_by(tmp_path, proxy.port)
        env["PATH"] = f"{env['PATH'].split(os.pathsep)[0]}:{there.project.env['PATH']}"
        process = there.begin("run", "work.py", "--on", there.far.address, env=env)
        assert process.stdout and process.stdout.readline() == b"on far\n"
        proxy.cut()
        go(machine)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"done\n"), err
    assert b"the run goes on, trying again" in err
    assert there.gage("list", "--json").json[0]["status"] == "completed"


def test_a_machine_that_cannot_be_reached_leaves_it_staged(there: Bench, tmp_path: Path) -> None:
    refused = there.gage("run", "work.py", "--on", "ssh://nowhere.invalid")
    assert refused.code == 125 and "[remote-" in refused.err
    (row,) = there.gage("list", "--json").json
    assert row["status"] == "staged"
    there.gage("start", "1", "-q").succeeds()


def test_what_may_have_been_started_is_not_started_here(
    there: Bench, machine: Machine, tmp_path: Path
) -> None:
    """The connection is lost when the run was told to start: nobody knows whether it did."""
    real = Path(machine.env["PATH"].split(os.pathsep)[0], "ssh")
    broken = tmp_path / "broken"
    broken.mkdir()
    detach = b"--detach".hex()
    for name, does in (("before", ""), ("after", f'{real} "$@"; ')):
        script = f'case "$*" in *{detach}*) {does}exit 255;; esac\nexec {real} "$@"\n'
        (broken / "ssh").write_text(f"#!/bin/sh\n{script}")
        (broken / "ssh").chmod(0o755)
        wait(machine)
        env = {"PATH": f"{broken}:{there.project.env['PATH']}"}
        lost = there.project.gage("run", "work.py", "--on", there.far.address, env=env)
        assert "[remote-unreachable]" in lost.fails(125, "remote-unreachable").err
        assert "may have been started" in lost.err
        assert there.gage("list", "--json").json[0]["status"] == "running"
        there.gage("start", "1").fails(125, "run-already-started")
        there.gage("check", "--repair")
        known = "staged" if name == "before" else "running"
        assert f"({known})" in there.gage("show", "1").out
        there.gage("stop", "1").succeeds()
        ended = "staged" if name == "before" else "terminated"
        assert there.gage("list", "--json").json[0]["status"] == ended
        go(machine)
    first = there.project.runs()[0].name
    assert there.gage("start", first).succeeds().out.endswith("done\n")
