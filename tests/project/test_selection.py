"""What of a project is source: asked of real trees, with git and without."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gage._internal import fs
from gage._internal.errors import SourceRefused
from gage._internal.project import selection
from gage._internal.project.selection import Selection, Verdict, select_source
from gage._internal.project.source_rules import parse_rules

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let git know nothing of whoever runs the tests."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in list(os.environ):
        if name.startswith(("GIT_DIR", "GIT_WORK", "GIT_INDEX", "XDG_")):
            monkeypatch.delenv(name)
    (home / ".gitconfig").write_text(
        '[user]\nname = n\nemail = e@example.org\n[protocol "file"]\nallow = always\n'
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(root: Path, *paths: str, content: str | bytes = "text\n") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        (root / path).write_bytes(data)


def git(root: Path, *args: str) -> str:
    return subprocess.run(
        ["git", *args], cwd=root, check=True, text=True, capture_output=True
    ).stdout


def select(root: Path, spec: Any = None, prune: Sequence[Path] = ()) -> Selection:
    return select_source(str(root), parse_rules(spec), [str(path) for path in prune])


def paths(root: Path, spec: Any = None, prune: Sequence[Path] = ()) -> list[str]:
    return sorted(select(root, spec, prune).paths)


def verdict(found: Selection, path: str) -> Verdict:
    (one,) = [verdict for verdict in found.verdicts if verdict.path == path]
    return one


def notable(found: Selection) -> list[str]:
    return [verdict.path for verdict in found.verdicts if verdict.is_notable]


# -- the default rule with git


def test_git_says_what_is_source(project: Path) -> None:
    git(project, "init", "-q")
    write(project, ".gitignore", content="*.log\n/out/\n")
    write(project, "a/.gitignore", content="secret.txt\n!keep.log\n")
    write(project, "a/secret.txt", "a/keep.log", "a/x.log", "out/o", "a/out/o", "new.py", "x.bin")
    write(project, "tracked.log", "gone.py", "staged.py")
    git(project, "add", "-f", "tracked.log", "gone.py", "staged.py")
    (project / "gone.py").unlink()
    write(project, ".git/info/exclude", content="excluded\n")
    write(project, "excluded", "b/excluded", "everywhere.tmp")
    write(Path(os.environ["HOME"]), ".ignore", content="*.tmp\n")
    git(project, "config", "--global", "core.excludesFile", "~/.ignore")
    assert paths(project) == [
        ".gitignore", "a/.gitignore", "a/keep.log", "a/out/o", "new.py", "staged.py",
        "tracked.log", "x.bin",
    ]  # fmt: skip


def test_a_project_below_the_top_of_its_repository(project: Path) -> None:
    git(project, "init", "-q")
    write(project, ".gitignore", content="sub/x.py\n")
    write(project, "sub/x.py", "sub/y.py", "other.py")
    assert paths(project / "sub") == ["y.py"]


def test_a_directory_that_git_ignores_as_a_whole_has_no_git(project: Path) -> None:
    git(project, "init", "-q")
    write(project, ".gitignore", content="scratch/\n")
    write(project, "scratch/x.py")
    assert paths(project / "scratch") == ["x.py"]


def test_submodules_and_nested_clones_are_asked_themselves(project: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    write(library, ".gitignore", content="*.o\n")
    write(library, "lib.py", "deep/er/x.py")
    git(library, "add", ".")
    git(library, "commit", "-qm", "one")
    git(project, "init", "-q")
    git(project, "submodule", "add", "-q", str(library), "vendor/library")
    git(project, "clone", "-q", str(library), "nested")
    write(project, "main.py", "vendor/library/new.py", "vendor/library/x.o", "nested/x.o")
    assert paths(project) == [
        ".gitmodules", "main.py", "nested/.gitignore", "nested/deep/er/x.py", "nested/lib.py",
        "vendor/library/.gitignore", "vendor/library/deep/er/x.py", "vendor/library/lib.py",
        "vendor/library/new.py",
    ]  # fmt: skip
    git(project, "commit", "-qam", "all")
    git(project, "worktree", "add", "-q", str(tmp_path / "tree"))
    found = select(tmp_path / "tree")
    assert sorted(found.paths) == [".gitmodules"]
    missed = verdict(found, "vendor/library/")
    assert (missed.reason, missed.is_notable) == (selection.NOT_CHECKED_OUT, True)
    write(tmp_path / "tree", "here.py", "there.pyc")
    write(project, ".git/info/exclude", content="*.pyc\n")
    assert paths(tmp_path / "tree") == [".gitmodules", "here.py"]


def test_what_git_tells_its_hooks_is_not_for_us(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "init", "-q")
    write(project, "x.py")
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "none"))
    assert paths(project) == ["x.py"]


def test_git_that_refuses_is_an_error(project: Path) -> None:
    write(project, "x.py")
    write(project, ".git", content="gitdir: /nowhere\n")
    with pytest.raises(SourceRefused, match="not a git repository: /nowhere"):
        paths(project)


def test_git_that_does_not_look_above(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(project, "init", "-q")
    write(project, ".gitignore", content="*.log\n")
    write(project, "sub/x.log")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project))
    assert paths(project / "sub") == ["x.log"]


def test_a_repository_that_is_broken_is_an_error(project: Path) -> None:
    git(project, "init", "-q")
    write(project, "x.py")
    (project / ".git" / "HEAD").unlink()
    with pytest.raises(SourceRefused, match="not a git repository"):
        paths(project)


def test_git_of_another_owner(project: Path) -> None:
    git(project, "init", "-q")
    write(project, "x.py")
    os.chown(project, 12345, 12345)
    os.chown(project / ".git", 12345, 12345)
    with pytest.raises(SourceRefused, match="dubious ownership") as caught:
        paths(project)
    assert str(caught.value.hint).startswith("git config --global --add safe.directory")


def test_without_git_installed_it_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(project, "init", "-q")
    write(project, "x.py", "y.txt")
    write(project, "x.bin", content=b"\0")
    monkeypatch.setenv("PATH", "/nowhere")
    found = select(project)
    assert found.paths == ["x.py", "y.txt"]
    assert found.notes == [selection.NO_GIT]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(
            ["*.py", "!a.py", "/b", "b/", "a/**", "!a/b", "a/*", "#x", "", "?", "[ab]"]
        ),
        max_size=4,
    ),
    inner=st.lists(st.sampled_from(["!*.py", "a.py", "*", "!b"]), max_size=2),
    files=st.lists(
        st.lists(st.sampled_from(["a", "b", "a.py", "c.py"]), min_size=1, max_size=4).map("/".join),
        min_size=1,
        max_size=8,
    ),
    tracked=st.integers(0, 3),
)
def test_the_default_is_what_git_would_commit(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    inner: list[str],
    files: list[str],
    tracked: int,
) -> None:
    root = tmp_path_factory.mktemp("project")
    git(root, "init", "-q")
    for path in files:
        try:
            write(root, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            pass
    for path in filter(lambda path: (root / path).is_file(), files[:tracked]):
        git(root, "add", "-f", path)
    write(root, ".gitignore", content="\n".join(lines))
    if (root / "a").is_dir():
        write(root, "a/.gitignore", content="\n".join(inner))
    listed = {*git(root, "ls-files", "-z").split("\0")}
    git(root, "add", ".")
    assert set(select(root).paths) == ({*git(root, "ls-files", "-z").split("\0")} | listed) - {""}


# -- the default rule without git


def test_text_is_source_without_git(project: Path) -> None:
    write(project, "a.py", "b/c.txt", ".hidden", ".dir/x", "build/x", "b/dist/x", "p.egg-info/x")
    write(project, "image.png", content=b"\x89PNG\0")
    write(project, "empty", content="")
    (project / "link").symlink_to("b")
    (project / "dangling").symlink_to("nowhere")
    os.mkfifo(project / "pipe")
    found = select(project)
    assert sorted(found.paths) == [".hidden", "a.py", "b/c.txt", "dangling", "empty", "link"]
    assert notable(found) == ["image.png"]
    assert verdict(found, "pipe").reason == selection.IS_SPECIAL
    assert verdict(found, "build/").reason == selection.IS_BUILD_OUTPUT


# -- rules


@pytest.mark.parametrize("with_git", [True, False])
def test_the_last_match_wins(project: Path, with_git: bool) -> None:
    if with_git:
        git(project, "init", "-q")
    write(project, "a.py", "b.py", "data/a.csv", "data/deep/b.csv", "docs/x.md")
    assert paths(project, ["-*.py", "b.py"]) == [
        "b.py",
        "data/a.csv",
        "data/deep/b.csv",
        "docs/x.md",
    ]
    assert paths(project, ["-*", "a.py"]) == ["a.py"]
    assert paths(project, "-data") == ["a.py", "b.py", "docs/x.md"]
    assert paths(project, ["-data", "data/deep/b.csv"]) == [
        "a.py",
        "b.py",
        "data/deep/b.csv",
        "docs/x.md",
    ]
    assert paths(project, ["data", "-data/**/*.csv", "-*.md"]) == ["a.py", "b.py"]
    assert paths(project, ["-/*", "/data/*"]) == ["data/a.csv", "data/deep/b.csv"]
    assert paths(project, True) == paths(project)
    assert select_source(str(project), None).paths == []


def test_a_rule_takes_what_git_ignores(project: Path) -> None:
    git(project, "init", "-q")
    write(project, ".gitignore", content="data/\n*.bin\n")
    write(project, "data/a.csv", "data/b.bin", "c.bin", "x.py")
    assert paths(project, "data/*.csv") == [".gitignore", "data/a.csv", "x.py"]
    assert paths(project, "*.bin") == [".gitignore", "c.bin", "data/b.bin", "x.py"]
    assert paths(project, ["data", "-*.csv"]) == [".gitignore", "data/b.bin", "x.py"]


def test_options_narrow_a_rule(project: Path) -> None:
    git(project, "init", "-q")
    write(project, ".gitignore", content="*\n")
    write(project, "a.txt", content="x" * 100)
    write(project, "b.txt", content="x" * 2000)
    write(project, "c.bin", content=b"\0" * 10)
    (project / "link").symlink_to("a.txt")
    assert paths(project, "* text") == [".gitignore", "a.txt", "b.txt", "link"]
    assert paths(project, "* binary") == ["c.bin"]
    assert paths(project, "*.* size<1kB size>50") == ["a.txt"]
    assert paths(project, ["*.*", "-* size>1KiB"]) == [".gitignore", "a.txt", "c.bin"]
    assert paths(project, ["*.* size<1KiB", "*.txt size>1KiB"]) == [
        ".gitignore", "a.txt", "b.txt", "c.bin",
    ]  # fmt: skip


def test_dir_and_sentinel(project: Path) -> None:
    write(project, "x", "a/x/f", "a/b/f", "a/b/CACHE", "c/f", "c/d/f")
    assert paths(project, "-x dir") == ["a/b/CACHE", "a/b/f", "c/d/f", "c/f", "x"]
    assert paths(project, "-* sentinel=CACHE") == ["a/x/f", "c/d/f", "c/f", "x"]
    assert paths(project, ["-*", "* dir sentinel=d"]) == ["c/d/f", "c/f"]


def test_no_limit_is_silent(project: Path) -> None:
    git(project, "init", "-q")
    write(project, ".gitignore", content="*\n")
    write(project, *(f"d{i}/f{j}" for i in range(3) for j in range(3)), "f0")
    write(project, "big", content="x" * 100)
    found = select(project, ["f* max-matches=4", "big size<10"])
    assert found.paths == ["f0", "d0/f0", "d0/f1", "d0/f2"]
    assert notable(found) == ["big", *(f"d{i}/f{j}" for i in (1, 2) for j in range(3))]
    assert str(verdict(found, "big").limit and verdict(found, "big").limit.text) == "big size<10"  # type: ignore[union-attr]
    # What another rule takes all the same is not left out.
    assert notable(select(project, ["f*", "f* max-matches=4"])) == []
    # An exclusion by size is a limit as well; one by name is not.
    assert notable(select(project, ["*", "-* size>50", "-f0"])) == ["big"]


# -- what is never taken unless a rule names it


def test_prunes_hold_unless_named(project: Path) -> None:
    git(project, "init", "-q")
    write(
        project, "x.py", ".venv/pyvenv.cfg", ".venv/lib/a.py", "env2/pyvenv.cfg", "env2/b.py",
        "conda/conda-meta/history", "conda/c.py", "node_modules/m/i.js", "pkg/__pycache__/d.pyc",
        "raw/.nocopy", "raw/huge.csv", ".gage/runs/e",
    )  # fmt: skip
    assert paths(project) == ["x.py"]
    assert paths(project, "*") == ["x.py"]
    assert paths(project, "**/*.py") == ["x.py"]
    assert paths(project, "node_modules/m/*") == ["node_modules/m/i.js", "x.py"]
    assert paths(project, ["*", ".venv"]) == [".venv/lib/a.py", ".venv/pyvenv.cfg", "x.py"]
    assert paths(project, "raw") == ["raw/.nocopy", "raw/huge.csv", "x.py"]
    assert paths(project, ["env2", "-*.cfg"]) == ["env2/b.py", "x.py"]
    assert paths(project, "__pycache__") == ["pkg/__pycache__/d.pyc", "x.py"]
    # To exclude a name is not to name it.
    assert paths(project, ["-node_modules/x", "*"]) == ["x.py"]


def test_pruned_directories_are_not_walked(project: Path) -> None:
    write(project, "x.py", ".git/objects/aa/b", ".venv/lib/deep/a.py", ".venv/pyvenv.cfg")
    write(project, "node_modules/m/i.js", "raw/.nocopy", "raw/a/b", "home/x/y", "data/a/b")
    shutil.rmtree(project / ".git")
    opened = []
    program = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from gage._internal.project.selection import select_source\n"
        "from gage._internal.project.source_rules import parse_rules\n"
        "select_source(sys.argv[1], ())\n"
        "sys.addaudithook(lambda event, args: event in ('os.scandir', 'os.listdir')"
        " and print(args[0]))\n"
        "rules = parse_rules(['*', '-data'])\n"
        "select_source(sys.argv[1], rules, [sys.argv[1] + '/home'])\n"
    )
    src = Path(selection.__file__).parents[3]
    command = [sys.executable, "-c", program, str(project), str(src)]
    opened = subprocess.run(command, check=True, text=True, capture_output=True).stdout.split()
    assert opened == [f"{project}/"]


def test_git_does_not_walk_what_is_pruned(project: Path) -> None:
    git(project, "init", "-q")
    write(project, "x.py", "node_modules/m/i.js", "home/run/file")
    command = (
        "import sys; sys.path.insert(0, sys.argv[2]);"
        "from gage._internal.project.selection import select_source;"
        "select_source(sys.argv[1], (), [sys.argv[1] + '/home'])"
    )
    src = Path(selection.__file__).parents[3]
    trace = project.parent / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=openat", "-o", str(trace)]
    subprocess.run([*strace, sys.executable, "-c", command, str(project), str(src)], check=True)
    told = trace.read_text()
    assert ".git/" in told
    assert "node_modules/" not in told.replace('node_modules/"', "")
    assert "home/run" not in told


def test_a_pruned_directory_with_tracked_files_is_told(project: Path) -> None:
    git(project, "init", "-q")
    write(project, "x.py", "node_modules/mine.js")
    assert notable(select(project)) == []
    git(project, "add", "node_modules/mine.js")
    assert notable(select(project)) == ["node_modules/"]


def test_no_run_contains_earlier_runs(project: Path) -> None:
    run_id = str(uuid.uuid4())
    write(project, "x.py", f"out/{run_id}/x.py", f"out/{run_id}.meta/id", f"out/{run_id}.notes/n")
    write(project, "home/a/b", f"not/{uuid.uuid4()}/x.py")
    kept = [path for path in paths(project) if path.startswith("not/")]
    assert paths(project) == ["home/a/b", *kept, "x.py"]
    assert paths(project, "*", prune=[project / "home"]) == [*kept, "x.py"]
    assert paths(project, ["home", "out"], prune=[project / "home"]) == [*kept, "x.py"]
    (project / "elsewhere").symlink_to("home")
    assert "home/a/b" not in paths(project, "*", prune=[project / "elsewhere"])


@pytest.mark.parametrize(
    "secret",
    [".env", ".env.local", "prod.env", "id_rsa", "deploy.pem", ".netrc", ".aws/credentials",
     ".ssh/config", "a/b/.kube/config", "service-account-7.json", ".config/gcloud/x"],
)  # fmt: skip
def test_secrets_are_not_taken_unless_named(project: Path, secret: str) -> None:
    git(project, "init", "-q")
    write(project, "x.py", secret)
    for spec in (None, "*", "**"):
        found = select(project, spec)
        assert found.paths == ["x.py"]
        assert notable(found) == [secret]
        assert verdict(found, secret).reason == selection.IS_SECRET
    assert secret in paths(project, secret)
    write(project, ".gitignore", content=f"/{secret}\n.gitignore\n")
    assert notable(select(project)) == [], "what git ignores is not missed"


def test_what_looks_like_a_secret_and_is_none(project: Path) -> None:
    names = [".env.example", "id_rsa.pub", "environment.py", "keys.py", "config", "cacert.pem"]
    write(project, *names)
    assert paths(project) == sorted(names)


@pytest.mark.parametrize("pattern", ["certs/*.pem", "*.pem", "certs/deploy.pem", "deploy*"])
def test_patterns_that_name_a_secret(project: Path, pattern: str) -> None:
    write(project, "certs/deploy.pem")
    assert (paths(project, pattern) == ["certs/deploy.pem"]) is (pattern != "deploy*")


def test_the_rule_that_takes_it_has_to_name_it(project: Path) -> None:
    write(project, ".env", "x.py")
    assert paths(project, [".env", "*"]) == ["x.py"]
    assert paths(project, ["*", ".env*"]) == [".env", "x.py"]


# -- odd trees


def test_a_chain_of_1000_directories_and_a_loop(project: Path) -> None:
    git(project, "init", "-q")
    deep = "/".join(["d"] * 1000)
    folder = os.open(project, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("x.py", os.O_CREAT, dir_fd=folder))
    os.symlink(".", "loop", dir_fd=folder)
    os.close(folder)
    (project / "loop").symlink_to(".")
    expected = sorted(["loop", f"{deep}/loop", f"{deep}/x.py"])
    assert paths(project) == expected
    assert paths(project, ["-**/nothing/**/d/**/x", "**/d/**/x.py"]) == expected
    # Deeper than what else cleans up here can go.
    fs.remove_tree(str(project))
    assert not project.exists()


def test_names_may_hold_anything(project: Path) -> None:
    git(project, "init", "-q")
    names = [
        "a b",
        "new\nline",
        "tab\t",
        'quo"te',
        "back\\slash",
        os.fsdecode(b"\xff"),
        "ünï",
        "-x",
    ]
    write(project, *names)
    assert paths(project) == sorted(names)


def test_a_directory_that_cannot_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, "x.py", "closed/y.py")

    def scandir(path: str, scandir: Any = os.scandir) -> Any:
        if path.endswith("closed/"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceRefused, match="closed/: Permission denied"):
        paths(project)
    assert paths(project, "-closed") == ["x.py"]
