"""The leak scan: what would break elsewhere is named, and what would not is left alone."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gage._internal.errors import LeakFound
from gage._internal.lifecycle.elf import ElfPath, find_elf_paths
from gage._internal.lifecycle.leaks.mentions import iter_mentions
from gage._internal.lifecycle.leaks.places import Place, Places, find_places
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store.record import read_record
from gage._internal.store.status import run_status
from gage._internal.types import Run
from runs_on_disk import read

_MARK = " Would break elsewhere: "


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory that the project is not in, and no environment."""
    path = tmp_path / "homes" / "me"
    path.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(path))
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def write(project_dir: Path) -> Callable[..., Path]:
    def write(name: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        path = project_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def leaks(make_staged: Callable[..., Run]) -> Callable[..., list[str]]:
    """Return what stages the project and returns its leaks, as the runner log has them."""

    def leaks(*args: str, **options: Any) -> list[str]:
        return leaks_of(make_staged(*(args or ("true",)), **options))

    return leaks


def leaks_of(run: Run) -> list[str]:
    lines = read(run, "log/runner").splitlines()
    return [line.partition(_MARK)[2] for line in lines if _MARK in line]


def unsearched(run: Run) -> list[str]:
    words = ("Did not look", "Could not look", "Looked for leaks")
    lines = [line.partition(" ")[2] for line in read(run, "log/runner").splitlines()]
    return [line for line in lines if line.startswith(words)]


def faults(leaks: list[str]) -> list[str]:
    """Return what is wrong of each leak, without the remedy."""
    return [leak.partition(";")[0] for leak in leaks]


# Text of source code and settings.


def test_a_path_of_the_project_in_source_code(leaks, write, project_dir: Path) -> None:
    write("data/a.csv", "1")
    write("train.py", f'import os\n\nopen("{project_dir}/data/a.csv")\n')
    (leak,) = leaks()
    assert leak == (
        f"train.py:3: {project_dir}/data/a.csv is in the project;"
        " write data/a.csv: a run starts in its own copy of the project"
    )


def test_the_remedy_for_a_path_that_is_not_staged(leaks, write, project_dir: Path) -> None:
    write("data/a.bin", b"\0")
    write("train.py", f'open("{project_dir}/data/a.bin")\n')
    (leak,) = leaks()
    assert leak.endswith(
        '; write data/a.bin and declare it, depends = { project-files = "data/a.bin" }'
    )


def test_a_path_of_the_home_directory_in_settings(leaks, write, home: Path) -> None:
    write("conf/model.yaml", f"# model\n\ncache: {home}/models  # big\n")
    assert faults(leaks()) == [f"conf/model.yaml:3: {home}/models is in the home directory"]


def test_a_path_of_the_active_environment(
    leaks, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "envs" / "ml"))
    write("run.sh", f"set -e\n. {tmp_path}/envs/ml/bin/activate\n")
    assert faults(leaks()) == [f"run.sh:2: {tmp_path}/envs/ml/bin/activate is in an environment"]


def test_an_environment_in_the_project_is_called_one(leaks, write, project_dir: Path) -> None:
    write("venv/pyvenv.cfg", "home = /usr/bin\n")
    write("run.sh", f"{project_dir}/venv/bin/python train.py\n")
    assert faults(leaks()) == [f"run.sh:1: {project_dir}/venv/bin/python is in an environment"]


def test_the_project_by_its_other_name(
    make_initialized, write, project_dir: Path, tmp_path: Path
) -> None:
    """A project that is reached through a link may be named either way."""
    (tmp_path / "alias").symlink_to(project_dir)
    write("a.sh", f"cat {project_dir}/x {tmp_path}/alias/y\n")
    run = make_initialized("true")
    stage_run(run, str(tmp_path / "alias"))
    assert [fault.split()[1] for fault in faults(leaks_of(run))] == [
        f"{project_dir}/x",
        f"{tmp_path}/alias/y",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{p}2/a",
        "{p}-old/a",
        "{p}.bak",
        "/mnt{p}/a",
        "${{ROOT}}{p}/a",
        "https://example.org{p}/a",
        "{p}é/a",
        "nothing",
    ],
)
def test_what_only_looks_like_the_project(leaks, write, project_dir: Path, text: str) -> None:
    write("a.sh", "cat " + text.format(p=project_dir) + "\n")
    assert leaks() == []


@pytest.mark.parametrize(
    "text",
    ["{p}", "'{p}/a'", '"{p}/a"', "x={p}/a", "-I{p}/a", "file://{p}/a", "a:{p}/a", "({p}/a)"],
)
def test_what_the_project_may_stand_beside(leaks, write, project_dir: Path, text: str) -> None:
    write("a.sh", "cat " + text.format(p=project_dir) + "\n")
    target = f"{project_dir}/a" if "/a" in text else project_dir
    assert faults(leaks()) == [f"a.sh:1: {target} is in the project"]


