"""What is done to the commands, what must be true then, and how often it was not."""

from __future__ import annotations

import itertools
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from faults import calls, world
from faults.calls import Call
from faults.disks import Disk
from faults.world import BATCH_VALUES, STAGE, STAGE_BATCH, Fault, Made, World
from gage._internal.catalog.trash import trash_dir
from gage._internal.store import status
from gage._internal.store.record import find_record
from gage._internal.types import Run

_KILLED = -9

_Prepare = Callable[[World], None]


class Tally:
    """How much was tried, and what did not hold."""

    def __init__(self) -> None:
        self.kills = 0
        self.failures = 0
        self.cuts = 0
        self.together = 0
        self.lost: list[str] = []
        self._lock = threading.Lock()

    def count(self, kind: str) -> None:
        """Count one that was tried."""
        with self._lock:
            setattr(self, kind, getattr(self, kind) + 1)

    def add(self, what: str) -> None:
        """Add what did not hold."""
        with self._lock:
            self.lost.append(what)

    def __str__(self) -> str:
        return (
            f"kill points:    {self.kills}\n"
            f"failing calls:  {self.failures}\n"
            f"power cuts:     {self.cuts}\n"
            f"at once:        {self.together}\n"
            f"runs lost:      {len(self.lost) or 'none'}"
        )


class Scenario:
    """A command in a world: how the world is prepared, and what must hold after a fault."""

    def __init__(self, name: str, made: Made, args: Sequence[str], prepare: _Prepare) -> None:
        self.name = name
        self.made = made
        self.args = tuple(args)
        self._prepare = prepare

    def world(self, folder: Path) -> World:
        """Make the world in which the command is to run."""
        found = World.copy_of(self.made, folder)
        self._prepare(found)
        return found

    def check(self, after: World, ended: world.Ended | None, repair_first: bool) -> None:
        """Make sure that all is well after the command met a fault, and can be done again."""
        raise NotImplementedError


class Staging(Scenario):
    """`gage stage`: a run is staged or it is not, and the next one succeeds."""

    def check(self, after: World, ended: world.Ended | None, repair_first: bool) -> None:
        """See `Scenario.check`."""
        after.check_untouched(self.made)
        found = after.check_new_runs(self.made)
        if ended is not None and ended.code == 0 and found != [status.STAGED]:
            raise Fault(f"it succeeded, and left {found}")
        if repair_first:
            after.repair()
        again = after.gage(*self.args)
        if again.code != 0:
            raise Fault(f"it does not succeed again: {again.err}")
        after.check_clean()
        if not repair_first:
            after.repair()
        after.check_untouched(self.made)
        statuses = after.check_new_runs(self.made)
        if statuses.count(status.STAGED) != found.count(status.STAGED) + 1:
            raise Fault(f"it was {found}, and after another staging {statuses}")


class StagingBatch(Scenario):
    """`gage stage` of a batch: each run is staged or it is not, and the same command goes on."""

    def check(self, after: World, ended: world.Ended | None, repair_first: bool) -> None:
        """See `Scenario.check`."""
        after.check_untouched(self.made)
        found = after.check_new_runs(self.made)
        if ended is not None and ended.code == 0 and found != [status.STAGED] * len(BATCH_VALUES):
            raise Fault(f"it succeeded, and left {found}")
        if repair_first:
            after.repair()
        again = after.gage(*self.args)
        if again.code != 0:
            raise Fault(f"it does not succeed again: {again.err}")
        after.check_clean()
        if not repair_first:
            after.repair()
        after.check_untouched(self.made)
        statuses = after.check_new_runs(self.made)
        if statuses.count(status.STAGED) != len(BATCH_VALUES):
            raise Fault(f"it was {found}, and after another staging {statuses}")


