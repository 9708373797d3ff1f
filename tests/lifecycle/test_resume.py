"""Runs that are gone on with: by one process, from any state, on any host, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gage._internal import proc
from gage._internal.errors import AlreadyStarted, RunChanged
from gage._internal.lifecycle.resume import find_gone, take_over
from gage._internal.lifecycle.start import start_run
from gage._internal.store import attempts, lock, manifest
from gage._internal.store.heartbeat import Heart
from gage._internal.store.record import read_record
from gage._internal.store.status import run_status
from gage._internal.store.verify import compare_run
from gage._internal.types import Run
from runs_on_disk import meta_file, read

PYTHON = sys.executable
START = (
    "import sys; from gage._internal.lifecycle.start import start_run;"
    "from gage._internal.types import Run;"
    "sys.exit(start_run(Run(*sys.argv[1:3])).exit_code)"
)
JOB = (
    "import sys; from gage._internal.runner.job import execute_job;"
    "from gage._internal.types import Run;"
    "sys.exit(execute_job(Run(*sys.argv[1:3]), lambda text: print(text, file=sys.stderr)))"
)
# Another host, as far as names, processes and boots tell, that has the same file system.
ELSEWHERE = ("unshare", "-u", "-p", "-f", "--kill-child", "--mount-proc")
# The clock of a file system that is a quarter of an hour late.
SKEW = """
import os, sys, time
while True:
    touched = os.stat(sys.argv[1]).st_mtime
    if touched > time.time() - 500:
        os.utime(sys.argv[1], (touched - 1000, touched - 1000))
    time.sleep(0.001)
"""
# Tells outside that it was there, and stays in its first attempt.
COUNT = 'echo "$RUN_ID $RUN_ATTEMPT" >>"$TOLD"; '
STAY = COUNT + 'test "$RUN_ATTEMPT" != 1 || { echo ready; exec sleep 100; }; '


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which runs tell that they executed."""
    path = tmp_path / "told"
    path.touch()
    monkeypatch.setenv("TOLD", str(path))
    return path


def begin(run: Run, program: str = START, *before: str, **options) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*before, PYTHON, "-c", program, run.id, run.run_dir], **options)


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)


def wait_for_output(run: Run, text: str = "ready\n") -> None:
    path = meta_file(run, "output/run")
    wait_until(lambda: path.exists() and text in path.read_text())


def resumable(*, writable: str = "state") -> dict[str, object]:
    return {"resumable": True, "writable": [writable]}


def stop(run: Run) -> None:
    """Start a run, and stop it when it has printed that it is ready."""
    starter = begin(run)
    wait_for_output(run)
    starter.terminate()
    assert starter.wait() == 128 + signal.SIGTERM


def lose(run: Run) -> None:
    """Start a run, and kill its runner and its command."""
    starter = begin(run)
    wait_for_output(run)
    starter.kill()
    starter.wait()
    kill_command(run)


def kill_command(run: Run) -> None:
    proc.send_signal(proc.run_processes(run.id), signal.SIGKILL)
    wait_until(lambda: not proc.run_processes(run.id))