def test_comments_and_docstrings_are_for_people(leaks, write, project_dir: Path) -> None:
    write(
        "a.py",
        f'"""See {project_dir}/a."""\n'
        f'x = "y"  # {project_dir}/b\n'
        f"def f():\n    '''\n    {project_dir}/c\n    '''\n",
    )
    write("a.sh", f"  # {project_dir}/d\n")
    write("a.c", f"// {project_dir}/e\n")
    write("README.md", f"cd {project_dir}/f\n")
    write(".vscode/settings.json", f'{{"python": "{project_dir}/g"}}')
    assert leaks(opdef={"sourcecode": ["*", ".vscode"]}) == []


def test_strings_of_python_are_found_on_their_lines(leaks, write, project_dir: Path) -> None:
    p = project_dir
    write(
        "a.py",
        f'"""Doc."""\nx = 1\ny = """\n{p}/a\n"""  # {p}/b\nz = f"{p}/{{x}}"\nw = f"{{x}}{p}/c"\n'
        f'v = b"{p}/d"\n',
    )
    assert [fault.split()[:2] for fault in faults(leaks())] == [
        ["a.py:4:", f"{p}/a"],
        ["a.py:6:", f"{p}"],
        ["a.py:8:", f"{p}/d"],
    ]


def test_python_that_cannot_be_parsed_is_searched_as_text(leaks, write, project_dir: Path) -> None:
    write("a.py", f"print '{project_dir}/a'\n# {project_dir}/b\n")
    assert faults(leaks()) == [f"a.py:1: {project_dir}/a is in the project"]


def test_an_include_is_no_comment(leaks, write, project_dir: Path) -> None:
    write("a.c", f'#include "{project_dir}/a.h"\n')
    assert faults(leaks()) == [f"a.c:1: {project_dir}/a.h is in the project"]


def test_the_code_of_a_notebook_counts_and_its_output_does_not(
    leaks, write, project_dir: Path
) -> None:
    cells = [
        {"cell_type": "markdown", "source": [f"{project_dir}/a\n"]},
        {
            "cell_type": "code",
            "source": [f"# {project_dir}/b\n", f'open("{project_dir}/c")'],
            "outputs": [{"text": [f"no file {project_dir}/d\n"]}],
        },
    ]
    text = json.dumps({"cells": cells, "metadata": {}}, indent=1)
    write("a.ipynb", text)
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "/c" in each)
    assert faults(leaks()) == [f"a.ipynb:{line}: {project_dir}/c is in the project"]


def test_binary_files_are_not_looked_into_and_that_is_said(
    make_staged, write, project_dir: Path
) -> None:
    write("model.bin", b"\0" + os.fsencode(project_dir) + b"/a")
    write("other.bin", b"\0nothing")
    # Only tracebacks show the path that compiled code was made of.
    write("code.pyc", b"\0" + os.fsencode(project_dir) + b"/code.py")
    run = make_staged("true", opdef={"sourcecode": ["*.bin", "*.pyc"]})
    assert leaks_of(run) == []
    (sentence,) = unsearched(run)
    assert sentence.startswith("Did not look into model.bin: binary, and has a path of the project")


def test_of_a_large_file_the_beginning_is_searched_and_that_is_said(
    make_staged, write, project_dir: Path
) -> None:
    line = f"{project_dir}/a\n"
    rest = "x" * 99 + "\n"
    write("early.txt", line + rest * 11_000)
    write("late.txt", rest * 11_000 + line)
    write("small.txt", rest)
    run = make_staged("true")
    assert faults(leaks_of(run)) == [f"early.txt:1: {project_dir}/a is in the project"]
    assert unsearched(run) == ["Looked for leaks in the first MiB only of early.txt, late.txt"]


def test_a_file_full_of_paths_is_told_of_in_few_lines(leaks, write, project_dir: Path) -> None:
    write("list.csv", "".join(f"{project_dir}/{n}.png,cat\n" for n in range(500)))
    found = leaks()
    assert len(found) == 20
    assert faults(found)[0] == f"list.csv:1: {project_dir}/0.png is in the project"
    assert faults(found)[-1].endswith("/19.png is in the project, and 480 more lines are alike")


def test_many_files_are_searched_where_processes_help_to_copy(
    leaks, write, project_dir: Path
) -> None:
    for number in range(500):
        write(f"d{number % 7}/f{number}.txt", f"{project_dir}/x\n" if number % 100 == 0 else "y")
    assert sorted(leak.split(":")[0] for leak in leaks()) == sorted(
        f"d{number % 7}/f{number}.txt" for number in range(0, 500, 100)
    )


