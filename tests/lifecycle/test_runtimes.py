"""One suite for the runtimes that stage an environment, with real packages from the index.

`tabulate` is pure Python and has a script, `markupsafe` has a compiled module; `words` is the
project's own. For conda they are made packages of conda, in a channel on this machine.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from conda_channel import PLACEHOLDER, Channel, add_package, make_channel
from conftest import Project
from gage._internal.environments.conda import subdir_here
from runs_on_disk import reseal
from web_server import WebServer, serving

SRC = Path(__file__).parents[2] / "src"
PACKAGES = "tabulate==0.9.0\nmarkupsafe==3.0.2\n"
TRAIN = """\
import os, shutil, subprocess, sys
import markupsafe, tabulate
assert tabulate.__file__.startswith(sys.prefix), (tabulate.__file__, sys.prefix)
assert markupsafe._speedups.__file__.startswith(sys.prefix)
assert tabulate.__cached__ and os.path.exists(tabulate.__cached__)
shown = subprocess.run(["tabulate", "-1"], input=b"a b\\n", stdout=subprocess.PIPE, check=True)
assert b"a" in shown.stdout
print("prefix", sys.prefix)
print("script", shutil.which("tabulate"))
"""
PROJECT = """\
[project]
name = "words"
version = "1.2"
requires-python = ">=3.10"
dependencies = ["tabulate==0.9.0"]
[project.optional-dependencies]
more = ["markupsafe==3.0.2"]
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
packages = ["words"]
package-dir = { words = "src/words" }
"""
SAY = """\
import sys, tabulate, words
assert words.__file__.startswith(sys.prefix), words.__file__
print("words say", words.LAST)
"""
START = (
    "import sys; sys.path.insert(0, {src!r});"
    "from gage._internal.lifecycle.start import start_run;"
    "from gage._internal.types import Run;"
    "ended = start_run(Run(*sys.argv[1:3]), lambda s, d: sys.stdout.buffer.write(d));"
    "sys.exit(ended.exit_code)"
)
OF_PYTHON = [
    (name, bundle) for name in ("uv", "venv") for bundle in ("env", "archive", "wheels", "lock")
]
OF_CONDA = [("conda", "archive"), ("conda", "lock")]
KINDS = [*OF_PYTHON, *OF_CONDA]


@pytest.fixture(scope="session")
def packages_cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where uv, pip and Gage keep what they fetch and make, for all tests of a process."""
    folder = tmp_path_factory.mktemp("packages")
    names = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "GAGE_CACHE": "gage"}
    return {variable: str(folder / name) for variable, name in names.items()}


@pytest.fixture(scope="session")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    return make_channel(tmp_path_factory.mktemp("conda"))


@pytest.fixture
def make_project(
    project: Callable[..., Project],
    packages_cache: dict[str, str],
    request: pytest.FixtureRequest,
) -> Callable[..., Project]:
    """Return what writes a project with an operation `train` of a runtime."""

    def make(
        runtime: Any,
        files: dict[str, str] | None = None,
        *,
        own_cache: bool = False,
        folder: str = "project",
        **more: Any,
    ) -> Project:
        operation = {"exec": "python train.py", "runtime": runtime, **more}
        text = json.dumps({"train": operation})
        here = project({"train.py": TRAIN, "gage.json": text}, name=folder)
        name = runtime["name"] if isinstance(runtime, dict) else runtime
        listed = {"requirements.txt": PACKAGES}
        if name == "conda":
            conda: Channel = request.getfixturevalue("channel")
            listed = {"explicit.txt": conda.explicit()}
            here.env["PATH"] = f"{conda.tools}:{here.env['PATH']}"
        for name, text in (listed if files is None else files).items():
            here.write(name, text)
        own = {"GAGE_CACHE": str(here.dir.parent / "cache")} if own_cache else {}
        here.env.update({**packages_cache, **own})
        return here

    return make


def stage(here: Project, *words: str, **options: Any) -> Path:
    return Path(here.gage("stage", "train", "--json", *words, **options).succeeds().json["run_dir"])


def log_of(run_dir: Path) -> str:
    return run_dir.with_name(f"{run_dir.name}.meta").joinpath("log", "runner").read_text()


def runtime_of(run_dir: Path) -> dict[str, Any]:
    path = run_dir.with_name(f"{run_dir.name}.meta") / "runtime.json"
    return json.loads(path.read_text())


def manifest_lines(run_dir: Path, under: str) -> list[str]:
    manifest = run_dir.with_name(f"{run_dir.name}.meta") / "manifest"
    return sorted(line for line in manifest.read_text().splitlines() if f"  {under}" in line)


