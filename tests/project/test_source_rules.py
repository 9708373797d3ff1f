"""The rule language: its globs against git's own answers, its options, its errors."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gage._internal.project.globs import GlobError, compile_glob
from gage._internal.project.source_rules import RuleError, matcher, parse_rule, parse_rules

NAMES = ["a", "b", "ab", "ba", "abc", "a.b", "a-b", "x]", "A", "a b", ".a", "a*"]
PATHS = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join), min_size=1, max_size=8
)
SEGMENTS = st.one_of(
    st.sampled_from(["*", "**", "a", "b", "ab", "a*", "*b", "?", "??", "*.b", "a?c", "**a", "a**"]),
    st.sampled_from(["[ab]", "[!a]", "[^a]", "[a-c]", "[]x]", "x[]]", "[a-]b", "[-a]", "[c-a]"]),
    st.sampled_from(
        ["[[:alpha:]]", "[[:upper:]_]", "[![:alpha:]]", "a\\*", "\\a", "[\\]]", "a\\ b"]
    ),
    st.lists(st.sampled_from("ab*?.[]-!\\^"), min_size=1, max_size=5).map("".join),
)
PATTERNS = st.tuples(
    st.sampled_from(["", "/"]),
    st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join),
    st.sampled_from(["", "/"]),
).map("".join)


# What is no pattern of a rule; and `a**/`, where git compares pointers that have nothing to do
# with each other (wildmatch.c: `prev_p < text`), against its documentation.
NOT_COMPARED = re.compile(r"[!#-].*|.*[^/*]\*\*+(/.*)?", re.DOTALL)


def make_tree(root: Path, paths: list[str]) -> list[str]:
    """Make files at those paths that are free; return all files."""
    for path in paths:
        full = root / path
        try:
            full.parent.mkdir(parents=True, exist_ok=True)
            if not full.exists():
                full.write_text("")
        except (FileExistsError, NotADirectoryError):
            pass
    return sorted(
        os.path.relpath(os.path.join(folder, name), root)
        for folder, folders, files in os.walk(root)
        for name in files
        if ".git" not in Path(folder).parts
    )


def git_matches(root: Path, pattern: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--others", "--ignored", f"--exclude={pattern}"]
    done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    return sorted(os.fsdecode(path) for path in done.stdout.split(b"\0") if path)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(paths=PATHS, patterns=st.lists(PATTERNS, min_size=1, max_size=8))
def test_globs_mean_what_they_mean_to_git(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], patterns: list[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    files = make_tree(root, paths)
    for pattern in patterns:
        if NOT_COMPARED.fullmatch(pattern):
            continue
        expected = git_matches(root, pattern)
        try:
            glob = compile_glob(pattern)
        except GlobError:
            # What is an error here matches nothing there, but for slashes in and before brackets.
            assert not expected or "[" in pattern or "\\" in pattern, pattern
            continue
        assert [path for path in files if glob.matches(path)] == expected, pattern


@settings(max_examples=100, deadline=None)
@given(paths=PATHS, patterns=st.lists(PATTERNS, min_size=1, max_size=5), signs=st.data())
def test_the_last_rule_that_matches_decides(
    tmp_path_factory: pytest.TempPathFactory,
    paths: list[str],
    patterns: list[str],
    signs: st.DataObject,
) -> None:
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    files = make_tree(root, paths)
    rules, decided = [], {}
    for pattern in patterns:
        sign = signs.draw(st.sampled_from(["", "-"]))
        if NOT_COMPARED.fullmatch(pattern):
            continue
        try:
            compile_glob(pattern)
        except GlobError:
            continue
        rules.append(sign + pattern)
        decided.update(dict.fromkeys(git_matches(root, pattern), not sign))
    is_taken = matcher(rules)
    assert [path for path in files if is_taken(path)] == [p for p in files if decided.get(p)]


@pytest.mark.parametrize("pattern", ["a/**/b/**/c/**/d/**/e", "**/*a*b*c*d*e*f", "*/**/*/**/*/x"])
def test_a_deep_path_costs_what_it_is_long(pattern: str) -> None:
    def seconds(depth: int) -> float:
        path = "/".join(["a", *["b", "c", "d", "abcdeabcde"] * depth, "no"])
        started = time.process_time()
        assert not compile_glob(pattern).matches(path)
        return time.process_time() - started

    seconds(10)
    # Twenty times as long a path costs some twenty times as much; squared it would be 400.
    assert seconds(2000) < 100 * max(seconds(100), 0.0005)


def test_options() -> None:
    rule = parse_rule("-data/*.csv  size>1.5k\tbinary max-matches=7")
    assert not rule.is_include
    assert (rule.above, rule.below, rule.content, rule.max_matches) == (1536, None, "binary", 7)
    assert parse_rule("a text size<2MB").below == 2_000_000
    assert parse_rule("a size<3GiB").below == 3 << 30
    assert parse_rule("a size<10").below == 10
    assert parse_rule("* dir").is_dir
    assert parse_rule(r"-* sentinel=no\ copy").sentinel == "no copy"
    assert parse_rule(r"my\ file.txt").glob.matches("my file.txt")
    assert parse_rules(True) == parse_rules(None) == ()
    assert len(parse_rules("one")) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("-", "names nothing"),
        ("/", "names nothing"),
        ("!a", "leave out with -"),
        ("#a", "not a comment"),
        ("a[", "[ without a ]"),
        ("[[:nope:]]", "no class"),
        ("a//b", "empty name"),
        ("../a", '".."'),
        ("./a", '"."'),
        ("a\\", "\\\\"),
        ("a sise<1", '"sise<1", which is no option'),
        ("my file", '"file", which is no option'),
        ("a size<", "size such as"),
        ("a size<ten", "size such as"),
        ("a size<1XB", "size such as"),
        ("a max-matches=", "a number"),
        ("a max-matches=-1", "a number"),
        ("a max-matches=1e3", "a number"),
        ("a sentinel=", "name of a file"),
        ("a sentinel=b/c", "name of a file"),
        ("a text binary", "both text and binary"),
        ("a dir size<1", "both dir or sentinel and size"),
        ("a dir text", "both dir or sentinel and text"),
        ("a sentinel=f max-matches=1", "both dir or sentinel and max-matches"),
    ],
)
def test_a_malformed_rule_says_how(text: str, told: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rule(text)
    assert told in str(caught.value)
