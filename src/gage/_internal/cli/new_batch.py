"""The runs of a batch staged, or those that are needed: what is told of it, and how to go on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gage._internal.catalog.find import list_group
from gage._internal.catalog.same import Completed
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.new_run import Choices, read_configs
from gage._internal.errors import RunDamaged, UsageError
from gage._internal.fs import printable
from gage._internal.lifecycle.batch import frozen_project, stage_batch
from gage._internal.lifecycle.stage import has_hook
from gage._internal.project.operations import Operation
from gage._internal.project.projects import Project
from gage._internal.store import layout, meta, status
from gage._internal.store.logs import counted
from gage._internal.store.names import group_name, run_name
from gage._internal.store.record import find_record
from gage._internal.types import Run

if TYPE_CHECKING:
    from gage._internal.lifecycle.proto import Proto

_MOST_TOLD = 3


def new_staged_batch(choices: Choices, args: argparse.Namespace, context: Context) -> list[Run]:
    """Create the runs that were chosen and stage them; return those that are to be started.

    These are the new ones, and those that were staged for this group before and wait.

    Raises:
        GageError, OSError, KeyboardInterrupt: as `stage_batch`; then it is told how to go on.
    """
    home = context.home(choices.project)
    with frozen(choices.project, choices.operation, home, args) as fill:
        return _staged(home, choices.operation, choices.configs, choices.is_batch, fill, args)


def stage_filled(
    home: str,
    operation: Operation,
    config: Mapping[str, Any],
    fill: Callable[[Run], None],
    args: argparse.Namespace,
) -> Run:
    """Create a run and stage it; return it, or one that has done the same and will do.

    Raises:
        GageError, OSError, KeyboardInterrupt: as `stage_batch`.
    """
    same = _Same(home) if args.needed else None
    staged: list[Run] = []
    stage_batch(
        home,
        operation,
        [config],
        fill,
        group=args.group,
        label=args.label,
        tags=args.tags,
        find_same=same.find if same else lambda run: None,
        on_staged=staged.append,
    )
    return staged[0] if staged or same is None else same.found[0]


@contextmanager
def frozen(
    project: Project,
    operation: Operation,
    home: str,
    args: argparse.Namespace,
    *,
    now: bool = False,
) -> Iterator[Callable[[Run], None]]:
    """Yield what fills runs of an operation from a project; see `frozen_project`."""
    with (
        printer.ProgressLine() as progress,
        frozen_project(
            home,
            operation.opdef,
            project.dir,
            strict=args.strict,
            share=args.share or project.share,
            notice=printer.print_note,
            progress=progress,
            now=now,
        ) as fill,
    ):
        yield fill


def new_staged_of_proto(args: argparse.Namespace, context: Context) -> tuple[list[Run], bool]:
    """Do the same for runs that have all but their config of one that is there.

    Returns:
        The runs to be started, and whether there may be more or less than one.

    Raises:
        NotStaged, RunChanged, RunDamaged: there is no prototype in that run.
    """
    from gage._internal.lifecycle.proto import read_proto

    original = context.find_run(args.proto)
    with read_proto(original) as proto:
        operation = proto.operation
        words = words_of_proto(args, proto)
        configs, is_batch = read_configs(operation, words, args, context, proto.config)
        staged = _staged(context.home(), operation, configs, is_batch, proto.fill, args)
    return staged, is_batch or args.needed


def words_of_proto(args: argparse.Namespace, proto: Proto) -> list[str]:
    """Return the words that are config of a prototype; tell what is not done anew.

    Raises:
        UsageError: there is a word that is none.
    """
    words = [word for word in (args.operation, *args.config) if word is not None]
    if words and "=" not in words[0]:
        raise UsageError(
            f"--proto {printable(args.proto)} says which operation:"
            f" {printable(proto.operation.opdef.name)}",
            f"leave out {printable(words[0])}",
        )
    if has_hook(proto.operation.opdef):
        printer.print_note(
            f"what hooks of run {run_name(proto.old.run.id)} made is staged as it is; they are not"
            " executed again"
        )
    return words


def _staged(
    home: str,
    operation: Operation,
    configs: Sequence[Mapping[str, Any]],
    is_batch: bool,
    fill: Callable[[Run], None],
    args: argparse.Namespace,
) -> list[Run]:
    group: str | None = args.group or (group_name() if is_batch else None)
    missing, asked_for = list(configs), list[Run]()
    if is_batch and args.group:
        missing, asked_for = split_had(home, args.group, operation, configs)
    same = _Same(home) if args.needed else None
    staged: list[Run] = []
    try:
        stage_batch(
            home,
            operation,
            missing,
            fill,
            group=group,
            label=args.label,
            tags=args.tags,
            find_same=same.find if same else lambda run: None,
            on_staged=staged.append,
        )
    except BaseException:
        if staged:
            _tell_how_to_go_on(len(missing), staged, group, args)
        raise
    finally:
        if same:
            same.tell()
    if is_batch and staged:
        of = f" of {len(configs)}" if len(staged) < len(configs) else ""
        printer.print_note(f"staged {counted(len(staged), 'run')}{of} as group {group}")
    return [*waiting_of(asked_for), *staged]


def split_had(
    home: str, group: str, operation: Operation, configs: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[Run]]:
    """Return the configs that a group has no run of an operation of, and the runs of the others."""
    had = _had(home, group, operation.opref.name)
    missing = [config for config in configs if _key(config) not in had]
    return missing, [had[_key(config)] for config in configs if _key(config) in had]


def waiting_of(runs: Sequence[Run]) -> list[Run]:
    """Say how it is about runs that a batch had before; return those that wait to be started."""
    if runs:
        _tell_had(runs)
    return [run for run in runs if _is_waiting(run)]


def _tell_had(runs: Sequence[Run]) -> None:
    """Say how it is about runs of the batch that its group had before, with what they were then."""
    found = [find_record(run).status for run in runs]
    each = ", ".join(f"{found.count(word)} {word}" for word in status.ALL if word in found)
    were = "was" if len(runs) == 1 else "were"
    printer.print_note(
        f"{counted(len(runs), 'run')} of these {were} in the group before, with the source of then:"
        f" {each}"
    )


def _had(home: str, group: str, operation: str) -> dict[str, Run]:
    """Return the runs of a group that are or were staged, by their config."""
    had = {}
    for run in list_group(home, group):
        try:
            if meta.has_meta(run, layout.STAGED) and meta.read_opref(run).name == operation:
                had[_key(meta.read_config(run))] = run
        except RunDamaged:
            continue
    return had


def _key(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def _is_waiting(run: Run) -> bool:
    try:
        return status.run_status(run) == status.STAGED
    except RunDamaged:
        return False


def _tell_how_to_go_on(
    count: int, staged: Sequence[Run], group: str | None, args: argparse.Namespace
) -> None:
    again = f"--group {printable(group or '')}"
    if args.seed is not None:
        again += f" --seed {args.seed}"
    printer.print_note(
        f"{len(staged)} of {counted(count, 'run')} are staged; the same command with {again} stages"
        " the others"
    )


class _Same:
    """Looks for runs that make new ones needless, and tells of them."""

    def __init__(self, home: str) -> None:
        self._completed = Completed(home)
        self.found: list[Run] = []

    def find(self, run: Run) -> Run | None:
        found = self._completed.find_same(run)
        if found is not None:
            self.found.append(found)
        return found

    def tell(self) -> None:
        """Tell which runs are not needed, or how many."""
        for found in self.found[:_MOST_TOLD]:
            tell_needless(found)
        more = len(self.found) - _MOST_TOLD
        if more > 0:
            printer.print_note(f"not needed: {more} more, for the same reason")


def tell_needless(found: Run) -> None:
    """Say that there is no new run, since one has completed that did the same."""
    printer.print_note(f"not needed: run {run_name(found.id)} has completed with the same")