def base_python() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def start_apart(
    run_dir: Path, hidden: list[Path], network: bool, cache: Path, tools: str = ""
) -> str:
    """Start a run where directories are empty, by a runner that is not installed; what it prints.

    Root only, as in CI: a mount namespace of its own hides the directories.
    """
    runner = run_dir.parent / "runner"
    shutil.copytree(SRC, runner, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    mounts = "".join(f"mount -t tmpfs none '{path}' && " for path in hidden if path.exists())
    namespaces = ["--mount", *([] if network else ["--net"])]
    program = START.format(src=str(runner))
    done = subprocess.run(
        [
            *("unshare", *namespaces, "sh", "-c", f'{mounts}exec "$@"', "sh"),
            *(base_python(), "-I", "-c", program, run_dir.name, str(run_dir)),
        ],
        cwd="/",
        env={
            "PATH": f"{tools}:{os.path.dirname(base_python())}:/usr/local/bin:/usr/bin:/bin",
            "GAGE_CACHE": str(cache),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def move(run_dir: Path, there: Path) -> Path:
    there.mkdir()
    for path in (run_dir, run_dir.with_name(f"{run_dir.name}.meta")):
        shutil.move(path, there / path.name)
    return there / run_dir.name


@pytest.mark.parametrize(("name", "bundle"), KINDS)
def test_runs_here(make_project, name: str, bundle: str) -> None:
    here = make_project({"name": name, "bundle": bundle})
    ran = here.gage("run", "train", "-q").succeeds()
    run_dir = here.run()
    prefix = Path(ran.out.splitlines()[0].removeprefix("prefix "))
    if bundle == "env":
        assert prefix == run_dir / ".venv"
    else:
        assert prefix.is_relative_to(Path(here.env["GAGE_CACHE"], "environments"))
    assert not os.path.lexists(run_dir / ".venv" / "bin" / "python")
    assert "would break elsewhere" not in ran.err
    assert here.gage("check", "1").succeeds()
    record = runtime_of(run_dir)
    assert (record["name"], record["bundle"]) == (name, bundle)
    if bundle in ("env", "archive"):
        assert record["packages"]["markupsafe"] == "3.0.2"
    shown = f"runtime      {name}: {bundle}, Python {record['python']['version']}\n"
    assert shown in here.gage("show").succeeds().out
    assert here.gage("show", "--json").json["runtime"] == record


@pytest.mark.parametrize(
    ("name", "bundle", "staging", "start"),
    [
        ("uv", "env", ["making the environment of 2 packages for CPython"], []),
        (
            "uv",
            "archive",
            ["making the environment of 2", "packing the environment of 2"],
            ["unpacking the environment of 2 packages"],
        ),
        ("uv", "wheels", ["fetching 2 packages"], ["making the environment of 2"]),
        ("venv", "lock", [], ["making the environment of 2 packages for CPython"]),
        ("conda", "lock", [], ["making the environment of 3 packages of conda"]),
    ],
)
def test_what_takes_long_is_told(
    make_project, name: str, bundle: str, staging: list[str], start: list[str]
) -> None:
    here = make_project({"name": name, "bundle": bundle}, own_cache=True)
    for told, words in ((staging, ["stage", "train"]), (start, ["start", "1", "-q"])):
        lines = here.gage(*words).succeeds().err.splitlines()
        assert len(lines) == len(told), lines
        for line, beginning in zip(lines, told, strict=True):
            assert line.startswith(f"gage: {beginning}"), line
    # Once made, there is nothing to wait for.
    assert here.gage("run", "train", "-q").succeeds().err == ""


def test_a_preview_makes_nothing(make_project) -> None:
    here = make_project({"name": "uv", "bundle": "wheels"}, own_cache=True, exec="no-such-tool")
    plan = here.gage("stage", "train", "--preview", "--json").succeeds().json
    assert (plan["runtime"], plan["requirements"]) == ("uv", [])
    assert plan["provides"] == {"bundle": "wheels", "source": "requirements.txt"}
    assert not os.path.exists(here.env["GAGE_CACHE"])


@pytest.mark.parametrize(
    ("runtime", "files", "told"),
    [
        ("uv", {"requirements.txt": "", "uv.lock": ""}, "uv: env, uv.lock"),
        ({"name": "uv", "from": "a.txt", "bundle": "lock"}, {"a.txt": ""}, "uv: lock, a.txt"),
        ("venv", {"pyproject.toml": ""}, "venv: env, pyproject.toml"),
        ("conda", {"environment.yml": ""}, "conda: archive, environment.yml"),
        (
            {"name": "container", "image": f"a@sha256:{'0' * 64}"},
            {},
            f"container: image, a@sha256:{'0' * 64}",
        ),
    ],
)
def test_a_preview_tells_what_of_what(
    make_project, runtime: Any, files: dict[str, str], told: str
) -> None:
    here = make_project(runtime, files)
    assert f"runtime      {told}\n" in here.gage("stage", "train", "--preview").succeeds().out


def test_a_preview_fails_as_staging_would(make_project) -> None:
    here = make_project("uv", {})
    here.gage("stage", "train", "--preview").fails(1, "runtime-failed")
    hooks = {"run": "python train.py", "stage-sourcecode": "touch requirements.txt"}
    here = make_project("uv", {}, exec=hooks, folder="other")
    shown = here.gage("stage", "train", "--preview").succeeds().out
    assert "runtime      uv\n" in shown


@pytest.mark.parametrize("bundle", ["env", "archive", "wheels", "lock"])
def test_the_system_is_to_have_the_interpreter(make_project, bundle: str) -> None:
    here = make_project({"name": "uv", "bundle": bundle})
    run_dir = stage(here)
    record = runtime_of(run_dir)
    series = record["python"]["version"].rpartition(".")[0]
    needed = {
        "kind": "python",
        "name": f"python{series}",
        "needed": f">={series},<3.{int(series.partition('.')[2]) + 1}",
        "by": record["path"],
    }
    required = json.loads((here.meta(run_dir) / "requires.json").read_text())
    assert [each for each in required if each["kind"] in ("python", "command")] == [needed]
    symbols = {each["name"] for each in required if each["kind"] == "symbols"}
    # The compiled module of markupsafe is seen, be it in a packed environment.
    assert ("GLIBC" in symbols) == (bundle in ("env", "archive"))
    packages = here.meta(run_dir) / "sys" / "packages"
    if bundle in ("env", "archive"):
        assert json.loads(packages.read_text())["tabulate"] == "0.9.0"


@pytest.mark.parametrize(("name", "bundle"), KINDS)
def test_runs_elsewhere(make_project, tmp_path: Path, name: str, bundle: str) -> None:
    """With project, home, caches and environment gone; without network, but for a bare list."""
    here = make_project({"name": name, "bundle": bundle})
    run_dir = move(stage(here), tmp_path / "elsewhere")
    hidden = [here.dir, Path(here.env["HOME"]), Path(here.env["GAGE_CACHE"]), Path(sys.prefix)]
    if bundle != "lock":
        hidden += [Path(here.env[name]) for name in ("UV_CACHE_DIR", "PIP_CACHE_DIR")]
    tools = here.env["PATH"].partition(":")[0] if (name, bundle) == ("conda", "lock") else ""
    out = start_apart(run_dir, hidden, bundle == "lock", tmp_path / "cache-there", tools)
    assert out.startswith("prefix ")
    assert str(here.dir) not in out


@pytest.mark.parametrize("name", ["uv", "venv"])
def test_no_file_names_this_machine(make_project, name: str) -> None:
    here = make_project({"name": name}, {"pyproject.toml": PROJECT, "src/words/__init__.py": ""})
    run_dir = stage(here)
    places = [here.dir, here.env["HOME"], sys.prefix, os.path.dirname(base_python())]
    needles = [os.fsencode(place) for place in places]
    found = []
    for path in (run_dir / ".venv").rglob("*"):
        if path.is_symlink():
            assert not os.readlink(path).startswith("/"), path
        elif path.is_file():
            data = path.read_bytes()
            found += [(str(path), needle) for needle in needles if needle in data]
    assert not found
    origins = list((run_dir / ".venv").rglob("direct_url.json"))
    assert not origins
    recorded = 0
    for record in (run_dir / ".venv").rglob("*.dist-info/RECORD"):
        for file, digest, _ in csv.reader(record.read_text().splitlines()):
            path = record.parent.parent / file
            assert path.exists(), path
            if digest:
                found_digest = hashlib.sha256(path.read_bytes()).digest()
                text = base64.urlsafe_b64encode(found_digest).decode().rstrip("=")
                assert digest == f"sha256={text}", path
                recorded += 1
    assert recorded > 10


@pytest.mark.parametrize(
    ("name", "bundle"), [("uv", "env"), ("uv", "archive"), ("conda", "archive")]
)
def test_equal_input_gives_equal_digests(
    make_project, tmp_path: Path, name: str, bundle: str
) -> None:
    here = make_project({"name": name, "bundle": bundle})
    runs = [stage(here, env={"GAGE_CACHE": str(tmp_path / f"cache{n}")}) for n in range(2)]
    under = ".venv/" if bundle == "env" else ".runtime/"
    first, second = (manifest_lines(run, under) for run in runs)
    assert first == second
    assert len(first) > (20 if bundle == "env" else 0)


def test_an_environment_is_made_once_and_shared(make_project) -> None:
    here = make_project("uv", own_cache=True)
    first, second = stage(here), stage(here)
    path = next((first / ".venv").rglob("tabulate/__init__.py"))
    other = second / path.relative_to(first)
    assert os.path.samefile(path, other)
    assert path.stat().st_mode & 0o777 == 0o444
    kept = list(Path(here.env["GAGE_CACHE"], "environments").glob("*/tree"))
    assert len(kept) == 1


def test_two_stagings_at_once_make_it_once(make_project) -> None:
    here = make_project("uv", own_cache=True)
    stagings = [here.begin("stage", "train") for _ in range(3)]
    outs = [staging.communicate(timeout=120) for staging in stagings]
    assert [staging.returncode for staging in stagings] == [0, 0, 0], outs
    paths = [next((run / ".venv").rglob("tabulate/__init__.py")) for run in here.runs()]
    assert len({path.stat().st_ino for path in paths}) == 1


def test_killed_while_it_is_made_the_next_staging_makes_it(make_project) -> None:
    here = make_project("uv", own_cache=True)
    environments = Path(here.env["GAGE_CACHE"], "environments")
    staging = here.begin("stage", "train", start_new_session=True)
    until = time.monotonic() + 60
    while not list(environments.glob("*.part/tree/bin")):
        assert time.monotonic() < until and staging.poll() is None
        time.sleep(0.01)
    os.killpg(staging.pid, signal.SIGKILL)
    staging.communicate()
    assert not list(environments.glob("*/contents"))
    here.gage("run", "train", "-q").succeeds()
    assert not list(environments.glob("*.part"))


def test_a_changed_environment_stops_the_start(make_project) -> None:
    here = make_project("uv", own_cache=True)
    run_dir = stage(here)
    path = next((run_dir / ".venv").rglob("tabulate/__init__.py"))
    path.chmod(0o644)
    path.write_text("raise SystemExit('changed')\n")
    started = here.gage("start", "1").fails(125, "run-changed")
    assert "tabulate/__init__.py" in started.err
    # The file in the cache is the same one: it is not taken again.
    here.gage("run", "train", "-q").succeeds()


def test_it_is_verified_although_it_is_shared(make_project) -> None:
    """What does not show in size and times is found where it counts: before the command runs."""
    here = make_project("uv", own_cache=True)
    path = next((stage(here) / ".venv").rglob("tabulate/__init__.py"))
    found = path.stat()
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b"#\n")
    path.chmod(0o444)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert "tabulate/__init__.py" in here.gage("run", "train").fails(125, "run-changed").err


class TestCache:
    def kept(self, here: Project) -> list[dict[str, Any]]:
        return here.gage("cache", "list", "--json").succeeds().json

    def test_is_listed_with_what_it_is(self, make_project) -> None:
        here = make_project("uv", own_cache=True)
        stage(here)
        (entry,) = self.kept(here)
        assert entry["kind"] == "environment"
        assert entry["what"].startswith("environment of 2 packages for CPython 3.")
        shown = here.gage("cache", "list").succeeds().out
        assert "environment of 2 packages" in shown and entry["address"][:12] in shown

    def test_damage_is_found_and_removed(self, make_project) -> None:
        here = make_project("uv", own_cache=True)
        path = next((stage(here) / ".venv").rglob("tabulate/__init__.py"))
        found = path.stat()
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-2] + b"#\n")
        path.chmod(0o444)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        failed = here.gage("cache", "verify").fails(1, "cache-damaged")
        assert "environment of 2 packages" in failed.err
        here.gage("run", "train", "-q").succeeds()
        here.gage("cache", "verify").succeeds()

    def test_is_cleared_and_runs_stay_whole(self, make_project) -> None:
        here = make_project("uv", own_cache=True)
        stage(here)
        (entry,) = self.kept(here)
        assert here.gage("cache", "clear", "-y", "--older", "1").succeeds()
        assert self.kept(here) == [entry]
        assert (
            "1 environment removed" in here.gage("cache", "clear", entry["address"][:12], "-y").err
        )
        assert self.kept(here) == []
        assert list(Path(here.env["GAGE_CACHE"], "environments").iterdir()) == []
        here.gage("start", "1", "-q").succeeds()


