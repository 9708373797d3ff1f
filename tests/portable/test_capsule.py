"""Capsules: packed here, started where there is but Python, brought home; and hostile ones."""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import bagit
import pytest

from gage._internal.errors import CapsuleRefused, GageError
from gage._internal.fs import iter_paths
from gage._internal.portable import members
from gage._internal.portable.carried import MODULES
from gage._internal.portable.unpack import unpack_capsule, verify_capsule

ROOT = Path(__file__).parents[2]
# The Python of the system, which has no packages of Gage's.
BARE_PYTHON = "/usr/bin/python3"
WORK = """
import json, os, sys
scale = 1
with open("data/in.txt") as file:
    total = sum(map(int, file)) * scale
open("made.txt", "w").write(str(total))
open("state.txt", "a").write("more")
os.unlink("gone.txt")
# A link that it was staged with becomes a directory.
os.unlink("latest")
os.mkdir("latest")
open("latest/made.txt", "w").write("made")
json.dump({"total": total}, open("summary.json", "w"))
print("total", total)
"""
GAGE_FILE = """
[work]
exec = "python3 work.py"
config = "work.py"
writable = ["state.txt", "gone.txt"]
requires = ["python>=3.9"]
depends = { files = "in.txt", target = "data" }
"""
ODD = ["new\nline", "per%cent", "back\\slash", b"\xff\xfe.bin", "e\u0301.txt", " blank ", "-"]


@pytest.fixture
def here(project):
    made = project({"gage.toml": GAGE_FILE.replace("in.txt", "/IN"), "work.py": WORK})
    made.write("../in.txt", "1\n2\n3\n")
    made.write("gage.toml", GAGE_FILE.replace('"in.txt"', f'"{made.dir.parent}/in.txt"'))
    made.write("state.txt", "some")
    made.write("gone.txt", "")
    made.write("tool.sh", "#!/bin/sh\n", mode=0o755)
    (made.dir / "latest").symlink_to("work.py")
    for name in ODD:
        path = os.path.join(
            os.fsencode(made.dir), name if isinstance(name, bytes) else name.encode()
        )
        with open(path, "w") as file:
            file.write(repr(name))
    return made


@pytest.fixture
def staged(here):
    here.gage("stage", "work", "scale=2").succeeds()
    return here


@pytest.fixture
def capsule(staged, tmp_path):
    path = tmp_path / "run.capsule.zip"
    staged.gage("pack", "1", "-o", str(path)).succeeds()
    return path


def tree(folder):
    """Return all below a directory: type, mode, content, and time of files."""
    found = {}
    for path in iter_paths(str(folder)):
        full = os.path.join(folder, path)
        seen = os.lstat(full)
        if stat.S_ISLNK(seen.st_mode):
            found[path] = os.readlink(full)
        elif stat.S_ISREG(seen.st_mode):
            found[path] = stat.S_IMODE(seen.st_mode), Path(full).read_bytes()
        else:
            found[path] = stat.S_IMODE(seen.st_mode)
    return found


def elsewhere(folder, capsule, *args, python=BARE_PYTHON, hide=()):
    """Run a capsule where there is no network, nothing that is hidden, and no environment."""
    mounts = "".join(f'mount -t tmpfs none "{path}" && ' for path in hide)
    script = f'{mounts}cd "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "-n", "sh", "-c", script, str(folder), python, str(capsule), *args],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
    )


