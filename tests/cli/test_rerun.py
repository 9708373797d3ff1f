import os
import shutil
import signal

TRAIN = """\
import json
lr = 0.1
print("lr is", lr)
json.dump({"loss": lr * 2}, open("summary.json", "w"))
open("model.txt", "w").write("weights\\n" * 3)
"""


def _staged_section(meta):
    text = (meta / "manifest").read_text().replace("#- ", "")
    return text.partition("# ended")[0]


def _tree(folder):
    """Return mode and content of all below a directory, by path."""
    return {
        str(path.relative_to(folder)): (
            oct(path.lstat().st_mode),
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "",
        )
        for path in folder.rglob("*")
    }


def test_a_rerun_is_a_new_run_of_the_same_that_needs_no_project(project):
    here = project({"train.py": TRAIN, "data/a.csv": "1,2\n"})
    first = here.gage("run", "train.py", "lr=0.5", "--label", "mine", "--tag", "t").succeeds()
    assert first.out == "lr is 0.5\n"
    original = here.run()
    before = _tree(here.runs_home)
    (here.dir / "train.py").unlink()
    (here.dir / "data" / "a.csv").unlink()

    again = here.gage("rerun", "1").succeeds()
    assert again.out == "lr is 0.5\n" and "completed after" in again.err
    _, rerun = here.runs()
    mine, its = here.meta(original), here.meta(rerun)
    for name in ("opref", "opdef.json", "config.json", "proc/cmd", "proc/env", "requires.json"):
        assert (its / name).read_bytes() == (mine / name).read_bytes(), name
    assert (its / "log/patched").read_bytes() == (mine / "log/patched").read_bytes()
    assert _staged_section(its) == _staged_section(mine)
    assert {path.name for path in (its / "sys").iterdir()} == {
        path.name for path in (mine / "sys").iterdir()
    }
    assert (its / "rerun").read_text() == f"{original.name}\n"
    assert {p: c for p, c in _tree(here.runs_home).items() if rerun.name not in p} == before
    shown = here.gage("show", "1", "--json").json
    assert (shown["rerun"], shown["label"], shown["tags"]) == (original.name, None, [])
    assert f"rerun of     {original.name}\n" in here.gage("show", "1").out
    assert here.gage("show", "2", "--json").json["rerun"] is None


def test_what_git_and_dependencies_told_is_kept(project):
    gage_file = """
[use]
exec = "cat data/a.txt"
sourcecode = false
depends = { project-files = "a.txt", target = "data" }
"""
    here = project({"gage.toml": gage_file, "a.txt": "depended on\n"})
    here.gage("stage", "use").succeeds()
    assert here.gage("rerun", "1", "-q").succeeds().out == "depended on\n"
    first, second = map(here.meta, here.runs())
    assert (second / "depends.json").read_bytes() == (first / "depends.json").read_bytes()
    assert here.gage("show", "--files").out.startswith("d 0444")


def test_stages_only_when_told_to(project):
    here = project({"train.py": TRAIN})
    here.gage("stage", "train.py").succeeds()
    printed = here.gage("rerun", "1", "--stage", "--label", "again", "--tag", "t").succeeds()
    rerun = here.runs()[-1]
    assert (printed.out, printed.err) == (f"{rerun.name}\n", "")
    shown = here.gage("show", "--json").json
    assert (shown["status"], shown["label"], shown["tags"]) == ("staged", "again", ["t"])
    told = here.gage("rerun", rerun.name, "--stage", "--json").succeeds().json
    assert told["run_dir"] == str(here.runs()[-1]) and told["id"] == here.runs()[-1].name
    assert here.gage("start", rerun.name, "-q").succeeds().out == "lr is 0.1\n"


def test_a_run_of_any_end_is_run_again(project):
    wait = "import os, time\nprint(os.path.exists('left'), flush=True)\n"
    wait += "open('left', 'w').close()\nif not os.environ.get('PASS'):\n    time.sleep(60)\n"
    here = project({"wait.py": wait, "fail.py": "raise SystemExit(3)\n"})
    here.gage("run", "fail.py").exits(3)
    here.gage("rerun", "1").exits(3)
    for number, status in ((signal.SIGTERM, "terminated"), (signal.SIGKILL, "lost")):
        process = here.begin("run", "wait.py")
        assert process.stdout.readline() == b"False\n"
        os.kill(process.pid, number)
        process.communicate(timeout=60)
        assert here.gage("show", "--json").json["status"] == status
        assert here.gage("rerun", "1", "-q", env={"PASS": "1"}).succeeds().out == "False\n"