def test_what_config_wrote_into_a_file_is_known_by_its_name(
    leaks, write, project_dir: Path, home: Path
) -> None:
    write("a.py", f'path = "{home}/old"\nother = 1\n')
    found = leaks(opdef={"config": "a.py"}, config={"path": f"{project_dir}/new", "other": 1})
    assert faults(found) == [f"a.py:1: config path: {project_dir}/new is in the project"]


def test_what_a_hook_wrote_is_searched(leaks, write, home: Path) -> None:
    write("a.txt", "x\n")
    hook = 'echo "$HOME/x" >made.txt; echo "$RUN_DIR/a.txt" >here.txt; echo "$HOME/y" >>a.txt'
    found = faults(leaks(opdef={"exec": {"stage-runtime": hook}}))
    assert [fault.split()[0] for fault in found] == ["a.txt:2:", "here.txt:1:", "made.txt:1:"]
    assert found[1].endswith("/a.txt is where the run is now")


def test_names_and_content_may_be_anything(make_staged, write, project_dir: Path) -> None:
    name = os.fsdecode(b"odd\n\xff name.sh")
    (project_dir / name).write_bytes(b"\xff\xfe " + os.fsencode(project_dir) + b"/\xff\n")
    write("broken.so", b"\x7fELF" + b"\xff" * 100, 0o755)
    write("direct_url.json", "[")
    write("a.ipynb", f'{{"cells": 1, "x": "{project_dir}/b"}}')
    run = make_staged("true", opdef={"sourcecode": "*"})
    assert faults(leaks_of(run)) == [
        f"a.ipynb:1: {project_dir}/b is in the project",
        f"odd\\n\\xff name.sh:1: {project_dir}/\\xff is in the project",
    ]
    (sentence,) = unsearched(run)
    assert sentence.startswith("Could not look for leaks in direct_url.json: ")
    assert run_status(run) == "staged"


# Places.


