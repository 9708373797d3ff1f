"""Runs that execute as tasks of Ray.

Each submission has a depot there, a detached actor, which starts a task for each job, keeps
capsules and results in Ray's object store, and outlives whoever submits. A task is never tried
again. Workers need nothing of Gage: what they do is sent along.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from gage._internal.errors import EngineFailed, EngineUnreachable
from gage._internal.fs import printable
from gage._internal.portable import errand, ledger
from gage._internal.portable.errand import Errand, run_errand
from gage._internal.portable.ledger import Ledger
from gage._internal.portable.parcels import (
    check_options,
    errands_of,
    heard,
    is_here,
    iter_capsule,
    write_capsule,
)
from gage.plugins import GONE, Capabilities, JobState, Submission, Ticket

_ADDRESS = "auto"
_NAMESPACE = "gage"
# What the head of a cluster has, for as much as nothing: the loss of another node must not be that
# of all that a depot knows.
_HEAD = {"node:__internal_head__": 0.0001}
_OPTIONS: Mapping[str, type] = {
    "address": str,
    "namespace": str,
    "shared": bool,
    "python": str,
    "directory": str,
}
# Seconds until a cluster that does not answer is given up: a port of it; a depot.
_PORT = 5
_DEPOT = 60
# What Ray is told by its environment: to send no statistics home, and not to warn.
_SILENCE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Ray:
    """Executes runs in a Ray cluster.

    Option `address` is as `ray.init` takes it, `namespace` where the depots are. Jobs execute in
    the runs home where `shared` says that all nodes have its files; else each takes a capsule to
    `directory` of its worker, and gives one back. `python` starts the runner, in place of the
    `python3` of the worker.
    """

    def submit(self, submission: Submission, options: Mapping[str, Any]) -> Sequence[str]:
        """Give Ray a task for each job; return the ids of the tasks.

        Raises:
            EngineUnreachable: the cluster does not answer.
            EngineFailed: it does not take them, Ray is not installed, or a run cannot be packed.
        """
        ray = _connect(options)
        is_shared = _is_shared(options)
        orders = [
            (each, _demands(job.resources))
            for each, job in zip(
                errands_of(submission, options, is_shared), submission.jobs, strict=True
            )
        ]
        _sweep(ray)
        with _understood(options), _sent_along(ray):
            depot = (
                ray.remote(Depot)
                .options(
                    name=submission.name,
                    lifetime="detached",
                    num_cpus=0,
                    max_restarts=0,
                    resources=_HEAD,
                )
                .remote(orders)
            )
            try:
                ray.get(depot.hear.remote(), timeout=_DEPOT)
                with heard(depot.hear.remote):
                    for number, job in enumerate(() if is_shared else submission.jobs):
                        for chunk in iter_capsule(job, submission.folder):
                            ray.get(depot.take.remote(number, chunk), timeout=_DEPOT)
            except BaseException:
                ray.kill(depot)
                raise
            found: Sequence[str] | None = ray.get(depot.go.remote(), timeout=_DEPOT)
        if found is None:
            raise EngineFailed("Ray has given up the submission", "submit it again")
        return found

    def poll(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> Sequence[JobState]:
        """Return how it is about jobs.

        Raises:
            EngineUnreachable: the cluster does not answer.
            EngineFailed: Ray is not installed.
        """
        ray = _connect(options)
        told: dict[tuple[str, int], JobState] = {}
        with _understood(options):
            for name, numbers in _by_submission(tickets).items():
                with _lost(ray):
                    depot = ray.get_actor(name)
                    states, is_settled = ray.get(depot.tell.remote(numbers), timeout=_DEPOT)
                    for number, state in zip(numbers, states, strict=True):
                        told[name, number] = JobState(*state)
                    if is_settled:
                        ray.kill(depot)
        return [
            told.get(
                (each.submission, each.number), JobState(GONE, each.job, "Ray does not know it")
            )
            for each in tickets
        ]

    def cancel(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """End jobs: those that wait are taken out, those that execute stopped.

        Raises:
            EngineUnreachable: the cluster does not answer.
            EngineFailed: Ray is not installed.
        """
        ray = _connect(options)
        with _understood(options):
            for name, numbers in _by_submission(tickets).items():
                with _lost(ray):
                    depot = ray.get_actor(name)
                    ray.get(depot.cancel.remote(numbers), timeout=_DEPOT)

    def capabilities(self, options: Mapping[str, Any]) -> Capabilities:
        """Return what Ray does.

        Raises:
            EngineFailed: options are not as they must be.
        """
        check_options("Ray", options, _OPTIONS)
        return Capabilities(has_files=_is_shared(options))

    def collect(self, ticket: Ticket, path: str, options: Mapping[str, Any]) -> bool:
        """Write what a job has left to `path`; tell whether it has left anything.

        Raises:
            EngineUnreachable: the cluster does not answer.
            EngineFailed: Ray is not installed.
            OSError: the file cannot be written.
        """
        ray = _connect(options)
        with _understood(options), _lost(ray):
            depot = ray.get_actor(ticket.submission)
            left = ray.get(depot.left.remote(ticket.number), timeout=_DEPOT)
            if left:
                write_capsule(path, (ray.get(each, timeout=_DEPOT) for each in left))
                return True
        return False

    def let_go(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Free what jobs have left; end depots that have nothing more.

        Raises:
            EngineUnreachable: the cluster does not answer.
            EngineFailed: Ray is not installed.
        """
        ray = _connect(options)
        with _understood(options):
            for name, numbers in _by_submission(tickets).items():
                with _lost(ray):
                    depot = ray.get_actor(name)
                    if ray.get(depot.let_go.remote(numbers), timeout=_DEPOT):
                        ray.kill(depot)


