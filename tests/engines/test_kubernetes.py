"""Kubernetes: manifests that its own schemas take, and what happens in a container.

There is no cluster: kubectl is a script that keeps what it is given, and what a pod would execute
is executed here, with real object storage.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
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
from s3fs import S3FileSystem

from conftest import Project
from gage._internal.engines import kubernetes
from gage._internal.errors import EngineFailed, EngineUnreachable
from gage._internal.lifecycle import jobs
from gage._internal.lifecycle.submit import submit_runs
from gage._internal.portable.links import Order, pack_order, unpack_order
from gage._internal.store import layout
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

    def submit(self, *given: Job, name: str = "gage-0123456789ab") -> list[Ticket]:
        folder = self.project.dir / name
        folder.mkdir()
        engine = find_engine("kubernetes")
        words = engine.submit(Submission(name, given, "", str(folder)), self.options)
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

    def mounted(self, index: int) -> dict[str, Path]:
        """Mount what a container of an index has; return where that is, by its place there."""
        pod = self.object("Job")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
        env = {
            each["name"]: annotations[each["valueFrom"]["fieldRef"]["fieldPath"].split("'")[1]]
            for each in container["env"]
        }
        secret = self.object("Secret")
        (volume,) = pod["volumes"]
        assert volume["secret"]["secretName"] == secret["metadata"]["name"]
        places = {}
        for mount in container["volumeMounts"]:
            expanded = re.sub(r"\$\((\w+)\)", lambda m: env[m[1]], mount.get("subPathExpr", ""))
            data = secret["data"][mount.get("subPath", expanded)]
            place = self.dir / f"mount-{index}" / mount["mountPath"].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(base64.b64decode(data))
            places[mount["mountPath"]] = place
        return places

    def order(self, index: int) -> Order:
        return unpack_order(base64.b64decode(self.object("Secret")["data"][str(index)]))

    def change_order(self, index: int, **values: Any) -> None:
        secret = self.object("Secret")
        order = pack_order(self.order(index)._replace(**values))
        secret["data"][str(index)] = base64.b64encode(order).decode()
        (self.dir / f"Secret-{secret['metadata']['name']}.json").write_text(json.dumps(secret))

    def stored(self, ticket: Ticket) -> list[str]:
        """Return the names of the objects of a submission."""
        address = f"{self.options['capsules']}/{ticket.submission}"
        file_system = S3FileSystem(**self.options["storage"], skip_instance_cache=True)
        return [path.rpartition("/")[2] for path in file_system.find(address)]

    def execute(self, index: int) -> tuple[int, str]:
        """Execute the container of an index; return its exit status and its last words."""
        (container,) = self.object("Job")["spec"]["template"]["spec"]["containers"]
        words = self.dir / f"words-{index}"
        words.touch()
        places = {"/dev/termination-log": words, **self.mounted(index)}
        # Isolated, so that there is no Gage but what the program has.
        command = [str(places.get(arg, arg)) for arg in container["command"]]
        command[0:1] = [sys.executable, "-I", "-S"]
        env = {"PATH": self.project.env["PATH"]}
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
    cluster.change_order(0, python="/nowhere/python3")
    code, said = cluster.execute(0)
    assert code == 1
    assert "/nowhere/python3" in said
    assert collect(cluster, ticket) is None


def test_what_is_left_comes_back_in_pieces(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_PIECE", 50_000)
    cluster.options["size"] = "1MB"
    tickets = cluster.submit(cluster.stage("x=3"), cluster.stage("x=7"))
    assert cluster.execute(0) == cluster.execute(1) == (0, "")
    pieces = [name for name in cluster.stored(tickets[0]) if name.startswith("0.left.")]
    assert len(pieces) > 2
    listed = kubernetes._store(cluster.options, tickets[0].submission).read(0, "left")
    assert [line[66:] for line in (listed or b"").decode().splitlines()] == sorted(
        pieces, key=lambda name: int(name.rpartition(".")[2])
    )
    assert [collect(cluster, ticket) for ticket in tickets] == ["completed", "failed"]
    find_engine("kubernetes").let_go(tickets[:1], cluster.options)
    others = [f"1.left.{piece}" for piece in range(len(pieces))]
    assert set(cluster.stored(tickets[0])) == {"0.begun", "1.begun", "1.capsule", "1.left", *others}


def test_a_piece_that_is_not_what_was_stored_is_not_taken(cluster: Cluster) -> None:
    (ticket,) = cluster.submit(cluster.stage())
    assert cluster.execute(0)[0] == 0
    store = kubernetes._store(cluster.options, ticket.submission)
    altered = cluster.dir / "altered"
    altered.write_bytes(b"".join(store.iter_listed(0, "left"))[:-1])
    store.put(0, "left.0", str(altered))
    with pytest.raises(EngineFailed, match=r"0\.left\.0 is not what was stored"):
        collect(cluster, ticket)
    assert not (cluster.dir / "left-0").exists()


def test_a_run_that_leaves_too_much_says_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_PIECE", 1000)
    cluster.options["size"] = "2KB"
    (ticket,) = cluster.submit(cluster.stage())
    code, said = cluster.execute(0)
    assert code == 1
    assert "there are links for 2000: nothing of it is stored; the option size says" in said
    assert set(cluster.stored(ticket)) == {"0.begun", "0.capsule"}
    assert collect(cluster, ticket) is None


def test_pieces_that_a_container_could_not_list_are_removed(cluster: Cluster) -> None:
    (ticket,) = cluster.submit(cluster.stage())
    piece = cluster.dir / "piece"
    piece.write_text("the first of two")
    for number in (0, 10):
        kubernetes._store(cluster.options, ticket.submission).put(number, "left.0", str(piece))
    assert collect(cluster, ticket) is None
    find_engine("kubernetes").let_go([ticket], cluster.options)
    assert cluster.stored(ticket) == ["10.left.0"]


@pytest.mark.parametrize("size", ["1MiB", "100GiB", "1TiB"])
def test_a_secret_takes_the_links_of_its_job(size: str) -> None:
    storage = {"key": "AKIAIOSFODNN7EXAMPLE", "secret": SECRET}
    options = {**OPTIONS, "size": size, "storage": storage}
    some = [Job(f"{number:036}", "/run", Resources()) for number in range(150)]
    submission = Submission("gage-0123456789ab", some, "/runner", "/folder")
    pieces = kubernetes._count_pieces(options)
    array, *others = kubernetes._arrays(submission, pieces)
    assert (len(array.numbers) == 150) == (size != "1TiB") == (not others)
    store = kubernetes._store(options, submission.name)
    secret = kubernetes._secret(submission, array, store, options)
    kubernetes_validate.validate(secret, VERSIONS[0], strict=True)
    assert sum(len(base64.b64decode(value)) for value in secret["data"].values()) < 1 << 20


def test_a_container_has_its_own_links_only(cluster: Cluster) -> None:
    cluster.submit(cluster.stage(), cluster.stage())
    assert set(cluster.object("Secret")["data"]) == {"gage.pyz", "0", "1"}
    for index in range(2):
        places = cluster.mounted(index)
        assert set(places) == {"/gage/gage.pyz", "/gage/order"}
        assert unpack_order(places["/gage/order"].read_bytes()) == cluster.order(index)
        assert cluster.order(index).number == index


def test_links_that_end_with_their_credentials_are_not_signed_unless_it_is_said(
    cluster: Cluster,
) -> None:
    cluster.options["storage"]["token"] = "of a session"
    with pytest.raises(EngineFailed, match="credentials are temporary") as raised:
        cluster.submit(cluster.stage())
    assert "options.expires" in str(raised.value.hint)
    assert not list(cluster.dir.glob("*.json"))
    cluster.options["expires"] = 3600
    (ticket,) = cluster.submit(cluster.stage(), name="other")
    assert "X-Amz-Expires=3600" in cluster.order(0).pieces[0]
    assert cluster.execute(0) == (0, "")
    assert collect(cluster, ticket) == "completed"


def test_what_is_stopped_has_as_long_as_its_grace_to_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jobs._LONGEST_END > kubernetes._GRACE
    monkeypatch.setattr(jobs, "_LONGEST_END", 0)
    run = layout.run_of_dir(cluster.stage().run_dir)
    ((_, note),) = submit_runs([run], "kubernetes", {**cluster.options, "grace": 100})
    assert kubernetes._store(cluster.options, note.submission).create(0, "begun", b"n1")
    # It goes on until it was looked at twice.
    cluster.put_pod(0, phase="Running")
    over: list[jobs.Standing] = []
    jobs.cancel([run], over.append)
    assert [standing.run for standing in over] == [run]
    assert cluster.object("Job")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 100


def test_links_are_given_to_the_cluster_only(cluster: Cluster) -> None:
    cluster.submit(cluster.stage())
    order = cluster.order(0)
    links = (order.capsule, order.begun, order.left, *order.pieces)
    assert len(links) == len(set(links)) == 3 + 25
    for link in links:
        signature = link.rpartition("Signature=")[2]
        assert len(signature) == 64
        for path in cluster.project.dir.rglob("*"):
            if path.is_file():
                assert signature.encode() not in path.read_bytes(), path
    assert SECRET not in json.dumps([cluster.object("Job"), cluster.object("Secret")])
    assert "AWS4-HMAC-SHA256" in order.capsule


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
        ({**OPTIONS, "size": "much"}, "'much' is no amount"),
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
    submitted = [Job("id", "/run", each) for each in resources]
    submission = Submission(name, submitted, "/runner", "/folder")
    options = {**OPTIONS, "image": image, "limit": limit, "node-selector": selector}
    numbers = []
    for array in kubernetes._arrays(submission, 25):
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
    assert sorted(numbers) == list(range(len(submitted)))


@given(names, names)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (kubernetes._label(one) == kubernetes._label(other)) == (one == other)