def test_what_the_run_may_write_to_is_a_copy(make_project) -> None:
    here = make_project("uv", writable=".venv/**")
    paths = [next((stage(here) / ".venv").rglob("tabulate/__init__.py")) for _ in range(2)]
    assert not os.path.samefile(*paths)
    assert paths[0].stat().st_mode & 0o200


class TestProject:
    """The project's own package is installed, from the source as it is staged."""

    FILES: ClassVar = {
        "pyproject.toml": PROJECT,
        "src/words/__init__.py": "LAST = 1\n",
        "train.py": SAY,
    }

    @pytest.mark.parametrize(
        ("name", "bundle"), [kind for kind in OF_PYTHON if kind[0] == "uv" or kind[1] == "wheels"]
    )
    def test_is_installed(self, make_project, name: str, bundle: str) -> None:
        here = make_project({"name": name, "bundle": bundle}, self.FILES)
        assert here.gage("run", "train", "-q").succeeds().out == "words say 1\n"

    def test_has_the_config(self, make_project) -> None:
        here = make_project("uv", self.FILES, config="src/words/__init__.py")
        assert here.gage("run", "train", "LAST=7", "-q").succeeds().out == "words say 7\n"
        assert here.gage("run", "train", "-q").succeeds().out == "words say 1\n"

    def test_a_change_of_it_makes_no_new_environment(self, make_project) -> None:
        here = make_project("uv", self.FILES)
        first = stage(here)
        here.write("src/words/__init__.py", "LAST = 2\n")
        assert here.gage("run", "train", "-q").succeeds().out == "words say 2\n"
        name = next((first / ".venv").rglob("tabulate/__init__.py")).relative_to(first)
        assert os.path.samefile(*(run / name for run in here.runs()))

    def test_the_project_is_not_written_to(self, make_project) -> None:
        here = make_project("uv", self.FILES)
        before = sorted(path for path in here.dir.rglob("*"))
        stage(here)
        after = sorted(p for p in here.dir.rglob("*") if ".gage" not in p.parts)
        assert after == before

    def test_extras(self, make_project) -> None:
        use = "import markupsafe\nprint(markupsafe.__version__)\n"
        here = make_project({"name": "uv", "extras": ["more"]}, {**self.FILES, "train.py": use})
        assert here.gage("run", "train", "-q").succeeds().out == "3.0.2\n"

    def test_uv_lock(self, make_project) -> None:
        here = make_project("uv", self.FILES)
        uv(here, "lock")
        assert here.gage("run", "train", "-q").succeeds().out == "words say 1\n"
        here.write("pyproject.toml", PROJECT.replace('"tabulate==0.9.0"', '"six"'))
        failed = here.gage("stage", "train").fails(1, "runtime-failed")
        assert "uv.lock" in failed.err

    def test_a_change_of_uv_lock_counts(self, make_project) -> None:
        use = "import sys, importlib.metadata as m; print(m.version('tabulate'))\n"
        project = PROJECT.replace("tabulate==0.9.0", "tabulate")
        here = make_project(
            "uv", {**self.FILES, "train.py": use, "pyproject.toml": project}, own_cache=True
        )
        for version in ("0.8.10", "0.9.0", "0.8.10"):
            uv(here, "lock", "--upgrade-package", f"tabulate=={version}")
            assert here.gage("run", "train", "-q").succeeds().out == f"{version}\n"
        here.write("pyproject.toml", project.replace('"tabulate"', '"six"'))
        here.gage("stage", "train").fails(1, "runtime-failed")

    def test_a_package_beside_the_project(self, make_project) -> None:
        beside = PROJECT.replace('"words"', '"beside"').replace("src/words", "beside")
        use = "import beside, words; print(beside.LAST, words.LAST)\n"
        here = make_project(
            "uv",
            {
                **self.FILES,
                "train.py": use,
                "../beside/pyproject.toml": beside.replace("words", "beside"),
                "../beside/beside/__init__.py": "LAST = 9\n",
                "pyproject.toml": PROJECT.replace('"tabulate==0.9.0"', '"beside"')
                + '[tool.uv.sources]\nbeside = { path = "../beside", editable = true }\n',
            },
        )
        uv(here, "lock")
        assert here.gage("run", "train", "-q").succeeds().out == "9 1\n"

    def test_pylock(self, make_project) -> None:
        here = make_project("uv", self.FILES)
        uv(here, "lock")
        uv(here, "export", "--format", "pylock.toml", "-o", "pylock.toml")
        Path(here.dir, "uv.lock").unlink()
        for name in ("uv", "venv"):
            runtime = {"name": name, "from": "pylock.toml"}
            here.write(
                "gage.json", json.dumps({"train": {"exec": "python train.py", "runtime": runtime}})
            )
            assert here.gage("run", "train", "-q").succeeds().out == "words say 1\n"


