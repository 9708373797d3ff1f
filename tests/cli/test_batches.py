import json
import os
import shutil
import sys

import pytest

TRAIN = """\
import json
import sys
lr = 0.1
seed = 0
print("lr", lr, "seed", seed)
json.dump({"loss": abs(lr - 0.3) + seed}, open("summary.json", "w"))
sys.exit(seed == 13)
"""

# Stages nothing, but does what somebody may do to a project while a batch is staged.
MEDDLING = """
[train]
exec = {{ run = "python3 train.py", stage-runtime = "{python} {script}" }}
config = "train.py"
depends = {{ project-files = "data", target = "data" }}
sourcecode = ["-data/**"]
"""


def meddling(project, code, **files):
    """Return a project that executes some code in each run while that is staged.

    The code has `seed` of the run, and `project`.
    """
    here = project({"train.py": TRAIN, "data/a.csv": "1,2\n", **files})
    script = here.write(
        "../meddle.py",
        "import os, re, signal\n"
        "seed = int(re.search('^seed = (.*)', open('train.py').read(), re.M)[1])\n"
        "project = os.environ['PROJECT_DIR']\n" + code,
    )
    here.write("gage.toml", MEDDLING.format(python=sys.executable, script=script))
    return here


def statuses(here, *words):
    return [row["status"] for row in reversed(here.gage("list", "--json", *words).json)]


def configs(here, *words):
    return [row["config"] for row in reversed(here.gage("list", "--json", *words).json)]


def test_a_batch_is_a_run_for_each_combination_and_each_is_whole(project):
    here = project({"train.py": TRAIN, "data.csv": "1\n"})
    staged = here.gage("stage", "train.py", "lr=[0.5,0.25]", "seed=range(2)").succeeds()
    ids = staged.out.split()
    assert [path.name for path in here.runs()] == ids and len(ids) == 4
    assert configs(here) == [{"lr": lr, "seed": seed} for lr in (0.5, 0.25) for seed in (0, 1)]
    groups = {(here.meta(path) / "group").read_text() for path in here.runs()}
    assert len(groups) == 1
    (group,) = (each.strip() for each in groups)
    assert staged.err == f"gage: staged 4 runs as group {group}\n"
    for path in ("train.py", "data.csv"):
        (here.dir / path).unlink()
    here.gage("verify", *ids).succeeds()
    started = here.gage("start", *ids, "-q").succeeds()
    assert started.out == "".join(f"lr {lr} seed {seed}\n" for lr in (0.5, 0.25) for seed in (0, 1))
    assert not [path.name for path in here.runs_home.iterdir() if path.name.startswith(".")]


def test_a_run_of_a_batch_is_as_one_that_is_staged_alone(project):
    files = {
        "train.py": TRAIN,
        "lib/x.py": "y = 1\n",
        "run.sh": "",
        ".env": "A=1\n",
        "w.bin": b"\0",
    }
    here = project(files)
    (here.dir / "run.sh").chmod(0o750)
    os.symlink("x.py", here.dir / "lib" / "z.py")
    alone = here.gage("stage", "train.py", "seed=1").succeeds()
    batch = here.gage("stage", "train.py", "seed=[1,2]").succeeds()
    # What there is to tell is told once.
    assert batch.err.startswith(alone.err) and batch.err.count("\n") == alone.err.count("\n") + 1
    first, second, third = here.runs()
    for name in (
        "manifest",
        "opdef.json",
        "config.json",
        "proc/cmd",
        "log/patched",
        "requires.json",
    ):
        mine, its = (here.meta(path) / name for path in (first, second))
        assert mine.read_bytes() == its.read_bytes(), name
    logs = [(here.meta(path) / "log/runner").read_text().splitlines() for path in here.runs()]
    sentences = [[line.partition(" ")[2] for line in log] for log in logs]
    assert sentences[0] == sentences[1] == sentences[2]
    assert os.readlink(third / "lib" / "z.py") == "x.py"
    assert (third / "train.py").read_text() == TRAIN.replace("seed = 0", "seed = 2")