def test_a_run_that_was_never_staged_is_not_run_again(project):
    here = project({"gage.toml": '[broken.exec]\nrun = "true"\nstage-sourcecode = "exit 1"\n'})
    here.gage("stage", "broken").exits(1)
    refused = here.gage("rerun", "1").fails(125, "run-not-staged")
    assert "it is failed" in refused.err
    assert len(here.runs()) == 1
    here.gage("rerun", "zzzz").fails(125, "run-not-found")
    here.gage("rerun").fails(2, "usage")
    here.gage("rerun", "1", "lr=1").fails(2, "usage")


def test_what_the_run_changed_itself_is_named_and_no_run_is_made(project):
    gage_file = '[op]\nexec = "sh run.sh"\nwritable = ["*.txt"]\n'
    script = "echo more >>a.txt; rm b.txt; chmod 600 c.txt; echo x >d.txt\n"
    files = dict.fromkeys(("a.txt", "b.txt", "c.txt", "kept.txt"), "before\n")
    here = project({"gage.toml": gage_file, "run.sh": script, **files})
    here.gage("run", "op").succeeds()
    refused = here.gage("rerun", "1").fails(125, "run-changed")
    assert (
        "\n  changed by the run: a.txt\n  removed by the run: b.txt\nhint: the run" in refused.err
    )
    assert not any(name in refused.err for name in ("c.txt", "d.txt", "kept.txt"))
    assert len(here.runs()) == 1


def test_a_mode_that_the_run_changed_is_what_it_was_staged_with_again(project):
    here = project({"gage.toml": '[op]\nexec = "chmod 600 c.txt"\n', "c.txt": "c\n"})
    here.gage("run", "op").succeeds()
    here.gage("rerun", "1", "--stage").succeeds()
    assert (here.runs()[-1] / "c.txt").stat().st_mode & 0o777 == 0o444


def test_what_was_changed_since_is_named(project):
    here = project({"op.py": "", "a.txt": "aaa", "b.txt": "b", "c.txt": "c", "d/e.txt": "e"})
    here.gage("run", "op.py").succeeds()
    original = here.run()
    (original / "a.txt").chmod(0o644)
    (original / "a.txt").write_text("bbb")
    (original / "b.txt").unlink()
    (original / "b.txt").symlink_to("c.txt")
    shutil.rmtree(original / "d")
    before = _tree(original)
    refused = here.gage("rerun", "1").fails(125, "run-changed")
    named = "\n  changed: a.txt\n  changed: b.txt\n  missing: d/e.txt\n"
    assert named in refused.err and "hint: somebody changed" in refused.err
    assert _tree(original) == before
    failed = here.gage("show", "1", "--json").json
    assert failed["status"] == "failed" and "missing: d/e.txt" in failed["reason"]
    assert list(here.runs()[-1].iterdir()) == []


def test_files_of_every_kind_are_as_they_were_staged(project):
    gage_file = """
[op]
exec = { run = "sh run.sh", stage-sourcecode = "mkdir -p empty/inner; chmod 711 empty/inner" }
writable = ["state.txt"]
"""
    script = "echo made >empty/inner/made.txt; ls empty/inner; rm latest; ln -s run.sh latest\n"
    here = project({"gage.toml": gage_file, "run.sh": script, "state.txt": "none\n"})
    here.write("private/key.txt", "k", 0o600)
    here.write("tool", "#!/bin/sh\n", 0o755)
    here.write(os.fsdecode(b"odd \xff\n\\name"), "odd")
    (here.dir / "latest").symlink_to("private/key.txt")
    (here.dir / "private").chmod(0o750)
    here.gage("stage", "op").succeeds()
    as_staged = _tree(here.run())
    here.gage("start", "1").succeeds()
    rerun = here.gage("rerun", "1", "--stage", "--json").succeeds().json["run_dir"]
    assert _tree(here.runs()[-1]) == as_staged
    assert here.runs()[-1].samefile(rerun)
    log = (here.meta(here.runs()[-1]) / "log" / "files").read_bytes()
    assert log.count(b"\n") == len([p for p, (mode, _) in as_staged.items() if "empty" not in p])
    assert here.gage("start", "1", "-q").succeeds().out == "made.txt\n"


