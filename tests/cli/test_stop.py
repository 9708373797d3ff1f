import os

import pytest

WAIT = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT
PARENT = "import subprocess, sys\nsubprocess.run([sys.executable, 'wait.py'])\n"


@pytest.mark.parametrize("script", ["wait.py", "parent.py"])
def test_ends_a_running_run_with_its_processes(project, script):
    here = project({"wait.py": WAIT, "parent.py": PARENT})
    process = here.begin("run", script)
    assert process.stdout.readline() == b"ready\n"
    assert here.gage("list", "--json").json[0]["status"] == "running"
    here.gage("delete", "-y", "1").fails(1, "run-active")
    stopped = here.gage("stop", "1").succeeds()
    assert stopped.out == "" and "is terminated" in stopped.err
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, b"")
    assert here.gage("show", "--json").json["reason"] == "stopped by SIGTERM"


def test_kills_what_does_not_end_after_the_grace_period(project):
    here = project({"stubborn.py": STUBBORN})
    process = here.begin("run", "stubborn.py", env={**here.env, "GAGE_GRACE": "0.2"})
    assert process.stdout.readline() == b"ready\n"
    here.gage("stop", "1").succeeds()
    process.communicate(timeout=60)
    assert process.returncode == 137


def test_ends_what_a_killed_runner_left(project):
    here = project({"wait.py": WAIT})
    process = here.begin("run", "wait.py")
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait(timeout=60)
    assert here.gage("list", "--json").json[0]["status"] == "lost"
    here.gage("stop", "1").succeeds()
    # The run's copy of the pipe is closed: nothing of it is left.
    assert process.stdout.read() == b""
    process.communicate(timeout=60)
    here.gage("stop", "1").fails(1, "run-not-running")


def test_a_run_that_does_not_run_cannot_be_stopped(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    assert "it is staged" in here.gage("stop", "1").fails(1, "run-not-running").err
    here.gage("stop").fails(2, "usage")
    here.gage("stop", "zzzz").fails(1, "run-not-found")
    assert os.listdir(here.run()) == ["a.py"]
