"""Starting: verified, once, captured, and whole whatever happens to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gage._internal import proc
from gage._internal.errors import AlreadyStarted, IncompatibleSystem, NotStaged, RunChanged
from gage._internal.lifecycle.conclude import conclude_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store import layout, lock, manifest
from gage._internal.store.logs import parse_file_event
from gage._internal.store.output import iter_pieces
from gage._internal.store.record import read_record
from gage._internal.store.status import run_status
from gage._internal.store.verify import compare_run, verify
from gage._internal.types import Run
from runs_on_disk import files_below, meta_file, read

PYTHON = sys.executable
START = (
    "import sys, os; from gage._internal.lifecycle.start import start_run;"
    "from gage._internal.types import Run;"
    "sys.exit(start_run(Run(*sys.argv[1:3])).exit_code)"
)


def begin(run: Run, **options) -> "subprocess.Popen[bytes]":
    """Start a run in a process of its own."""
    return subprocess.Popen([PYTHON, "-c", START, run.id, run.run_dir], **options)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)


def wait_for_output(run: Run, text: str) -> None:
    path = meta_file(run, "output/run")
    wait_until(lambda: path.exists() and text in path.read_text())


def is_gone(pid: int) -> bool:
    return not proc.run_processes("", pid)


class TestVerified:
    def change_content(self, run: Run) -> None:
        path = Path(run.run_dir, "a.txt")
        path.chmod(0o644)
        path.write_text("y")
        path.chmod(0o444)

    def change_mode(self, run: Run) -> None:
        Path(run.run_dir, "a.txt").chmod(0o555)

    def remove(self, run: Run) -> None:
        Path(run.run_dir, "a.txt").unlink()

    def add(self, run: Run) -> None:
        Path(run.run_dir, "extra.txt").write_text("")

    def replace_by_link(self, run: Run) -> None:
        Path(run.run_dir, "a.txt").rename(Path(run.run_dir).parent / "a.txt")
        Path(run.run_dir, "a.txt").symlink_to("../a.txt")

    def relink(self, run: Run) -> None:
        Path(run.run_dir, "link").unlink()
        Path(run.run_dir, "link").symlink_to("b.txt")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (change_content, "changed: a.txt (expected sha256"),
            (change_mode, "changed: a.txt (expected mode 0444, found 0555)"),
            (remove, "missing: a.txt"),
            (add, "added: extra.txt"),
            (replace_by_link, "changed: a.txt (expected a file, found another kind of file)"),
            (relink, "changed: link (expected a link to a.txt, found one to b.txt)"),
        ],
    )
    def test_a_change_stops_the_start(
        self, make_staged, project_dir: Path, change: Callable, said: str
    ) -> None:
        (project_dir / "a.txt").write_text("x")
        (project_dir / "link").symlink_to("a.txt")
        run = make_staged("touch", "started.txt")
        change(self, run)
        with pytest.raises(RunChanged) as caught:
            start_run(run)
        assert said in str(caught.value)
        assert run_status(run) == "staged"
        assert "started.txt" not in files_below(run.run_dir)

    def test_a_run_that_is_moved_starts(self, make_staged, project_dir: Path) -> None:
        (project_dir / "a.txt").write_text("x")
        run = make_staged("cat", "a.txt")
        there = project_dir.parent / "elsewhere"
        there.mkdir()
        for suffix in ("", ".meta"):
            os.rename(run.run_dir + suffix, there / (run.id + suffix))
        moved = Run(run.id, str(there / run.id))
        assert start_run(moved).exit_code == 0
        assert read(moved, "output/run") == "x"


class TestOnce:
    def test_of_many_starters_one_wins(self, make_staged) -> None:
        run = make_staged("sh", "-c", "echo started >> log; sleep 0.3")
        starters = [begin(run, stderr=subprocess.PIPE) for _ in range(8)]
        errors = [starter.communicate()[1] for starter in starters]
        assert sorted(starter.returncode for starter in starters) == [0, *[1] * 7]
        assert Path(run.run_dir, "log").read_text() == "started\n"
        assert run_status(run) == "completed"
        assert all(b"AlreadyStarted" in e for e in errors if e)

    def test_the_loser_says_who_has_it(self, make_staged) -> None:
        run = make_staged("sleep", "30")
        starter = begin(run)
        wait_until(lambda: run_status(run) == "running" and meta_file(run, "started").exists())
        with pytest.raises(AlreadyStarted) as caught:
            start_run(run)
        assert f"by process {starter.pid} on {os.uname().nodename}" in str(caught.value)
        starter.terminate()
        assert starter.wait() == 128 + signal.SIGTERM

    def test_a_run_that_has_ended_is_not_started_again(self, make_staged) -> None:
        run = make_staged("true")
        start_run(run)
        with pytest.raises(AlreadyStarted, match="is completed"):
            start_run(run)

    def test_a_run_that_is_not_staged_is_not_started(self, make_initialized) -> None:
        with pytest.raises(NotStaged, match="is not staged: it is initialized"):
            start_run(make_initialized("true"))


class TestEnvironment:
    def test_the_order_is_inherited_then_operation_then_run(self, make_staged, monkeypatch) -> None:
        monkeypatch.setenv("INHERITED", "parent")
        monkeypatch.setenv("OVER", "parent")
        monkeypatch.setenv("RUN_ID", "outer")
        code = "import os; print(*(os.environ[n] for n in 'INHERITED OVER RUN_ID RUN_DIR'.split()))"
        run = make_staged(PYTHON, "-c", code, env={"OVER": "operation", "RUN_DIR": "operation"})
        start_run(run)
        assert read(run, "output/run") == f"parent operation {run.id} {run.run_dir}\n"

    def test_the_working_directory_is_the_run_dir(self, make_staged) -> None:
        run = make_staged("pwd")
        start_run(run)
        assert read(run, "output/run") == f"{run.run_dir}\n"

    def test_a_nested_run_sees_its_own(self, make_staged) -> None:
        inner = make_staged("sh", "-c", "echo inner $RUN_ID")
        outer = make_staged(PYTHON, "-c", START, inner.id, inner.run_dir)
        assert start_run(outer).exit_code == 0
        assert read(inner, "output/run") == f"inner {inner.id}\n"
        assert outer.id != inner.id


class TestOutput:
    def test_bytes_are_kept_and_streams_told_apart(self, make_staged) -> None:
        code = "printf 'out\\377\\000'; sleep 0.1; printf 'err' >&2; sleep 0.1; printf 'more'"
        run = make_staged("sh", "-c", code)
        shown: list[tuple[str, bytes]] = []
        start_run(run, lambda stream, data: shown.append((stream, data)))
        expected = [("o", b"out\xff\0"), ("e", b"err"), ("o", b"more")]
        assert shown == expected
        pieces = list(iter_pieces(run, "run"))
        assert [(piece.stream, piece.data) for piece in pieces] == expected
        assert [p.time for p in pieces] == sorted(p.time for p in pieces)
        assert meta_file(run, "output/run").read_bytes() == b"out\xff\0errmore"

    def test_it_is_on_disk_while_the_run_goes_on(self, make_staged) -> None:
        run = make_staged(PYTHON, "-c", "print('first'); import time; time.sleep(60)")
        starter = begin(run)
        wait_for_output(run, "first\n")
        starter.terminate()
        starter.wait()

    def test_a_line_of_100_megabytes(self, make_staged) -> None:
        run = make_staged(PYTHON, "-c", "import sys; sys.stdout.write('x' * (100 << 20))")
        start_run(run)
        assert meta_file(run, "output/run").stat().st_size == 100 << 20
        assert sum(len(piece.data) for piece in iter_pieces(run, "run")) == 100 << 20

    def test_a_command_that_closes_its_stdout(self, make_staged) -> None:
        run = make_staged("sh", "-c", "echo a; exec >&-; sleep 0.2; echo b >&2; exit 4")
        assert start_run(run).exit_code == 4
        assert read(run, "output/run") == "a\nb\n"

    def test_a_grandchild_that_keeps_stdout_does_not_keep_the_run(self, make_staged) -> None:
        run = make_staged("sh", "-c", "sleep 60 & echo $! > pid; echo done")
        began = time.monotonic()
        start_run(run)
        left = int(Path(run.run_dir, "pid").read_text())
        assert not is_gone(left)
        os.kill(left, signal.SIGKILL)
        assert time.monotonic() - began < 50
        assert read(run, "output/run") == "done\n"
        assert f"Left running: {left}\n" in read(run, "log/runner")

    def test_an_endless_grandchild_does_not_keep_the_run(self, make_staged) -> None:
        run = make_staged("sh", "-c", "yes & echo $! > pid; exit 0")
        start_run(run)
        os.kill(int(Path(run.run_dir, "pid").read_text()), signal.SIGKILL)
        assert run_status(run) == "completed"


class TestExit:
    @pytest.mark.parametrize(
        ("code", "exit_code", "recorded", "status"),
        [
            ("exit 0", 0, "0", "completed"),
            ("exit 3", 3, "3", "failed"),
            ("exit 255", 255, "255", "failed"),
            ("kill -TERM $$", 143, "SIGTERM", "terminated"),
            ("kill -KILL $$", 137, "SIGKILL", "terminated"),
            ("kill -SEGV $$", 139, "SIGSEGV", "failed"),
        ],
    )
    def test_is_recorded(
        self, make_staged, code: str, exit_code: int, recorded: str, status: str
    ) -> None:
        run = make_staged("sh", "-c", code)
        assert start_run(run).exit_code == exit_code
        assert read(run, "proc/exit") == f"{recorded}\n"
        assert run_status(run) == status

    def test_a_missing_command(self, make_staged) -> None:
        run = make_staged("no-such-command")
        with pytest.raises(IncompatibleSystem, match="no-such-command  not found"):
            start_run(run)
        assert run_status(run) == "staged"
        outcome = start_run(run, force=True)
        assert (outcome.exit_code, outcome.error) == (127, "no-such-command: command not found")
        record = read_record(run)
        assert (record.status, record.exit) == ("failed", "127")
        assert record.reason == "no-such-command: command not found"

    def test_a_file_that_cannot_be_executed(self, make_staged, project_dir: Path) -> None:
        (project_dir / "script").write_text("#!/bin/sh\n")
        run = make_staged("./script")
        assert start_run(run).exit_code == 126
        assert read_record(run).reason == "./script: Permission denied"

    def test_a_script_whose_interpreter_is_missing(self, make_staged, project_dir: Path) -> None:
        (project_dir / "script").write_text("#!/no/such/interpreter\n")
        (project_dir / "script").chmod(0o755)
        run = make_staged("./script")
        with pytest.raises(IncompatibleSystem, match="interpreter  not found  script"):
            start_run(run)
        assert start_run(run, force=True).exit_code == 127
        assert read_record(run).reason == "./script: the interpreter it names is missing"


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_reach_the_whole_process_tree(
        self, make_staged, monkeypatch, number: signal.Signals
    ) -> None:
        monkeypatch.setenv("GAGE_GRACE", "0.5")
        code = (
            "import subprocess, time\n"
            "a = subprocess.Popen(['sleep', '100'])\n"
            "b = subprocess.Popen(['sleep', '100'], start_new_session=True)\n"
            "c = subprocess.run(['sh', '-c', 'sleep 100 >/dev/null 2>&1 & echo $!'],"
            " stdout=subprocess.PIPE, text=True)\n"
            "print('pids', a.pid, b.pid, c.stdout.strip())\n"
            "time.sleep(100)\n"
        )
        run = make_staged(PYTHON, "-c", code)
        starter = begin(run)
        wait_for_output(run, "pids")
        wait_until(lambda: read(run, "output/run").endswith("\n"))
        pids = [int(word) for word in read(run, "output/run").split()[1:4]]
        starter.send_signal(number)
        assert starter.wait() == 128 + number
        wait_until(lambda: all(is_gone(pid) for pid in pids))
        assert read(run, "proc/signal") == f"{number.name}\n"
        assert run_status(run) == "terminated"

    def test_what_ignores_them_is_killed_after_the_grace_period(
        self, make_staged, monkeypatch
    ) -> None:
        monkeypatch.setenv("GAGE_GRACE", "0.3")
        run = make_staged("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        starter = begin(run)
        wait_for_output(run, "ready")
        starter.terminate()
        assert starter.wait() == 137
        assert (read(run, "proc/exit"), read(run, "proc/signal")) == ("SIGKILL\n", "SIGTERM\n")
        assert run_status(run) == "terminated"

    def test_a_command_that_ends_properly_is_still_terminated(self, make_staged) -> None:
        run = make_staged("sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; sleep 60 & wait")
        starter = begin(run)
        wait_for_output(run, "ready")
        starter.terminate()
        assert starter.wait() == 0
        assert read(run, "output/run") == "ready\nbye\n"
        record = read_record(run)
        assert (record.status, record.exit) == ("terminated", "0")
        assert record.reason == "stopped by SIGTERM"

    @pytest.mark.parametrize("name", ["STARTED", "SPARE"])
    def test_one_that_comes_between_claim_and_command_is_passed_on(
        self, make_staged, name: str
    ) -> None:
        run = make_staged("sleep", "30")
        at_once = (
            "import os, signal; from gage._internal import fs;"
            "from gage._internal.store import layout; write = fs.replace_file\n"
            "def write_and_stop(path, *args):\n"
            "    write(path, *args)\n"
            f"    path.endswith(layout.{name}) and os.kill(os.getpid(), signal.SIGTERM)\n"
            "fs.replace_file = write_and_stop\n"
        )
        starter = subprocess.run([PYTHON, "-c", at_once + START, run.id, run.run_dir], timeout=20)
        assert starter.returncode == 128 + signal.SIGTERM
        assert run_status(run) == "terminated"
        assert meta_file(run, "proc/exit").read_text() == "SIGTERM\n"

    def test_an_ignored_signal_stays_ignored(self, make_staged) -> None:
        run = make_staged("sh", "-c", "echo ready; sleep 0.5; echo end")
        starter = begin(run, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        wait_for_output(run, "ready")
        starter.send_signal(signal.SIGHUP)
        assert starter.wait() == 0
        assert run_status(run) == "completed"


class TestKilledRunner:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_what_has_ended_is_recorded_before_a_signal_does_its_work(
        self, make_staged, number: signal.Signals
    ) -> None:
        # Its summary is read when somebody writes it.
        run = make_staged("mkfifo", "summary.json", opdef={"summary": "summary.json"})
        starter = begin(run, stderr=subprocess.DEVNULL)
        wait_until(meta_file(run, "proc/exit").exists)
        starter.send_signal(number)
        with open(Path(run.run_dir, "summary.json"), "w") as file:
            time.sleep(0.2)
            assert starter.poll() is None
            file.write('{"loss": 1}')
        assert starter.wait() in (-number, 1)
        assert run_status(run) == "completed"
        assert read_record(run).summary == {"loss": 1}
        assert meta_file(run, "stopped").exists() and not meta_file(run, "proc/lock").exists()

    def test_leaves_a_run_that_is_lost(self, make_staged) -> None:
        run = make_staged("sh", "-c", "echo first; echo $$ > pid; exec sleep 100")
        starter = begin(run)
        wait_for_output(run, "first\n")
        starter.kill()
        starter.wait()
        os.kill(int(Path(run.run_dir, "pid").read_text()), signal.SIGKILL)
        record = read_record(run)
        assert record.status == "lost"
        assert (record.reason or "").startswith("the runner was interrupted: process ")
        assert read(run, "output/run") == "first\n"
        with pytest.raises(AlreadyStarted, match="is lost"):
            start_run(run)

    @pytest.mark.parametrize("call", ["link", "rename", "unlink"])
    def test_at_any_step_it_is_whole_and_never_running(self, make_staged, call: str) -> None:
        """Killed right before each call by which something becomes true on disk."""
        killed = True
        step = 0
        while killed:
            step += 1
            run = make_staged("sh", "-c", "echo out > generated")
            inject = f"inject={call}:signal=KILL:when={step}"
            strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
            command = [*strace, PYTHON, "-c", START, run.id, run.run_dir]
            ended = subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
            killed = ended.returncode != 0
            status = run_status(run)
            if not meta_file(run, "started").exists():
                assert status == "staged", (call, step)
                assert start_run(run).exit_code == 0
                assert run_status(run) == "completed"
                continue
            assert status in ("lost", "completed"), (call, step)
            with pytest.raises(AlreadyStarted):
                start_run(run)
            if meta_file(run, "proc/exit").exists() or meta_file(run, "proc/lock").exists():
                is_recorded = meta_file(run, "stopped").exists()
                assert conclude_run(run) != is_recorded, (call, step)
                expected = "completed" if status == "completed" else "terminated"
                assert run_status(run) == expected, (call, step)
                assert compare_run(run).faults == [], (call, step)
        assert step > 1


class TestFinalize:
    def test_what_the_run_generated_changed_and_removed_is_in_the_manifest(
        self, make_staged, project_dir: Path
    ) -> None:
        for name in ("kept", "changed", "removed"):
            (project_dir / name).write_text("x")
        code = "mkdir out; echo new > out/new; echo more >> changed; rm removed; mkdir empty"
        run = make_staged("sh", "-c", code, opdef={"writable": ["changed"]})
        start_run(run)
        found = manifest.read_manifest(run)
        assert {e.path: e.superseded for e in found.staged} == {
            "kept": False,
            "changed": True,
            "removed": True,
        }
        ended = {(e.path, e.kind, e.type) for e in found.ended or ()}
        assert ended == {("out/new", "f", "g"), ("changed", "f", "s"), ("empty", "d", "g")}
        assert len(verify(run)) == 4
        events = [parse_file_event(line) for line in read(run, "log/files").splitlines()[3:]]
        assert [(e.event, e.type, e.path) for e in events] == [
            ("m", "s", "changed"),
            ("a", "g", "empty"),
            ("a", "g", "out/new"),
            ("d", "s", "removed"),
        ]
        checked = subprocess.run(
            ["sha256sum", "-c", "--strict", f"../{run.id}.meta/manifest"],
            cwd=run.run_dir,
            capture_output=True,
            text=True,
            check=True,
        )
        assert checked.stdout.splitlines() == ["kept: OK", "changed: OK", "out/new: OK"]

    def test_everything_is_read_only_in_the_end(self, make_staged) -> None:
        run = make_staged("sh", "-c", "echo x; echo y > z")
        start_run(run)
        for name in files_below(run.run_dir + ".meta"):
            assert meta_file(run, name).stat().st_mode & 0o777 == 0o444, name
        assert files_below(run.run_dir + ".meta/proc") == {"cmd", "env", "exit"}

    def test_the_summary_is_kept(self, make_staged) -> None:
        run = make_staged("sh", "-c", "echo '{\"loss\": 0.5}' > summary.json")
        start_run(run)
        assert json.loads(read(run, "summary.json")) == {"loss": 0.5}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "metrics.json is not JSON: "),
            ("[1]", "metrics.json is not a JSON object"),
            (None, "the run has not written its summary, metrics.json"),
        ],
    )
    def test_a_bad_summary_fails_the_run(self, make_staged, text: str | None, said: str) -> None:
        code = "true" if text is None else f"echo '{text}' > metrics.json"
        run = make_staged("sh", "-c", code, opdef={"summary": "metrics.json"})
        outcome = start_run(run)
        assert outcome.exit_code == 0
        assert said in (outcome.error or "")
        record = read_record(run)
        assert (record.status, record.exit, record.reason) == ("failed", "0", outcome.error)
        assert lock.find_holder(run) is None

    def test_the_summary_of_an_earlier_run_is_not_taken_for_its_own(
        self, make_staged, project_dir: Path
    ) -> None:
        (project_dir / "summary.json").write_text('{"loss": 0}')
        run = make_staged("true")
        start_run(run)
        assert not meta_file(run, "summary.json").exists()

    def test_metrics_are_found_in_the_output(self, make_staged) -> None:
        patterns = {"loss": r"loss: ([\d.]+)", "best": r"best=(\w+)"}
        code = "echo loss: 1.5; echo loss: 0.25 >&2; echo best=three"
        run = make_staged("sh", "-c", code, opdef={"output-summary": patterns})
        start_run(run)
        assert json.loads(read(run, "summary.json")) == {"loss": 0.25, "best": "three"}

    def test_a_failing_hook_fails_the_run_and_all_else_is_done(self, make_staged) -> None:
        hooks = {"run": "echo out > made", "finalize": "echo oops; exit 2"}
        run = make_staged("sh", "-c", hooks["run"], opdef={"exec": hooks})
        outcome = start_run(run)
        assert outcome.error == "exec.finalize exited with 2\n  oops"
        assert read_record(run).status == "failed"
        assert [e.path for e in manifest.read_manifest(run).ended or ()] == ["made"]

    def test_a_socket_that_is_left_is_named_and_no_failure(self, make_staged) -> None:
        code = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('sock')"
        run = make_staged(PYTHON, "-c", code)
        assert start_run(run).error is None
        assert "Not in the manifest: sock: " in read(run, "log/runner")

    def test_a_command_that_fills_the_disk(self, make_staged, small_disk) -> None:
        home = small_disk("size=512k")
        run = make_staged("sh", "-c", "cat /dev/zero > big", home=home)
        outcome = start_run(run)
        assert outcome.exit_code == 1
        record = read_record(run)
        assert (record.status, record.exit) == ("failed", "1")

    def test_output_that_fills_the_disk(self, make_staged, small_disk) -> None:
        home = small_disk("size=512k")
        run = make_staged("sh", "-c", "head -c 2000000 /dev/zero", home=home)
        shown = []
        outcome = start_run(run, lambda stream, data: shown.append(len(data)))
        assert sum(shown) == 2_000_000
        assert outcome.exit_code == 0
        record = read_record(run)
        assert record.status == "failed"
        assert "output was not captured to its end: No space left on device" in record.reason

    def test_a_disk_that_is_full_before_leaves_the_run_staged(
        self, make_staged, small_disk
    ) -> None:
        home = small_disk("size=512k")
        run = make_staged("true", home=home)
        filler = home / "filler"
        with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(OSError, match="No space left"):
            start_run(run)
        assert run_status(run) == "staged"
        assert layout.LOCK not in files_below(run.run_dir + ".meta")
        filler.unlink()
        assert start_run(run).exit_code == 0


@pytest.mark.parametrize("count", [3, 500])
def test_every_change_is_named_among_many_files(make_staged, project_dir: Path, count: int) -> None:
    for i in range(count):
        (project_dir / f"{i}.txt").write_text("as it was")
    run = make_staged("true")
    for name in ("0.txt", "2.txt"):
        path = Path(run.run_dir, name)
        path.chmod(0o644)
        path.write_text("as it is!")
        path.chmod(0o444)
    Path(run.run_dir, "1.txt").chmod(0o440)
    with pytest.raises(RunChanged) as caught:
        start_run(run)
    told = [line.split(" (expected sha256")[0] for line in str(caught.value).splitlines()]
    assert told[1:] == [
        "  changed: 0.txt",
        "  changed: 1.txt (expected mode 0444, found 0440)",
        "  changed: 2.txt",
    ]
