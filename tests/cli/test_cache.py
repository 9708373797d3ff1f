import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Project
from git_repositories import Repository
from runs_on_disk import files_below
from web_server import Fault, WebServer, serving

DATA = b"a,b\n1,2\n"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving() as server:
        yield server


@pytest.fixture
def here(project, web: WebServer) -> Project:
    """A project with an operation `use` that depends on two addresses."""
    addresses = [web.put("/a.csv", DATA), web.put("/b.bin", b"bbb")]
    text = f"[use]\nexec = 'cat a.csv'\ndepends = {{ url = {addresses} }}\n"
    found = project({"gage.toml": text})
    return Project(found.dir, {**found.env, "no_proxy": "*"})


def cache_of(here: Project) -> Path:
    return Path(here.env["HOME"], ".cache", "gage")


def contents(here: Project) -> set[str]:
    return {os.path.basename(name) for name in files_below(cache_of(here) / "content")}


def test_what_was_downloaded_is_listed(here: Project, web: WebServer) -> None:
    assert "nothing is kept" in here.gage("cache", "list").succeeds().err
    assert here.gage("cache", "list", "--json").succeeds().json == []
    assert here.gage("run", "use").succeeds().out == DATA.decode()
    entries = {entry["address"]: entry for entry in here.gage("cache", "list", "--json").json}
    entry = entries[f"{web.base}/a.csv"]
    assert (entry["sha256"], entry["size"]) == (SHA256, len(DATA))
    assert entry["etag"] == web.pages["/a.csv"].etag
    assert abs(entry["fetched"] / 1e6 - time.time()) < 60
    listed = here.gage("cache", "list").succeeds()
    row = rf"{web.base}/a\.csv  8 B   (now|\d+s) +(now|\d+s) +{SHA256[:12]}\n"
    assert re.search(row, listed.out)
    assert "11 B in " in listed.err


def test_what_is_damaged_is_named_and_removed(here: Project) -> None:
    here.gage("stage", "use").succeeds()
    assert "2 contents verified" in here.gage("cache", "verify").succeeds().err
    (path,) = (cache_of(here) / "content").rglob(SHA256)
    path.chmod(0o644)
    path.write_bytes(b"changed!")
    failed = here.gage("stage", "use").fails(1, "dependency-unresolved")
    assert f"{SHA256} is damaged" in failed.err
    ended = here.gage("cache", "verify").fails(1, "cache-damaged")
    assert "gage: of 2 contents, 1 was damaged and was removed [cache-damaged]\n  " in ended.err
    assert SHA256 in ended.err
    assert len(contents(here)) == 1
    assert here.gage("cache", "verify", "--json").succeeds().json == {
        "verified": 1,
        "damaged": [],
    }
    here.gage("stage", "use").succeeds()
    assert SHA256 in contents(here)


def test_clear_removes_all_but_what_is_not_its_own(here: Project) -> None:
    here.gage("stage", "use").succeeds()
    cache = cache_of(here)
    others = ("mine", "content/mine", "content/ab/mine", "addresses/mine.json", "partial/mine")
    for name in others:
        (cache / name).parent.mkdir(exist_ok=True)
        (cache / name).write_text("mine")
    (cache / "partial" / ("0" * 32)).write_text("a part")
    (cache / "partial" / ("0" * 32 + ".json")).write_text("{}")
    (cache / "partial" / ("1" * 32 + ".json")).write_text("{}")
    assert "nothing is removed" in here.gage("cache", "clear", stdin="y\n").exits(1).err
    assert len(contents(here) - {"mine"}) == 2
    assert "2 downloads removed, 11 B" in here.gage("cache", "clear", "-y").succeeds().err
    assert files_below(cache) == set(others)
    here.gage("start", "1", "-q").succeeds()


def test_clear_by_address_keeps_a_content_that_another_has(here: Project, web: WebServer) -> None:
    web.put("/b.bin", DATA)
    here.gage("stage", "use").succeeds()
    assert "0 downloads" in here.gage("cache", "clear", "-y", f"{web.base}/a.csv").succeeds().err
    assert contents(here) == {SHA256}
    here.gage("cache", "clear", "-y", f"{web.base}/a.csv").fails(1, "not-kept")
    here.gage("cache", "clear", "-y", f"{web.base}/b.bin").succeeds()
    assert contents(here) == set()


