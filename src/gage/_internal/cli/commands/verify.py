"""`gage verify`: is a run what it was staged as, and ended as, to the last byte."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.starting import add_isolation_arguments, find_isolated
from gage._internal.cli.values import counted_bytes
from gage._internal.errors import GageError, NotStaged, RunChanged, UsageError
from gage._internal.fs import printable
from gage._internal.lifecycle.isolation.options import Isolated
from gage._internal.store import layout, meta
from gage._internal.store.logs import counted
from gage._internal.store.names import run_name
from gage._internal.store.seal import read_seal
from gage._internal.store.status import ACTIVE, run_status
from gage._internal.store.verify import Fault, compare_run
from gage._internal.types import Run

DESCRIPTION = (
    "Compare every file of runs with the manifest, by size, type, mode, link target and SHA-256,"
    " and their meta files with the seal. What is missing, changed, added or unreadable is listed."
)

# Digits of a digest that are enough to compare by eye.
_SHORT = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_verify", nargs="+", metavar="RUN", help="a run")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="do not read files whose size, mode and time of modification are as recorded",
    )
    parser.add_argument(
        "--probe",
        metavar="COMMAND",
        help="with --sealed: execute this in the run directory instead of the imports",
    )
    add_isolation_arguments(
        parser,
        "start it dry, too: its imports, where the project, the home directory and other runs do"
        " not exist; it stays staged",
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    sealed = find_isolated(args, context)
    if args.probe and sealed is None:
        raise UsageError("--probe goes with --sealed")
    found = list(dict.fromkeys(context.find_run(text) for text in args.runs_to_verify))
    results = [_verify(each, args.quick) for each in found]
    if sealed is not None:
        results = [
            _probe(each, result, args.probe, sealed) if result["ok"] else result
            for each, result in zip(found, results, strict=True)
        ]
    if context.json:
        printer.print_json(results)
    else:
        for result in results:
            _print(result)
    failed = sum(not result["ok"] for result in results)
    if failed:
        raise RunChanged(
            f"{failed} of {counted(len(results), 'run')} not as recorded",
            "gage pull, gage unpack or gage stage make one that is whole",
        )
    return 0


def _probe(
    run: Run, result: Mapping[str, Any], probe: str | None, sealed: Isolated
) -> dict[str, Any]:
    """Return a result with what came of a dry start."""
    from gage._internal.lifecycle.isolation.dry_start import sealed_probe

    try:
        tried = sealed_probe(run, probe, sealed)
    except GageError as error:
        return {**result, "ok": False, "error": error.message}
    fields = {**tried._asdict(), "output": tried.output.decode("utf-8", "replace")}
    told = {**result, "sealed": {**fields, "reached": list(tried.reached)}}
    return told if tried.error is None else {**told, "ok": False, "error": tried.error}


def _print(result: Mapping[str, Any]) -> None:
    told = result.get("error")
    if told is None:
        told = f"{counted(result['files'], 'file')}, {counted_bytes(result['bytes'])}"
        told += f", seal {result['seal'][:_SHORT]}"
    word = "ok" if result["ok"] else "failed"
    first, *rest = told.split("\n")
    printer.print_data(f"{word:<7}{result['name']}  {printable(first)}")
    for line in rest:
        printer.print_data(f"       {printable(line)}")
    sealed = result.get("sealed")
    if sealed:
        printer.print_data(f"       sealed by {sealed['rung']}: {printable(sealed['what'])}")
    for fault in result["faults"]:
        printer.print_data(f"       {Fault(**fault).text}")


def _verify(run: Run, quick: bool) -> dict[str, Any]:
    """Return what was found of a run, as JSON has it."""
    name = run_name(run.id)
    result: dict[str, Any] = {"run": run.id, "name": name, "ok": False, "faults": []}
    try:
        found = run_status(run)
        if found in ACTIVE or not meta.has_meta(run, layout.STAGED):
            raise NotStaged(f"cannot be verified: it is {found}")
        with printer.ProgressLine() as line:
            verified = compare_run(
                run, quick=quick, progress=lambda done, total: line(f"verify {name}", done, total)
            )
        seal = read_seal(run)
    except (GageError, OSError) as error:
        result["error"] = error.message if isinstance(error, GageError) else str(error)
        return result
    return {
        **result,
        "ok": not verified.faults,
        "seal": seal.digest,
        "inputs": seal.inputs,
        "files": len(verified.stamps),
        "bytes": verified.bytes,
        "faults": [fault._asdict() for fault in verified.faults],
    }