class Depot:
    """What Ray has of a submission: an actor, sent along."""

    def __init__(self, orders: Sequence[tuple[Errand, Mapping[str, Any]]]) -> None:
        self._orders = orders
        self._ledger = Ledger(len(orders))
        self._capsules: list[list[Any]] = [[] for _ in orders]
        self._left: list[list[Any]] = [[] for _ in orders]
        self._tasks: list[Any] = []

    def hear(self) -> None:
        """Take note of whoever submits."""
        self._ledger.hear()

    def take(self, number: int, chunk: bytes) -> None:
        """Take a piece of a capsule."""
        import ray

        self._ledger.hear()
        self._capsules[number].append(ray.put(chunk))

    def go(self) -> Sequence[str] | None:
        """Start all tasks; return their ids, or None where it is too late for that."""
        import ray

        if self._tasks or not self._ledger.complete():
            return None
        me = ray.get_runtime_context().current_actor
        for number, (each, demands) in enumerate(self._orders):
            task = ray.remote(_work).options(max_retries=0, **demands)
            # In a list, so that they are fetched one by one.
            self._tasks.append(task.remote(me, each, self._capsules[number]))
        return [task.task_id().hex() for task in self._tasks]

    def begin(self, number: int, host: str) -> str:
        """Answer a worker that wants to begin."""
        return self._ledger.begin(number, "", host)

    def is_stopped(self, number: int) -> bool:
        """Tell a worker whether to stop."""
        return self._ledger.is_stopped(number)

    def give(self, number: int, chunk: bytes) -> None:
        """Take a piece of what a job has left."""
        import ray

        self._left[number].append(ray.put(chunk))

    def end(self, number: int, said: str, has_begun: bool, has_left: bool) -> None:
        """Take note of the end of a job."""
        self._capsules[number] = []
        self._ledger.end(number, said, has_begun, has_left)

    def tell(self, numbers: Sequence[int]) -> tuple[Sequence[Sequence[Any]], bool]:
        """Return how it is about jobs, and whether this depot is of no more use."""
        self._look()
        states = []
        for number in numbers:
            state, *rest = self._ledger.tell(number)
            is_task = 0 <= number < len(self._tasks)
            states.append((state, self._tasks[number].task_id().hex() if is_task else "", *rest))
        return states, self._ledger.is_settled()

    def cancel(self, numbers: Sequence[int]) -> None:
        """Have jobs stopped."""
        import ray

        for number in numbers:
            if self._ledger.stop(number) and self._tasks:
                ray.cancel(self._tasks[number])

    def let_go(self, numbers: Sequence[int]) -> bool:
        """Keep nothing more of jobs that are gone; tell whether this depot is of no more use."""
        for number in numbers:
            self._ledger.let_go(number)
            if 0 <= number < len(self._left) and not self._ledger.has_left(number):
                self._left[number] = []
        return self._ledger.is_settled()

    def left(self, number: int) -> Sequence[Any]:
        """Return references to the pieces of what a job has left."""
        return self._left[number] if self._ledger.has_left(number) else []

    def _look(self) -> None:
        """Look for tasks that have ended without a word."""
        import ray

        waiting = {self._tasks[n]: n for n in self._ledger.unfinished() if self._tasks}
        if not waiting:
            return
        ended, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0, fetch_local=False)
        for task in ended:
            said = "it has ended without a word"
            try:
                ray.get(task)
            except Exception as error:
                first = str(error).strip().partition("\n")[0]
                said = f"{type(error).__name__}: {first}"
            self._ledger.fail(waiting[task], said)


class _Line:
    """How a worker speaks with the depot."""

    def __init__(self, depot: Any, number: int, capsule: Sequence[Any]) -> None:
        self._depot = depot
        self._number = number
        self._capsule = capsule
        # While its main thread waits for Ray, Ray would give to others what a task has reserved.
        self._thread = ThreadPoolExecutor(1)

    def begin(self, host: str) -> str:
        return str(self._ask(self._depot.begin, host))

    def is_stopped(self) -> bool:
        return bool(self._ask(self._depot.is_stopped))

    def fetch(self) -> Iterator[bytes]:
        for each in self._capsule:
            yield self._get(each)

    def give(self, chunk: bytes) -> None:
        self._ask(self._depot.give, chunk)

    def end(self, said: str, has_begun: bool, has_left: bool) -> None:
        self._ask(self._depot.end, said, has_begun, has_left)

    def _ask(self, method: Any, *args: Any) -> Any:
        return self._get(method.remote(self._number, *args))

    def _get(self, reference: Any) -> Any:
        import ray

        return self._thread.submit(ray.get, reference).result()


