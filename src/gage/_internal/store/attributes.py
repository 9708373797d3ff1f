"""Attributes of a run: what the user said, what the system was, and later notes.

`user/NAME` and `sys/NAME` in the meta directory are JSON, one attribute a file, and never
change. Notes (label, tags, comments) are mutable and lie apart, in `<id>.notes`: a tag is an
empty file and a comment a file of its own, so that concurrent writers do not disturb each
other. File names are percent-encoded where a name needs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import clock, fs
from gage._internal.errors import UsageError
from gage._internal.store import layout, meta
from gage._internal.types import Run

_LONGEST_FILE_NAME = 255


def write_where(run: Run, address: str | None) -> None:
    """Note at which address a run was started elsewhere; None when it is home again."""
    path = layout.notes_path(run, layout.WHERE)
    if address is None:
        fs.remove_file(path)
        try:
            os.rmdir(os.path.dirname(path))
        except OSError:
            # There are other notes, or none.
            pass
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fs.replace_file(path, meta.json_bytes(address), mode=0o644)


def find_where(run: Run) -> str | None:
    """Return the address at which a run was started elsewhere; None where it was not."""
    try:
        address = json.loads(fs.read_bytes(layout.notes_path(run, layout.WHERE)))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise meta.damaged(run, layout.WHERE, f"cannot be read: {error}") from None
    return str(address)


class Comment(NamedTuple):
    """A comment on a run: when it was made (microseconds since the epoch), and its text."""

    time: int
    text: str


def write_attributes(run: Run, kind: str, attributes: Mapping[str, Any]) -> None:
    """Write the attributes of a kind, `layout.USER` or `layout.SYS`."""
    for name, value in attributes.items():
        meta.write_json(run, f"{kind}/{_file_name(name)}", value)


def read_attributes(run: Run, kind: str) -> Mapping[str, Any]:
    """Return the attributes of a kind by name."""
    return {
        fs.name_of_file(name): meta.read_json(run, f"{kind}/{name}")
        for name in _list(layout.meta_path(run, kind))
    }


def set_label(run: Run, label: str | None) -> None:
    """Give a run a label, or take it away; over one given at the start, an empty label."""
    path = layout.notes_path(run, layout.LABEL)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fs.replace_file(path, meta.json_bytes(label), mode=0o644)


def find_label(run: Run) -> str | None:
    """Return the label of a run: the one given last."""
    try:
        label = json.loads(fs.read_bytes(layout.notes_path(run, layout.LABEL)))
    except FileNotFoundError:
        name = f"{layout.USER}/{layout.LABEL}"
        label = meta.read_json(run, name) if meta.has_meta(run, name) else None
    except (ValueError, OSError) as error:
        raise meta.damaged(run, layout.LABEL, f"cannot be read: {error}") from None
    return None if label is None else str(label)


def check_tags(tags: Sequence[str]) -> None:
    """Make sure that these can be tags.

    Raises:
        UsageError: one is empty or too long.
    """
    for tag in tags:
        _file_name(tag)


def add_tags(run: Run, tags: Sequence[str]) -> None:
    """Add tags to a run; those it has already stay."""
    check_tags(tags)
    folder = layout.notes_path(run, layout.TAGS)
    os.makedirs(folder, exist_ok=True)
    for tag in tags:
        fs.append_file(os.path.join(folder, _file_name(tag)), b"")


def remove_tags(run: Run, tags: Sequence[str]) -> None:
    """Take tags from a run; those it does not have are passed over."""
    for tag in tags:
        try:
            os.unlink(layout.notes_path(run, layout.TAGS, _file_name(tag)))
        except FileNotFoundError:
            pass


def list_tags(run: Run) -> list[str]:
    """Return the tags of a run, sorted."""
    return sorted(fs.name_of_file(name) for name in _list(layout.notes_path(run, layout.TAGS)))


def add_comment(run: Run, text: str) -> None:
    """Add a comment to a run."""
    folder = layout.notes_path(run, layout.COMMENTS)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{clock.now()}-{os.urandom(2).hex()}")
    fs.create_file(path, meta.json_bytes(text), mode=0o644)


def list_comments(run: Run) -> list[Comment]:
    """Return the comments of a run, oldest first."""
    folder = layout.notes_path(run, layout.COMMENTS)
    comments = []
    for name in _list(folder):
        try:
            text = json.loads(fs.read_bytes(os.path.join(folder, name)))
            comments.append(Comment(int(name.partition("-")[0]), str(text)))
        except (ValueError, OSError):
            raise meta.damaged(run, f"{layout.COMMENTS}/{name}", "is not a comment") from None
    return comments


def _list(folder: str) -> list[str]:
    try:
        # Names with a leading dot are files that are being written.
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _file_name(name: str) -> str:
    file_name = fs.file_name_for(name)
    if not name or len(os.fsencode(file_name)) > _LONGEST_FILE_NAME:
        raise UsageError(
            f"{fs.printable(name)[:40]!r} cannot be a name: it is {'too long' if name else 'empty'}"
        )
    return file_name
