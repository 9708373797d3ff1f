"""The functions of `gage`, called from Python as users call them."""

import os
import signal
import subprocess
import sys

import pytest

TRAIN = """\
import json
lr = 0.1
sizes = [1, 2]
print('training')
json.dump({'loss': lr * 2}, open('summary.json', 'w'))
"""


def test_run_stages_starts_and_tells(project):
    here = project({"train.py": TRAIN})
    ran = here.python(
        "import gage\n"
        "record = gage.run('train.py', {'lr': 0.5}, label='l', tags=['b', 'a'])\n"
        "assert isinstance(record, gage.RunRecord)\n"
        "print(record.status, record.exit, record.reason, record.config, record.summary)\n"
        "print(record.label, record.tags, record.opref.name, record.cmd.args)\n"
        "times = [record.initialized, record.staged, record.started, record.stopped]\n"
        "assert times == sorted(times) and record.duration == times[3] - times[2], times\n"
        "print(record.run.run_dir, record.run.id)\n"
    ).succeeds()
    run = here.run()
    assert ran.out.splitlines() == [
        "training",
        "completed 0 None {'lr': 0.5, 'sizes': [1, 2]} {'loss': 1.0}",
        "l ['a', 'b'] train.py ['python3', 'train.py']",
        f"{run} {run.name}",
    ]


def test_stage_then_start(project):
    here = project({"train.py": TRAIN})
    ran = here.python(
        "import gage\n"
        "staged = gage.stage('train.py')\n"
        "print(staged.status, staged.started)\n"
        "print(gage.start(staged, echo=False).status)\n"
        "for name in ('id', 'prefix', 'name', 'path'):\n"
        "    staged = gage.stage('train.py')\n"
        "    run = staged.run\n"
        "    names = {'id': run.id, 'prefix': run.id[:8], 'name': staged.name}\n"
        "    named = names.get(name, run.run_dir)\n"
        "    print(gage.start(named, echo=False).status)\n"
    ).succeeds()
    assert ran.out.splitlines() == ["staged None"] + ["completed"] * 5


def test_output_goes_to_the_streams_of_the_caller_unless_it_is_not_wanted(project):
    here = project(
        {"noisy.py": "import sys\nprint('café')\nprint('err', file=sys.stderr)\n"},
    )
    ran = here.python(
        "import contextlib, gage, io\n"
        "out, err = io.StringIO(), io.StringIO()\n"
        "with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):\n"
        "    gage.run('noisy.py')\n"
        "    gage.run('noisy.py', echo=False)\n"
        "assert (out.getvalue(), err.getvalue()) == ('café\\n', 'err\\n'), (out, err)\n"
    ).succeeds()
    assert (ran.out, ran.err) == ("", "")


def test_a_run_that_fails_raises_nothing(project):
    here = project({"bad.py": "raise SystemExit(3)\n", "gage.toml": '[gone]\nexec = "no-such;"\n'})
    ran = here.python(
        "import gage\n"
        "for operation in ('bad.py', 'gone'):\n"
        "    record = gage.run(operation)\n"
        "    print(record.status, record.exit, record.reason)\n"
    ).succeeds()
    assert ran.out.splitlines() == [
        "failed 3 the command exited with 3",
        "failed 127 the command exited with 127",
    ]


def test_what_is_not_right_is_a_gage_error(project):
    here = project({"train.py": TRAIN})
    ran = here.python(
        "import gage\n"
        "staged = gage.stage('train.py')\n"
        "gage.start(staged, echo=False)\n"
        "for call in (\n"
        "    lambda: gage.run('trian.py'),\n"
        "    lambda: gage.stage('train.py', {'lrr': 1}),\n"
        "    lambda: gage.stage('train.py', {'lr': 'high'}),\n"
        "    lambda: gage.stage('train.py', tags=['']),\n"
        "    lambda: gage.stage(),\n"
        "    lambda: gage.start('zzzz'),\n"
        "    lambda: gage.start(staged),\n"
        "):\n"
        "    try:\n"
        "        call()\n"
        "    except gage.GageError as error:\n"
        "        print(error.reference, '|', error.hint)\n"
        "    else:\n"
        "        print('nothing was raised')\n"
    ).succeeds()
    assert ran.out.splitlines() == [
        "unknown-operation | did you mean train.py?",
        "unknown-config | did you mean lr?",
        "bad-config-value | None",
        "usage | None",
        "usage | gage run SCRIPT, or gage init",
        "run-not-found | gage list",
        "run-already-started | a staged run is started once; gage rerun makes another one of it",
    ]
    assert len(here.runs()) == 1


def test_project_and_runs_home_can_be_named(project):
    here = project({"inner/train.py": TRAIN})
    here.python(
        "import gage, os\n"
        "record = gage.run('train.py', project='inner', runs_home='kept', echo=False)\n"
        "assert record.run.run_dir == os.path.abspath('kept/' + record.run.id), record.run\n"
        "staged = gage.stage('train.py', project='inner')\n"
        "assert staged.run.run_dir == os.path.abspath('inner/.gage/runs/' + staged.run.id)\n"
        "assert [row['id'] for row in gage.runs(runs_home='kept')] == [record.run.id]\n"
        "assert [row['id'] for row in gage.runs(project='inner')] == [staged.run.id]\n"
        "gage.start(staged.name, project='inner', echo=False)\n"
    ).succeeds()
    listed = here.gage("-C", "inner", "list", "--json").succeeds().json
    assert [record["status"] for record in listed] == ["completed"]


