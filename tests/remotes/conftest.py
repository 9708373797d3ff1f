"""Places that runs are pushed to and pulled from, each a real one, and runs that go there."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conftest import Outcome, Project
from real_servers import S3, SECRET, Machine, serving_machine, serving_s3

from .counting_proxy import CountingProxy

# Random, so that nothing packs it, and of the same bytes each time.
TRAIN = """
import os, random, sys
size = 100
os.makedirs("out/empty")
os.mkdir("out/private", 0o700)
with open("out/model.bin", "wb") as file:
    file.write(random.Random(0).randbytes(size * 1000))
for name in ("line\\nbreak", "b\\\\ack", "-", "\\udcff", "tab\\t", "twin", "twin2", "\u00e9"):
    with open("out/private/" + name, "w") as file:
        file.write(name[:4] if name != "\\udcff" else "")
os.chmod("out/private/twin", 0o600)
os.chmod("out/private/twin2", 0o755)
os.symlink("model.bin", "out/latest")
os.symlink("/nowhere\\n", "out/odd")
os.utime("out/model.bin", ns=(1, 1_500_000_000_123_456_789))
print("done")
"""


@dataclass
class Far:
    """A place that `gage push` takes: its address, and what the environment needs for it."""

    name: str
    address: str
    env: Mapping[str, str] = field(default_factory=dict)
    # Where its runs lie on this machine, if they lie in directories.
    home: Path | None = None
    # Its address, where it goes by a name.
    location: str = ""


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with serving_machine(tmp_path_factory.mktemp("machine")) as found:
        yield found


def of_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    return Far("directory", str(tmp_path / "far"), home=tmp_path / "far")


def of_ssh(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    machine = request.getfixturevalue("machine")
    return Far("ssh", f"ssh://far/root/{tmp_path.name}", machine.env, machine.root / tmp_path.name)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serving_s3(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def s3_proxy(s3: S3) -> Iterator[CountingProxy]:
    found = CountingProxy(s3.port)
    yield found
    found.close()


def far_of_s3(s3: S3, port: int, tmp_path: Path) -> Far:
    """Return a prefix of its own in the bucket, as the user's settings have it."""
    settings = tmp_path / "config" / "gage" / "settings.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    address = f"s3://{s3.bucket}/{tmp_path.name}"
    settings.write_text(
        f'[remotes.store]\naddress = "{address}"\n'
        f'options.endpoint_url = "http://127.0.0.1:{port}"\n'
    )
    env = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET}
    env |= {"XDG_CONFIG_HOME": str(tmp_path / "config"), "AWS_EC2_METADATA_DISABLED": "true"}
    return Far("s3", "store", env, location=address)


def of_s3(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    s3 = request.getfixturevalue("s3")
    return far_of_s3(s3, s3.port, tmp_path)


def of_weak_s3(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    """A store that takes no notice of conditions, as several do."""
    proxy = request.getfixturevalue("s3_proxy")
    proxy.rewritten = (b"If-None-Match", b"X--None-Match")
    return far_of_s3(request.getfixturevalue("s3"), proxy.port, tmp_path)


KINDS: Mapping[str, Callable[[pytest.FixtureRequest, Path], Far]] = {
    "directory": of_directory,
    "ssh": of_ssh,
    "s3": of_s3,
    "weak-s3": of_weak_s3,
}


@pytest.fixture(params=KINDS)
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    return KINDS[request.param](request, tmp_path)


@dataclass(frozen=True)
class Bench:
    """A project whose runs are moved, and the place they are moved to."""

    project: Project
    far: Far

    def gage(self, *args: str, **options: Any) -> Outcome:
        options["env"] = {**options.get("env", {}), **self._env()}
        return self.project.gage(*args, **options)

    def begin(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        env = {**self.project.env, **self._env(), **options.pop("env", {})}
        return self.project.begin(*args, env=env, **options)

    def _env(self) -> dict[str, str]:
        env = dict(self.far.env)
        if "PATH" in env:
            env["PATH"] = f"{env['PATH'].split(os.pathsep)[0]}:{self.project.env['PATH']}"
        return env

    def run(self, *values: str) -> str:
        before = {run.name for run in self.project.runs()}
        self.gage("run", "train.py", *values).succeeds()
        (made,) = {run.name for run in self.project.runs()} - before
        return made

    def stage(self, *values: str) -> str:
        return self.gage("stage", "train.py", *values).succeeds().out.strip()

    def push(self, *words: str) -> list[dict[str, Any]]:
        return self.gage("push", *words, self.far.address, "--json").succeeds().json

    def pull(self, home: Path, *words: str) -> list[dict[str, Any]]:
        done = self.gage("--runs", str(home), "pull", *words, self.far.address, "--json")
        return done.succeeds().json

    def far_status(self, run_id: str) -> str | None:
        listed = self.gage("list", "--remote", self.far.address, "--json").succeeds().json
        return next((row["status"] for row in listed if row["id"] == run_id), None)


@pytest.fixture
def bench(project: Callable[..., Project], far: Far) -> Bench:
    return Bench(project({"train.py": TRAIN, "lib.py": "x = 1\n"}), far)


def tree(home: Path, run_id: str) -> dict[str, tuple[Any, ...]]:
    """Return all there is of a run: kind, mode, time and content, by path."""
    found = {}
    for top in (run_id, f"{run_id}.meta"):
        for folder, names, files in os.walk(home / top):
            for name in [*names, *files]:
                path = os.path.join(folder, name)
                info = os.lstat(path)
                mode, time = stat.S_IMODE(info.st_mode), info.st_mtime_ns
                if stat.S_ISLNK(info.st_mode):
                    value: Any = os.readlink(path)
                elif stat.S_ISDIR(info.st_mode):
                    value = None
                else:
                    value = Path(path).read_bytes()
                # As relative paths, those of both directories.
                found[os.path.relpath(path, home).replace(run_id, "ID", 1)] = (mode, time, value)
    return found


def sizes(items: list[dict[str, Any]]) -> int:
    return sum(each["sent"] for each in items)


def as_json(outcome: Outcome) -> Any:
    return json.loads(outcome.out)
