"""What the system was that a run is staged on: captured, cached, and without secrets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gage._internal.lifecycle.masking import Mask
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.system import interpreters, uncommitted
from gage._internal.lifecycle.system.interpreters import find_interpreter, installed_packages
from gage._internal.lifecycle.system.remembered import identity, remembered
from gage._internal.lifecycle.system.tokens import mask_tokens
from gage._internal.lifecycle.system.uncommitted import MOST, find_commit, screen
from gage._internal.store import layout
from gage._internal.store.attributes import read_attributes
from gage._internal.types import Run
from runs_on_disk import meta_file, read

TOKEN = "ghp_" + "a1B2" * 9
VERSION = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "cache"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        [*command, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(project_dir: Path) -> Path:
    """Return a project in git, with a commit."""
    for name in ("a.py", "b.py", ".env", "key.pem"):
        (project_dir / name).write_text("x = 1\n")
    git(project_dir, "init", "-q")
    git(project_dir, "add", "-f", ".")
    git(project_dir, "commit", "-qm", "first")
    return project_dir


@pytest.fixture
def stage(make_initialized, project_dir: Path) -> Callable[..., tuple[Run, dict[str, Any]]]:
    """Return a function that stages a command and returns the run and what was captured."""

    def stage(*args: str, **opdef: Any) -> tuple[Run, dict[str, Any]]:
        run = make_initialized(*(args or ("true",)), opdef=opdef)
        stage_run(run, str(project_dir))
        return run, dict(read_attributes(run, layout.SYS))

    return stage


def patch_of(run: Run) -> str:
    return meta_file(run, "uncommitted.patch").read_bytes().decode()


def test_the_machine(stage) -> None:
    _, found = stage()
    assert found["platform"]["system"] == os.uname().sysname
    assert found["platform"]["machine"] == os.uname().machine
    assert found["cpu"]["count"] >= 1 and found["memory"]["bytes"] > 1 << 20
    assert not {"git", "interpreter", "packages"} & found.keys()


def test_nothing_is_captured_without_a_project(make_initialized) -> None:
    run = make_initialized("true")
    stage_run(run)
    assert read_attributes(run, layout.SYS) == {}


def test_the_interpreter_and_what_is_installed_for_it(stage) -> None:
    _, found = stage(sys.executable, "a.py")
    name = os.path.basename(sys.executable)
    assert found["interpreter"] == {
        "name": name,
        "implementation": sys.implementation.name,
        "version": VERSION,
        "tag": sys.implementation.cache_tag,
    }
    assert found["packages"]["pytest"] == pytest.__version__
    assert all(name == name.lower() and "_" not in name for name in found["packages"])
    assert sys.prefix not in json.dumps(found)


def test_commit_branch_and_patch(repository: Path, stage) -> None:
    head = git(repository, "rev-parse", "HEAD")
    run, found = stage()
    assert found["git"] == {
        "commit": head, "branch": "main", "changed_files": 0, "left_out": [], "masked": 0,
        "capped": False,
    }  # fmt: skip
    assert not meta_file(run, "uncommitted.patch").exists()
    (repository / "a.py").write_text("x = 2\n")
    (repository / "ü \t.bin").write_bytes(b"\0\1")
    git(repository, "add", "ü \t.bin")
    (repository / "new.py").write_text("untracked\n")
    run, found = stage()
    assert found["git"]["changed_files"] == 2
    assert "new.py" not in patch_of(run)
    git(repository, "stash", "-q", "-u")
    git(repository, "apply", str(meta_file(run, "uncommitted.patch")))
    assert (repository / "a.py").read_text() == "x = 2\n"
    assert (repository / "ü \t.bin").read_bytes() == b"\0\1"


def test_only_the_project_in_a_larger_repository(repository: Path, make_initialized) -> None:
    inner = repository / "inner"
    inner.mkdir()
    (inner / "c.py").write_text("y = 1\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "second")
    (inner / "c.py").write_text("y = 2\n")
    (repository / "a.py").write_text("x = 2\n")
    run = make_initialized("true")
    stage_run(run, str(inner))
    assert "b/inner/c.py" in patch_of(run) and "a.py" not in patch_of(run)


def test_where_a_repository_is(repository: Path, tmp_path: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    inner = repository / "inner"
    inner.mkdir()
    assert find_commit(str(inner)) == (head, "main")
    git(repository, "pack-refs", "--all")
    assert find_commit(str(repository)) == (head, "main")
    git(repository, "checkout", "-qb", "feature/one")
    assert find_commit(str(repository)) == (head, "feature/one")
    git(repository, "checkout", "-q", "--detach")
    assert find_commit(str(repository)) == (head, None)
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    assert find_commit(str(tmp_path / "side")) == (head, "side")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert find_commit(str(empty)) is None
    git(empty, "init", "-q")
    assert find_commit(str(empty)) is None


def test_secrets_are_not_in_the_patch(
    repository: Path, stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "correct horse")
    (repository / ".env").write_text("PASSWORD=leaked1\n")
    (repository / "key.pem").write_text("leaked2\n")
    (repository / "a.py").write_text(f"x = 1\nz = 'correct horse'\ny = '{TOKEN}'\n")
    (repository / "b.py").write_text("x = 'plain'\n")
    run, found = stage(secrets="MY_SECRET")
    for secret in ("leaked1", "leaked2", "correct horse", TOKEN):
        assert secret not in patch_of(run)
    assert "plain" in patch_of(run) and patch_of(run).count("***") == 2
    assert found["git"]["left_out"] == [".env", "key.pem"] and found["git"]["masked"]
    log = read(run, "log/runner")
    assert "Left out of uncommitted.patch .env: it may hold secrets" in log
    assert "Masked in uncommitted.patch what looks like a secret" in log


def test_a_large_patch_ends_with_a_whole_file(repository: Path, stage) -> None:
    (repository / "a.py").write_text("x = 2\n")
    (repository / "b.py").write_text("line\n" * (MOST // 4))
    run, found = stage()
    assert found["git"]["capped"] is True
    assert patch_of(run).count("diff --git") == 1 and "+x = 2" in patch_of(run)
    assert "Left out of uncommitted.patch what is beyond 1 MiB or 1 s" in read(run, "log/runner")


def test_git_that_takes_long_is_not_waited_for(
    repository: Path, stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncommitted, "PATIENCE", 0.0)
    slow = tmp_path / "slow"
    slow.mkdir()
    real = shutil.which("git")
    (slow / "git").write_text(
        f'#!/bin/sh\ncase "$*" in *" diff HEAD "*) exec sleep 600;; esac\nexec {real} "$@"\n'
    )
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    (repository / "a.py").write_text("x = 2\n")
    run, found = stage()
    assert found["git"]["capped"] is True and found["git"]["changed_files"] == 0
    assert not meta_file(run, "uncommitted.patch").exists()


def test_names_that_git_quotes() -> None:
    part = b'diff --git "a/k\\303\\274\\".pem" "b/k\\303\\274\\".pem"\nindex 1..2\n'
    screened = screen(part + b"diff --git a/x y b/x y\n", False, Mask())
    assert screened.left_out == ('kü".pem',)
    assert screened.data == b"diff --git a/x y b/x y\n"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"a {TOKEN}.", "a ***."),
        ("key AKIAIOSFODNN7EXAMPLE", "key ***"),
        ("'hf_" + "Ab1" * 10 + "'", "'***'"),
        ("password = 'hunter22'", "password = '***'"),
        ('"api_key": "0123456789"', '"api_key": "***"'),
        ("+DB_PASSWORD=abcdefghijkl\n", "+DB_PASSWORD=***\n"),
        (
            "+-----BEGIN RSA PRIVATE KEY-----\n+MII\n+-----END RSA PRIVATE KEY-----\n+b",
            "+***\n\n\n+b".replace("\n\n\n", "\n\n\n"),
        ),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    found, count = mask_tokens(text.encode())
    assert count == 1
    assert found.decode().replace("\n", "") == masked.replace("\n", "")
    assert found.count(b"\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "tokens = tokenizer(text)", "max_tokens: 4096\n", "token = None", 'tokens = ["a", "b"]',
        "password = input()", "risk-adjusted-return-of-the-portfolio", "task-0123456789abcdefghij",
        "import secrets", "AKIA", "-----BEGIN CERTIFICATE-----",
    ],
)  # fmt: skip
def test_what_does_not_is_left(text: str) -> None:
    assert mask_tokens(text.encode()) == (text.encode(), 0)


# What is kept.


def test_a_fact_is_found_out_once_for_what_it_depends_on(own_cache: Path) -> None:
    asked = []

    def find(value: Any) -> Any:
        return remembered("fact", [value], lambda: asked.append(value) or [value])

    assert [find(1), find(1), find(2), find(1)] == [[1], [1], [2], [1]]
    assert asked == [1, 2]
    assert own_cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", [b"", b"{", b"0" * 64 + b"\n[1, 2]", b"\xff\n\xff"])
def test_a_damaged_fact_counts_as_none(own_cache: Path, damage: bytes) -> None:
    assert remembered("fact", [1], lambda: "right") == "right"
    (path,) = (own_cache / "system").iterdir()
    path.write_bytes(damage)
    assert remembered("fact", [1], lambda: "right again") == "right again"
    assert remembered("fact", [1], lambda: "wrong") == "right again"
    path.write_bytes(path.read_bytes().replace(b"right again", b"wrong again"))
    assert remembered("fact", [1], lambda: "right") == "right"


def test_a_cache_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "file" / "cache"))
    assert remembered("fact", [1], lambda: "right") == "right"


def test_another_python_is_asked_once_until_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    asked = tmp_path / "asked"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python3"
    site = folder / "lib" / "site-packages"
    site.mkdir(parents=True)
    (site / "ruamel.yaml-0.18.6.dist-info").mkdir()
    (site / "My_Tool-1.0-py3.11.egg-info").touch()

    def write(version: str) -> None:
        answer = f"hello 'gage asks' other other-1 {version} /a {site}"
        python.write_text(f"#!/bin/sh\necho x >>{asked}\nprintf '%s\\n' {answer}\n")
        python.chmod(0o755)

    write("3.12.1")
    for _ in range(2):
        found = find_interpreter(str(python), str(tmp_path))
        assert found == ("other", "other-1", "3.12.1", [str(site)])
    assert installed_packages(found) == {"my-tool": "1.0", "ruamel-yaml": "0.18.6"}
    assert asked.read_text() == "x\n"
    (tmp_path / ".python-version").write_text("3.13\n")
    find_interpreter(str(python), str(tmp_path))
    assert asked.read_text() == "x\nx\n"
    write("3.13.0")
    assert find_interpreter(str(python), str(tmp_path)).version == "3.13.0"
    for answer in ("exit 1", "echo hello", "printf '%s\\n' 'gage asks' a b c"):
        python.write_text(f"#!/bin/sh\n{answer}\n")
        assert find_interpreter(str(python), str(tmp_path)) is None


def test_packages_are_listed_anew_where_the_directory_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "_YOUNG", -(10**18))
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "a-1.dist-info").mkdir()
    python = interpreters.Interpreter("cpython", "", "3.12", [str(site)])
    assert installed_packages(python) == {"a": "1"}
    before = identity(str(site))
    (site / "b-2.dist-info").mkdir()
    assert identity(str(site)) != before
    assert installed_packages(python) == {"a": "1", "b": "2"}
