"""Slurm: runs as batch jobs on nodes that see the runs home, by Slurm's own commands.

Runs that are submitted together and are to have the same are one array, whose script lies in the
folder of the submission, for people to read. A job is called `SUBMISSION-NUMBER`, after the first
run of its array, so that a job of which only the submission is known can be found. Its word is
`ID_TASK`, or `ID` where it is alone, and `ID_TASK@CLUSTER` where the options name clusters.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.errors import EngineFailed, EngineUnreachable
from gage._internal.fs import printable, replace_file
from gage._internal.store.resources import Resources
from gage.plugins import (
    EXECUTING,
    GONE,
    QUEUED,
    Capabilities,
    Job,
    JobState,
    Submission,
    Ticket,
    find_submitter,
)

# Options of the engine that are options of sbatch, too.
_PASSED = ("partition", "account", "qos", "time")
_TEXTS = (*_PASSED, "python")
_NUMBERS = ("limit", "chunk", "grace")
_LINES = "sbatch"
# As many as an array has in a Slurm that is not configured otherwise.
_DEFAULT_CHUNK = 1000
# Slurm kills what does not end 30 seconds after it was told to, unless it is configured otherwise.
_DEFAULT_GRACE = 20
# What would give jobs another name, other numbers or another cluster, have their end waited for,
# not let them begin again, or call a failure a success; and what tells a process of a run.
_NOT_PASSED = (
    *("SBATCH_JOB_NAME", "SBATCH_ARRAY_INX", "SBATCH_CLUSTERS", "SLURM_CLUSTERS", "SBATCH_WAIT"),
    *("SBATCH_NO_REQUEUE", "SBATCH_OPEN_MODE", "SLURM_EXIT_ERROR"),
    *("RUN_ID", "RUN_DIR", "PROJECT_DIR"),
)
_FILTERS = ("SQUEUE_", "SACCT_", "SCANCEL_")
_FIELDS = "%F|%K|%T|%r|%B|%j"
_UNKNOWN = "Invalid job id"
_NO_ANSWER = ("Unable to contact", "timed out", "connect", "Connection", "Zero Bytes", "Munge")
_QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
_GONE = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
_MOST_IDS = 1000
_LONGEST_WAIT = 120
_MIB = 1024 * 1024
_NAME = re.compile(r"(.+)-(\d+)")
_ANSWER = re.compile(r"(\d+)(?:;(\S+))?")
_CLUSTERS = re.compile(r"(?:^|\s)(?:-M\s*|--clusters?(?:=|\s+))[\"']?([^\s\"']+)")
_HEADER = "CLUSTER: "
# What is said of a job that Slurm may hide.
_UNSEEN = "UNSEEN (another user's)"

# Which job: its submission, and its number in that.
_Key = tuple[str, int]


class _Array(NamedTuple):
    """Runs that become one array: the number of the first, those of all, and what each is to have.

    The numbers are those in the submission.
    """

    first: int
    numbers: Sequence[int]
    resources: Resources


class Slurm:
    """Gives runs to Slurm; see `gage.plugins.Engine`."""

    def submit(self, submission: Submission, options: Mapping[str, Any]) -> Sequence[str]:
        """Write a script for each array, and submit it."""
        _check(options)
        arrays = list(_arrays(submission.jobs, options.get("chunk", _DEFAULT_CHUNK)))
        words: dict[int, str] = {}
        submitted: list[str] = []
        try:
            for array in arrays:
                job_id, cluster = _submit(submission, array, options, is_sole=len(arrays) == 1)
                submitted.append(_word(job_id, "", cluster))
                words.update(_words(job_id, cluster, array, is_array=len(submission.jobs) > 1))
        except EngineFailed:
            # All are submitted or none.
            _cancel(submitted)
            raise
        return [words[number] for number in range(len(submission.jobs))]

    def poll(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> Sequence[JobState]:
        """Ask the controller for all, and then accounting for those that it has forgotten."""
        # By name: a number may be that of another job, where a controller forgot what it did last.
        known: dict[_Key, JobState] = {}
        ended: dict[_Key, str] = {}
        for cluster, there in _by_cluster(tickets, options).items():
            for key, state in _iter_queued(cluster, there):
                if key not in known or known[key].state == GONE:
                    known[key] = state
            forgotten = [ticket.job for ticket in there if ticket[:2] not in known]
            ended.update(_find_accounted(cluster, forgotten))
        return [known.get(ticket[:2]) or _not_known(ticket, ended) for ticket in tickets]

    def cancel(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Have them cancelled; Slurm terminates what executes."""
        states = self.poll(tickets, options)
        _cancel(state.job for state in states if state.state != GONE and state.said != _UNSEEN)
        if any(state.said == _UNSEEN for state in states):
            raise EngineUnreachable(
                "Slurm does not tell of jobs of another user",
                "who has submitted them can stop them",
            )

    def capabilities(self, options: Mapping[str, Any]) -> Capabilities:
        """Return that nodes have the runs home."""
        return Capabilities(has_files=True)

    def collect(self, ticket: Ticket, path: str, options: Mapping[str, Any]) -> bool:
        """Return that there is nothing to bring: all is in the runs home."""
        return False

    def let_go(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Do nothing: nothing is kept."""


def _check(options: Mapping[str, Any]) -> None:
    """Make sure that options are known and can stand in a script.

    Raises:
        EngineFailed: one is not.
    """
    for name, value in options.items():
        if name in _TEXTS:
            is_right = _is_line(value) or (name == "time" and _is_count(value))
        elif name in _NUMBERS:
            is_right = _is_count(value)
        elif name == _LINES:
            is_right = isinstance(value, list) and all(map(_is_line, value))
        else:
            known = ", ".join((*_TEXTS, *_NUMBERS, _LINES))
            raise EngineFailed(f"Slurm has no option {printable(name)}", f"there are {known}")
        if not is_right:
            what = "a number" if name in _NUMBERS else "texts" if name == _LINES else "a text"
            raise EngineFailed(f"the option {name} of Slurm must be {what}, not {value!r}")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _arrays(jobs: Sequence[Job], most: int) -> Iterator[_Array]:
    """Yield the arrays that jobs become: of the same resources, with numbers below `most`."""
    of_resources: dict[Resources, list[int]] = {}
    for number, job in enumerate(jobs):
        of_resources.setdefault(job.resources, []).append(number)
    for resources, numbers in of_resources.items():
        begin = 0
        for end in range(1, len(numbers) + 1):
            if end == len(numbers) or numbers[end] - numbers[begin] >= most:
                yield _Array(numbers[begin], numbers[begin:end], resources)
                begin = end


def _submit(
    submission: Submission, array: _Array, options: Mapping[str, Any], is_sole: bool
) -> tuple[str, str]:
    """Submit an array; return its id, and its cluster where the options name some."""
    name = "job.sh" if is_sole else f"job-{array.first}.sh"
    path = os.path.join(submission.folder, name)
    replace_file(path, os.fsencode(_script(submission, array, options)), mode=0o755)
    # Paths on the command line may hold anything; in the script they could not.
    said = _tell("sbatch", "--parsable", f"--chdir={submission.folder}", path)
    answer = _find_answer(said)
    if answer is None:
        raise EngineUnreachable("sbatch does not say what it has submitted", "repeat it later")
    return answer


def _find_answer(said: str) -> tuple[str, str] | None:
    """Return the id and the cluster that sbatch tells, among what else is printed."""
    for line in reversed(said.splitlines()):
        match = _ANSWER.fullmatch(line.strip())
        if match:
            return match[1], match[2] or ""
    return None


def _script(submission: Submission, array: _Array, options: Mapping[str, Any]) -> str:
    is_array = len(submission.jobs) > 1
    runner = [options.get("python", "python3"), "-I", submission.runner, "job"]
    lines = [f"--job-name={submission.name}-{array.first}"]
    if is_array:
        limit = f"%{options['limit']}" if "limit" in options else ""
        tasks = _ranges(number - array.first for number in array.numbers)
        lines.append(f"--array={tasks}{limit}")
    log = "%A_%a.log" if is_array else "%j.log"
    # Slurm takes these for its own, in the path of the folder too.
    is_plain = "%" not in submission.folder and "\\" not in submission.folder
    lines.append(f"--output={log if is_plain else os.devnull}")
    lines += ["--open-mode=append", "--requeue", f"--cpus-per-task={array.resources.cpus}"]
    if array.resources.memory is not None:
        lines.append(f"--mem={-(-array.resources.memory // _MIB)}M")
    if array.resources.gpus:
        lines.append(f"--gres=gpu:{array.resources.gpus}")
    lines += [f"--{name}={options[name]}" for name in _PASSED if name in options]
    lines += options.get(_LINES, ())
    if is_array:
        runs = os.path.join(submission.folder, "runs.json")
        first = f" + {array.first}" if array.first else ""
        what = f"Task N executes run number N{first} of runs.json, from 0."
        number = f"$((SLURM_ARRAY_TASK_ID{first}))" if first else "$SLURM_ARRAY_TASK_ID"
        command = f'{shlex.join([*runner, "--of", runs])} "{number}"'
    else:
        what = "Executes a run."
        command = shlex.join([*runner, submission.jobs[0].run_dir])
    grace = options.get("grace", _DEFAULT_GRACE)
    return "\n".join(
        [
            "#!/bin/sh",
            *(f"#SBATCH {line}" for line in lines),
            "",
            f"# {what} What a run prints is kept with it; what is in the way of one is told here.",
            "# Seconds that a run has to end when it is told to, before Slurm kills it (KillWait).",
            f'export GAGE_GRACE="${{GAGE_GRACE:-{grace}}}"',
            f"exec {command}",
            "",
        ]
    )


def _words(job_id: str, cluster: str, array: _Array, is_array: bool) -> Iterator[tuple[int, str]]:
    """Yield what Slurm calls the jobs of an array, by their numbers in the submission."""
    for number in array.numbers:
        yield number, _word(job_id, str(number - array.first) if is_array else "", cluster)


def _word(job_id: str, task: str, cluster: str) -> str:
    word = f"{job_id}_{task}" if task else job_id
    return f"{word}@{cluster}" if cluster else word


def _parts(word: str) -> tuple[str, str, str]:
    """Return the id, the task and the cluster of a word, "" for what it does not tell."""
    rest, _, cluster = word.partition("@")
    job_id, _, task = rest.partition("_")
    return job_id, task, cluster


def _ranges(numbers: Iterable[int]) -> str:
    """Return sorted numbers as Slurm writes them: `0-3,7`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def _compressed(words: Iterable[str]) -> Mapping[str, list[str]]:
    """Return words for jobs by cluster, with those of an array as one: `7_[0-3,9]`."""
    tasks: dict[tuple[str, str], set[int]] = {}
    for word in words:
        job_id, task, cluster = _parts(word)
        tasks.setdefault((cluster, job_id), set()).update([int(task)] if task else [])
    found: dict[str, list[str]] = {}
    for (cluster, job_id), numbers in tasks.items():
        word = f"{job_id}_[{_ranges(sorted(numbers))}]" if numbers else job_id
        found.setdefault(cluster, []).append(word)
    return found


def _cancel(words: Iterable[str]) -> None:
    for cluster, compressed in _compressed(words).items():
        for chunk in _chunks(compressed):
            _tell("scancel", *_at(cluster), *chunk)


def _at(cluster: str) -> Sequence[str]:
    """Return the words of a command that make it ask of others than this machine's cluster."""
    return [f"--clusters={cluster}"] if cluster else []


def _chunks(words: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(words), _MOST_IDS):
        yield words[begin : begin + _MOST_IDS]


def _by_cluster(
    tickets: Sequence[Ticket], options: Mapping[str, Any]
) -> Mapping[str, Sequence[Ticket]]:
    """Return what is asked of each cluster; "" is that of this machine."""
    named = _clusters(options)
    found: dict[str, list[Ticket]] = {} if tickets else {cluster: [] for cluster in named}
    for ticket in tickets:
        cluster = _parts(ticket.job)[2]
        for each in [cluster] if cluster else named:
            found.setdefault(each, []).append(ticket)
    return found


def _clusters(options: Mapping[str, Any]) -> Sequence[str]:
    """Return the clusters among which sbatch is to choose, maybe `all`; "" where none is named."""
    lines = options.get(_LINES, ())
    # They may be any, before a submission has checked them.
    texts = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
    named = [name for line in texts for name in _CLUSTERS.findall(line)]
    return named[-1].split(",") if named else [""]


def _iter_queued(cluster: str, tickets: Sequence[Ticket]) -> Iterator[tuple[_Key, JobState]]:
    """Yield what the controller knows of jobs, and maybe of others."""
    command = ["squeue", "--noheader", "--array", "--all", "--states=all", f"--format={_FIELDS}"]
    command += _at(cluster)
    # Where none is asked for, any that is answered for, or is unknown, tells of the controller.
    ids = {_parts(ticket.job)[0] for ticket in tickets} or {"1"}
    if "" not in ids and len(ids) <= _MOST_IDS:
        command.append(f"--jobs={','.join(sorted(ids))}")
    elif all(_is_own(ticket) for ticket in tickets):
        command.append("--me")
    done = _ask(command)
    # One cluster may not know a job, and another not answer.
    others = [line for line in done.stderr.splitlines() if _UNKNOWN not in line]
    if done.returncode and (_UNKNOWN not in done.stderr or any(map(_is_fault, others))):
        raise _error("squeue", "\n".join(others), done.returncode, is_asking=True)
    at = cluster
    for line in done.stdout.splitlines():
        if line.startswith(_HEADER):
            at = line.removeprefix(_HEADER).strip()
        fields = line.split("|", 5)
        if len(fields) < 6:
            continue
        job_id, task, state, reason, host, name = fields
        task = task if task.isdigit() else ""
        key = _find_key(task, name)
        if key:
            yield key, _state(_word(job_id, task, at), state, reason, host)


def _find_key(task: str, name: str) -> _Key | None:
    """Return the submission and the number in it of a job, by its task and what its script says."""
    match = _NAME.fullmatch(name)
    task = task or "0"
    return (match[1], int(match[2]) + int(task)) if match and task.isdigit() else None


def _not_known(ticket: Ticket, ended: Mapping[_Key, str]) -> JobState:
    """Return how it is about a job that the controller does not know, or does not tell of."""
    said = ended.get(ticket[:2])
    if said is None and not _is_own(ticket):
        return JobState(EXECUTING, ticket.job, _UNSEEN)
    return JobState(GONE, ticket.job, said or "")


def _is_own(ticket: Ticket) -> bool:
    """Tell whether a job is of this user, from whom Slurm hides none of those."""
    return find_submitter(ticket.submission) in (None, os.geteuid())


def _state(word: str, state: str, reason: str, host: str) -> JobState:
    is_queued = state in _QUEUED
    said = f"{state} ({reason})" if reason not in ("None", "") else state
    # What Slurm may say in times to come is not taken for an end.
    kind = QUEUED if is_queued else GONE if state in _GONE else EXECUTING
    return JobState(kind, word, said, "" if host in ("n/a", "(null)") else host)


def _find_accounted(cluster: str, words: Sequence[str]) -> Mapping[_Key, str]:
    """Return the states of jobs that the controller has forgotten, where there is accounting."""
    ids = sorted({_parts(word)[0] for word in words if word})
    found: dict[_Key, str] = {}
    for chunk in _chunks(ids):
        command = ["sacct", "--noheader", "--parsable2", "--allocations", "--allusers"]
        command += [*_at(cluster), "--format=JobID,State,JobName", f"--jobs={','.join(chunk)}"]
        try:
            done = _ask(command)
        except EngineUnreachable:
            return found
        for line in done.stdout.splitlines() if done.returncode == 0 else ():
            fields = line.split("|", 2)
            if len(fields) < 3:
                continue
            word, state, name = fields
            key = _find_key(_parts(word)[1], name)
            # `CANCELLED by 1000`.
            if key and state.partition(" ")[0] in _GONE:
                found[key] = state
    return found


def _tell(*command: str) -> str:
    """Execute a command of Slurm that changes something; return what it prints.

    Raises:
        EngineFailed: it did not, for certain.
        EngineUnreachable: nobody knows.
    """
    done = _ask(command)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        faults = [line for line in lines if command[0] != "scancel" or not _is_over(line)]
        if faults or not lines:
            has_told = command[0] == "sbatch" and _find_answer(done.stdout) is not None
            raise _error(command[0], "\n".join(faults), done.returncode, has_told)
    return done.stdout


def _is_fault(line: str) -> bool:
    return ": error: " in line or ": fatal: " in line


def _is_over(line: str) -> bool:
    """Tell whether a line of scancel says that the job has ended already."""
    return _UNKNOWN in line or "already completing or completed" in line


def _ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_PASSED and not name.startswith(_FILTERS)
    }
    # Only what asks may be left to itself: what tells may have told.
    timeout = None if command[0] == "sbatch" else _LONGEST_WAIT
    try:
        return subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        hint = "Slurm is used from machines where its commands are"
        # It was not told, for certain.
        kind = EngineFailed if command[0] == "sbatch" else EngineUnreachable
        raise kind(f"there is no {command[0]} here", hint) from None
    except subprocess.TimeoutExpired:
        raise EngineUnreachable(f"{command[0]} does not answer", "repeat it later") from None


def _error(program: str, said: str, status: int, is_asking: bool = False) -> EngineFailed:
    """Return the error of a command; one that was killed may have done what it was told."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    silent = f"{program} ended with status {status}, without a word"
    last = printable(lines[-1].removeprefix(f"{program}: error: ")) if lines else silent
    if is_asking or status < 0 or any(word in said for word in _NO_ANSWER):
        return EngineUnreachable(f"Slurm does not answer: {last}", "repeat it later")
    return EngineFailed(f"Slurm refused: {last}")
