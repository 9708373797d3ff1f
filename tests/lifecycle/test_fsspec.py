"""The resolver `fsspec`: what addresses stand for, what is kept, faults, secrets."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from gage._internal.downloads import fetch, objects
from gage._internal.errors import DependencyError, SecretMissing
from gage._internal.lifecycle.stage import stage_run
from gage._internal.store.verify import verify
from gage._internal.types import Run
from real_servers import S3, SECRET, Ssh, serving_s3, serving_ssh
from runs_on_disk import files_below, read

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = b"x" + DATA


class Told(MemoryFileSystem):
    """Objects in memory that have what `info` says of them, and fail when they are told to."""

    protocol = "told"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    said: ClassVar[dict[str, Any]] = {}
    faults: ClassVar[list[Any]] = []
    asked: ClassVar[list[tuple[str, Any]]] = []
    options: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options.append(options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("told://").strip("/")

    def info(self, path: str, **kwargs: Any) -> Any:
        self.asked.append(("info", path))
        found = {"name": path, "size": None, **super().info(path, **kwargs), **self.said}
        found.pop("created", None)
        return found

    def find(self, path: str, maxdepth: Any = None, withdirs: bool = False, **kwargs: Any) -> Any:
        if withdirs or maxdepth:
            return super().find(path, maxdepth, withdirs, **kwargs)
        # All of them, be their names as they may.
        return {
            name: {"name": name, "type": "file", "size": len(file.getvalue()), **self.said}
            for name, file in self.store.items()
            if name.startswith(path.rstrip("/") + "/")
        }

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        self.asked.append(("read", start))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if callable(fault):
            fault()
        data: bytes = super().cat_file(path, start, end)
        return data

    @classmethod
    def put_all(cls, files: dict[str, bytes]) -> None:
        file_system = cls()
        for name, data in files.items():
            file_system.pipe_file(name, data)

    @classmethod
    def reads(cls) -> list[Any]:
        return [start for what, start in cls.asked if what == "read"]


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(fetch, "DELAYS", (0.01, 0.01))
    monkeypatch.setattr(objects, "DELAYS", (0.01, 0.01))
    monkeypatch.setattr(objects, "_RANGE_SIZE", 30_000)
    fsspec.register_implementation("told", Told, clobber=True)
    for state in (Told.store, Told.said, Told.faults, Told.asked, Told.options):
        state.clear()
    Told.said["etag"] = "one"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serving_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    with serving_ssh(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def stage(make_initialized, project_dir: Path):
    """Return a function that stages a run with nothing but one dependency."""

    def stage(value: Any, told: list[str] | None = None, **settings: Any) -> Run:
        opdef = {"sourcecode": False, "depends": {"fsspec": value, **settings}}
        run = make_initialized("true", opdef=opdef)
        stage_run(run, str(project_dir), notice=(told if told is not None else []).append)
        verify(run)
        return run

    return stage


def content(run: Run, name: str) -> bytes:
    return Path(run.run_dir, name).read_bytes()


def lineage(run: Run) -> list[dict[str, Any]]:
    (found,) = json.loads(read(run, "depends.json"))
    one = found["lineage"]["fsspec"]
    assert isinstance(one, list)
    return one


def kept(cache: Path) -> set[str]:
    """Return what is in the cache, less the names of records."""
    names = files_below(cache)
    assert not {name for name in names if "/." in name}
    return {name for name in names if not name.startswith("addresses/")}


def content_name(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"content/{digest[:2]}/{digest}"


class TestWhat:
    FILES: ClassVar[dict[str, bytes]] = {
        "/b/a.csv": b"a", "/b/d/b.csv": b"b", "/b/d/e/c.txt": b"c", "/b/d/e/b.csv": b"d",
    }  # fmt: skip

    @pytest.mark.parametrize(
        ("address", "names"),
        [
            ("told://b/a.csv", {"a.csv"}),
            ("told://b/d", {"d/b.csv", "d/e/c.txt", "d/e/b.csv"}),
            ("told://b/d/", {"d/b.csv", "d/e/c.txt", "d/e/b.csv"}),
            ("told://b", {"b/a.csv", "b/d/b.csv", "b/d/e/c.txt", "b/d/e/b.csv"}),
            ("told://b/*.csv", {"a.csv"}),
            ("told://b/d/e/[bc].*", {"b.csv", "c.txt"}),
            ("told://b/d/?", {"e/b.csv", "e/c.txt"}),
            ("told://b/*/b.csv", {"d/b.csv"}),
            ("told://b/**/b.csv", {"d/b.csv", "d/e/b.csv"}),
            (["told://b/a.csv", "told://b/d/e"], {"a.csv", "e/c.txt", "e/b.csv"}),
        ],
        ids=range(10),
    )
    def test_an_object_a_directory_or_a_pattern(self, stage, address: Any, names: set[str]) -> None:
        Told.put_all(self.FILES)
        run = stage(address)
        assert files_below(run.run_dir) == names
        for each in lineage(run):
            path = each["address"].removeprefix("told:/")
            assert each["sha256"] == hashlib.sha256(self.FILES[path]).hexdigest()

    @pytest.mark.parametrize("address", ["told://b/none", "told://b/*.none", "told://none/"])
    def test_what_is_not_there(self, stage, address: str) -> None:
        Told.put_all(self.FILES)
        with pytest.raises(DependencyError, match="there is no such file or directory") as caught:
            stage(address)
        assert caught.value.hint == "check the address"

    def test_a_name_with_a_bracket_is_itself(self, stage) -> None:
        Told.put_all({"/b/a[1].csv": b"a"})
        assert files_below(stage("told://b/a[1].csv").run_dir) == {"a[1].csv"}

    def test_in_an_archive(self, stage, tmp_path: Path) -> None:
        import zipfile

        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("x/b.csv", b"b")
        Told.put_all({"/b/a.zip": (tmp_path / "a.zip").read_bytes()})
        run = stage("zip://x/*.csv::told://b/a.zip")
        assert content(run, "b.csv") == b"b"
        assert lineage(run)[0]["address"] == "zip://x/b.csv::told://b/a.zip"

    @pytest.mark.parametrize("name", ["/b/d/../x", "/b/d/a//x", "/b/d/a\0"])
    def test_names_that_no_file_can_have(self, stage, name: str) -> None:
        Told.put_all({"/b/d/a": b"a"})
        Told.store[name] = Told.store["/b/d/a"]
        with pytest.raises(DependencyError, match="has a name that no file can have"):
            stage("told://b/d")

    def test_a_file_that_is_a_directory_too(self, stage) -> None:
        Told.put_all({"/b/d/a/b": b"b"})
        Told.store["/b/d/a"] = Told.store["/b/d/a/b"]
        with pytest.raises(DependencyError, match="d/a is both a file and the directory of d/a/b"):
            stage("told://b/d")

    def test_an_empty_one(self, stage) -> None:
        Told.put_all({"/b/a": b""})
        assert content(stage("told://b/a"), "a") == b""


class TestKept:
    @pytest.mark.parametrize(
        ("first", "second", "is_read"),
        [
            ({"etag": "one"}, {"etag": "one"}, False),
            ({"ETag": '"one"'}, {"ETag": '"two"'}, True),
            ({"etag": "one", "mtime": 1}, {"etag": "one", "mtime": 2}, False),
            ({"mtime": 1}, {"mtime": 1}, False),
            ({"mtime": 1}, {"mtime": 2}, True),
            ({}, {}, True),
        ],
        ids=str,
    )
    def test_what_did_not_change_is_not_read_again(
        self, stage, first: dict[str, Any], second: dict[str, Any], is_read: bool
    ) -> None:
        Told.put_all({"/b/a": b"a"})
        for said in (first, second):
            Told.said.clear()
            Told.said.update(said)
            Told.asked.clear()
            told: list[str] = []
            assert content(stage("told://b/a", told), "a") == b"a"
            assert told == []
        assert bool(Told.reads()) == is_read

    def test_another_size_is_another_content_and_is_said(self, stage) -> None:
        Told.said.clear()
        Told.said["mtime"] = 1
        Told.put_all({"/b/a": DATA})
        stage("told://b/a")
        Told.put_all({"/b/a": OTHER})
        told: list[str] = []
        run = stage("told://b/a", told)
        assert content(run, "a") == OTHER
        (sentence,) = told
        assert "told://b/a has changed since " in sentence
        assert f" Noticed: {sentence}\n" in read(run, "log/runner")

    def test_with_its_digest_nothing_is_asked(self, stage) -> None:
        Told.put_all({"/b/a": DATA})
        stage("told://b/a", sha256=SHA256)
        Told.asked.clear()
        stage("told://b/a", sha256=SHA256)
        assert Told.asked == []

    def test_one_file_of_a_directory_keeps_its_name(self, stage) -> None:
        Told.put_all({"/b/d/a": DATA})
        for _ in range(2):
            assert files_below(stage("told://b/d", sha256=SHA256).run_dir) == {"d/a"}

    def test_once_by_content(self, stage, cache: Path) -> None:
        Told.put_all({"/b/a": DATA, "/b/c": DATA})
        stage(["told://b/a", "told://b/c"])
        assert kept(cache) == {content_name(DATA)}

    def test_one_address_with_other_options_is_another(self, stage) -> None:
        Told.put_all({"/b/a": DATA})
        stage({"address": "told://b/a", "options": {"endpoint": "one"}})
        Told.put_all({"/b/a": OTHER})
        told: list[str] = []
        run = stage({"address": "told://b/a", "options": {"endpoint": "two"}}, told)
        assert content(run, "a") == OTHER and told == []
        assert lineage(run)[0]["options"] == {"endpoint": "two"}
        assert Told.options[-1] == {"endpoint": "two"}

    def test_what_cannot_be_reached_is_what_it_was(self, stage, monkeypatch) -> None:
        Told.put_all({"/b/a": DATA})
        stage("told://b/a")

        def fail(*args: Any, **options: Any) -> Any:
            raise ConnectionError("the line is cut")

        monkeypatch.setattr(Told, "info", fail)
        told: list[str] = []
        run = stage("told://b/a", told)
        assert content(run, "a") == DATA
        (sentence,) = told
        assert sentence.startswith("the line is cut: taking what told://b/a was on 20")
        with pytest.raises(DependencyError, match="the line is cut"):
            stage("told://b/c")
        with pytest.raises(DependencyError, match="the line is cut"):
            stage("told://b/a", sha256="0" * 64)


class TestFaults:
    def test_what_breaks_off_goes_on(self, stage) -> None:
        Told.put_all({"/b/a": DATA})
        Told.faults[:] = [None, ConnectionError("cut"), None, TimeoutError("cut"), None]
        assert content(stage("told://b/a"), "a") == DATA
        assert Told.reads() == [0, 30_000, 30_000, 60_000, 60_000, 90_000]

    def test_but_not_for_ever(self, stage, cache: Path) -> None:
        Told.put_all({"/b/a": DATA})
        Told.faults[:] = [ConnectionError("cut")] * 9
        with pytest.raises(DependencyError, match=r"^fsspec told://b/a: cut$"):
            stage("told://b/a")
        assert len(Told.reads()) == 3
        assert kept(cache) == set()

    def test_what_is_forbidden_is_not_tried_again(self, stage) -> None:
        Told.put_all({"/b/a": DATA})
        Told.faults[:] = [PermissionError("no entry")]
        with pytest.raises(DependencyError, match="no entry") as caught:
            stage("told://b/a")
        assert "secrets of the dependency" in str(caught.value.hint)
        assert len(Told.reads()) == 1

    def test_parts_of_two_versions_are_not_put_together(self, stage) -> None:
        Told.put_all({"/b/a": DATA})

        def change() -> None:
            Told.said["etag"] = "two"
            Told.put_all({"/b/a": DATA[::-1]})

        Told.faults[:] = [None, change]
        assert content(stage("told://b/a"), "a") == DATA[::-1]

    def test_what_is_of_no_known_size_is_read_to_its_end(self, stage) -> None:
        Told.put_all({"/b/a": DATA})
        Told.said["size"] = None
        assert content(stage("told://b/a"), "a") == DATA

    def test_a_full_disk_leaves_room(self, stage, small_disk, monkeypatch) -> None:
        disk = small_disk("size=1m")
        monkeypatch.setenv("GAGE_CACHE", str(disk / "cache"))
        Told.put_all({"/b/a": bytes(2 << 20), "/b/c": DATA})
        with pytest.raises(OSError, match="No space left"):
            stage("told://b/a")
        assert kept(disk / "cache") == set()
        assert content(stage("told://b/c"), "c") == DATA


class TestInstalled:
    def test_an_extra_that_is_missing_is_named(self, stage, monkeypatch) -> None:
        missing = {"class": "no_such_module.X", "err": "Please install gcsfs"}
        monkeypatch.setitem(known_implementations, "gs", missing)
        with pytest.raises(DependencyError, match=r"gs:// needs a package .*: .*gcsfs") as caught:
            stage("gs://b/a")
        assert caught.value.hint == "pip install 'gage[gs]'"

    def test_so_is_fsspec_itself(self, stage, monkeypatch) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "fsspec"]:
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(
            DependencyError, match="needs a package that is not installed"
        ) as caught:
            stage("s3://b/a")
        assert caught.value.hint == "pip install 'gage[s3]'"

    def test_a_file_system_that_nobody_knows(self, stage) -> None:
        with pytest.raises(DependencyError, match="fsspec knows no file system nobody://"):
            stage("nobody://b/a")


class TestSecrets:
    def test_are_named_and_never_written(self, stage, monkeypatch, cache: Path) -> None:
        Told.put_all({"/b/a": DATA})
        value = {"address": "told://b/a", "secrets": {"token": "MY_TOKEN"}}
        with pytest.raises(SecretMissing, match="MY_TOKEN"):
            stage(value)
        monkeypatch.setenv("MY_TOKEN", "cret-value")
        run = stage(value)
        assert Told.options[-1] == {"token": "cret-value"}
        for folder in (run.run_dir + ".meta", str(cache)):
            for name in files_below(folder):
                assert b"cret-value" not in Path(folder, name).read_bytes()

    def test_nor_shown_in_an_error(self, stage, monkeypatch) -> None:
        Told.put_all({"/b/a": DATA})
        monkeypatch.setenv("MY_TOKEN", "cret-value")
        Told.faults[:] = [PermissionError("no entry with cret-value")]
        with pytest.raises(DependencyError, match=r"no entry with \*\*\*"):
            stage({"address": "told://b/a", "secrets": {"token": "MY_TOKEN"}})

    @pytest.mark.parametrize(
        "value",
        [
            "told://me:cret@host/a",
            {"address": "told://b/a", "options": {"secret": "cret"}},
            {"address": "told://b/a", "options": {"kwargs": {"aws_session_token": "cret"}}},
        ],
        ids=str,
    )
    def test_in_an_address_or_an_option_are_refused(self, stage, value: Any) -> None:
        with pytest.raises(DependencyError, match="kept with each run") as caught:
            stage(value)
        assert "cret-" not in str(caught.value) and '"cret"' not in str(caught.value)


FETCH = (
    "import json, sys; from gage._internal.downloads import objects;"
    "from gage._internal.resolvers.fsspec import Fsspec; from gage.plugins import ResolveContext;"
    "objects._RANGE_SIZE = 30_000;"
    "tell = lambda what, done, total: (print(done, flush=True), sys.stdin.readline());"
    "Fsspec().resolve(json.loads(sys.argv[1]), ResolveContext('', '/', progress=tell))"
)


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_with(
    stage, s3: S3, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = s3.put({"a.bin": DATA}, "killed") + "/a.bin"
    monkeypatch.setenv("S3_SECRET", SECRET)
    value = {"address": address, "options": s3.options, "secrets": {"secret": "S3_SECRET"}}
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, json.dumps(value)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdin
    assert process.stdout.readline() == "30000\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (partial,) = [name for name in kept(cache) if not name.endswith(".json")]
    assert os.path.getsize(cache / partial) == 30_000
    ranges: list[int] = []
    real = objects.ask

    def listening(call: Any, *args: Any, **options: Any) -> Any:
        if "start" in options:
            ranges.append(options["start"])
        return real(call, *args, **options)

    monkeypatch.setattr(objects, "ask", listening)
    assert content(stage(value), "a.bin") == DATA
    assert ranges == [30_000, 60_000, 90_000]
    assert kept(cache) == {content_name(DATA)}


def test_an_object_of_s3_is_asked_whether_it_changed(
    stage, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = s3.put({"a.bin": DATA}, "changed")
    monkeypatch.setenv("S3_SECRET", SECRET)
    value = {"address": address, "options": s3.options, "secrets": {"secret": "S3_SECRET"}}
    first = stage(value)
    etag = hashlib.md5(DATA).hexdigest()
    assert lineage(first)[0]["etag"].strip('"') == etag
    s3.put({"a.bin": DATA[::-1]}, "changed")
    told: list[str] = []
    assert content(stage(value, told), "changed/a.bin") == DATA[::-1]
    (sentence,) = told
    assert f"{address}/a.bin has changed since " in sentence


def test_s3_without_a_login_says_what_to_do(stage, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    address = s3.put({"a.bin": DATA}, "login")
    options = {"endpoint_url": s3.options["endpoint_url"]}
    with pytest.raises(DependencyError, match="credentials") as caught:
        stage({"address": address, "options": options})
    assert "secrets of the dependency" in str(caught.value.hint)


def test_a_host_that_nobody_knows_is_refused(
    stage, ssh: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    value = {"address": f"sftp://127.0.0.1{tmp_path}/a", "options": ssh.options}
    with pytest.raises(DependencyError, match="not found in known_hosts") as caught:
        stage(value)
    assert "connect to it once with ssh" in str(caught.value.hint)
    (tmp_path / "home" / ".ssh").mkdir()
    shutil.copy(ssh.known_hosts, tmp_path / "home" / ".ssh")
    assert content(stage(value), "a") == DATA