def test_starts_where_there_is_nothing_but_python_and_comes_home(staged, capsule, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    shutil.copy(capsule, there / "run.zip")
    hidden = (staged.dir, ROOT / "src", staged.env["HOME"])
    listed = elsewhere(there, "run.zip", hide=hidden)
    assert listed.returncode == 0, listed.stderr
    assert "operation  work" in listed.stdout and "config     scale = 2" in listed.stdout
    assert elsewhere(there, "run.zip", "verify", hide=hidden).stdout.startswith("ok     ")
    checked = elsewhere(there, "run.zip", "check", hide=hidden)
    assert checked.returncode == 0 and "ok  python3 >=" in checked.stdout
    started = elsewhere(there, "run.zip", "start", hide=hidden)
    assert (started.returncode, started.stdout) == (0, "total 12\n"), started.stderr
    # A run is started once, there as here.
    again = elsewhere(there, "run.zip", "start", hide=hidden)
    assert again.returncode == 125 and "[run-already-started]" in again.stderr
    packed = elsewhere(there, "run.zip", "pack", "run.runs", "-o", "home.zip", hide=hidden)
    assert packed.returncode == 0, packed.stderr
    assert staged.gage("list", "--json").json[0]["status"] == "staged"
    told = staged.gage("unpack", str(there / "home.zip")).succeeds()
    assert "has its results now" in told.err
    (record,) = staged.gage("list", "--json").succeeds().json
    assert record["status"] == "completed" and record["summary"] == {"total": 12}
    staged.gage("verify", "1").succeeds()
    run_dir = staged.run()
    assert tree(run_dir) == tree(there / "run.runs" / run_dir.name)
    assert tree(staged.meta()) == tree(there / "run.runs" / f"{run_dir.name}.meta")
    assert not (run_dir / "gone.txt").exists()
    assert staged.gage("logs", "1").out == "total 12\n"
    assert "is here already" in staged.gage("unpack", str(there / "home.zip")).succeeds().err
    assert "is here already" in staged.gage("unpack", str(capsule)).succeeds().err
    staged.gage("start", "1").fails(125, "run-already-started")


def lose(here):
    """Make of a run that has ended what is left of one whose runner was killed."""
    (here.meta() / "stopped").unlink()
    for name in ("seal", "manifest"):
        path = here.meta() / name
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().partition(b"# ended\n")[0])
        path.chmod(0o444)


