"""The resolver `url`: what is downloaded, kept, asked for again, and said, from a real server."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gage._internal.downloads import fetch
from gage._internal.downloads.addresses import as_requested
from gage._internal.downloads.partial import Partial, Version
from gage._internal.errors import DependencyError
from gage._internal.lifecycle.stage import stage_run
from gage._internal.store.verify import verify
from gage._internal.types import Run
from runs_on_disk import files_below, read
from web_server import Fault, WebServer, serving

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = b"x" + DATA


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(fetch, "DELAYS", (0.01, 0.01, 0.01))


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that nobody but itself vouches for, with its key."""
    key, path = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture
def stage(make_initialized, project_dir: Path):
    """Return a function that stages a run with nothing but one dependency."""

    def stage(url: Any, told: list[str] | None = None, **settings: Any) -> Run:
        opdef = {"sourcecode": False, "depends": {"url": url, **settings}}
        run = make_initialized("true", opdef=opdef)
        stage_run(run, str(project_dir), notice=(told if told is not None else []).append)
        verify(run)
        return run

    return stage


def content(run: Run, name: str) -> bytes:
    return Path(run.run_dir, name).read_bytes()


def lineage(run: Run) -> dict[str, str]:
    (found,) = json.loads(read(run, "depends.json"))
    (one,) = found["lineage"]["url"]
    assert isinstance(one, dict)
    return one


def kept(cache: Path) -> set[str]:
    """Return what is in the cache, less the names of records."""
    names = files_below(cache)
    assert not {name for name in names if "/." in name}
    return {name for name in names if not name.startswith("addresses/")}


