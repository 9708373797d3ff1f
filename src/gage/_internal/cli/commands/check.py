"""`gage check`: check a run, or this installation and project."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence

import gage
from gage._internal.catalog.find import list_runs
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.errors import CheckFailed, GageError, UsageError
from gage._internal.fs import printable
from gage._internal.project.operations import find_operation
from gage._internal.store import layout, manifest, meta, status
from gage._internal.store.record import find_record, read_record
from gage._internal.store.verify import verify
from gage._internal.types import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gage._internal.lifecycle.system.compare import Comparison

DESCRIPTION = (
    "Check that a run is intact and, where it is staged, that it can start here: what it needs is"
    " compared with what there is. Without a run, check this installation, the project and its runs"
    " home."
)

_LEFTOVER = "leftover"

Check = tuple[str, Callable[[], str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run")
    parser.add_argument(
        "--repair", action="store_true", help="clear what interrupted commands left among the runs"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    if args.run and args.repair:
        raise UsageError("--repair is not for one run", "gage check --repair")
    results, hint = ([], None) if args.run else _leftovers(context, args.repair)
    checks = _run_checks(context.find_run(args.run)) if args.run else _checks(context)
    results = [*(_result(name, check) for name, check in checks), *results]
    compared = _compare(context.find_run(args.run)) if args.run else []
    required = [_required(each) for each in compared]
    if context.json:
        printer.print_json([*results, *required])
    else:
        for result in results:
            printer.print_data(f"{result['result']:<7}{result['check']:<12}{result['text']}")
        _print_table(compared)
    results += required
    failed = [result for result in results if result["result"] == "failed"]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(results)} checks failed", hint)
    return 0


def _compare(run: Run) -> Sequence[Comparison]:
    """Compare what a staged run needs with this system."""
    if find_record(run).status != status.STAGED:
        return []
    from gage._internal.lifecycle.system.compare import compare_here

    return compare_here(run)


def _required(comparison: Comparison) -> dict[str, str]:
    needed = comparison.requirement
    return {
        "check": "requires",
        "result": "ok" if comparison.is_met else "failed",
        "text": f"{needed.text}: {comparison.found}",
        **comparison.as_json(),
    }


def _print_table(compared: Sequence[Comparison]) -> None:
    if compared:
        from gage._internal.lifecycle.system.table import table_lines

        for line in ("", *table_lines(compared, with_result=True)):
            printer.print_data(line)


def _leftovers(context: Context, repair: bool) -> tuple[list[dict[str, str]], str | None]:
    """Return a result for each thing that an interrupted command left, and what would clear it.

    Clears it, if told to.
    """
    from gage._internal.catalog.leftovers import clear_leftovers, find_leftovers
    from gage._internal.lifecycle.conclude import conclude_run

    try:
        home = context.home()
    except GageError:
        # The check of the project tells.
        return [], None
    results = []
    for leftover, error in clear_leftovers(home, conclude_run) if repair else ():
        told = f"{leftover.what}, {error or leftover.remedy}"
        results.append(_leftover("failed" if error else "mended", leftover.path, told))
    failed = {result["path"] for result in results if result["result"] == "failed"}
    left = find_leftovers(home, conclude_run)
    for leftover in left:
        if leftover.path not in failed:
            told = leftover.what if leftover.clear else f"{leftover.what}: {leftover.remedy}"
            results.append(_leftover("failed", leftover.path, told))
    can_be_cleared = not repair and any(leftover.clear for leftover in left)
    return results, "gage check --repair clears what was left" if can_be_cleared else None


def _leftover(result: str, path: str, told: str) -> dict[str, str]:
    return {
        "check": _LEFTOVER,
        "result": result,
        "text": f"{printable(path)}: {told}",
        "path": path,
    }


def _result(name: str, check: Callable[[], str]) -> dict[str, str]:
    try:
        return {"check": name, "result": "ok", "text": check()}
    except (GageError, OSError) as error:
        return {"check": name, "result": "failed", "text": str(error)}


def _run_checks(run: Run) -> Iterator[Check]:
    yield "record", lambda: f"{read_record(run).status} run {run.id}"
    if meta.has_meta(run, layout.MANIFEST):
        yield "files", lambda: _files(run)
    if find_record(run).status == status.STAGED and os.sep in meta.read_cmd(run).args[0]:
        yield "command", lambda: _command(run)


def _files(run: Run) -> str:
    told = f"{len(verify(run))} as in the manifest"
    changed = list(map(printable, manifest.find_changed(run)))
    return f"{told}; the run itself changed {', '.join(changed)}" if changed else told


def _command(run: Run) -> str:
    command = meta.read_cmd(run)
    name = command.args[0]
    path = command.env.get("PATH", os.environ.get("PATH", os.defpath))
    where = os.path.join(run.run_dir, name) if os.sep in name else name
    found = shutil.which(where, path=path)
    if found is None:
        raise CheckFailed(f"{printable(name)}: command not found")
    return printable(found)


def _checks(context: Context) -> Iterator[Check]:
    yield "gage", lambda: f"{gage.__version__} on Python {sys.version.split()[0]}"
    yield "git", _git
    yield "project", lambda: _project(context)
    yield "runs", lambda: _runs(context)


def _git() -> str:
    return shutil.which("git") or "not here: source is selected without asking git"


def _project(context: Context) -> str:
    project = context.project()
    for name in project.operations:
        find_operation(project, name, context.cwd)
    if project.gage_file is None:
        return f"{printable(project.dir)} has no Gage file"
    return f"{printable(project.gage_file)} defines {', '.join(map(printable, project.operations))}"


def _runs(context: Context) -> str:
    home = context.home()
    damaged = [r for r in map(find_record, list_runs(home)) if r.damage]
    if damaged:
        raise CheckFailed("; ".join(printable(str(record.damage)) for record in damaged))
    return f"{len(list_runs(home))} in {printable(home)}"
