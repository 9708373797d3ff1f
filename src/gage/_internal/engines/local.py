"""The machine one is at, later: runs executed one by one, or some at once, without a terminal.

A submission has a process of its own, which goes on when the terminal is closed. What it does can
be told without asking it, by what is locked: the record of a submission, among those of the user,
as long as that process lives; and a file in the folder of the submission as long as a job executes,
whoever else has died. So locks of processes that are killed need not be cleared.

How many jobs execute at once is for all submissions of the user together: each job has one of as
many slots, and those of the GPUs that it is to have for itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import EngineFailed, EngineUnreachable
from gage._internal.fs import printable
from gage._internal.lifecycle.budget import Budget, Share, find_machine
from gage._internal.lifecycle.host_locks import GpuLocks, find_free, state_dir
from gage._internal.store import layout, lock
from gage._internal.store.resources import Resources
from gage.plugins import EXECUTING, GONE, QUEUED, Capabilities, JobState, Submission, Ticket

_NOT_PASSED = ("RUN_ID", "RUN_DIR", "RUN_ATTEMPT", "PROJECT_DIR", "GAGE_GPU_LOCKS")
_SETTINGS = "local.json"
# Nobody has to wait for what is not a child of whoever submits.
_BEGIN = (
    "import os; os.fork() and os._exit(0)\n"
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from gage._internal.engines.local import supervise; supervise(sys.argv[2], int(sys.argv[3]))"
)
# Seconds between two looks at what was cancelled and at slots that others have.
_POLL = 0.2
# Seconds in which a job that has begun claims its run, so that it can be told to stop.
_LONGEST_BEGINNING = 10.0


class Local:
    """Gives runs to a process on this machine; see `gage.plugins.Engine`."""

    def submit(self, submission: Submission, options: Mapping[str, Any]) -> Sequence[str]:
        """Start the process that executes them."""
        _check(options)
        needed = [job.resources for job in submission.jobs]
        _check_resources(needed)
        settings = {
            "runner": submission.runner,
            "python": options.get("python", sys.executable),
            "jobs": options.get("jobs", 1),
            "record": _record(submission.name),
            "resources": needed,
        }
        path = os.path.join(submission.folder, _SETTINGS)
        with _reaching():
            fs.replace_file(path, json.dumps(settings).encode())
            record = {"folder": submission.folder, "host": os.uname().nodename}
            record_fd = _create_locked(_record(submission.name), json.dumps(record).encode())
            try:
                _start_supervisor(submission.folder, record_fd)
            except OSError:
                os.unlink(_record(submission.name))
                raise
            finally:
                os.close(record_fd)
        return [_word(submission.name, n, record["host"]) for n in range(len(needed))]

    def poll(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> Sequence[JobState]:
        """Look at what is locked."""
        with _reaching():
            if not tickets:
                os.makedirs(_state_dir(), exist_ok=True)
            found = {name: _find_record(name) for name in {each.submission for each in tickets}}
            states = [_state(ticket, found[ticket.submission]) for ticket in tickets]
            for name, record in found.items():
                is_own = record and record.host == os.uname().nodename
                if record and is_own and not record.is_supervised and not _executes_any(record):
                    fs.remove_file(_record(name))
        return states

    def cancel(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Leave a file for each, which the process that supervises them finds."""
        with _reaching():
            for ticket in tickets:
                record = _find_record(ticket.submission)
                if record is None or record.host != os.uname().nodename:
                    if _state(ticket, record).state != GONE:
                        raise EngineUnreachable(f"job {ticket.job} is on another machine")
                elif record.is_supervised:
                    fs.replace_file(_cancel_path(record.folder, ticket.number), b"")
                else:
                    _stop(record.folder, ticket.number)

    def capabilities(self, options: Mapping[str, Any]) -> Capabilities:
        """Return that it has the runs home."""
        return Capabilities(has_files=True)

    def collect(self, ticket: Ticket, path: str, options: Mapping[str, Any]) -> bool:
        """Return that there is nothing to bring: all is in the runs home."""
        return False

    def let_go(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Do nothing: nothing is kept."""


class _Record(NamedTuple):
    """What is known of a submission; `is_supervised` as long as its process lives."""

    folder: str
    host: str
    is_supervised: bool


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = printable(error.filename) if isinstance(error.filename, str) else "local jobs"
        raise EngineUnreachable(f"{where}: {error.strerror or error}") from None


def _check(options: Mapping[str, Any]) -> None:
    """Make sure that options are known and right.

    Raises:
        EngineFailed: one is not.
    """
    for name, value in options.items():
        if name not in ("jobs", "python"):
            hint = "there are jobs, python"
            raise EngineFailed(f"the engine local has no option {printable(name)}", hint)
        is_right = isinstance(value, str) and value != ""
        if name == "jobs":
            is_right = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not is_right:
            what = "a number from 1 on" if name == "jobs" else "a text"
            raise EngineFailed(f"the option {name} of the engine local must be {what}")


def _check_resources(needed: Sequence[Resources]) -> None:
    """Make sure that this machine has what each job is to have.

    Raises:
        EngineFailed: it does not.
    """
    budget = Budget(find_machine(with_gpus=any(each.gpus for each in needed)))
    for each in needed:
        lack = budget.find_lack(each)
        if lack is not None:
            raise EngineFailed(f"a run cannot be executed here: {lack}")


def _word(submission: str, number: int, host: str) -> str:
    return f"{submission}.{number}@{host}"


def _start_supervisor(folder: str, record_fd: int) -> None:
    env = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED}
    with open(os.path.join(folder, "local.log"), "ab") as log:
        subprocess.run(
            [*(sys.executable, "-I", "-c", _BEGIN), json.dumps(sys.path), folder, str(record_fd)],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[record_fd],
            start_new_session=True,
            check=False,
        )


def _state_dir() -> str:
    return os.path.join(state_dir(), "local")


def _record(name: str) -> str:
    return os.path.join(_state_dir(), name)


def _create_locked(path: str, data: bytes) -> int:
    """Create a file that is locked from the beginning; return it open."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = fs.write_beside(path, data, mode=0o600)
    fd = os.open(beside, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fs.put_in_place(beside, path)
    except BaseException:
        os.close(fd)
        fs.discard(beside)
        raise
    return fd


def _is_locked(path: str) -> bool:
    """Tell whether a file is there and locked; who asks at the same time does not count."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _find_record(name: str) -> _Record | None:
    path = _record(name)
    try:
        table = json.loads(fs.read_bytes(path))
    except FileNotFoundError:
        return None
    return _Record(table["folder"], table["host"], _is_locked(path))


def _state(ticket: Ticket, record: _Record | None) -> JobState:
    host = record.host if record else ticket.job.partition("@")[2]
    if host not in ("", os.uname().nodename):
        # What it locks is not seen here. Never is such a job called gone.
        return JobState(EXECUTING, ticket.job, f"on {host}, which cannot be asked from here", host)
    if record is None:
        return JobState(GONE, ticket.job)
    word = _word(ticket.submission, ticket.number, record.host)
    path = _job_path(record.folder, ticket.number)
    if _is_locked(path):
        return JobState(EXECUTING, word, "EXECUTING", record.host)
    is_waiting = not os.path.exists(path) and not _is_cancelled(record.folder, ticket.number)
    if record.is_supervised and is_waiting:
        return JobState(QUEUED, word, "WAITING")
    # It may have begun between these looks.
    if _is_locked(path):
        return JobState(EXECUTING, word, "EXECUTING", record.host)
    return JobState(GONE, word, has_begun=os.path.exists(path))


def _executes_any(record: _Record) -> bool:
    names = os.listdir(record.folder) if os.path.isdir(record.folder) else []
    return any(_is_locked(os.path.join(record.folder, n)) for n in names if n.endswith(".job"))


def _job_path(folder: str, number: int) -> str:
    """Return the path of the file that is locked while a job executes, and there from then on."""
    return os.path.join(folder, f"{number}.job")


def _cancel_path(folder: str, number: int) -> str:
    return os.path.join(folder, f"{number}.cancel")


def _is_cancelled(folder: str, number: int) -> bool:
    return os.path.exists(os.path.join(folder, f"{number}.cancelled"))


def _stop(folder: str, number: int) -> None:
    """Stop a job that executes without supervision, by the process that has claimed its run."""
    run_dir = json.loads(fs.read_bytes(os.path.join(folder, "runs.json")))[number]
    until = time.monotonic() + _LONGEST_BEGINNING
    while _is_locked(_job_path(folder, number)) and time.monotonic() < until:
        holder = lock.find_holder(layout.run_of_dir(run_dir))
        if holder and holder.alive:
            os.kill(holder.process.pid, signal.SIGTERM)
            return
        time.sleep(_POLL)


class _Executing(NamedTuple):
    """A job that executes: its process, and what it has."""

    process: subprocess.Popen[bytes]
    share: Share


def supervise(folder: str, record_fd: int) -> None:
    """Execute the jobs of a submission; `record_fd` is its record, which is locked until then."""
    os.set_inheritable(record_fd, False)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    settings = json.loads(fs.read_bytes(os.path.join(folder, _SETTINGS)))
    wake, written = os.pipe()
    for fd in (wake, written):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    supervisor = _Supervisor(folder, settings)
    while supervisor.go_on():
        select.select([wake], [], [], _POLL)
        try:
            while os.read(wake, 512):
                pass
        except BlockingIOError:
            pass
    try:
        fs.remove_file(settings["record"])
    except OSError:
        # Whoever asks finds that nobody has it locked.
        pass


class _Supervisor:
    def __init__(self, folder: str, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
        self._needed = [Resources(*each) for each in settings["resources"]]
        self._waiting = list(range(len(self._needed)))
        self._executing: dict[int, _Executing] = {}
        self._stopped: set[int] = set()
        self._has_gpus = any(each.gpus for each in self._needed)
        machine = find_machine(self._has_gpus)
        self._gpus = machine.gpus
        # GPUs are shared out among all that the user starts here, by locks.
        self._locks = GpuLocks()
        self._budget = Budget(machine._replace(gpus=()))

    def go_on(self) -> bool:
        """Do what can be done now; tell whether there is more to come."""
        for number, job in list(self._executing.items()):
            if job.process.poll() is not None:
                del self._executing[number]
                self._budget.give_back(job.share)
        for number in [*self._waiting, *self._executing]:
            if os.path.exists(_cancel_path(self._folder, number)):
                self._cancel(number)
        for number in self._waiting[:]:
            if not self._begin(number):
                # In their order, so that none waits for ever.
                break
        return bool(self._waiting or self._executing)

    def _cancel(self, number: int) -> None:
        if number in self._executing and number not in self._stopped:
            self._stopped.add(number)
            self._executing[number].process.terminate()
        elif number in self._waiting:
            self._waiting.remove(number)
            fs.replace_file(os.path.join(self._folder, f"{number}.cancelled"), b"")

    def _begin(self, number: int) -> bool:
        """Begin a job, if it can have what it is to have; tell whether it has begun."""
        needed = self._needed[number]
        share = self._budget.take(needed._replace(gpus=0))
        if share is None:
            return False
        slot = self._find_slot()
        gpus = None if slot is None else self._locks.take(self._gpus, needed.gpus)
        if slot is None or gpus is None:
            if slot is not None:
                os.close(slot)
            self._budget.give_back(share)
            return False
        self._waiting.remove(number)
        try:
            process = self._execute(number, gpus, [slot, *self._locks.fds(gpus)])
        except OSError as error:
            with open(self._log_path(number), "a", encoding="utf-8") as log:
                log.write(f"gage: the job cannot be executed: {error}\n")
            self._budget.give_back(share)
        else:
            self._executing[number] = _Executing(process, share)
        finally:
            # The job itself has them locked, also where this process dies.
            os.close(slot)
            self._locks.let_go(gpus)
        return True

    def _find_slot(self) -> int | None:
        """Lock a slot; return its file, None where others have all of them."""
        try:
            found = find_free([f"slot-{slot}" for slot in range(self._settings["jobs"])], 1)
        except OSError:
            # Where they are cannot be reached now, and may be later.
            return None
        return None if found is None else next(iter(found.values()))

    def _log_path(self, number: int) -> str:
        return os.path.join(self._folder, f"{number}.log")

    def _execute(
        self, number: int, gpus: Sequence[str], fds: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        settings = self._settings
        env = dict(os.environ)
        if self._has_gpus:
            env |= self._locks.variables(gpus)
        runs = os.path.join(self._folder, "runs.json")
        job = [settings["runner"], "job", "--of", runs, str(number)]
        job_fd = _create_locked(_job_path(self._folder, number), b"")
        try:
            with open(self._log_path(number), "ab") as log:
                return subprocess.Popen(
                    [settings["python"], "-I", *job],
                    cwd=self._folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[job_fd, *fds],
                )
        finally:
            os.close(job_fd)
