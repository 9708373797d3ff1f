"""Where contents first differ: the line, the value or the byte, whatever pieces they come in."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.catalog import compare_files
from gage._internal.catalog.compare_files import (
    FileChange,
    compare_entries,
    find_difference,
    with_first_difference,
)
from gage._internal.store.manifest import Entry

TEXTS = st.text(st.sampled_from("ab\nü"), max_size=12)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(TEXTS, TEXTS, st.integers(1, 5), st.integers(1, 5))
def test_the_line_is_found_in_pieces_of_any_size(one, other, size, other_size):
    first, second = one.encode(), other.encode()
    told = find_difference(iter(pieces(first, size)), iter(pieces(second, other_size)))
    if one == other:
        assert told is None
        return
    common = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    line = first[:common].count(b"\n") + 1
    assert told.startswith(f"line {line}: ")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (b"a\nb\n", b"a\nc\n", 'line 2: "b" -> "c"'),
        (b"a\n", b"a\nc\n", 'line 2: the end -> "c"'),
        (b"a", b"", 'line 1: "a" -> the end'),
        (b"a\n", b"a", 'line 1: "a\\n" -> "a"'),
        (b"a\n\n", b"a\n", 'line 2: "\\n" -> the end'),
        (b"\0ab", b"\0ac", "from byte 2 on"),
        (b"ab\xff\xfe" * 9, b"ab\xff\xff" * 9, "from byte 3 on"),
        ("ü".encode(), "ö".encode(), 'line 1: "ü" -> "ö"'),
        (b"x" * 100 + b"a", b"x" * 100 + b"b", 'line 1: "…xxxxxxxxxxxxa" -> "…xxxxxxxxxxxxb"'),
        (b"\x1b[1m", b"\x1b[2m", 'line 1: "\\x1b[1m" -> "\\x1b[2m"'),
        (b"same", b"same", None),
    ],
)
def test_what_is_told(first: bytes, second: bytes, told: str | None) -> None:
    assert find_difference(iter([first]), iter([second])) == told


def changed(folder: Path, name: str, before: bytes, after: bytes) -> FileChange:
    entries = []
    for side, data in (("a", before), ("b", after)):
        path = folder / side / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        entries.append(Entry(name, "f", "g", 0o644, len(data), hashlib.sha256(data).hexdigest()))
    (change,) = compare_entries(entries[:1], entries[1:])
    return with_first_difference(change, str(folder / "a"), str(folder / "b"))


def test_a_value_of_json_is_named_by_its_keys(tmp_path: Path) -> None:
    before = {"a": [{"b.c": 1}, {"b.c": 2}], "d": True}
    after = {"a": [{"b.c": 1}, {"b.c": 4}], "d": 1}
    change = changed(tmp_path, "x.json", json.dumps(before).encode(), json.dumps(after).encode())
    assert 'at a[1]["b.c"]: 2 -> 4 (relative difference 0.5)' in change.detail
    no_json = changed(tmp_path, "x.json", b"{1", b"{2")
    assert no_json.detail == 'line 1: "{1" -> "{2"'
    formatted = changed(tmp_path, "x.json", b"[1,2]", b"[1, 2]")
    assert formatted.detail == '5 -> 6 bytes, line 1: "[1,2]" -> "[1, 2]"'


def test_large_files_are_read_piece_by_piece(tmp_path: Path) -> None:
    lines = b"line\n" * (compare_files.LARGEST // 2)
    change = changed(tmp_path, "x.json", lines + b"a", lines + b"b")
    number = compare_files.LARGEST // 2 + 1
    assert change.detail == f'line {number}: "a" -> "b"'


def test_a_file_that_was_changed_since_is_told(tmp_path: Path) -> None:
    change = changed(tmp_path, "x", b"1", b"2")
    (tmp_path / "a" / "x").write_bytes(b"3")
    again = with_first_difference(
        change._replace(detail=""), str(tmp_path / "a"), str(tmp_path / "b")
    )
    assert again.detail == compare_files.GONE


def test_links_modes_and_kinds() -> None:
    def told(before: Entry, after: Entry) -> str:
        (change,) = compare_entries([before], [after])
        return change.detail

    file = Entry("x", "f", "g", 0o644, 1, "0" * 64)
    link = Entry("x", "l", "g", 0o777, 1, target="a")
    assert told(file, file._replace(mode=0o755)) == "mode 0644 -> 0755"
    assert told(file, link) == "file -> link"
    assert told(link, link._replace(target="b")) == "points to a -> b"
