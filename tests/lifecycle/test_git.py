"""The resolver `git`: what is taken out of which commit, kept, mended and said, with real git."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gage._internal.downloads.mirrors import Mirror, mirror_folder
from gage._internal.errors import DependencyError
from gage._internal.lifecycle.stage import stage_run
from gage._internal.store.verify import verify
from gage._internal.types import Run
from git_repositories import Repository
from runs_on_disk import files_below, read

FILES = {"a.txt": b"aaa\n", "sub/b.txt": b"bb\n", "sub/c.bin": bytes(range(256))}


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "their.repo", FILES)


@pytest.fixture
def stage(make_initialized, project_dir: Path):
    """Return a function that stages a run with nothing but one dependency."""

    def stage(git: Any, told: list[str] | None = None, **settings: Any) -> Run:
        opdef = {"sourcecode": False, "depends": {"git": git, **settings}}
        run = make_initialized("true", opdef=opdef)
        stage_run(run, str(project_dir), notice=(told if told is not None else []).append)
        verify(run)
        return run

    return stage


def at(repository: Repository, **more: str) -> dict[str, str]:
    return {"repository": str(repository.dir), **more}


def content(run: Run, name: str) -> bytes:
    return Path(run.run_dir, name).read_bytes()


def lineage(run: Run) -> dict[str, str]:
    (found,) = json.loads(read(run, "depends.json"))
    one = found["lineage"]["git"]
    assert isinstance(one, dict)
    return one


def mirror_of(cache: Path, repository: Repository) -> Path:
    return Path(mirror_folder(str(cache), str(repository.dir)))


class TestWhat:
    def test_all_of_it_called_as_git_clones_it(self, stage, repository: Repository) -> None:
        run = stage(str(repository.dir))
        assert files_below(run.run_dir) == {f"their.repo/{name}" for name in FILES}
        bare = repository.dir.with_name("other.git")
        repository.git("clone", "-q", "--bare", str(repository.dir), str(bare))
        assert files_below(stage(str(bare)).run_dir) == {f"other/{name}" for name in FILES}

    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("sub", {"sub/b.txt", "sub/c.bin"}),
            ("sub/", {"sub/b.txt", "sub/c.bin"}),
            ("sub/b.txt", {"b.txt"}),
            (".", {f"their.repo/{name}" for name in FILES}),
        ],
    )
    def test_a_path_in_it(self, stage, repository: Repository, path: str, names: set[str]) -> None:
        assert files_below(stage(at(repository, path=path)).run_dir) == names

    def test_a_path_that_is_not_there(self, stage, repository: Repository) -> None:
        commit = repository.git("rev-parse", "HEAD")
        with pytest.raises(DependencyError, match=f"there is no x/y in commit {commit[:12]}"):
            stage(at(repository, path="x/y"))

    def test_a_relative_path_and_one_from_home(
        self, stage, repository: Repository, tmp_path: Path
    ) -> None:
        assert lineage(stage("../their.repo"))["repository"] == str(repository.dir)
        shutil.copytree(repository.dir, tmp_path / "home" / "own")
        assert content(stage("~/own"), "own/a.txt") == FILES["a.txt"]

    def test_what_is_not_committed_is_no_part_of_it(self, stage, repository: Repository) -> None:
        (repository.dir / "a.txt").write_bytes(b"changed")
        (repository.dir / "new").write_bytes(b"new")
        run = stage(str(repository.dir))
        assert content(run, "their.repo/a.txt") == FILES["a.txt"]
        assert not Path(run.run_dir, "their.repo/new").exists()

    def test_lineage(self, stage, repository: Repository) -> None:
        run = stage(at(repository, revision="main", path="sub"))
        commit = repository.git("rev-parse", "HEAD")
        assert lineage(run) == {
            "repository": str(repository.dir),
            "revision": "main",
            "commit": commit,
            "tree": repository.git("rev-parse", "HEAD:sub"),
            "path": "sub",
        }
        (record,) = json.loads(read(run, "depends.json"))
        assert record["origin"] == f"{repository.dir} at main (commit {commit[:12]})"


class TestExactly:
    def test_modes_links_names_and_bytes_that_git_would_change(
        self, stage, repository: Repository
    ) -> None:
        odd = os.fsdecode(b'odd \xff\n\t"name')
        (repository.dir / "run.sh").write_bytes(b"#!/bin/sh\n")
        (repository.dir / "run.sh").chmod(0o755)
        (repository.dir / "link").symlink_to("sub/b.txt")
        repository.commit(
            {
                "crlf.txt": b"a\r\nb\n",
                "id.txt": b"$Id$ $Format:%H$\n",
                "left.txt": b"left",
                "empty": b"",
                odd: b"odd",
            }
        )
        # From here on, git itself would write other bytes.
        rules = b"* text eol=crlf ident export-subst\nleft.txt export-ignore\nsub/* filter=up\n"
        repository.git("config", "filter.up.smudge", "tr a-z A-Z")
        (repository.dir / ".gitattributes").write_bytes(rules)
        blob = repository.git("hash-object", "-w", "--stdin", "--no-filters", data=rules)
        repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},.gitattributes")
        repository.git("commit", "-q", "-m", "attributes")
        run = stage(str(repository.dir))
        root = Path(run.run_dir, "their.repo")
        expected = {**FILES, "crlf.txt": b"a\r\nb\n", "id.txt": b"$Id$ $Format:%H$\n",
                    "left.txt": b"left", "empty": b"", odd: b"odd", "run.sh": b"#!/bin/sh\n",
                    ".gitattributes": rules}  # fmt: skip
        found = {name: (root / name).read_bytes() for name in files_below(root) - {"link"}}
        assert found == expected
        assert os.readlink(root / "link") == "sub/b.txt"
        assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o555
        assert stat.S_IMODE((root / "a.txt").stat().st_mode) == 0o444

    def test_submodules_are_named(self, stage, repository: Repository, tmp_path: Path) -> None:
        inner = Repository.make(tmp_path / "inner", {"x": b"x"})
        commit = inner.git("rev-parse", "HEAD")
        repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor/inner")
        repository.git("commit", "-q", "-m", "submodule")
        for _ in range(2):
            told: list[str] = []
            run = stage(str(repository.dir), told)
            (sentence,) = told
            assert f"1 submodule, vendor/inner (commit {commit[:12]})" in sentence
            assert f" Noticed: {sentence}\n" in read(run, "log/runner")
        with pytest.raises(DependencyError, match="vendor/inner is a submodule"):
            stage(at(repository, path="vendor/inner"))

    def test_pointers_of_lfs_are_named(self, stage, repository: Repository) -> None:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\n"
        repository.commit({"big.bin": pointer, "long.txt": pointer * 100})
        for _ in range(2):
            told: list[str] = []
            assert content(stage(str(repository.dir), told), "their.repo/big.bin") == pointer
            (sentence,) = told
            assert "1 file of" in sentence and sentence.endswith("elsewhere: big.bin")

    @pytest.mark.parametrize("name", ["..", ".", ".git", ".GIT"])
    def test_a_tree_that_nobody_honest_makes_is_refused(
        self, stage, repository: Repository, name: str
    ) -> None:
        blob = repository.git("hash-object", "-w", "--stdin", data=b"x")
        inner = repository.git("mktree", data=f"100644 blob {blob}\tx\n".encode())
        entry = f"40000 {name}".encode() + b"\0" + bytes.fromhex(inner)
        tree = repository.git(
            "hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=entry
        )
        commit = repository.git("commit-tree", tree, "-m", "x")
        repository.git("update-ref", "refs/heads/bad", commit)
        with pytest.raises(DependencyError, match="which no honest one has"):
            stage(at(repository, revision="bad"))

    def test_nothing_is_written_through_a_link(
        self, stage, repository: Repository, tmp_path: Path
    ) -> None:
        link = repository.git("hash-object", "-w", "--stdin", data=os.fsencode(tmp_path))
        blob = repository.git("hash-object", "-w", "--stdin", data=b"x")
        inner = bytes.fromhex(repository.git("mktree", data=f"100644 blob {blob}\tx\n".encode()))
        entries = b"120000 d\0" + bytes.fromhex(link) + b"40000 d\0" + inner
        tree = repository.git(
            "hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=entries
        )
        commit = repository.git("commit-tree", tree, "-m", "x")
        repository.git("update-ref", "refs/heads/bad", commit)
        with pytest.raises(DependencyError, match="has d twice"):
            stage(at(repository, revision="bad"))
        assert not (tmp_path / "x").exists()

    def test_hooks_and_templates_of_the_user_are_not_run(
        self, stage, repository: Repository, tmp_path: Path
    ) -> None:
        hooks = tmp_path / "hooks"
        hooks.mkdir()
        for name in ("reference-transaction", "post-checkout", "post-index-change"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
            (hooks / name).chmod(0o755)
        (tmp_path / "template").mkdir()
        shutil.copytree(hooks, tmp_path / "template" / "hooks")
        (tmp_path / "home" / ".gitconfig").write_text(
            f"[core]\nhooksPath = {hooks}\n[init]\ntemplateDir = {tmp_path}/template\n"
        )
        stage(str(repository.dir))
        assert not (tmp_path / "hooked").exists()


class TestRevisions:
    @pytest.mark.parametrize(
        "revision", ["v1", "refs/tags/v1", "light", "side", "refs/heads/side", "refs/pull/7/head"]
    )
    def test_a_branch_a_tag_or_any_ref(self, stage, repository: Repository, revision: str) -> None:
        repository.git("tag", "-m", "annotated", "v1")
        repository.git("tag", "light")
        repository.git("branch", "side")
        repository.git("update-ref", "refs/pull/7/head", "HEAD")
        repository.git("commit", "-q", "--allow-empty", "-m", "later")
        old = repository.git("rev-parse", "HEAD~1")
        repository.commit({"a.txt": b"new\n"})
        run = stage(at(repository, revision=revision))
        assert (content(run, "their.repo/a.txt"), lineage(run)["commit"]) == (FILES["a.txt"], old)

    def test_a_commit_or_the_beginning_of_one(self, stage, repository: Repository) -> None:
        old = repository.git("rev-parse", "HEAD")
        repository.commit({"a.txt": b"new\n"})
        for revision in (old, old.upper(), old[:10]):
            assert content(stage(at(repository, revision=revision)), "their.repo/a.txt") == b"aaa\n"

    def test_a_commit_that_no_branch_has(self, stage, repository: Repository) -> None:
        repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
        repository.git("checkout", "-q", "--detach")
        commit = repository.commit({"a.txt": b"detached\n"})
        repository.git("checkout", "-q", "main")
        run = stage({"repository": f"file://{repository.dir}", "revision": commit})
        assert content(run, "their.repo/a.txt") == b"detached\n"

    def test_without_one_it_is_the_head(self, stage, repository: Repository) -> None:
        repository.git("checkout", "-q", "-b", "other")
        commit = repository.commit({"a.txt": b"other\n"})
        for git in (str(repository.dir), at(repository, revision="HEAD")):
            assert lineage(stage(git))["commit"] == commit

    def test_a_branch_is_as_it_is_now(self, stage, repository: Repository) -> None:
        git = at(repository, revision="main")
        stage(git)
        repository.commit({"a.txt": b"new\n"})
        assert content(stage(git), "their.repo/a.txt") == b"new\n"
        repository.git("commit", "-q", "--amend", "-m", "rewritten")
        assert lineage(stage(git))["commit"] == repository.git("rev-parse", "HEAD")

    def test_one_that_is_not_there_is_an_error_that_suggests_the_near_one(
        self, stage, repository: Repository
    ) -> None:
        repository.git("tag", "v1.0")
        with pytest.raises(
            DependencyError, match=r"there is no branch, tag or commit v1\.0\.0"
        ) as e:
            stage(at(repository, revision="v1.0.0"))
        assert e.value.hint == "did you mean v1.0?"
        for revision in ("0123456789", "0" * 40, "refs/pull/1/head", "nothing"):
            with pytest.raises(DependencyError, match=f"^git {repository.dir}: "):
                stage(at(repository, revision=revision))

    def test_a_name_of_two_commits_is_an_error(self, stage, repository: Repository) -> None:
        repository.git("tag", "twice")
        repository.commit({"a.txt": b"new\n"})
        repository.git("branch", "twice")
        with pytest.raises(DependencyError, match="twice is both a branch and a tag"):
            stage(at(repository, revision="twice"))
        assert (
            content(stage(at(repository, revision="refs/tags/twice")), "their.repo/a.txt")
            == (FILES["a.txt"])
        )

    @pytest.mark.parametrize("revision", ["--upload-pack=x", "a..b", "HEAD~1", "main:a.txt"])
    def test_what_is_none_is_refused(self, stage, repository: Repository, revision: str) -> None:
        with pytest.raises(DependencyError, match="must be a branch, a tag or a commit"):
            stage(at(repository, revision=revision))


class TestKept:
    def test_a_commit_at_hand_needs_no_repository(self, stage, repository: Repository) -> None:
        git = at(repository, revision=repository.git("rev-parse", "HEAD"))
        first = stage(git)
        shutil.rmtree(repository.dir)
        told: list[str] = []
        second = stage(git, told)
        assert content(second, "their.repo/a.txt") == content(first, "their.repo/a.txt")
        assert told == []
        assert content(stage({**git, "path": "sub/b.txt"}), "b.txt") == FILES["sub/b.txt"]

    def test_even_where_its_branch_was_rewritten(
        self, stage, repository: Repository, cache: Path
    ) -> None:
        git = at(repository, revision="main")
        commit = lineage(stage(git))["commit"]
        repository.git("commit", "-q", "--amend", "-m", "rewritten")
        stage(git)
        Repository(mirror_of(cache, repository) / "mirror").git("gc", "-q", "--prune=now")
        shutil.rmtree(repository.dir)
        assert lineage(stage({**git, "revision": commit}))["commit"] == commit

    @pytest.mark.parametrize("revision", [None, "main"])
    def test_what_cannot_be_reached_is_what_it_was(
        self, stage, repository: Repository, revision: str | None
    ) -> None:
        git = at(repository) | ({"revision": revision} if revision else {})
        commit = lineage(stage(git))["commit"]
        shutil.rmtree(repository.dir)
        told: list[str] = []
        run = stage(git, told)
        assert content(run, "their.repo/a.txt") == FILES["a.txt"]
        (sentence,) = told
        assert "does not appear to be a git repository: taking what " in sentence
        assert f"{revision or 'the HEAD'} of {repository.dir} was on 20" in sentence
        assert f"commit {commit[:12]}" in sentence
        assert f" Noticed: {sentence}\n" in read(run, "log/runner")

    def test_what_was_never_there_is_an_error_and_leaves_nothing(
        self, stage, tmp_path: Path, cache: Path
    ) -> None:
        with pytest.raises(DependencyError, match="does not appear to be a git repository") as e:
            stage(str(tmp_path / "nothing"))
        assert e.value.hint == "check the address"
        assert files_below(cache) == set()

    def test_a_file_that_was_damaged_is_no_part_of_a_run(
        self, stage, repository: Repository, cache: Path
    ) -> None:
        stage(str(repository.dir))
        (path,) = mirror_of(cache, repository).rglob("files/a.txt")
        path.chmod(0o644)
        path.write_bytes(b"AAA\n")
        with pytest.raises(DependencyError, match=r"a\.txt is damaged"):
            stage(str(repository.dir))

    def test_a_mirror_that_was_damaged_is_fetched_anew(
        self, stage, repository: Repository, cache: Path
    ) -> None:
        git = at(repository, revision=repository.git("rev-parse", "HEAD"))
        stage(git)
        folder = mirror_of(cache, repository)
        shutil.rmtree(folder / "trees")
        blob = repository.git("rev-parse", "HEAD:a.txt")
        mirror = Repository(folder / "mirror")
        for pack in (folder / "mirror" / "objects" / "pack").glob("*.pack"):
            data = pack.read_bytes()
            for each in pack.parent.glob(f"{pack.stem}.*"):
                each.unlink()
            mirror.git("unpack-objects", "-q", data=data)
        (folder / "mirror" / "objects" / blob[:2] / blob[2:]).unlink()
        assert content(stage(git), "their.repo/a.txt") == FILES["a.txt"]

    def test_stagings_at_once_ask_once(
        self, stage, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = tmp_path / "asked"
        (tmp_path / "bin").mkdir()
        git = tmp_path / "bin" / "git"
        git.write_text(
            f'#!/bin/sh\ncase " $* " in *" fetch "*) echo x >>{asked}; sleep 2;; esac\n'
            f'exec {shutil.which("git")} "$@"\n'
        )
        git.chmod(0o755)
        monkeypatch.setenv("PATH", f"{git.parent}:{os.environ['PATH']}")
        runs: list[Run] = []
        address = f"file://{repository.dir}"
        threads = [threading.Thread(target=lambda: runs.append(stage(address))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [content(run, "their.repo/a.txt") for run in runs] == [FILES["a.txt"]] * 3
        assert asked.read_text() == "x\n"


class TestNeverAsks:
    def test_a_login_that_is_missing_is_told(self, stage, tmp_path: Path, monkeypatch) -> None:
        from web_server import serving

        monkeypatch.setenv("no_proxy", "*")
        for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
            monkeypatch.setenv(name, str(tmp_path / "ask"))
        (tmp_path / "ask").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\necho x\n")
        (tmp_path / "ask").chmod(0o755)
        with serving() as web:
            web.put("/r.git/info/refs?service=git-upload-pack", b"", login="Basic x")
            with pytest.raises(DependencyError, match="git says: could not read Username") as e:
                stage(f"{web.base}/r.git")
        assert "~/.netrc" in str(e.value.hint)
        assert not (tmp_path / "asked").exists()

    @pytest.mark.parametrize(
        "address", ["https://me:cret@host/r", "https://cret@host/r", "ssh://me:cret@host/r"]
    )
    def test_a_password_in_an_address_is_refused_without_repeating_it(
        self, stage, address: str
    ) -> None:
        with pytest.raises(DependencyError, match="must not hold a user or password") as caught:
            stage(address)
        assert "cret" not in str(caught.value)

    @pytest.mark.parametrize("address", ["--upload-pack=x", "ext::sh -c true", "ftp://host/r"])
    def test_what_is_no_address_is_refused(self, stage, address: str) -> None:
        with pytest.raises(DependencyError, match="must be an address of http"):
            stage(address)

    def test_git_that_is_not_here_is_told(self, stage, repository, monkeypatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(DependencyError, match="git is not installed"):
            stage(str(repository.dir))


RESOLVE = (
    "import sys; from gage._internal.resolvers.git import Git; from gage.plugins import *;"
    "print(len(Git().resolve(sys.argv[1], ResolveContext('', '/', notice=print)).paths))"
)


def begin_resolve(address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RESOLVE, address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


class TestFaults:
    def test_a_process_that_is_killed_leaves_what_the_next_one_mends(
        self, stage, repository: Repository, cache: Path, tmp_path: Path
    ) -> None:
        repository.commit({f"many/{i}": os.urandom(2000) for i in range(500)})
        address = f"file://{repository.dir}"
        for i in range(12):
            process = begin_resolve(address)
            time.sleep(0.05 + 0.04 * i)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if i % 4 == 3:
                shutil.rmtree(cache, ignore_errors=True)
        run = stage(address)
        assert len(files_below(run.run_dir)) == 503
        (folder,) = (cache / "git").iterdir()
        Repository(folder / "mirror").git("fsck", "--full", "--strict")
        names = {os.path.basename(name) for name in files_below(folder)}
        assert not {n for n in names if n.endswith(".lock") or n.startswith(("tmp_", "."))}
        assert len(list((folder / "trees").iterdir())) == 1

    def test_what_a_git_that_was_killed_has_left_is_removed(
        self, stage, repository: Repository, cache: Path
    ) -> None:
        stage(at(repository, revision="main"))
        mirror = mirror_of(cache, repository) / "mirror"
        left = ["refs/heads/main.lock", "packed-refs.lock", "shallow.lock", "config.lock",
                "objects/pack/tmp_pack_x", "objects/pack/tmp_idx_x"]  # fmt: skip
        for name in left:
            (mirror / name).write_bytes(b"")
        (mirror / "objects" / "tmp_objdir-incoming-x").mkdir()
        repository.commit({"a.txt": b"new\n"})
        assert content(stage(at(repository, revision="main")), "their.repo/a.txt") == b"new\n"
        assert not [name for name in left if (mirror / name).exists()]
        assert not list((mirror / "objects").glob("tmp_*"))

    def test_a_git_that_outlives_its_process_keeps_the_lock(
        self, stage, repository: Repository, tmp_path: Path
    ) -> None:
        hook, go = tmp_path / "hook", tmp_path / "go"
        hook.write_text(
            f"#!/bin/sh\n>{tmp_path}/begun\nfor i in $(seq 300); do [ -e {go} ] && break;"
            ' sleep 0.1; done\nexec "$@"\n'
        )
        hook.chmod(0o755)
        config = tmp_path / "home" / ".gitconfig"
        config.write_text(f"[uploadpack]\npackObjectsHook = {hook}\n")
        address = f"file://{repository.dir}"
        first = begin_resolve(address)
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        first.kill()
        first.communicate()
        second = begin_resolve(address)
        assert second.stdout
        assert "waiting for another process that uses the mirror" in second.stdout.readline()
        go.touch()
        assert second.communicate()[0] == "3\n"

    def test_a_full_disk_is_said_and_leaves_room(
        self, stage, repository: Repository, small_disk, monkeypatch
    ) -> None:
        disk = small_disk("size=1m")
        monkeypatch.setenv("GAGE_CACHE", str(disk / "cache"))
        repository.commit({"large": os.urandom(2 << 20)})
        with pytest.raises(OSError, match="No space left") as caught:
            stage(f"file://{repository.dir}")
        assert caught.value.errno == errno.ENOSPC
        assert files_below(disk / "cache") == set()

    def test_a_disk_that_has_room_for_the_mirror_only(
        self, stage, repository: Repository, small_disk, monkeypatch
    ) -> None:
        disk = small_disk("size=2m")
        monkeypatch.setenv("GAGE_CACHE", str(disk / "cache"))
        commit = repository.commit({"zeros": bytes(3 << 20)})
        git = {"repository": f"file://{repository.dir}", "revision": "main"}
        with pytest.raises(OSError, match="No space left"):
            stage(git)
        assert not [name for name in files_below(disk) if "/trees/" in name]
        assert lineage(stage({**git, "path": "a.txt"}))["commit"] == commit


def test_a_mirror_is_removed_while_another_process_waits_for_it(
    repository: Repository, cache: Path
) -> None:
    waited = threading.Event()
    done: list[str] = []

    def use() -> None:
        with Mirror(str(cache), str(repository.dir), waited.set) as mirror:
            mirror.fetch("main", lambda size: None)
            done.append(mirror.find_commit("main") or "")

    with Mirror(str(cache), str(repository.dir), lambda: None) as mirror:
        thread = threading.Thread(target=use)
        thread.start()
        waited.wait()
        mirror.remove()
    thread.join()
    assert done == [repository.git("rev-parse", "HEAD")]