SCM = {
    "setuptools-scm": ("setuptools.build_meta", ["setuptools>=64"], "[tool.setuptools_scm]"),
    "hatch-vcs": ("hatchling.build", ["hatchling"], "[tool.hatch.version]\nsource = 'vcs'"),
    "pdm-backend": ("pdm.backend", [], "[tool.pdm.version]\nsource = 'scm'"),
    "poetry-dynamic-versioning": (
        "poetry_dynamic_versioning.backend",
        ["poetry-core"],
        """[tool.poetry]\nversion = '0'\npackages = [{include = 'words'}]
        [tool.poetry-dynamic-versioning]\nenable = true""",
    ),
}


class TestVersionOfGit:
    """A package whose version git tells is built as that, although no run has a repository."""

    def project(self, tool: str) -> dict[str, str]:
        backend, requires, settings = SCM[tool]
        text = (
            '[project]\nname = "words-of_mine"\ndynamic = ["version"]\n'
            'requires-python = ">=3.10"\ndependencies = ["tabulate==0.9.0"]\n'
            f"[build-system]\nrequires = {[*requires, tool]}\nbuild-backend = '{backend}'\n"
            f"[tool.setuptools]\npackages = ['words']\n{settings}\n"
            "[tool.hatch.build.targets.wheel]\npackages = ['words']\n"
        )
        use = "import importlib.metadata as m; print(m.version('words-of-mine'))\n"
        return {"pyproject.toml": text, "words/__init__.py": "", "train.py": use}

    def git(self, here: Project, *words: str) -> str:
        own = ["-c", "user.name=A", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *own, *words], cwd=here.dir, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, here: Project) -> None:
        self.git(here, "add", "-A")
        self.git(here, "commit", "-q", "-m", "one")

    @pytest.mark.parametrize(
        ("name", "tool"), [*(("uv", tool) for tool in SCM), ("venv", "setuptools-scm")]
    )
    def test_is_that_of_the_tag_or_behind_it(self, make_project, name: str, tool: str) -> None:
        here = make_project(name, self.project(tool))
        here.write(".gitignore", ".gage\n")
        self.git(here, "init", "-q")
        self.commit(here)
        self.git(here, "tag", "v1.2")
        assert here.gage("run", "train", "-q").succeeds().out == "1.2\n"
        here.write("words/more.py", "")
        self.commit(here)
        commit = self.git(here, "rev-parse", "--short", "HEAD")
        assert here.gage("run", "train", "-q").succeeds().out == f"1.3.dev1+g{commit}\n"

    def test_is_found_for_a_lock_file(self, make_project) -> None:
        here = make_project("uv", self.project("hatch-vcs"))
        here.write(".gitignore", ".gage\n")
        self.git(here, "init", "-q")
        self.commit(here)
        self.git(here, "tag", "words-2.0rc1")
        uv(here, "lock")
        self.commit(here)
        commit = self.git(here, "rev-parse", "--short", "HEAD")
        here.write("words/__init__.py", "A = 1\n")
        expected = f"2.0rc2.dev1+g{commit}.dirty\n"
        assert here.gage("run", "train", "-q").succeeds().out == expected

    def test_without_a_repository_it_says_why(self, make_project) -> None:
        here = make_project("uv", self.project("setuptools-scm"))
        failed = here.gage("stage", "train").fails(1, "runtime-failed")
        assert "set the version in the environment with SETUPTOOLS_SCM_PRETEND" in failed.err
        named = {"SETUPTOOLS_SCM_PRETEND_VERSION": "3.0"}
        assert here.gage("run", "train", "-q", env=named).succeeds().out == "3.0\n"


def uv(here: Project, *words: str) -> None:
    from gage._internal.environments.installing import find_uv

    found = find_uv()
    assert found
    subprocess.run(
        [found, *words], cwd=here.dir, env=dict(here.env), check=True, capture_output=True
    )


def test_the_interpreter_comes_along_where_it_can_be_moved(make_project, tmp_path: Path) -> None:
    """One that uv has installed; here, a copy of this one that lies where uv installs them."""
    version = ".".join(map(str, sys.version_info[:3]))
    installed = tmp_path / "pythons" / f"cpython-{version}-linux-{os.uname().machine}-gnu"
    series = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (installed / "bin").mkdir(parents=True)
    shutil.copy2(base_python(), installed / "bin" / series)
    for name in ("python3", "python"):
        (installed / "bin" / name).symlink_to(series)
    unwanted = shutil.ignore_patterns("test", "site-packages", "dist-packages", "__pycache__")
    stdlib = Path(os.__file__).parent
    shutil.copytree(stdlib, installed / "lib" / series, ignore=unwanted, symlinks=False)
    for path in Path(sys.base_prefix, "lib").glob("libpython*"):
        shutil.copy2(path, installed / "lib")
    here = make_project("uv")
    here.env["UV_PYTHON_INSTALL_DIR"] = str(tmp_path / "pythons")
    here.write(
        "gage.json",
        json.dumps(
            {
                "train": {
                    "exec": "python train.py",
                    "runtime": {"name": "uv", "python": str(installed / "bin" / series)},
                }
            }
        ),
    )
    staged = stage(here)
    assert runtime_of(staged)["python"]["is_staged"]
    assert os.readlink(staged / ".venv" / "bin" / "python") == f"../python/bin/{series}"
    run_dir = move(staged, tmp_path / "elsewhere")
    hidden = [here.dir, Path(here.env["HOME"]), Path(sys.prefix), tmp_path / "pythons"]
    assert start_apart(run_dir, hidden, False, tmp_path / "cache-there").startswith("prefix ")


def test_another_interpreter_is_recorded(make_project) -> None:
    here = make_project({"name": "uv", "bundle": "lock"})
    run_dir = stage(here)
    meta = run_dir.with_name(f"{run_dir.name}.meta")
    record = runtime_of(run_dir)
    series = record["python"]["version"].rpartition(".")[0]
    record["python"] |= {"version": f"{series}.99", "suffix": ".of-another-machine.so"}
    (meta / "runtime.json").unlink()
    (meta / "runtime.json").write_text(json.dumps(record))
    reseal(run_dir)
    here.gage("start", "1", "-q").succeeds()
    assert f"It was staged with CPython {series}.99 (.of-another-machine.so)" in log_of(run_dir)


@pytest.mark.parametrize("bundle", ["env", "archive", "wheels", "lock"])
def test_without_an_interpreter_it_does_not_start(make_project, bundle: str) -> None:
    here = make_project({"name": "uv", "bundle": bundle})
    run_dir = stage(here)
    meta = run_dir.with_name(f"{run_dir.name}.meta")
    record = runtime_of(run_dir)
    record["python"] |= {"version": "3.2.1", "suffix": ".cpython-32.so"}
    (meta / "runtime.json").unlink()
    (meta / "runtime.json").write_text(json.dumps(record))
    reseal(run_dir)
    failed = here.gage("start", "1").fails(125, "runtime-failed")
    assert "needs CPython 3.2.1" in failed.err
    assert here.gage("list", "--json").json[0]["status"] == "staged"


