"""Small records: paths in lines, names of attributes, logs, spoken names, status."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal import clock, fs
from gage._internal.lifecycle.init import init_run_meta
from gage._internal.lifecycle.make import make_run
from gage._internal.store import layout, meta
from gage._internal.store.attributes import (
    add_comment,
    add_tags,
    find_label,
    list_comments,
    list_tags,
    remove_tags,
    set_label,
)
from gage._internal.store.logs import FileEvent, log_action, log_files, parse_file_event
from gage._internal.store.meta import encode_opref
from gage._internal.store.names import run_name
from gage._internal.store.output import OutputWriter, iter_pieces
from gage._internal.store.status import exit_code
from gage._internal.types import OpCmd, OpDef, OpRef, Run

any_bytes = st.binary(min_size=1, max_size=40).filter(lambda b: b"\0" not in b)
any_text = any_bytes.map(os.fsdecode)


@given(any_text)
def test_a_path_in_a_record_is_one_line(path: str) -> None:
    line = fs.escape_path(path)
    assert not set(line) & set("\n\r\t")
    assert fs.unescape_path(line) == path


@given(any_text)
def test_any_text_is_a_file_name(text: str) -> None:
    name = fs.file_name_for(text)
    assert "/" not in name
    assert not name.startswith(".")
    name.encode("utf-8")
    assert fs.name_of_file(name) == text


@given(any_text)
def test_what_is_shown_is_printable(text: str) -> None:
    shown = fs.printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(any_text, any_text)
def test_an_op_ref_is_one_line(tmp_path_factory, namespace: str, name: str) -> None:
    run = Run("x", str(tmp_path_factory.mktemp("run") / "x"))
    os.mkdir(layout.run_meta_dir(run))
    meta.write_text(run, layout.OPREF, encode_opref(OpRef(namespace, name)))
    assert meta.read_opref(run) == OpRef(namespace, name)
    assert meta.read_meta(run, layout.OPREF).count(b"\n") == 1


@given(
    st.builds(FileEvent, st.sampled_from("amd"), st.sampled_from("srdg"), st.integers(0), any_text)
)
def test_a_file_event_is_read_back(tmp_path_factory, event: FileEvent) -> None:
    run = Run("x", str(tmp_path_factory.mktemp("run") / "x"))
    log_files(run, [event, event])
    lines = os.fsdecode(fs.read_bytes(layout.meta_path(run, layout.FILES_LOG))).split("\n")
    assert [parse_file_event(line) for line in lines[:-1]] == [event, event]


def test_a_runner_log_line_stays_one_line(tmp_path: Path) -> None:
    run = Run("x", str(tmp_path / "x"))
    log_action(run, "Copied a\nb\udcff")
    text = Path(layout.meta_path(run, layout.RUNNER_LOG)).read_text()
    assert text.endswith(" Copied a\\nb\\xff\n")


@pytest.mark.parametrize(
    ("zone", "date"),
    [
        ("UTC", "2026-05-04T07:30:00.125+00:00"),
        ("Asia/Kolkata", "2026-05-04T13:00:00.125+05:30"),
        ("America/St_Johns", "2026-05-04T05:00:00.125-02:30"),
    ],
)
def test_a_log_date_has_its_zone(monkeypatch, zone: str, date: str) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert clock.log_date(1_777_879_800_125_999) == date
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("bits", "name"),
    [
        # Addresses and their proquints as given in the proposal.
        ("7f000001", "lusab-babad"),
        ("3f54dcc1", "gutih-tugad"),
        ("d82344d7", "tobog-higil"),
    ],
)
def test_a_name_is_two_proquints(bits: str, name: str) -> None:
    assert run_name(f"{bits}-0000-4000-8000-000000000000") == name


@pytest.mark.parametrize(
    ("text", "code"), [("0", 0), ("7", 7), ("SIGTERM", 143), ("SIGKILL", 137), ("SIG40", 168)]
)
def test_the_exit_code_of_a_shell(text: str, code: int) -> None:
    assert exit_code(text) == code


def test_output_that_the_index_does_not_tell_of_is_not_lost(tmp_path: Path) -> None:
    run = Run("x", str(tmp_path / "x"))
    writer = OutputWriter(run, "run")
    writer.write("e", b"told")
    fs.append_file(layout.output_path(run, "run"), b" untold")
    assert [(p.stream, p.data) for p in iter_pieces(run, "run")] == [
        ("e", b"told"),
        ("o", b" untold"),
    ]
    assert [p.data for p in iter_pieces(run, "run", is_over=False)] == [b"told"]
    writer.close()


@given(st.lists(st.tuples(st.sampled_from("oe"), st.binary(min_size=1, max_size=9)), max_size=6))
def test_output_from_any_byte_on(tmp_path_factory, pieces: list[tuple[str, bytes]]) -> None:
    run = Run("x", str(tmp_path_factory.mktemp("run") / "x"))
    writer = OutputWriter(run, "run")
    for stream, data in pieces:
        writer.write(stream, data)
    writer.close()
    whole = b"".join(data for _, data in pieces)
    for start in range(len(whole) + 1):
        assert b"".join(p.data for p in iter_pieces(run, "run", start)) == whole[start:]


class TestNotes:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Run:
        run = make_run(str(tmp_path))
        attributes = {"label": "given at the start"}
        init_run_meta(run, OpRef("", "x"), OpDef("x", {}), OpCmd(["true"]), attributes, {})
        return run

    @pytest.mark.parametrize("text", ["a", "", "[x] \n \U0001f600 \udcff", "x" * 10_000])
    def test_a_label_replaces_the_one_given_at_the_start(self, run: Run, text: str) -> None:
        assert find_label(run) == "given at the start"
        set_label(run, text)
        assert find_label(run) == text
        set_label(run, None)
        assert find_label(run) is None

    def test_tags_are_a_set(self, run: Run) -> None:
        add_tags(run, ["b", "a/../c", "a", "a", ".hidden", "\U0001f600"])
        assert list_tags(run) == sorted(["b", "a/../c", "a", ".hidden", "\U0001f600"])
        remove_tags(run, ["a", "not there"])
        assert "a" not in list_tags(run)

    def test_comments_are_in_order(self, run: Run) -> None:
        texts = ["first\nsecond line", "", "\udcff"]
        for text in texts:
            add_comment(run, text)
        assert [comment.text for comment in list_comments(run)] == texts

    def test_the_record_is_not_touched(self, run: Run) -> None:
        before = {p: p.stat() for p in Path(layout.run_meta_dir(run)).rglob("*")}
        set_label(run, "x")
        add_tags(run, ["x"])
        add_comment(run, "x")
        assert {p: p.stat() for p in Path(layout.run_meta_dir(run)).rglob("*")} == before
