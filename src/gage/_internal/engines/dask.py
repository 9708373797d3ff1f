"""Runs that execute as tasks of Dask.

The scheduler keeps a ledger of each submission, and tasks and their results as published data, so
that these outlive whoever submits. Dask begins a task again whose worker is lost; the ledger lets
it begin once. Neither scheduler nor workers need Gage: what they do is sent along.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
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
from gage._internal.store.resources import Resources
from gage.plugins import Capabilities, JobState, Submission, Ticket

_OPTIONS: Mapping[str, type] = {
    "address": str,
    "resources": Mapping,
    "shared": bool,
    "python": str,
    "directory": str,
}
# Seconds until a scheduler that does not answer is given up; until a result is here.
_ANSWER = 10
_RESULT = 600
_TCP = re.compile(r"(?:(?:tcp|tls)://)?([^/:]+|\[[^]]+\]):(\d{1,5})")


class Dask:
    """Executes runs in a Dask cluster.

    Option `address` is that of the scheduler. Jobs execute in the runs home where `shared` says
    that all workers have its files; else each takes a capsule to `directory` of its worker, and
    gives one back. `python` starts the runner, in place of the `python3` of the worker. `resources`
    says what the cluster calls the `cpus`, `memory` and `gpus` of its workers: Dask knows none but
    those that workers were started with.
    """

    def submit(self, submission: Submission, options: Mapping[str, Any]) -> Sequence[str]:
        """Give Dask a task for each job; return their keys.

        Raises:
            EngineUnreachable: the scheduler does not answer.
            EngineFailed: it does not take them, Dask is not installed, or a run cannot be packed.
        """
        name = submission.name
        is_shared = _is_shared(options)
        demands = [_demands(job.resources, options) for job in submission.jobs]
        orders = errands_of(submission, options, is_shared)
        with _connected(options) as client:
            _sweep(client)
            _ask(client, _open, name, len(orders))
            # Made once, since to make one is for one thread at a time.
            hear = _Sent(partial(_hear, name))
            try:
                with heard(lambda: client.run_on_scheduler(hear)):
                    tasks = {}
                    for number, job in enumerate(submission.jobs):
                        capsule = [
                            client.scatter(chunk, hash=False)
                            for chunk in (() if is_shared else iter_capsule(job, submission.folder))
                        ]
                        key = _key(name, number)
                        work = _Sent(partial(_work, name, orders[number]))
                        tasks[key] = client.submit(
                            work, capsule, key=key, retries=0, resources=demands[number]
                        )
                    client.publish_dataset(**tasks)
            except BaseException:
                _drop(client, name)
                raise
            if not _ask(client, _complete, name):
                raise EngineFailed("Dask has given up the submission", "submit it again")
            return list(tasks)

    def poll(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> Sequence[JobState]:
        """Return how it is about jobs.

        Raises:
            EngineUnreachable: the scheduler does not answer.
            EngineFailed: Dask is not installed.
        """
        with _connected(options) as client:
            keys = [(ticket.submission, ticket.number) for ticket in tickets]
            states, settled = _ask(client, _tell, keys)
            for name in settled:
                _drop(client, name)
        return [
            JobState(state, ticket.job or _key(ticket.submission, ticket.number), *told)
            for ticket, (state, *told) in zip(tickets, states, strict=True)
        ]

    def cancel(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """End jobs: those that wait are taken out, those that execute stopped.

        Raises:
            EngineUnreachable: the scheduler does not answer.
            EngineFailed: Dask is not installed.
        """
        with _connected(options) as client:
            from distributed import Event

            keys = [(ticket.submission, ticket.number) for ticket in tickets]
            useless, executing = _ask(client, _stop, keys)
            for name, number in useless:
                client.unpublish_dataset(_key(name, number))
            for name, number in executing:
                Event(_key(name, number), client=client).set()

    def capabilities(self, options: Mapping[str, Any]) -> Capabilities:
        """Return what Dask does.

        Raises:
            EngineFailed: options are not as they must be.
        """
        check_options("Dask", options, _OPTIONS)
        return Capabilities(has_files=_is_shared(options))

    def collect(self, ticket: Ticket, path: str, options: Mapping[str, Any]) -> bool:
        """Write what a job has left to `path`; tell whether it has left anything.

        Raises:
            EngineUnreachable: the scheduler does not answer.
            EngineFailed: Dask is not installed.
            OSError: the file cannot be written.
        """
        name, number = ticket.submission, ticket.number
        key = _key(name, number)
        with _connected(options) as client:
            if not _ask(client, _has_left, name, number):
                return False
            try:
                left = client.get_dataset(key).result(timeout=_RESULT)
            except (KeyError, CancelledError):
                return False
            if left:
                write_capsule(path, iter(left))
            return bool(left)

    def let_go(self, tickets: Sequence[Ticket], options: Mapping[str, Any]) -> None:
        """Free what jobs have left, and ledgers that have nothing more.

        Raises:
            EngineUnreachable: the scheduler does not answer.
            EngineFailed: Dask is not installed.
        """
        with _connected(options) as client:
            keys = [(ticket.submission, ticket.number) for ticket in tickets]
            useless, settled = _ask(client, _let_go, keys)
            for name in settled:
                _drop(client, name)
            for name, number in useless:
                if name not in settled:
                    client.unpublish_dataset(_key(name, number))


# What follows is executed by the scheduler, in its only thread.


def _ledgers(scheduler: Any) -> dict[str, Ledger]:
    if not hasattr(scheduler, "gage_ledgers"):
        scheduler.gage_ledgers = {}
    found: dict[str, Ledger] = scheduler.gage_ledgers
    return found


def _open(name: str, count: int, dask_scheduler: Any = None) -> None:
    _ledgers(dask_scheduler)[name] = Ledger(count)


def _hear(name: str, dask_scheduler: Any = None) -> None:
    _ledgers(dask_scheduler)[name].hear()


def _complete(name: str, dask_scheduler: Any = None) -> bool:
    return _ledgers(dask_scheduler)[name].complete()


def _close(name: str, dask_scheduler: Any = None) -> None:
    _ledgers(dask_scheduler).pop(name, None)


def _settled(dask_scheduler: Any = None) -> list[str]:
    return [name for name, each in _ledgers(dask_scheduler).items() if each.is_settled()]


def _begin(name: str, number: int, worker: str, host: str, dask_scheduler: Any = None) -> str:
    each = _ledgers(dask_scheduler).get(name)
    return each.begin(number, worker, host) if each else "no"


def _end(name: str, number: int, *told: Any, dask_scheduler: Any = None) -> None:
    each = _ledgers(dask_scheduler).get(name)
    if each:
        each.end(number, *told)


def _has_left(name: str, number: int, dask_scheduler: Any = None) -> bool:
    each = _ledgers(dask_scheduler).get(name)
    return each is not None and each.has_left(number)


def _stop(
    keys: Sequence[tuple[str, int]], dask_scheduler: Any = None
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Have jobs stopped; return those that Dask need not keep, and those that execute."""
    useless, executing = [], []
    for name, number in keys:
        each = _ledgers(dask_scheduler).get(name)
        if each and each.stop(number):
            useless.append((name, number))
        elif each and number in each.unfinished():
            executing.append((name, number))
    return useless, executing