def test_all_runs_have_the_same_files_whatever_is_done_to_the_project_meanwhile(project):
    here = meddling(
        project,
        "for name in ('train.py', 'data/a.csv'):\n"
        "    open(os.path.join(project, name), 'a').write('print()\\n')\n"
        "open(os.path.join(project, f'new{seed}.py'), 'w').close()\n"
        "os.unlink(os.path.join(project, 'gone.py')) if seed == 0 else None\n",
        **{"gone.py": "here = 1\n", "lib/a.py": "1\n"},
    )
    here.gage("stage", "train", "seed=range(3)").succeeds()
    assert len(here.runs()) == 3
    for seed, run in enumerate(here.runs()):
        assert (run / "train.py").read_text() == TRAIN.replace("seed = 0", f"seed = {seed}")
        assert (run / "gone.py").read_text() == "here = 1\n"
        assert not list(run.glob("new*"))
    assert len({(run / "data/data/a.csv").read_text() for run in here.runs()}) == 1
    # Nobody has said that it would be otherwise for one that is staged now.
    assert len((here.dir / "train.py").read_text()) > len(TRAIN)


def test_the_newest_run_of_a_dependency_is_the_same_for_all(project):
    here = project(
        {
            "gage.toml": """
[make]
exec = "sh -c 'date +%N > made.txt'"
[use]
exec = { run = "cat made.txt", stage-dependencies = "sh -c '$GAGE -C $PROJECT_DIR run make -q'" }
config = { env = { A = "x" } }
depends = { run-files = "make", select = "made.txt" }
"""
        }
    )
    env = {"GAGE": f"{sys.executable} -m gage"}
    here.gage("run", "make").succeeds()
    staged = here.gage("stage", "use", "A=[a,b,c]", env=env).succeeds()
    made = {(here.runs_home / run_id / "made.txt").read_text() for run_id in staged.out.split()}
    assert len(staged.out.split()) == 3 and len(made) == 1
    assert statuses(here, "-o", "make") == ["completed"] * 4


def test_runs_that_share_have_the_same_files_under_other_names(project):
    here = project({"train.py": TRAIN, "a.txt": "a\n", "w/log.txt": "\n"})
    here.write(
        "gage.toml", '[t]\nexec = "python3 train.py"\nconfig = "train.py"\nwritable = "w/**"\n'
    )
    here.gage("stage", "t", "seed=range(3)", "--share").succeeds()

    def inodes(name):
        return {(run / name).stat().st_ino for run in here.runs()}

    assert [len(inodes(name)) for name in ("a.txt", "train.py", "w/log.txt")] == [1, 3, 3]
    first = here.runs()[0]
    assert (first / "a.txt").stat().st_nlink == 3
    assert (first / "a.txt").stat().st_ino != (here.dir / "a.txt").stat().st_ino
    here.gage("delete", "-y", first.name).succeeds()
    here.gage("purge", "--all", "-y").succeeds()
    here.gage("start", *(run.name for run in here.runs())).succeeds()


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
def test_what_is_staged_when_somebody_ends_it_is_staged_and_it_goes_on(project, signal):
    here = meddling(
        project,
        f"if seed == 2 and not os.path.exists(project + '/../ended'):\n"
        f"    open(project + '/../ended', 'w').close()\n"
        f"    os.kill(os.getppid(), signal.{signal})\n"
        f"    if '{signal}' == 'SIGINT': signal.pause()\n",
    )
    command = ("stage", "train", "seed=range(4)", "--group", "g")
    ended = here.gage(*command)
    if signal == "SIGINT":
        told = "2 of 4 runs are staged; the same command with --group g stages the others"
        assert ended.code == 1 and told in ended.err
        assert statuses(here) == ["staged", "staged", "failed"]
    else:
        assert ended.code == -9 and "staged" not in statuses(here)
    staged = [run for run in here.runs() if (here.meta(run) / "staged").exists()]
    again = here.gage(*command).succeeds()
    assert again.out.split()[: len(staged)] == [run.name for run in staged]
    assert len(again.out.split()) == 4
    good = configs(here, "-s", "staged")
    assert sorted(config["seed"] for config in good) == [0, 1, 2, 3]
    here.gage("start", *again.out.split(), "-q").succeeds()