class Starting(Scenario):
    """`gage start`: a run is started once at most, and can be where nothing was started."""

    def check(self, after: World, ended: world.Ended | None, repair_first: bool) -> None:
        """See `Scenario.check`."""
        run_id = self.made.staged
        run = Run(run_id, str(after.home / run_id))
        after.check_untouched(self.made, but=run_id)
        before = find_record(run)
        if before.damage is not None or before.status in status.ACTIVE:
            raise Fault(f"it is {before.status}: {before.damage}")
        if before.status == status.STAGED:
            world.verify(run)
            if after.starts():
                raise Fault("it was started, and is staged")
        if repair_first:
            after.repair()
        found = find_record(run).status
        again = after.gage(*self.args)
        if (again.code == 0) != (found == status.STAGED):
            raise Fault(f"it is {found}, and starting it again gives {again}")
        has_begun = Path(run.run_dir + ".meta", "started").exists()
        if repair_first and found == status.LOST and not has_begun:
            raise Fault("nothing was started, and it is lost")
        after.repair()
        after.check_untouched(self.made, but=run_id)
        if after.starts() > 1:
            raise Fault("it was started twice")
        if find_record(run).damage is not None:
            raise Fault(f"it is damaged: {find_record(run).damage}")


class Moving(Scenario):
    """`gage delete`, `restore` and `purge`: a run is in one place, and whole, or purged."""

    def __init__(
        self, name: str, made: Made, args: Sequence[str], run_id: str, to_trash: bool | None
    ) -> None:
        super().__init__(name, made, args, lambda found: None)
        self._run_id = run_id
        self._to_trash = to_trash

    def check(self, after: World, ended: world.Ended | None, repair_first: bool) -> None:
        """See `Scenario.check`."""
        after.check_untouched(self.made, but=self._run_id)
        if repair_first:
            after.repair()
            self._check_whole(after)
        again = after.gage(*self.args)
        if again.code != 0 and "[run-not-found]" not in again.err:
            raise Fault(f"it does not succeed again: {again.err}")
        after.repair()
        after.check_untouched(self.made, but=self._run_id)
        self._check_whole(after)
        in_home, in_trash = self._places(after)
        if (in_home, in_trash) != (self._to_trash is False, self._to_trash is True):
            raise Fault(f"it is in the home: {in_home}, in the trash: {in_trash}")

    def _places(self, after: World) -> tuple[bool, bool]:
        names = [self._run_id + suffix for suffix in ("", ".meta")]
        home, trash = after.home, Path(trash_dir(str(after.home)))
        return tuple(any((folder / n).exists() for n in names) for folder in (home, trash))

    def _check_whole(self, after: World) -> None:
        stamps = after.run_stamps(self._run_id)
        if stamps and stamps != self.made.runs[self._run_id]:
            raise Fault("it is not what it was")
        if not stamps and self._to_trash is not None:
            raise Fault("it is gone")
        if sum(self._places(after)) > 1:
            raise Fault("it is in two places")


class Running(Scenario):
    """`gage run`: what it leaves is not called staged unless it is."""

    def check(self, after: World, ended: world.Ended | None, repair_first: bool) -> None:
        """See `Scenario.check`."""
        after.check_untouched(self.made)
        after.check_new_runs(self.made)
        if repair_first:
            after.repair()
        again = after.gage(*self.args)
        if again.code != 0:
            raise Fault(f"it does not succeed again: {again.err}")
        after.repair()
        after.check_untouched(self.made)
        after.check_new_runs(self.made)


def scenarios(made: Made) -> dict[str, Scenario]:
    """Return the commands that faults are injected into, by name."""

    def nothing(found: World) -> None:
        pass

    def without_home(found: World) -> None:
        shutil.rmtree(found.project / ".gage")

    staged, deleted = made.staged, made.deleted
    found = [
        Staging("stage", made, STAGE, nothing),
        Staging("first stage", made._replace(runs={}), STAGE, without_home),
        StagingBatch("stage batch", made, STAGE_BATCH, nothing),
        Staging("stage of many", world.grow(made, made.folder / "grown"), STAGE, nothing),
        Running("run", made, ("run", "train", "-q"), nothing),
        Staging("rerun", made, ("rerun", made.completed, "--stage"), nothing),
        Starting("start", made, ("start", staged, "-q"), nothing),
        Moving("delete", made, ("delete", "-y", staged), staged, True),
        Moving("restore", made, ("restore", deleted), deleted, False),
        Moving("purge", made, ("purge", "-y", deleted), deleted, None),
    ]
    return {scenario.name: scenario for scenario in found}