def test_clear_what_was_not_used_for_days(here: Project) -> None:
    here.gage("stage", "use").succeeds()
    here.gage("cache", "clear", "-y", "--older", "1").succeeds()
    assert len(contents(here)) == 2
    for path in (cache_of(here) / "addresses").iterdir():
        if SHA256 in path.read_text():
            os.utime(path, (0, time.time() - 100_000))
    here.gage("cache", "clear", "-y", "--older", "1").succeeds()
    assert len(contents(here)) == 1 and SHA256 not in contents(here)
    for path in (cache_of(here) / "addresses").iterdir():
        os.utime(path, (0, time.time() - 100_000))
    here.gage("stage", "use").succeeds()
    here.gage("cache", "clear", "-y", "--older", "1").succeeds()
    assert len(contents(here)) == 2


@pytest.mark.parametrize(
    "args",
    [(), ("empty",), ("list", "x"), ("verify", "--older", "1"), ("clear", "--older", "x")],
    ids=str,
)
def test_wrong_usage(project, args: tuple[str, ...]) -> None:
    project().gage("cache", *args).fails(2, "usage")


def test_a_preview_downloads_nothing_and_says_what_would_be(here: Project, web: WebServer) -> None:
    preview = here.gage("stage", "use", "--preview").succeeds().out
    assert f"a.csv, b.bin to download from {web.base}/a.csv, {web.base}/b.bin" in preview
    (planned,) = here.gage("stage", "use", "--preview", "--json").json["dependencies"]
    assert (planned["files"], planned["awaited"]) == (0, ["a.csv", "b.bin"])
    assert not web.requests and not cache_of(here).exists()
    here.gage("stage", "use").succeeds()
    assert "2 files, 11 B from" in here.gage("stage", "use", "--preview").succeeds().out
    assert len(web.requests) == 2
    here.gage("cache", "clear", "-y").succeeds()
    explained = here.gage("stage", "use", "--explain").succeeds().out
    assert "removed" not in explained and "a.csv" not in explained.partition("source file")[0]


def test_what_happened_is_said_and_an_error_has_its_exit_code(
    here: Project, web: WebServer
) -> None:
    here.gage("run", "use").succeeds()
    web.faults = [Fault(503)]
    assert f"taking what {web.base}/a.csv was on " in here.gage("run", "use").succeeds().err
    here.gage("cache", "clear", "-y").succeeds()
    del web.pages["/a.csv"]
    failed = here.gage("run", "use").fails(125, "dependency-unresolved")
    assert f"url {web.base}/a.csv: {web.host} answers 404 Not Found" in failed.err
    assert "hint: check the address" in failed.err


def test_a_password_in_an_address_is_a_fault_of_the_gage_file(project) -> None:
    here = project({"gage.toml": "[a]\nexec = 'a'\ndepends = { url = 'https://me:cret@host/a' }\n"})
    failed = here.gage("stage", "a").fails(1, "gage-file-invalid")
    assert "gage.toml:3: depends.url of operation a must not hold a user or password" in failed.err
    assert "~/.netrc" in failed.err and "cret" not in failed.err


def test_progress_on_a_terminal_only(here: Project, web: WebServer) -> None:
    web.put("/a.csv", bytes(100_000))
    web.faults = [Fault(pieces=20, seconds=0.1)]
    master, slave = os.openpty()
    process = here.begin("stage", "use", stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 1000)
        except OSError:
            break
        shown += data
    os.close(master)
    assert process.wait() == 0
    assert process.stdout and process.stderr is None
    process.stdout.close()
    assert b"kB of 100 kB  " in shown and b"kB/s  0." in shown and b"s left\x1b[K" in shown, shown
    assert shown.endswith(b"\r\x1b[K"), shown
    here.gage("cache", "clear", "-y").succeeds()
    web.faults = [Fault(pieces=20, seconds=0.1)]
    assert here.gage("stage", "use").succeeds().err == ""


