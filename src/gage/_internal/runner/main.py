"""What a capsule does when Python executes it: list, check, verify, unpack, start, pack.

Needs nothing but Python 3.9 and its standard library, and whatever the runs need. Data goes to
stdout, all else to stderr, and the exit status is as that of the command `gage` is.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
from collections.abc import Sequence

from gage._internal import fs
from gage._internal.errors import CheckFailed, GageError, RunNotFound, UsageError
from gage._internal.fs import printable
from gage._internal.lifecycle.start import start_run
from gage._internal.lifecycle.stop import stop_run
from gage._internal.portable.capsule import has_runs
from gage._internal.portable.pack import pack_runs
from gage._internal.portable.unpack import Inside, looking_inside, unpack_capsule, verify_capsule
from gage._internal.runner.job import end_job, execute_job
from gage._internal.store import layout, lock, meta
from gage._internal.store.command_lines import RUN
from gage._internal.store.following import iter_output
from gage._internal.store.logs import counted
from gage._internal.store.names import run_name
from gage._internal.store.record import find_record
from gage._internal.store.requirements import read_requirements
from gage._internal.types import Run

_CANNOT = 125
_SHORT = 16
_STDOUT = "o"
_POLL = 0.02


def main(argv: Sequence[str], capsule: str) -> int:
    """Do what the arguments say with the runs of a capsule; return the exit status."""
    parser = _parser(os.path.basename(capsule))
    args = parser.parse_args(argv)
    command = args.command or "list"
    if args.command is None and not has_runs(capsule):
        parser.print_help()
        return 0
    try:
        return int(_COMMANDS[command](args, capsule))
    except (GageError, OSError) as error:
        sys.stderr.write(_message(error))
        if command in ("start", "job"):
            return _CANNOT
        return error.exit_code if isinstance(error, GageError) else 1
    except KeyboardInterrupt:
        return 130


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python3 {name}",
        description="Runs of experiments with all that they need, and a program that starts them."
        " Without a command it lists what is inside.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="list what is inside")
    commands.add_parser("verify", help="compare all that is inside with what was recorded of it")
    check = commands.add_parser("check", help="compare what runs need with what this system has")
    check.add_argument("runs", nargs="*", metavar="RUN", help="a run; default: all")
    unpack = commands.add_parser("unpack", help="unpack all runs into a directory")
    unpack.add_argument("dir", metavar="DIR")
    _add_outside_links(unpack)
    start = commands.add_parser("start", help="unpack runs and start them, one after the other")
    start.add_argument("runs", nargs="*", metavar="RUN", help="a run, or a run directory")
    start.add_argument("--dir", help="where runs are unpacked; default: NAME.runs, here")
    start.add_argument(
        "--force", action="store_true", help="start what needs what this system does not have, too"
    )
    _add_outside_links(start)
    start.add_argument(
        "--detach", action="store_true", help="leave it running, and return as soon as it does"
    )
    job = commands.add_parser("job", help="execute a run as the job of an engine")
    job.add_argument("run", metavar="RUN_DIR|NUMBER")
    job.add_argument(
        "--of", metavar="FILE", help="a JSON list of run directories that NUMBER is one of, from 0"
    )
    job.add_argument(
        "--end",
        action="store_true",
        help="only record the end of a run that has begun, whose runner is gone",
    )
    stop = commands.add_parser("stop", help="stop a run with all its processes")
    stop.add_argument("run", metavar="RUN_DIR")
    logs = commands.add_parser("logs", help="print what a run printed")
    logs.add_argument("run", metavar="RUN_DIR")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    logs.add_argument(
        "--frames", action="store_true", help="all to stdout, a line of stream and size before each"
    )
    logs.add_argument("--from", dest="start", type=int, default=0, metavar="BYTE")
    state = commands.add_parser("state", help="print how it is about a run, as JSON")
    state.add_argument("run", metavar="RUN_DIR")
    pack = commands.add_parser("pack", help="pack runs, with their results, to bring them home")
    pack.add_argument(
        "runs", nargs="+", metavar="DIR", help="a run directory, or one with runs in it"
    )
    pack.add_argument("-o", "--output", metavar="FILE", help="default: NAME.capsule.zip")
    return parser


def _add_outside_links(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--outside-links", action="store_true", help="take links that lead out of a run, too"
    )


def _list(args: argparse.Namespace, capsule: str) -> int:
    with looking_inside(capsule) as found:
        for inside, run in found:
            _show(inside, run)
    sys.stdout.write(
        f"\npython3 {os.path.basename(capsule)} check | verify | start | unpack DIR | --help\n"
    )
    return 0


def _show(inside: Inside, run: Run) -> None:
    record = inside.record
    size = sum(entry.size for entry in inside.entries.values())
    lines = [
        ("run", f"{record.name}  {run.id}"),
        ("operation", record.opref.name),
        ("status", record.status),
        ("command", " ".join(record.cmd.args)),
        ("files", f"{len(inside.entries)} ({size} bytes)"),
        ("seal", inside.seal),
        ("requires", ", ".join(each.text for each in read_requirements(run))),
    ]
    for name, value in record.config.items():
        lines.append(("config", f"{name} = {value}"))
    for name, value in record.summary.items():
        lines.append(("summary", f"{name} = {value}"))
    for title, text in lines:
        sys.stdout.write(f"{title:<11}{printable(text)}".rstrip() + "\n")


def _verify(args: argparse.Namespace, capsule: str) -> int:
    found = verify_capsule(capsule)
    for inside in found:
        result = "failed" if inside.faults else "ok"
        count = counted(len(inside.entries), "file")
        told = f"{inside.record.name}  {count}, seal {inside.seal[:_SHORT]}"
        sys.stdout.write(f"{result:<7}{told}\n")
        for fault in inside.faults:
            sys.stdout.write(f"       {fault.text}\n")
    failed = sum(bool(inside.faults) for inside in found)
    if failed:
        raise CheckFailed(f"{failed} of {counted(len(found), 'run')} not as recorded")
    return 0


def _check(args: argparse.Namespace, capsule: str) -> int:
    from gage._internal.lifecycle.system.compare import compare_here
    from gage._internal.lifecycle.system.table import table_lines

    unmet = 0
    with looking_inside(capsule) as found:
        for run in _chosen(args.runs, [run for _, run in found]):
            compared = compare_here(run)
            unmet += sum(not each.is_met for each in compared)
            sys.stdout.write(f"{run_name(run.id)}\n")
            for line in table_lines(compared, with_result=True):
                sys.stdout.write(f"{line}\n")
    if unmet:
        raise CheckFailed(f"{counted(unmet, 'requirement')} not met")
    return 0


def _unpack(args: argparse.Namespace, capsule: str) -> int:
    for run, outcome in unpack_capsule(capsule, args.dir, outside_links=args.outside_links):
        sys.stdout.write(f"{run.run_dir}\n")
        _tell(f"run {run_name(run.id)}: {outcome}")
    return 0


def _start(args: argparse.Namespace, capsule: str) -> int:
    runs: Sequence[Run]
    if args.runs and all(os.path.isdir(text) for text in args.runs):
        runs = [layout.run_of_dir(text) for text in args.runs]
    else:
        name = os.path.basename(capsule)
        folder = args.dir or f"{name.partition('.')[0] or name}.runs"
        unpacked = unpack_capsule(capsule, folder, outside_links=args.outside_links)
        runs = _chosen(args.runs, [run for run, _ in unpacked])
    if args.detach:
        return max(_detach(run, args.force) for run in runs)
    codes = []
    for run in runs:
        outcome = start_run(run, _echo, force=args.force, notice=_tell)
        _tell(f"run {run_name(run.id)} {find_record(run).status}: {printable(run.run_dir)}")
        if outcome.error is not None:
            _tell(outcome.error)
        codes.append(outcome.exit_code or (1 if outcome.error else 0))
        if codes[-1] > 128:
            break
    return next((code for code in codes if code), 0)


def _detach(run: Run, force: bool) -> int:
    """Start a run that outlives this process, and tell when it runs or why it does not."""
    if meta.has_meta(run, layout.STARTED):
        # Says so.
        start_run(run, force=force)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        return _run_detached(run, force, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        while not meta.has_meta(run, layout.STARTED):
            if select.select([told], [], [], _POLL)[0]:
                break
        else:
            return 0
        message = told.read()
    if message:
        sys.stderr.buffer.write(message)
        return _CANNOT
    return 0


def _run_detached(run: Run, force: bool, writer: int) -> int:
    """Start a run without a terminal, in the process that was made for it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    try:
        start_run(run, force=force)
    except (GageError, OSError) as error:
        fs.write_all(writer, _message(error).encode("utf-8", "backslashreplace"))
    return 0