def test_what_is_shared_stays_shared(project):
    gage_file = """
[op]
exec = "cat big.txt own.txt"
depends = { files = "big.txt", link = "hardlink" }
sourcecode = "-big.txt"
"""
    here = project({"gage.toml": gage_file, "own.txt": "own\n"})
    big = here.write("big.txt", "big\n", 0o444)
    here.gage("stage", "op").succeeds()
    assert here.gage("rerun", "1", "-q").succeeds().out == "big\nown\n"
    first, second = here.runs()
    assert (first / "big.txt").samefile(big) and (second / "big.txt").samefile(big)
    assert not (first / "own.txt").samefile(second / "own.txt")


def test_a_run_that_lies_elsewhere_is_run_again_here(project):
    here, there = project({"op.py": "print('ran')\n"}), project(name="there")
    here.gage("stage", "op.py").succeeds()
    moved = there.dir / here.run().name
    (here.runs_home / moved.name).rename(moved)
    (here.runs_home / f"{moved.name}.meta").rename(here.meta(moved))
    assert here.gage("rerun", str(moved), "-q").succeeds().out == "ran\n"
    assert here.gage("rerun", str(moved), "-q", "--runs", "other").succeeds().out == "ran\n"
    assert len(here.runs()) == 1 and len(list((here.dir / "other").glob("*.meta"))) == 1
    assert sorted(path.name for path in there.dir.iterdir()) == [moved.name, f"{moved.name}.meta"]


def test_a_rerun_in_json_is_the_record_of_the_run(project):
    here = project({"op.py": "print('ran')\n"})
    here.gage("run", "op.py").succeeds()
    told = here.gage("rerun", "1", "--json").succeeds()
    assert told.json["status"] == "completed" and "ran\n" in told.err
    assert told.json["id"] == here.runs()[-1].name


def test_a_damaged_run_is_not_run_again(project):
    here = project({"op.py": ""})
    here.gage("run", "op.py").succeeds()
    (here.meta() / "manifest").unlink()
    here.gage("rerun", "1").fails(125, "run-damaged")
    assert len(here.runs()) == 1


def test_a_rerun_needs_what_the_run_needed(project):
    here = project({"gage.toml": '[op]\nexec = "true"\nrequires = "cmd:no-such-program"\n'})
    here.gage("stage", "op").succeeds()
    here.gage("rerun", "1").fails(125, "incompatible-system")
    assert here.gage("show", "--json").json["status"] == "staged"
    here.gage("rerun", "1", "--force").succeeds()


def test_a_run_that_was_run_again_can_be_from_python(project):
    here = project({"op.py": "x = 1\nprint('x', x)\n"})
    ran = here.python(
        "import gage\n"
        "first = gage.run('op.py', {'x': 2})\n"
        "again = gage.rerun(first, label='again')\n"
        "third = gage.rerun(again.name, echo=False)\n"
        "print(again.status, again.config, again.label, third.run.id != again.run.id)\n"
    ).succeeds()
    assert ran.out == "x 2\nx 2\ncompleted {'x': 2} again True\n"


SCORE = """\
import json, os
score = 1.0
noise = float(os.environ.get("NOISE", 0))
print("score", score + noise)
json.dump({"score": score + noise, "name": "n"}, open("summary.json", "w"))
os.makedirs("out", exist_ok=True)
open("out/text.txt", "w").write("first\\nsecond " + os.environ.get("WORD", "word") + "\\n")
open("out/data.bin", "wb").write(bytes(70) + os.environ.get("WORD", "word").encode())
json.dump({"a": {"b": [0, noise]}}, open("out/values.json", "w"))
if "EXTRA" in os.environ:
    open("out/extra.txt", "w").close()
    os.unlink("out/data.bin")
raise SystemExit(int(os.environ.get("EXIT", 0)))
"""


