"""What Slurm answers in places that a cluster of the tests is none of, by commands in its stead."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gage._internal.engines import slurm
from gage._internal.engines.slurm import Slurm
from gage._internal.errors import EngineFailed, EngineUnreachable
from gage._internal.store.resources import Resources
from gage.plugins import (
    EXECUTING,
    GONE,
    QUEUED,
    Job,
    JobState,
    Submission,
    Ticket,
    find_submitter,
    submission_name,
)

MINE = f"gage-{os.geteuid()}-0123456789ab"
OTHERS = f"gage-{os.geteuid() + 1}-0123456789ab"
WEST = {"sbatch": ["--nice=5 -M west"]}


class Commands:
    """Commands that answer what a test says, and tell how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        for name in ("sbatch", "squeue", "sacct", "scancel"):
            self.say(name)

    def say(
        self, name: str, out: str = "", err: str = "", status: int = 0, where: str = "*"
    ) -> None:
        """Let a command answer so, and print only `where` its words are like this."""
        for stream, text in (("out", out), ("err", err)):
            (self.folder / f"{name}.{stream}").write_text(text)
        script = (
            f'echo "{name} $*" >> {self.calls}\n'
            f'case "$*" in {where}) cat {self.folder}/{name}.out;; esac\n'
            f"cat {self.folder}/{name}.err >&2; exit {status}\n"
        )
        (self.folder / name).write_text(f"#!/bin/sh\n{script}")
        (self.folder / name).chmod(0o755)

    def told(self, name: str) -> list[list[str]]:
        """Return the words that a command was called with, each time."""
        words = [line.split(" ") for line in self.calls.read_text().splitlines()]
        return [rest for first, *rest in words if first == name]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Commands(folder)


@pytest.fixture
def submission(tmp_path: Path) -> Callable[..., Submission]:
    def make(*cpus: int) -> Submission:
        jobs = [Job(str(n), f"/r/{n}", Resources(each)) for n, each in enumerate(cpus)]
        return Submission(MINE, jobs, "/r/runner", str(tmp_path))

    return make


def row(job_id: int, task: object, state: str, name: str) -> str:
    return f"{job_id}|{task}|{state}|None|n1|{name}\n"


def states(tickets: Sequence[Ticket], **options: object) -> Sequence[JobState]:
    return Slurm().poll(tickets, options)


def test_what_ends_without_a_word_has_failed(
    commands: Commands, submission: Callable[..., Submission]
) -> None:
    commands.say("sbatch", status=1)
    with pytest.raises(EngineFailed, match="sbatch ended with status 1, without a word") as told:
        Slurm().submit(submission(1), {})
    assert not isinstance(told.value, EngineUnreachable)
    commands.say("squeue", row(7, "N/A", "RUNNING", f"{MINE}-0"))
    commands.say("scancel", status=1)
    with pytest.raises(EngineFailed, match="scancel ended with status 1"):
        Slurm().cancel([Ticket(MINE, 0, "7")], {})
    over = "scancel: error: Kill job error on job id 7: Job/step already completing or completed\n"
    commands.say("scancel", err=over, status=1)
    Slurm().cancel([Ticket(MINE, 0, "7")], {})
    commands.say("squeue", status=1)
    with pytest.raises(EngineUnreachable, match="squeue ended with status 1"):
        states([Ticket(MINE, 0, "7")])


@pytest.mark.parametrize(("out", "status"), [("", 0), ("welcome\n", 0), ("7\n", 1), ("", 137)])
def test_what_may_be_submitted_is_not_said_to_be_refused(
    commands: Commands, submission: Callable[..., Submission], out: str, status: int
) -> None:
    commands.say("sbatch", out, status=status)
    if status == 137:
        # Killed itself, as where memory is short.
        (commands.folder / "sbatch").write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(EngineUnreachable):
        Slurm().submit(submission(1), {})


def test_what_else_is_printed_is_passed_over(
    commands: Commands, submission: Callable[..., Submission]
) -> None:
    commands.say("sbatch", "welcome to 2 clusters\n7\nhave a nice day\n")
    assert Slurm().submit(submission(1, 1), {}) == ["7_0", "7_1"]
    lines = "welcome\nCLUSTER: here\n\n" + row(7, 0, "RUNNING", f"{MINE}-0") + "a|b\n"
    commands.say("squeue", lines)
    commands.say("sacct", f"welcome\n7_1|CANCELLED by 0|{MINE}-0\n|\n")
    assert states([Ticket(MINE, 0, "7_0"), Ticket(MINE, 1, "7_1")]) == [
        JobState(EXECUTING, "7_0@here", "RUNNING", "n1"),
        JobState(GONE, "7_1", "CANCELLED by 0"),
    ]