def test_a_run_that_cannot_be_staged_ends_the_batch_and_leaves_those_before_it(project):
    here = meddling(project, "if seed == 2: raise SystemExit('no')")
    failed = here.gage("stage", "train", "seed=range(4)").fails(1, "hook-failed")
    assert "2 of 4 runs are staged" in failed.err and failed.out == ""
    assert statuses(here) == ["staged", "staged", "failed"]


def test_values_that_a_command_cannot_have_are_found_before_anything_is_made(project):
    here = project(
        {
            "a.py": "import argparse\np = argparse.ArgumentParser()\n"
            "p.add_argument('--mode', default='a', choices=['a', 'b'])\np.parse_args()\n"
        }
    )
    failed = here.gage("stage", "a.py", "mode=[a,b,c]")
    assert failed.code == 1 and "mode" in failed.err
    assert not here.runs_home.exists() or not here.runs()


def test_running_a_batch_tells_the_first_failure(project):
    here = project({"train.py": TRAIN})
    ran = here.gage("run", "train.py", "seed=[1,13,2]", "--keep-going", "--json").exits(1)
    records = json.loads(ran.out)
    assert [record["status"] for record in records] == ["completed", "failed", "completed"]
    assert len({record["group"] for record in records}) == 1
    assert ran.err.startswith("gage: staged 3 runs as group ")
    assert "lr 0.1 seed 2\n" in ran.err


def test_a_list_of_one_is_a_batch_of_one(project):
    here = project({"train.py": TRAIN})
    (one,) = here.gage("stage", "train.py", "seed=[1]", "--json").succeeds().json
    assert one == {"id": here.run().name, "run_dir": str(here.run())}
    assert (here.meta() / "group").exists()


def test_what_is_left_out_is_told(project):
    here = project({"train.py": TRAIN})
    told = here.gage("stage", "train.py", "seed=range(9)", "--max-runs", "2").succeeds()
    assert "--max-runs leaves out 7 of 9 runs" in told.err and len(here.runs()) == 2
    told = here.gage("stage", "train.py", "seed=[1,1,2]").succeeds()
    assert "1 run would be the same as others" in told.err and len(told.out.split()) == 2


def test_a_random_search_can_be_repeated(project):
    here = project({"train.py": TRAIN})
    told = here.gage("stage", "train.py", "lr=uniform(0, 1)", "--trials", "3").succeeds()
    seed = told.err.partition("--seed ")[2].split()[0]
    again = here.gage("stage", "train.py", "lr=uniform(0, 1)", "--trials", "4", "--seed", seed)
    assert "drawn at random" not in again.err
    drawn = [config["lr"] for config in configs(here)]
    assert drawn[:3] == drawn[3:6] and len(set(drawn)) == 4


def test_rows_of_a_file_are_runs(project):
    here = project({"train.py": TRAIN, "rows.csv": "lr,seed\n0.5,1\n0.25,2\n"})
    here.gage("stage", "train.py", "--batch", "rows.csv", cwd=here.dir).succeeds()
    assert configs(here) == [{"lr": 0.5, "seed": 1}, {"lr": 0.25, "seed": 2}]
    here.write("rows.csv", "lr,sed\n0.5,1\n")
    failed = here.gage("stage", "train.py", "--batch", "rows.csv").fails(1, "unknown-config")
    assert "rows.csv:2: train.py has no config sed" in failed.err
    here.gage("stage", "train.py", "--batch", "x.csv").fails(1, "batch-file-invalid")


def test_a_preview_is_of_the_first_run(project):
    here = project({"train.py": TRAIN})
    told = here.gage("stage", "train.py", "seed=[4,5]", "--preview").succeeds()
    assert "seed=4" in told.out and "this is the first of 2 runs" in told.err
    assert not here.runs_home.exists()