_Case = Callable[[Path], None]

# The calls by which a run comes to be staged are the last ones: they are tried at any rate.
_LAST = 6


def _is_killed(ended: world.Ended) -> bool:
    """Tell whether a command was killed, or ended well before it came to that.

    How many calls it makes depends on how much other processes do of its work.
    """
    if ended.code not in (_KILLED, 0):
        raise Fault(f"was not killed there: {ended}")
    return ended.code == _KILLED


class Sweep:
    """Runs cases side by side in a directory, each in one of its own, and tallies them.

    Where there is a `most`, that many calls of a command are tried, besides the last ones.
    """

    def __init__(self, place: Path, tally: Tally, jobs: int, most: int | None = None) -> None:
        self._place = place
        self._tally = tally
        self._jobs = jobs
        self._most = most
        self._numbers = itertools.count()

    def kills(self, scenario: Scenario, every: int = 1, both: bool = True) -> None:
        """Kill the command right before each of its calls."""
        self._run(self._kills(scenario, every, both))

    def _kills(self, scenario: Scenario, every: int, both: bool) -> Iterator[tuple[str, _Case]]:
        points = self._some(scenario, self._record(scenario), every)
        for number, call in enumerate(points):
            for repair_first in (False, True) if both else (bool(number % 2),):
                label = f"{scenario.name}: killed before {call.name} {call.ordinal}"
                before = calls.killing(call)
                yield label, self._case(scenario, before, repair_first, "kills")

    def failures(self, scenario: Scenario, every: int = 1, both: bool = True) -> None:
        """Let each call fail that can, once and from then on, with each of some errors.

        Where not both, each with the next of these only.
        """
        self._run(self._failures(scenario, every, both))

    def _failures(self, scenario: Scenario, every: int, both: bool) -> Iterator[tuple[str, _Case]]:
        found = [call for call in self._record(scenario) if call.is_failing()]
        points = self._some(scenario, found, every)
        kinds = [(error, False) for error in calls.ERRORS] + [("ENOSPC", True), ("EIO", True)]
        tried = (
            itertools.product(points, kinds)
            if both
            else zip(points, itertools.cycle(kinds), strict=False)
        )
        for number, (call, (error, ever)) in enumerate(tried):
            label = f"{scenario.name}: {call.name} {call.ordinal} {error}" + ", ever after" * ever
            before = calls.failing(call, error, ever)
            yield label, self._case(scenario, before, bool(number % 2), "failures")

    def _case(
        self, scenario: Scenario, before: Sequence[str], repair_first: bool, kind: str
    ) -> _Case:
        def case(folder: Path) -> None:
            found = scenario.world(folder)
            ended = found.gage(*scenario.args, before=before)
            is_killed = kind == "kills" and _is_killed(ended)
            if is_killed or kind != "kills":
                self._tally.count(kind)
            if "Traceback" in ended.err:
                raise Fault(ended.err)
            scenario.check(found, None if is_killed else ended, repair_first)

        return case

    def together(self, made: Made, rounds: int, count: int = 5) -> None:
        """Stage several times at once, kill some of them, and repair meanwhile."""
        for number in range(rounds):
            self._run([(f"at once: {number}", lambda folder: self._together(made, folder, count))])

    def _together(self, made: Made, folder: Path, count: int) -> None:
        found = World.copy_of(made, folder)

        def begin(*args: str) -> subprocess.Popen[bytes]:
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            return subprocess.Popen(found.argv(*args), cwd=found.project, env=found.env, **streams)

        kept = [begin(*STAGE) for _ in range(count)]
        killed = [begin(*STAGE) for _ in range(2)]
        repairs = [begin("check", "--repair") for _ in range(2)]
        for number, process in enumerate(killed):
            time.sleep(0.1 + 0.1 * number)
            process.kill()
        for process in (*kept, *killed, *repairs):
            _, err = process.communicate()
            if process in kept:
                self._tally.count("together")
                if process.returncode != 0:
                    self._tally.add(f"at once: {err.decode()}")
        found.wait_for_processes()
        found.check_untouched(made)
        statuses = found.check_new_runs(made)
        if statuses.count(status.STAGED) < count:
            raise Fault(f"{count} were staged, and are {statuses}")
        found.repair()
        found.check_untouched(made)

    def cuts(self, scenario: Scenario, disk: Disk, every: int = 1) -> None:
        """Cut the power right before each call that changes something, and after the command.

        With and without another program's fsync before, by which all names that the command
        has made are on disk, and no content.
        """
        found = [call for call in self._record(scenario) if call.is_changing()]
        points = self._some(scenario, found, every)
        for number, call in enumerate((*points, None)):
            for is_committed in (True, False) if call is None or points == found else (True,):
                when = "after it" if call is None else f"before {call.name} {call.ordinal}"
                label = f"{scenario.name}: power cut {when}, names written: {is_committed}"
                before = () if call is None else calls.killing(call)
                with self._tallied(label):
                    self._cut(scenario, disk, before, is_committed, bool(number % 2))

    def _cut(
        self,
        scenario: Scenario,
        disk: Disk,
        before: Sequence[str],
        is_committed: bool,
        repair_first: bool,
    ) -> None:
        found = scenario.world(disk.path / "world")
        try:
            disk.sync()
            ended = found.gage(*scenario.args, before=before)
            if is_committed:
                disk.commit()
            disk.cut()
            disk.restart()
            self._tally.count("cuts")
            is_killed = bool(before) and _is_killed(ended)
            scenario.check(found, None if is_killed else ended, repair_first)
        finally:
            shutil.rmtree(found.folder)

    def sudden_cuts(self, scenario: Scenario, disk: Disk, delays: Iterable[float]) -> None:
        """Cut the power while the command runs, after some time, every second time with a
        neighbour that makes the disk write all the while.
        """
        for number, delay in enumerate(delays):
            with self._tallied(f"{scenario.name}: power cut after {delay:.3f} s"):
                self._sudden_cut(scenario, disk, delay, bool(number % 2), bool(number // 2 % 2))

    def _sudden_cut(
        self, scenario: Scenario, disk: Disk, delay: float, is_busy: bool, repair_first: bool
    ) -> None:
        found = scenario.world(disk.path / "world")
        try:
            disk.sync()
            process = subprocess.Popen(
                found.argv(*scenario.args),
                cwd=found.project,
                env=found.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            until = time.monotonic() + delay
            while time.monotonic() < until:
                if is_busy:
                    disk.commit()
                time.sleep(0.001)
            is_done = process.poll() == 0
            disk.cut()
            process.wait()
            found.wait_for_processes()
            disk.restart()
            self._tally.count("cuts")
            scenario.check(found, world.Ended(0, "", "") if is_done else None, repair_first)
        finally:
            shutil.rmtree(found.folder)

    def _some(self, scenario: Scenario, points: list[Call], every: int) -> list[Call]:
        last = _LAST if scenario.name == "stage" else 1
        if self._most is not None:
            every = max(every, math.ceil(len(points[:-last]) / self._most))
        return [*points[:-last:every], *points[-last:]]

    def _record(self, scenario: Scenario) -> list[Call]:
        folder = self._place / f"record-{next(self._numbers)}"
        try:
            found = scenario.world(folder)
            return calls.record(found, scenario.args, self._place / f"{folder.name}.trace")
        finally:
            shutil.rmtree(folder)

    def _run(self, cases: Iterable[tuple[str, _Case]]) -> None:
        with ThreadPoolExecutor(self._jobs) as pool:
            for _ in pool.map(lambda labelled: self._try(*labelled), cases):
                pass

    def _try(self, label: str, case: _Case) -> None:
        folder = self._place / f"world-{next(self._numbers)}"
        with self._tallied(label):
            case(folder)
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _tallied(self, label: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._tally.add(f"{label}: {type(error).__name__}: {error}")
