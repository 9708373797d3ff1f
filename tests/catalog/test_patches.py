"""What a patch was made to is found again, whatever the file and its name are like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.catalog.patches import parse_patches, taken_back, unified_diff

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"--- a/x\n", b"+++ b/x\n", b"\r\n", b"\n"]))
CONTENTS = st.builds(lambda lines, end: b"".join(lines) + end, LINES, st.sampled_from([b"", b"e"]))
PATHS = st.sampled_from(["a.py", "d/a b.py", 'q"\\\n\t.py', "\udcff.py", "ü.py"])


@given(st.dictionaries(PATHS, st.tuples(CONTENTS, CONTENTS)))
def test_patches_are_taken_back(files):
    changed = {path: both for path, both in files.items() if both[0] != both[1]}
    patches = b"".join(unified_diff(path, *both) for path, both in changed.items())
    parsed = parse_patches(patches)
    assert parsed.keys() == changed.keys()
    for path, (before, after) in changed.items():
        assert taken_back(after, parsed[path]) == before


def test_what_is_no_patch_is_refused():
    patch = unified_diff("a", b"1\n2\n", b"1\n3\n")
    for wrong in (b"text\n", patch[:-3], b"--- a/x\n", patch.replace(b"b/", b"")):
        with pytest.raises(ValueError):
            parse_patches(wrong)
    with pytest.raises(ValueError):
        taken_back(b"1\n4\n", parse_patches(patch)["a"])