def test_the_same_results_are_identical(project):
    here = project({"op.py": SCORE})
    here.gage("run", "op.py", "score=2").succeeds()
    checked = here.gage("rerun", "--check", "1").succeeds()
    rerun = here.runs()[-1]
    assert checked.out == (
        "identical\n  output: same\n"
        "The results are the same: 4 generated files, 2 values of the summary\n"
    )
    name = (here.meta(rerun) / "name").read_text().strip()
    assert checked.err == f"gage: rerun 1 of 1: run {name}, in {rerun}\n"
    assert here.gage("show", "--json").json["status"] == "completed"
    thrice = here.gage("rerun", "--check", "2", "--times", "3", "-q").succeeds()
    assert thrice.out == checked.out and thrice.err == "" and len(here.runs()) == 5


def test_other_results_are_told_where_they_first_differ(project):
    here = project({"op.py": SCORE})
    here.gage("run", "op.py").succeeds()
    env = {"NOISE": "0.25", "WORD": "work", "EXIT": "3"}
    checked = here.gage("rerun", "--check", "1", env=env).exits(1)
    assert checked.out == (
        "different\n"
        "  score: 1.0 -> 1.25 (relative difference 0.2)\n"
        "  exit: 0 -> 3\n"
        "  status: completed -> failed\n"
        "  changed: out/data.bin (from byte 73 on)\n"
        '  changed: out/text.txt (line 2: "second word" -> "second work")\n'
        "  changed: out/values.json"
        " (22 -> 23 bytes, at a.b[1]: 0.0 -> 0.25 (relative difference 1))\n"
        '  output: line 1: "score 1.0" -> "score 1.25" (not counted)\n'
        "The results differ; nothing recorded differs: the operation is not deterministic, or uses"
        " what is not staged (time, network, unseeded random numbers)\n"
    )
    assert "--times 2 tells" in checked.err
    extra = here.gage("rerun", "--check", "2", env={"EXTRA": "1"}).exits(1).out
    assert "  removed: out/data.bin\n  added: out/extra.txt\n" in extra


def test_metrics_may_differ_within_a_tolerance(project):
    script = SCORE.replace('json.dump({"a"', '0 and json.dump({"a"')
    here = project({"op.py": script})
    here.gage("run", "op.py").succeeds()

    def check(noise, *words):
        return here.gage("rerun", "--check", here.runs()[0].name, *words, env={"NOISE": noise})

    assert check("0.01", "--tolerance", "0.02").succeeds().out.startswith("identical\n")
    assert "(relative difference 0.0099)" in check("0.01", "--tolerance", "0.001").exits(1).out
    assert check("0.01").exits(1).out.startswith("different\n")


def test_what_is_printed_counts_if_asked_for(project):
    here = project({"op.py": "import os\nprint('a')\nprint(os.environ.get('WORD', 'b'))\n"})
    here.gage("run", "op.py").succeeds()
    env = {"WORD": "c"}
    checked = here.gage("rerun", "--check", "1", env=env).succeeds()
    assert '  output: line 2: "b" -> "c" (not counted)\n' in checked.out
    first = here.runs()[0].name
    counted = here.gage("rerun", "--check", first, "--output", env=env).exits(1)
    assert counted.out.startswith('different\n  output: line 2: "b" -> "c"\nThe results are the')


def test_reruns_that_differ_among_themselves_vary(project):
    script = """\
import json, os
seen = int(open(os.environ["COUNTER"]).read())
open(os.environ["COUNTER"], "w").write(str(seen + 1))
json.dump({"score": 100 + seen, "same": 1, "word": f"w{seen}"}, open("summary.json", "w"))
open("a.txt", "w").write(f"{seen % 2}")
if seen > 2:
    open("late.txt", "w").write("late")
"""
    here = project({"op.py": script})
    counter = here.dir.parent / "counter"
    counter.write_text("0")
    env = {"COUNTER": str(counter)}
    here.gage("run", "op.py", env=env).succeeds()
    checked = here.gage("rerun", "--check", "1", "--times", "3", env=env).exits(1)
    assert checked.out == (
        "varies\n"
        "  varies: score: 101 to 103, relative difference 0.019, was 100\n"
        "  varies: word: w1, w2, w3, was w0\n"
        "  varies: a.txt (2 contents in 3 reruns)\n"
        "  varies: late.txt (1 content, missing in 2 in 3 reruns)\n"
        "  output: same\n"
        "The reruns differ among themselves: the operation is not deterministic\n"
    )
    first = here.runs()[0].name
    told = here.gage("rerun", "--check", first, "--times", "2", "--json", env=env).exits(1).json
    assert told["verdict"] == "varies"
    assert [each["path"] for each in told["varying"]] == ["a.txt"]
    score = {"name": "score", "values": [104, 105], "original": 100}
    assert score.items() <= told["spreads"][0].items()
    assert [each["id"] for each in told["reruns"]] == [run.name for run in here.runs()[-2:]]