class TestResumed:
    @pytest.mark.parametrize("end", [stop, lose])
    def test_in_its_directory_as_the_next_attempt(
        self, make_staged, project_dir: Path, told: Path, end: Callable[[Run], None]
    ) -> None:
        (project_dir / "state").write_text("0\n")
        code = "echo $RUN_ATTEMPT >>state; echo made >made-$RUN_ATTEMPT; " + STAY + "cat state"
        run = make_staged("sh", "-c", code, opdef=resumable())
        end(run)
        started = read(run, "started")
        assert start_run(run).exit_code == 0
        assert read(run, "output/run") == "ready\n0\n1\n2\n"
        assert told.read_text() == f"{run.id} 1\n{run.id} 2\n"
        record = read_record(run)
        assert (record.status, record.exit, record.reason) == ("completed", "0", None)
        assert read(run, "started") == started
        assert compare_run(run).faults == []
        (first,) = attempts.list_attempts(run)
        expected = ("SIGTERM", "SIGTERM") if end is stop else (None, None)
        assert (first.exit, first.signal) == expected
        assert (first.stopped is None) is (end is lose)
        assert first.process is None or first.process.pid != first.next.pid
        assert first.next.pid == os.getpid()
        assert "Starting attempt 2: sh -c" in read(run, "log/runner")
        found = manifest.read_manifest(run)
        assert {e.path for e in found.ended or ()} == {"state", "made-1", "made-2"}
        assert [e.superseded for e in found.staged] == [True]

    def test_as_often_as_it_takes(self, make_staged, told: Path) -> None:
        code = COUNT + 'test "$RUN_ATTEMPT" = 4 || { echo ready $RUN_ATTEMPT; exec sleep 100; }'
        run = make_staged("sh", "-c", code, opdef=resumable())
        for number in (1, 2, 3):
            starter = begin(run)
            wait_for_output(run, f"ready {number}\n")
            starter.terminate()
            starter.wait()
            assert run_status(run) == "terminated"
            assert compare_run(run).faults == []
        assert start_run(run).exit_code == 0
        assert len(attempts.list_attempts(run)) == 3
        with pytest.raises(AlreadyStarted, match="is completed"):
            start_run(run)

    def test_not_when_it_is_not_resumable(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY)
        stop(run)
        with pytest.raises(AlreadyStarted, match="is terminated"):
            start_run(run)
        assert told.read_text() == f"{run.id} 1\n"

    def test_not_when_it_failed_by_itself(self, make_staged) -> None:
        run = make_staged("sh", "-c", "exit 3", opdef=resumable())
        assert start_run(run).exit_code == 3
        with pytest.raises(AlreadyStarted, match="is failed"):
            start_run(run)

    def test_not_when_what_it_left_was_changed(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", "echo good >made; " + STAY, opdef=resumable())
        stop(run)
        Path(run.run_dir, "made").write_text("evil\n")
        with pytest.raises(RunChanged, match="changed: made"):
            start_run(run)
        assert run_status(run) == "terminated"
        assert list(attempts.list_attempts(run)) == []

    def test_what_it_changed_and_left_alone_then_is_in_the_record(
        self, make_staged, project_dir: Path, told: Path
    ) -> None:
        """The second attempt does not touch what the first one changed."""
        (project_dir / "state").write_text("staged\n")
        code = "test $RUN_ATTEMPT != 1 || echo new >state; " + STAY
        run = make_staged("sh", "-c", code, opdef=resumable())
        stop(run)
        start_run(run)
        assert [e.superseded for e in manifest.read_manifest(run).staged] == [True]
        assert compare_run(run).faults == []


class TestOne:
    def test_of_many_at_once_goes_on(self, make_staged, told: Path) -> None:
        for end in (stop, lose):
            run = make_staged("sh", "-c", STAY + "sleep 0.3", opdef=resumable())
            end(run)
            told.write_text("")
            starters = [begin(run, stderr=subprocess.DEVNULL) for _ in range(8)]
            codes = [starter.wait() for starter in starters]
            assert codes.count(0) == 1, codes
            assert told.read_text() == f"{run.id} 2\n"
            assert run_status(run) == "completed"

    @pytest.mark.parametrize("call", ["link", "rename", "unlink"])
    def test_killed_at_any_step_another_goes_on(self, make_staged, told: Path, call: str) -> None:
        killed, step = True, 0
        while killed:
            step += 1
            code = "echo $RUN_ATTEMPT >>state; " + STAY
            run = make_staged("sh", "-c", code, opdef=resumable())
            stop(run)
            inject = f"inject={call}:signal=KILL:when={step}"
            strace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject)
            ended = begin(run, START, *strace, stderr=subprocess.DEVNULL).wait()
            killed = ended != 0
            found = run_status(run)
            assert found in ("terminated", "lost", "completed"), (call, step)
            if found != "completed":
                assert start_run(run).exit_code == 0, (call, step)
            faults = [fault.path for fault in compare_run(run).faults]
            # The last step of all, with which the next who looks can do without.
            assert faults in ([], ["stopped"]), (call, step)
            lines = told.read_text().splitlines()
            numbers = [int(line.split()[1]) for line in lines if line.startswith(run.id)]
            assert numbers == sorted(set(numbers)), (call, step)
            assert numbers[-1] <= len(attempts.list_attempts(run)) + 1
        assert step > 1


