"""Files compared: by what manifests tell of them, and where their contents first differ."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from gage._internal.catalog.compare_values import (
    ADDED,
    CHANGED,
    REMOVED,
    change_text,
    common_length,
    compare_tables,
    shortened,
)
from gage._internal.catalog.patches import unified_diff
from gage._internal.fs import printable
from gage._internal.store.manifest import DIRECTORY, FILE, LINK, Entry

# Bytes up to which text is compared line by line, and JSON value by value.
LARGEST = 1 << 20
_CHUNK = 1 << 20
# As much of a line is looked at on each side of where it differs.
_CONTEXT = 400
_KINDS = {FILE: "file", LINK: "link", DIRECTORY: "directory"}
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

GONE = "its content is not there any more"


class FileChange(NamedTuple):
    """A file that differs: its path, `added`, `removed` or `changed`, and its entries.

    `detail` says in words how it differs, as far as that is known; `diff` is a unified diff.
    """

    path: str
    kind: str
    before: Entry | None
    after: Entry | None
    detail: str = ""
    diff: bytes = b""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "path": self.path,
            "change": self.kind,
            "before": _entry_json(self.before),
            "after": _entry_json(self.after),
            "detail": self.detail or None,
            "diff": self.diff.decode("utf-8", "surrogateescape") or None,
        }


def _entry_json(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "kind": entry.kind,
        "mode": entry.mode,
        "size": entry.size,
        "sha256": entry.sha256 or None,
        "target": entry.target or None,
    }


def compare_entries(before: Iterable[Entry], after: Iterable[Entry]) -> list[FileChange]:
    """Return the files that differ, by the bytes of their paths."""
    old, new = {e.path: e for e in before}, {e.path: e for e in after}
    found = []
    for path in sorted(old.keys() | new.keys(), key=os.fsencode):
        first, second = old.get(path), new.get(path)
        if first is None or second is None:
            found.append(FileChange(path, ADDED if first is None else REMOVED, first, second))
        elif first._replace(superseded=False) != second._replace(superseded=False):
            found.append(FileChange(path, CHANGED, first, second, _facts(first, second)))
    return found


def _facts(before: Entry, after: Entry) -> str:
    """Return how two entries differ, but for what only their contents tell."""
    if before.kind != after.kind:
        return f"{_KINDS[before.kind]} -> {_KINDS[after.kind]}"
    facts = []
    if before.mode != after.mode:
        facts.append(f"mode {before.mode:04o} -> {after.mode:04o}")
    if before.target != after.target:
        facts.append(f"points to {printable(before.target)} -> {printable(after.target)}")
    if before.size != after.size and before.kind == FILE:
        facts.append(f"{before.size} -> {after.size} bytes")
    return ", ".join(facts)


def with_first_difference(change: FileChange, old_root: str, new_root: str) -> FileChange:
    """Return a change that tells too where the contents, below these roots, first differ."""
    before, after = change.before, change.after
    if not before or not after or before.kind != FILE or before.sha256 == after.sha256:
        return change
    if after.kind != FILE:
        return change
    try:
        place = _first_place(before, after, old_root, new_root)
    except OSError:
        place = GONE
    return change._replace(detail=", ".join(filter(None, (change.detail, place))))


def with_text_diff(change: FileChange, old_root: str, new_root: str) -> FileChange:
    """Return a change with the unified diff of its contents; else with where they first differ."""
    before = find_content(old_root, change.before)
    after = find_content(new_root, change.after)
    if before is None or after is None or not is_text(before) or not is_text(after):
        return with_first_difference(change, old_root, new_root)
    return with_diff(change, before, after)


def _first_place(before: Entry, after: Entry, old_root: str, new_root: str) -> str:
    """Return where two contents first differ; small ones are known to be what they were."""
    if max(before.size, after.size) <= LARGEST:
        old, new = find_content(old_root, before), find_content(new_root, after)
        if old is None or new is None:
            return GONE
        place = _first_value(old, new) if before.path.endswith(".json") else ""
        return place or find_difference(iter([old]), iter([new])) or GONE
    with (
        _open(f"{old_root}/{before.path}", before) as first,
        _open(f"{new_root}/{after.path}", after) as second,
    ):
        return find_difference(_chunks(first.read), _chunks(second.read)) or GONE


def _open(path: str, entry: Entry) -> Any:
    file = os.fdopen(os.open(path, _READ_FLAGS), "rb", buffering=0)
    if os.fstat(file.fileno()).st_size != entry.size:
        file.close()
        raise FileNotFoundError(path)
    return file


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    yield from iter(lambda: read(_CHUNK), b"")


def find_content(root: str, entry: Entry | None) -> bytes | None:
    """Return the content of a file below a root; None where it is large, or not that any more."""
    if entry is None or entry.kind != FILE or entry.size > LARGEST:
        return None
    try:
        with _open(f"{root}/{entry.path}", entry) as file:
            data: bytes = file.read()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == entry.sha256 else None


def is_text(data: bytes) -> bool:
    """Tell whether a content is text, in UTF-8."""
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def with_diff(change: FileChange, before: bytes | None, after: bytes | None) -> FileChange:
    """Return a change with the unified diff of its contents, or why there is none."""
    if (change.before and change.before.kind != FILE) or (
        change.after and change.after.kind != FILE
    ):
        return change
    if change.before and change.after and change.before.sha256 == change.after.sha256:
        return change
    old = before if change.before else b""
    new = after if change.after else b""
    if old is None or new is None:
        size = max(entry.size for entry in (change.before, change.after) if entry)
        return _saying(change, "too large to be compared" if size > LARGEST else GONE)
    if not is_text(old) or not is_text(new):
        return _saying(change, "binary")
    return change._replace(diff=unified_diff(change.path, old, new))


def _saying(change: FileChange, what: str) -> FileChange:
    digests = " -> ".join(e.sha256[:12] for e in (change.before, change.after) if e)
    facts = (change.detail, what, f"SHA-256 {digests}")
    return change._replace(detail=", ".join(filter(None, facts)))


def _first_value(before: bytes, after: bytes) -> str:
    """Return the first value in which two contents of JSON differ; "" where that is not known."""
    try:
        changes = compare_tables({"": json.loads(before)}, {"": json.loads(after)})
    except (ValueError, RecursionError):
        return ""
    return f"at {change_text(changes[0])}" if changes else ""


def find_difference(before: Iterator[bytes], after: Iterator[bytes]) -> str | None:
    """Return where two contents first differ, in words; None where they do not.

    Of text it is the line, of anything else the byte. Contents of any size are read piece by
    piece.
    """
    old = new = tail = b""
    offset, line, is_binary = 0, 1, False
    while True:
        old, new = old or next(before, b""), new or next(after, b"")
        size = _common(old, new)
        same = old[:size]
        is_binary = is_binary or b"\0" in same
        offset += size
        line += same.count(b"\n")
        tail = (tail + same[-_CONTEXT:])[-_CONTEXT:]
        if b"\n" in tail:
            tail = tail[tail.rindex(b"\n") + 1 :]
        old, new = old[size:], new[size:]
        if old and new:
            break
        if not old:
            old = next(before, b"")
        if not new:
            new = next(after, b"")
        if not old and not new:
            return None
        if not old or not new:
            break
    rests = old, new
    lines = _line(tail, old, before), _line(tail, new, after)
    if is_binary or not all(each is None or _is_line(each) for each in lines):
        return f"from byte {offset} on"
    texts = ["" if each is None else each.decode("utf-8", "replace") for each in lines]
    if texts[0] == texts[1]:
        # One ends there, the other with a newline, or with an empty line.
        texts = [
            text + "\n" * rest.startswith(b"\n") for text, rest in zip(texts, rests, strict=True)
        ]
    column = common_length(texts[0], texts[1])
    shown = [
        "the end" if each is None else f'"{printable(shortened(text, column))}"'
        for each, text in zip(lines, texts, strict=True)
    ]
    return f"line {line}: {shown[0]} -> {shown[1]}"


def _common(first: bytes, second: bytes) -> int:
    """Return how many bytes two contents have in common from the first on."""
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _line(tail: bytes, rest: bytes, more: Iterator[bytes]) -> bytes | None:
    """Return the line that begins with `tail`, as far as it is looked at; None at the end."""
    while len(rest) < _CONTEXT and b"\n" not in rest:
        piece = next(more, b"")
        if not piece:
            break
        rest += piece
    if not tail and not rest:
        return None
    return tail + rest[:_CONTEXT].partition(b"\n")[0]


def _is_line(line: bytes) -> bool:
    """Tell whether a line is text; it may be cut within a character at both ends."""
    if b"\0" in line:
        return False
    text = line.decode("utf-8", "replace")
    return "\ufffd" not in text[4:-4]
