"""All faults: `python -m faults`. Prints what was tried; exits with 1 if a run was lost."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults import disks
from faults.sweep import Sweep, Tally, scenarios
from faults.world import make

# Seconds; a staging takes less.
_LONGEST = 0.4


def main() -> int:
    """Sweep; return the exit status."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take each N-th call only"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--only", metavar="NAME", help="the command, such as stage")
    parser.add_argument(
        "--kind", choices=("kills", "failures", "cuts", "together"), help="the kind of fault"
    )
    parser.add_argument("--sudden", type=int, default=60, help="how many cuts at any moment")
    parser.add_argument("--seed", type=int, default=1, help="when these are")
    args = parser.parse_args()
    tally = Tally()
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        disks.memory(Path(folder, "memory")) as place,
    ):
        _sweep(args, place, tally)
    for lost in tally.lost:
        print(f"LOST {lost}")
    print(tally)
    return 1 if tally.lost else 0


def _sweep(args: argparse.Namespace, place: Path, tally: Tally) -> None:
    made = make(place / "made")
    sweep = Sweep(place, tally, args.jobs)
    for name, scenario in scenarios(made).items():
        if args.only not in (None, name):
            continue
        # Most of many calls are the copy of yet another file.
        every = args.every * (20 if name == "stage of many" else 1)
        if args.kind in (None, "kills"):
            with _told(f"{name}: killed at each call"):
                sweep.kills(scenario, every, both=name == "stage")
        if args.kind in (None, "failures"):
            with _told(f"{name}: each call failing"):
                sweep.failures(scenario, every)
        if args.kind in (None, "cuts") and name in ("stage", "first stage", "run"):
            for kind in disks.FILE_SYSTEMS:
                with disks.disk(place / kind, kind) as disk:
                    with _told(f"{name}: the power cut on {kind} at each call"):
                        sweep.cuts(scenario, disk, every)
                    moments = random.Random(args.seed)
                    delays = [moments.uniform(0, _LONGEST) for _ in range(args.sudden)]
                    with _told(f"{name}: the power cut on {kind} at any moment"):
                        sweep.sudden_cuts(scenario, disk, delays)
    if args.kind in (None, "together") and args.only in (None, "stage"):
        with _told("stagings at once"):
            sweep.together(made, max(1, 10 // args.every))


@contextmanager
def _told(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