class TestRepositories:
    @pytest.fixture
    def theirs(self, tmp_path: Path) -> Repository:
        return Repository.make(tmp_path / "theirs", {"a.txt": b"aaa\n", "b/c.txt": b"c\n"})

    @pytest.fixture
    def here(self, project, theirs: Repository) -> Project:
        """A project with an operation `use` that depends on a repository."""
        text = f"[use]\nexec = 'cat theirs/a.txt'\ndepends = {{ git = '{theirs.dir}' }}\n"
        return project({"gage.toml": text})

    def test_are_listed(self, here: Project, theirs: Repository) -> None:
        assert here.gage("run", "use").succeeds().out == "aaa\n"
        (entry,) = here.gage("cache", "list", "--json").succeeds().json
        assert (entry["kind"], entry["address"]) == ("git", str(theirs.dir))
        assert entry["size"] > 6 and abs(entry["fetched"] / 1e6 - time.time()) < 60
        listed = here.gage("cache", "list").succeeds()
        assert re.search(rf"{theirs.dir}  [\d.]+ kB .* git\n", listed.out)
        assert "kB in " in listed.err

    def test_are_verified(self, here: Project, theirs: Repository) -> None:
        here.gage("stage", "use").succeeds()
        assert "1 git repository verified" in here.gage("cache", "verify").err
        (path,) = cache_of(here).rglob("files/b/c.txt")
        path.chmod(0o644)
        path.write_bytes(b"X\n")
        failed = here.gage("stage", "use").fails(1, "dependency-unresolved")
        assert "c.txt is damaged" in failed.err and "gage cache verify" in failed.err
        ended = here.gage("cache", "verify").fails(1, "cache-damaged")
        assert (
            f"1 was damaged and was removed [cache-damaged]\n  {theirs.dir}: b/c.txt" in ended.err
        )
        here.gage("stage", "use").succeeds()
        (pack,) = cache_of(here).rglob("*.pack")
        data = bytearray(pack.read_bytes())
        data[-30] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
        assert f"\n  {theirs.dir}\n" in here.gage("cache", "verify").fails(1, "cache-damaged").err
        assert not list(cache_of(here).rglob("*.pack"))
        here.gage("stage", "use").succeeds()
        here.gage("cache", "verify").succeeds()

    def test_are_cleared_but_those_in_use(self, here: Project, theirs: Repository) -> None:
        here.gage("stage", "use").succeeds()
        here.gage("cache", "clear", "-y", "--older", "1").succeeds()
        (folder,) = (cache_of(here) / "git").iterdir()
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert "0 downloads" in here.gage("cache", "clear", "-y").succeeds().err
        assert "nothing is removed" in here.gage("cache", "clear").exits(1).err
        ended = here.gage("cache", "clear", "-y", str(theirs.dir)).succeeds()
        assert "1 git repository removed, " in ended.err
        assert files_below(cache_of(here)) == set()
        here.gage("cache", "clear", "-y", str(theirs.dir)).fails(1, "not-kept")
        here.gage("start", "1", "-q").succeeds()

    def test_that_were_begun_only_are_cleared_too(self, here: Project) -> None:
        here.gage("stage", "use").succeeds()
        (folder,) = (cache_of(here) / "git").iterdir()
        (folder / "record.json").unlink()
        assert here.gage("cache", "list", "--json").succeeds().json == []
        here.gage("cache", "clear", "-y").succeeds()
        assert files_below(cache_of(here)) == set()

    def test_a_preview_asks_nobody_and_names_what_is_not_known(
        self, here: Project, theirs: Repository
    ) -> None:
        preview = here.gage("stage", "use", "--preview").succeeds().out
        assert f"theirs/ to download from {theirs.dir}" in preview
        assert not cache_of(here).exists()
        here.gage("stage", "use").succeeds()
        os.rename(theirs.dir, f"{theirs.dir}.gone")
        assert "2 files, 6 B from" in here.gage("stage", "use", "--preview").succeeds().out
        here.gage("cache", "clear", "-y").succeeds()
        explained = here.gage("stage", "use", "--explain").succeeds().out
        assert "removed" not in explained