def test_a_group_stands_for_its_runs(project):
    here = project({"train.py": TRAIN})
    here.gage("run", "train.py", "lr=[0.5,0.25]", "seed=[0,13]", "--group", "sweep", "-k").exits(1)
    here.gage("run", "train.py").succeeds()
    assert len(here.gage("list", "--group", "sweep", "--json").json) == 4
    shown = here.gage("show", "--group", "sweep").succeeds()
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["name", "status", "took", "lr", "seed", "loss"]
    assert [line[1:2] + line[3:5] for line in lines[1:]] == [
        [status, lr, seed]
        for lr in ("0.5", "0.25")
        for status, seed in (("completed", "0"), ("failed", "13"))
    ]
    assert shown.err == "gage: group sweep: 4 runs, 2 completed, 2 failed\n"
    as_json = here.gage("show", "--group", "sweep", "--json").json
    assert as_json["varied"] == ["lr", "seed"] and len(as_json["runs"]) == 4
    assert "group        sweep\n" in here.gage("show", "2").out

    here.gage("pack", "--group", "sweep").succeeds()
    assert (here.dir / "sweep.capsule.zip").exists()
    remote = here.dir.parent / "remote"
    pushed = here.gage("push", "--group", "sweep", str(remote)).succeeds()
    assert "4 runs pushed" in pushed.err
    assert len(here.gage("list", "--remote", str(remote), "--group", "sweep", "--json").json) == 4
    here.gage("delete", "--group", "sweep", "-y").succeeds()
    assert len(here.runs()) == 1
    for words in (["list"], ["show"], ["delete", "-y"], ["pack"], ["push", str(remote)]):
        told = here.gage(*words, "--group", "none")
        assert told.code == (0 if words == ["list"] else 1)
        assert "no runs that match" in told.err or "[run-not-found]" in told.err


def test_commands_want_a_run_or_a_group(project):
    here = project({"train.py": TRAIN})
    for words in (["delete"], ["pack"], ["push", "x"]):
        here.gage(*words).fails(2, "usage")
    here.gage("stage", "train.py", "--group", "a\nb").fails(2, "usage")


def test_what_a_completed_run_did_is_not_needed_again(project):
    here = project({"train.py": TRAIN})
    first = here.gage("run", "train.py", "seed=1", "--needed").succeeds()
    assert "not needed" not in first.err
    # It is the same, though no value is given: that is what the source has now.
    here.write("train.py", TRAIN.replace("seed = 0", "seed = 1"))
    again = here.gage("run", "train.py", "--needed").succeeds()
    assert "not needed: run" in again.err and again.out == "" and len(here.runs()) == 1
    here.write("train.py", TRAIN)
    staged = here.gage("stage", "train.py", "seed=range(3)", "--needed", "--json").succeeds()
    assert len(staged.json) == 2 and "staged 2 runs of 3 as group" in staged.err
    assert [config["seed"] for config in configs(here)] == [1, 0, 2]
    # One that has not completed makes none needless, and neither does one of other source.
    assert len(here.gage("stage", "train.py", "seed=[0]", "--needed").succeeds().out.split()) == 1
    here.write("train.py", TRAIN + "#\n")
    assert len(here.gage("stage", "train.py", "seed=[1]", "--needed").succeeds().out.split()) == 1
    assert not [path.name for path in here.runs_home.iterdir() if path.name.startswith(".")]


def test_a_failed_run_makes_none_needless(project):
    here = project({"train.py": TRAIN})
    here.gage("run", "train.py", "seed=13").exits(1)
    here.gage("run", "train.py", "seed=13", "--needed").exits(1)
    assert statuses(here) == ["failed", "failed"]


def test_what_a_link_leads_to_may_have_changed(project):
    here = project(
        {
            "data.txt": "v1\n",
            "gage.toml": "[show]\nexec = \"sh -c 'cat data.txt'\"\n"
            'sourcecode = ["-data.txt"]\n'
            'depends = {project-files = "data.txt", link = "symlink"}\n',
        }
    )
    assert here.gage("run", "show", "--needed").succeeds().out == "v1\n"
    here.write("data.txt", "v2\n")
    assert here.gage("run", "show", "--needed").succeeds().out == "v2\n"
    assert len(here.runs()) == 2
    here.gage("verify", "1", "2").succeeds()


