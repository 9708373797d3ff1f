"""The manifest: written, read back, and accepted by sha256sum."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.store.manifest import Entry, Manifest, entry_of, format_manifest, parse_manifest

name_bytes = st.binary(min_size=1, max_size=12).filter(
    lambda b: b"\0" not in b and b"/" not in b and b not in (b".", b"..")
)
names = name_bytes.map(os.fsdecode)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
digests = st.binary(max_size=4).map(lambda data: hashlib.sha256(data).hexdigest())
types = st.sampled_from("srdg")
modes = st.integers(0, 0o7777)
sizes = st.integers(0, 1 << 50)
flags = st.booleans()
none = st.just("")
targets = st.binary(min_size=1, max_size=12).filter(lambda b: b"\0" not in b).map(os.fsdecode)
entries = st.one_of(
    st.builds(Entry, paths, st.just("f"), types, modes, sizes, digests, none, flags),
    st.builds(Entry, paths, st.just("l"), types, modes, sizes, none, targets, flags),
    st.builds(Entry, paths, st.just("d"), types, modes, st.just(0), none, none, flags),
)
sections = st.lists(entries, max_size=5).map(tuple)
manifests = st.builds(Manifest, sections, st.none() | sections)


@given(manifests)
def test_what_is_written_is_read_back(manifest: Manifest) -> None:
    assert parse_manifest(format_manifest(manifest)) == manifest


@given(manifests, st.data())
def test_a_manifest_that_is_cut_short_is_another_or_none(
    manifest: Manifest, data: st.DataObject
) -> None:
    text = format_manifest(manifest)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    try:
        found = parse_manifest(cut)
    except ValueError:
        return
    assert found != manifest


@given(st.lists(name_bytes, min_size=1, max_size=8, unique=True))
def test_sha256sum_accepts_any_file_name(tmp_path_factory, raw_names: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("run")
    found = []
    for number, raw in enumerate(raw_names):
        path = os.fsdecode(raw)
        Path(folder, path).write_text(str(number))
        found.append(entry_of(str(folder), path, "s"))
    manifest = folder.parent / f"{folder.name}.manifest"
    manifest.write_bytes(os.fsencode(format_manifest(Manifest(tuple(found)))))
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", manifest],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


GOOD = "# gage manifest 1\n# staged\n#\tf\ts\t0444\t1\n" + "0" * 64 + "  a\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cut short"),
        ("# gage manifest 2\n# staged\n", "another version"),
        (GOOD[:-1], "cut short"),
        (GOOD + "#\tf\ts\t0444\t1\n", "line 5 is no entry"),
        (GOOD + "rubbish\n", "line 5 is no entry"),
        (GOOD + "#\tx\ts\t0444\t1\n", "line 5 is no entry"),
        (GOOD + "# ended\n# ended\n", "line 6 is no entry"),
        (GOOD.replace("  a", "  ../a"), "line 3 is no entry"),
        (GOOD.replace("  a", "  /etc/passwd"), "line 3 is no entry"),
        (GOOD.replace("  a", "  b/./a"), "line 3 is no entry"),
        (GOOD.replace("  a", "  "), "line 3 is no entry"),
        (GOOD + "#\tl\ts\t0777\t1\t../up\tx\n", "line 5 is no entry"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_manifest(text)


def test_the_first_section_can_be_told_from_what_stands_now() -> None:
    staged = Entry("a", "f", "s", 0o444, 1, "0" * 64, superseded=True)
    now = Entry("a", "f", "s", 0o444, 2, "1" * 64)
    manifest = Manifest((staged,), (now,))
    assert manifest.present() == {"a": now}
    lines = format_manifest(manifest).splitlines()
    assert lines[2:4] == ["#\tf\ts\t0444\t1", f"#- {'0' * 64}  a"]