def test_numbers_alone_may_vary(project):
    script = "import os, json\njson.dump({'n': os.getpid()}, open('summary.json', 'w'))\n"
    here = project({"op.py": script})
    here.gage("run", "op.py").succeeds()
    checked = here.gage("rerun", "--check", "1", "--times", "2").exits(1)
    assert checked.out.startswith("varies\n  varies: n: ")


def test_a_rerun_without_results_is_not_the_same(project):
    lose = "os.unlink(os.environ['RUN_DIR'] + '.meta/manifest')"
    script = f"import os\nif 'LOSE' in os.environ:\n    {lose}\n"
    here = project({"op.py": script})
    here.gage("run", "op.py").succeeds()
    checked = here.gage("rerun", "--check", "1", env={"LOSE": "1"}).exits(1)
    name = (here.meta(here.runs()[1]) / "name").read_text().strip()
    assert checked.out.startswith("different\n")
    assert checked.out.endswith(f"Rerun {name} has no results: it is unknown\n")


def test_a_check_in_json(project):
    here = project({"op.py": SCORE})
    here.gage("run", "op.py").succeeds()
    told = here.gage("rerun", "--check", "1", "--json", env={"WORD": "work"}).exits(1).json
    assert told["verdict"] == "different" and told["changes"] == [] and told["output"] is None
    binary, text = told["files"]
    assert (binary["path"], binary["change"]) == ("out/data.bin", "changed")
    assert text["detail"] == 'line 2: "second word" -> "second work"'
    assert text["before"]["sha256"] != text["after"]["sha256"]


def test_only_a_run_that_has_ended_is_checked(project):
    here = project({"op.py": ""})
    here.gage("stage", "op.py").succeeds()
    refused = here.gage("rerun", "--check", "1").fails(125, "run-not-finished")
    assert "it is staged" in refused.err and len(here.runs()) == 1


def test_a_check_that_is_interrupted_has_no_verdict(project):
    here = project({"op.py": "import os, time\nif os.environ.get('WAIT'): time.sleep(60)\n"})
    here.gage("run", "op.py").succeeds()
    process = here.begin("rerun", "--check", "1", "--times", "2", env={**here.env, "WAIT": "1"})
    assert process.stderr.readline().startswith(b"gage: rerun 1 of 2")
    while here.gage("stop", here.runs()[-1].name).code != 0:
        pass
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, b"") and b"was stopped by SIGTERM" in err
    assert len(here.runs()) == 2


def test_what_a_run_made_may_be_gone_since(project):
    here = project({"op.py": SCORE})
    here.gage("run", "op.py").succeeds()
    shutil.rmtree(here.run() / "out")
    here.gage("rerun", "--check", "1").succeeds()
    told = here.gage("rerun", "--check", "2", env={"WORD": "work"}).exits(1).out
    assert "changed: out/text.txt (its content is not there any more)" in told


def test_wrong_words_for_a_check(project):
    here = project({"op.py": ""})
    here.gage("run", "op.py").succeeds()
    for words in (
        ["--times", "2"],
        ["--tolerance", "0.1"],
        ["--output"],
        ["--check", "--stage"],
        ["--check", "--times", "0"],
        ["--check", "--tolerance", "nan"],
        ["--check", "--tolerance", "-1"],
    ):
        here.gage("rerun", "1", *words).fails(2, "usage")
    assert len(here.runs()) == 1


def test_a_record_that_was_altered_is_not_run_again(project):
    here = project({"a.py": "print(1)\n"})
    here.gage("run", "a.py", "-q").succeeds()
    command = here.meta() / "proc" / "cmd"
    command.chmod(0o644)
    command.write_text(command.read_text().replace("a.py", "b.py"))
    refused = here.gage("rerun", "1").fails(125, "run-changed")
    assert "changed: meta proc/cmd" in refused.err
    assert len(here.runs()) == 1