def test_another_choice_of_python_counts(make_project) -> None:
    here = make_project({"name": "uv", "bundle": "lock"})
    stage(here)
    here.write(".python-version", "3.2\n")
    assert "3.2" in here.gage("stage", "train").fails(1, "runtime-failed").err


def test_a_list_that_is_locked_is_taken_as_it_is(make_project) -> None:
    here = make_project({"name": "uv", "bundle": "lock"})
    run_dir = stage(here)
    locked = (run_dir / ".runtime" / "requirements.txt").read_text()
    here.write("requirements.txt", f"# locked\n{locked}")
    here.env["UV_OFFLINE"] = "1"
    assert (stage(here) / ".runtime" / "requirements.txt").read_text() == f"# locked\n{locked}"


def test_hooks_have_the_environment(make_project) -> None:
    look = "python -c 'import tabulate, sys; print(sys.prefix)'"
    hooks = {"run": "python train.py", "stage-dependencies": look, "finalize": look}
    here = make_project("uv", exec=hooks)
    here.gage("run", "train", "-q").succeeds()
    for phase in ("dependencies", "finalize"):
        assert here.gage("logs", "--phase", phase).succeeds().out == f"{here.run() / '.venv'}\n"
    assert not os.path.lexists(here.run() / ".venv" / "bin" / "python")


def test_who_comes_too_late_to_start_leaves_the_environment_alone(make_project) -> None:
    use = (
        "import subprocess, time\n"
        "time.sleep(3)\n"
        "subprocess.run(['python', '-c', 'import tabulate'], check=True)\n"
    )
    here = make_project("uv", {"requirements.txt": PACKAGES, "train.py": use})
    run_dir = stage(here)
    started = here.begin("start", "1")
    until = time.monotonic() + 60
    while not os.path.lexists(run_dir / ".venv" / "bin" / "python"):
        assert time.monotonic() < until
        time.sleep(0.01)
    here.gage("start", "1").fails(125, "run-already-started")
    _, err = started.communicate(timeout=60)
    assert started.returncode == 0, err


IMAGE = "docker.io/library/python:3.12@sha256:" + "0a" * 32
# In place of an engine, of which there is none: it keeps what it was called with, and runs the
# command behind the image as it is.
ENGINE = """\
#!/bin/sh
printf '%s\\n' "$@" >"$RUN_DIR$APPTAINERENV_RUN_DIR/called"
while [ "${{1%@sha256:*}}" = "$1" ]; do shift; done
shift
{set}exec {entrypoint}"$@"
"""


IN_RUN_DIR = "--workdir {run} --mount type=bind,source={run},target={run}"
VARIABLES = (
    "--env A --env PYTHONUNBUFFERED --env RUN_ATTEMPT --env RUN_DIR --env RUN_ID --env TOKEN"
)
CALLED = {
    "podman": f"run --rm --interactive --init {IN_RUN_DIR} {VARIABLES} --entrypoint sh {{image}}",
    "docker": f"run --rm --interactive --init {IN_RUN_DIR} --user {{user}} {VARIABLES}"
    " --entrypoint sh {image}",
    "apptainer": "exec --cleanenv --no-home --bind {run} --pwd {run} docker://{image}",
}


PURE = {"requirements.txt": "six==1.17.0\n", "train.py": "import six; print(six.__version__)\n"}
SETUP = "from setuptools import setup; setup(name='mylib', version='1', py_modules=['mylib'])\n"


class TestOrdinaryProjects:
    @pytest.mark.parametrize("bundle", ["env", "archive"])
    def test_no_package_has_a_script(self, make_project, bundle: str) -> None:
        here = make_project({"name": "uv", "bundle": bundle}, PURE)
        assert here.gage("run", "train", "-q").succeeds().out == "1.17.0\n"

    def test_a_package_that_has_to_be_built_comes_as_a_wheel(self, make_project) -> None:
        use = "import docopt; print(docopt.__version__)\n"
        files = {"requirements.txt": "docopt==0.6.2\n", "train.py": use}
        for name in ("uv", "venv"):
            here = make_project({"name": name, "bundle": "wheels"}, files, folder=name)
            assert here.gage("run", "train", "-q").succeeds().out == "0.6.2\n"

    @pytest.mark.parametrize("line", ["-e ./lib", "./lib", "mylib @ file://{dir}/../outside"])
    def test_a_package_of_a_directory(self, make_project, line: str) -> None:
        use = "import mylib; print(mylib.X)\n"
        files = {"train.py": use, "lib/setup.py": SETUP, "lib/mylib.py": "X = 1\n"}
        files |= {"../outside/setup.py": SETUP, "../outside/mylib.py": "X = 2\n"}
        here = make_project("uv", files)
        here.write("requirements.txt", line.format(dir=here.dir) + "\n")
        expected = "2\n" if "outside" in line else "1\n"
        assert here.gage("run", "train", "-q").succeeds().out == expected
        assert not list(here.dir.rglob("*.egg-info"))

    def test_a_directory_called_build_is_source(self, make_project) -> None:
        files = {"requirements.txt": "./lib\n", "train.py": "import mylib.build; print('has it')\n"}
        setup = SETUP.replace("py_modules=['mylib']", "packages=['mylib', 'mylib.build']")
        files |= {"lib/setup.py": setup, "lib/mylib/__init__.py": ""}
        files |= {"lib/mylib/build/__init__.py": ""}
        here = make_project("uv", files, sourcecode="*")
        assert here.gage("run", "train", "-q").succeeds().out == "has it\n"

    def test_venv_says_what_it_cannot_pin(self, make_project) -> None:
        files = {"requirements.txt": "./lib\n", "lib/setup.py": SETUP, "lib/mylib.py": ""}
        here = make_project("venv", files)
        assert "mylib comes from file" in here.gage("stage", "train").fails(1, "runtime-failed").err

    def test_only_what_is_wanted_of_a_workspace(self, make_project) -> None:
        member = '[project]\nname = "opt"\nversion = "1"\ndependencies = ["docopt"]\n'
        member += '[build-system]\nrequires = ["setuptools"]\n'
        root = PROJECT.replace('more = ["markupsafe==3.0.2"]', 'more = ["opt"]')
        root += '[tool.uv.sources]\nopt = { path = "opt" }\n'
        files = {"opt/pyproject.toml": member, "opt/opt.py": "", "pyproject.toml": root}
        here = make_project("uv", {**TestProject.FILES, **files})
        uv(here, "lock")
        here.gage("run", "train", "-q").succeeds()
        packages = runtime_of(here.run())["packages"]
        assert sorted(packages) == ["tabulate", "words"]

    def test_settings_of_where_somebody_stands_do_not_count(self, make_project) -> None:
        here = make_project({"name": "uv", "bundle": "lock"}, own_cache=True)
        other = here.dir.parent / "other"
        other.mkdir()
        (other / "uv.toml").write_text("no-index = true\n")
        here.gage("-C", str(here.dir), "run", "train", "-q", cwd=other).succeeds()


