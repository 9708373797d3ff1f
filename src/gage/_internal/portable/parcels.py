"""What engines give to workers: errands, and runs as capsules, piece by piece."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gage._internal import fs
from gage._internal.errors import EngineFailed, GageError
from gage._internal.fs import printable
from gage._internal.portable.errand import CHUNK, Errand
from gage._internal.store import layout

if TYPE_CHECKING:
    from gage.plugins import Job, Submission

# The list of run directories that a runner executes one of.
LISTING = "runs.json"
_KINDS: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a number, 1 at least",
    Mapping: "a table",
}
# Seconds between two words of whoever submits; and at most for the last one to be said.
_WORD = 20
_LAST_WORD = 10
_HERE = re.compile(r"(?:\w+://)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?/?")


def check_options(engine: str, options: Mapping[str, Any], known: Mapping[str, type]) -> None:
    """Make sure that an engine knows its options, and that they are of their kinds.

    Raises:
        EngineFailed: one is not.
    """
    for name, value in options.items():
        if name not in known:
            told = ", ".join(known)
            raise EngineFailed(f"{engine} has no option {printable(name)}", f"there are {told}")
        kind = known[name]
        is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not is_right or value == "" or (kind is int and value < 1):
            told = f"must be {_KINDS[kind]}, not {value!r}"
            raise EngineFailed(f"the option {printable(name)} of {engine} {told}")


def is_here(address: str) -> bool:
    """Tell whether an address is surely one of this machine."""
    return _HERE.fullmatch(address) is not None


def errands_of(
    submission: Submission, options: Mapping[str, Any], is_shared: bool
) -> Sequence[Errand]:
    """Return the errands of a submission, by the options `python` and `directory`."""
    listing = os.path.join(submission.folder, LISTING)
    sha256 = hashlib.sha256(fs.read_bytes(listing)).hexdigest() if is_shared else ""
    python = str(options.get("python", ""))
    return [
        Errand(number, job.run_id, python, submission.runner, listing, sha256)
        if is_shared
        else Errand(number, job.run_id, python, directory=str(options.get("directory", "")))
        for number, job in enumerate(submission.jobs)
    ]


@contextmanager
def packed(job: Job, folder: str) -> Iterator[str]:
    """Give the path of the capsule of a run that is held for an engine; it is in `folder` for now.

    Raises:
        EngineFailed: it cannot be packed.
    """
    from gage._internal.portable.pack import pack_runs

    path = os.path.join(folder, f"{job.run_id}.pyz")
    try:
        try:
            pack_runs([layout.run_of_dir(job.run_dir)], path, held=True)
        except GageError as error:
            raise EngineFailed(error.message, error.hint) from None
        except OSError as error:
            raise EngineFailed(f"run {job.run_id} cannot be packed: {error}") from None
        yield path
    finally:
        fs.remove_file(path)


def iter_capsule(job: Job, folder: str) -> Iterator[bytes]:
    """Yield the capsule of a run, piece by piece.

    Raises:
        EngineFailed: it cannot be packed.
    """
    with packed(job, folder) as path, open(path, "rb", buffering=0) as file:
        yield from iter(lambda: file.read(CHUNK), b"")


@contextmanager
def heard(hear: Callable[[], object]) -> Iterator[None]:
    """Have `hear` called again and again, by a thread: to pack one run may take long."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(_WORD):
            # Where it cannot be heard any more, whoever submits will see that.
            with suppress(Exception):
                hear()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_LAST_WORD)


def write_capsule(path: str, pieces: Iterator[bytes]) -> None:
    """Write a capsule that comes piece by piece; it is on the disk before it has its name."""
    beside = fs.path_beside(path)
    try:
        with open(beside, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            fs.sync_file(file.fileno())
        fs.put_in_place(beside, path)
    except BaseException:
        fs.discard(beside)
        raise
