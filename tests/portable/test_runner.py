"""The runner by itself: what an ssh session or an engine calls where nothing of Gage is."""

import json
import subprocess
import time

import pytest

from gage._internal.portable.carried import runner_bytes

BARE_PYTHON = "/usr/bin/python3"
SLOW = """
import sys, time
print("ready", flush=True)
print("told", file=sys.stderr, flush=True)
time.sleep(float(open("seconds").read()))
print("done")
"""
# The Python there may be an older one than that which stages.
GAGE_FILE = '[slow]\nexec = "python3 slow.py"\nrequires = ["python>=3.9"]\n'


@pytest.fixture
def runner(tmp_path):
    path = tmp_path / "runner.pyz"
    path.write_bytes(runner_bytes())

    def call(*args, **options):
        command = [BARE_PYTHON, str(path), *map(str, args)]
        env = {"PATH": "/usr/bin:/bin"}
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=60, **options
        )

    return call


@pytest.fixture
def staged(project):
    here = project({"gage.toml": GAGE_FILE, "slow.py": SLOW, "seconds": "60"})
    here.gage("stage", "slow").succeeds()
    return here


def state(runner, run_dir):
    return json.loads(runner("state", run_dir).stdout)


def wait_for(runner, run_dir, status):
    until = time.monotonic() + 30
    while state(runner, run_dir)["status"] != status:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_detached_run_goes_on_and_is_stopped(staged, runner):
    run_dir = staged.run()
    assert state(runner, run_dir)["status"] == "staged"
    started = runner("start", "--detach", run_dir)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    running = state(runner, run_dir)
    assert running["status"] == "running" and running["process"]["pid"]
    again = runner("start", "--detach", run_dir)
    assert again.returncode == 125 and "[run-already-started]" in again.stderr
    stopped = runner("stop", run_dir)
    assert stopped.returncode == 0 and "is terminated" in stopped.stderr
    assert state(runner, run_dir)["exit"] == "SIGTERM"
    logs = runner("logs", run_dir)
    assert (logs.stdout, logs.stderr) == ("ready\n", "told\n")
    assert runner("stop", run_dir).returncode == 1


def test_its_output_is_followed_from_any_byte(staged, runner):
    run_dir = staged.run()
    (run_dir / "seconds").chmod(0o644)
    (run_dir / "seconds").write_text("0.")
    (run_dir / "seconds").chmod(0o444)
    refused = runner("start", "--detach", run_dir)
    assert refused.returncode == 125 and "changed: seconds" in refused.stderr
    staged.write("seconds", "0.5")
    staged.gage("stage", "slow").succeeds()
    run_dir = staged.runs()[-1]
    assert runner("start", "--detach", run_dir).returncode == 0
    followed = runner("logs", "-f", run_dir)
    assert (followed.stdout, followed.stderr) == ("ready\ndone\n", "told\n")
    assert state(runner, run_dir)["status"] == "completed"
    rest = runner("logs", "-f", "--from", "6", run_dir)
    assert (rest.stdout, rest.stderr) == ("done\n", "told\n")
    staged.gage("verify", run_dir.name).succeeds()


def test_what_stops_a_start_is_told_before_it_is_left(staged, runner):
    staged.write("gage.toml", '[w]\nexec = "no-such-program"\n')
    staged.gage("stage", "w").succeeds()
    refused = runner("start", "--detach", staged.runs()[-1])
    assert refused.returncode == 125
    assert "[incompatible-system]" in refused.stderr and "no-such-program" in refused.stderr


def test_without_runs_it_tells_what_it_can_do(runner):
    told = runner()
    assert told.returncode == 0 and "start" in told.stdout
    refused = runner("stop", "/nowhere")
    assert refused.returncode == 1 and "[run-not-found]" in refused.stderr