def _let_go(
    keys: Sequence[tuple[str, int]], dask_scheduler: Any = None
) -> tuple[list[tuple[str, int]], list[str]]:
    """Keep nothing more of jobs; return those that had left something, and useless submissions."""
    ledgers = _ledgers(dask_scheduler)
    names = {name for name, _ in keys} & ledgers.keys()
    useless = [(name, n) for name, n in keys if name in names and ledgers[name].has_left(n)]
    for name, number in keys:
        if name in names:
            ledgers[name].let_go(number)
    return useless, [name for name in names if ledgers[name].is_settled()]


def _tell(
    keys: Sequence[tuple[str, int]], dask_scheduler: Any = None
) -> tuple[list[tuple[str, str, str, bool | None]], list[str]]:
    """Return how it is about jobs, and which submissions are of no more use."""
    ledgers = _ledgers(dask_scheduler)
    names = {name for name, _ in keys} & ledgers.keys()
    for name in names:
        _look(name, ledgers[name], dask_scheduler)
    told: list[tuple[str, str, str, bool | None]] = [
        ledgers[name].tell(number) if name in names else ("gone", "Dask does not know it", "", None)
        for name, number in keys
    ]
    return told, [name for name in names if ledgers[name].is_settled()]


def _look(name: str, each: Ledger, scheduler: Any) -> None:
    """Look for jobs that will not end any more."""
    if not each.is_complete():
        return
    for number, worker in each.executing():
        if worker not in scheduler.workers:
            each.fail(number, f"its worker {worker} is lost")
    for number in each.unfinished():
        task = scheduler.tasks.get(f"{name}-{number}")
        if task is None:
            each.fail(number, "Dask has let go of it")
        elif task.state == "erred":
            each.fail(number, str(task.exception_text or "it has failed"))
        elif task.state == "memory":
            each.fail(number, "it has ended without a word")


# What follows is executed by a worker.


