"""Kubernetes: manifests that its own schemas take, and what happens in a container.

There is no cluster: kubectl is a script that keeps what it is given, and what a pod would execute
is executed here, with real object storage.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from conftest import Project
from gage._internal.engines import kubernetes
from gage._internal.errors import EngineFailed, EngineUnreachable
from gage._internal.store.resources import Resources
from gage.plugins import EXECUTING, GONE, QUEUED, Job, Submission, Ticket, find_engine
from real_servers import S3, SECRET, serving_s3

TRAIN = """
import os
x = 1
print("x is", x)
with open("out", "w") as file:
    file.write(str(x * 2))
if x == 7:
    raise SystemExit(7)
"""
# The first whose Jobs have limits for each index, and the newest there is.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
OPTIONS = {"image": "python:3.12-slim", "capsules": "s3://bucket/capsules"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serving_s3(tmp_path_factory.mktemp("s3")) as found:
        yield found


@dataclass
class Cluster:
    """A cluster that is a directory, runs given to it, and containers as it starts them."""

    dir: Path
    project: Project
    options: dict[str, Any]

    def stage(self, *values: str) -> Job:
        run_id = self.project.gage("stage", "train.py", *values).succeeds().out.strip()
        return Job(run_id, str(self.project.runs_home / run_id), Resources())

    def submit(self, *jobs: Job, name: str = "gage-0123456789ab") -> list[Ticket]:
        folder = self.project.dir / name
        folder.mkdir()
        engine = find_engine("kubernetes")
        words = engine.submit(Submission(name, jobs, "", str(folder)), self.options)
        return [Ticket(name, number, word) for number, word in enumerate(words)]

    def object(self, kind: str) -> dict[str, Any]:
        (path,) = self.dir.glob(f"{kind}-*.json")
        return json.loads(path.read_text())

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.dir / "calls").read_text().splitlines()]

    def put_pod(self, index: int, **status: Any) -> None:
        name = self.object("Job")["metadata"]["name"]
        metadata = {
            "name": f"{name}-{index}-abcde",
            "labels": {"job-name": name},
            "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
        }
        pod = {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n1"}, "status": status}
        (self.dir / f"pod-{index}.json").write_text(json.dumps(pod))

    def execute(self, index: int) -> tuple[int, str]:
        """Execute the container of an index; return its exit status and its last words."""
        mount = self.dir / f"mount-{index}"
        mount.mkdir(exist_ok=True)
        for name, text in self.object("Secret")["data"].items():
            is_program = name.endswith(".pyz")
            (mount / name).write_bytes(base64.b64decode(text) if is_program else text.encode())
        (container,) = self.object("Job")["spec"]["template"]["spec"]["containers"]
        words = self.dir / f"words-{index}"
        words.touch()
        places = {
            "/gage/gage.pyz": mount / "gage.pyz",
            "/gage": mount,
            "/dev/termination-log": words,
        }
        # Isolated, so that there is no Gage but what the program has.
        command = [str(places.get(arg, arg)) for arg in container["command"]]
        command[0:1] = [sys.executable, "-I", "-S"]
        env = {"PATH": self.project.env["PATH"], "JOB_COMPLETION_INDEX": str(index)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, words.read_text()


@pytest.fixture
def cluster(
    s3: S3, project: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Cluster:
    folder = tmp_path / "cluster"
    folder.mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    script = Path(__file__).with_name("fake_kubectl.py")
    kubectl = programs / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CLUSTER", str(folder))
    options = {**OPTIONS, "capsules": f"s3://{s3.bucket}/{tmp_path.name}"}
    options["storage"] = {**s3.options, "secret": SECRET}
    return Cluster(folder, project({"train.py": TRAIN}), options)


def collect(cluster: Cluster, ticket: Ticket) -> str | None:
    """Collect what a job has left; return the status that its run then has at home."""
    path = cluster.dir / f"left-{ticket.number}"
    if not find_engine("kubernetes").collect(ticket, str(path), cluster.options):
        return None
    run_id = cluster.project.gage("unpack", str(path)).succeeds().out.strip()
    return cluster.project.gage("show", run_id, "--json").succeeds().json["status"]


def test_a_group_executes_as_an_indexed_job(cluster: Cluster) -> None:
    first, second = cluster.stage("x=3"), cluster.stage("x=7")
    tickets = cluster.submit(first, second)
    job = cluster.object("Job")
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    assert cluster.execute(0) == (0, "")
    # That a run has failed is on its record.
    assert cluster.execute(1) == (0, "")
    assert [collect(cluster, ticket) for ticket in tickets] == ["completed", "failed"]
    assert Path(first.run_dir, "out").read_text() == "6"
    # Whoever was interrupted brings it once more.
    assert collect(cluster, tickets[0]) == "completed"
    # Told to end it, which comes too late.
    find_engine("kubernetes").cancel(tickets[:1], cluster.options)
    assert collect(cluster, tickets[0]) == "completed"
    find_engine("kubernetes").let_go(tickets[:1], cluster.options)
    assert collect(cluster, tickets[0]) is None


def test_of_two_containers_of_a_run_one_begins(cluster: Cluster) -> None:
    (ticket,) = cluster.submit(cluster.stage())
    assert cluster.execute(0) == (0, "")
    assert cluster.execute(0) == (1, "it was begun before, or cancelled")
    assert collect(cluster, ticket) == "completed"


def test_what_is_cancelled_does_not_begin(cluster: Cluster) -> None:
    tickets = cluster.submit(cluster.stage(), cluster.stage())
    cluster.put_pod(1, phase="Running")
    find_engine("kubernetes").cancel(tickets[1:], cluster.options)
    assert cluster.execute(1)[0] == 1
    assert collect(cluster, tickets[1]) is None
    name = cluster.object("Job")["metadata"]["name"]
    assert cluster.calls()[-1][-4:-1] == ["pods", "--wait=false", "--ignore-not-found"]
    assert cluster.calls()[-1][-1] == f"{name}-1-abcde"
    (state,) = find_engine("kubernetes").poll(tickets[1:], cluster.options)
    assert (state.state, state.has_begun) == (GONE, False)
    assert cluster.execute(0)[0] == 0


def test_credentials_are_in_no_note_and_travel_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    settings = tmp_path / "config" / "gage" / "settings.toml"
    settings.parent.mkdir(parents=True)
    there = {"there": {"kind": "kubernetes", "options": cluster.options}}
    settings.write_text(tomlkit.dumps({"engines": there}))
    here = dataclasses.replace(cluster.project, env={**cluster.project.env, **os.environ})
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    run = cluster.stage().run_id
    here.gage("start", "--on", "there", run, env=env).succeeds()
    with_secret = [
        path
        for path in here.runs_home.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    (folder,) = (here.runs_home / ".jobs").iterdir()
    assert with_secret == [folder / "private.json"]
    assert stat.S_IMODE(with_secret[0].stat().st_mode) == 0o600
    # What was kept there is enough.
    assert here.gage("jobs", "--json").succeeds().json[0]["id"] == run
    assert cluster.execute(0)[0] == 0
    cluster.put_pod(0, phase="Succeeded")
    here.gage("jobs").succeeds()
    assert here.gage("show", run, "--json").json["status"] == "completed"
    here.gage("pack", run, "-o", str(tmp_path / "packed.zip")).succeeds()
    here.gage("push", run, str(tmp_path / "far")).succeeds()
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
        assert not [name for name in archive.namelist() if name.endswith(".notes/job")]
    assert not list((tmp_path / "far").rglob("job"))
    there_home = ("--runs", str(tmp_path / "far"))
    assert here.gage(*there_home, "jobs", "--all", "--json").succeeds().json == []


def test_a_container_says_why_it_leaves_nothing(cluster: Cluster) -> None:
    (ticket,) = cluster.submit(cluster.stage())
    job = cluster.object("Job")
    job["spec"]["template"]["spec"]["containers"][0]["command"][0] = "python3"
    secret = cluster.object("Secret")
    order = {**json.loads(secret["data"]["0"]), "python": "/nowhere/python3"}
    secret["data"]["0"] = json.dumps(order)
    name = secret["metadata"]["name"]
    (cluster.dir / f"Secret-{name}.json").write_text(json.dumps(secret))
    code, said = cluster.execute(0)
    assert code == 1
    assert "/nowhere/python3" in said
    assert collect(cluster, ticket) is None


def test_links_are_given_to_the_cluster_only(cluster: Cluster) -> None:
    cluster.submit(cluster.stage())
    order = json.loads(cluster.object("Secret")["data"]["0"])
    for name in ("capsule", "begun", "left"):
        signature = order[name].rpartition("Signature=")[2]
        assert len(signature) == 64
        for path in cluster.project.dir.rglob("*"):
            if path.is_file():
                assert signature.encode() not in path.read_bytes(), path
    assert SECRET not in json.dumps([cluster.object("Job"), cluster.object("Secret")])
    assert "AWS4-HMAC-SHA256" in order["capsule"]


def test_states_are_those_of_pods_and_else_of_indexes(cluster: Cluster) -> None:
    tickets = cluster.submit(*(cluster.stage() for _ in range(6)))
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    cluster.put_pod(0, phase="Pending", containerStatuses=[waiting])
    cluster.put_pod(1, phase="Running", containerStatuses=[{"state": {"running": {}}}])
    killed = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    cluster.put_pod(2, phase="Failed", containerStatuses=[killed])
    job = cluster.object("Job")
    job["status"] = {"completedIndexes": "3", "failedIndexes": "4"}
    (cluster.dir / f"Job-{job['metadata']['name']}.json").write_text(json.dumps(job))
    foreign = Ticket("gage-other", 0)
    states = find_engine("kubernetes").poll([*tickets, foreign], cluster.options)
    assert [(state.state, state.said) for state in states] == [
        (QUEUED, "Pending: ImagePullBackOff: no such image"),
        (EXECUTING, "Running"),
        (GONE, "Failed: OOMKilled"),
        (GONE, ""),
        (GONE, "Failed"),
        (QUEUED, "Waiting"),
        (GONE, "Kubernetes does not know it"),
    ]
    assert states[1].host == "n1"


def test_a_cluster_that_does_not_answer_has_lost_nothing(cluster: Cluster) -> None:
    tickets = cluster.submit(cluster.stage())
    refusal = cluster.dir / "refusal"
    refusal.write_text(
        "The connection to the server 127.0.0.1:1 was refused - right host or port?\n"
    )
    with pytest.raises(EngineUnreachable):
        find_engine("kubernetes").poll(tickets, cluster.options)
    refusal.write_text('Error from server (Forbidden): jobs.batch is forbidden: User "x"\n')
    with pytest.raises(EngineFailed, match="Forbidden") as raised:
        cluster.submit(cluster.stage(), name="other")
    assert not isinstance(raised.value, EngineUnreachable)


def test_without_kubectl_the_manifest_is_there(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cluster.stage()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineFailed, match="no kubectl") as raised:
        cluster.submit(job, name="sub")
    path = cluster.project.dir / "sub" / "job.json"
    assert str(path) in str(raised.value.hint)
    (item,) = json.loads(path.read_text())["items"]
    kubernetes_validate.validate(item, VERSIONS[0], strict=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"capsules": "s3://bucket/x"}, "image"),
        ({"image": "x"}, "capsules"),
        ({**OPTIONS, "immage": "x"}, "immage"),
        ({**OPTIONS, "limit": "3"}, "limit"),
        ({**OPTIONS, "capsules": "file:///tmp"}, "file:///tmp"),
    ],
)
def test_options_that_cannot_be_are_refused(
    cluster: Cluster, options: dict[str, Any], words: str
) -> None:
    cluster.options = options
    with pytest.raises(EngineFailed, match=words):
        cluster.submit(cluster.stage())
    assert not list(cluster.dir.glob("*.json"))


names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=80)
amounts = st.builds(
    Resources, st.integers(1, 512), st.none() | st.integers(1, 1 << 45), st.integers(0, 16)
)


@given(
    name=names,
    resources=st.lists(amounts, min_size=1, max_size=5),
    limit=st.integers(1, 10**6),
    image=names,
    selector=st.dictionaries(names, names, max_size=2),
)
def test_manifests_are_of_the_schema_whatever_names_are(
    name: str,
    resources: list[Resources],
    limit: int,
    image: str,
    selector: dict[str, str],
) -> None:
    jobs = [Job("id", "/run", each) for each in resources]
    submission = Submission(name, jobs, "/runner", "/folder")
    options = {**OPTIONS, "image": image, "limit": limit, "node-selector": selector}
    numbers = []
    for array in kubernetes._arrays(submission):
        manifest = kubernetes._job(submission, array, options)
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)
        made = manifest["metadata"]["name"]
        # A pod has the name of its Job, its index and five characters, 63 in all.
        assert len(f"{made}-149-abcde") <= 63
        assert all(
            char.isascii() and (char.islower() or char.isdigit() or char == "-") for char in made
        )
        assert manifest["spec"]["completions"] == len(array.numbers)
        numbers += array.numbers
    assert sorted(numbers) == list(range(len(jobs)))


@given(names, names)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (kubernetes._label(one) == kubernetes._label(other)) == (one == other)
