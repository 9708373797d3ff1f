"""A run moved from one place where runs are kept to another, whatever kind these are.

1. Both places describe the run. What must not leave, and what is another run there, is refused.
2. The place it goes to gets the list of all files, links and directories with their digests, takes
   what it has itself, and tells which files it wants, from which byte on.
3. These come as one stream. What arrives is compared with its digest; what differs comes anew.
4. The run is put into its place.

Interrupted in the middle, the same from the beginning wants less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gage._internal.errors import (
    NotStaged,
    RemoteFailed,
    RunActive,
    RunChanged,
    RunConflict,
    RunDamaged,
    RunNotFound,
)
from gage._internal.fs import printable
from gage._internal.portable.items import MANIFEST, Described, Item
from gage._internal.store import layout
from gage._internal.store.manifest import FILE
from gage._internal.store.seal import parse_seal

if TYPE_CHECKING:
    from gage.plugins import Arrival, Place

SENT = "sent"
MERGED = "merged"
ALREADY = "already there"
NEWER = "newer there"

_MOST = 10
_ATTEMPTS = 3
# What a run that is started changes or adds; of all else, both must have the same.
_SEAL = f"meta/{layout.SEAL}"
_GROWING = ("meta/log/", "meta/output/", MANIFEST, _SEAL)


class Transferred(NamedTuple):
    """What became of a run.

    `files` and `size` are all that it has, `sent` the bytes that travelled, `here` those that were
    there.
    """

    run_id: str
    outcome: str
    files: int
    size: int
    sent: int
    here: int


class Listener(NamedTuple):
    """Who is told what happens, in sentences, and how many bytes have gone, of how many."""

    notice: Callable[[str], None] = lambda sentence: None
    progress: Callable[[int, int], None] = lambda done, total: None


def transfer(source: Place, target: Place, run_id: str, listener: Listener) -> Transferred:
    """Bring a run from a place to another one, or find that it is there.

    Raises:
        RunNotFound: it is not at the source.
        RunActive, NotStaged, RunDamaged, RunChanged: as it is, it cannot go anywhere.
        RunConflict: another run of this id is at the target.
        NoRoom: it does not fit there.
        RemoteFailed: one of them does not do what it should.
    """
    described = source.describe(run_id)
    if described is None:
        raise RunNotFound(f"there is no run {run_id} at {printable(source.address)}", "gage list")
    check_may_leave(run_id, described)
    outcome, base = _compare(source, target, run_id, described)
    files = [item for item in described.items if item.kind == FILE]
    size = sum(item.size for item in files)
    sent = 0
    if outcome in (SENT, MERGED):
        arrival = target.receive(run_id, listener.notice)
        try:
            if arrival.has_waited:
                outcome, base = _compare(source, target, run_id, described)
            if outcome in (SENT, MERGED):
                sent = _send(source, arrival, run_id, described.items, listener)
                arrival.commit(base)
        finally:
            arrival.close()
    notes = source.notes(run_id)
    target.add_notes(run_id, {n: data for n, data in notes.items() if n not in layout.NOTES_HERE})
    return Transferred(run_id, outcome, len(files), size, sent, max(0, size - sent))


def check_may_leave(run_id: str, described: Described) -> None:
    """Make sure that a run is one that can go elsewhere.

    Raises:
        RunActive: it is being staged or is running.
        NotStaged: it was never staged.
        RunDamaged: what staged or ran it was interrupted, and that is to be mended first.
        RunChanged: its files are not those of its manifest.
    """
    names = {item.path for item in described.items}

    def has(name: str) -> bool:
        return f"meta/{name}" in names

    if described.lock == "alive":
        doing = "running" if has(layout.STAGED) else "being staged"
        raise RunActive(f"run {run_id} is {doing}", "wait until it has ended")
    if not has(layout.INITIALIZED):
        raise RunDamaged(f"run {run_id} is damaged: initialized was never written")
    if described.lock and not (has(layout.STARTED) or has(layout.STOPPED)):
        raise RunDamaged(f"run {run_id} was interrupted", "gage check --repair")
    if not has(layout.STAGED) and not has(layout.STOPPED):
        raise NotStaged(f"run {run_id} is not staged")
    faults = [f"missing: {printable(path[4:])}" for path in sorted(described.missing)]
    faults += [f"changed or added: {printable(path[4:])}" for path in sorted(described.strange)]
    if faults:
        raise RunChanged(
            f"run {run_id} is not as it was staged:{_listed(faults)}", "stage it again"
        )


def _listed(faults: list[str]) -> str:
    shown = "".join(f"\n  {fault}" for fault in faults[:_MOST])
    return shown + (f"\n  and {len(faults) - _MOST} more" if len(faults) > _MOST else "")


def _compare(source: Place, target: Place, run_id: str, ours: Described) -> tuple[str, str | None]:
    """Return what is to become of a run, and the digest of what it replaces at the target.

    Raises:
        RunActive: it is running there.
        RunConflict: what is there is another run, or is not whole.
    """
    theirs = target.describe(run_id)
    if theirs is None:
        return SENT, None
    if theirs.lock == "alive":
        raise RunActive(f"run {run_id} is running at {printable(target.address)}")
    faults = [f"missing: {printable(path[4:])}" for path in sorted(theirs.missing)]
    faults += [f"changed or added: {printable(path[4:])}" for path in sorted(theirs.strange)]
    if faults:
        raise RunConflict(
            f"run {run_id} is at {printable(target.address)} already, and is not whole there:"
            + _listed(faults)
        )
    base = theirs.digest()
    if base == ours.digest():
        return ALREADY, base
    if _has_gone_on(ours, theirs) and _same_staged(source, target, run_id):
        return MERGED, base
    if _has_gone_on(theirs, ours) and _same_staged(source, target, run_id):
        return NEWER, base
    differing = _differing(ours, theirs)
    raise RunConflict(
        f"another run {run_id} is at {printable(target.address)}, with other files of the record:"
        + _listed(differing)
    )


def _meta(described: Described) -> dict[str, str]:
    return {i.path: i.sha256 for i in described.items if i.path[:5] == "meta/" and i.kind == FILE}


def _differing(ours: Described, theirs: Described) -> list[str]:
    one, other = _meta(ours), _meta(theirs)
    paths = sorted(one.keys() | other.keys())
    return [printable(path[5:]) for path in paths if one.get(path) != other.get(path)]


def _has_gone_on(later: Described, earlier: Described) -> bool:
    """Tell whether one is what has become of the other, a staged run, as far as its files tell."""
    after, before = _meta(later), _meta(earlier)
    started, stopped = f"meta/{layout.STARTED}", f"meta/{layout.STOPPED}"
    return (
        f"meta/{layout.STAGED}" in before
        and started not in before
        and stopped not in before
        and started in after
        and all(
            path in after and (path.startswith(_GROWING) or after[path] == sha256)
            for path, sha256 in before.items()
        )
    )


def _same_staged(source: Place, target: Place, run_id: str) -> bool:
    """Tell whether both were staged as the same run."""
    first, second = (
        parse_seal(_text(place.read_file(run_id, _SEAL))).digest for place in (source, target)
    )
    return first == second


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _send(
    source: Place, arrival: Arrival, run_id: str, items: Sequence[Item], listener: Listener
) -> int:
    """Send what is wanted of a run; return how many bytes that was."""
    wants = arrival.begin(items)
    for _ in range(_ATTEMPTS):
        total = sum(items[number].size - offset for number, offset in wants)
        pairs = [(items[number], offset) for number, offset in wants]
        content = _counted(source.read(run_id, pairs), total, listener)
        bad = arrival.send(wants, content)
        if not bad:
            return arrival.sent
        # Such as a part that a power cut has spoilt.
        wants = [(number, 0) for number in bad]
    named = _listed([printable(items[number].path) for number in bad])
    raise RemoteFailed(f"of run {run_id} this has arrived damaged {_ATTEMPTS} times:{named}")


def _counted(content: Iterable[bytes], total: int, listener: Listener) -> Iterator[bytes]:
    done = 0
    for data in content:
        yield data
        done += len(data)
        listener.progress(done, total)