def test_another_python_does_not_do_the_same(project, tmp_path):
    here = project({"train.py": TRAIN})
    for name, version in (("old", (3, 9, 1)), ("new", (3, 11, 2))):
        # Which it is that it says; what runs is the same.
        asked = f"import sys; sys.version_info = ({', '.join(map(str, version))}); "
        here.write(
            f"{name}/python3",
            '#!/bin/sh\nif [ "$1" = -c ]; then\n'
            f'  code="{asked}$2"\n  exec {sys.executable} -c "$code"\n'
            f'fi\nexec {sys.executable} "$@"\n',
            0o755,
        )
    paths = {name: {"PATH": f"{here.dir}/{name}:{here.env['PATH']}"} for name in ("old", "new")}
    here.gage("run", "train.py", "--needed", env=paths["old"]).succeeds()
    assert "not needed" in here.gage("run", "train.py", "--needed", env=paths["old"]).err
    ran = here.gage("run", "train.py", "--needed", env=paths["new"]).succeeds()
    assert "not needed" not in ran.err
    assert [
        json.loads((here.meta(run) / "sys/interpreter").read_text())["version"]
        for run in here.runs()
    ] == ["3.9.1", "3.11.2"]
    for name in paths:
        assert "not needed" in here.gage("run", "train.py", "--needed", env=paths[name]).err


def test_a_run_is_the_prototype_of_others(project):
    here = project({"train.py": TRAIN, "data.csv": "1\n"})
    here.gage("run", "train.py", "lr=0.5").succeeds()
    original = here.run()
    shutil.rmtree(here.dir / "data.csv", ignore_errors=True)
    (here.dir / "train.py").unlink()
    ran = here.gage("run", "--proto", "1", "seed=2", "--label", "l").succeeds()
    assert ran.out == "lr 0.5 seed 2\n"
    _, variant = here.runs()
    meta = here.meta(variant)
    assert (meta / "proto").read_text() == f"{original.name}\n"
    assert f"proto        {original.name}\n" in here.gage("show", "1").out
    assert (variant / "data.csv").read_text() == "1\n"
    assert (variant / "train.py").read_text() == TRAIN.replace("lr = 0.1", "lr = 0.5").replace(
        "seed = 0", "seed = 2"
    )
    patch = (meta / "log/patched").read_text()
    assert all(
        line in patch for line in ("-lr = 0.1\n", "+lr = 0.5\n", "-seed = 0\n", "+seed = 2\n")
    )
    here.gage("verify", "1").succeeds()
    # What was changed is taken back where the source's own value is asked for.
    here.gage("run", "--proto", "1", "lr=0.1", "seed=0").succeeds()
    assert (here.runs()[2] / "train.py").read_text() == TRAIN
    assert not (here.meta(here.runs()[2]) / "log/patched").exists()
    many = here.gage("stage", "--proto", "2", "seed=[3,4]").succeeds()
    assert len(many.out.split()) == 2 and "staged 2 runs as group" in many.err
    assert configs(here)[-2:] == [{"lr": 0.5, "seed": 3}, {"lr": 0.5, "seed": 4}]
    assert "not needed" in here.gage("run", "--proto", "1", "seed=2", "--needed").succeeds().err


def test_a_variant_is_what_would_have_been_staged(project):
    here = project({"train.py": TRAIN, "lib/x.py": ""})
    here.gage("stage", "train.py", "lr=0.5").succeeds()
    here.gage("stage", "--proto", "1", "seed=3", "lr=0.25").succeeds()
    here.gage("stage", "train.py", "seed=3", "lr=0.25").succeeds()
    _, variant, direct = (here.meta(run) for run in here.runs())
    for name in ("manifest", "config.json", "opdef.json", "log/patched", "requires.json", "opref"):
        assert (variant / name).read_bytes() == (direct / name).read_bytes(), name
    inputs = [(meta / "seal").read_text().splitlines()[1] for meta in (variant, direct)]
    assert inputs[0] == inputs[1]