def content_name(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"content/{digest[:2]}/{digest}"


class TestNames:
    @pytest.mark.parametrize(
        ("path", "header", "name"),
        [
            ("/d/a.csv?x=1#y", None, "a.csv"),
            ("/%C3%A4%20b.csv", None, "ä b.csv"),
            ("/a%2F..%2Fb%00", None, "a_.._b_"),
            ("/a.csv", 'attachment; filename="b.csv"', "a.csv"),
            ("/get/", 'attachment; filename="b.csv"', "b.csv"),
            ("/get/", "attachment; filename*=UTF-8''%C3%A4.csv", "ä.csv"),
            ("/get/", 'attachment; filename="../../c/b.csv"', "b.csv"),
            ("/%2e%2e", 'attachment; filename="b.csv"', "b.csv"),
            ("/get/", 'attachment; filename=".."', "127.0.0.1"),
            ("/?id=1", None, "127.0.0.1"),
            ("/" + "a" * 300, None, "a" * 255),
        ],
    )
    def test_a_file_is_called_by_its_address_or_as_the_server_says(
        self, stage, web: WebServer, path: str, header: str | None, name: str
    ) -> None:
        headers = {"Content-Disposition": header} if header else {}
        address = web.put(path.partition("#")[0], DATA, headers=headers)
        for _ in range(2):
            assert files_below(stage(address).run_dir) == {name}

    def test_several_with_one_content_and_settings_of_any_dependency(
        self, stage, web: WebServer
    ) -> None:
        addresses = [web.put(f"/{name}.csv", b"same") for name in "ab"]
        run = stage(addresses, select="-c", rename={"a.csv": "x/y"}, target="data")
        assert files_below(run.run_dir) == {"data/x/y", "data/b.csv"}
        assert files_below(stage(addresses, select="b.*").run_dir) == {"b.csv"}

    def test_two_of_one_name_are_an_error_that_names_both(self, stage, web: WebServer) -> None:
        addresses = [web.put(f"/{name}/a.csv", name.encode()) for name in "xy"]
        with pytest.raises(DependencyError, match=r"/x/a\.csv and .*/y/a\.csv are both called"):
            stage(addresses)


class TestKept:
    def test_once_by_content_read_only_with_a_record(
        self, stage, web: WebServer, cache: Path
    ) -> None:
        first, second = web.put("/a.bin", DATA), web.put("/b.bin", DATA)
        run = stage(first, target="d")
        assert content(run, "d/a.bin") == DATA
        stage(second)
        assert kept(cache) == {content_name(DATA)}
        path = cache / content_name(DATA)
        assert path.read_bytes() == DATA
        assert path.stat().st_mode & 0o777 == 0o444
        assert cache.stat().st_mode & 0o777 == 0o700
        assert len(list((cache / "addresses").iterdir())) == 2
        assert not list((cache / "partial").iterdir())

    def test_an_address_is_asked_whether_it_changed(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        told: list[str] = []
        for _ in range(2):
            assert content(stage(address, told), "a.bin") == DATA
        assert web.headers("If-None-Match") == [None, web.pages["/a.bin"].etag]
        assert told == []

    def test_or_by_its_time(self, stage, web: WebServer) -> None:
        modified = "Mon, 02 Mar 2026 10:00:00 GMT"
        address = web.put("/a.bin", DATA, tagged=False, modified=modified)
        run = stage(address)
        assert content(stage(address), "a.bin") == DATA
        assert web.headers("If-Modified-Since") == [None, modified]
        assert lineage(run)["last_modified"] == modified

    def test_what_changed_is_fetched_and_said(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        stage(address)
        web.put("/a.bin", OTHER)
        told: list[str] = []
        run = stage(address, told)
        assert content(run, "a.bin") == OTHER
        (sentence,) = told
        digest = hashlib.sha256(OTHER).hexdigest()
        assert f"{address} has changed since " in sentence
        assert f"was {SHA256}, and is {digest}" in sentence
        assert f" Noticed: {sentence}\n" in read(run, "log/runner")

    def test_with_its_digest_nothing_is_asked(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        for _ in range(2):
            stage(address, sha256=SHA256.upper())
        stage(web.put("/b.bin", DATA), sha256=SHA256)
        assert len(web.requests) == 1

    def test_another_digest_than_wanted_is_an_error(self, stage, web: WebServer) -> None:
        with pytest.raises(DependencyError, match=f"sha256 is {SHA256}, not {'0' * 64}"):
            stage(web.put("/a.bin", DATA), sha256="0" * 64)

    def test_a_damaged_content_is_no_part_of_a_run(
        self, stage, web: WebServer, cache: Path
    ) -> None:
        address = web.put("/a.bin", DATA)
        stage(address)
        path = cache / content_name(DATA)
        path.chmod(0o644)
        path.write_bytes(OTHER[: len(DATA)])
        for settings in ({}, {"sha256": SHA256}, {"unpack": True}):
            with pytest.raises(DependencyError, match=f"{SHA256} is damaged") as caught:
                stage(address, **settings)
            assert "gage cache verify" in str(caught.value.hint)
        path.write_bytes(b"")
        assert content(stage(address), "a.bin") == DATA

    def test_what_is_no_record_is_none(self, stage, web: WebServer, cache: Path) -> None:
        address = web.put("/a.bin", DATA)
        stage(address)
        (record,) = (cache / "addresses").iterdir()
        for garbage in ("", "{}", "[]", '{"address": 1}', record.read_text().replace(SHA256, "x")):
            record.chmod(0o644)
            record.write_text(garbage)
            assert content(stage(address), "a.bin") == DATA

    @pytest.mark.parametrize(
        ("env", "place"),
        [
            ({"GAGE_CACHE": "~/own"}, "home/own"),
            ({"GAGE_CACHE": "", "XDG_CACHE_HOME": "TMP/xdg"}, "xdg/gage"),
            ({"GAGE_CACHE": "", "XDG_CACHE_HOME": "relative"}, "home/.cache/gage"),
        ],
    )
    def test_place(
        self, stage, web: WebServer, tmp_path: Path, monkeypatch, env: dict[str, str], place: str
    ) -> None:
        for name, value in env.items():
            monkeypatch.setenv(name, value.replace("TMP", str(tmp_path)))
        stage(web.put("/a.bin", DATA))
        assert (tmp_path / place / content_name(DATA)).exists()

    def test_lineage(self, stage, web: WebServer) -> None:
        web.put("/real", DATA)
        address = web.put("/a.bin?v=1", moved="/real?token=secret")
        run = stage(address)
        assert lineage(run) == {
            "address": address,
            "final_address": f"{web.base}/real",
            "etag": web.pages["/real"].etag,
            "sha256": SHA256,
        }


class TestFaults:
    def test_a_download_that_is_cut_off_goes_on(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        web.faults = [Fault(cut_after=30_000), Fault(cut_after=20_000)]
        assert content(stage(address), "a.bin") == DATA
        assert web.headers("Range") == [None, "bytes=30000-", "bytes=50000-"]
        assert web.headers("If-Range")[1] == web.pages["/a.bin"].etag

    @pytest.mark.parametrize(
        "more",
        [
            {"ranges": False},
            {"tagged": False},
            {"weak": True},
            {"chunked": True},
            {"tagged": False, "modified": "Mon, 02 Mar 2026 10:00:00 GMT"},
        ],
        ids=str,
    )
    def test_or_begins_again(self, stage, web: WebServer, more: dict[str, Any]) -> None:
        address = web.put("/a.bin", DATA, **more)
        web.faults = [Fault(cut_after=30_000)]
        assert content(stage(address), "a.bin") == DATA
        assert len(web.requests) == 2

    @pytest.mark.parametrize("careless", [False, True])
    def test_parts_of_two_versions_are_not_put_together(
        self, stage, web: WebServer, careless: bool
    ) -> None:
        address = web.put("/a.bin", DATA)
        web.faults = [Fault(cut_after=30_000), *[Fault(status=503)] * 3]
        with pytest.raises(DependencyError, match="answers 503"):
            stage(address)
        web.put("/a.bin", OTHER, careless=careless)
        assert content(stage(address), "a.bin") == OTHER

    def test_a_busy_server_is_asked_again(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        web.faults = [Fault(503), Fault(500), Fault(429, {"Retry-After": "1"})]
        told: list[str] = []
        begun = time.monotonic()
        assert content(stage(address, told), "a.bin") == DATA
        assert time.monotonic() - begun >= 1
        assert told == [f"{web.host} answers 429 Too Many Requests: trying again in 1 s"]

    @pytest.mark.parametrize(
        ("fault", "requests"),
        [
            (Fault(503), 4),
            (Fault(cut_after=0), 4),
            (Fault(429, {"Retry-After": "9999"}), 1),
            (Fault(404), 1),
            (Fault(403), 1),
            (Fault(204), 1),
            (Fault(304), 1),
        ],
        ids=str,
    )
    def test_but_not_for_ever(
        self, stage, web: WebServer, cache: Path, fault: Fault, requests: int
    ) -> None:
        address = web.put("/a.bin", DATA)
        web.faults = [fault] * 9
        with pytest.raises(DependencyError, match=f"^url {address}: "):
            stage(address)
        assert len(web.requests) == requests
        assert kept(cache) == set()

    def test_what_cannot_be_reached_is_what_it_was(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        stage(address)
        web.faults = [Fault(503)]
        told: list[str] = []
        run = stage(address, told)
        assert content(run, "a.bin") == DATA
        (sentence,) = told
        assert f"answers 503 Service Unavailable: taking what {address} was on 20" in sentence
        assert f" Noticed: {sentence}\n" in read(run, "log/runner")

    def test_but_not_where_something_else_is_wanted(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        stage(address)
        web.faults = [Fault(503)]
        with pytest.raises(DependencyError, match="answers 503"):
            stage(address, sha256=hashlib.sha256(OTHER).hexdigest())
        web.put("/a.bin", OTHER)
        told: list[str] = []
        stage(address, told, sha256=hashlib.sha256(OTHER).hexdigest())
        assert told == []

    def test_a_new_version_is_worth_another_try(self, stage, web: WebServer) -> None:
        address = web.put("/a.bin", DATA)
        stage(address)
        web.put("/a.bin", OTHER)
        web.faults = [Fault(cut_after=50_000)]
        assert content(stage(address), "a.bin") == OTHER

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("http://127.0.0.1:1/a", r"127\.0\.0\.1:1 refuses the connection"),
            ("http://no-such-host.invalid/a", "is a name that nobody knows here"),
            ("http://a..b/a", "is no name of a host"),
        ],
    )
    def test_what_was_never_there_is_an_error(self, stage, address: str, reason: str) -> None:
        with pytest.raises(DependencyError, match=reason):
            stage(address)

    def test_a_certificate_that_nobody_vouches_for(self, stage, certificate: Path) -> None:
        with (
            serving(str(certificate)) as web,
            pytest.raises(DependencyError, match=r"certificate of .* is not to be trusted") as e,
        ):
            stage(web.put("/a.bin", DATA))
        assert "SSL_CERT_FILE" in str(e.value.hint)

    def test_a_full_disk_leaves_room(self, stage, web: WebServer, small_disk, monkeypatch) -> None:
        disk = small_disk("size=1m")
        monkeypatch.setenv("GAGE_CACHE", str(disk / "cache"))
        address = web.put("/a.bin", bytes(2 << 20))
        with pytest.raises(OSError, match="No space left"):
            stage(address)
        assert kept(disk / "cache") == set()
        web.put("/a.bin", DATA)
        assert content(stage(address), "a.bin") == DATA


class TestRedirections:
    def test_to_another_scheme_are_not_followed(self, stage, web: WebServer) -> None:
        for where in ("file:///etc/passwd", "ftp://127.0.0.1/a"):
            with pytest.raises(DependencyError, match=f"answers 302 and leads to {where}"):
                stage(web.put("/a.bin", moved=where))

    def test_to_https_are_followed_and_from_there_to_http_are_not(
        self, stage, web: WebServer, certificate: Path, monkeypatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with serving(str(certificate)) as safe:
            secret = safe.put("/b.bin", DATA)
            assert content(stage(web.put("/a.bin", moved=secret)), "a.bin") == DATA
            address = safe.put("/c.bin", moved=web.put("/d.bin", DATA))
            with pytest.raises(DependencyError, match=r"answers 302 and leads to http://"):
                stage(address)
        assert [path for path, _ in web.requests] == ["/a.bin"]

    def test_in_a_circle(self, stage, web: WebServer) -> None:
        with pytest.raises(DependencyError, match="answers 302"):
            stage(web.put("/a.bin", moved="/a.bin"))

    def test_a_login_goes_to_its_host_only(self, stage, web: WebServer, tmp_path: Path) -> None:
        netrc = tmp_path / "home" / ".netrc"
        netrc.write_text(
            "machine 127.0.0.1 login me password se:cret\ndefault login you password x"
        )
        login = "Basic bWU6c2U6Y3JldA=="
        web.put("/real", DATA, login=login)
        run = stage(web.put("/a.bin", moved="/real"))
        assert web.headers("Authorization") == [login, login]
        with serving() as other:
            address = other.put("/a.bin", DATA)
            stage(web.put("/b.bin", moved=address))
            stage(web.put("/c.bin", moved=address.replace("127.0.0.1", "localhost")))
            assert other.headers("Authorization") == [None, None]
            stage(address.replace("127.0.0.1", "localhost"))
            assert other.headers("Authorization")[-1] is None
        for folder in (run.run_dir + ".meta", str(tmp_path / "cache")):
            for name in files_below(folder):
                assert b"cret" not in Path(folder, name).read_bytes()

    def test_a_login_that_is_missing_is_told(self, stage, web: WebServer) -> None:
        with pytest.raises(DependencyError, match="answers 401") as caught:
            stage(web.put("/a.bin", DATA, login="Basic x"))
        assert "machine 127.0.0.1 login" in str(caught.value.hint)


def test_what_is_not_ascii_is_encoded(stage, web: WebServer) -> None:
    web.put("/%C3%A4%20(1).csv?x=%C3%A4", DATA)
    run = stage(web.base + "/ä%20(1).csv?x=ä#part")
    assert files_below(run.run_dir) == {"ä (1).csv"}
    assert web.requests[0][0] == "/%C3%A4%20(1).csv?x=%C3%A4"
    assert as_requested("http://bücher.example/a") == "http://xn--bcher-kva.example/a"


def test_an_address_with_a_password_is_refused_without_repeating_it(stage) -> None:
    with pytest.raises(DependencyError, match="must not hold a user or password") as caught:
        stage("http://me:cret@127.0.0.1/a")
    assert "cret" not in str(caught.value)


FETCH = (
    "import sys; from gage._internal.downloads.fetch import Listener, fetch;"
    "listener = Listener(print, lambda what, done, total: print(done, flush=True));"
    "print(fetch(sys.argv[1], sys.argv[2], None, listener).sha256)"
)


def begin_fetch(cache: Path, address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, cache, address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_with(
    stage, web: WebServer, cache: Path
) -> None:
    address = web.put("/a.bin", DATA)
    web.faults = [Fault(cut_after=30_000, seconds=3)]
    process = begin_fetch(cache, address)
    assert process.stdout
    while process.stdout.readline() != "30000\n":
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (partial,) = [name for name in kept(cache) if not name.endswith(".json")]
    assert os.path.getsize(cache / partial) == 30_000
    assert content(stage(address), "a.bin") == DATA
    assert web.headers("Range") == [None, "bytes=30000-"]
    assert kept(cache) == {content_name(DATA)}


def test_nor_does_a_process_that_is_killed_at_the_end_leave_what_breaks_the_next_one(
    stage, web: WebServer, cache: Path
) -> None:
    address = web.put("/a.bin", DATA)
    stage(address)
    web.put("/a.bin", OTHER)
    with Partial(str(cache), address, lambda: None) as partial:
        partial.begin(Version(web.pages["/a.bin"].etag, None, len(OTHER)))
        partial.add(OTHER)
    assert len(kept(cache)) == 3
    assert content(stage(address), "a.bin") == OTHER
    assert kept(cache) == {content_name(DATA), content_name(OTHER)}


def test_processes_share_one_download(stage, web: WebServer, cache: Path) -> None:
    address = web.put("/a.bin", DATA, tagged=False)
    web.faults = [Fault(cut_after=30_000, seconds=4)]
    processes = [begin_fetch(cache, address) for _ in range(4)]
    outputs = [process.communicate()[0] for process in processes]
    assert [output.split()[-1] for output in outputs] == [SHA256] * 4
    assert len(web.requests) == 1
    assert sum("waiting for another process" in output for output in outputs) == 3


def test_threads_that_stage_share_it_too(stage, web: WebServer) -> None:
    address = web.put("/a.bin", DATA)
    web.faults = [Fault(cut_after=30_000, seconds=0.5)]
    runs: list[Run] = []
    threads = [threading.Thread(target=lambda: runs.append(stage(address))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [content(run, "a.bin") == DATA for run in runs] == [True] * 3