def _message(error: GageError | OSError) -> str:
    if isinstance(error, OSError):
        return f"gage: {error} [system-error]\n"
    first, newline, rest = error.message.partition("\n")
    hint = f"hint: {error.hint}\n" if error.hint else ""
    return f"gage: {first} [{error.reference}]{newline}{rest}\n{hint}"


def _job(args: argparse.Namespace, capsule: str) -> int:
    run_dir = args.run
    if args.of:
        run_dir = json.loads(fs.read_bytes(args.of))[int(args.run)]
    if args.end:
        end_job(_run_at(run_dir), _tell)
        return 0
    return execute_job(_run_at(run_dir), _tell)


def _stop(args: argparse.Namespace, capsule: str) -> int:
    run = _run_at(args.run)
    stop_run(run)
    _tell(f"run {run_name(run.id)} is {find_record(run).status}")
    return 0


def _logs(args: argparse.Namespace, capsule: str) -> int:
    for piece in iter_output(_run_at(args.run), RUN, args.start, args.follow):
        if args.frames:
            head = f"{piece.stream} {len(piece.data)}\n".encode()
            fs.write_all(1, head + piece.data)
        else:
            _echo(piece.stream, piece.data)
    return 0


def _state(args: argparse.Namespace, capsule: str) -> int:
    run = _run_at(args.run)
    record = find_record(run)
    holder = lock.find_holder(run)
    state = {
        "id": run.id,
        "status": record.status,
        "exit": record.exit,
        "reason": record.reason,
        "process": holder.process._asdict() if holder else None,
    }
    sys.stdout.write(json.dumps(state) + "\n")
    return 0


