"""docs/format.md against what is written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gage._internal.lifecycle.create import define_run
from gage._internal.lifecycle.init import init_run_meta
from gage._internal.lifecycle.isolation.options import Isolated
from gage._internal.lifecycle.make import make_run
from gage._internal.lifecycle.proto import read_proto
from gage._internal.lifecycle.rerun import stage_rerun
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.store.attributes import add_comment, add_tags, set_label
from gage._internal.store.status import ALL
from gage._internal.types import OpCmd, OpDef, OpRef, Run
from runs_on_disk import files_below, meta_file

FORMAT = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")

STATUS_INTRODUCTION = (
    "The status of a run follows from these files and is written nowhere. "
    "The first line that holds:"
)

START = (
    "import sys; from gage._internal.lifecycle.start import start_run;"
    "from gage._internal.types import Run; start_run(Run(*sys.argv[1:]))"
)


def table_after(heading: str) -> list[list[str]]:
    """Return the cells of the table that follows a heading, without its head."""
    text = FORMAT.partition(f"\n{heading}\n")[2]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE).group().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


ROWS = {
    name.strip("`"): pattern.strip("`").replace("\\|", "|")
    for name, _, pattern in table_after("## Files of the meta directory")
}


def row_of(name: str) -> str:
    """Return the name under which the page describes a file."""
    name = re.sub(r"^(user|sys)/.+", r"\1/NAME", name)
    name = re.sub(r"^attempts/\d+", "attempts/N", name)
    return re.sub(r"^output/[^.]+", "output/PHASE", name)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[bytes]]:
    """Every content that the meta files of some runs have had, by the page's name for the file."""
    home = tmp_path_factory.mktemp("home")
    project = tmp_path_factory.mktemp("project")
    (project / "a.py").write_text("lr = 0\n")
    git = ("git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@x")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    (project / "a.py").write_text("lr = 1\n")
    found: dict[str, set[bytes]] = {}

    def look(run: Run) -> None:
        for name in files_below(run.run_dir + ".meta"):
            found.setdefault(row_of(name), set()).add(meta_file(run, name).read_bytes())

    def run_of(*args: str, **opdef: object) -> Run:
        run = make_run(str(home))
        depends = {"project-files": "a.py", "target": "data"}
        definition = OpDef("op", {"config": "a.py", "depends": depends, **opdef})
        command = OpCmd(args, {"A": "b"})
        attributes = {"label": "l"}, {"gage": "1"}
        init_run_meta(run, OpRef("p", "op"), definition, command, *attributes, {"lr": 2}, "g")
        stage_run(run, str(project))
        return run

    look_now = f"shutil.copytree(os.environ['RUN_DIR'] + '.meta', {str(home)!r} + '/seen')"
    code = f"import json, os, shutil; json.dump({{'x': 1}}, open('summary.json', 'w')); {look_now}"
    run = run_of(sys.executable, "-c", code)
    look(run)
    start_run(run)
    look(run)
    look(stage_rerun(run, str(home)))
    with read_proto(run) as proto:
        variant = define_run(str(home), *proto.old[2:5], {"lr": 3}, group="g")
        proto.fill(variant)
    look(variant)
    run = run_of("true")
    start_run(run, sealed=Isolated())
    look(run)
    for path in sorted(files_below(home / "seen")):
        found.setdefault(row_of(path), set()).add((home / "seen" / path).read_bytes())
    (project / "requirements.txt").touch()
    look(run_of("true", runtime={"name": "uv", "bundle": "lock"}))
    terminate(run := run_of("sh", "-c", "echo out; sleep 30", exec={"finalize": "exit 1"}))
    look(run)
    code = 'test "$RUN_ATTEMPT" = 2 || { echo out; sleep 30; }'
    terminate(run := run_of("sh", "-c", code, resumable=True))
    start_run(run)
    look(run)
    return found


def terminate(run: Run) -> None:
    """Start a run, and end it when it has printed something."""
    starter = subprocess.Popen([sys.executable, "-c", START, run.id, run.run_dir])
    output = meta_file(run, "output/run")
    while not output.exists() or not output.read_bytes():
        pass
    starter.terminate()
    starter.wait()


def test_every_file_is_on_the_page(seen: dict[str, set[bytes]]) -> None:
    assert seen.keys() - ROWS.keys() == set()


def test_every_file_of_the_page_is_written(seen: dict[str, set[bytes]]) -> None:
    assert ROWS.keys() - seen.keys() == set()


@pytest.mark.parametrize("name", ROWS)
def test_content_is_as_the_page_says(seen: dict[str, set[bytes]], name: str) -> None:
    for content in seen[name]:
        assert re.fullmatch(ROWS[name], content.decode("utf-8")), content


def test_json_files_are_json(seen: dict[str, set[bytes]]) -> None:
    names = ("opdef", "config", "summary", "depends", "runtime", "requires")
    files = ("proc/cmd", "proc/env", "proc/lock", "proc/sealed")
    for name in (*(f"{name}.json" for name in names), *files):
        for content in seen[name]:
            assert content == (json.dumps(json.loads(content), indent=2) + "\n").encode()


def test_the_lock_holds_what_the_page_says(seen: dict[str, set[bytes]]) -> None:
    fields = re.search(r"`proc/lock` is the process.*?: (.*?)\.", FORMAT, re.DOTALL)
    known = re.findall(r"`(\w+)`", fields.group(1))
    held = {tuple(json.loads(content)) for content in seen["proc/lock"]}
    assert tuple(known) in held
    assert held <= {tuple(known), tuple(known[:-1])}


def test_notes_are_as_the_page_says(tmp_path: Path) -> None:
    run = make_run(str(tmp_path))
    set_label(run, "a label")
    add_tags(run, ["x/y"])
    add_comment(run, "a comment")
    rows = [row[0].strip("`") for row in table_after("## Notes")]
    encoded = {"NAME": ".+", "TIME-XXXX": r"\d{16}-[0-9a-f]{4}"}
    patterns = [re.sub("NAME|TIME-XXXX", lambda m: encoded[m.group()], row) for row in rows]
    names = files_below(run.run_dir + ".notes")
    assert len(names) == 3
    for name in names:
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name


def test_every_status_is_on_the_page() -> None:
    rows = {row[0].strip("`") for row in table_after(STATUS_INTRODUCTION)}
    assert rows - {"as with `stopped"} == set(ALL)
