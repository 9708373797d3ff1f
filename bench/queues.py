"""Many trivial runs, two at once, beside `xargs`, and beside tools that have queues of runs."""

from __future__ import annotations

import functools
import os
import subprocess

from bench.measure import CannotRun
from bench.peers import install
from bench.place import Place
from bench.rows import Row

_FILES = {"hello.py": 'x = 0\nprint("hello", x)\n', "README.md": "A small project.\n"}
_MANY = 1000
# Others take minutes for so many.
_SOME = 20

_GUILD = "guildai==0.9.0"
_DVC = "dvc"
_DVC_FILES = {
    "hello.py": 'import sys\nprint("hello", sys.argv[1])\n',
    "params.yaml": "x: 0\n",
    "dvc.yaml": "stages:\n  hello:\n    cmd: python3 hello.py ${x}\n    deps: [hello.py]\n"
    "    params: [x]\n",
    ".gitignore": "tmp\n",
}


def queue_rows(place: Place) -> list[Row]:
    """Return rows for runs that are staged and run, and that were staged before."""
    ours, staged = place.project("queue", _FILES), place.project("queue-staged", _FILES)
    xargs = f"seq {_MANY} | xargs -P 2 -I% python3 hello.py % > /dev/null"
    return [
        Row(
            f"gage run, {_MANY} runs, 2 at once | xargs -P 2 python",
            place.command(_run(place, _MANY), ours, before=functools.partial(_clear, place, ours)),
            place.command(["sh", "-c", xargs], ours),
        ),
        Row(
            f"gage start --all, {_MANY} runs, 2 at once | xargs -P 2 python",
            place.command(
                [place.gage, "start", "--all", "--jobs", "2", "-q"],
                staged,
                before=functools.partial(_stage, place, staged),
            ),
            place.command(["sh", "-c", xargs], staged),
        ),
    ]


def queue_peer_rows(place: Place, cache: str) -> list[Row]:
    """Return a row for each tool that has a queue; it is installed when its row is measured."""
    ours = place.project("queue-beside", _FILES)
    guild, dvc = place.project("queue-guild", _FILES), place.project("queue-dvc", _DVC_FILES)
    # Queues of Guild take runs from each other, so there is one.
    guild_script = f"guild run hello.py x=range[1:{_SOME}] -y"
    dvc_script = (
        f"dvc exp run --queue -S 'x=range(0,{_SOME})' -q && dvc queue start --jobs 2 -q"
        " && while dvc queue status | grep -Eq 'Queued|Running'; do sleep 0.2; done"
    )
    rows = []
    for requirement, program, project, script in (
        (_GUILD, "guild", guild, guild_script),
        (_DVC, "dvc", dvc, dvc_script),
    ):
        tools = os.path.join(cache, requirement.replace("==", "-"), "bin")
        env = {"PATH": os.pathsep.join([tools, place.env()["PATH"]])}
        prepare = functools.partial(_prepare, place, requirement, program, cache, project)
        rows.append(
            Row(
                f"gage run, {_SOME} runs, 2 at once | {requirement}",
                place.command(
                    _run(place, _SOME), ours, before=functools.partial(_clear, place, ours)
                ),
                place.command(["sh", "-c", script], project, env),
                prepare=prepare,
                optional=True,
            )
        )
    return rows


def _run(place: Place, count: int) -> list[str]:
    return [place.gage, "run", "hello.py", f"x=range({count})", "--jobs", "2", "-q"]


def _clear(place: Place, project: str) -> None:
    place.set_aside(os.path.join(project, ".gage"))


def _stage(place: Place, project: str) -> None:
    _clear(place, project)
    command = [place.gage, "stage", "hello.py", f"x=range({_MANY})"]
    done = subprocess.run(command, cwd=project, env=place.env(), capture_output=True, check=False)
    if done.returncode:
        raise CannotRun(done.stderr.decode(errors="replace"))


def _prepare(place: Place, requirement: str, program: str, cache: str, project: str) -> None:
    if program == "dvc":
        place.commit(project)
        install(place, requirement, program, cache, [("dvc", "init", "-q")], project)
        place.commit(project)
    else:
        install(place, requirement, program, cache, (), project)
