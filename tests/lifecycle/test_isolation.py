"""Sealed runs, on each rung: what is outside does not exist, and is named when reached."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gage
from gage._internal.errors import AlreadyStarted, CannotIsolate
from gage._internal.lifecycle.isolation import kernel, rules, watch
from gage._internal.lifecycle.isolation.options import (
    BUBBLEWRAP,
    LANDLOCK,
    NAMESPACES,
    RUNGS,
    Isolated,
)
from gage._internal.lifecycle.start import Outcome, start_run
from gage._internal.store import lock
from gage._internal.store.status import run_status
from gage._internal.types import Run
from runs_on_disk import files_below, meta_file, read

START = (
    "import sys, os; from gage._internal.lifecycle.start import start_run;"
    "from gage._internal.lifecycle.isolation.options import Isolated;"
    "from gage._internal.types import Run;"
    "echo = lambda stream, data: os.write(1, data);"
    "sys.exit(start_run(Run(*sys.argv[1:3]), echo, sealed=Isolated(rung=sys.argv[3])).exit_code)"
)


@pytest.fixture(params=RUNGS)
def rung(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def start(run: Run, rung: str, network: bool = True) -> Outcome:
    return start_run(run, sealed=Isolated(network, rung))


def begin(run: Run, rung: str, **options) -> "subprocess.Popen[bytes]":
    """Start a run in a process of its own."""
    args = [sys.executable, "-c", START, run.id, run.run_dir, rung]
    return subprocess.Popen(args, stdout=subprocess.PIPE, **options)


class TestHidden:
    def test_what_reads_the_project_fails_and_the_file_is_named(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "data.csv").write_text("1,2\n")
        run = make_staged("cat", str(project_dir / "data.csv"))
        outcome = start(run, rung)
        assert outcome.exit_code == 1
        assert f"reached {project_dir}/data.csv, which is outside" in (outcome.error or "")
        assert read(run, "proc/error") == f"{outcome.error}\n"
        assert run_status(run) == "failed"
        assert "1,2" not in read(run, "output/run")

    def test_what_does_not_passes(self, make_staged, project_dir: Path, rung: str) -> None:
        (project_dir / "data.csv").write_text("1,2\n")
        (project_dir / "main.py").write_text(
            "import json, tempfile, multiprocessing\n"
            "print(open('data.csv').read())\n"
            "multiprocessing.Lock()\n"
            "tempfile.TemporaryFile().write(b'x')\n"
            "json.dump({'loss': 1}, open('summary.json', 'w'))\n"
        )
        run = make_staged("python3", "main.py")
        assert start(run, rung) == Outcome(0), read(run, "output/run")
        assert read(run, "output/run") == "1,2\n\n"
        assert json.loads(read(run, "summary.json")) == {"loss": 1}
        assert run_status(run) == "completed"
        sealed = json.loads(read(run, "proc/sealed"))
        assert sealed == {"rung": rung, "network": "open", "watched": True}
        assert f"Isolated by {rung}\n" in read(run, "log/runner")

    def test_a_swallowed_error_is_still_named(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "cache.bin").write_text("x")
        (project_dir / "main.py").write_text(
            f"try:\n    open('{project_dir}/cache.bin')\nexcept OSError:\n    print('none')\n"
        )
        run = make_staged("python3", "main.py")
        outcome = start(run, rung)
        assert outcome.exit_code == 0
        assert f"{project_dir}/cache.bin" in (outcome.error or "")
        assert read(run, "output/run") == "none\n"
        assert run_status(run) == "failed"

    def test_each_file_is_named_by_its_path(
        self, make_staged, project_dir: Path, tmp_path: Path, rung: str
    ) -> None:
        outside = tmp_path / "outside"
        (outside / "folder").mkdir(parents=True)
        for name in ("read", "written", "program", "relative", "folder/file", "linked"):
            (outside / name).write_text("#!/bin/sh\n")
            (outside / name).chmod(0o755)
        (outside / "link-in").symlink_to("/etc/passwd")
        (project_dir / "by-interpreter").write_text(f"#!{outside}/program\n")
        (project_dir / "by-interpreter").chmod(0o755)
        (project_dir / "main.py").write_text(
            "import os, subprocess, sys\n"
            f"out = {str(outside)!r}\n"
            "def tries(call, *args):\n"
            "    try:\n"
            "        call(*args)\n"
            "    except OSError:\n"
            "        pass\n"
            "tries(open, f'{out}/read')\n"
            "tries(open, f'{out}/written', 'w')\n"
            "tries(open, f'{out}/new', 'w')\n"
            "tries(open, f'{out}/not-there')\n"
            "tries(os.listdir, f'{out}/folder')\n"
            "tries(open, os.path.relpath(f'{out}/relative'))\n"
            "os.symlink(f'{out}/linked', 'link')\n"
            "tries(open, 'link')\n"
            "tries(subprocess.run, ['./by-interpreter'])\n"
            "tries(open, f'{out}/link-in')\n"
        )
        run = make_staged("python3", "main.py")
        outcome = start(run, rung)
        assert outcome.exit_code == 0, read(run, "output/run")
        named = (outcome.error or "").splitlines()
        assert named[0] == "the run reached 8 files outside of what it may rely on:"
        names = ("folder", "link-in", "linked", "new", "program", "read", "relative", "written")
        assert sorted(named[1:]) == [f"  {outside}/{name}" for name in names]
        assert not (outside / "new").exists()
        assert (outside / "written").read_text() != ""

    def test_what_is_looked_for_and_is_nowhere_is_no_fault(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "main.py").write_text(
            "import os\n"
            "for path in ('~/.config/tool', '/nonexistent/x', '../../nothing', '/home/x/y'):\n"
            "    try:\n"
            "        open(os.path.expanduser(path))\n"
            "    except OSError:\n"
            "        pass\n"
        )
        assert start(make_staged("python3", "main.py"), rung) == Outcome(0)

    def test_home_is_another_and_empty(
        self, make_staged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rung: str
    ) -> None:
        home = tmp_path / "home"
        (home / ".config").mkdir(parents=True)
        (home / ".config" / "settings").write_text("secret")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
        run = make_staged("sh", "-c", f"ls -A $HOME; echo $XDG_CONFIG_HOME; cat {home}/.config/*")
        outcome = start(run, rung)
        assert outcome.exit_code != 0
        assert f"{home}/.config" in (outcome.error or "")
        assert "secret" not in read(run, "output/run")
        assert read(run, "output/run").startswith("\n")
        run = make_staged("sh", "-c", "echo x >$HOME/file && cat $HOME/file && test -w $TMPDIR")
        assert start(run, rung) == Outcome(0)
        assert files_below(home) == {".config/settings"}

    def test_other_runs_are_not_there(self, make_staged, project_dir: Path, rung: str) -> None:
        (project_dir / "a.txt").write_text("of another run")
        other = make_staged("true")
        run = make_staged("sh", "-c", f"cat ../{other.id}/a.txt")
        outcome = start(run, rung)
        assert f"reached {other.run_dir}/a.txt" in (outcome.error or "")
        assert "of another run" not in read(run, "output/run")

    def test_the_environment_that_staged_is_not_there(
        self, make_staged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rung: str
    ) -> None:
        environment = tmp_path / "environment"
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", environment], check=True)
        (packages,) = environment.glob("lib/*/site-packages")
        (packages / "package_of_it.py").write_text("")
        (environment / "bin" / "tool").write_text("#!/bin/sh\necho tool\n")
        (environment / "bin" / "tool").chmod(0o755)
        monkeypatch.setenv("VIRTUAL_ENV", str(environment))
        monkeypatch.setenv("PYTHONPATH", str(packages))
        monkeypatch.setenv("PATH", f"{environment}/bin:{os.environ['PATH']}")
        run = make_staged("python3", "-c", "import sys; print(sys.prefix); import package_of_it")
        outcome = start(run, rung)
        assert outcome.exit_code == 1
        printed = read(run, "output/run")
        assert printed.startswith("/usr\n")
        assert "No module named 'package_of_it'" in printed
        run = make_staged("tool")
        outcome = start(run, rung)
        assert outcome.exit_code == 127
        assert f"reached {environment}/bin/tool" in (outcome.error or "")
        run = make_staged("sh", "-c", "echo $VIRTUAL_ENV $PYTHONPATH; command -v tool")
        assert start(run, rung).exit_code in (1, 127)
        assert read(run, "output/run") == "\n"

    def test_a_python_in_the_home_directory_is_there_and_nothing_else_of_it(
        self, make_staged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rung: str
    ) -> None:
        home = tmp_path / "home"
        copy_of_python(home / "pythons" / "3")
        (home / "notes.txt").write_text("private")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("PATH", f"{home}/pythons/3/bin:/usr/bin:/bin")
        run = make_staged("python3", "-c", "import sys, json; print(sys.base_prefix)")
        assert start(run, rung) == Outcome(0), read(run, "output/run")
        assert read(run, "output/run") == f"{home}/pythons/3\n"
        run = make_staged("python3", "-c", f"open('{home}/notes.txt')")
        assert f"reached {home}/notes.txt" in (start(run, rung).error or "")

    def test_the_project_is_hidden_where_the_system_is(
        self, make_staged, rung: str, tmp_path: Path
    ) -> None:
        place = Path("/opt") / f"gage-{os.getpid()}"
        try:
            place.mkdir()
            (place / "data").write_text("x")
            run = make_staged("cat", f"{place}/data")
            outcome = start_run(run, sealed=Isolated(rung=rung, hidden=[str(place)]))
            assert f"reached {place}/data" in (outcome.error or "")
            assert outcome.exit_code == 1
        finally:
            (place / "data").unlink()
            place.rmdir()

    def test_its_own_record_can_be_read_and_not_written(self, make_staged, rung: str) -> None:
        run = make_staged("sh", "-c", "cat $RUN_DIR.meta/id; touch $RUN_DIR.meta/x")
        outcome = start(run, rung)
        assert outcome.exit_code != 0
        assert read(run, "output/run").startswith(run.id)
        assert not meta_file(run, "x").exists()

    def test_the_finalize_hook_is_sealed_too(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "data.csv").write_text("1,2\n")
        opdef = {"exec": {"run": "true", "finalize": f"cat {project_dir}/data.csv || true"}}
        run = make_staged("true", opdef=opdef)
        outcome = start(run, rung)
        assert outcome.exit_code == 0
        assert f"exec.finalize: the run reached {project_dir}/data.csv" in (outcome.error or "")

    def test_root_cannot_get_out(self, make_staged, project_dir: Path, rung: str) -> None:
        (project_dir / "secret").write_text("secret")
        tries = (
            "umount -l /",
            "umount -l /tmp",
            "mount -t proc proc /proc",
            f"mount --bind / {project_dir.parent}",
            f"cat /proc/{os.getpid()}/root{project_dir}/secret",
            f"cat /proc/1/root{project_dir}/secret",
            f"cat /proc/1/cwd{project_dir}/secret",
            f"chroot /proc/1/root cat {project_dir}/secret",
            f"nsenter -t {os.getpid()} -m cat {project_dir}/secret",
            "echo 1 >/proc/sys/kernel/printk_ratelimit",
            "echo x >/etc/gage-was-here",
            "mknod device b 254 0",
        )
        script = "\n".join(f"{each} && echo 'this worked: {each}'" for each in tries)
        run = make_staged("sh", "-c", f"{script}\ntrue")
        start(run, rung)
        assert "this worked" not in read(run, "output/run")
        assert "secret\n" not in read(run, "output/run")


class TestNetwork:
    ASK = (
        "import socket, sys\n"
        "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        "    try:\n"
        "        with socket.socket(socket.AF_INET, kind) as s:\n"
        "            s.settimeout(5)\n"
        "            s.connect(('{host}', {port}))\n"
        "            print('connected')\n"
        "    except OSError as error:\n"
        "        print('no')\n"
    )

    def test_is_there_unless_it_is_not_wanted(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            (project_dir / "ask.py").write_text(self.ASK.format(host="127.0.0.1", port=port))
            run = make_staged("python3", "ask.py")
            assert start(run, rung) == Outcome(0)
            assert read(run, "output/run") == "connected\nconnected\n"
            run = make_staged("python3", "ask.py")
            assert start(run, rung, network=False) == Outcome(0)
            # Who sends to itself needs no network, and there is nobody who would listen.
            assert read(run, "output/run").startswith("no\n")
            assert json.loads(read(run, "proc/sealed"))["network"] == "closed"

    def test_nothing_leaves(self, make_staged, project_dir: Path, rung: str) -> None:
        (project_dir / "ask.py").write_text(self.ASK.format(host="192.0.2.1", port=9))
        run = make_staged("python3", "ask.py")
        assert start(run, rung, network=False) == Outcome(0)
        assert read(run, "output/run") == "no\nno\n"


class TestAsWithout:
    @pytest.mark.parametrize("code", [0, 3, 126, 255])
    def test_exit_status(self, make_staged, rung: str, code: int) -> None:
        run = make_staged("sh", "-c", f"exit {code}")
        assert start(run, rung) == Outcome(code)

    @pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV"])
    def test_a_signal(self, make_staged, rung: str, name: str) -> None:
        number = int(signal.Signals[name])
        run = make_staged("python3", "-c", f"import os; os.kill(os.getpid(), {number})")
        # To be the first process of a namespace would be to be deaf to it.
        assert start(run, rung).exit_code == 128 + number
        assert read(run, "proc/exit") == f"{name}\n"

    def test_what_is_missing_and_what_cannot_be_executed(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "plain.txt").write_text("")
        (project_dir / "odd.sh").write_text("#!/no/such/interpreter\n")
        (project_dir / "odd.sh").chmod(0o755)
        run = make_staged("no-such-program")
        outcome = start_run(run, force=True, sealed=Isolated(rung=rung))
        assert outcome == Outcome(127, None, "no-such-program: command not found")
        assert start(make_staged("./plain.txt"), rung).exit_code == 126
        run = make_staged("./odd.sh")
        assert start_run(run, force=True, sealed=Isolated(rung=rung)).exit_code == 127

    def test_output_of_both_streams_and_stdin(self, make_staged, rung: str) -> None:
        run = make_staged("sh", "-c", "cat; echo err >&2")
        started = begin(run, rung, stdin=subprocess.PIPE)
        out, _ = started.communicate(b"in", timeout=60)
        assert out == b"inerr\n"
        assert started.returncode == 0

    def test_much_output(self, make_staged, rung: str) -> None:
        run = make_staged("sh", "-c", "head -c 5000000 /dev/zero")
        assert start(run, rung) == Outcome(0)
        assert meta_file(run, "output/run").stat().st_size == 5_000_000

    def test_stop_is_passed_on_and_can_be_handled(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "main.py").write_text(
            "import signal, sys\n"
            "def end(number, frame):\n"
            "    print('saved', flush=True)\n"
            "    sys.exit(7)\n"
            "signal.signal(signal.SIGTERM, end)\n"
            "print('ready', flush=True)\n"
            "signal.pause()\n"
        )
        run = make_staged("python3", "main.py")
        started = begin(run, rung)
        assert started.stdout.readline() == b"ready\n"
        started.terminate()
        out, _ = started.communicate(timeout=60)
        assert (started.returncode, out) == (7, b"saved\n")
        assert read(run, "proc/signal") == "SIGTERM\n"
        assert run_status(run) == "terminated"

    def test_an_interrupt_of_the_terminal_comes_once(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "main.py").write_text(
            "import os, signal, sys, time\n"
            "count = 0\n"
            "def note(number, frame):\n"
            "    global count\n"
            "    count += 1\n"
            "signal.signal(signal.SIGINT, note)\n"
            "print('ready', os.isatty(0), flush=True)\n"
            "while not count:\n"
            "    time.sleep(0.01)\n"
            "time.sleep(0.3)\n"
            "print('interrupted', count, sys.stdin.readline(), flush=True)\n"
        )
        run = make_staged("python3", "main.py")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", START, run.id, run.run_dir, rung])
        try:
            read_until(terminal, b"ready True")
            os.write(terminal, b"\x03")
            os.write(terminal, b"typed\n")
            read_until(terminal, b"interrupted 1 typed")
            _, status = os.waitpid(pid, 0)
        finally:
            os.close(terminal)
        assert os.waitstatus_to_exitcode(status) == 0
        assert read(run, "proc/signal") == "SIGINT\n"

    def test_a_run_ends_with_all_its_processes(self, make_staged, rung: str) -> None:
        run = make_staged("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!")
        assert start(run, rung) == Outcome(0)
        assert not with_run_id(run.id)

    def test_a_killed_runner_leaves_nothing_running(self, make_staged, rung: str) -> None:
        run = make_staged("sh", "-c", "echo ready; exec sleep 1000")
        started = begin(run, rung)
        assert started.stdout.readline() == b"ready\n"
        started.kill()
        started.communicate(timeout=60)
        until = time.monotonic() + 20
        while with_run_id(run.id):
            assert time.monotonic() < until
            time.sleep(0.01)

    def test_many_threads_and_processes_open_files_at_once(
        self, make_staged, project_dir: Path, rung: str
    ) -> None:
        (project_dir / "main.py").write_text(
            "import os, threading\n"
            "def work():\n"
            "    for _ in range(200):\n"
            "        open('main.py').close()\n"
            "for _ in range(4):\n"
            "    if os.fork() == 0:\n"
            "        threads = [threading.Thread(target=work) for _ in range(4)]\n"
            "        [thread.start() for thread in threads]\n"
            "        [thread.join() for thread in threads]\n"
            "        os._exit(0)\n"
            "print([os.wait()[1] for _ in range(4)])\n"
        )
        run = make_staged("python3", "main.py")
        assert start(run, rung) == Outcome(0)
        assert read(run, "output/run") == "[0, 0, 0, 0]\n"

    def test_a_large_environment_and_many_arguments(
        self, make_staged, rung: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LARGE", "x" * 100_000)
        run = make_staged("sh", "-c", "echo ${#LARGE} $#", "sh", *["é"] * 5_000)
        assert start(run, rung) == Outcome(0)
        assert read(run, "output/run") == "100000 5000\n"

    def test_a_start_that_is_refused_leaves_no_process(
        self, make_staged, rung: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = make_staged("true")

        def taken(run: Run, beats: float) -> None:
            raise FileExistsError

        monkeypatch.setattr(lock, "acquire", taken)
        before = set(child_processes())
        with pytest.raises(AlreadyStarted):
            start(run, rung)
        assert set(child_processes()) <= before

    def test_from_a_thread(self, make_staged, rung: str) -> None:
        run = make_staged("true")
        outcomes = []
        thread = threading.Thread(target=lambda: outcomes.append(start(run, rung)))
        thread.start()
        thread.join()
        assert outcomes == [Outcome(0)]

    def test_nothing_of_it_stays(
        self, make_staged, rung: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        place = tmp_path / "temporary"
        place.mkdir()
        monkeypatch.setenv("TMPDIR", str(place))
        script = "mkdir -p $HOME/a/b; touch $HOME/a/b/c $TMPDIR/d; chmod 500 $HOME/a/b"
        assert start(make_staged("sh", "-c", script), rung) == Outcome(0)
        assert os.listdir(place) == []


class TestRungs:
    def break_namespaces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(flags: int) -> None:
            raise PermissionError(1, "Operation not permitted", "unshare")

        monkeypatch.setattr(kernel, "unshare", forbidden)

    def break_landlock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> int:
            raise OSError(38, "Function not implemented", "landlock")

        monkeypatch.setattr(kernel, "landlock_version", missing)

    def rung_of(self, run: Run) -> str:
        assert start_run(run, sealed=Isolated()).exit_code == 0
        return str(json.loads(read(run, "proc/sealed"))["rung"])

    def test_the_best_that_works_is_taken(
        self, make_staged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert self.rung_of(make_staged("true")) == NAMESPACES
        self.break_namespaces(monkeypatch)
        assert self.rung_of(make_staged("true")) == BUBBLEWRAP
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "true").symlink_to("/bin/true")
        monkeypatch.setenv("PATH", f"{programs}")
        assert self.rung_of(make_staged("/bin/true")) == LANDLOCK
        self.break_landlock(monkeypatch)
        run = make_staged("/bin/true")
        with pytest.raises(CannotIsolate) as caught:
            start_run(run, sealed=Isolated())
        for reason in (
            "namespaces: unshare: Operation not permitted",
            "bubblewrap: is not installed",
            "landlock: landlock: Function not implemented",
        ):
            assert reason in str(caught.value)
        assert run_status(run) == "staged"
        assert start_run(run).exit_code == 0

    def test_where_nobody_can_look_what_was_printed_tells(
        self, make_staged, project_dir: Path, rung: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(machine: kernel.Machine) -> int:
            raise OSError(16, "Device or resource busy", "seccomp")

        monkeypatch.setattr(rules, "install_watch", refused)
        (project_dir / "data file").write_text("x")
        run = make_staged("python3", "-c", f"open('{project_dir}/data file')")
        outcome = start(run, rung)
        assert f"reached {project_dir}/data file, which" in (outcome.error or "")
        assert json.loads(read(run, "proc/sealed"))["watched"] is False
        run = make_staged("echo", str(project_dir / "data file"))
        assert start(run, rung) == Outcome(0)

    def test_an_older_kernel_is_not_asked_what_it_cannot_do(
        self, make_staged, rung: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rules, "_kernel_version", lambda: [5, 4])
        run = make_staged("true")
        assert start(run, rung) == Outcome(0)
        assert json.loads(read(run, "proc/sealed"))["watched"] is False

    def test_an_answer_that_fails_does_not_make_the_run_wait(
        self, make_staged, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The kernel refuses it.
        monkeypatch.setattr(watch, "_CONTINUE", 1 << 20)
        run = make_staged("python3", "-c", "import json")
        assert start(run, NAMESPACES).exit_code == 126
        assert run_status(run) == "failed"

    def test_a_failing_look_does_not_stop_the_run(
        self, make_staged, project_dir: Path, rung: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(pid: int, address: int, size: int) -> bytes:
            raise ZeroDivisionError

        monkeypatch.setattr(kernel, "read_memory", broken)
        run = make_staged("python3", "-c", "import json; print(1)")
        assert start(run, rung) == Outcome(0)

    def test_a_rung_that_there_is_not(self, make_staged) -> None:
        with pytest.raises(CannotIsolate, match="there is no rung ladder"):
            start(make_staged("true"), "ladder")


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every user can get at."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class TestAsAnotherUser:
    def test_each_rung_works_without_being_root(
        self, make_staged, open_dir: Path, rung: str
    ) -> None:
        """As root, which makes the run and gives it to nobody."""
        (open_dir / "data.csv").write_text("1\n")
        script = f"id -u; echo x >new; cat {open_dir}/data.csv || cat new"
        run = make_staged("sh", "-c", script, home=open_dir / "runs")
        subprocess.run(["chown", "-R", "65534:65534", open_dir / "runs"], check=True)
        shutil.copytree(Path(gage.__file__).parent, open_dir / "gage")
        as_nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
        done = subprocess.run(
            [*as_nobody, "/usr/bin/python3", "-c", START, run.id, run.run_dir, rung],
            env={**os.environ, "PYTHONPATH": str(open_dir), "HOME": "/nonexistent"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stdout
        assert read(run, "output/run").startswith("65534\n"), done.stdout
        assert read(run, "output/run").endswith("x\n")
        assert f"reached {open_dir}/data.csv" in read(run, "proc/error")
        assert Path(run.run_dir, "new").stat().st_uid == 65534


def copy_of_python(prefix: Path) -> None:
    """Install a Python of the system at another place."""
    ask = "import sys, sysconfig; print(sys.executable, sysconfig.get_path('stdlib'))"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", ask], stdout=subprocess.PIPE, text=True, check=True
    )
    executable, library = done.stdout.split()
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    subprocess.run(["cp", os.path.realpath(executable), prefix / "bin" / "python3"], check=True)
    subprocess.run(["cp", "-r", library, prefix / "lib"], check=True)


def read_until(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        part = os.read(terminal, 1024)
        assert part, seen
        seen += part


def child_processes() -> list[str]:
    """Return the pids of the children of this process."""
    found = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], stdout=subprocess.PIPE, text=True
    )
    return [line for line in found.stdout.splitlines() if not line.endswith(" ps")]


def with_run_id(run_id: str) -> list[str]:
    """Return the processes of a run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ = Path("/proc", pid, "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"RUN_ID={run_id}".encode() in environ:
            found.append(pid)
    return found