def test_the_cluster_that_was_chosen_is_the_one_that_is_asked(
    commands: Commands, submission: Callable[..., Submission]
) -> None:
    commands.say("sbatch", "7;west\n")
    words = Slurm().submit(submission(1, 1), WEST)
    assert words == ["7_0@west", "7_1@west"]
    tickets = [Ticket(MINE, number, word) for number, word in enumerate(words)]
    name = f"{MINE}-0"
    commands.say("squeue", "CLUSTER: west\n" + row(7, 0, "PENDING", name))
    told = Slurm().poll(tickets, WEST)
    assert told == [JobState(QUEUED, "7_0@west", "PENDING", "n1"), JobState(GONE, "7_1@west")]
    for command in ("squeue", "sacct"):
        assert all("--clusters=west" in each for each in commands.told(command))
        assert "--jobs=7" in commands.told(command)[0]
    Slurm().cancel(tickets, WEST)
    assert commands.told("scancel") == [["--clusters=west", "7_[0]"]]


def test_what_was_interrupted_is_looked_for_where_it_may_be(commands: Commands) -> None:
    answer = row(7, 0, "RUNNING", f"{MINE}-0")
    commands.say("squeue", f"CLUSTER: east\n\nCLUSTER: west\n{answer}")
    (told,) = states([Ticket(MINE, 0)], sbatch=["-M all"])
    assert told == JobState(EXECUTING, "7_0@west", "RUNNING", "n1")
    # Of one, Slurm does not say which.
    commands.say("squeue", answer, where="*west*")
    for line in ("-M east,west", "-Meast,west", "--clusters=east,west", "--cluster 'east,west'"):
        (told,) = states([Ticket(MINE, 0)], sbatch=["-M nowhere", line, "--mail-user=-M"])
        assert told == JobState(EXECUTING, "7_0@west", "RUNNING", "n1")
    assert Slurm().poll((), WEST) == [] and "--clusters=west" in commands.told("squeue")[-1]
    # Before they are checked, options may be anything.
    assert states((), sbatch=5) == [] and states((), sbatch=[5]) == []


def test_a_cluster_that_does_not_answer_is_not_one_that_does_not_know(commands: Commands) -> None:
    unknown = "slurm_load_jobs error: Invalid job id specified\n"
    ticket = Ticket(MINE, 0, "7@west")
    commands.say("squeue", err=f"squeue: warning: be careful\n{unknown}", status=1)
    assert states([ticket]) == [JobState(GONE, "7@west")]
    away = "squeue: error: 'west' can't be reached now\n"
    commands.say("squeue", err=unknown + away, status=1)
    with pytest.raises(EngineUnreachable, match="west"):
        states([ticket])


def test_all_that_were_submitted_are_taken_back_where_they_are(
    commands: Commands, submission: Callable[..., Submission]
) -> None:
    (commands.folder / "sbatch").write_text(
        '#!/bin/sh\ncase "$*" in *job-0.sh) echo "7;west";; *) exit 1;; esac\n'
    )
    with pytest.raises(EngineFailed, match="without a word"):
        Slurm().submit(submission(1, 2), WEST)
    assert commands.told("scancel") == [["--clusters=west", "7"]]


def test_what_another_user_has_submitted_is_not_gone_where_it_is_hidden(
    commands: Commands,
) -> None:
    tickets = [Ticket(OTHERS, 0, "7_0"), Ticket(OTHERS, 1), Ticket(MINE, 0, "8")]
    for said in ("", "slurm_load_jobs error: Invalid job id specified\n"):
        commands.say("squeue", err=said, status=int(said != ""))
        told = states(tickets)
        assert [each.state for each in told] == [EXECUTING, EXECUTING, GONE]
        assert told[0].said == told[1].said == "UNSEEN (another user's)"
    with pytest.raises(EngineUnreachable, match="jobs of another user"):
        Slurm().cancel(tickets, {})
    # What accounting tells is certain.
    commands.say("sacct", f"7_0|COMPLETED|{OTHERS}-0\n")
    assert [each.state for each in states(tickets)] == [GONE, EXECUTING, GONE]
    # A submission of whom nobody knows.
    assert states([Ticket("gage-0123456789ab", 0, "7")])[0].state == GONE


def test_what_another_user_has_submitted_is_asked_for_too(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.say("squeue", row(7, 0, "PENDING", f"{OTHERS}-0"))
    (told,) = states([Ticket(OTHERS, 0)])
    assert (told.state, told.job) == (QUEUED, "7_0")
    monkeypatch.setattr(slurm, "_MOST_IDS", 1)
    states([Ticket(MINE, 0, "7"), Ticket(OTHERS, 0, "8")])
    states([Ticket(MINE, 0, "7"), Ticket(MINE, 0, "8")])
    whose = [[word for word in words if word == "--me"] for words in commands.told("squeue")]
    assert whose == [[], [], ["--me"]]
    assert not any("--jobs" in word for words in commands.told("squeue") for word in words)


def test_the_name_of_a_submission_tells_of_whom_it_is() -> None:
    assert find_submitter(submission_name()) == os.geteuid()
    assert submission_name() != submission_name()
    assert find_submitter("gage-0123456789ab") is None
