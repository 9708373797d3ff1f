"""Engines that runs are given to, each a real one, and projects whose runs are."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from conftest import Outcome, Project
from gage._internal.store import layout
from gage._internal.store.status import run_status
from remotes.counting_proxy import CountingProxy

from .dask_cluster import DaskCluster, running_dask
from .ray_cluster import RayCluster, running_ray
from .slurm_cluster import Cluster, running_cluster, until

# Counts how often it begins, waits until it may end where it is told to, and ends as it is told.
WORK = """
echo "begun by $$" >> began
echo "on $(hostname)"
# Slurm tells each process of a job, in whatever order.
trap 'echo told to stop; sleep 0.2; exit 9' TERM
while [ -n "$WAIT" ] && [ ! -e "$WAIT" ]; do sleep 0.05; done
echo done > made.txt
exit "${CODE:-0}"
"""


class Given(Protocol):
    """An engine that a test gives runs to: its kind and options, and the environment it takes."""

    kind: str
    options: Mapping[str, Any]
    env: Mapping[str, str]

    def held(self) -> AbstractContextManager[None]:
        """Keep it from starting jobs; those that it is given wait."""

    def away(self) -> AbstractContextManager[None]:
        """Let it not be reached."""


@dataclass
class GivenSlurm:
    """The cluster of the tests."""

    cluster: Cluster
    kind: str = "slurm"

    @property
    def options(self) -> Mapping[str, Any]:
        return {}

    @property
    def env(self) -> Mapping[str, str]:
        return self.cluster.env

    @contextmanager
    def held(self) -> Iterator[None]:
        self.cluster.tell("scontrol", "update", "PartitionName=debug", "State=DOWN")
        try:
            yield
        finally:
            self.cluster.tell("scontrol", "update", "PartitionName=debug", "State=UP")

    @contextmanager
    def away(self) -> Iterator[None]:
        # Killed, it may lose what it was told in the last seconds.
        self.cluster.end("slurmctld")
        try:
            yield
        finally:
            self.cluster.start_controller()
            self.cluster.until_up()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def given_slurm(request: pytest.FixtureRequest) -> Given:
    return GivenSlurm(request.getfixturevalue("cluster"))


class Door:
    """The way to a cluster, which can be shut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._proxy = CountingProxy(port)
        self.port = self._proxy.port

    @contextmanager
    def shut(self) -> Iterator[None]:
        self._proxy.close()
        try:
            yield
        finally:
            self._proxy = CountingProxy(self._target, self.port)

    def close(self) -> None:
        self._proxy.close()


@dataclass
class GivenDask:
    """The Dask cluster of the tests, whose workers have the files of this machine."""

    cluster: DaskCluster
    door: Door
    kind: str = "dask"
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> Mapping[str, Any]:
        return {"address": f"tcp://127.0.0.1:{self.door.port}"}

    def held(self) -> AbstractContextManager[None]:
        return self.cluster.held()

    def away(self) -> AbstractContextManager[None]:
        return self.door.shut()


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with running_dask(tmp_path_factory.mktemp("dask"), workers=3) as found:
        yield found


def given_dask(request: pytest.FixtureRequest) -> Given:
    cluster = request.getfixturevalue("dask_cluster")
    door = Door(cluster.port)
    request.addfinalizer(door.close)
    return GivenDask(cluster, door)


@dataclass
class GivenRay:
    """The Ray cluster of the tests; as long as a test has it, it is in the network of it."""

    cluster: RayCluster
    door: Door
    kind: str = "ray"
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> Mapping[str, Any]:
        return {"address": f"127.0.0.1:{self.door.port}"}

    def held(self) -> AbstractContextManager[None]:
        return self.cluster.held()

    def away(self) -> AbstractContextManager[None]:
        return self.door.shut()


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with running_ray(tmp_path_factory.mktemp("ray"), cpus=3) as found:
        yield found


def given_ray(request: pytest.FixtureRequest) -> Given:
    cluster = request.getfixturevalue("ray_cluster")
    entered = cluster.entered()
    entered.__enter__()
    request.addfinalizer(lambda: entered.__exit__(None, None, None))
    door = Door(cluster.port)
    request.addfinalizer(door.close)
    return GivenRay(cluster, door)


@dataclass
class GivenLocal:
    """This machine, with a directory of its own for what the engine knows."""

    states: Path
    kind: str = "local"
    options: Mapping[str, Any] = field(default_factory=lambda: {"jobs": 4})

    @property
    def env(self) -> Mapping[str, str]:
        return {"XDG_STATE_HOME": str(self.states)}

    @contextmanager
    def held(self) -> Iterator[None]:
        # As if jobs of other submissions had all places that are left.
        slots = self.states / "gage" / "hosts" / os.uname().nodename
        slots.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for number in range(4):
                slot = stack.enter_context(open(slots / f"slot-{number}", "a"))
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    # A job has it.
                    pass
            yield

    @contextmanager
    def away(self) -> Iterator[None]:
        aside = self.states.with_name("aside")
        self.states.rename(aside)
        self.states.touch()
        try:
            yield
        finally:
            self.states.unlink()
            aside.rename(self.states)


def given_local(request: pytest.FixtureRequest) -> Given:
    return GivenLocal(request.getfixturevalue("tmp_path") / "states")


# Each engine that passes the suite.
KINDS: Mapping[str, Callable[[pytest.FixtureRequest], Given]] = {
    "dask": given_dask,
    "local": given_local,
    "ray": given_ray,
    "slurm": given_slurm,
}


