"""What every resolver does, each against the real thing."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gage._internal.downloads import fetch
from gage._internal.errors import DependencyError
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.stage_dependencies import Dependency, resolve_dependencies
from gage._internal.lifecycle.start import start_run
from gage._internal.store.verify import verify
from gage._internal.types import OpDef, Run
from git_repositories import Repository
from real_servers import S3, SECRET, Ssh, serving_s3, serving_ssh
from runs_on_disk import files_below, read
from web_server import serving

FILES = {"a.txt": b"aaa\n", "sub/b.txt": b"bb\n"}
# What an address, a header or an option had, and no file may have.
CREDENTIAL = "se-cret-value"


@dataclass
class Source:
    """Files that a resolver takes: its key and their value, and what they are called in the run.

    `gone` makes them unreachable; `pinned` is a value, with settings, of what needs no request once
    it is there; `missing` a value that resolves to nothing. `secrets` must stand in no file.
    """

    key: str
    value: Any
    files: Mapping[str, bytes]
    missing: Any
    gone: Callable[[], None] | None = None
    pinned: Any = None
    pinned_settings: Mapping[str, Any] = field(default_factory=dict)
    is_kept: bool = False
    secrets: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The directory that all of them are in, with a slash, if any."""
        return "" if "a.txt" in self.files else f"{min(self.files).split('/')[0]}/"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serving_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    with serving_ssh(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch, "DELAYS", (0.01, 0.01))
    (tmp_path / "home").mkdir()