def _run_at(path: str) -> Run:
    if not layout.is_run_dir(os.path.abspath(path)):
        raise RunNotFound(f"{printable(path)} is no run directory")
    return layout.run_of_dir(path)


def _pack(args: argparse.Namespace, capsule: str) -> int:
    runs = [run for text in args.runs for run in _runs_at(os.path.abspath(text))]
    output = args.output or f"{run_name(runs[0].id)}.capsule.zip"
    if os.path.lexists(output):
        raise UsageError(f"{printable(output)} is there already", "name another: -o FILE")
    packed = pack_runs(runs, output)
    _tell(f"packed {counted(packed.files, 'file')} into {printable(output)}")
    return 0


def _runs_at(path: str) -> Sequence[Run]:
    """Return the run whose directory a path is, or all in the directory that it is."""
    if layout.is_run_dir(path):
        return [layout.run_of_dir(path)]
    names = sorted(os.listdir(path)) if os.path.isdir(path) else []
    found = [layout.run_of_meta_name(path, name) for name in names if layout.is_meta_dir_name(name)]
    if not found:
        raise RunNotFound(f"{printable(path)} is no run directory, and has none in it")
    return found


def _chosen(texts: Sequence[str], runs: Sequence[Run]) -> Sequence[Run]:
    """Return those of the runs that are named by id, the beginning of one, or name; else all."""
    if not texts:
        return runs
    chosen = []
    for text in texts:
        found = [run for run in runs if run.id.startswith(text) or run_name(run.id) == text]
        if len(found) != 1:
            raise RunNotFound(f"there is no one run {printable(text)} in it", "list shows all")
        chosen += found
    return chosen


def _echo(stream: str, data: bytes) -> None:
    target = sys.stdout if stream == _STDOUT else sys.stderr
    try:
        target.buffer.write(data)
        target.flush()
    except OSError:
        # Whoever watched is gone; the run goes on.
        pass


def _tell(text: str) -> None:
    sys.stderr.write(f"gage: {text}\n")


_COMMANDS = {
    "list": _list,
    "verify": _verify,
    "check": _check,
    "unpack": _unpack,
    "start": _start,
    "job": _job,
    "stop": _stop,
    "logs": _logs,
    "state": _state,
    "pack": _pack,
}
