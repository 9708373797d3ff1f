"""What can go wrong with another machine, and how it is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Project
from gage._internal.errors import RemoteFailed
from gage._internal.portable import far_end
from gage._internal.remotes.ssh import Login, parse_address
from real_servers import Machine, serving_machine

from .conftest import TRAIN, Bench, Far, tree


@pytest.fixture
def bench(project: Callable[..., Project], machine: Machine, tmp_path: Path) -> Bench:
    far = Far("ssh", f"ssh://far/root/{tmp_path.name}", machine.env)
    return Bench(project({"train.py": TRAIN}), far)


def test_addresses() -> None:
    assert parse_address("ssh://me@host:22/a%20b") == Login("host", "me", "22", "/a b")
    assert parse_address("ssh://[::1]/~/runs") == Login("::1", None, None, "~/runs")
    assert parse_address("me@host:runs/x") == Login("host", "me", None, "runs/x")
    assert parse_address("host:/runs") == Login("host", None, None, "/runs")
    for wrong in (
        *("ssh://host", "ssh://host/", "host:", "ssh:///x", "ssh://-oProxyCommand=x/y"),
        *("-oX:y", "ssh://h:99999999/x", "http://h/x", "ssh://-l@h/x"),
    ):
        with pytest.raises(RemoteFailed):
            parse_address(wrong)


def test_paths_of_any_kind_do_not_meet_a_shell(bench: Bench, machine: Machine) -> None:
    run_id = bench.run()
    for name in ('it\'s $HOME; `x` "y" \\', "-rf", "%41"):
        address = f"far:/root/{name}"
        bench.gage("push", run_id, address).succeeds()
        assert run_id in os.listdir(machine.root / name)
        shutil.rmtree(machine.root / name)


def test_a_host_whose_key_is_not_known_or_another_one(
    bench: Bench, machine: Machine, tmp_path: Path
) -> None:
    run_id = bench.run()
    env = machine.reached_by(tmp_path, machine.port, UserKnownHostsFile=os.devnull)
    path = f"{env['PATH'].split(os.pathsep)[0]}:{bench.project.env['PATH']}"
    refused = bench.project.gage("push", run_id, bench.far.address, env={"PATH": path})
    refused.fails(1, "remote-denied")
    assert "the key of far is not known" in refused.err
    other = tmp_path / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    (tmp_path / "known").write_text("far " + (tmp_path / "other_key.pub").read_text())
    machine.reached_by(tmp_path, machine.port, UserKnownHostsFile=str(tmp_path / "known"))
    refused = bench.project.gage("push", run_id, bench.far.address, env={"PATH": path})
    refused.fails(1, "remote-denied")
    assert "is not the one that is known" in refused.err
    machine.reached_by(tmp_path, machine.port, IdentityFile=str(other))
    refused = bench.project.gage("push", run_id, bench.far.address, env={"PATH": path})
    refused.fails(1, "remote-denied")
    assert "does not let anybody in" in refused.err
    machine.reached_by(tmp_path, 1)
    refused = bench.project.gage("push", run_id, bench.far.address, env={"PATH": path})
    refused.fails(1, "remote-unreachable")
    assert "Connection refused" in refused.err


def test_what_is_missing_there(bench: Bench, machine: Machine, tmp_path: Path) -> None:
    run_id = bench.run("size=2000")
    bench.gage("push", run_id, "far:/nowhere/runs").fails(1, "remote-unreachable")
    bench.gage("list", "--remote", "far:/root/nothing").fails(1, "remote-unreachable")
    bench.gage("push", run_id, "far:small/runs").fails(1, "no-room")
    assert not [name for name in os.listdir(machine.root) if name.endswith(".meta")]
    bench.gage("push", run_id, "far:/proc/version").fails(1, "remote-unreachable")
    with_file = bench.gage("push", run_id, "far:/proc/self")
    with_file.fails(1, "remote-failed")
    assert "Traceback" not in with_file.err


def test_a_machine_without_python_or_with_an_old_one(
    project: Callable[..., Project], tmp_path: Path
) -> None:
    here = project({"train.py": ""})
    here.gage("run", "train.py").succeeds()
    folder = tmp_path / "machine"
    folder.mkdir()
    with serving_machine(folder, "SetEnv=PATH=/root/bin") as machine:
        path = f"{machine.bin}:{here.env['PATH']}"
        refused = here.gage("push", "1", "far:runs", env={"PATH": path})
        refused.fails(1, "remote-unfit")
        assert "far has no python3" in refused.err
        (machine.root / "bin").mkdir()
        python = machine.root / "bin" / "python3"
        python.write_text("#!/bin/sh\necho 'gage: python3 is 3.8.1' >&2\nexit 1\n")
        python.chmod(0o755)
        refused = here.gage("push", "1", "far:runs", env={"PATH": path})
        refused.fails(1, "remote-unfit")
        assert "far has Python 3.8.1, and 3.9 or newer is needed" in refused.err
        # What a login prints before anything else is no matter.
        python.write_text('#!/bin/sh\necho "Welcome!"\nexec /usr/bin/python3 "$@"\n')
        here.gage("push", "1", "far:runs", env={"PATH": path}).succeeds()
        assert here.run().name in os.listdir(machine.root / "runs")


def test_a_part_that_is_damaged_is_sent_anew(bench: Bench, machine: Machine) -> None:
    run_id = bench.run("size=3000")
    home = machine.root / bench.far.address.rpartition("/")[2]
    part = home / ".incoming" / run_id / "run" / "out" / "model.bin"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1_000_000)
    (moved,) = bench.push(run_id)
    # Two of three million bytes, then all three.
    assert 5_000_000 < moved["sent"] < 5_100_000
    assert tree(home, run_id) == tree(bench.project.runs_home, run_id)


def test_a_run_that_runs_there_is_seen_to(bench: Bench, machine: Machine, tmp_path: Path) -> None:
    """Whether its process lives, only that machine can tell."""
    run_id = bench.stage()
    bench.push(run_id)
    home = machine.root / bench.far.address.rpartition("/")[2]
    lock = home / f"{run_id}.meta" / "proc" / "lock"
    code = (
        "import json, os; stat = open('/proc/self/stat').read().rpartition(')')[2].split();"
        "boot = open('/proc/sys/kernel/random/boot_id').read().strip();"
        "print(json.dumps({'host': os.uname().nodename, 'boot_id': boot, 'pid_namespace':"
        " os.readlink('/proc/self/ns/pid'), 'pid': os.getpid(), 'start_time': stat[19]}));"
        "import sys; sys.stdout.flush(); input()"
    )
    ssh = subprocess.Popen(
        [machine.bin / "ssh", "far", f'python3 -c "{code}"'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert ssh.stdin and ssh.stdout
    lock.write_bytes(ssh.stdout.readline())
    assert json.loads(lock.read_bytes())["host"] == "far"
    assert bench.far_status(run_id) == "running"
    bench.gage("push", run_id, bench.far.address).fails(1, "run-active")
    bench.gage("--runs", str(tmp_path / "x"), "pull", run_id, bench.far.address).fails(
        1, "run-active"
    )
    ssh.communicate(b"\n")
    assert bench.far_status(run_id) == "lost"


def test_the_program_needs_nothing_but_the_standard_library_of_python_3_9() -> None:
    import ast
    import sys

    root = Path(far_end.__file__).parents[1]
    seen = {"gage", "gage._internal"}
    for name in far_end.MODULES:
        text = (root / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
        seen.add(f"gage._internal.{name}")
        for node in ast.walk(ast.parse(text, feature_version=(3, 9))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [node.module or ""]
                if node.module in ("gage._internal", "gage._internal.store"):
                    found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for module in found:
                if module.startswith("gage"):
                    assert module in seen or name == "cores", f"{name} imports {module}"
                else:
                    assert module.split(".")[0] in sys.stdlib_module_names, module