class TestHalfDone:
    """States in which processes that were killed, or raced, have left a run."""

    def test_sealed_as_ended_and_not_called_so(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY, opdef=resumable())
        stop(run)
        meta_file(run, "stopped").unlink()
        assert run_status(run) == "lost"
        assert start_run(run).exit_code == 0
        assert compare_run(run).faults == []

    def test_without_an_index_of_what_it_printed(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY, opdef=resumable())
        lose(run)
        meta_file(run, "output/run.index").unlink()
        assert start_run(run).exit_code == 0

    def test_given_back_and_started_by_another_meanwhile(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY)
        code = START.replace("sys.exit(", "lock.acquire(Run(*sys.argv[1:3]));sys.exit(0 and ")
        begin(run, "from gage._internal.store import lock;" + code).wait()
        gone = find_gone(run)
        assert gone is not None
        assert not gone.has_begun
        lock.release(run)
        starter = begin(run)
        wait_for_output(run)
        holder = lock.find_holder(run)
        with pytest.raises(AlreadyStarted, match="meanwhile"):
            take_over(run, gone)
        assert lock.find_holder(run) == holder
        starter.terminate()
        starter.wait()
        assert told.read_text() == f"{run.id} 1\n"

    def test_ended_by_a_job_that_was_killed_before_it_said_so(
        self, make_staged, told: Path
    ) -> None:
        killed, step = True, 0
        while killed:
            step += 1
            run = make_staged("sh", "-c", STAY)
            lose(run)
            inject = f"inject=rename:signal=KILL:when={step}"
            strace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=rename", "-e", inject)
            killed = begin(run, JOB, *strace, stderr=subprocess.DEVNULL).wait() != 143
            assert begin(run, JOB, stderr=subprocess.DEVNULL).wait() == 143, step
            assert run_status(run) == "terminated", step
            assert compare_run(run).faults == [], step
            assert told.read_text().count(run.id) == 1
        assert step > 1

    def test_who_was_suspended_before_it_had_the_lock_does_not_execute(
        self, make_staged, told: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = make_staged("sh", "-c", STAY)
        lose(run)
        gone = find_gone(run)
        assert gone is not None
        monkeypatch.setattr("gage._internal.lifecycle.resume._LONGEST_TAKING", 0)
        real = attempts.claim_next

        def suspended(*args: Any) -> None:
            real(*args)
            # Meanwhile others think that it is gone, and one goes on.
            path = meta_file(run, "attempts/2.json")
            path.write_bytes(meta_file(run, "attempts/1.json").read_bytes())

        monkeypatch.setattr(attempts, "claim_next", suspended)
        with pytest.raises(AlreadyStarted, match="meanwhile"):
            take_over(run, gone)

    def test_who_has_the_right_to_go_on_takes_the_lock_back(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY)
        lose(run)
        gone = find_gone(run)
        assert gone is not None
        take_over(run, gone)
        lost: list[bool] = []
        heart = Heart(run, lambda: lost.append(True))
        assert heart.beat()
        another = proc.this_process()._replace(pid=1)
        lock.pass_on(run, another, 15)
        assert heart.beat() and lost == []
        holder = lock.find_holder(run)
        assert holder is not None and holder.process == proc.this_process()
        # That one has the right to now.
        attempts.claim_next(run, 2, another)
        record = json.loads(read(run, "attempts/2.json"))
        path = meta_file(run, "attempts/2.json")
        path.chmod(0o644)
        path.write_text(json.dumps({**record, "next": another._asdict()}))
        lock.pass_on(run, another, 15)
        assert not heart.beat() and lost == [True]


class TestOnAnotherHost:
    """Each with a beat of its own, since what is waited for here are twelve of them."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GAGE_HEARTBEAT", "0.2")

    def begin_elsewhere(self, run: Run, program: str = START) -> subprocess.Popen[bytes]:
        words = ("sh", "-c", 'hostname elsewhere; exec "$@"', "sh")
        starter = begin(run, program, *ELSEWHERE, *words)
        wait_for_output(run)
        return starter

    def test_it_runs_as_long_as_it_gives_a_sign(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY, opdef=resumable())
        starter = self.begin_elsewhere(run)
        holder = lock.find_holder(run)
        assert holder is not None
        assert (holder.process.host, holder.alive, holder.beats) == ("elsewhere", None, 0.2)
        until = time.monotonic() + 2 * holder.patience
        while time.monotonic() < until:
            assert run_status(run) == "running"
            time.sleep(0.05)
        with pytest.raises(AlreadyStarted, match=r"by process .* on elsewhere"):
            start_run(run)
        starter.kill()
        starter.wait()
        wait_until(lambda: run_status(run) == "lost")
        notices: list[str] = []
        assert start_run(run, notice=notices.append).exit_code == 0
        assert "on elsewhere: waiting" in notices[0]
        (first,) = attempts.list_attempts(run)
        assert first.process is not None
        assert first.process.host == "elsewhere"
        assert told.read_text() == f"{run.id} 1\n{run.id} 2\n"

    def test_another_machine_of_the_same_name_is_not_this_one(
        self, make_staged, told: Path
    ) -> None:
        run = make_staged("sh", "-c", STAY, opdef=resumable())
        lose(run)
        there = proc.this_process()._replace(boot_id="another")
        lock.pass_on(run, there, 0.2)
        assert run_status(run) == "running"
        with pytest.raises(AlreadyStarted):
            start_run(run)
        # Or it was this one, and has been started anew since.
        wait_until(lambda: run_status(run) == "lost")
        assert start_run(run).exit_code == 0

    def test_a_machine_that_gets_another_name_goes_on(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", "echo ready; until [ -e go ]; do sleep 0.1; done")
        script = (
            'hostname before; "$@" & until [ -e after ]; do sleep 0.1; done;'
            " hostname after; touch named; wait $!"
        )
        words = ("sh", "-c", script, "sh")
        folder = Path(run.run_dir).parent
        starter = begin(run, START, "unshare", "-u", *words, cwd=folder)
        wait_for_output(run)
        (folder / "after").touch()
        wait_until((folder / "named").exists)
        time.sleep(1)
        assert run_status(run) == "running"
        Path(run.run_dir, "go").touch()
        assert starter.wait() == 0
        assert run_status(run) == "completed"

    def test_nobody_waits_for_one_that_cannot_go_on(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY)
        starter = self.begin_elsewhere(run)
        starter.kill()
        starter.wait()
        wait_until(lambda: run_status(run) == "lost")
        notices: list[str] = []
        with pytest.raises(AlreadyStarted, match="is lost"):
            start_run(run, notice=notices.append)
        assert notices == []

    def test_one_that_only_seemed_gone_is_not_gone_on_with(self, make_staged, told: Path) -> None:
        """The clocks disagree: the lock looks old, and is touched all the same."""
        run = make_staged("sh", "-c", STAY, opdef=resumable())
        starter = self.begin_elsewhere(run)
        path = meta_file(run, "proc/lock")

        skewed = subprocess.Popen([PYTHON, "-c", SKEW, path])
        try:
            wait_until(lambda: run_status(run) == "lost")
            with pytest.raises(AlreadyStarted):
                start_run(run)
        finally:
            skewed.kill()
            skewed.wait()
        assert list(attempts.list_attempts(run)) == []
        starter.kill()
        starter.wait()

    def test_one_that_comes_back_ends_what_it_executes(self, make_staged, told: Path) -> None:
        code = COUNT + "echo ready; while [ $RUN_ATTEMPT = 1 ]; do echo >>beside; sleep 0.1; done"
        run = make_staged("sh", "-c", code, opdef=resumable())
        starter = self.begin_elsewhere(run)
        children = subprocess.run(["pgrep", "-P", str(starter.pid)], capture_output=True, text=True)
        runner = int(children.stdout)
        os.kill(runner, signal.SIGSTOP)
        wait_until(lambda: run_status(run) == "lost")
        assert start_run(run).exit_code == 0
        after = read(run, "proc/exit"), read(run, "stopped"), read(run, "manifest")
        os.kill(runner, signal.SIGCONT)
        assert starter.wait() != 0
        size = Path(run.run_dir, "beside").stat().st_size
        time.sleep(0.3)
        assert Path(run.run_dir, "beside").stat().st_size == size
        assert (read(run, "proc/exit"), read(run, "stopped"), read(run, "manifest")) == after
        assert run_status(run) == "completed"


class TestJob:
    def test_started_twice_it_executes_once_and_both_wait(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", COUNT + "sleep 1; exit 7")
        jobs = [begin(run, JOB) for _ in range(4)]
        assert [job.wait() for job in jobs] == [7] * 4
        assert told.read_text() == f"{run.id} 1\n"
        assert begin(run, JOB).wait() == 7

    def test_who_waits_passes_a_signal_on(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", STAY)
        first = begin(run, JOB)
        wait_for_output(run)
        second = begin(run, JOB, stderr=subprocess.PIPE)
        assert second.stderr is not None
        assert b"waiting for its end" in second.stderr.readline()
        second.terminate()
        assert second.wait() == 128 + signal.SIGTERM
        assert first.wait() == 128 + signal.SIGTERM
        assert run_status(run) == "terminated"
        second.stderr.close()

    def test_requeued_it_goes_on_where_that_is_allowed(self, make_staged, told: Path) -> None:
        for end in (stop, lose):
            run = make_staged("sh", "-c", STAY, opdef=resumable())
            end(run)
            assert begin(run, JOB).wait() == 0
            assert run_status(run) == "completed"
            assert told.read_text().endswith(f"{run.id} 1\n{run.id} 2\n")

    def test_requeued_it_is_terminated_where_it_is_not(self, make_staged, told: Path) -> None:
        run = make_staged("sh", "-c", "echo x >made; " + STAY)
        lose(run)
        jobs = [begin(run, JOB) for _ in range(4)]
        assert [job.wait() for job in jobs] == [128 + signal.SIGTERM] * 4
        record = read_record(run)
        assert record.status == "terminated"
        assert record.reason == "its runner was gone before it had ended"
        assert told.read_text() == f"{run.id} 1\n"
        assert compare_run(run).faults == []
        assert {e.path for e in manifest.read_manifest(run).ended or ()} == {"made"}
        assert len(attempts.list_attempts(run)) == 1

    def test_by_number_in_a_list(self, make_staged, tmp_path: Path, told: Path) -> None:
        from gage._internal.portable.carried import runner_bytes

        runs = [make_staged("sh", "-c", COUNT + f"exit {n}") for n in range(3)]
        (tmp_path / "runner.pyz").write_bytes(runner_bytes())
        (tmp_path / "runs.json").write_text(json.dumps([run.run_dir for run in runs]))
        command = [PYTHON, "-I", str(tmp_path / "runner.pyz"), "job", "--of"]
        done = subprocess.run([*command, str(tmp_path / "runs.json"), "2"], check=False)
        assert done.returncode == 2
        assert told.read_text() == f"{runs[2].id} 1\n"
        assert [run_status(run) for run in runs] == ["staged", "staged", "failed"]