def written(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def below(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in FILES.items()}


def of_project_files(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    written(tmp_path / "project" / "data")
    return Source("project-files", "data", below("data"), "nothing")


def of_files(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    folder = written(tmp_path / "elsewhere" / "data")
    return Source("files", str(folder), below("data"), str(tmp_path / "nothing"))


def of_run_files(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    run = request.getfixturevalue("make_initialized")(
        "sh", "-c", "echo aaa >a.txt; mkdir sub; echo bb >sub/b.txt", name="prepare"
    )
    stage_run(run)
    start_run(run)
    return Source("run-files", "prepare", FILES, "nothing")


def of_runs_summary(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    run = request.getfixturevalue("make_initialized")("true", name="train", config={"lr": 1})
    stage_run(run)
    start_run(run)
    rows = [{"id": run.id, "name": read(run, "name").strip(), "operation": "train",
             "status": "completed", "config.lr": 1}]  # fmt: skip
    data = (json.dumps(rows, indent=2) + "\n").encode()
    return Source("runs-summary", "train", {"runs.json": data}, "nothing")


def of_url(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    served = serving()
    server = served.__enter__()
    open_ones = [served]
    request.addfinalizer(lambda: [each.__exit__(None, None, None) for each in open_ones])
    (tmp_path / "home" / ".netrc").write_text(f"machine 127.0.0.1 login me password {CREDENTIAL}\n")
    addresses = [server.put(f"/{name}", data) for name, data in FILES.items()]
    return Source(
        "url", addresses, {"a.txt": FILES["a.txt"], "b.txt": FILES["sub/b.txt"]},
        f"{server.base}/nothing", lambda: open_ones.pop().__exit__(None, None, None),
        addresses[0], {"sha256": hashlib.sha256(FILES["a.txt"]).hexdigest()},
        is_kept=True, secrets=(CREDENTIAL,),
    )  # fmt: skip


def of_git(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    repository = Repository.make(tmp_path / "repositories" / "data", FILES)
    commit = repository.git("rev-parse", "HEAD")
    address = f"file://{repository.dir}"
    return Source(
        "git", address, below("data"), f"file://{tmp_path}/nothing",
        lambda: shutil.rmtree(repository.dir), {"repository": address, "revision": commit},
        is_kept=True,
    )  # fmt: skip


def of_s3(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    server = request.getfixturevalue("s3")
    request.getfixturevalue("monkeypatch").setenv("S3_SECRET", SECRET)
    prefix = f"{tmp_path.name}/data"
    address = server.put(FILES, prefix)
    more = {"options": server.options, "secrets": {"secret": "S3_SECRET"}}
    return Source(
        "fsspec", {"address": address, **more}, below("data"),
        {"address": f"{address}x", **more}, lambda: server.remove(prefix),
        {"address": f"{address}/a.txt", **more},
        {"sha256": hashlib.sha256(FILES["a.txt"]).hexdigest()},
        is_kept=True, secrets=(SECRET,),
    )  # fmt: skip


def of_sftp(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    server = request.getfixturevalue("ssh")
    folder = written(tmp_path / "elsewhere" / "data")
    (tmp_path / "home" / ".ssh").mkdir()
    shutil.copy(server.known_hosts, tmp_path / "home" / ".ssh" / "known_hosts")
    address = f"sftp://127.0.0.1{folder}"
    more = {"options": server.options}
    return Source(
        "fsspec", {"address": address, **more}, below("data"),
        {"address": f"{address}x", **more}, lambda: shutil.rmtree(folder),
        {"address": f"{address}/a.txt", **more},
        {"sha256": hashlib.sha256(FILES["a.txt"]).hexdigest()},
        is_kept=True,
    )  # fmt: skip


RESOLVERS = {
    "project-files": of_project_files, "files": of_files, "run-files": of_run_files,
    "runs-summary": of_runs_summary, "url": of_url, "git": of_git,
    "fsspec-s3": of_s3, "fsspec-sftp": of_sftp,
}  # fmt: skip

# Of these there is something in the cache.
KEPT = ("url", "git", "fsspec-s3", "fsspec-sftp")


@pytest.fixture(params=RESOLVERS)
def source(request: pytest.FixtureRequest, tmp_path: Path, project_dir: Path) -> Source:
    return RESOLVERS[request.param](request, tmp_path)


@pytest.fixture
def stage(make_initialized, project_dir: Path, source: Source):
    """Return a function that stages a run with nothing but what the resolver takes."""

    def stage(value: Any = None, told: list[str] | None = None, **settings: Any) -> Run:
        depends = {source.key: source.value if value is None else value, **settings}
        run = make_initialized("true", opdef={"sourcecode": False, "depends": depends}, name="use")
        stage_run(run, str(project_dir), notice=(told if told is not None else []).append)
        verify(run)
        return run

    return stage


def staged(run: Run) -> dict[str, bytes]:
    return {name: Path(run.run_dir, name).read_bytes() for name in files_below(run.run_dir)}


def record(run: Run) -> dict[str, Any]:
    (found,) = json.loads(read(run, "depends.json"))
    assert isinstance(found, dict)
    return found


def content_of(folder: Path) -> dict[str, bytes]:
    if not folder.exists():
        return {}
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def planned(source: Source, project_dir: Path, home: Path, value: Any = None) -> Dependency:
    opdef = OpDef("use", {"depends": {source.key: source.value if value is None else value}})
    (found,) = resolve_dependencies(opdef, str(project_dir), str(home))
    assert isinstance(found, Dependency), found
    return found


def test_its_files_are_in_the_run_and_told_of_in_its_record(stage, source: Source) -> None:
    told: list[str] = []
    run = stage(told=told, name="mine")
    assert staged(run) == source.files
    assert told == [] or source.key == "run-files"
    found = record(run)
    assert (found["name"], found["files"]) == ("mine", len(source.files))
    assert found["bytes"] == sum(map(len, source.files.values()))
    assert found["origin"] and found["lineage"] and found["relocatable"]


def test_again_it_is_the_same(stage, source: Source) -> None:
    first, second = stage(), stage()
    assert staged(first) == staged(second)
    assert record(first) == record(second)


def test_files_are_selected_renamed_and_placed(stage, source: Source) -> None:
    one = min(source.files)
    run = stage(select=f"/{one}", rename={one: "new/name"}, target="in")
    assert staged(run) == {"in/new/name": source.files[one]}


def test_a_selection_of_nothing_and_a_rename_of_nothing_are_errors(stage, source: Source) -> None:
    if source.key != "runs-summary":
        with pytest.raises(DependencyError, match="select takes none of"):
            stage(select="*.none")
    with pytest.raises(DependencyError, match="rename has no/such"):
        stage(rename={"no/such": "x"})


def test_its_digest_is_checked(stage, source: Source) -> None:
    digest = record(stage())["sha256"]
    assert staged(stage(sha256=digest.upper())) == source.files
    with pytest.raises(DependencyError, match=f"sha256 is {digest}, not {'0' * 64}"):
        stage(sha256="0" * 64)


def test_what_is_missing_is_an_error_unless_it_is_optional(stage, source: Source) -> None:
    with pytest.raises(DependencyError) as caught:
        stage(source.missing)
    assert caught.value.message.startswith(source.key)
    run = stage(source.missing, optional=True)
    assert staged(run) == {}
    assert f" Left out: {source.key}" in read(run, "log/runner")


def test_what_the_run_may_write_to_is_its_own(stage, source: Source) -> None:
    run = stage(writable=True)
    for name, data in source.files.items():
        Path(run.run_dir, name).write_bytes(b"changed")
        assert staged(stage())[name] == data


def test_a_preview_asks_for_nothing_and_writes_nothing(
    stage, source: Source, project_dir: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    before = content_of(tmp_path / "cache")
    if source.gone:
        stage()
        shutil.rmtree(tmp_path / "cache")
        source.gone()
    found = planned(source, project_dir, home)
    assert content_of(tmp_path / "cache") == before
    assert found.resolved.origin
    if source.gone is None:
        assert set(found.paths) == set(source.files)
    else:
        assert found.awaited and not found.pairs
        for name in source.files:
            assert any(name == each or name.startswith(each) for each in found.awaited)


@pytest.mark.parametrize("source", KEPT, indirect=True)
def test_a_preview_of_what_is_kept_knows_it(
    stage, source: Source, project_dir: Path, tmp_path: Path
) -> None:
    stage(source.pinned, **source.pinned_settings)
    before = content_of(tmp_path / "cache")
    assert source.gone
    source.gone()
    found = planned(source, project_dir, tmp_path / "runs", source.pinned)
    assert found.pairs and not found.awaited
    assert content_of(tmp_path / "cache") == before


@pytest.mark.parametrize("source", KEPT, indirect=True)
def test_what_is_pinned_needs_its_source_once(stage, source: Source) -> None:
    first = stage(source.pinned, **source.pinned_settings)
    assert source.gone
    source.gone()
    told: list[str] = []
    second = stage(source.pinned, told, **source.pinned_settings)
    assert staged(first) == staged(second) != {}
    assert record(first) == record(second)
    assert told == []


def test_no_path_of_the_cache_and_no_credential_is_recorded(
    stage, source: Source, tmp_path: Path
) -> None:
    run = stage()
    cache = content_of(tmp_path / "cache")
    for name, data in content_of(Path(run.run_dir + ".meta")).items():
        assert str(tmp_path / "cache").encode() not in data, name
    for place in (content_of(Path(run.run_dir + ".meta")), cache, staged(run)):
        for name, data in place.items():
            assert not any(secret.encode() in data for secret in source.secrets), name


def test_stagings_at_once_share_what_is_kept(stage, source: Source, tmp_path: Path) -> None:
    runs: list[Run] = []
    threads = [threading.Thread(target=lambda: runs.append(stage())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [staged(run) == source.files for run in runs] == [True] * 4
    kept = [data for name, data in content_of(tmp_path / "cache").items() if "record" not in name]
    for data in FILES.values() if source.is_kept else ():
        assert kept.count(data) == 1
