import json
import os
import pty
import shutil
import subprocess

GAGE_FILE = """
[train]
exec = "python3 train.py"
config = "train.py"
env = { MODE = "fast" }
depends = { project-files = "data", target = "inputs" }
sourcecode = ["-data", "image.bin"]
"""
TRAIN = """\
import json
lr = 0.1
print("lr", lr)
json.dump({"loss": lr * 2, "rest": {"n": 1}}, open("summary.json", "w"))
open("model.txt", "w").write(f"model\\n{lr}\\n")
"""
FILES = {"gage.toml": GAGE_FILE, "train.py": TRAIN, "data/a.csv": "1,2\n", "more.py": "a = 1\n"}
SAME = (
    "command: same\nconfig: same\nsource: same\nruntime: same\ndependencies: same\nsystem: same\n"
)


def _without_duration(text):
    return "".join(
        line for line in text.splitlines(True) if not line.startswith(("a: ", "b: ", "  duration:"))
    )


def test_config_is_the_cause_where_nothing_else_differs(project):
    here = project(FILES)
    here.gage("run", "train").succeeds()
    here.gage("run", "train", "lr=0.4").succeeds()
    first, second = here.runs()
    compared = here.gage("diff", "2", "1").succeeds()
    names = [(here.meta(run) / "name").read_text().strip() for run in (first, second)]
    assert compared.out.startswith(
        f"a: {names[0]}  train  completed  {first.name}\n"
        f"b: {names[1]}  train  completed  {second.name}\n"
    )
    assert _without_duration(compared.out) == (
        "command: same\n"
        "config:\n"
        "  lr: 0.1 -> 0.4 (relative difference 0.75)\n"
        "source:\n"
        "  changed: train.py (by config only)\n"
        "runtime: same\n"
        "dependencies: same\n"
        "system: same\n"
        "output:\n"
        "  loss: 0.2 -> 0.8 (relative difference 0.75)\n"
        '  changed: model.txt (line 2: "0.1" -> "0.4")\n'
        "The results differ; so does config (lr)\n"
    )
    assert compared.err == ""


def test_source_is_told_as_diffs_that_patch_takes(project):
    here = project(FILES)
    here.write("image.bin", b"\0\1")
    here.write("large.txt", "a\n" * (1 << 20))
    here.gage("run", "train").succeeds()
    here.write("train.py", TRAIN.replace("lr * 2", "lr * 3"))
    here.write("more.py", "a = 1\nb = 2\n")
    here.write("image.bin", b"\0\2")
    here.write("large.txt", "b\n" * (1 << 20))
    here.write("new.py", "c = 3\n")
    here.write("gage.toml", GAGE_FILE, 0o755)
    here.gage("run", "train", "lr=0.2").succeeds()
    compared = here.gage("diff", "2", "1", "--source").succeeds()
    lines = compared.out.splitlines()
    assert lines[:3] == ["source:", "  changed: gage.toml (mode 0444 -> 0555)", lines[2]]
    assert lines[2].startswith("  changed: image.bin (binary, SHA-256 ")
    assert lines[3].startswith("  changed: large.txt (too large to be compared, SHA-256 ")
    assert "-a = 1\n" not in compared.out and "+b = 2\n" in compared.out
    copy = here.dir.parent / "copy"
    shutil.copytree(here.runs()[0], copy)
    subprocess.run(["chmod", "-R", "u+w", copy], check=True)
    subprocess.run(["patch", "-p1"], cwd=copy, input=compared.out, text=True, check=True)
    for name in ("train.py", "more.py", "new.py"):
        assert (copy / name).read_text() == (here.runs()[1] / name).read_text()
    whole = here.gage("diff", "2", "1").succeeds().out
    assert whole.endswith("The results differ; so do config (lr) and 6 source files\n")


def test_each_input_is_named_as_a_cause(project):
    here = project(FILES)
    here.gage("run", "train").succeeds()

    def cause(**files):
        for name, text in {**FILES, **files}.items():
            here.write(name, text)
        here.gage("run", "train").succeeds()
        told = here.gage("diff", here.runs()[0].name, "1").succeeds().out
        return told, told.splitlines()[-1]

    told, last = cause(**{"data/a.csv": "3,4\n"})
    assert "  changed: inputs/data/a.csv\n" in told and "  project-files data sha256: " in told
    assert last == "The results are the same, though dependencies (project-files data) differ"
    told, last = cause(**{"gage.toml": GAGE_FILE.replace("fast", "slow")})
    assert "  env MODE: fast -> slow\n  operation env.MODE: fast -> slow\n" in told
    assert last.startswith("The results are the same, though the environment (MODE), the operation")
    told, last = cause(**{"gage.toml": GAGE_FILE.replace('train.py"\ncon', 'train.py -x"\ncon')})
    assert "  arguments: python3 train.py -> python3 train.py -x\n" in told
    assert "the command, the operation (exec) and 1 source file differ" in last


