"""A part of what `scripts/faults` does, spread over all of it; root only, as in CI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import disks
from faults.disks import Disk
from faults.sweep import Scenario, Staging, Sweep, Tally, scenarios
from faults.world import STAGE, Made, make


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with disks.memory(tmp_path_factory.mktemp("faults") / "memory") as path:
        yield path


@pytest.fixture(scope="module")
def made(place: Path) -> Made:
    return make(place / "made")


@pytest.fixture(scope="module")
def named(made: Made) -> dict[str, Scenario]:
    return scenarios(made)


@pytest.fixture(params=disks.FILE_SYSTEMS)
def disk(place: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    with disks.disk(place / request.param, request.param) as found:
        yield found


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def sweep(place: Path, tally: Tally) -> Sweep:
    return Sweep(place, tally, jobs=1, most=3)


@pytest.mark.parametrize("name", ["stage", "stage batch", "run"])
def test_with_the_power_cut(
    named: dict[str, Scenario], sweep: Sweep, tally: Tally, disk: Disk, name: str
) -> None:
    sweep.cuts(named[name], disk)
    sweep.sudden_cuts(named[name], disk, [0.08])
    assert tally.lost == []
    assert tally.cuts > 1


@pytest.mark.parametrize("name", ["stage", "stage batch", "run", "start"])
def test_with_a_call_that_fails(
    named: dict[str, Scenario], sweep: Sweep, tally: Tally, name: str
) -> None:
    sweep.failures(named[name], both=False)
    assert tally.lost == []
    assert tally.failures > 0


@pytest.mark.parametrize(
    "name",
    [
        "stage",
        "first stage",
        "stage batch",
        "stage of many",
        "rerun",
        "run",
        "start",
        "delete",
        "restore",
        "purge",
    ],
)
def test_killed(named: dict[str, Scenario], sweep: Sweep, tally: Tally, name: str) -> None:
    sweep.kills(named[name], both=False)
    assert tally.lost == []
    assert tally.kills > 0


def test_at_once(made: Made, sweep: Sweep, tally: Tally) -> None:
    sweep.together(made, rounds=1)
    assert tally.lost == []
    assert tally.together > 0


def test_what_the_disk_loses_is_told(place: Path, made: Made, tally: Tally, disk: Disk) -> None:
    """A cut that takes nothing would be no test of anything."""
    unsynced = made._replace(env={**made.env, "GAGE_SYNC": "0"})
    careless = Staging("careless", unsynced, STAGE, lambda world: None)
    Sweep(place, tally, jobs=1, most=1).cuts(careless, disk)
    assert tally.lost


def test_what_does_not_hold_is_told(place: Path, made: Made, tally: Tally) -> None:
    class Careless(Scenario):
        def check(self, *args: object) -> None:
            raise OSError("lost")

    careless = Careless("careless", made, ("list",), lambda world: None)
    Sweep(place, tally, jobs=1, most=3).kills(careless)
    assert len(tally.lost) == tally.kills > 0
    assert f"runs lost:      {tally.kills}" in str(tally)
