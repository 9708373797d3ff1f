"""`gage list`: list runs, newest first."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from gage._internal.catalog.find import list_runs
from gage._internal.catalog.trash import trash_dir
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument
from gage._internal.cli.times import age_text, duration_text
from gage._internal.cli.values import config_text
from gage._internal.errors import UsageError
from gage._internal.fs import printable
from gage._internal.store import status
from gage._internal.store.jobs import find_open_job
from gage._internal.store.record import RunRecord, find_record

DESCRIPTION = (
    "List runs, newest first. The number of a run names it in other commands, as do its id, the"
    " beginning of it, and its name."
)

# A staged run that an engine was given.
_QUEUED = "queued"
_DEFAULT_MOST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "-n",
        "--most",
        type=_count,
        default=None,
        metavar="N",
        help=f"list N runs at most; default: {_DEFAULT_MOST}, or all with --json",
    )
    parser.add_argument("-a", "--all", action="store_true", help="list all runs")
    parser.add_argument(
        "-s", "--status", choices=(*status.ALL, _QUEUED), help="list runs of this status only"
    )
    parser.add_argument("-o", "--operation", metavar="OP", help="list runs of this operation only")
    parser.add_argument("--label", help="list runs with this label only")
    parser.add_argument("--tag", help="list runs with this tag only")
    add_group_argument(parser, "list runs of this group only")
    parser.add_argument("--remote", metavar="REMOTE", help="list runs at a remote")
    parser.add_argument("--deleted", action="store_true", help="list what is in the trash")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of runs")
    return int(text)


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    if args.remote is None:
        return _list(args, context, context.home())
    import tempfile

    from gage._internal.cli.moving import opened_remote
    from gage._internal.portable.snapshot import LISTED, write_snapshot

    if args.deleted:
        raise UsageError("a remote has no trash", "gage list --help")
    with (
        tempfile.TemporaryDirectory(prefix="gage-") as folder,
        opened_remote(context, args.remote) as place,
    ):
        write_snapshot(place, LISTED, folder)
        return _list(args, context, folder, place.address)


def _list(args: argparse.Namespace, context: Context, home: str, address: str | None = None) -> int:
    """List the runs of a runs home, which may stand for a remote of this address."""
    found = _matching(args, trash_dir(home) if args.deleted else home)
    most = None if args.all else args.most or (None if context.json else _DEFAULT_MOST)
    shown: list[tuple[int, RunRecord]] = []
    more = False
    for numbered in found:
        if most is not None and len(shown) == most:
            more = True
            break
        shown.append(numbered)
    if context.json:
        from gage._internal.catalog.rows import record_as_json

        rows = [{"number": n, **record_as_json(record)} for n, record in shown]
        if address is not None:
            rows = [{**row, "run_dir": None, "remote": address} for row in rows]
        printer.print_json(rows)
        return 0
    if not shown:
        what = "deleted runs" if args.deleted else "runs"
        is_chosen = {args.status, args.operation, args.label, args.tag, args.group} != {None}
        matching = " that match" if is_chosen else ""
        printer.print_note(f"no {what}{matching} in {printable(address or home)}")
        return 0
    columns = ("#", "id", "name", "operation", "status", "age", "took", "config", "label")
    printer.print_table(
        columns, [_cells(n, record) for n, record in shown], shrink=("config", "label")
    )
    if more:
        printer.print_note("there are more; -a lists all")
    return 0


def _matching(args: argparse.Namespace, home: str) -> Iterator[tuple[int, RunRecord]]:
    for number, found in enumerate(list_runs(home), 1):
        record = find_record(found)
        if (
            (args.status is None or _status(record) == args.status)
            and (args.operation is None or record.opref.name == args.operation)
            and (args.label is None or record.label == args.label)
            and (args.tag is None or args.tag in record.tags)
            and (args.group is None or args.group == record.group)
        ):
            yield number, record


def _cells(number: int, record: RunRecord) -> list[str]:
    config = config_text(record.config)
    return [
        str(number),
        record.run.id[:8],
        record.name,
        printable(record.opref.name),
        _status(record),
        age_text(record.initialized),
        duration_text(record.duration),
        config if record.damage is None else printable(record.damage),
        printable(record.label or ""),
    ]


def _status(record: RunRecord) -> str:
    """Return the status of a run; a staged one that an engine was given is queued there."""
    is_queued = record.status == status.STAGED and find_open_job(record.run) is not None
    return _QUEUED if is_queued else record.status