class TestApart:
    """What an environment has is what its run gets, and nothing else."""

    def test_from_what_the_shell_puts_in_front(self, make_project, tmp_path: Path) -> None:
        (tmp_path / "tabulate.py").write_text("raise SystemExit('not this one')\n")
        here = make_project("uv")
        here.gage("run", "train", "-q", env={"PYTHONPATH": str(tmp_path)}).succeeds()

    def test_so_are_its_hooks(self, make_project, tmp_path: Path) -> None:
        (tmp_path / "tabulate.py").write_text("raise SystemExit('not this one')\n")
        look = "python -c 'import tabulate'"
        hooks = {"run": look, "stage-dependencies": look, "finalize": look}
        here = make_project("uv", exec=hooks)
        here.gage("run", "train", "-q", env={"PYTHONPATH": str(tmp_path)}).succeeds()

    def test_what_was_asked_of_uv_is_kept_without_passwords(self, make_project) -> None:
        here = make_project({"name": "uv", "bundle": "lock"}, own_cache=True)
        index = {"UV_INDEX_MINE_PASSWORD": "hunter2-and-more", "UV_PUBLISH_TOKEN": "hunter2"}
        stage(here, env=index)
        kept = [path for path in Path(here.env["GAGE_CACHE"]).rglob("*") if path.is_file()]
        assert any("uv python find" in path.read_text(errors="replace") for path in kept)
        assert not any(b"hunter2" in path.read_bytes() for path in kept)

    def test_but_for_what_the_operation_sets(self, make_project, tmp_path: Path) -> None:
        tool = tmp_path / "tools" / "mytool"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\necho mine\n")
        tool.chmod(0o755)
        path = f"{tool.parent}:/usr/bin:/bin"
        here = make_project("uv", exec="mytool", env={"PATH": path})
        assert here.gage("run", "train", "-q").succeeds().out == "mine\n"

    def test_from_what_was_added_in_the_cache(self, make_project) -> None:
        use = "import importlib.util as u; print(u.find_spec('added'))\n"
        files = {"requirements.txt": PACKAGES, "train.py": use}
        here = make_project({"name": "uv", "bundle": "archive"}, files, own_cache=True)
        here.gage("run", "train", "-q").succeeds()
        kept = Path(here.env["GAGE_CACHE"], "environments")
        for path in list(kept.rglob("tabulate/__init__.py")):
            (path.parent.parent / "added.py").write_text("")
        assert here.gage("run", "train", "-q").succeeds().out == "None\n"

    def test_what_a_run_has_is_not_cleared(self, make_project) -> None:
        use = "import time; print('begun', flush=True); time.sleep(4); import tabulate\n"
        files = {"requirements.txt": PACKAGES, "train.py": use}
        here = make_project({"name": "uv", "bundle": "archive"}, files, own_cache=True)
        started = here.begin("run", "train", "-q")
        assert started.stdout
        assert started.stdout.readline() == b"begun\n"
        here.gage("cache", "clear", "-y").succeeds()
        _, err = started.communicate(timeout=60)
        assert started.returncode == 0, err
        here.gage("cache", "clear", "-y").succeeds()
        assert list(Path(here.env["GAGE_CACHE"], "environments").iterdir()) == []

    def test_a_run_that_removes_its_environment_ends_as_it_does(self, make_project) -> None:
        here = make_project("uv", exec=["sh", "-c", "rm -rf .venv; exit 3"])
        here.gage("run", "train", "-q").exits(3)
        assert here.gage("list", "-a", "--json").json[0]["status"] == "failed"


class TestContainer:
    @pytest.mark.parametrize("engine", CALLED)
    def test_the_engine_is_called(self, make_project, tmp_path: Path, engine: str) -> None:
        here = make_project(
            {"name": "container", "image": IMAGE},
            {},
            exec=["sh", "-c", "echo $A $TOKEN; exit 3"],
            env={"A": "1"},
            secrets="TOKEN",
        )
        given = "A=$APPTAINERENV_A TOKEN=$APPTAINERENV_TOKEN " if engine == "apptainer" else ""
        path = tmp_path / "engine" / engine
        path.parent.mkdir()
        entrypoint = "" if engine == "apptainer" else "sh "
        path.write_text(ENGINE.format(set=given, entrypoint=entrypoint))
        path.chmod(0o755)
        # Nothing else, so that an engine that is here is not found.
        (path.parent / "sh").symlink_to("/bin/sh")
        env = {"PATH": str(path.parent), "TOKEN": "a-secret"}
        ran = here.gage("run", "train", "-q", env=env).exits(3)
        assert ran.out.startswith("1 ")
        run = here.run()
        user = f"{os.getuid()}:{os.getgid()}"
        expected = CALLED[engine].format(run=run, image=IMAGE, user=user).split()
        called = (run / "called").read_text().splitlines()
        command = ["sh", "-c", "echo $A $TOKEN; exit 3"]
        assert called == [*expected, *(command if engine == "apptainer" else command[1:])]
        assert runtime_of(run) == {"name": "container", "bundle": "image", "path": IMAGE}

    def test_without_an_engine_it_stays_staged(self, make_project) -> None:
        here = make_project({"name": "container", "image": IMAGE}, {})
        stage(here)
        failed = here.gage("start", "1", env={"PATH": "/nowhere"}).fails(125, "runtime-failed")
        assert "no podman, no docker, no apptainer" in failed.err
        assert here.gage("list", "--json").json[0]["status"] == "staged"

    @pytest.mark.parametrize("image", ["python:3.12", "python@sha256:12", "-x@sha256:" + "0" * 64])
    def test_an_image_without_a_digest(self, make_project, image: str) -> None:
        here = make_project({"name": "container", "image": image}, {})
        assert image in here.gage("stage", "train").fails(1, "runtime-failed").err

    def test_no_image(self, make_project) -> None:
        here = make_project("container", {})
        here.gage("stage", "train").fails(1, "runtime-failed")