def test_the_command_of_a_variant_is_made_anew(project):
    here = project(
        {
            "a.py": "import argparse, os\np = argparse.ArgumentParser()\n"
            "p.add_argument('--n', type=int, default=1)\n"
            "print(p.parse_args().n, os.environ['X'])\n",
            "gage.toml": '[t]\nexec = "python3 a.py"\n'
            'config = [{args = "a.py"}, {env = {X = "x"}}]\n',
        }
    )
    assert here.gage("run", "t", "n=2").succeeds().out == "2 x\n"
    assert here.gage("run", "--proto", "1", "X=y", "-q").succeeds().out == "2 y\n"
    assert here.gage("run", "--proto", "1", "n=1", "-q").succeeds().out == "1 y\n"


def test_what_is_no_prototype(project):
    here = project(
        {"train.py": TRAIN, "gage.toml": '[t]\nexec = { run = "true", stage-runtime = "false" }\n'}
    )
    here.gage("stage", "t").fails(1, "hook-failed")
    here.gage("run", "--proto", "1").fails(125, "run-not-staged")
    here.gage("stage", "train.py").succeeds()
    here.gage("run", "--proto", "1", "train.py").fails(2, "usage")
    here.gage("run", "--proto", "1", "sed=1").fails(125, "unknown-config")
    here.gage("stage", "--proto", "1", "--preview").fails(2, "usage")
    staged = here.runs()[-1]
    (staged / "train.py").chmod(0o644)
    (staged / "train.py").write_text(TRAIN.replace("0.1", "0.2"))
    here.gage("run", "--proto", "1", "seed=1").fails(125, "run-changed")
    assert statuses(here) == ["failed", "staged", "failed"]


def test_what_hooks_made_is_taken_as_it_is(project):
    here = meddling(project, "open('made.txt', 'w').write(str(seed))")
    here.gage("stage", "train", "seed=5").succeeds()
    told = here.gage("stage", "--proto", "1", "seed=6").succeeds()
    assert "what hooks of run" in told.err
    assert (here.runs()[1] / "made.txt").read_text() == "5"


def test_the_staged_runs_of_a_group_are_started(project):
    here = project({"train.py": TRAIN})
    here.gage("stage", "train.py", "seed=range(3)", "--group", "g").succeeds()
    here.gage("start", here.runs()[1].name, "-q").succeeds()
    started = here.gage("start", "--group", "g", "-q").succeeds()
    assert started.out == "lr 0.1 seed 0\nlr 0.1 seed 2\n"
    assert "no run that is staged" in here.gage("start", "--group", "g").succeeds().err
    here.gage("start", "--group", "none").fails(125, "run-not-found")
    for command in ("start", "stop"):
        here.gage(command).fails(2, "usage")


def test_the_running_runs_of_a_group_are_stopped(project):
    code = "import signal\nseed = 0\nprint('here', flush=True)\nsignal.pause()\n"
    here = project({"wait.py": code})
    here.gage("stage", "wait.py", "seed=range(2)", "--group", "g").succeeds()
    process = here.begin("start", "--group", "g")
    assert process.stdout.readline() == b"here\n"
    assert "is terminated" in here.gage("stop", "--group", "g").succeeds().err
    process.communicate(timeout=60)
    assert statuses(here) == ["terminated", "staged"]
    here.gage("stop", "--group", "g").fails(1, "run-not-running")


def test_a_batch_starts_only_what_it_describes(project):
    here = project({"train.py": TRAIN})
    here.gage("stage", "train.py", "lr=0.9", "seed=[1]", "--group", "g").succeeds()
    ran = here.gage("run", "train.py", "lr=[0.5,0.25]", "--group", "g", "--json").succeeds()
    assert [record["config"]["lr"] for record in json.loads(ran.out)] == [0.5, 0.25]
    assert statuses(here)[0] == "staged"
    again = here.gage("run", "train.py", "lr=[0.5,0.25]", "--group", "g").succeeds()
    told = "2 runs of these were in the group before, with the source of then: 2 completed"
    assert told in again.err
