"""Do the same to many files, on all cores.

Processes rather than threads: these would wait for each other in a program that makes many short
calls. Each takes the next batch from a pipe, so none waits for another. This module is also the
program of the helping processes, started with nothing but the standard library and this package.
"""

from __future__ import annotations

import errno
import marshal
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

# From where on another process saves more than it costs to start.
_MANY_FILES = 400
_MANY_BYTES = 64 << 20
_MOST_HELPERS = 3
_BATCH = 64
_TOKEN = 4
# A pipe holds 64 KiB of tokens.
_MOST_BATCHES = 16_000

# What is done to an item, given what is the same for all. It is a function of a module; items,
# what is the same, and results are what marshal takes; an error of the system is raised again.
Work = Callable[[Any, Any], Any]
# Where a batch starts, and its results.
_Batch = tuple[int, list[Any]]


def is_much(files: int, size: Callable[[], int]) -> bool:
    """Tell whether so many files, or files of so many bytes in all, are worth several processes."""
    return files >= _MANY_FILES or (files > 1 and size() >= _MANY_BYTES)


def do_all(
    work: Work,
    items: Sequence[Any],
    common: Any,
    much: bool,
    tell: Callable[[int], None] | None = None,
) -> list[Any]:
    """Return what `work(item, common)` returns for each item, in their order.

    Several processes do it where it is `much`. `tell` is told now and then how many of the items,
    from the first on, were begun.

    Raises:
        OSError: as `work` did; `filename` is kept.
    """
    helpers = _helper_count(items) if much else 0
    if helpers == 0:
        return [work(item, common) for item in _telling(items, tell)]
    batches = _batches(len(items))
    tokens, feed = os.pipe()
    os.write(feed, b"".join(n.to_bytes(_TOKEN, "little") for n in range(len(batches))))
    os.close(feed)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        try:
            for _ in range(helpers):
                processes += [_start_helper(work, items, common, tokens)]
            done = _take_batches(work, items, common, tokens, tell=tell)
            for process in processes:
                done += _results(process)
        except BaseException:
            for process in processes:
                process.kill()
            raise
        finally:
            for process in processes:
                process.__exit__(None, None, None)
    finally:
        os.close(tokens)
    results: list[Any] = [None] * len(items)
    for start, batch in done:
        results[start : start + len(batch)] = batch
    return results


def _telling(items: Sequence[Any], tell: Callable[[int], None] | None) -> Iterator[Any]:
    for number, item in enumerate(items):
        if tell is not None:
            tell(number)
        yield item


def _helper_count(items: Sequence[Any]) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not sys.executable or not cores or not os.path.isfile(__file__):
        return 0
    return max(0, min(cores - 1, len(items) - 1, _MOST_HELPERS))


def _batches(count: int) -> range:
    return range(0, count, max(1, min(_BATCH, count // _BATCH), count // _MOST_BATCHES))


def _take_batches(
    work: Work,
    items: Sequence[Any],
    common: Any,
    tokens: int,
    parent: int | None = None,
    tell: Callable[[int], None] | None = None,
) -> list[_Batch]:
    """Do what the tokens tell; `parent` is the process that is helped, without which to end."""
    batches = _batches(len(items))
    done: list[_Batch] = []
    while True:
        token = os.read(tokens, _TOKEN)
        if not token:
            return done
        start = batches[int.from_bytes(token, "little")]
        if tell is not None:
            tell(start)
        results = []
        for item in items[start : start + batches.step]:
            if parent is not None and os.getppid() != parent:
                raise SystemExit(1)
            results.append(work(item, common))
        done.append((start, results))


def _start_helper(
    work: Work, items: Sequence[Any], common: Any, tokens: int
) -> subprocess.Popen[bytes]:
    import subprocess

    from gage._internal import fs

    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, package, str(tokens), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[tokens],
        bufsize=0,
    )
    assert process.stdin
    # Unbuffered: what cannot be written to a process that died is not to be tried again.
    try:
        task: Any = work.__module__, work.__name__, items, common
        fs.write_all(process.stdin.fileno(), marshal.dumps(task))
    except BrokenPipeError:
        pass
    process.stdin.close()
    return process


def _results(process: subprocess.Popen[bytes]) -> list[_Batch]:
    assert process.stdout
    answer = process.stdout.read()
    if not answer:
        raise OSError(errno.ECHILD, "a helping process died at its work")
    is_done, value = marshal.loads(answer)
    if not is_done:
        raise OSError(*value)
    batches: list[_Batch] = value
    return batches


def _help(tokens: int, parent: int) -> tuple[bool, Any]:
    import importlib

    module, name, items, common = marshal.load(sys.stdin.buffer)
    work = getattr(importlib.import_module(module), name)
    try:
        return True, _take_batches(work, items, common, tokens, parent)
    except OSError as error:
        return False, (error.errno, error.strerror, error.filename)


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    try:
        answer = marshal.dumps(_help(*map(int, sys.argv[2:4])))
    except (KeyboardInterrupt, EOFError):
        # Whoever is helped was interrupted or is gone, and tells of that itself.
        raise SystemExit(1) from None
    try:
        sys.stdout.buffer.write(answer)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever was helped is gone. What is left in the buffer is not to be tried again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