def wheel(name: str) -> bytes:
    """Return a wheel of a package with one module."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "WHERE = 'my own index'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return packed.getvalue()


class TestOwnIndex:
    """An index that the project names is used where the environment is made, wherever that is."""

    NAME = "gageonlyhere"
    LOGIN: ClassVar = {"login": f"Basic {base64.b64encode(b'me:hunter2').decode()}"}
    PYPROJECT = (
        f'[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.10"\n'
        f'dependencies = ["{NAME}==1.0"]\n[[tool.uv.index]]\nname = "mine"\nurl = "{{index}}"\n'
    )

    @pytest.fixture
    def index(self) -> Iterator[WebServer]:
        """Serve an index with one package, to who logs in."""
        with serving() as web:
            data, path = wheel(self.NAME), f"/files/{self.NAME}-1.0-py3-none-any.whl"
            digest = hashlib.sha256(data).hexdigest()
            link = f'<a href="{path}#sha256={digest}" data-core-metadata="true">{path[7:]}</a>'
            page = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
            html = {"Content-Type": "text/html"}
            web.put(f"/simple/{self.NAME}/", page, headers=html, **self.LOGIN)
            web.put(path, data, **self.LOGIN)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                metadata = archive.read(f"{self.NAME}-1.0.dist-info/METADATA")
            web.put(f"{path}.metadata", metadata, **self.LOGIN)
            yield web

    @pytest.mark.parametrize(
        ("name", "file", "bundle"),
        [
            ("uv", "pyproject.toml", "lock"), ("uv", "pyproject.toml", "wheels"),
            ("uv", "uv.lock", "lock"), ("uv", "requirements.txt", "lock"),
            ("venv", "requirements.txt", "lock"), ("venv", "requirements.txt", "wheels"),
        ],
    )  # fmt: skip
    def test_is_used_at_start(
        self, make_project, index: WebServer, tmp_path: Path, name: str, file: str, bundle: str
    ) -> None:
        address = f"{index.base}/simple"
        within = address.replace("//", "//me:hunter2@")
        files = {"train.py": f"import {self.NAME}; print({self.NAME}.WHERE)\n"}
        if file == "requirements.txt":
            files[file] = f"--extra-index-url {within}\n{self.NAME}==1.0\n"
        else:
            files["pyproject.toml"] = self.PYPROJECT.format(index=within)
        here = make_project({"name": name, "bundle": bundle}, files, own_cache=True)
        if file == "uv.lock":
            uv(here, "lock")
        # Only the file that lists packages names it.
        run_dir = stage(here, env={"PIP_CACHE_DIR": str(tmp_path / "pip")})
        indexes = runtime_of(run_dir).get("indexes")
        named = {"name": "mine"} if file in ("pyproject.toml", "uv.lock") else {}
        assert indexes == ([{"url": address, **named}] if bundle == "lock" else None)
        for path in (self.meta_files(run_dir), (run_dir / ".runtime").rglob("*")):
            assert not any(b"hunter2" in each.read_bytes() for each in path if each.is_file())
        if bundle == "wheels":
            index.pages.clear()
        index.requests.clear()
        login = {"UV_INDEX_MINE_USERNAME": "me", "UV_INDEX_MINE_PASSWORD": "hunter2"}
        netrc = here.write("netrc", "machine 127.0.0.1 login me password hunter2\n", 0o600)
        caches = {"UV_CACHE_DIR": str(tmp_path / "there"), "PIP_CACHE_DIR": str(tmp_path / "pip2")}
        env = {**login, **caches, "NETRC": str(netrc)}
        assert here.gage("start", "1", "-q", env=env).succeeds().out == "my own index\n"
        assert bool(index.requests) == (bundle == "lock")

    def meta_files(self, run_dir: Path) -> Iterator[Path]:
        # What the operation is defined by is another matter.
        paths = run_dir.with_name(f"{run_dir.name}.meta").rglob("*")
        return (path for path in paths if path.name not in ("opdef.json", "uncommitted.patch"))


GREETING = f"#!/bin/sh\ncat {PLACEHOLDER}/share/greeting\n".encode()
# As a compiler writes them: strings that each end with a NUL, one of them a list.
STRINGS = b"\x7f\0%b/share/greeting:%b/etc\0\0end%b/lib\0\x01\xff" % ((PLACEHOLDER.encode(),) * 3)
GREET = """\
import os, subprocess
prefix = os.environ["CONDA_PREFIX"]
data = open(f"{prefix}/lib/strings", "rb").read()
place = prefix.encode()
assert len(data) == SIZE, len(data)
assert [each for each in data.split(b"\\0") if each] == [
    b"\\x7f", place + b"/share/greeting:" + place + b"/etc", b"end" + place + b"/lib", b"\\x01\\xff"
], data
print(subprocess.run(["greet"], check=True, capture_output=True, text=True).stdout, end="")
""".replace("SIZE", str(len(STRINGS)))
YML = "name: any\nchannels:\n  - {channel}\ndependencies:\n  - tabulate =0.9\n"


class TestConda:
    def only(self, here: Project, tmp_path: Path, *names: str) -> Path:
        """Let a project find these tools only; return where they are."""
        folder = tmp_path / f"only-{'-'.join(names)}"
        folder.mkdir()
        tools = here.env["PATH"].partition(":")[0]
        for name in names:
            (folder / name).symlink_to(f"{tools}/{name}")
        here.env["PATH"] = f"{folder}:{os.path.dirname(sys.executable)}:/usr/bin:/bin"
        return folder

    @pytest.mark.parametrize("tool", ["micromamba", "mamba", "conda"])
    def test_the_tool_is_called(
        self, make_project, tmp_path: Path, channel: Channel, tool: str
    ) -> None:
        use = "import tabulate; print(tabulate.__version__)\n"
        files = {"environment.yml": YML.format(channel=channel.address), "train.py": use}
        here = make_project({"name": "conda", "bundle": "lock"}, files, own_cache=True)
        self.only(here, tmp_path, tool)
        channel.called()
        assert here.gage("run", "train", "-q").succeeds().out == "0.9.0\n"
        solve, create = channel.called()
        path = str(here.run() / "environment.yml")
        command = ["create"] if tool == "micromamba" else ["env", "create"]
        assert solve[:-3] == [tool, *command, "--quiet", "--prefix"]
        assert solve[-2:] == ["--file", path]
        assert create[:-3] == [tool, "create", "--yes", "--quiet", "--prefix"]
        assert len(create[-3]) == 200
        assert create[-2:] == ["--file", str(here.run() / ".runtime" / "explicit.txt")]
        # What was decided holds for the next run, which has the environment too: until the next
        # ten minutes begin, which they do between two runs in one try at most.
        for _ in range(2):
            slot = time.time() // 600
            here.gage("run", "train", "-q").succeeds()
            channel.called()
            here.gage("run", "train", "-q").succeeds()
            called = channel.called()
            if time.time() // 600 == slot:
                break
        assert called == []

    def test_environment_yml_becomes_a_list(self, make_project, channel: Channel) -> None:
        files = {"environment.yml": YML.format(channel=channel.address)}
        here = make_project({"name": "conda", "bundle": "lock"}, files, own_cache=True)
        listed = (stage(here) / ".runtime" / "explicit.txt").read_text().splitlines()
        wanted = [*channel.explicit("python").splitlines(), *channel.explicit("tab").splitlines()]
        assert listed == [f"# platform: {subdir_here()}", "@EXPLICIT", wanted[2], wanted[5]]
        kept = {path.name for path in Path(here.env["GAGE_CACHE"]).iterdir()}
        assert kept <= {"system", "CACHEDIR.TAG"}, kept

    @pytest.mark.parametrize("bundle", ["archive", "lock"])
    def test_files_name_where_they_are(
        self, make_project, channel: Channel, tmp_path: Path, bundle: str
    ) -> None:
        modes = {"bin/greet": "text", "lib/strings": "binary"}
        files = {"bin/greet": GREETING, "lib/strings": STRINGS, "share/greeting": b"hello\n"}
        files["etc/conda/activate.d/greet.sh"] = b"exit 1\n"
        add_package(channel, "greet", "1.0", files, modes=modes)
        listed = channel.explicit("python", "greet")
        here = make_project(
            {"name": "conda", "bundle": bundle}, {"explicit.txt": listed, "train.py": GREET}
        )
        try:
            ran = here.gage("run", "train", "-q").succeeds()
            assert ran.out == "hello\n"
            assert ("greet.sh of etc/conda/activate.d/ will not" in ran.err) == (
                bundle == "archive"
            )
            # Of another length.
            cache = {"GAGE_CACHE": str(tmp_path / "another" / "cache")}
            assert here.gage("run", "train", "-q", env=cache).succeeds().out == "hello\n"
            deep = {"GAGE_CACHE": str(tmp_path / ("deep" * 30) / ("deep" * 10))}
            failed = here.gage("run", "train", env=deep).fails(125, "runtime-failed")
            assert "too deep" in failed.err
        finally:
            next(channel.folder.glob("*/greet-*")).unlink()

    def test_no_file_names_this_machine(self, make_project, tmp_path: Path) -> None:
        here = make_project("conda")
        run_dir = stage(here)
        unpacked = tmp_path / "unpacked"
        with tarfile.open(run_dir / ".runtime" / "environment.tar.gz") as archive:
            assert "bin/tabulate" in archive.getnames()
            for member in archive:
                archive.extract(member, unpacked)
        needles = [os.fsencode(each) for each in (here.dir, here.env["GAGE_CACHE"], sys.prefix)]
        files = [path for path in unpacked.rglob("*") if path.is_file()]
        found = {path for path in files if any(each in path.read_bytes() for each in needles)}
        assert len(files) > 500 and not found
        named = json.loads((run_dir / ".runtime" / "named.json").read_text())
        assert named["text"] == ["bin/tabulate"]

    def test_what_the_tools_keep_stays_theirs(self, make_project, channel: Channel) -> None:
        here = make_project("conda", own_cache=True)
        stage(here)
        kept = next((channel.tools.parent / "pkgs").rglob("tabulate/__init__.py"))
        made = next(Path(here.env["GAGE_CACHE"]).rglob("tabulate/__init__.py"))
        assert not os.path.samefile(kept, made)
        assert kept.stat().st_mode & 0o200 and not made.stat().st_mode & 0o222

    def test_the_list_has_no_credentials(self, make_project) -> None:
        listed = (
            "@EXPLICIT\nhttps://me:hunter2@example.org/t/tk-hunter2/mine/noarch/a-1-0.conda\n"
            f"https://example.org/mine/linux-64/b-2.0-h0_1.tar.bz2#{'0' * 32}\n"
        )
        here = make_project({"name": "conda", "bundle": "lock"}, {"env.lock": listed})
        runtime = {"name": "conda", "bundle": "lock", "from": "env.lock"}
        here.write("gage.json", json.dumps({"train": {"exec": "a", "runtime": runtime,
                                                      "sourcecode": "train.py"}}))  # fmt: skip
        staged = here.gage("stage", "train", "--json").succeeds()
        assert "no digest for a:" in staged.err
        run_dir = Path(staged.json["run_dir"])
        assert (run_dir / ".runtime" / "explicit.txt").read_text() == (
            "# platform: linux-64\n@EXPLICIT\nhttps://example.org/mine/noarch/a-1-0.conda\n"
            f"https://example.org/mine/linux-64/b-2.0-h0_1.tar.bz2#{'0' * 32}\n"
        )
        required = json.loads((here.meta(run_dir) / "requires.json").read_text())
        assert [each["name"] for each in required] == ["linux", "x86_64"]

    def test_without_a_tool_it_stays_staged(self, make_project) -> None:
        here = make_project({"name": "conda", "bundle": "lock"}, own_cache=True)
        here.env["PATH"] = here.env["PATH"].partition(":")[2]
        stage(here)
        failed = here.gage("start", "1").fails(125, "runtime-failed")
        assert "micromamba, mamba or conda" in failed.err
        assert here.gage("list", "--json").json[0]["status"] == "staged"
        here.write("gage.json", json.dumps({"train": {"exec": "a", "runtime": "conda"}}))
        failed = here.gage("stage", "train").fails(1, "runtime-failed")
        assert "none of micromamba, mamba, conda" in failed.err

    @pytest.mark.parametrize(
        ("runtime", "files", "said"),
        [
            ({"bundle": "env"}, {}, "cannot lie in a run that is moved"),
            ({"bundle": "wheels"}, {}, "no common way"),
            ({"python": "3.12"}, {}, "conda takes no python"),
            ({}, {}, "has no conda-"),
            ({"from": "none.txt"}, {}, "none.txt"),
            ({}, {"explicit.txt": "@EXPLICIT\nnumpy=1\n"}, "explicit.txt:2 is no address"),
            ({}, {"explicit.txt": "@EXPLICIT\n"}, "has no packages"),
            (
                {},
                {"explicit.txt": "@EXPLICIT\nhttps://c.org/osx-arm64/a-1-0.conda\n"},
                "is for osx-arm64",
            ),
            (
                {},
                {"environment.yml": "dependencies: [a, pip: [b]]\n"},
                "packages that pip installs",
            ),
            ({}, {"environment.yml": "a: [\n"}, "neither an explicit list nor"),
            (
                {},
                {"environment.yml": "channels:\n  - file:///nowhere\ndependencies:\n  - a\n"},
                "could not solve environment.yml",
            ),
        ],
    )
    def test_what_cannot_be(
        self, make_project, runtime: dict[str, str], files: dict[str, str], said: str
    ) -> None:
        here = make_project({"name": "conda", **runtime}, {"train.py": "", **files})
        failed = here.gage("stage", "train").fails(1, "runtime-failed")
        assert said in failed.err, failed.err


@pytest.mark.parametrize("length", [*range(20, 199)])
def test_a_directory_to_make_an_environment_in(length: int) -> None:
    from gage._internal.environments.prefixes import PLACEHOLDER, long_folder

    path = long_folder("/" + "x" * (length - 1))
    assert len(path) == len(PLACEHOLDER) == 200
    assert os.path.normpath(path) == path
    assert max(map(len, path[length:].split("/"))) <= 100


class TestFaults:
    def fails(self, make_project, runtime: Any, files: dict[str, str], said: str) -> None:
        here = make_project(runtime, {"train.py": TRAIN, **files})
        failed = here.gage("stage", "train").fails(1, "runtime-failed")
        assert said in failed.err, failed.err

    @pytest.mark.parametrize("name", ["uv", "venv"])
    def test_nothing_to_install(self, make_project, name: str) -> None:
        self.fails(make_project, name, {}, "pylock.toml")

    @pytest.mark.parametrize("name", ["uv", "venv"])
    def test_no_such_file(self, make_project, name: str) -> None:
        self.fails(make_project, {"name": name, "from": "other.txt"}, {}, "other.txt")

    @pytest.mark.parametrize("name", ["uv", "venv"])
    def test_no_such_package(self, make_project, name: str) -> None:
        files = {"requirements.txt": "gage-has-no-such-package==1\n"}
        self.fails(make_project, name, files, "gage-has-no-such-package")

    @pytest.mark.parametrize("name", ["uv", "venv"])
    def test_no_such_python(self, make_project, name: str) -> None:
        self.fails(make_project, {"name": name, "python": "3.2"}, {"requirements.txt": ""}, "3.2")

    def test_several_lists(self, make_project) -> None:
        files = {"requirements-a.txt": "", "requirements-b.txt": ""}
        self.fails(make_project, "uv", files, "requirements-a.txt, requirements-b.txt")

    def test_a_project_that_cannot_be_built(self, make_project) -> None:
        files = {"pyproject.toml": PROJECT.replace("src/words", "missing")}
        self.fails(make_project, "uv", files, "could not build")

    def test_a_pylock_that_is_none(self, make_project) -> None:
        self.fails(
            make_project,
            {"name": "uv", "from": "pylock.toml"},
            {"pylock.toml": "a ="},
            "pylock.toml",
        )

    @pytest.mark.parametrize(
        "text", ['packages = "x"', "[[packages]]\nname = 'a'\ndirectory = {}", "packages = [1]"]
    )
    def test_a_pylock_with_something_else(self, make_project, text: str) -> None:
        runtime = {"name": "uv", "from": "pylock.toml"}
        self.fails(make_project, runtime, {"pylock.toml": text}, "pylock.toml")

    def test_an_unknown_runtime(self, make_project) -> None:
        here = make_project("nix", {"train.py": ""})
        here.gage("stage", "train").fails(1, "unknown-plugin")

    def test_a_full_cache(self, make_project, small_disk) -> None:
        here = make_project("uv")
        cache = small_disk("size=300k")
        failed = here.gage("stage", "train", env={"GAGE_CACHE": str(cache)})
        assert failed.code == 1 and "Traceback" not in failed.err, failed
        assert "space" in failed.err
        assert not list(cache.glob("environments/*.part"))
        here.gage("run", "train", "-q").succeeds()
