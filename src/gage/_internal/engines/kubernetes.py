"""Runs that execute as indexed Jobs of Kubernetes, by kubectl.

Each run goes to object storage as a capsule, and comes back from there, in pieces that S3 takes. A
container has links that are signed for it alone, by its index in the Secret of its Job, and no
credentials. Its image needs Python 3.9 or newer, and what runs rely on; not Gage. Runs that are
submitted together and are to have the same are one Job. Its manifest lies in the folder of the
submission, for people to read; the links are written nowhere but to the cluster. Of two containers
that the cluster starts for a run, the store lets one begin, where it honours a write on condition
that there is nothing yet.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import EngineFailed, EngineUnreachable
from gage._internal.fs import printable
from gage._internal.portable import errand
from gage._internal.portable.links import Order, pack_order
from gage._internal.portable.parcel_store import ParcelStore
from gage._internal.portable.parcels import check_options, packed, write_capsule
from gage._internal.store.resources import Resources, parse_memory
from gage._internal.types import NOTHING
from gage.plugins import EXECUTING, GONE, QUEUED, Capabilities, JobState, Submission, Ticket

_SUBMISSION = "gage/submission"
_NUMBERS = "gage/numbers"
_CANCELLED = "gage/cancelled"
_INDEX = "batch.kubernetes.io/job-completion-index"
_JOB_NAME = "job-name"
_OPTIONS: Mapping[str, type] = {
    **dict.fromkeys(("image", "capsules", "namespace", "context"), str),
    **dict.fromkeys(("service-account", "python", "size"), str),
    **dict.fromkeys(("storage", "node-selector"), Mapping),
    **dict.fromkeys(("limit", "grace", "ttl", "expires"), int),
}
_PROGRAM = "gage.pyz"
_MOUNT = "/gage"
_ORDER = "order"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
# Where Kubernetes looks for what a container says at last.
_LAST_WORDS = "/dev/termination-log"
# As many jobs have their links in a Secret, if these are not too many for the 1 MiB that it may
# have: bytes for all of them, for what else is in an order, and for each link to a piece, packed.
_MOST = 150
_MOST_BYTES = 900 << 10
_ORDER_BYTES = 1 << 10
_LINK_BYTES = 64
# What S3 takes at once are 5 GiB; how much a run may leave, unless it is said.
_PIECE = 4 << 30
_SIZE = "100GiB"
# Seconds: for a run to end when it is told to, and to store what it has left; for links, a week,
# the longest that S3 signs for; for what has ended to be looked at.
_GRACE = 120
_EXPIRES = 7 * 24 * 3600
_TTL = 24 * 3600
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME = 40
_NO_ANSWER = ("nable to connect", "refused", "timed out", "timeout", "no such host", "EOF")
# What stands where a container says that it begins, for a job that is not to begin.
_NEVER = b"cancelled"
_MAIN = b"""\
import sys

from gage._internal.portable.links import execute_linked