def test_config_that_is_passed_is_told_once(project):
    gage_file = """
[op]
exec = "true {args}"
config = [{ args = { lr = 0.1 } }, { env = { DEPTH = "1" } }]
"""
    here = project({"gage.toml": gage_file})
    here.gage("run", "op").succeeds()
    here.gage("run", "op", "lr=0.2", "DEPTH=2").succeeds()
    told = here.gage("diff", "2", "1").succeeds().out
    assert "  arguments: true --lr 0.1 -> true --lr 0.2\n  env DEPTH: 1 -> 2\n" in told
    assert told.endswith("The results are the same, though config (lr, DEPTH) differs\n")


def test_what_was_recorded_of_the_system_is_compared(project):
    here = project(FILES)
    here.gage("run", "train").succeeds()
    here.gage("rerun", "1", "-q").succeeds()
    assert SAME in here.gage("diff", "2", "1").succeeds().out
    system = here.meta(here.runs()[1]) / "sys"

    def rewrite(name, **values):
        path = system / name
        path.chmod(0o644)
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    rewrite("cpu", model="another")
    rewrite("interpreter", version="9.9.9")
    rewrite("packages", pytest="0.0.1", nonsense="1.0")
    told = here.gage("diff", "2", "1").succeeds().out
    assert "  cpu.model: " in told and " -> another\n" in told
    assert "  package nonsense: nothing -> 1.0\n" in told
    assert "  interpreter: cpython " in told and " -> cpython 9.9.9\n" in told
    assert "though the runtime (interpreter, " in told.splitlines()[-1]
    assert told.splitlines()[-1].endswith(" and the system (cpu) differ")
    assert "  rerun of a\n" in told
    shutil.rmtree(system)
    told = here.gage("diff", "2", "1", "--system", "--runtime").succeeds().out
    assert told.startswith("runtime:") and "(not recorded of b: packages)\n" in told
    assert told.endswith("system: (not recorded of b: the system)\n")


def test_files_of_the_runtime_are_listed_where_nothing_else_of_it_differs(project):
    gage_file = """
[op]
exec = { run = "true", stage-runtime = 'cp "$PROJECT_DIR/lib.txt" lib.out' }
sourcecode = false
"""
    here = project({"gage.toml": gage_file, "lib.txt": "1"})
    here.gage("run", "op").succeeds()
    here.write("lib.txt", "22")
    here.gage("run", "op").succeeds()
    told = here.gage("diff", "2", "1").succeeds().out
    assert "runtime:\n  changed: lib.out (1 -> 2 bytes)\n" in told
    assert told.splitlines()[-1] == "The results are the same, though the runtime (1 file) differs"
    (here.meta(here.runs()[1]) / "sys" / "packages").write_text('{"a": "1"}')
    (here.meta(here.runs()[0]) / "sys" / "packages").write_text('{"a": "2"}')
    told = here.gage("diff", "2", "1", "--runtime").succeeds().out
    assert told == "runtime:\n  package a: 2 -> 1\n  (files that differ: 1)\n"


def test_nothing_recorded_differs(project):
    here = project(
        {"op.py": "import os\nprint(os.getpid())\nopen('x', 'w').write(os.urandom(9).hex())\n"}
    )
    here.gage("run", "op.py").succeeds()
    here.gage("rerun", "1").succeeds()
    compared = here.gage("diff", "2", "1").succeeds()
    assert SAME in compared.out
    assert compared.out.splitlines()[-1].startswith("The results differ; nothing recorded differs:")
    here.gage("run", "op.py")
    same = here.gage("diff", "1", "1").succeeds().out
    assert same.endswith("The results are the same\n")


def test_runs_that_have_no_results_or_are_not_whole(project):
    here = project({**FILES, "other.py": "print('other')\n"})
    here.gage("run", "train").succeeds()
    here.gage("stage", "train", "lr=0.3").succeeds()
    told = here.gage("diff", "2", "1").succeeds().out
    assert "output: (b has no results: it is staged)\n" in told
    assert told.endswith("Not both of the runs have results; so far config (lr) differs\n")
    here.gage("run", "other.py").succeeds()
    told = here.gage("diff", "3", "1").succeeds().out
    assert told.endswith("These are runs of different operations, train and other.py\n")
    assert "(b has no summary)\n" in told and "  loss: 0.2 -> nothing\n" in told
    here.write("gage.toml", '[broken.exec]\nrun = "true"\nstage-sourcecode = "exit 1"\n')
    here.gage("stage", "broken").exits(1)
    told = here.gage("diff", "1", "1").succeeds().out
    assert "  (it was not staged: it is failed)\n" in told
    assert "(the files of a are not known) (the files of b are not known)" in told
    (here.meta(here.runs()[0]) / "manifest").unlink()
    (here.meta(here.runs()[0]) / "requires.json").chmod(0o644)
    (here.meta(here.runs()[0]) / "requires.json").write_text("x")
    told = here.gage("diff", here.runs()[0].name, here.runs()[1].name).succeeds().out
    assert "manifest is missing" in told and "requires.json is not JSON" in told