@pytest.mark.parametrize("status", ["staged", "completed", "lost"])
def test_all_of_a_run_comes_out_as_it_went_in(here, tmp_path, status):
    here.write("gage.toml", '[work]\nexec = "sh run.sh"\n')
    here.write(
        "run.sh", "mkdir -p sub/empty; printf x >sub/out; ln -s sub/out link; chmod 751 sub/out\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=here.dir, check=True)
    with open(here.dir / "sparse", "wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
    big = os.urandom(3 << 20)
    here.write("big.bin", big)
    here.write("text.txt", "the same line\n" * 200_000)
    here.gage("stage", "work").succeeds()
    if status != "staged":
        here.gage("start", "1").succeeds()
    here.gage("tag", "1", "good").succeeds()
    if status == "lost":
        lose(here)
    capsule = tmp_path / "run.zip"
    here.gage("pack", "1", "-o", str(capsule)).succeeds()
    # The hole and the text take nearly no room.
    assert capsule.stat().st_size < 2 * len(big)
    for other in ("first", "second"):
        here.gage("--runs", str(tmp_path / other), "unpack", str(capsule)).succeeds()
    run_id = here.run().name
    for suffix in ("", ".meta", ".notes"):
        assert tree(f"{tmp_path}/first/{run_id}{suffix}") == tree(f"{here.run()}{suffix}")
    sparse = os.stat(tmp_path / "first" / run_id / "sparse")
    assert sparse.st_blocks * 512 < 1 << 20
    here.gage("--runs", str(tmp_path / "first"), "verify", "--quick", "1").succeeds()
    again = tmp_path / "again.zip"
    here.gage("--runs", str(tmp_path / "second"), "pack", "1", "-o", str(again)).succeeds()
    assert again.read_bytes() == capsule.read_bytes()


def test_is_a_bag_and_a_crate(staged, tmp_path):
    staged.gage("run", "work", "-q").succeeds()
    capsule = tmp_path / "two.zip"
    staged.gage("pack", "1", "2", "-o", str(capsule)).succeeds()
    with zipfile.ZipFile(capsule) as file:
        file.extractall(tmp_path / "bag")
    bag = bagit.Bag(str(tmp_path / "bag"))
    bag.validate()
    assert len(bag.info["External-Identifier"]) == 2
    done = subprocess.run(
        [
            str(ROOT / ".venv-servers" / "bin" / "python"),
            str(Path(__file__).with_name("validate_crate.py")),
            str(tmp_path / "bag" / "data"),
            "process-run-crate",
        ],
        env={**staged.env},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    graph = json.loads((tmp_path / "bag" / members.CRATE).read_text())["@graph"]
    actions = [entity for entity in graph if entity["@type"] == "CreateAction"]
    assert {action["actionStatus"]["@id"].rpartition("/")[2] for action in actions} == {
        "PotentialActionStatus",
        "CompletedActionStatus",
    }
    (victim,) = (tmp_path / "bag").glob("data/*/made.txt")
    victim.chmod(0o644)
    victim.write_text("x")
    with pytest.raises(bagit.BagValidationError):
        bag.validate()


def test_the_runner_needs_python_3_9_and_nothing_else():
    files = []
    for module in MODULES:
        path = ROOT / "src" / Path(*module.split("."))
        files.append(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
    command = [
        str(Path(sys.executable).with_name("vermin")),
        "-t=3.9-",
        "--no-tips",
        "--violations",
    ]
    # Annotations are not evaluated.
    command += ["--no-eval-annotations", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_an_old_python_is_told(capsule, tmp_path):
    with zipfile.ZipFile(capsule) as file:
        source = file.read(members.MAIN).decode()
    fake = "import sys; sys.version_info = (3, 8); sys.version = '3.8.1 (old)'\n"
    done = subprocess.run([sys.executable, "-c", fake + source], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "this needs Python 3.9 or newer, and was started with 3.8.1\n"


def test_what_is_not_whole_is_not_packed(staged, tmp_path):
    target = tmp_path / "x.zip"
    tool = staged.run() / "tool.sh"
    for change, told in (
        (
            lambda: tool.chmod(0o644) or tool.write_text("#!/bin/no\n") or tool.chmod(0o555),
            "changed",
        ),
        (lambda: tool.unlink(), "missing: tool.sh"),
        (lambda: (staged.run() / "more").write_text(""), "added: more"),
    ):
        change()
        assert told in staged.gage("pack", "1", "-o", str(target)).fails(1, "run-changed").err
    assert not target.exists()
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_a_file_that_is_there_is_not_replaced(staged, tmp_path):
    target = tmp_path / "x.zip"
    target.write_text("mine")
    assert "is there already" in staged.gage("pack", "1", "-o", str(target)).fails(2, "usage").err
    assert target.read_text() == "mine"


def test_a_run_that_is_another_is_kept(staged, capsule):
    run_dir = staged.run()
    opref = staged.meta() / "opref"
    seal = staged.meta() / "seal"
    opref.chmod(0o644)
    opref.write_text("a:b\n")
    for path in (opref, seal):
        path.chmod(0o644)
    seal.write_text(seal.read_text().replace(_line_of(seal, "opref"), "0" * 64 + "  opref"))
    before = tree(staged.meta())
    refused = staged.gage("unpack", str(capsule)).fails(1, "run-conflict")
    assert "was staged as something else" in refused.err
    assert tree(staged.meta()) == before and run_dir.is_dir()


def _line_of(path, name):
    return next(line for line in path.read_text().splitlines() if line.endswith(f"  {name}"))


def test_a_run_that_ran_here_too_keeps_its_results(staged, capsule, tmp_path):
    there = tmp_path / "there"
    staged.gage("--runs", str(there), "unpack", str(capsule)).succeeds()
    staged.gage("--runs", str(there), "start", "1", "-q").succeeds()
    staged.gage("--runs", str(there), "pack", "1", "-o", str(tmp_path / "home.zip")).succeeds()
    staged.gage("start", "1", "-q").succeeds()
    before = tree(staged.meta())
    refused = staged.gage("unpack", str(tmp_path / "home.zip")).fails(1, "run-conflict")
    assert "was started, too" in refused.err and tree(staged.meta()) == before


# Hostile capsules.


def rebuild(source, target, change):
    """Write a capsule anew: `change` is given the list of (info, data) and may change it."""
    with zipfile.ZipFile(source) as file:
        parts = [(info, file.read(info)) for info in file.infolist()]
    parts = change(parts) or parts
    with zipfile.ZipFile(target, "w") as file:
        for info, data in parts:
            fresh = zipfile.ZipInfo(info.filename)
            fresh.external_attr = info.external_attr
            fresh.create_system = 3
            fresh.compress_type = info.compress_type
            file.writestr(fresh, data)


def entry(name, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.create_system = 3
    return info


def _add(name, data=b"x", mode=stat.S_IFREG | 0o644):
    return lambda parts, run_id: parts.append((entry(name.format(id=run_id), mode), data))


def _edit(ending, edit):
    def change(parts, run_id):
        for i, (info, data) in enumerate(parts):
            if info.filename.endswith(ending):
                parts[i] = info, edit(data)

    return change


def _drop(ending):
    return lambda parts, run_id: [p for p in parts if not p[0].filename.endswith(ending)]


def _index(edit):
    def change(data):
        value = json.loads(data)
        edit(value)
        return json.dumps(value).encode()

    return _edit(members.INDEX, change)


def _name_leads(path):
    def change(parts, run_id):
        parts.append((entry("data/plain"), b"x"))

        def edit(value):
            value["names"]["data/plain"] = path.format(id=run_id)

        return _index(edit)(parts, run_id)

    return change


def _outside_link(parts, run_id):
    # As an honest runner packs a link that a lost run made.
    line = "#\tl\tg\t0777\t11\tout\t/etc/passwd\n"
    _edit(".meta/manifest", lambda data: data + b"# ended\n" + line.encode())(parts, run_id)


HOSTILE = {
    "absolute path": (_add("/etc/evil"), "what a capsule has not"),
    "leads up": (_add("data/{id}/../../evil"), "leads elsewhere"),
    "leads up by its real name": (_name_leads("{id}/../../evil"), "file of no run"),
    "absolute by its real name": (_name_leads("/etc/evil"), "file of no run"),
    "of another run": (_add("data/00000000-0000-4000-8000-000000000000/x"), "file of no run"),
    "beside the runs": (_add("data/evil"), "file of no run"),
    "a link": (_add("data/{id}/l", b"/etc", stat.S_IFLNK | 0o777), "a link or a device"),
    "a device": (_add("data/{id}/d", b"", stat.S_IFCHR | 0o666), "a link or a device"),
    "a pipe": (_add("data/{id}/p", b"", stat.S_IFIFO | 0o666), "a link or a device"),
    "a name twice": (_add("data/{id}/work.py"), "twice"),
    "a path twice": (_name_leads("{id}/work.py"), "twice"),
    "below a file": (_add("data/{id}/work.py/inner"), "below a file"),
    "a file more": (_add("data/{id}/more.py"), "added: more.py"),
    "a directory more": (_add("data/{id}/more/", b"", stat.S_IFDIR | 0o755), "added: more"),
    "a meta file more": (_add("data/{id}.meta/sys/more"), "added: meta sys/more"),
    "a lock": (_add("data/{id}.meta/proc/lock", b"{{}}"), "what no run has"),
    "a program more": (_add("sitecustomize.py"), "what a capsule has not"),
    "an altered file": (_edit("/work.py", lambda d: d[:-1] + b"#"), "changed: work.py"),
    "a longer file": (_edit("/work.py", lambda d: d + b"#"), "changed: work.py"),
    "no file": (_drop("/work.py"), "missing: work.py"),
    "an altered command": (_edit("proc/cmd", lambda d: d.replace(b"python3", b"evil")), "proc/cmd"),
    "an altered manifest": (
        _edit(".meta/manifest", lambda d: d.replace(b"\ts\t0444", b"\ts\t0666", 1)),
        "meta manifest",
    ),
    "no seal": (_drop(".meta/seal"), "seal"),
    "no manifest": (_drop(".meta/manifest"), "manifest"),
    "no time": (_drop(".meta/staged"), "was not staged"),
    "no index": (_drop("capsule.json"), "no capsule.json"),
    "an index that is none": (_edit("capsule.json", lambda d: b"{"), "cannot be understood"),
    "an index of another form": (_index(lambda v: v.update(runs=3)), "cannot be understood"),
    "a run that is no id": (
        _index(lambda v: v["runs"][0].update(id="../../evil")),
        "cannot be understood",
    ),
    "a newer format": (_index(lambda v: v.update(format=99)), "format 99"),
    "another seal": (_index(lambda v: v["runs"][0].update(seal="0" * 64)), "meta seal"),
    "a link out": (_outside_link, "meta manifest"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_capsule_is_refused_by_name(staged, capsule, tmp_path, what):
    change, told = HOSTILE[what]
    run_id = staged.run().name
    hostile = tmp_path / "hostile.zip"
    rebuild(capsule, hostile, lambda parts: change(parts, run_id))
    home = tmp_path / "home-of-runs"
    refused = staged.gage("--runs", str(home), "unpack", str(hostile)).fails(1, "capsule-refused")
    assert told in refused.err
    assert not home.exists() or os.listdir(home) == []
    assert not (tmp_path / "evil").exists()
    try:
        assert any(inside.faults for inside in verify_capsule(str(hostile)))
    except CapsuleRefused as error:
        assert told in str(error)


@pytest.mark.parametrize("to", [".", "/etc"])
def test_what_leads_through_a_link_is_refused(here, tmp_path, to):
    here.write("gage.toml", '[work]\nexec = "true"\n')
    here.gage("run", "work", "-q").succeeds()
    lose(here)
    good, hostile = tmp_path / "good.zip", tmp_path / "hostile.zip"
    here.gage("pack", "1", "-o", str(good)).succeeds()
    run_id = here.run().name
    links = {f"{run_id}/a": to, f"{run_id}/a/b": "x"}
    change = _index(lambda value: value.update(links=links))
    rebuild(good, hostile, lambda parts: change(parts, run_id))
    home = tmp_path / "h"
    args = ("--runs", str(home), "unpack", str(hostile), "--outside-links")
    assert "added: a/b" in here.gage(*args).fails(1, "capsule-refused").err
    assert os.listdir(home) == [] and not os.path.lexists("/etc/b")


def test_of_several_runs_all_are_taken_or_none(staged, tmp_path):
    staged.gage("stage", "work").succeeds()
    good, hostile = tmp_path / "good.zip", tmp_path / "hostile.zip"
    staged.gage("pack", "1", "2", "-o", str(good)).succeeds()
    last = max(run_dir.name for run_dir in staged.runs())
    change = _edit(f"{last}/work.py", lambda data: data + b"#")
    rebuild(good, hostile, lambda parts: change(parts, last))
    home = tmp_path / "h"
    refused = staged.gage("--runs", str(home), "unpack", str(hostile)).fails(1, "capsule-refused")
    assert "changed: work.py" in refused.err and os.listdir(home) == []
    staged.gage("--runs", str(home), "unpack", str(good)).succeeds()
    assert len(os.listdir(home)) == 4


def test_a_bomb_is_refused(capsule, staged, tmp_path):
    bomb = tmp_path / "bomb.zip"
    run_id = staged.run().name

    def change(parts):
        info = entry(f"data/{run_id}/zeros")
        info.compress_type = zipfile.ZIP_DEFLATED
        parts.append((info, bytes(1 << 27)))
        for i in range(8):
            info = entry(f"data/{run_id}/zeros{i}")
            info.compress_type = zipfile.ZIP_DEFLATED
            parts.append((info, bytes(1 << 27)))

    rebuild(capsule, bomb, change)
    refused = staged.gage("--runs", str(tmp_path / "h"), "unpack", str(bomb))
    assert "is a bomb" in refused.fails(1, "capsule-refused").err


def test_members_that_overlap_are_refused(capsule, tmp_path, staged):
    data = bytearray(capsule.read_bytes())
    with zipfile.ZipFile(capsule) as file:
        names = [info.filename for info in file.infolist()]
    # The second entry of the directory tells where the first one's data is.
    second = data.rindex(names[1].encode()) - 46
    data[second + 42 : second + 46] = (0).to_bytes(4, "little")
    hostile = tmp_path / "hostile.zip"
    hostile.write_bytes(data)
    refused = staged.gage("--runs", str(tmp_path / "h"), "unpack", str(hostile))
    assert "overlaps" in refused.fails(1, "capsule-refused").err


def test_a_link_that_leads_out_is_taken_when_asked_for(here, tmp_path):
    here.write("gage.toml", '[work]\nexec = "ln -s /etc/hostname link"\n')
    here.gage("run", "work", "-q").succeeds()
    capsule = str(tmp_path / "run.zip")
    here.gage("pack", "1", "-o", capsule).succeeds()
    home = str(tmp_path / "h")
    refused = here.gage("--runs", home, "unpack", capsule).fails(1, "capsule-refused")
    assert "link -> /etc/hostname" in refused.err and "--outside-links" in refused.err
    here.gage("--runs", home, "unpack", capsule, "--outside-links").succeeds()
    assert os.readlink(Path(home, here.run().name, "link")) == "/etc/hostname"


def test_cut_short_and_altered_anywhere_it_is_refused_or_whole(staged, capsule, tmp_path):
    data = capsule.read_bytes()
    run_id = staged.run().name
    good = tree(staged.run()), tree(staged.meta())
    broken = tmp_path / "broken.zip"
    taken = 0
    for number in range(120):
        at = number * (len(data) - 1) // 119
        for altered in (data[:at], data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]):
            broken.write_bytes(altered)
            home = tmp_path / "h" / f"{number}"
            try:
                unpack_capsule(str(broken), str(home))
            except GageError as error:
                assert str(broken) in str(error) or "RunDamaged" in repr(error)
                assert not home.exists() or os.listdir(home) == []
                continue
            taken += 1
            assert (tree(home / run_id), tree(home / f"{run_id}.meta")) == good
            shutil.rmtree(home)
    # What is altered in the runner, or in what only BagIt reads, does no harm to a run.
    assert 0 < taken < 120


# Interrupted.

_TRACED = "mkdir,openat,rename,renameat,renameat2,unlink,rmdir,symlink,fchmod,write,utimensat"


def _kill_points(command, env, cwd, most):
    """Return some calls of a command, from its first to its last: name and ordinal."""
    log = cwd / "strace.log"
    traced = ["strace", "-qq", "-o", str(log), "-e", f"trace={_TRACED}", *command]
    subprocess.run(traced, env=env, cwd=cwd, check=True, capture_output=True)
    counts, points = {}, []
    for line in log.read_text(errors="replace").splitlines():
        name = line.partition("(")[0]
        counts[name] = counts.get(name, 0) + 1
        # Python reads its modules first.
        if "O_RDONLY" not in line:
            points.append((name, counts[name]))
    step = max(1, len(points) // most)
    return points[::step] + points[-8:]


def _killed(command, env, cwd, point):
    name, ordinal = point
    inject = f"inject={name}:signal=KILL:when={ordinal}"
    traced = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={_TRACED}", "-e", inject, *command]
    done = subprocess.run(traced, env=env, cwd=cwd, capture_output=True)
    return done.returncode in (-9, 137)


@pytest.mark.parametrize("kind", ["new", "merged"])
def test_killed_while_it_is_unpacked(staged, capsule, tmp_path, kind):
    there = tmp_path / "there"
    staged.gage("--runs", str(there), "unpack", str(capsule)).succeeds()
    staged.gage("--runs", str(there), "start", "1", "-q").succeeds()
    source = tmp_path / "ended.zip"
    staged.gage("--runs", str(there), "pack", "1", "-o", str(source)).succeeds()
    run_id = staged.run().name
    good = tree(there / run_id), tree(there / f"{run_id}.meta")
    start = tmp_path / "start"
    if kind == "merged":
        staged.gage("--runs", str(start), "unpack", str(capsule)).succeeds()
    else:
        start.mkdir()
    home = tmp_path / "h"
    command = [sys.executable, "-m", "gage", "--runs", str(home), "unpack", str(source)]

    def read():
        # A lock whose process is gone is of no matter once a run has ended.
        record = tree(home / f"{run_id}.meta")
        record.pop("proc/lock", None)
        # So is a file that was being written, which a repair removes.
        left = [name for name in record if os.path.basename(name).startswith(".")]
        for name in left:
            record.pop(name)
        return tree(home / run_id), record

    def fresh():
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(start, home, symlinks=True)

    fresh()
    points = _kill_points(command, staged.env, tmp_path, 25)
    killed = 0
    for point in points:
        fresh()
        killed += _killed(command, staged.env, tmp_path, point)
        rows = staged.gage("--runs", str(home), "list", "--json").succeeds().json
        if kind == "new":
            # It is there, whole, or it is not.
            assert [row["status"] for row in rows] in ([], ["completed"]), point
        if rows and rows[0]["status"] == "completed" and (home / f"{run_id}.meta/started").exists():
            assert read() == good, point
        staged.gage("--runs", str(home), "unpack", str(source)).succeeds()
        assert read() == good, point
        staged.gage("--runs", str(home), "check", "--repair").succeeds()
        assert sorted(os.listdir(home)) == [run_id, f"{run_id}.meta"], point
    assert killed > 20


def test_killed_while_it_is_packed(staged, tmp_path):
    target = tmp_path / "out" / "run.zip"
    target.parent.mkdir()
    command = [sys.executable, "-m", "gage", "pack", "1", "-o", str(target)]
    points = _kill_points(command, staged.env, staged.dir, 15)
    good = target.read_bytes()
    killed = 0
    for point in points:
        shutil.rmtree(target.parent)
        target.parent.mkdir()
        killed += _killed(command, staged.env, staged.dir, point)
        # What lies beside has a name that nobody takes for a capsule.
        assert not target.exists() or target.read_bytes() == good, point
        target.unlink(missing_ok=True)
        staged.gage("pack", "1", "-o", str(target)).succeeds()
        assert target.read_bytes() == good
    assert killed > 10
