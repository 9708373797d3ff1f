"""`gage check` names what interrupted commands left; `--repair` clears that, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gage._internal import fs, proc
from gage._internal.store import lock
from gage._internal.types import Run

GAGE_FILE = """\
[quick]
exec = "sh quick.sh"
[killed-at-staging]
exec = { run = "true", stage-runtime = "sh kill.sh" }
[killed-by-orphan]
exec = { run = "true", stage-runtime = "sh kill-and-wait.sh" }
[killed]
exec = "sh kill.sh"
[slow]
exec = "sh wait.sh"
[slow-to-stage]
exec = { run = "true", stage-runtime = "sh wait.sh" }
"""
# Waits until it is let go, and no longer than a test.
WAIT = 'for i in $(seq 600); do test -e "$GO" && exit; sleep 0.05; done\n'
FILES = {
    "gage.toml": GAGE_FILE,
    "quick.sh": "echo ran; echo made > made.txt\n",
    "kill.sh": "kill -9 $PPID\n",
    "kill-and-wait.sh": "exec > /dev/null 2>&1; kill -9 $PPID\n" + WAIT,
    "wait.sh": 'touch "$WAITING-$RUN_ID"\n' + WAIT,
}
UNMADE = "11111111-2222-4333-8444-555555555555"
BEGINNING = [
    ["stage", "quick"],
    ["run", "quick", "-q"],
    ["label", "1", "mine"],
    ["stage", "quick"],
    ["delete", "-y", "1"],
]
PATIENCE = 20.0


class Left(NamedTuple):
    """What was left where, as `gage check` names it, and how `--repair` clears it."""

    path: Path
    what: str
    remedy: str


class Changes(NamedTuple):
    """Paths in the project that are gone, that came, and that are not as they were."""

    gone: set[str]
    new: set[str]
    other: set[str]


@pytest.fixture
def here(project, tmp_path) -> Iterator[Any]:
    """A project with what has to stay as it is: runs of several kinds, and files of others."""
    found = project(FILES)
    go = tmp_path / "go"
    env = {**found.env, "GO": str(go), "WAITING": str(tmp_path / "waiting")}
    found = dataclasses.replace(found, env=env)
    # In one process: each start takes its time.
    code = (
        f"from gage._internal.cli.main import main\nfor args in {BEGINNING}: assert main(args) == 0"
    )
    found.python(code).succeeds()
    found.write(".gage/runs/notes.txt", "not Gage's")
    found.write(".gage/runs/.notes.txt.123.0123abcd", "not Gage's either")
    yield found
    go.touch()


def stage(here) -> Path:
    return here.runs_home / here.gage("stage", "quick").succeeds().out.strip()


def trash(here) -> Path:
    return here.runs_home / ".trash"


def meta(run_dir: Path, name: str = "") -> Path:
    return Path(f"{run_dir}.meta", name)


def status(here, run_dir: Path) -> str:
    return here.gage("show", run_dir.name, "--json").succeeds().json["status"]


def by_one_that_is_gone(here, run_dir: Path, code: str) -> str:
    """Run code on a run in a process that is gone afterwards; return what it prints."""
    begin = (
        "import os\n"
        "from gage._internal import fs\n"
        "from gage._internal.store import lock\n"
        "from gage._internal.types import Run\n"
        f"run = Run({run_dir.name!r}, {str(run_dir)!r})\n"
    )
    return here.python(begin + code).succeeds().out.strip()


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def everything(here) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(here.dir)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in here.dir.rglob("*")
    }


def leftovers(outcome) -> list[tuple[str, str, str]]:
    return sorted(
        (each["result"], each["path"], each["text"])
        for each in outcome.json
        if each["check"] == "leftover"
    )


def check_nothing_is_found(here) -> None:
    """Make sure that nothing is taken for a leftover, and nothing is changed."""
    before = everything(here)
    for args in (["check", "--json"], ["check", "--repair", "--json"]):
        outcome = here.gage(*args)
        assert "Traceback" not in outcome.err
        assert leftovers(outcome) == []
        assert everything(here) == before


def repair(here, *left: Left) -> Changes:
    """Make sure that this is found, all of it, and repaired; return what that has changed."""
    before = everything(here)
    named = sorted(("failed", str(each.path), f"{each.path}: {each.what}") for each in left)
    assert leftovers(here.gage("check", "--json").exits(1)) == named
    assert everything(here) == before
    mended = sorted(
        ("mended", str(each.path), f"{each.path}: {each.what}, {each.remedy}") for each in left
    )
    assert leftovers(here.gage("check", "--repair", "--json").succeeds()) == mended
    after = everything(here)
    assert leftovers(here.gage("check", "--json").succeeds()) == []
    return Changes(
        before.keys() - after.keys(),
        after.keys() - before.keys(),
        {path for path in before.keys() & after.keys() if before[path] != after[path]},
    )


def without(files: dict[str, tuple[int, bytes]], *runs: Path) -> dict[str, tuple[int, bytes]]:
    return {path: at for path, at in files.items() if not any(run.name in path for run in runs)}


def check_moved_to_trash(changes: Changes) -> None:
    moved = {path.replace("/runs/", "/runs/.trash/") for path in changes.gone}
    assert (changes.new, changes.other) == (moved, set())


def names(here, *paths: Path | str) -> set[str]:
    return {str(Path(path).relative_to(here.dir)) for path in paths}


@pytest.mark.parametrize(
    "place",
    [
        *("{home}/any", "{home}/../.gitignore", "{deleted}.meta/name"),
        *("{run}.meta/opdef.json", "{run}.meta/proc/cmd", "{run}.notes/label"),
    ],
)
def test_an_unfinished_file(here, place):
    run = here.runs()[-1]
    (deleted,) = (path.with_suffix("") for path in trash(here).glob("*.meta"))
    path = os.path.normpath(place.format(home=here.runs_home, run=run, deleted=deleted))
    left = by_one_that_is_gone(here, run, f"print(fs.write_beside({path!r}, b'half'))")
    changes = repair(here, Left(Path(left), "an unfinished file", "removed"))
    assert changes == (names(here, left), set(), set())


def test_a_run_that_was_staged_in_part(here):
    assert here.gage("stage", "killed-at-staging").code == -9
    run = here.runs()[-1]
    wait_until(lambda: not proc.run_processes(run.name))
    assert (run / "quick.sh").exists() and status(here, run) == "failed"
    (mark,) = here.runs_home.glob(f".{run.name}.*")
    what, remedy = "a run that was staged in part", "emptied, and recorded as failed"
    changes = repair(here, Left(run, what, remedy))
    assert list(run.iterdir()) == []
    assert changes.gone == names(here, mark, meta(run, "proc/lock"), *(run / f for f in FILES))
    assert changes.new == names(here, meta(run, "proc/error"), meta(run, "stopped"))
    assert changes.other == names(here, meta(run, "log/runner"))
    shown = here.gage("show", run.name, "--json").succeeds().json
    assert shown["status"] == "failed"
    assert shown["reason"].startswith("staging was interrupted: process ")
    here.gage("start", run.name).fails(125, "run-not-staged")


def test_what_was_staged_in_part_is_cleared_by_the_next_that_stages(here):
    before = everything(here)
    assert here.gage("stage", "killed-at-staging").code == -9
    run = here.runs()[-1]
    wait_until(lambda: not proc.run_processes(run.name))
    next_one = stage(here)
    assert list(run.iterdir()) == []
    assert leftovers(here.gage("check", "--json").succeeds()) == []
    assert without(everything(here), run, next_one) == before


MAKING = [
    "os.mkdir(run.run_dir)",
    "os.makedirs(run.run_dir + '.meta/proc')",
    "fs.replace_file(run.run_dir + '.meta/id', b'half')",
    "fs.write_beside(run.run_dir + '.meta/proc/cmd', b'half')",
]


@pytest.mark.parametrize("count", range(len(MAKING) + 1))
def test_a_run_that_was_made_in_part(here, count):
    before = everything(here)
    run = here.runs_home / UNMADE
    by_one_that_is_gone(here, run, "\n".join(["lock.announce(run)", *MAKING[:count]]))
    changes = repair(here, Left(run, "a run that was made in part", "removed"))
    assert not changes.new | changes.other
    assert everything(here) == before


@pytest.mark.parametrize("parts", [[""], ["", ".meta/proc"]], ids=["a directory", "two"])
def test_a_run_that_was_not_made_to_its_end_and_has_no_mark(here, parts):
    before = everything(here)
    run = here.runs_home / UNMADE
    for part in parts:
        Path(f"{run}{part}").mkdir(parents=True)
    # Somebody who uses a part of Gage may be about to go on.
    check_nothing_is_found(here)
    an_hour_later = (
        "import sys\n"
        "from gage._internal.catalog import leftovers\n"
        "from gage._internal.cli.main import main\n"
        "leftovers._UNMARKED_FOR = -1\n"
        "sys.exit(main({!r}))\n"
    )
    what = f"{run}: a run that was not made to its end"
    named = here.python(an_hour_later.format(["check", "--json"])).exits(1)
    assert leftovers(named) == [("failed", str(run), what)]
    mended = here.python(an_hour_later.format(["check", "--repair", "--json"])).succeeds()
    assert leftovers(mended) == [("mended", str(run), f"{what}, removed")]
    assert everything(here) == before


def test_files_of_a_run_without_its_meta_directory_are_left_to_people(here):
    run = here.runs_home / UNMADE
    here.write(f".gage/runs/{UNMADE}/result.txt", "of use?")
    before = everything(here)
    told = (
        f"{run}: files of a run without its meta directory:"
        " move it away, or remove it, if nothing in it is of use"
    )
    for args in ([], ["--repair"]):
        outcome = here.gage("check", *args, "--json").exits(1)
        assert leftovers(outcome) == [("failed", str(run), told)]
        assert "--repair" not in outcome.err
    assert everything(here) == before


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_was_deleted_in_part(here, count):
    run = here.runs()[-1]
    suffixes = ("", ".notes", ".meta")
    for suffix in suffixes[:count]:
        Path(f"{run}{suffix}").rename(trash(here) / f"{run.name}{suffix}")
    check_moved_to_trash(repair(here, Left(run, "a run that was deleted in part", "deleted")))
    here.gage("restore", run.name).succeeds()
    assert status(here, run) == "completed"


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_was_restored_in_part(here, count):
    run = here.runs()[-1]
    before = everything(here)
    here.gage("delete", "-y", run.name).succeeds()
    suffixes = ("", ".notes", ".meta")
    for suffix in suffixes[:count]:
        (trash(here) / f"{run.name}{suffix}").rename(f"{run}{suffix}")
    what = "a run that was restored in part"
    repair(here, Left(trash(here) / run.name, what, "restored"))
    assert everything(here) == before


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_that_was_purged_in_part(here, count):
    run = here.runs()[-1]
    before = everything(here)
    here.gage("delete", "-y", run.name).succeeds()
    code = (
        "from gage._internal.catalog.trash import parts\n"
        f"for path in parts(run)[:{count}]:\n"
        "    os.rename(path, fs.path_beside(path))"
    )
    by_one_that_is_gone(here, trash(here) / run.name, code)
    what = "a run that was purged in part"
    repair(here, Left(trash(here) / run.name, what, "removed"))
    assert everything(here) == without(before, run)


@pytest.mark.parametrize("name", ["opdef.json", "proc/cmd", "staged"])
def test_a_run_whose_record_was_lost_with_the_machine(here, name):
    run = here.runs()[0]
    os.truncate(meta(run, name), 0)
    what = "a run whose record was lost with the machine"
    check_moved_to_trash(repair(here, Left(run, what, "deleted")))
    assert run.name in {each["id"] for each in here.gage("list", "--deleted", "--json").json}


def test_the_lock_of_a_run_that_has_ended(here):
    run = here.runs()[-1]
    by_one_that_is_gone(here, run, "lock.acquire(run)")
    path = meta(run, "proc/lock")
    changes = repair(here, Left(path, "the lock of a run that has ended", "removed"))
    assert changes == (names(here, path), set(), set())
    assert status(here, run) == "completed"


def test_the_claim_of_a_run_of_which_nothing_was_started(here):
    run = here.runs()[0]
    by_one_that_is_gone(here, run, "lock.acquire(run)")
    assert status(here, run) == "staged"
    path = meta(run, "proc/lock")
    what = "the claim of a run of which nothing was started"
    changes = repair(here, Left(path, what, "given back: the run is staged"))
    assert changes == (names(here, path), set(), names(here, meta(run, "log/runner")))
    assert "Given back: process " in meta(run, "log/runner").read_text()
    assert here.gage("start", run.name, "-q").succeeds().out == "ran\n"
    here.gage("start", run.name).fails(125, "run-already-started")


def test_a_run_of_which_nothing_was_started_is_started_as_it_is(here):
    run = here.runs()[0]
    by_one_that_is_gone(here, run, "lock.acquire(run)")
    assert here.gage("start", run.name, "-q").succeeds().out == "ran\n"
    here.gage("start", run.name).fails(125, "run-already-started")
    here.gage("verify", run.name).succeeds()


def test_the_claim_of_a_run_that_was_changed_is_not_given_back(here):
    run = here.runs()[0]
    by_one_that_is_gone(here, run, "lock.acquire(run)")
    (run / "quick.sh").chmod(0o755)
    before = everything(here)
    outcome = here.gage("check", "--repair", "--json").exits(1)
    ((result, path, text),) = leftovers(outcome)
    assert (result, path) == ("failed", str(meta(run, "proc/lock")))
    assert "quick.sh" in text
    assert everything(here) == before
    assert status(here, run) == "staged"


def test_the_claim_of_a_run_that_may_have_begun_is_not_given_back(here):
    before_a_power_cut, started = here.runs()[0], stage(here)
    for run in (before_a_power_cut, started):
        by_one_that_is_gone(here, run, "lock.acquire(run)")
    change_lock(before_a_power_cut, boot_id="another")
    meta(started, "started").write_text("1700000000000000\n")
    check_nothing_is_found(here)
    assert status(here, before_a_power_cut) == status(here, started) == "lost"


def test_a_run_that_has_ended_and_was_recorded_in_part(here):
    run = stage(here)
    code = "meta.write_time(run, 'started', 1); meta.write_text(run, 'proc/exit', '0')"
    code = f"from gage._internal.store import meta\nlock.acquire(run); {code}"
    by_one_that_is_gone(here, run, code)
    (run / "made.txt").write_text("made")
    changes = repair(here, Left(run, "a run whose end was recorded in part", "recorded"))
    assert meta(run, "proc/lock").relative_to(here.dir).as_posix() in changes.gone
    assert status(here, run) == "completed"
    here.gage("verify", run.name).succeeds()
    assert "made.txt" in here.gage("show", run.name, "--files", "--json").out


def test_room_that_was_kept_for_the_end_of_a_run(here):
    assert here.gage("run", "killed", "-q").code == -9
    run = here.runs()[-1]
    path = meta(run, "proc/spare")
    changes = repair(here, Left(path, "room that was kept for the end of a run", "removed"))
    assert changes == (names(here, path), set(), set())
    assert status(here, run) == "lost"


def test_what_an_engine_was_given_for_runs_that_know_nothing_of_it(here):
    engine = "[engines.there]\nkind = 'local'\n"
    here.write("gage.toml", GAGE_FILE + engine)
    runs = [stage(here) for _ in range(3)]
    for run in runs:
        here.gage("start", "--on", "there", "--wait", run.name).succeeds()
    submissions = {run: here.runs_home / ".jobs" / submission_of(run) for run in runs}
    here.gage("delete", "-y", runs[0].name).succeeds()
    here.gage("delete", "-y", runs[1].name).succeeds()
    here.gage("purge", "-y", runs[1].name).succeeds()
    # It was made just now, and may be about to be noted.
    check_nothing_is_found(here)
    for folder in submissions.values():
        os.utime(folder, (0, 0))
    left = submissions[runs[1]]
    what = "files of a submission to an engine that no run is part of any more"
    paths = names(here, left, *left.rglob("*"))
    changes = repair(here, Left(left, what, "removed"))
    assert changes == (paths, set(), set()) and len(paths) > 2


def submission_of(run_dir: Path) -> str:
    return json.loads(Path(f"{run_dir}.notes", "job").read_bytes())["submission"]


def change_lock(run_dir: Path, **changes: str) -> None:
    path = meta(run_dir, "proc/lock")
    fields = json.loads(path.read_bytes())
    path.chmod(0o644)
    path.write_text(json.dumps({**fields, **changes}))


def test_what_living_processes_are_at_is_left_alone(here, tmp_path):
    processes = [here.begin("run", "slow", "-q"), here.begin("stage", "slow-to-stage")]
    wait_until(lambda: len(list(tmp_path.glob("waiting-*"))) == 2)
    claimed, made = here.runs()[0], here.runs_home / UNMADE
    lock.acquire(Run(claimed.name, str(claimed)))
    lock.announce(Run(made.name, str(made)))
    made.mkdir()
    fs.write_beside(str(here.runs_home / "any"), b"half")
    fs.write_beside(str(meta(here.runs()[1], "opdef.json")), b"half")
    check_nothing_is_found(here)
    assert {each["status"] for each in here.gage("list", "--json").succeeds().json} == {
        *("running", "staging", "completed")
    }
    (tmp_path / "go").touch()
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    statuses = [each["status"] for each in here.gage("list", "--json").succeeds().json]
    assert sorted(statuses) == ["completed", "completed", "running", "staged"]


def test_what_a_hook_still_works_on_is_left_alone(here, tmp_path):
    assert here.gage("stage", "killed-by-orphan").code == -9
    run = here.runs()[-1]
    assert proc.run_processes(run.name)
    check_nothing_is_found(here)
    (tmp_path / "go").touch()
    wait_until(lambda: not proc.run_processes(run.name))
    what, remedy = "a run that was staged in part", "emptied, and recorded as failed"
    repair(here, Left(run, what, remedy))


def test_what_another_host_is_at_is_left_alone(here):
    claimed, ended = here.runs()
    for run in (claimed, ended):
        by_one_that_is_gone(here, run, "lock.acquire(run)")
        change_lock(run, host="elsewhere", boot_id="another")
    made = here.runs_home / UNMADE
    by_one_that_is_gone(here, made, "lock.announce(run); os.mkdir(run.run_dir)")
    by_one_that_is_gone(here, made, "fs.write_beside(os.path.dirname(run.run_dir) + '/any', b'')")
    space = proc.pid_space()
    for path in here.runs_home.glob(f".*.{space}*"):
        path.rename(path.with_name(path.name.replace(space, f"{int(space, 16) ^ 1:08x}")))
    check_nothing_is_found(here)


def test_a_lock_that_cannot_be_read_is_left_alone(here):
    for run in here.runs():
        meta(run, "proc/lock").write_text("garbled")
    check_nothing_is_found(here)


def test_what_people_read(here):
    run = here.runs()[0]
    by_one_that_is_gone(here, run, "lock.acquire(run)")
    path = meta(run, "proc/lock")
    what = f"{path}: the claim of a run of which nothing was started"
    named = here.gage("check").fails(1, "check-failed")
    assert named.out.splitlines()[-1] == f"failed leftover    {what}"
    assert "1 of 5 checks failed" in named.err
    assert "gage check --repair clears what was left" in named.err
    mended = here.gage("check", "--repair").succeeds()
    assert (
        mended.out.splitlines()[-1] == f"mended leftover    {what}, given back: the run is staged"
    )
    assert "leftover" not in here.gage("check").succeeds().out


def test_repair_is_not_for_one_run(here):
    assert "gage check --repair" in here.gage("check", "1", "--repair").fails(2, "usage").err
