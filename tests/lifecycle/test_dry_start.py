"""A dry start: sealed, of the import phase or a probe, and the run stays as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gage._internal.errors import IncompatibleSystem, NotStaged
from gage._internal.lifecycle.isolation import dry_start
from gage._internal.lifecycle.isolation.dry_start import sealed_probe
from gage._internal.lifecycle.isolation.import_phase import find_import_phase
from gage._internal.lifecycle.isolation.options import RUNGS, Isolated
from gage._internal.lifecycle.start import start_run
from gage._internal.store.status import run_status
from gage._internal.types import Run
from runs_on_disk import files_below, read

LOCK = "requirements.txt"


def contents(run: Run) -> dict[str, tuple[object, ...]]:
    """Return what a run consists of: of each file content, mode and times."""
    found: dict[str, tuple[object, ...]] = {}
    for folder in (run.run_dir, run.run_dir + ".meta"):
        for name in (*files_below(folder), "."):
            path = Path(folder, name)
            stat = path.lstat()
            data = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (data, stat.st_mode, stat.st_mtime_ns)
    return found


@pytest.fixture(params=RUNGS)
def wanted(request: pytest.FixtureRequest) -> Isolated:
    return Isolated(rung=request.param)


class TestImports:
    def test_only_the_imports_of_a_script_are_executed(
        self, make_staged, project_dir: Path, wanted: Isolated
    ) -> None:
        (project_dir / "src").mkdir()
        (project_dir / "src" / "part.py").write_text("print('part imported')\n")
        (project_dir / "src" / "main.py").write_text(
            "'''A script.'''\n"
            "from __future__ import annotations\n"
            "import part\n"
            "try:\n"
            "    import no_such_module_1\n"
            "except ImportError:\n"
            "    no_such_module_1 = None\n"
            "from json import dumps as d, loads\n"
            "print('trained')\n"
            "open('model', 'w').write('x')\n"
            "import os\n"
        )
        run = make_staged("python3", "-u", "-W", "error", "src/main.py", "--lr", "1")
        before = contents(run)
        done = sealed_probe(run, None, wanted)
        assert (done.error, done.exit_code, done.output) == (None, 0, b"part imported\n")
        assert done.what == "imports of python3 -u -W error src/main.py --lr 1"
        assert (done.rung, done.network, done.watched) == (wanted.rung, "open", True)
        assert contents(run) == before
        assert run_status(run) == "staged"
        assert start_run(run).exit_code == 0

    def test_a_missing_module_is_told(
        self, make_staged, project_dir: Path, wanted: Isolated
    ) -> None:
        (project_dir / "main.py").write_text("import os\nimport no_such_module_1\n")
        done = sealed_probe(make_staged("python3", "main.py"), None, wanted)
        assert done.exit_code == 1
        assert "No module named 'no_such_module_1'" in (done.error or "")
        assert b'main.py", line 2' in done.output

    def test_what_an_import_reaches_is_named(
        self, make_staged, project_dir: Path, wanted: Isolated
    ) -> None:
        (project_dir / "main.py").write_text("import settings\n")
        (project_dir / "data.json").write_text("{}")
        (project_dir / "settings.py").write_text(
            f"try:\n    open('{project_dir}/data.json')\nexcept OSError:\n    pass\n"
        )
        done = sealed_probe(make_staged("python3", "main.py"), None, wanted)
        assert done.exit_code == 0
        assert done.reached == [f"{project_dir}/data.json"]
        assert f"reached {project_dir}/data.json" in (done.error or "")

    @pytest.mark.parametrize("args", [["-m", "pkg"], ["-m", "pkg.train"], ["-Bm", "pkg.train"]])
    def test_of_a_module(self, make_staged, project_dir: Path, args: list[str]) -> None:
        (project_dir / "pkg").mkdir()
        (project_dir / "pkg" / "__init__.py").write_text("print('pkg')\n")
        (project_dir / "pkg" / "other.py").write_text("print('other')\n")
        for name in ("train", "__main__"):
            code = "from . import other\nfrom pkg.other import __name__\nprint('trained')\n"
            (project_dir / "pkg" / f"{name}.py").write_text(code)
        done = sealed_probe(make_staged("python3", *args, "x"))
        assert (done.error, done.output) == (None, b"pkg\nother\n")

    def test_of_code(self, make_staged) -> None:
        done = sealed_probe(make_staged("python3", "-c", "import json; import no_such_1; 1 / 0"))
        assert "No module named 'no_such_1'" in (done.error or "")
        done = sealed_probe(make_staged("python3", "-c", "import json; 1 / 0"))
        assert done.error is None

    def test_the_run_dir_cannot_be_written_to(
        self, make_staged, project_dir: Path, wanted: Isolated
    ) -> None:
        (project_dir / "main.py").write_text("import makes\n")
        (project_dir / "makes.py").write_text("open('made', 'w')\n")
        run = make_staged("python3", "main.py")
        assert "made" in (sealed_probe(run, None, wanted).error or "")
        assert not Path(run.run_dir, "made").exists()

    def test_an_environment_of_the_run(
        self, make_staged, project_dir: Path, wanted: Isolated
    ) -> None:
        (project_dir / LOCK).write_text("")
        (project_dir / "main.py").write_text("import json, sys\nprint(sys.prefix)\n")
        opdef = {"runtime": {"name": "venv", "requirements": LOCK}}
        run = make_staged("python", "main.py", opdef=opdef)
        before = contents(run)
        done = sealed_probe(run, "python -c 'import sys; print(sys.prefix)'", wanted)
        assert (done.error, done.output[-13:]) == (None, b"/environment\n")
        assert sealed_probe(run, None, wanted).error is None
        assert contents(run) == before
        assert start_run(run, sealed=wanted).exit_code == 0
        assert read(run, "output/run") == f"{run.run_dir}/.venv\n"


class TestPrograms:
    def test_that_are_there(self, make_staged, project_dir: Path, wanted: Isolated) -> None:
        (project_dir / "go.sh").write_text("#!/usr/bin/env sh\ntouch ran\n")
        (project_dir / "go.sh").chmod(0o755)
        run = make_staged("sh", "-c", "./go.sh && ls | sort >x")
        done = sealed_probe(run, None, wanted)
        assert (done.what, done.error) == ("sh, ./go.sh, ls, sort", None)
        assert files_below(run.run_dir) == {"go.sh"}

    def test_that_are_not(
        self, make_staged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: Isolated
    ) -> None:
        tool = tmp_path / "bin" / "tool-1"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
        done = sealed_probe(make_staged("sh", "-c", "ls; tool-1"), None, wanted)
        assert done.exit_code == 127
        assert done.reached == [str(tool)]

    def test_whose_interpreter_is_outside(
        self, make_staged, project_dir: Path, tmp_path: Path, wanted: Isolated
    ) -> None:
        interpreter = tmp_path / "bin" / "interpreter"
        interpreter.parent.mkdir()
        interpreter.symlink_to("/bin/sh")
        (project_dir / "go").write_text(f"#!{interpreter}\n")
        (project_dir / "go").chmod(0o755)
        done = sealed_probe(make_staged("./go"), None, wanted)
        assert done.exit_code
        assert str(interpreter) in (done.error or "")

    def test_whose_library_is_outside(
        self,
        make_staged,
        project_dir: Path,
        tmp_path: Path,
        wanted: Isolated,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        libraries = tmp_path / "libraries"
        libraries.mkdir()
        (tmp_path / "a.c").write_text("int a(void) { return 0; }\n")
        (tmp_path / "b.c").write_text("int a(void); int main(void) { return a() + 9; }\n")
        library, program = libraries / "libgage1.so", project_dir / "program"
        subprocess.run(["cc", "-shared", "-o", library, tmp_path / "a.c"], check=True)
        link = [f"-L{libraries}", "-lgage1"]
        subprocess.run(["cc", "-o", program, tmp_path / "b.c", *link], check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
        run = make_staged("./program", opdef={"sourcecode": "*"})
        assert start_run(run).exit_code == 9
        run = make_staged("./program", opdef={"sourcecode": "*"})
        done = sealed_probe(run, None, wanted)
        assert "error while loading shared libraries: libgage1.so" in (done.error or "")
        library.rename(project_dir / library.name)
        env = {"LD_LIBRARY_PATH": "."}
        run = make_staged("./program", opdef={"sourcecode": "*"}, env=env)
        # It is not executed: it would exit with 9.
        assert sealed_probe(run, None, wanted).exit_code == 0


class TestProbe:
    def test_is_executed_in_the_run_dir(
        self, make_staged, project_dir: Path, wanted: Isolated
    ) -> None:
        (project_dir / "a.txt").write_text("a")
        run = make_staged("true")
        done = sealed_probe(run, "cat a.txt && exit 3", wanted)
        assert (done.exit_code, done.output) == (3, b"a")
        assert done.error == "exited with 3\n  a"
        assert sealed_probe(run, ["cat", "a.txt"], wanted).error is None

    def test_network(self, make_staged, wanted: Isolated) -> None:
        code = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=9)"
        done = sealed_probe(
            make_staged("true"), ["python3", "-c", code], wanted._replace(network=False)
        )
        assert done.network == "closed"
        assert "unreachable" in (done.error or "")

    def test_leaves_nothing_behind(
        self, make_staged, wanted: Isolated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        place = tmp_path / "temporary"
        place.mkdir()
        monkeypatch.setenv("TMPDIR", str(place))
        run = make_staged("true")
        done = sealed_probe(
            run, "touch $HOME/x $TMPDIR/y; sleep 1000 >/dev/null 2>&1 & true", wanted
        )
        assert done.error is None
        assert os.listdir(place) == []

    def test_does_not_end_the_run_that_is_started_meanwhile(self, make_staged) -> None:
        run = make_staged("sh", "-c", "echo ready; sleep 1000")
        start = (
            "import sys; from gage._internal.lifecycle.start import start_run;"
            "from gage._internal.types import Run;"
            "start_run(Run(*sys.argv[1:]), lambda stream, data: print(data, flush=True))"
        )
        command = [sys.executable, "-c", start, run.id, run.run_dir]
        started = []

        def begin(*args: object) -> object:
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            started.append(process)
            assert process.stdout.readline() == b"b'ready\\n'\n"
            return find(*args)

        find = dry_start.find_import_phase
        try:
            dry_start.find_import_phase = begin  # type: ignore[assignment]
            assert sealed_probe(run).error is None
            assert run_status(run) == "running"
        finally:
            dry_start.find_import_phase = find
            started[0].terminate()
            started[0].communicate(timeout=60)


def test_a_run_that_is_not_staged_cannot_be_tried(make_staged, make_initialized) -> None:
    run = make_staged("true")
    start_run(run)
    for each in (run, make_initialized("true")):
        with pytest.raises(NotStaged):
            sealed_probe(each)


def test_nor_one_that_the_system_is_not_for(make_staged) -> None:
    with pytest.raises(IncompatibleSystem):
        sealed_probe(make_staged("no-such-program-1"))


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["python3", "a.py"], ["script", "a.py"]),
        (["python", "-X", "dev", "-O", "a.py", "-m", "x"], ["script", "a.py", "-m", "x"]),
        (["/usr/bin/python3.11", "-m", "a.b", "--x"], ["module", "a.b", "--x"]),
        (["python3", "-Ic", "import x", "y"], ["code", "import x", "y"]),
    ],
)
def test_the_import_phase_of_a_python(args: list[str], kind: list[str]) -> None:
    found = find_import_phase(args)
    assert found and found[0] == args[0]
    assert found[-len(kind) :] == kind
    assert found[-len(kind) - 2] == "-c"


@pytest.mark.parametrize("args", [["sh", "a.sh"], ["python3"], ["python3", "-"], ["python3", "-V"]])
def test_what_has_none(args: list[str]) -> None:
    assert find_import_phase(args) is None