@dataclass(frozen=True)
class Bench:
    """A project whose runs are given to an engine, which its settings call `there`."""

    project: Project
    given: Given
    env: Mapping[str, str]

    def gage(self, *args: str, env: Mapping[str, str] | None = None) -> Outcome:
        return self.project.gage(*args, env={**self.env, **(env or {})})

    def begin(self, *args: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Begin a command; `before` is what executes it."""
        return subprocess.Popen(
            [*before, sys.executable, "-m", "gage", *args],
            cwd=self.project.dir,
            env={**self.project.env, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def stage(self, **values: Any) -> str:
        """Stage a run of the operation `work`; return its id."""
        words = [f"{name}={value}" for name, value in values.items()]
        return self.gage("stage", "work", *words).succeeds().out.strip()

    def stage_many(self, operation: str, count: int) -> list[str]:
        """Stage runs of an operation, in one process; return their ids."""
        code = f"import gage\nfor n in range({count}): print(gage.stage({operation!r}).run.id)"
        done = self.project.python(code)
        assert done.code == 0, done
        return done.out.split()

    def submit(self, *runs: str, **options: Any) -> list[dict[str, Any]]:
        done = self.gage("start", "--on", "there", "--json", *runs, **options).succeeds()
        found: list[dict[str, Any]] = done.json
        return found

    def job(self, run_id: str) -> dict[str, Any]:
        (row,) = self.gage("jobs", run_id, "--json").succeeds().json
        assert row["id"] == run_id
        found: dict[str, Any] = row
        return found

    def ask(self, method: str, *runs: str) -> Any:
        """Ask the engine itself of the jobs of runs; nothing is settled by that."""
        notes = [self.note(run) for run in runs]
        tickets = [[note["submission"], note["number"], note["job"]] for note in notes]
        given = json.dumps({"tickets": tickets, "options": dict(self.given.options)})
        script = Path(__file__).with_name("drive.py")
        done = subprocess.run(
            [sys.executable, str(script), self.given.kind, method],
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def status(self, run_id: str) -> str:
        return str(self.gage("show", run_id, "--json").succeeds().json["status"])

    def status_of(self, run_id: str) -> str:
        """Return the status of a run, of many as fast as that goes."""
        return run_status(layout.run_of_dir(str(self.project.runs_home / run_id)))

    def has_job(self, run_id: str) -> bool:
        return (self.project.runs_home / f"{run_id}.notes" / "job").exists()

    def note(self, run_id: str) -> dict[str, Any]:
        path = self.project.runs_home / f"{run_id}.notes" / "job"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def change_note(self, run_id: str, **values: Any) -> None:
        path = self.project.runs_home / f"{run_id}.notes" / "job"
        path.write_text(json.dumps({**self.note(run_id), **values}))

    def write_note(self, run_id: str, submitter: Sequence[Any]) -> None:
        """Note a job as a process does that is about to ask the engine."""
        path = self.project.runs_home / f"{run_id}.notes" / "job"
        path.parent.mkdir(exist_ok=True)
        note = {"engine": self.given.kind, "options": dict(self.given.options), "number": 0}
        note |= {"submission": "gage-0123456789ab", "job": "", "time": time.time_ns() // 1000}
        path.write_text(json.dumps({**note, "submitter": list(submitter)}))

    def began(self, run_id: str) -> int:
        """Return how often the command of a run was started."""
        try:
            return len((self.project.runs_home / run_id / "began").read_text().splitlines())
        except FileNotFoundError:
            return 0

    def log(self, run_id: str) -> str:
        return (self.project.runs_home / f"{run_id}.meta" / "log" / "runner").read_text()

    def until_begun(self, run_id: str) -> None:
        until(lambda: self.began(run_id))

    def open_jobs(self) -> set[str]:
        return {row["id"] for row in self.gage("jobs", "--json").json}

    def until_over(self, *runs: str) -> None:
        """Wait until no engine has any of these runs."""
        until(lambda: not self.open_jobs() & set(runs), 120)


def make_bench(
    project: Callable[..., Project], given: Given, settings: str = "", script: str = WORK
) -> Bench:
    """Write a project whose Gage file has these settings besides the usual ones."""
    options = "".join(
        f"options.{name} = {json.dumps(value)}\n" for name, value in given.options.items()
    )
    gage_file = (
        '[work]\nexec = "sh work.sh"\nsourcecode = ["work.sh"]\nresumable = false\n'
        '[[work.config]]\nenv = { WAIT = "", CODE = 0 }\n'
        f'[engines.there]\nkind = "{given.kind}"\n{options}{settings}'
    )
    made = project({"work.sh": script, "gage.toml": gage_file})
    # What is not heard of for a while counts as gone after seconds, not minutes.
    return Bench(made, given, {**given.env, "GAGE_HEARTBEAT": "0.5"})


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, project: Callable[..., Project]) -> Bench:
    return make_bench(project, KINDS[request.param](request))


@pytest.fixture
def at_slurm(cluster: Cluster, project: Callable[..., Project]) -> Bench:
    return make_bench(project, GivenSlurm(cluster))


def gone_process() -> list[Any]:
    """Return what identifies a process that has ended."""
    code = "from gage._internal.proc import this_process\nprint(*this_process(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    host, boot, namespace, pid, start = done.stdout.splitlines()
    return [host, boot, namespace, int(pid), start]
