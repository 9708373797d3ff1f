"""What is Slurm's own: its scripts, arrays, requeues and refusals, in a real cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Project
from gage._internal.engines.slurm import Slurm
from gage._internal.store.resources import Resources
from gage.plugins import Job, Submission

from .conftest import Bench, GivenSlurm, make_bench
from .slurm_cluster import Cluster, until

# Goes on where it was, if it is started again.
STEPS = """
echo "begun by $$" >> began
trap 'sleep 0.2; exit 9' TERM
while [ "$(wc -l < began)" = 1 ] || [ ! -e "$WAIT" ]; do sleep 0.05; done
"""


def jobs_in(bench: Bench) -> Path:
    (folder,) = (bench.project.runs_home / ".jobs").iterdir()
    return folder


def test_a_script_says_all_that_slurm_is_told(at_slurm: Bench) -> None:
    runs = [at_slurm.stage() for _ in range(2)]
    with at_slurm.given.held():
        jobs = at_slurm.submit(*runs)
        folder = jobs_in(at_slurm)
        (runner,) = (at_slurm.project.runs_home / ".runner").iterdir()
        assert (folder / "job.sh").read_text() == (
            f"#!/bin/sh\n#SBATCH --job-name={folder.name}-0\n#SBATCH --array=0-1\n"
            "#SBATCH --output=%A_%a.log\n#SBATCH --open-mode=append\n#SBATCH --requeue\n"
            "#SBATCH --cpus-per-task=1\n\n"
            "# Task N executes run number N of runs.json, from 0."
            " What a run prints is kept with it; what is in the way of one is told here.\n"
            "# Seconds that a run has to end when it is told to, before Slurm kills it"
            " (KillWait).\n"
            'export GAGE_GRACE="${GAGE_GRACE:-20}"\n'
            f"exec python3 -I {runner} job --of {folder}/runs.json"
            ' "$SLURM_ARRAY_TASK_ID"\n'
        )
        assert [row["job"] for row in jobs] == [f"{jobs[0]['job'][:-2]}_{n}" for n in (0, 1)]
        at_slurm.gage("stop", *runs).succeeds()


def test_options_and_resources_are_told(cluster: Cluster, project: Callable[..., Project]) -> None:
    settings = (
        'options = { partition = "urgent", time = "1:00:00", limit = 1, grace = 5,'
        ' sbatch = ["--nice=5"] }\n'
    )
    here = make_bench(project, GivenSlurm(cluster), settings)
    here.project.write(
        "gage.toml",
        (here.project.dir / "gage.toml").read_text().replace(
            "resumable = false", 'resources = { cpus = 2, memory = "300MB" }'
        ),
    )  # fmt: skip
    runs = [here.stage() for _ in range(3)]
    submitted = here.begin("start", "--on", "there", "--wait", *runs)
    number = re.compile(rb"is job (\d+)_0 of slurm")
    line = submitted.stderr.readline()
    match = number.search(line)
    assert match, line
    told = cluster.tell("scontrol", "show", "job", match[1].decode())
    for word in ("Partition=urgent", "TimeLimit=01:00:00", "ArrayTaskThrottle=1", "NumCPUs=2"):
        assert word in told, told
    assert "MinMemoryNode=287M" in told and "Nice=5" in told
    submitted.communicate(timeout=60)
    assert submitted.returncode == 0
    assert "GAGE_GRACE:-5}" in (jobs_in(here) / "job.sh").read_text()


def test_runs_of_other_resources_are_an_array_of_their_own(at_slurm: Bench) -> None:
    gage_file = at_slurm.project.dir / "gage.toml"
    plain = gage_file.read_text()
    runs = []
    for cpus in (1, 2, 1, 2, 1):
        gage_file.write_text(plain.replace("resumable = false", f"resources.cpus = {cpus}"))
        runs.append(at_slurm.stage(CODE=len(runs)))
    rows = at_slurm.submit(*runs)
    first, second = (row["job"].split("_")[0] for row in rows[:2])
    assert [row["job"] for row in rows] == [
        f"{first}_0", f"{second}_0", f"{first}_2", f"{second}_2", f"{first}_4",
    ]  # fmt: skip
    scripts = {path.name: path.read_text() for path in jobs_in(at_slurm).glob("*.sh")}
    assert scripts.keys() == {"job-0.sh", "job-1.sh"}
    assert "--array=0,2,4\n" in scripts["job-0.sh"] and "--array=0,2\n" in scripts["job-1.sh"]
    assert scripts["job-1.sh"].endswith('"$((SLURM_ARRAY_TASK_ID + 1))"\n')
    at_slurm.until_over(*runs)
    shown = [at_slurm.gage("show", run, "--json").json for run in runs]
    assert [show["exit"] for show in shown] == ["0", "1", "2", "3", "4"]
    assert [show["job"]["job"] for show in shown] == [row["job"] for row in rows]


def test_more_than_an_array_holds_are_several(
    cluster: Cluster, project: Callable[..., Project]
) -> None:
    here = make_bench(project, GivenSlurm(cluster), "options.chunk = 2\n")
    runs = here.stage_many("work", 5)
    rows = here.submit(*runs)
    assert len({row["job"].split("_")[0] for row in rows}) == 3
    here.until_over(*runs)
    assert [here.began(run) for run in runs] == [1] * 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ('partition = "nothing"', "Slurm refused: "),
        ('sbatch = ["--no-such-option"]', "Slurm refused: "),
        ('partitoin = "debug"', "Slurm has no option partitoin"),
        ("limit = 0", "the option limit of Slurm must be a number, not 0"),
        ('partition = "a\\nb"', "the option partition of Slurm must be a text"),
        ('sbatch = "--nice"', "the option sbatch of Slurm must be texts"),
        ('python = ""', "the option python of Slurm must be a text"),
    ],
)
def test_what_slurm_refuses_stays_staged(
    cluster: Cluster, project: Callable[..., Project], options: str, told: str
) -> None:
    here = make_bench(project, GivenSlurm(cluster), f"options = {{ {options} }}\n")
    run = here.stage()
    refused = here.gage("start", "--on", "there", run).fails(125, "engine-failed")
    assert told in refused.err
    assert here.status(run) == "staged" and not here.has_job(run)
    assert not list((here.project.runs_home / ".jobs").iterdir())
    assert here.log(run).endswith(" Not submitted: it was refused\n")
    here.gage("start", run).succeeds()


def test_where_there_is_no_slurm_nothing_is_submitted(
    project: Callable[..., Project], tmp_path: Path
) -> None:
    here = project({"a.py": "x = 1\n"})
    env = {"PATH": str(tmp_path)}
    told = here.gage("run", "a.py", "--on", "slurm", env=env).fails(125, "engine-unreachable")
    assert "gage: there is no squeue here" in told.err and here.runs() == []
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    (tmp_path / "squeue").chmod(0o755)
    told = here.gage("run", "a.py", "--on", "slurm", env=env).fails(125, "engine-failed")
    assert "gage: there is no sbatch here" in told.err
    assert here.gage("list", "--json").json[0]["status"] == "staged"


def test_all_are_submitted_or_none(at_slurm: Bench, cluster: Cluster) -> None:
    gage_file = at_slurm.project.dir / "gage.toml"
    runs = [at_slurm.stage()]
    changed = gage_file.read_text().replace("resumable = false", "resources.cpus = 99")
    gage_file.write_text(changed)
    runs.append(at_slurm.stage())
    with at_slurm.given.held():
        at_slurm.gage("start", "--on", "there", *runs).fails(125, "engine-failed")
        assert not any(at_slurm.has_job(run) for run in runs)
        listed = cluster.tell("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%i")
        assert listed == ""


def test_a_place_may_be_called_anything(
    cluster: Cluster, project: Callable[..., Project], tmp_path: Path
) -> None:
    here = make_bench(project, GivenSlurm(cluster))
    home = tmp_path / "a b'c\"%j$x\\e\nd"
    run = here.gage("--runs", str(home), "stage", "work").succeeds().out.strip()
    other = here.gage("--runs", str(home), "stage", "work").succeeds().out.strip()
    here.gage("--runs", str(home), "start", "--on", "there", "--wait", run).succeeds()
    here.gage("--runs", str(home), "start", "--on", "slurm", "--wait", run).exits(125)
    third = here.gage("--runs", str(home), "stage", "work").succeeds().out.strip()
    here.gage("--runs", str(home), "start", "--on", "slurm", "--wait", other, third).succeeds()


def test_the_users_settings_name_engines_too(at_slurm: Bench, tmp_path: Path) -> None:
    settings = tmp_path / "config" / "gage" / "settings.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('[engines]\nmine = "slurm"\nthere = "nonsense"\n')
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    runs = [at_slurm.stage() for _ in range(2)]
    at_slurm.gage("start", "--on", "mine", "--wait", runs[0], env=env).succeeds()
    # The project's come first.
    at_slurm.gage("start", "--on", "there", "--wait", runs[1], env=env).succeeds()
    refused = at_slurm.gage("start", "--on", "box", "1", env=env)
    names = refused.err.partition("hint: there are ")[2].partition(";")[0].split(", ")
    assert {"mine", "slurm", "there"} <= set(names) and names == sorted(names)
    settings.write_text("[engines]\nmine = 3\n")
    faulty = at_slurm.gage("start", "--on", "mine", "1", env=env).fails(125, "gage-file-invalid")
    assert "engines.mine must be a kind, or a table of kind and options" in faulty.err


def test_a_requeued_run_that_is_resumable_goes_on_in_its_directory(
    cluster: Cluster, project: Callable[..., Project], tmp_path: Path
) -> None:
    here = make_bench(project, GivenSlurm(cluster), script=STEPS)
    gage_file = here.project.dir / "gage.toml"
    gage_file.write_text(gage_file.read_text().replace("resumable = false", "resumable = true"))
    run = here.stage(WAIT=tmp_path / "go")
    (row,) = here.submit(run)
    here.until_begun(run)
    cluster.tell("scontrol", "requeue", row["job"])
    until(lambda: here.began(run) == 2)
    assert here.job(run)["job"] == row["job"]
    (tmp_path / "go").touch()
    here.until_over(run)
    assert here.status(run) == "completed" and here.began(run) == 2
    (attempt,) = (here.project.runs_home / f"{run}.meta" / "attempts").iterdir()
    assert '"signal": "SIGTERM"' in attempt.read_text()
    here.gage("verify", run).succeeds()


def test_a_preempted_run_that_is_not_resumable_is_terminated(
    at_slurm: Bench, cluster: Cluster, tmp_path: Path
) -> None:
    run = at_slurm.stage(WAIT=tmp_path / "go")
    (row,) = at_slurm.submit(run)
    at_slurm.until_begun(run)
    urgent = ["--partition=urgent", "--exclusive", "--nodes=2", "--output=/dev/null"]
    cluster.tell("sbatch", "--parsable", *urgent, "--wrap", "true")
    until(lambda: at_slurm.status(run) == "terminated")
    # Slurm starts it once more, which changes nothing.
    until(
        lambda: (
            cluster.tell("squeue", "-h", "-t", "all", "-j", row["job"], "-o", "%T")
            in ("FAILED\n", "COMPLETED\n")
        )
    )
    assert at_slurm.began(run) == 1
    assert at_slurm.gage("show", run, "--json").json["reason"] == "stopped by SIGTERM"
    at_slurm.gage("verify", run).succeeds()


def test_slurms_own_commands_end_runs_too(
    at_slurm: Bench, cluster: Cluster, tmp_path: Path
) -> None:
    for words in (["scancel"], ["scancel", "-b", "-s", "TERM"], ["scancel", "-f", "-s", "INT"]):
        run = at_slurm.stage(WAIT=tmp_path / "go")
        (row,) = at_slurm.submit(run)
        at_slurm.until_begun(run)
        cluster.tell(*words, row["job"])
        at_slurm.until_over(run)
        assert at_slurm.status(run) == "terminated" and at_slurm.began(run) == 1


def test_what_is_cancelled_before_it_begins_is_staged_again(
    at_slurm: Bench, cluster: Cluster
) -> None:
    run = at_slurm.stage()
    with at_slurm.given.held():
        (row,) = at_slurm.submit(run)
        cluster.tell("scancel", row["job"])
        told = at_slurm.gage("jobs").succeeds()
    assert "was not started, and is staged again: CANCELLED" in told.err
    assert f"which has no job {row['job']} any more: CANCELLED" in at_slurm.log(run)
    assert at_slurm.status(run) == "staged"


def test_what_the_environment_tells_sbatch_is_not_what_jobs_need(
    at_slurm: Bench, cluster: Cluster, tmp_path: Path
) -> None:
    names = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS", "SBATCH_WAIT", "SBATCH_NO_REQUEUE")
    env = {**dict.fromkeys(names, "yes"), "SLURM_EXIT_ERROR": "0", "SBATCH_OPEN_MODE": "truncate"}
    run = at_slurm.stage(WAIT=tmp_path / "go")
    (row,) = at_slurm.submit(run, env=env)
    assert "Requeue=1" in cluster.tell("scontrol", "show", "job", row["job"])
    at_slurm.until_begun(run)
    (told,) = at_slurm.gage("jobs", run, "--json", env=env).json
    assert (told["state"], told["said"]) == ("executing", "RUNNING")
    at_slurm.gage("stop", run, env=env).succeeds()
    assert at_slurm.status(run) == "terminated"
    gage_file = at_slurm.project.dir / "gage.toml"
    gage_file.write_text(gage_file.read_text() + 'options.partition = "nothing"\n')
    refused = at_slurm.gage("start", "--on", "there", at_slurm.stage(), env=env)
    assert "Slurm refused: " in refused.fails(125, "engine-failed").err


def test_what_never_can_begin_says_so(
    cluster: Cluster, project: Callable[..., Project], tmp_path: Path
) -> None:
    failed = cluster.tell("sbatch", "--parsable", "--output=/dev/null", "--wrap", "false").strip()
    line = f"options.sbatch = ['--dependency=afterok:{failed}']\n"
    here = make_bench(project, GivenSlurm(cluster), line)
    run = here.stage()
    here.submit(run)
    until(lambda: here.job(run)["said"] == "PENDING (DependencyNeverSatisfied)")
    here.gage("stop", run).succeeds()
    assert here.status(run) == "staged"


def test_arrays_are_cut_by_resources_and_length() -> None:
    """Every job is in one array of its own resources, under a number that array can have."""
    from gage._internal.engines import slurm

    jobs = [Job(str(n), f"/r/{n}", Resources(1 + n % 3)) for n in range(50)]
    for most in (1, 2, 7, 50, 1000):
        arrays = list(slurm._arrays(jobs, most))
        assert sorted(n for array in arrays for n in array.numbers) == list(range(50))
        for array in arrays:
            assert array.first == array.numbers[0]
            assert array.numbers[-1] - array.first < most
            assert {jobs[n].resources for n in array.numbers} == {array.resources}
    assert Slurm().capabilities({}).has_files
    assert Submission("", jobs, "", "").name == ""