def _work(depot: Any, order: Errand, capsule: Sequence[Any]) -> None:
    run_errand(order, _Line(depot, order.number, capsule))


def _connect(options: Mapping[str, Any]) -> Any:
    """Return Ray, connected; a process that is connected already stays so."""
    for name, value in _SILENCE.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise EngineFailed("Ray is not installed", "pip install 'gage[ray]'") from None
    if ray.is_initialized():
        _reach(ray.get_runtime_context().gcs_address, options)
        return ray
    with _understood(options), _hushed():
        address = _find_address(options)
    if "://" not in address and ":" in address:
        _reach(address, options)
    namespace = str(options.get("namespace", _NAMESPACE))
    # Else it prints what happens in the cluster, to stdout.
    ray._private.worker._worker_logs_enabled = False
    with _understood(options), _hushed():
        ray.init(
            address=address,
            namespace=namespace,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    return ray


def _find_address(options: Mapping[str, Any]) -> str:
    """Return the address to connect to, in place of `auto` that of the cluster on this machine."""
    address = _address(options)
    if address == "local":
        raise EngineFailed(
            "a Ray that is made for this command would end with it",
            "start one with ray start --head, and set options.address to 127.0.0.1:6379",
        )
    if address != _ADDRESS:
        return address
    try:
        # Ray asks it itself, and then waits for what may long be gone.
        from ray._private.services import canonicalize_bootstrap_address_or_die
    except ImportError:
        return address
    return str(canonicalize_bootstrap_address_or_die(address))


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep from stderr what Ray's native code writes there while it connects."""
    sys.stderr.flush()
    before = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.close(null)


def _reach(address: str, options: Mapping[str, Any]) -> None:
    """Raise an EngineUnreachable where nobody listens: Ray itself would wait for a minute."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PORT).close()
    except (OSError, ValueError) as error:
        raise _unreachable(options, str(error)) from None


def _unreachable(options: Mapping[str, Any], why: str) -> EngineUnreachable:
    first = printable(why.strip().partition("\n")[0])
    return EngineUnreachable(
        f"Ray at {printable(_address(options))} cannot be reached: {first}",
        "start it, or set options.address",
    )


@contextmanager
def _understood(options: Mapping[str, Any]) -> Iterator[None]:
    """Raise what Ray raises as an EngineFailed."""
    from ray.exceptions import (
        ActorUnavailableError,
        GetTimeoutError,
        RayError,
        RaySystemError,
    )

    away = (ConnectionError, TimeoutError, GetTimeoutError, RaySystemError, ActorUnavailableError)
    try:
        yield
    except away as error:
        raise _unreachable(options, str(error)) from None
    except (RayError, RuntimeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise EngineFailed(f"Ray: {printable(first)}") from None


@contextmanager
def _lost(ray: Any) -> Iterator[None]:
    """Pass over a depot that is not there, or not any more."""
    from ray.exceptions import ActorUnavailableError, RayActorError

    try:
        yield
    except ActorUnavailableError:
        # It is there, and cannot be reached for a moment.
        raise
    except RayActorError:
        pass
    except ValueError as error:
        # This is how Ray says that there is no such actor.
        if "Failed to look up actor" not in str(error):
            raise


@contextmanager
def _sent_along(ray: Any) -> Iterator[None]:
    """Have what workers do sent to them, and not looked for there."""
    modules = (sys.modules[__name__], errand, ledger)
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)


def _sweep(ray: Any) -> None:
    """Let go of depots that are of no more use, where nobody asked once more for their jobs."""
    from ray.exceptions import RayError

    for name in ray.util.list_named_actors():
        try:
            depot = ray.get_actor(name)
            _, is_settled = ray.get(depot.tell.remote([]), timeout=_PORT)
            if is_settled:
                ray.kill(depot)
        except (RayError, ValueError, AttributeError):
            # It is gone, or none of Gage's.
            pass


def _address(options: Mapping[str, Any]) -> str:
    return str(options.get("address", _ADDRESS))


def _is_shared(options: Mapping[str, Any]) -> bool:
    return bool(options.get("shared", is_here(_address(options))))


def _demands(resources: Any) -> Mapping[str, Any]:
    found = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    if resources.memory is not None:
        found["memory"] = resources.memory
    return found


def _by_submission(tickets: Sequence[Ticket]) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for ticket in tickets:
        found.setdefault(ticket.submission, []).append(ticket.number)
    return found