class _Line:
    """How a worker speaks with the ledger."""

    def __init__(self, name: str, number: int, capsule: Sequence[bytes]) -> None:
        from distributed import Event, get_client, get_worker

        self._client = get_client()
        # Asked for each second, so not by a function, each of which the scheduler logs.
        self._stop = Event(f"{name}-{number}", client=self._client)
        self._worker = get_worker().address
        self._job = (name, number)
        self._capsule = capsule
        self.left: list[bytes] = []

    def begin(self, host: str) -> str:
        return str(self._ask(_begin, self._worker, host))

    def is_stopped(self) -> bool:
        return bool(self._stop.is_set())

    def fetch(self) -> Iterator[bytes]:
        return iter(self._capsule)

    def give(self, chunk: bytes) -> None:
        self.left.append(chunk)

    def end(self, said: str, has_begun: bool, has_left: bool) -> None:
        self._ask(_end, said, has_begun, has_left)

    def _ask(self, function: Any, *args: Any) -> Any:
        return self._client.run_on_scheduler(function, *self._job, *args)


def _work(name: str, order: Errand, capsule: Sequence[bytes]) -> Sequence[bytes]:
    line = _Line(name, order.number, capsule)
    run_errand(order, line)
    return line.left


@contextmanager
def _connected(options: Mapping[str, Any]) -> Iterator[Any]:
    """Give a client of the scheduler; what goes wrong is raised as an EngineFailed."""
    try:
        import dask
        import distributed
    except ImportError:
        raise EngineFailed("Dask is not installed", "pip install 'gage[dask]'") from None
    address = options.get("address") or dask.config.get("scheduler-address", None)
    if not address:
        hint = "set options.address, to that of its scheduler"
        raise EngineFailed("which Dask is meant is not said", hint)
    _reach(str(address))
    with _hushed():
        client = None
        try:
            client = distributed.Client(str(address), timeout=_ANSWER, set_as_default=False)
            yield client
        except (OSError, distributed.TimeoutError) as error:
            if client is not None and client.status == "running":
                raise
            raise _unreachable(str(address), error) from None
        except (RuntimeError, ValueError, LookupError) as error:
            first = str(error).strip().partition("\n")[0]
            raise EngineFailed(f"Dask: {printable(first)}") from None
        finally:
            if client is not None:
                client.close(timeout=_ANSWER)


def _reach(address: str) -> None:
    """Raise an EngineUnreachable where nobody listens: Dask itself would go on trying."""
    match = _TCP.fullmatch(address)
    if match:
        try:
            socket.create_connection((match[1].strip("[]"), int(match[2])), _ANSWER).close()
        except OSError as error:
            raise _unreachable(address, error) from None


def _unreachable(address: str, error: BaseException) -> EngineUnreachable:
    first = printable((str(error).strip() or type(error).__name__).partition("\n")[0])
    return EngineUnreachable(
        f"Dask at {printable(address)} cannot be reached: {first}",
        "start it, or set options.address",
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep from stderr what Dask says of connections and versions."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


class _Sent:
    """A function that is sent along, not looked for where it is unpacked."""

    def __init__(self, function: Callable[..., Any]) -> None:
        import cloudpickle

        modules = (sys.modules[__name__], errand, ledger)
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            self._packed = cloudpickle.dumps(function)
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)

    def __call__(self, *args: Any) -> Any:
        """Be callable, which Dask asks for; the function itself is called elsewhere."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        import cloudpickle

        return cloudpickle.loads, (self._packed,)


def _ask(client: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Have the scheduler execute a function, and return what that returns."""
    return client.run_on_scheduler(_Sent(function), *args)


def _sweep(client: Any) -> None:
    """Let go of submissions that are of no more use, and that nobody has asked for since."""
    for name in _ask(client, _settled):
        _drop(client, name)


def _drop(client: Any, name: str) -> None:
    _ask(client, _close, name)
    start = _key(name, "")
    for key in client.list_datasets():
        if isinstance(key, str) and key.startswith(start):
            client.unpublish_dataset(key)


def _key(name: str, number: object) -> str:
    return f"{name}-{number}"


def _is_shared(options: Mapping[str, Any]) -> bool:
    return bool(options.get("shared", is_here(str(options.get("address", "")))))


def _demands(resources: Resources, options: Mapping[str, Any]) -> Mapping[str, float]:
    """Return what a task needs, as the cluster calls it.

    Raises:
        EngineFailed: what a run is to have has no name there, so that nobody would see to it.
    """
    names = options.get("resources", {})
    found: dict[str, float] = {}
    for what, amount in resources._asdict().items():
        if what in names:
            if amount:
                found[str(names[what])] = amount
        elif amount != getattr(Resources(), what):
            raise EngineFailed(
                f"a run is to have {what} = {amount}, and Dask does not know of {what}",
                f"start workers with --resources, and name it in options.resources.{what}",
            )
    return found
