"""What a worker of an engine does with a job: the runner executes it, at home or on its own.

Sent there as it is, where no Gage is installed: needs nothing but the standard library. Where the
worker has not the files of the runs home, the run comes as a capsule, which is a runner, and goes
back as one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, Protocol

# Bytes that are sent at once.
CHUNK = 8 << 20
# Seconds between two questions whether a job is to stop, or may begin; how many of them may fail.
_ASK = 1.0
_AGAIN = 0.1
_FAILURES = 60
_CANNOT = 125
_TAIL = 4096
# A runner must not outlive its worker: nobody would know of it. (1 is PR_SET_PDEATHSIG.)
_TIED = """\
import os, signal, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (ImportError, AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(143)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Errand(NamedTuple):
    """A job for a worker: its number in the submission, its run, and the Python for the runner.

    `runner` and `listing`, the list of run directories, are paths in the runs home, and `sha256`
    is that of the list, which tells that it is this runs home; all "" where the run is brought.
    `directory` is where what is brought lies meanwhile, "" for where temporary files are.
    """

    number: int
    run_id: str
    python: str = ""
    runner: str = ""
    listing: str = ""
    sha256: str = ""
    directory: str = ""


class Line(Protocol):
    """How a worker speaks with its engine, of one job."""

    def begin(self, worker_host: str) -> str:
        """Ask whether to begin: `go`, `wait` or `no`."""

    def is_stopped(self) -> bool:
        """Ask whether to stop."""

    def fetch(self) -> Iterator[bytes]:
        """Yield the capsule of the run."""

    def give(self, chunk: bytes) -> None:
        """Give back a piece of the capsule that the job has left."""

    def end(self, said: str, has_begun: bool, has_left: bool) -> None:
        """Say that the job has ended, whether its run was begun, and whether it has left one."""


def run_errand(errand: Errand, line: Line) -> None:
    """Execute a job, if this is to be the execution of it."""
    answer = line.begin(socket.gethostname())
    while answer == "wait":
        time.sleep(_AGAIN)
        answer = line.begin(socket.gethostname())
    if answer != "go":
        return
    done = (_execute_at_home if errand.listing else _execute_brought)(errand, line)
    line.end(*done)


def _execute_at_home(errand: Errand, line: Line) -> tuple[str, bool, bool]:
    """Execute a run in the runs home; return what `end` is told."""
    try:
        with open(errand.listing, "rb") as file:
            listing = file.read()
    except OSError:
        listing = b""
    if hashlib.sha256(listing).hexdigest() != errand.sha256:
        return f"{socket.gethostname()} does not have the files of the runs home", False, False
    args = ("job", "--of", errand.listing, str(errand.number))
    run_dir = json.loads(listing)[errand.number]
    try:
        code, last = _execute(errand, errand.runner, args, line)
    except OSError as error:
        return f"on {socket.gethostname()}: {error}", _has_begun(run_dir), False
    has_begun = _has_begun(run_dir)
    # What a run that has begun exits with is on its record.
    is_known = has_begun and code != _CANNOT
    return ("" if is_known else f"exit status {code}: {last}"), has_begun, False


def _execute_brought(errand: Errand, line: Line) -> tuple[str, bool, bool]:
    """Execute the run of a capsule; return what `end` is told."""
    folder = ""
    try:
        if errand.directory:
            os.makedirs(errand.directory, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="gage-", dir=errand.directory or None)
        capsule = os.path.join(folder, "run.pyz")
        with open(capsule, "wb") as file:
            for chunk in line.fetch():
                file.write(chunk)
        home = os.path.join(folder, "runs")
        run_dir = os.path.join(home, errand.run_id)
        refused = _call(errand, capsule, "unpack", home)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        return f"on {socket.gethostname()}: {error}", False, False
    if refused:
        shutil.rmtree(folder, ignore_errors=True)
        return f"its capsule was refused: {refused}", False, False
    said = ""
    try:
        code, last = _execute(errand, capsule, ("job", run_dir), line)
        said = f"exit status {code}: {last}"
        if _has_begun(run_dir):
            # A runner that was killed has recorded no end.
            _call(errand, capsule, "job", "--end", run_dir)
            _give_back(errand, capsule, run_dir, line)
    except Exception as error:
        said = f"on {socket.gethostname()}: {error}"
        if _has_begun(run_dir):
            # It is all that there is of what was made.
            return f"{said}; what it has left is in {folder} there", True, False
    has_begun = _has_begun(run_dir)
    shutil.rmtree(folder, ignore_errors=True)
    return ("", True, True) if has_begun else (said, False, False)


def _give_back(errand: Errand, capsule: str, run_dir: str, line: Line) -> None:
    left = os.path.join(os.path.dirname(capsule), "left.pyz")
    refused = _call(errand, capsule, "pack", "-o", left, run_dir)
    if refused:
        raise OSError(f"what it has left cannot be packed: {refused}")
    with open(left, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            line.give(chunk)


def _has_begun(run_dir: str) -> bool:
    return os.path.exists(os.path.join(f"{run_dir}.meta", "started"))


def _call(errand: Errand, runner: str, *args: str) -> str:
    """Have a runner do what does not take long; return why it did not, or ""."""
    done = subprocess.run(
        [_python(errand), "-I", runner, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    return _last_line(done.stderr) if done.returncode else ""


def _execute(errand: Errand, runner: str, args: Sequence[str], line: Line) -> tuple[int, str]:
    """Have a runner do something; return its exit status and the last line that it said."""
    python = _python(errand)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), python, "-I", runner, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr
    tail = bytearray()
    reader = threading.Thread(target=_read_tail, args=(process.stderr, tail), daemon=True)
    reader.start()
    try:
        failures = 0
        is_told = False
        while True:
            try:
                code = process.wait(_ASK)
                break
            except subprocess.TimeoutExpired:
                pass
            if is_told:
                continue
            try:
                is_told = line.is_stopped()
                failures = 0
            except Exception:
                failures += 1
                # Nobody is there any more to take what it would leave.
                is_told = failures > _FAILURES
            if is_told:
                process.send_signal(signal.SIGTERM)
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    reader.join(1)
    return (code if code >= 0 else 128 - code), _last_line(bytes(tail))


def _read_tail(source: IO[bytes], tail: bytearray) -> None:
    for data in iter(lambda: source.read1(_TAIL), b""):  # type: ignore[attr-defined]
        tail += data
        del tail[:-_TAIL]
    source.close()


def _last_line(data: bytes) -> str:
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("gage: ")] or lines
    return said[-1].removeprefix("gage: ") if said else "it said nothing"


def _python(errand: Errand) -> str:
    return errand.python or shutil.which("python3") or sys.executable
