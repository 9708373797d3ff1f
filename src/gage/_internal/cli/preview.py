"""What a staging would do, as `gage stage --preview` tells it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from gage._internal.cli.values import config_text, counted_bytes
from gage._internal.fs import printable
from gage._internal.lifecycle.plan import Plan, PlannedDependency, PlannedFile
from gage._internal.store.logs import counted


def as_text(plan: Plan) -> Iterator[str]:
    """Yield what is printed, but for the differences that config makes."""
    yield _line("operation", printable(plan.operation))
    yield _line("command", printable(shlex.join(plan.command.args)))
    yield from _named("environment", [f"{n}={v}" for n, v in plan.command.env.items()])
    yield from _named("config", [config_text(plan.config)] if plan.config else [])
    yield _line("source", _total(plan.source))
    yield from _named(
        "depends",
        [f"{each.name}: {_given(each)} from {each.origin}" for each in plan.dependencies],
    )
    yield _line("runtime", printable(": ".join([plan.runtime, *_outlined(plan)])))
    yield from _named("hooks", [f"{name}: {shlex.join(args)}" for name, args in plan.hooks.items()])
    yield _line("requires", printable(", ".join(each.text for each in plan.requirements)))
    yield from _named("left out", [_left_out(path, reason) for path, reason in _missed(plan)])
    yield from _named("notes", plan.notes)
    yield from _named(
        "patched", [os.fsdecode(path) for path in plan.patches] if plan.patches else []
    )


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the same as JSON values; sizes are in bytes."""
    return {
        "operation": plan.operation,
        "command": list(plan.command.args),
        "environment": dict(plan.command.env),
        "config": dict(plan.config),
        "files": [
            {"path": file.path, "type": file.type, "bytes": file.size} for file in plan.files
        ],
        "bytes": sum(file.size for file in plan.files),
        "left_out": [{"path": path, "why": reason} for path, reason in _missed(plan)],
        "notes": list(plan.notes),
        "patches": {
            path: diff.decode("utf-8", "surrogateescape")
            for path, (_, diff) in plan.patches.items()
        },
        "runtime": plan.runtime,
        "provides": plan.outline and plan.outline._asdict(),
        "dependencies": [
            {
                "name": each.name,
                "origin": each.origin,
                "files": len(each.files),
                "awaited": list(each.awaited),
            }
            for each in plan.dependencies
        ],
        "hooks": {name: list(args) for name, args in plan.hooks.items()},
        "requirements": [each._asdict() for each in plan.requirements],
    }


def _outlined(plan: Plan) -> list[str]:
    return [f"{plan.outline.bundle}, {plan.outline.source}"] if plan.outline else []


def _missed(plan: Plan) -> list[tuple[str, str]]:
    return [
        (verdict.path, f"beyond {verdict.limit.text}" if verdict.limit else verdict.reason)
        for verdict in plan.verdicts
        if verdict.is_notable
    ]


def _left_out(path: str, reason: str) -> str:
    return f"{path}: {reason}"


def _given(dependency: PlannedDependency) -> str:
    """Return how many files of which size there are, and which are yet to be downloaded."""
    awaited = f"{', '.join(dependency.awaited)} to download" if dependency.awaited else ""
    there = _total(dependency.files) if dependency.files or not awaited else ""
    return " and ".join(filter(None, (there, awaited)))


def _total(files: Sequence[PlannedFile]) -> str:
    return f"{counted(len(files), 'file')}, {counted_bytes(sum(file.size for file in files))}"


def _named(name: str, texts: Sequence[str]) -> Iterator[str]:
    for i, text in enumerate(texts):
        yield _line("" if i else name, printable(text))


def _line(name: str, text: str) -> str:
    return f"{name:<13}{text}".rstrip()
