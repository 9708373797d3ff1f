"""`python -m bench`, from the root of a checkout, with the Python that has Gage installed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile

from bench.batches import batch_rows
from bench.big_staging import big_staging_rows
from bench.environments import environment_rows
from bench.listing import listing_rows
from bench.machine import describe_machine
from bench.measure import CannotRun, compare
from bench.moving import moving_rows
from bench.output import output_rows
from bench.overhead import overhead_rows
from bench.peers import peer_rows
from bench.place import Place
from bench.queues import queue_peer_rows, queue_rows
from bench.rows import Row
from bench.staging import staging_rows
from bench.staging_peers import staging_peer_rows
from bench.startup import startup_rows
from bench.submitting import submitting_rows
from bench.table import format_line, format_titles

_GROUPS = (startup_rows, overhead_rows, staging_rows, output_rows)
_CACHE = os.path.join("~", ".cache", "gage-bench")


def main() -> int:
    """Measure the rows that were asked for and print a line for each as it is done."""
    args = _parse_args()
    os.makedirs(args.work, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="gage-bench-", dir=args.work)
    try:
        rows = _make_rows(Place(folder), args)
        if args.list:
            print("\n".join(row.name for row in rows))
            return 0
        print("\n".join([*describe_machine(folder), f"rounds   {args.rounds}, after a warm-up"]))
        print("\n" + format_titles(), flush=True)
        measured = [_measure(row, args.rounds) for row in rows]
        return 0 if all(measured) else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Gage.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only rows with this in their name")
    parser.add_argument("-l", "--list", action="store_true", help="list the rows, measure nothing")
    parser.add_argument("-n", "--rounds", type=int, default=9, metavar="N", help="default: 9")
    parser.add_argument(
        "--work", default=tempfile.gettempdir(), metavar="DIR", help="where files are made"
    )
    parser.add_argument("--runs", type=int, default=10_000, metavar="N", help="runs to be listed")
    parser.add_argument("--peers", action="store_true", help="install and measure other tools too")
    parser.add_argument("--cache", default=_CACHE, metavar="DIR", help="where they are installed")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("-n takes 1 or more")
    return args


def _make_rows(place: Place, args: argparse.Namespace) -> list[Row]:
    rows = [row for group in _GROUPS for row in group(place)]
    rows += listing_rows(place, args.runs)
    cache = os.path.abspath(os.path.expanduser(args.cache))
    rows += big_staging_rows(place, cache)
    rows += batch_rows(place)
    rows += environment_rows(place)
    rows += moving_rows(place)
    rows += queue_rows(place)
    rows += submitting_rows(place)
    if args.peers:
        rows += [*peer_rows(place, cache), *staging_peer_rows(place, cache)]
        rows += queue_peer_rows(place, cache)
    return [row for row in rows if not args.rows or any(part in row.name for part in args.rows)]


def _measure(row: Row, rounds: int) -> bool:
    """Print the line of a row; return whether it could be measured."""
    try:
        if row.prepare is not None:
            row.prepare()
        print(format_line(row, compare(row.ours, row.peer, rounds)), flush=True)
    except CannotRun as error:
        print(f"{row.name}: not measured: {error}", flush=True)
        return row.optional
    return True


if __name__ == "__main__":
    sys.exit(main())