sys.exit(execute_linked(*sys.argv[1:]))
"""
_SENT = ("errand", "links")


class _Array(NamedTuple):
    """Jobs that become one Job: what it is called, their numbers, and what each is to have."""

    name: str
    numbers: Sequence[int]
    resources: Resources


class Kubernetes:
    """Executes runs in a Kubernetes cluster.

    Options are `image`; `capsules`, an address of object storage (s3://BUCKET/PREFIX), and
    `storage`, what fsspec is to know of it; `namespace`, `context`, `service-account`,
    `node-selector`, `python`; `limit`, of runs that execute at the same time; `size`, the most
    that a run may leave; and in seconds `grace`, `ttl` and `expires`.
    """

    def submit(self, submission: Submission, options: Mapping[str, Any]) -> Sequence[str]:
        """Write the manifest, store the capsules, and have kubectl create it; return pod names.

        Raises:
            EngineUnreachable: the cluster does not answer.
            EngineFailed: it does not take them, there is no kubectl or no object storage, or links
                to that would end with the credentials that they are signed with.
        """
        _check(options)
        arrays = list(_arrays(submission, _count_pieces(options)))
        path = os.path.join(submission.folder, "job.json")
        jobs = [_job(submission, array, options) for array in arrays]
        fs.replace_file(path, _json(_list_of(jobs)).encode())
        if shutil.which("kubectl") is None:
            hint = f"install it; the Job that it would create is in {printable(path)}"
            raise EngineFailed("there is no kubectl here", hint)
        store = _store(options, submission.name)
        if "expires" not in options and not store.has_lasting_links():
            raise EngineFailed(
                f"{printable(str(options['capsules']))}: the credentials are temporary, and links"
                " that are signed with them end when they do",
                "take lasting ones, or set options.expires to the seconds that these are good for",
            )
        for number, job in enumerate(submission.jobs):
            with packed(job, submission.folder) as capsule:
                store.put(number, "capsule", capsule)
        secrets = [_secret(submission, array, store, options) for array in arrays]
        try:
            given = _json(_list_of([*secrets, *jobs]))
            said = self._tell(options, "create", "-f", "-", "-o", "json", given=given)
        except EngineUnreachable:
            raise
        except EngineFailed:
            # All are submitted or none.
            selector = f"{_SUBMISSION}={_label(submission.name)}"
            self._tell(options, "delete", "jobs,secrets", "-l", selector, "--wait=false")
            raise
        self._let_go_together(_iter_printed(said), options)
        words = {n: f"{each.name}-{i}" for each in arrays for i, n in enumerate(each.numbers)}
        return [words[number] for number in range(len(submission.jobs))]

    def poll(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> Sequence[JobState]:
        """Ask for Jobs and pods of all submissions at once.

        Raises:
            EngineUnreachable: the cluster does not answer.
        """
        if not tickets:
            return []
        found = self._found(tickets, options)
        unknown = JobState(GONE, said="Kubernetes does not know it")
        states = []
        for ticket in tickets:
            state = found.get((_label(ticket.submission), ticket.number), unknown)
            if state.state == GONE and state.has_begun is None:
                begun = _store(options, ticket.submission).read(ticket.number, "begun")
                state = state._replace(has_begun=begun not in (None, _NEVER))
            states.append(state._replace(job=ticket.job or state.job))
        return states

    def cancel(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """End jobs: those that have not begun find that another has, the pods are deleted.

        Raises:
            EngineUnreachable: the cluster does not answer.
        """
        wanted = {(_label(ticket.submission), ticket.number) for ticket in tickets}
        never = {
            (_label(ticket.submission), ticket.number)
            for ticket in tickets
            if _store(options, ticket.submission).create(ticket.number, "begun", _NEVER)
        }
        listed = self._listed(tickets, options)
        for job in _jobs(listed):
            numbers = {n for n in _numbers(job) if (_submission(job), n) in never}
            if numbers:
                name = job["metadata"]["name"]
                text = json.dumps(sorted({*numbers, *_cancelled(job)}))
                self._tell(options, "annotate", "job", name, "--overwrite", f"{_CANCELLED}={text}")
        pods = [
            pod["metadata"]["name"]
            for job, pod in _iter_pods(listed)
            if (_submission(job), _number(job, pod)) in wanted
        ]
        if pods:
            self._tell(options, "delete", "pods", "--wait=false", "--ignore-not-found", *pods)

    def capabilities(self, options: Mapping[str, Any]) -> Capabilities:
        """Return that containers do not have the runs home.

        Raises:
            EngineFailed: options are not as they must be.
        """
        _check(options)
        return Capabilities(has_files=False, private=("storage",))

    def collect(self, ticket: Ticket, path: str, options: Mapping[str, Any]) -> bool:
        """Write what a job has left to `path`; tell whether it has left anything.

        Raises:
            EngineUnreachable: the object storage does not answer.
            EngineFailed: what is there is not what the job has left.
            OSError: the file cannot be written.
        """
        store = _store(options, ticket.submission)
        try:
            write_capsule(path, store.iter_listed(ticket.number, "left"))
        except FileNotFoundError:
            return False
        return True

    def let_go(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Remove what went out and what came back; what tells whether a job has begun stays.

        Raises:
            EngineUnreachable: the object storage does not answer.
        """
        for ticket in tickets:
            store = _store(options, ticket.submission)
            for name in ("left", "capsule"):
                store.remove(ticket.number, name)

    def _let_go_together(
        self, created: Iterator[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> None:
        """Have each Secret removed with its Job, which the cluster removes after `ttl`."""
        for each in created:
            if each["kind"] == "Job":
                name, uid = each["metadata"]["name"], each["metadata"]["uid"]
                owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}
                patch = json.dumps({"metadata": {"ownerReferences": [owner]}})
                try:
                    self._tell(options, "patch", "secret", name, "--patch", patch)
                except EngineFailed:
                    # It stays, with links that expire.
                    pass

    def _found(
        self, tickets: Sequence[Ticket], options: Mapping[str, Any]
    ) -> Mapping[tuple[str, int], JobState]:
        """Return the state of each job that the cluster knows, by submission and number."""
        found: dict[tuple[str, int], JobState] = {}
        listed = self._listed(tickets, options)
        for job in _jobs(listed):
            for index, number in enumerate(_numbers(job)):
                found[_submission(job), number] = _state_of_index(job, index)
        for job, pod in _iter_pods(listed):
            found[_submission(job), _number(job, pod)] = _state_of_pod(pod)
        for job in _jobs(listed):
            for number in _cancelled(job):
                said = "cancelled before it began"
                found[_submission(job), number] = JobState(GONE, said=said, has_begun=False)
        return {key: state._replace(job=f"{key[0]}-{key[1]}") for key, state in found.items()}

    def _listed(
        self, tickets: Sequence[Ticket], options: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]]:
        """Return the Jobs and pods of submissions, the earliest first."""
        names = ",".join(sorted({_label(ticket.submission) for ticket in tickets}))
        selector = f"{_SUBMISSION} in ({names})"
        said = self._tell(options, "get", "jobs,pods", "-l", selector, "-o", "json")
        items: Sequence[Mapping[str, Any]] = list(_iter_printed(said))
        return sorted(items, key=lambda each: each["metadata"].get("creationTimestamp") or "")

    def _tell(self, options: Mapping[str, Any], *args: str, given: str = "") -> str:
        """Have kubectl do something; return what it prints.

        Raises:
            EngineUnreachable: the cluster does not answer, or there is no kubectl.
            EngineFailed: it was refused.
        """
        try:
            done = _kubectl(options, *args, given=given)
        except FileNotFoundError:
            raise EngineUnreachable("there is no kubectl here", "install it") from None
        if done.returncode == 0:
            return done.stdout
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = printable(lines[-1]) if lines else "no word"
        if any(word in done.stderr for word in _NO_ANSWER):
            raise EngineUnreachable(f"Kubernetes does not answer: {last}", "repeat it later")
        raise EngineFailed(f"Kubernetes refused: {last}")


def _store(options: Mapping[str, Any], submission: str) -> ParcelStore:
    """Return what there is of a submission in object storage."""
    address = str(options.get("capsules", ""))
    return ParcelStore(address, options.get("storage", NOTHING), _label(submission))


def _check(options: Mapping[str, Any]) -> None:
    """Make sure that options are known, of their kinds, and there where they must be.

    Raises:
        EngineFailed: one is not.
    """
    check_options("Kubernetes", options, _OPTIONS)
    for name in ("image", "capsules"):
        if name not in options:
            raise EngineFailed(f"Kubernetes needs the option {name}", f"set options.{name}")
    _count_pieces(options)


def _count_pieces(options: Mapping[str, Any]) -> int:
    """Return how many pieces there may be of what a run leaves.

    Raises:
        EngineFailed: the option that says it is no size.
    """
    try:
        return -(-parse_memory(options.get("size", _SIZE)) // _PIECE) or 1
    except ValueError as error:
        raise EngineFailed(f"the option size of Kubernetes: {error}") from None


def _arrays(submission: Submission, pieces: int) -> Iterator[_Array]:
    most = max(1, min(_MOST, _MOST_BYTES // (_ORDER_BYTES + _LINK_BYTES * pieces)))
    of_resources: dict[Resources, list[int]] = {}
    for number, job in enumerate(submission.jobs):
        of_resources.setdefault(job.resources, []).append(number)
    for resources, numbers in of_resources.items():
        for begin in range(0, len(numbers), most):
            part = numbers[begin : begin + most]
            yield _Array(f"{_label(submission.name)}-{part[0]}", part, resources)


def _label(name: str) -> str:
    """Return what Kubernetes takes for a name, for each name another."""
    if _NAME.fullmatch(name) and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f"gage-{digest[: _LONGEST_NAME - 5]}"


def _list_of(items: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _metadata(submission: Submission, array: _Array, options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": array.name,
        "labels": {_SUBMISSION: _label(submission.name)},
        "annotations": {_NUMBERS: json.dumps(array.numbers)},
    }
    if "namespace" in options:
        found["namespace"] = options["namespace"]
    return found


def _job(submission: Submission, array: _Array, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the manifest of a Job, whose indexes are the runs of an array."""
    count = len(array.numbers)
    index = f"metadata.annotations['{_INDEX}']"
    container = {
        "name": "run",
        "image": options["image"],
        "command": [
            options.get("python", "python3"),
            *(f"{_MOUNT}/{_PROGRAM}", f"{_MOUNT}/{_ORDER}", _LAST_WORDS),
        ],
        "env": [{"name": _INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": index}}}],
        "resources": _amounts(array.resources),
        # Of the links of a Job a container has its own.
        "volumeMounts": [
            _mount(_PROGRAM, {"subPath": _PROGRAM}),
            _mount(_ORDER, {"subPathExpr": f"$({_INDEX_VARIABLE})"}),
        ],
    }
    pod = {
        # Nothing of a cluster's API is needed, and what is not there cannot be misused.
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": options.get("grace", _GRACE),
        "containers": [container],
        "volumes": [{"name": "links", "secret": {"secretName": array.name}}],
    }
    if "service-account" in options:
        pod["serviceAccountName"] = options["service-account"]
    if "node-selector" in options:
        pod["nodeSelector"] = dict(options["node-selector"])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(submission, array, options),
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": min(count, options.get("limit", count)),
            # Nothing is tried again, and no run ends since another has failed.
            "backoffLimitPerIndex": 0,
            "ttlSecondsAfterFinished": options.get("ttl", _TTL),
            "template": {
                "metadata": {"labels": {_SUBMISSION: _label(submission.name)}},
                "spec": pod,
            },
        },
    }


def _mount(name: str, of: Mapping[str, str]) -> Mapping[str, Any]:
    return {"name": "links", "mountPath": f"{_MOUNT}/{name}", "readOnly": True, **of}


def _amounts(resources: Resources) -> Mapping[str, Mapping[str, str]]:
    requests = {"cpu": str(resources.cpus)}
    limits = {}
    if resources.memory is not None:
        requests["memory"] = limits["memory"] = str(resources.memory)
    if resources.gpus:
        limits["nvidia.com/gpu"] = str(resources.gpus)
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _secret(
    submission: Submission, array: _Array, store: ParcelStore, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the manifest of a Secret with what a Job needs: the program, and links by index."""
    seconds = options.get("expires", _EXPIRES)

    def link(number: int, name: str, is_to_write: bool = True) -> str:
        return store.link(number, name, is_to_write, seconds)

    data = {_PROGRAM: _program()}
    for index, number in enumerate(array.numbers):
        order = Order(
            number=number,
            run=submission.jobs[number].run_id,
            python=options.get("python", ""),
            capsule=link(number, "capsule", is_to_write=False),
            begun=link(number, "begun"),
            left=link(number, "left"),
            pieces=[link(number, f"left.{piece}") for piece in range(_count_pieces(options))],
            piece=_PIECE,
        )
        data[str(index)] = pack_order(order)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": _metadata(submission, array, options),
        "data": {name: base64.b64encode(content).decode() for name, content in data.items()},
    }


def _program() -> bytes:
    """Return what a container executes, as an archive that Python does."""
    packages = ("gage", "gage/_internal", "gage/_internal/portable")
    files = {f"{package}/__init__.py": b"" for package in packages}
    below = os.path.dirname(errand.__file__)
    for name in _SENT:
        files[f"{packages[-1]}/{name}.py"] = fs.read_bytes(os.path.join(below, f"{name}.py"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**files, "__main__.py": _MAIN}.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _kubectl(
    options: Mapping[str, Any], *args: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Call kubectl.

    Raises:
        FileNotFoundError: there is none.
    """
    where = [f"--{name}={options[name]}" for name in ("context", "namespace") if name in options]
    return subprocess.run(
        ["kubectl", *where, *args],
        input=given,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def _iter_printed(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that kubectl prints, one after the other or as a list."""
    decoder = json.JSONDecoder()
    text = text.strip()
    while text:
        found, end = decoder.raw_decode(text)
        yield from found["items"] if found["kind"] == "List" else [found]
        text = text[end:].lstrip()


def _jobs(listed: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [each for each in listed if each["kind"] == "Job"]


def _submission(job: Mapping[str, Any]) -> str:
    return str(job["metadata"]["labels"][_SUBMISSION])


def _numbers(job: Mapping[str, Any]) -> Sequence[int]:
    numbers: Sequence[int] = json.loads(job["metadata"]["annotations"][_NUMBERS])
    return numbers


def _cancelled(job: Mapping[str, Any]) -> Sequence[int]:
    """Return the numbers of those that were cancelled before they began."""
    numbers: Sequence[int] = json.loads(job["metadata"]["annotations"].get(_CANCELLED, "[]"))
    return numbers


def _number(job: Mapping[str, Any], pod: Mapping[str, Any]) -> int:
    return _numbers(job)[int(pod["metadata"]["annotations"][_INDEX])]


def _iter_pods(
    listed: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield each pod with the Job that it is of."""
    jobs = {each["metadata"]["name"]: each for each in _jobs(listed)}
    for each in listed:
        metadata = each["metadata"]
        name = metadata.get("labels", {}).get(_JOB_NAME)
        if each["kind"] == "Pod" and name in jobs and _INDEX in metadata.get("annotations", {}):
            yield jobs[name], each


def _state_of_pod(pod: Mapping[str, Any]) -> JobState:
    status = pod.get("status", {})
    phase = status.get("phase", "Pending")
    said = [phase] if phase != "Succeeded" else []
    for reason in (status, *_parts(status)):
        said += [reason[key] for key in ("reason", "message") if reason.get(key)]
    host = pod.get("spec", {}).get("nodeName", "")
    state = QUEUED if phase == "Pending" else EXECUTING
    if phase in ("Succeeded", "Failed"):
        state = GONE
    return JobState(state, said=": ".join(dict.fromkeys(said)), host=host)


def _parts(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what is said of the container, or else of where the pod is to go."""
    for container in status.get("containerStatuses", []):
        for name, state in container.get("state", {}).items():
            if name == "waiting" or (name == "terminated" and state.get("exitCode")):
                yield state
    if not status.get("containerStatuses"):
        for condition in status.get("conditions", []):
            if condition.get("status") == "False":
                yield condition


def _state_of_index(job: Mapping[str, Any], index: int) -> JobState:
    """Return how it is about an index of which there is no pod: not yet, or not any more."""
    status = job.get("status", {})
    if _is_among(index, status.get("completedIndexes", "")):
        return JobState(GONE)
    if _is_among(index, status.get("failedIndexes", "")):
        return JobState(GONE, said="Failed")
    for condition in status.get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition.get("status") == "True":
            return JobState(GONE, said=condition.get("reason", condition["type"]))
    return JobState(QUEUED, said="Waiting")


def _is_among(index: int, ranges: str) -> bool:
    """Tell whether a number is one of those that Kubernetes writes as `1,3-5`."""
    for each in filter(None, ranges.split(",")):
        first, _, last = each.partition("-")
        if int(first) <= index <= int(last or first):
            return True
    return False