def test_content_that_the_run_changed_is_not_made_up(project):
    here = project(
        {"op.sh": "cat a.txt >b.txt; chmod u+w a.txt; echo changed >a.txt\n", "a.txt": "1\n"}
    )
    here.gage("run", "op.sh").succeeds()
    here.write("a.txt", "2\n")
    here.gage("run", "op.sh").succeeds()
    told = here.gage("diff", "2", "1", "--source").succeeds().out
    assert "  changed: a.txt (its content is not there any more, SHA-256 " in told
    assert "---" not in told


def test_generated_text_as_diffs_if_asked_for(project):
    here = project(FILES)
    here.gage("run", "train").succeeds()
    here.gage("run", "train", "lr=0.4").succeeds()
    told = here.gage("diff", "2", "1", "--output", "--config").succeeds().out
    assert told.startswith("config:\n  lr: 0.1 -> 0.4 (relative difference 0.75)\noutput:\n")
    assert told.endswith("--- a/model.txt\n+++ b/model.txt\n@@ -1,2 +1,2 @@\n model\n-0.1\n+0.4\n")
    assert "The results" not in told


def test_two_directories_are_enough(project):
    here = project(FILES)
    here.gage("run", "train").succeeds()
    here.gage("run", "train", "lr=0.4").succeeds()
    before = here.gage("diff", "2", "1").succeeds().out
    moved = []
    for number, run in enumerate(here.runs()):
        folder = here.dir.parent / f"moved-{number}"
        folder.mkdir()
        here.meta(run).rename(folder / f"{run.name}.meta")
        moved.append(str(run.rename(folder / run.name)))
    shutil.rmtree(here.dir)
    here.dir.mkdir()
    assert here.gage("diff", *moved).succeeds().out == before


def test_json_and_python(project):
    here = project(FILES)
    here.gage("run", "train").succeeds()
    here.write("more.py", "a = 2\n")
    here.gage("run", "train", "lr=0.2").succeeds()
    told = here.gage("diff", "2", "1", "--json").succeeds().json
    parts = ["command", "config", "source", "runtime", "dependencies", "system", "output"]
    assert list(told) == ["a", "b", *parts, "same_results", "conclusion"]
    assert (told["a"]["id"], told["b"]["id"]) == tuple(run.name for run in here.runs())
    assert told["config"]["changes"] == [
        {"name": "lr", "change": "changed", "before": 0.1, "after": 0.2, "relative": 0.5}
    ]
    more, train = told["source"]["files"]
    assert more["diff"].endswith("@@ -1 +1 @@\n-a = 1\n+a = 2\n") and train["diff"] is None
    assert told["source"]["causes"] == ["1 source file"] and told["same_results"] is False
    only = here.gage("diff", "2", "1", "--json", "--config").succeeds().json
    assert list(only) == ["a", "b", "config", "same_results", "conclusion"]
    code = (
        "import gage, json\n"
        "a, b = (row['name'] for row in reversed(gage.runs()))\n"
        "print(json.dumps(gage.diff(a, b)))\n"
    )
    assert here.python(code).succeeds().json == told


def test_odd_names_and_contents_do_not_disturb_a_terminal(project):
    here = project({"op.py": "x = 1\n"})
    here.write(os.fsdecode(b"odd \xff\n.txt"), "\x1b[31mone\n")
    here.gage("run", "op.py").succeeds()
    here.write(os.fsdecode(b"odd \xff\n.txt"), "\x1b[31mtwo\n")
    here.gage("run", "op.py").succeeds()
    piped = here.gage("diff", "2", "1", "--source").succeeds()
    assert (
        b"changed: odd \\xff\\n.txt\n" in piped.out_bytes and b"+\x1b[31mtwo\n" in piped.out_bytes
    )
    shown = _on_terminal(here, "diff", "2", "1", "--source")
    assert b"+\\x1b[31mtwo" in shown and b"\x1b[32m+" in shown
    plain = _on_terminal(here, "diff", "2", "1", "--source", NO_COLOR="1")
    assert b"+\\x1b[31mtwo" in plain and b"\x1b[32m" not in plain


def _on_terminal(here, *words, **env):
    terminal, end = pty.openpty()
    process = here.begin(*words, stdout=end, env={**here.env, "TERM": "xterm", **env})
    os.close(end)
    printed = b""
    while True:
        try:
            printed += os.read(terminal, 4096)
        except OSError:
            break
    os.close(terminal)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    return printed


def test_wrong_usage(project):
    here = project({"op.py": ""})
    here.gage("run", "op.py").succeeds()
    here.gage("diff", "1").fails(2, "usage")
    here.gage("diff", "1", "9").fails(1, "run-not-found")