@pytest.mark.parametrize("name", ["/", "/tmp", "/usr", "/nonexistent"])
def test_a_home_directory_that_is_nobodys_own_is_no_place(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", name)
    found = find_places("/somewhere/run", None)
    assert name not in [place.path for place in found.all]
    assert found.find("/tmp/x") is None


def test_a_short_name_needs_something_there() -> None:
    """`/app` is a directory in a container, and the beginning of many addresses."""
    places = Places([Place("project", "/proc")])
    texts = [
        mention.target for mention in iter_mentions(places, b"/proc/self/x /proc/no-such /proc")
    ]
    assert texts == ["/proc/self/x"]
    assert places.needles() == [b"/proc/"]


def test_needles_are_as_few_as_will_do() -> None:
    places = Places(
        [
            Place("project", "/home/me/project"),
            Place("home", "/home/me"),
            Place("environment", "/envs/ml"),
            Place("run", "/runs/1"),
        ]
    )
    assert places.needles() == [b"/home/me", b"/envs/ml"] or places.needles() == [
        b"/envs/ml",
        b"/home/me",
    ]
    assert places.find("/home/me/project/x") == Place("project", "/home/me/project")
    assert places.find("/home/me/projects") == Place("home", "/home/me")
    assert places.find("/home/mean") is None


# Interpreters.


def test_the_interpreter_of_a_script(leaks, write, tmp_path: Path, home: Path) -> None:
    (tmp_path / "envs" / "ml" / "conda-meta").mkdir(parents=True)
    write("a.sh", f"#!{home}/bin/python\n", 0o755)
    write("b", f"#! {tmp_path}/envs/ml/bin/python -u\n", 0o755)
    write("c", f"#!/bin/sh\n'''exec' \"{home}/long name/python\" \"$0\" \"$@\"\n' '''\n", 0o755)
    found = leaks()
    assert faults(found) == [
        f"a.sh:1: its interpreter: {home}/bin/python is in the home directory",
        f"b:1: its interpreter: {tmp_path}/envs/ml/bin/python is in an environment",
        f"c:2: its interpreter: {home}/long is in the home directory",
    ]
    assert "#!/usr/bin/env PROGRAM" in found[1]


def test_interpreters_of_the_system_and_scripts_that_are_not_executed(
    leaks, write, home: Path
) -> None:
    write("a", "#!/bin/sh\n", 0o755)
    write("b", "#!/usr/bin/env python3\n", 0o755)
    write("c", "#!/usr/local/bin/python\n", 0o755)
    write("d", "#!relative/python\n", 0o755)
    write("e", "#!\n", 0o755)
    write("f.py", f"#!{home}/bin/python\nprint(1)\n")
    assert leaks() == []


# What installers write.


def test_path_files_and_editable_installs(leaks, write, tmp_path: Path, project_dir: Path) -> None:
    write("lib/a.pth", f"# comment\n{project_dir}/src\nsub\n/usr/lib/python3/x\n")
    write("lib/b.pth", "../../elsewhere\n")
    write("lib/__editable__.pkg-1.pth", f"{tmp_path}/pkg/src\n")
    write("lib/pkg.egg-link", f"{tmp_path}/pkg\n../../../\n")
    write("lib/c.pth", f"import sys; sys.path.append('{project_dir}/x')\n")
    write("lib/d.pth", "import site\n")
    editable = {"url": f"file://{tmp_path}/my%20pkg", "dir_info": {"editable": True}}
    write("lib/pkg.dist-info/direct_url.json", json.dumps(editable))
    copied = {"url": f"file://{tmp_path}/my%20pkg", "dir_info": {}}
    write("lib/copied.dist-info/direct_url.json", json.dumps(copied))
    archive = {"url": f"file://{project_dir}/dist/x.whl", "archive_info": {}}
    write("lib/x.dist-info/direct_url.json", json.dumps(archive))
    found = leaks(opdef={"sourcecode": "*"})
    assert faults(found) == [
        f"lib/__editable__.pkg-1.pth:1: {tmp_path}/pkg/src is outside of the run",
        f"lib/a.pth:2: {project_dir}/src is in the project",
        "lib/b.pth:1: ../../elsewhere is outside of the run",
        f"lib/c.pth:1: {project_dir}/x is in the project",
        f"lib/pkg.dist-info/direct_url.json: {tmp_path}/my pkg is outside of the run",
        f"lib/pkg.egg-link:1: {tmp_path}/pkg is outside of the run",
    ]
    assert "not as editable" in found[0] and "not as editable" in found[-1]


def test_the_python_that_an_environment_was_made_of(leaks, write, home: Path) -> None:
    for folder, text in [
        ("a", f"home = {home}/.pyenv/bin\ncommand = {home}/python -m venv x\n"),
        ("b", "home = /usr/bin\n"),
        ("c", "Home=/opt/python/bin\n"),
        ("d", "home =\nversion = 3\n"),
    ]:
        write(f"kept/{folder}.txt", text)
    hook = "for n in a b c d; do mkdir $n; mv kept/$n.txt $n/pyvenv.cfg; done"
    assert faults(leaks(opdef={"exec": {"stage-runtime": hook}})) == [
        f"a/pyvenv.cfg:1: home: {home}/.pyenv/bin is in the home directory",
        "c/pyvenv.cfg:1: home: /opt/python/bin is outside of the run",
    ]


# Links.


def test_links_that_hooks_made(leaks, write, tmp_path: Path, project_dir: Path) -> None:
    write("data.txt", "x")
    hook = (
        "ln -s $PROJECT_DIR/data.txt a; ln -s ../../x b; ln -s /usr/bin/env c; ln -s data.txt d;"
        f" ln -s {tmp_path}/else e; ln -s gone f; mkdir -p g/h; ln -s ../../data.txt g/h/i"
    )
    assert faults(leaks(opdef={"exec": {"stage-dependencies": hook}})) == [
        f"a: a link: {project_dir}/data.txt is in the project",
        "b: a link: ../../x is outside of the run",
        f"e: a link: {tmp_path}/else is outside of the run",
        "f: a link: gone is needed and not staged",
    ]


def test_a_link_to_what_was_not_selected(leaks, write, project_dir: Path) -> None:
    write("data/v1.bin", b"\0")
    write("data/v1.txt")
    for name, target in [
        ("latest", "data/v1.bin"),
        ("text", "data/v1.txt"),
        ("folder", "data"),
        ("broken", "no-such"),
        ("checkpoint", "state.bin"),
    ]:
        (project_dir / name).symlink_to(target)
    write("state.bin", b"\0")
    found = leaks(opdef={"writable": "state.bin"})
    assert faults(found) == ["latest: a link: data/v1.bin is needed and not staged"]
    assert found[0].endswith("; stage data/v1.bin too, or leave the link out")


# Native code.


def elf_file(
    runpath: bytes = b"",
    interpreter: bytes = b"",
    *,
    bits: int = 64,
    order: str = "<",
    tag: int = 29,
) -> bytes:
    """Return an ELF file that has a dynamic section and nothing else."""
    is_64 = bits == 64
    word = "Q" if is_64 else "I"
    strings = b"\0libm.so.6\0" + runpath + b"\0"
    header, program = (64, 56) if is_64 else (52, 32)
    at = header + 4 * program
    address = 0x10000
    entries = [(5, address + at), (1, 1), (tag, 11), (0, 0), (tag, 11)]
    dynamic = b"".join(struct.pack(f"{order}{word}{word}", *entry) for entry in entries)

    def segment(kind: int, start: int, size: int) -> bytes:
        if is_64:
            return struct.pack(
                f"{order}IIQQQQQQ", kind, 4, start, address + start, 0, size, size, 1
            )
        return struct.pack(f"{order}IIIIIIII", kind, start, address + start, 0, size, size, 4, 1)

    tail = strings + dynamic + interpreter + b"\0"
    segments = [
        segment(1, 0, 4).replace(struct.pack(f"{order}{word}", address), bytes(8 if is_64 else 4)),
        segment(1, 0, at + len(tail)),
        segment(2, at + len(strings), len(dynamic)),
        segment(3, at + len(strings) + len(dynamic), len(interpreter) + 1),
    ]
    ident = b"\x7fELF" + bytes([2 if is_64 else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    rest = struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH",
        *(3, 62, 1, 0, header, 0, 0, header, program, 4, 0, 0, 0),
    )
    return ident + rest + b"".join(segments) + tail


def elf_paths(path: Path, data: bytes) -> list[ElfPath]:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return find_elf_paths(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_elf_files_of_each_kind(tmp_path: Path, bits: int, order: str) -> None:
    data = elf_file(b"/a/lib:$ORIGIN/../lib:", b"/lib/ld.so", bits=bits, order=order, tag=15)
    assert elf_paths(tmp_path / "a.so", data) == [
        ElfPath("interpreter", "/lib/ld.so"),
        ElfPath("NEEDED", "libm.so.6"),
        ElfPath("RPATH", "/a/lib"),
        ElfPath("RPATH", "$ORIGIN/../lib"),
    ]


def test_the_paths_that_a_loader_uses(
    leaks, write, home: Path, project_dir: Path, tmp_path: Path
) -> None:
    write("a/lib.so.1", elf_file(os.fsencode(f"$ORIGIN:/usr/lib:{home}/lib")))
    write("b/tool", elf_file(b"$ORIGIN", os.fsencode(f"{project_dir}/ld.so")), 0o755)
    write("c.so", elf_file(b"$ORIGIN/../lib:/usr/lib"))
    (tmp_path / "envs" / "ml" / "conda-meta").mkdir(parents=True)
    write("e.so", elf_file(os.fsencode(f"{tmp_path}/envs/ml/lib")))
    # A path in what a debugger reads is none that a loader uses.
    write("d.so", elf_file(b"$ORIGIN") + os.fsencode(f"{project_dir}/src/d.c") + b"\0")
    assert faults(leaks(opdef={"sourcecode": "*"})) == [
        f"a/lib.so.1: its RUNPATH: {home}/lib is in the home directory",
        f"b/tool: its interpreter: {project_dir}/ld.so is in the project",
        f"e.so: its RUNPATH: {tmp_path}/envs/ml/lib is in an environment",
    ]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler")
def test_a_library_that_a_compiler_made(leaks, write, home: Path, project_dir: Path) -> None:
    write("a.c", "int a(void) { return 1; }\n")
    for name, flags in [("one.so", [f"-Wl,-rpath,{home}/lib"]), ("two.so", ["-Wl,-rpath,$ORIGIN"])]:
        subprocess.run(
            ["cc", "-shared", "-g", "-o", name, "a.c", *flags], cwd=project_dir, check=True
        )
    (fault,) = faults(leaks(opdef={"sourcecode": "*"}))
    assert fault.endswith(f"PATH: {home}/lib is in the home directory")


WHOLE = elf_file(b"/a/lib", b"/lib/ld.so")


@given(
    st.integers(0, len(WHOLE)),
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=12),
)
@example(len(WHOLE), [])
def test_broken_elf_files_are_no_error(
    tmp_path_factory: pytest.TempPathFactory, size: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    path = tmp_path_factory.getbasetemp() / f"fuzzed-{os.getpid()}.so"
    assert isinstance(elf_paths(path, bytes(data[:size])), list)


def test_elf_files_with_huge_numbers_are_no_error(tmp_path: Path) -> None:
    for field in range(len(WHOLE) - 8):
        data = bytearray(WHOLE)
        data[field : field + 8] = b"\xff" * 8
        assert len(elf_paths(tmp_path / "a.so", bytes(data))) < 10


def test_each_beginning_of_an_elf_file_is_no_error(tmp_path: Path) -> None:
    found = [len(elf_paths(tmp_path / "a.so", WHOLE[:size])) for size in range(len(WHOLE) + 1)]
    assert found[-1] == 3 and found[0] == 0


# Config, command and environment.


def test_config_values_that_lead_out(leaks, write, project_dir: Path, home: Path) -> None:
    write("c.json", json.dumps({"a": "x", "b": ["~/data", 1], "c": 1, "d": "$HOME"}, indent=1))
    config = {"a": f"{project_dir}/x", "b": ["~/data", 1], "c": 1, "d": "y"}
    assert faults(leaks(opdef={"config": "c.json"}, config=config)) == [
        f"c.json:2: config a: {project_dir}/x is in the project",
        "c.json:3: config b: ~/data is in the home directory",
    ]


def test_arguments_that_lead_out(leaks, write, project_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "envs" / "ml").mkdir(parents=True)
    (tmp_path / "envs" / "ml" / "pyvenv.cfg").touch()
    python = f"{tmp_path}/envs/ml/bin/python"
    assert faults(leaks(python, f"--data={project_dir}/a", "~", "$HOME/b", "a~b", "/etc/c")) == [
        f"the command: {python} is in an environment",
        f"the command: {project_dir}/a is in the project",
        "the command: ~ is in the home directory",
        "the command: $HOME/b is in the home directory",
    ]


def test_a_value_in_several_places_is_one_leak(leaks, write, project_dir: Path) -> None:
    write("c.json", "{}")
    target = f"{project_dir}/a"
    found = leaks("cat", target, config={"a": target}, env={"A": target})
    assert faults(found) == [f"config a: {target} is in the project"]


def test_one_plain_word_that_is_missing(leaks, write) -> None:
    write("plain", b"\0")
    assert faults(leaks("cat", "plain")) == ["the command: plain is needed and not staged"]


def test_the_finalize_hook_is_looked_at(leaks, write, home: Path) -> None:
    found = leaks(opdef={"exec": {"run": "true", "finalize": f"cp a {home}/a"}})
    assert faults(found) == [f"exec.finalize: {home}/a is in the home directory"]


def test_environment_values_that_lead_out_and_may_be_secret(
    leaks, write, project_dir: Path, home: Path
) -> None:
    env = {"A": f"/usr/bin:{home}/bin", "B": f"secret=s3cr3t {project_dir}/k?s3cr3t", "C": "x"}
    found = leaks(env=env)
    assert faults(found) == [
        f"env A: {home}/bin is in the home directory",
        f"env B: {project_dir}/k is in the project",
    ]
    assert "s3cr3t" not in "".join(found)


def test_the_gage_file_is_named_with_the_line(leaks, write, project_dir: Path) -> None:
    write(
        "gage.toml",
        f"""[other]
exec = "cat {project_dir}/other"

[test]
exec.run = "cat {project_dir}/a"
exec.stage-runtime = "ls {project_dir}/allowed"
exec.finalize = "ls {project_dir}/c"
env = {{ X = "{project_dir}/b" }}
""",
    )
    command = ["cat", f"{project_dir}/a"]
    exec_ = {"run": " ".join(command), "finalize": f"ls {project_dir}/c"}
    assert faults(leaks(*command, opdef={"exec": exec_}, env={"X": f"{project_dir}/b"})) == [
        f"gage.toml:5: the command: {project_dir}/a is in the project",
        f"gage.toml:7: exec.finalize: {project_dir}/c is in the project",
        f"gage.toml:8: env X: {project_dir}/b is in the project",
    ]


def test_needed_files_that_no_rule_selected(leaks, write, project_dir: Path) -> None:
    for name in ("train.py", "data/train.csv", "cfg.bin", "env.bin"):
        write(name)
    write("staged.txt")
    write("c.json", json.dumps({"data": "data/train.csv", "text": "staged.txt", "n": "no-such"}))
    config = json.loads((project_dir / "c.json").read_text())
    found = leaks(
        *("python3", "train.py", "--cfg=cfg.bin", "staged.txt", "no-such"),
        opdef={
            "config": "c.json",
            "sourcecode": ["-train.py", "-data", "-*.bin"],
        },
        config=config,
        env={"E": "env.bin"},
    )
    assert faults(found) == [
        "env E: env.bin is needed and not staged",
        "the command: train.py is needed and not staged",
        "the command: cfg.bin is needed and not staged",
        "c.json:1: config data: data/train.csv is needed and not staged",
    ]
    assert found[-1].partition("; ")[2] == (
        'declare it, depends = { project-files = "data/train.csv" },'
        " or with writable if the run writes it"
    )


def test_files_that_the_script_reads(leaks, write, project_dir: Path) -> None:
    for name in ("data/a.csv", "data/b.json", "c.npy", "d.txt", "e.txt", "old.csv", "there.csv"):
        write(name)
    write(
        "train.py",
        """
import pandas as pd
open("data/a.csv")
open('./data/a.csv', "rb")
pd.read_csv("there.csv"), json.load(open("data/b.json", encoding="utf-8"))
np.load("c.npy", mode="r")
Path("d.txt").read_text()
Path("e.txt").open("w"), open("old.csv", "w"), open("old.csv", mode="a")
print("data/b.json", "no/such.csv"), open(name), open("../outside"), open("/etc/passwd")
""",
    )
    rules = ["-*", "train.py", "there.csv"]
    found = leaks("python3", "train.py", opdef={"sourcecode": rules})
    assert faults(found) == [
        "train.py:3: a path: data/a.csv is needed and not staged",
        "train.py:4: a path: ./data/a.csv is needed and not staged",
        "train.py:5: a path: data/b.json is needed and not staged",
        "train.py:6: a path: c.npy is needed and not staged",
        "train.py:7: a path: d.txt is needed and not staged",
    ]
    assert 'declare it, depends = { project-files = "data/a.csv" }' in found[1]
    writable = {"sourcecode": rules, "writable": ["*"]}
    assert leaks("python3", "train.py", opdef=writable) == []


def test_what_the_run_writes_is_not_needed(leaks, write) -> None:
    for name in ("out/a", "state/b", "ckpt/c", "res.txt", "log.txt", "summary.json"):
        write(name)
    write("c.json", "{}")
    config = {"state": "state", "output_dir": "out", "checkpointPath": "ckpt", "s": "summary.json"}
    command = ["sh", "-c", "python3 x.py --log-file log.txt --out=out <c.json >res.txt"]
    rules = {"sourcecode": ["-*", "c.json"], "writable": "state"}
    env = {"LOGS": "ckpt"}
    assert leaks(*command, opdef=rules, config=config, env=env) == []
    found = leaks(*command, opdef={**rules, "writable": []}, config=config, env=env)
    assert faults(found) == ["config state: state is needed and not staged"]


@pytest.mark.parametrize("name", ["layout", "LAYOUT", "route", "catalog", "data", "input"])
def test_names_that_only_look_like_those_of_output(leaks, write, name: str) -> None:
    write("data/a.bin", b"\0")
    assert len(leaks(config={name: "data"})) == len(leaks("x", f"--{name}=data")) == 1


def test_the_words_of_a_shell_are_looked_at(leaks, write) -> None:
    for name in ("in.bin", "x.bin", "out.bin"):
        write(name, b"\0")
    assert faults(leaks("sh", "-c", "sort <in.bin | tee x.bin; ls >out.bin")) == [
        "the command: in.bin is needed and not staged",
        "the command: x.bin is needed and not staged",
    ]
    assert faults(leaks("sh", "-c", "cat in.bin; echo 'no end")) == [
        "the command: in.bin is needed and not staged"
    ]


def test_words_that_are_no_paths(leaks, write) -> None:
    for name in ("build/a.bin", "dist/b.bin", "x.bin"):
        write(name, b"\0")
    assert leaks("make", "build", "dist", "-j", ".", "..", "", "x\ny", "a" * 5000) == []


def test_a_file_beside_the_project(leaks, write, tmp_path: Path) -> None:
    (tmp_path / "shared.csv").touch()
    assert faults(leaks("cat", "../shared.csv", "../no-such")) == [
        "the command: ../shared.csv is outside of the run"
    ]


# Imports of the script.


def test_imports_of_modules_that_were_not_selected(leaks, write) -> None:
    write(
        "src/train.py",
        "import os, helpers as h\n"
        "from pkg import a, b\n"
        "import pkg.sub.c\n"
        "from whole import x\n"
        "import wandb, other.thing\n"
        "def f():\n    from late import y\n",
    )
    for name in ("helpers", "pkg/__init__", "pkg/a", "pkg/b", "pkg/sub/c", "whole/x", "late"):
        write(f"src/{name}.py")
    # A directory of that name is not the module.
    write("src/wandb/run-1/log.txt")
    write("helpers.py")
    rules = ["-src/helpers.py", "-b.py", "-c.py", "-whole", "-late.py", "-wandb"]
    found = leaks("python3", "src/train.py", opdef={"sourcecode": rules})
    assert faults(found) == [
        "src/train.py:1: import of helpers: src/helpers.py is needed and not staged",
        "src/train.py:2: import of pkg.b: src/pkg/b.py is needed and not staged",
        "src/train.py:3: import of pkg.sub.c: src/pkg/sub is needed and not staged",
        "src/train.py:4: import of whole: src/whole is needed and not staged",
        "src/train.py:7: import of late: src/late.py is needed and not staged",
    ]
    assert found[0].endswith('; select it, sourcecode = ["src/helpers.py"]')


def test_imports_of_a_module_that_is_started_with_m(leaks, write) -> None:
    write("pkg/main.py", "from . import near\nfrom .deep import far\nimport top\n")
    for name in ("pkg/near.py", "pkg/deep/far.py", "top.py"):
        write(name)
    rules = ["-near.py", "-far.py", "-top.py"]
    found = leaks("sh", "-c", "python3 -m pkg.main | cat", opdef={"sourcecode": rules})
    assert [fault.split(": ")[2] for fault in faults(found)] == [
        "pkg/near.py is needed and not staged",
        "pkg/deep is needed and not staged",
        "top.py is needed and not staged",
    ]


def test_a_relative_import_alone(leaks, write) -> None:
    write("pkg/main.py", "from . import near\n")
    write("pkg/near.py")
    found = leaks("python3", "-m", "pkg.main", opdef={"sourcecode": "-near.py"})
    assert faults(found) == ["pkg/main.py:1: import of near: pkg/near.py is needed and not staged"]


def test_a_script_that_imports_what_it_has(leaks, write) -> None:
    write("train.py", "import json, helpers, pkg.a\nfrom pkg import a, name\n")
    for name in ("helpers.py", "pkg/__init__.py", "pkg/a.py"):
        write(name)
    assert leaks("python3", "train.py") == []


def test_what_a_run_has_is_known_at_any_time(make_initialized, write, project_dir: Path) -> None:
    write("a/b/c.txt")
    run = make_initialized("true")
    files = StagedFiles(run, lambda path: False)
    assert not files.has("a/b")
    files.copy(str(project_dir), [("a/b/c.txt", "a/b/c.txt")], "s")
    assert all(map(files.has, ("a", "a/b", "a/b/c.txt"))) and not files.has("a/b/d.txt")
    os.mkdir(f"{run.run_dir}/d")
    Path(run.run_dir, "d", "e.txt").touch()
    files.find_changes("r")
    assert files.has("d") and files.has("d/e.txt")


# What is told, and when it is an error.


def test_notices_are_few_and_the_log_has_all(make_initialized, write, project_dir: Path) -> None:
    for number in range(9):
        write(f"{number}.sh", f"cat {project_dir}/x{number}\n")
    write("a.sh", "cat ~/x\n#\n")
    told: list[str] = []
    run = make_initialized("cat", "~/z")
    stage_run(run, str(project_dir), notice=told.append)
    (text,) = told
    lines = text.splitlines()
    assert lines[0] == "10 things would break elsewhere:"
    assert lines[1] == "  the command: ~/z is in the home directory"
    assert lines[3] == f"  0.sh:1: {project_dir}/x0 is in the project"
    assert lines[4] == "    write x0: a run starts in its own copy of the project"
    assert lines[-1] == "  and 6 more such (gage logs --runner)"
    assert len(lines) == 1 + 2 + 3 * 2 + 1
    assert len(leaks_of(run)) == 10


def test_nothing_is_told_where_there_is_nothing(make_initialized, write, project_dir: Path) -> None:
    write("a.py", "print('/usr/bin', '/tmp/x', 'a/b')\n")
    told: list[str] = []
    run = make_initialized("python3", "a.py")
    stage_run(run, str(project_dir), strict=True, notice=told.append)
    assert told == leaks_of(run) == unsearched(run) == []
    assert run_status(run) == "staged"


def test_strict_makes_it_an_error(make_initialized, write, project_dir: Path) -> None:
    write("a.sh", f"cat {project_dir}/x\n")
    told: list[str] = []
    run = make_initialized("sh", "a.sh")
    with pytest.raises(LeakFound) as caught:
        stage_run(run, str(project_dir), strict=True, notice=told.append)
    assert str(caught.value).splitlines()[:2] == [
        "1 thing would break elsewhere:",
        f"  a.sh:1: {project_dir}/x is in the project",
    ]
    assert (run_status(run), told) == ("failed", [])
    assert read_record(run).reason == str(caught.value)
    assert len(leaks_of(run)) == 1
    assert os.listdir(run.run_dir) == []


def test_the_option_and_its_exit_status(project: Any) -> None:
    here = project({"a.sh": "", "b.sh": "echo ran\n"})
    here.write("a.sh", f"ls {here.dir}\n")
    noted = here.gage("stage", "b.sh").succeeds()
    assert f"  a.sh:1: {here.dir} is in the project\n" in noted.err
    here.gage("stage", "b.sh", "--strict").fails(1, "leak-found")
    failed = here.gage("run", "--strict", "b.sh").fails(125, "leak-found")
    assert failed.out == ""
    assert failed.err.endswith("\nhint: mend this, or stage without --strict\n")
    here.write("a.sh", "ls\n")
    assert here.gage("run", "b.sh", "--strict", "-q").succeeds().out == "ran\n"


def test_strict_from_python(project: Any) -> None:
    here = project({"a.py": "print(1)\n"})
    here.write("a.py", f"x = '{here.dir}'\n")
    code = (
        "import gage\n"
        "assert gage.stage('a.py').status == 'staged'\n"
        "for do in (gage.stage, gage.run):\n"
        "    try:\n        do('a.py', strict=True)\n"
        "    except gage.GageError as error:\n        print(error.reference)\n"
    )
    assert here.python(code).succeeds().out == "leak-found\nleak-found\n"


def test_staging_without_a_project(make_initialized, home: Path) -> None:
    run = make_initialized(sys.executable, f"{home}/x.py", "missing.py")
    stage_run(run)
    assert f"the command: {home}/x.py is in the home directory" in faults(leaks_of(run))