def test_rows_are_flat_and_newest_first(project):
    here = project({"train.py": TRAIN})
    ran = here.python(
        "import datetime, gage\n"
        "assert gage.runs() == []\n"
        "gage.run('train.py', {'lr': 0.5}, label='l', tags=['t'], echo=False)\n"
        "gage.stage('train.py')\n"
        "staged, done = gage.runs()\n"
        "for row in (staged, done):\n"
        "    assert not any(isinstance(value, dict) for value in row.values()), row\n"
        "assert [staged[n] for n in ('status', 'duration', 'started')] == ['staged', None, None]\n"
        "assert done['started'].utcoffset() == datetime.timedelta(0)\n"
        "assert (done['stopped'] - done['started']).total_seconds() == done['duration'] > 0\n"
        "print(done['config.lr'], done['config.sizes'], done['summary.loss'], done['tags'])\n"
        "print(done['operation'], done['status'], done['label'], done['exit'], done['damage'])\n"
    ).succeeds()
    assert ran.out == "0.5 [1, 2] 1.0 ('t',)\ntrain.py completed l 0 None\n"
    (here.meta(here.runs()[0]) / "name").unlink()
    damaged = here.python("import gage\nprint(gage.runs()[1]['damage'])").succeeds()
    assert "name" in damaged.out


def test_current_run_is_the_run_that_a_process_belongs_to(project):
    here = project(
        {
            "a.py": (
                "import gage, os\n"
                "x = 1\n"
                "run = gage.current_run()\n"
                "print(run.status, run.config, run.run.id == os.environ['RUN_ID'])\n"
            ),
            "outer.py": (
                "import gage\n"
                "inner = gage.run('inner.py')\n"
                "print('outer', gage.current_run().opref.name, inner.status)\n"
            ),
            "inner.py": "import gage\nprint('inner', gage.current_run().opref.name)\n",
        }
    )
    assert here.gage("run", "a.py", "x=2", "-q").succeeds().out == "running {'x': 2} True\n"
    subprocess.run(["git", "init", "--quiet"], cwd=here.dir, check=True)
    nested = here.gage("run", "outer.py", "-q").succeeds()
    assert nested.out == "inner inner.py\nouter outer.py completed\n"
    within = here.gage("list", "--json", cwd=here.runs()[1]).succeeds().json
    assert [record["operation"] for record in within] == ["inner.py", "outer.py", "a.py"]
    assert here.python("import gage\nprint(gage.current_run())").succeeds().out == "None\n"


def test_an_interrupted_run_is_finalized_then_the_interrupt_is_raised(project):
    here = project(
        {
            "wait.py": "import time\nprint('ready', flush=True)\ntime.sleep(60)\n",
            "call.py": (
                "import gage, signal\n"
                "before = signal.getsignal(signal.SIGINT)\n"
                "try:\n"
                "    gage.run('wait.py')\n"
                "except KeyboardInterrupt:\n"
                "    print('interrupted', gage.runs()[0]['status'], gage.runs()[0]['reason'])\n"
                "assert signal.getsignal(signal.SIGINT) is before\n"
            ),
        }
    )
    process = subprocess.Popen(
        [sys.executable, "call.py"],
        cwd=here.dir,
        env=here.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"interrupted terminated stopped by SIGINT\n")


def test_runs_in_threads(project):
    here = project({"a.py": "x = 1\nprint(x)\n"})
    ran = here.python(
        "import gage\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def run(x):\n"
        "    return gage.run('a.py', {'x': x}, echo=False)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    records = list(pool.map(run, range(8)))\n"
        "print({record.status for record in records}, len(gage.runs()))\n"
    ).succeeds()
    assert ran.out == "{'completed'} 8\n"


def test_public_names():
    import gage

    for name in gage.__all__:
        assert getattr(gage, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = gage.nonsense


def test_import_is_light(project):
    loaded = project().python("import sys, gage\nprint(*sorted(sys.modules))").succeeds().out
    heavy = {"rich", "subprocess", "asyncio", "importlib.metadata", "tomllib", "dataclasses"}
    assert not heavy & set(loaded.split())


def test_a_run_is_chosen_for_a_dependency(project):
    gage_file = """
[prepare]
exec = "cp word.txt out.txt"

[use]
exec = "true"
sourcecode = false
depends = { run-files = "prepare", select = "out.txt" }
"""
    here = project({"gage.toml": gage_file, "word.txt": "1"})
    ran = here.python(
        "import gage, os\n"
        "first = gage.run('prepare', echo=False)\n"
        "open('word.txt', 'w').write('2')\n"
        "gage.run('prepare', echo=False)\n"
        "for choice in ({}, {'prepare': first}, {'prepare': first.name}):\n"
        "    staged = gage.stage('use', choice)\n"
        "    print(open(os.path.join(staged.run.run_dir, 'out.txt')).read())\n"
    ).succeeds()
    assert ran.out.split() == ["2", "1", "1"]


def test_a_batch_is_staged_and_its_runs_are_a_group(project):
    here = project({"train.py": TRAIN})
    told = here.python(
        "import gage\n"
        "configs = [{'lr': 0.5}, {'lr': 0.25, 'sizes': [3]}]\n"
        "records = gage.stage_batch('train.py', configs, group='g', tags=['t'], share=True)\n"
        "for r in records: print(r.status, r.group, r.config, r.tags)\n"
        "print(gage.start(records[1], echo=False).summary)\n"
        "(one,) = gage.stage_batch('train.py', [{}])\n"
        "print(one.group != 'g' and len(one.group))\n"
    ).succeeds()
    assert told.out.splitlines() == [
        "staged g {'lr': 0.5, 'sizes': [1, 2]} ['t']",
        "staged g {'lr': 0.25, 'sizes': [3]} ['t']",
        "{'loss': 0.5}",
        "11",
    ]
