import os
import subprocess

import pytest

from gage._internal.store import layout, verified
from gage._internal.store.verify import compare_run

WORK = '[work]\nexec = "./work.sh"\nwritable = ["state"]\n'
SCRIPT = "#!/bin/sh\necho made >out.txt\necho more >>state\necho said\n"


@pytest.fixture
def here(project):
    made = project({"gage.toml": WORK, "state": "one\n", "data/big": "x" * 3_000_000})
    made.write("work.sh", SCRIPT, mode=0o755)
    return made


def seal_of(run_dir):
    return run_dir.with_name(run_dir.name + ".meta") / "seal"


def test_a_staged_and_an_ended_run_are_whole(here):
    here.gage("stage").succeeds()
    staged = here.gage("verify", "1").succeeds().out
    assert staged.startswith("ok     ") and "4 files, 3.0 MB, seal " in staged
    here.gage("start", "1").succeeds()
    for quick in ((), ("--quick",)):
        (found,) = here.gage("verify", "1", "--json", *quick).succeeds().json
        assert found["ok"] and found["files"] == 5 and not found["faults"]
        # What the run was staged as has the same digest for good.
        assert found["seal"][:16] == staged.split()[-1]
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", "seal"], cwd=seal_of(here.runs()[0]).parent
    )
    assert checked.returncode == 0


def _rewrite(path, data):
    path.chmod(0o644)
    path.write_text(data)
    path.chmod(0o444)


def _link(path):
    path.unlink()
    path.symlink_to("state")


CHANGES = {
    "content": (lambda d: _rewrite(d / "gage.toml", WORK.replace("work.sh", "walk.sh")), "sha256"),
    "size": (lambda d: _rewrite(d / "gage.toml", "short"), "found 5"),
    "mode": (lambda d: (d / "gage.toml").chmod(0o600), "expected mode 0444, found 0600"),
    "kind": (lambda d: _link(d / "gage.toml"), "expected a file, found another kind"),
    "missing": (lambda d: (d / "gage.toml").unlink(), "missing: gage.toml"),
    "added": (lambda d: (d / "new\nline").write_text(""), r"added: new\nline"),
    "meta": (lambda d: _rewrite(d.with_name(d.name + ".meta") / "opref", "a:b\n"), "meta opref"),
    "meta added": (
        lambda d: (d.with_name(d.name + ".meta") / "sys" / "more").write_text(""),
        "added: meta sys/more",
    ),
    "meta missing": (
        lambda d: (d.with_name(d.name + ".meta") / "sys" / "cpu").unlink(),
        "missing: meta sys/cpu",
    ),
    "seal": (lambda d: seal_of(d).unlink(), "seal cannot be read"),
    "manifest": (
        lambda d: _rewrite(
            d.with_name(d.name + ".meta") / "manifest",
            (d.with_name(d.name + ".meta") / "manifest").read_text().replace("\ts\t", "\td\t"),
        ),
        "changed: meta manifest",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("ended", [False, True])
def test_names_what_is_not_as_it_was(here, what, ended):
    here.gage("stage").succeeds()
    if ended:
        here.gage("start", "1").succeeds()
    (run_dir,) = here.runs()
    change, told = CHANGES[what]
    change(run_dir)
    assert told in here.gage("verify", "1").fails(1, "run-changed").out
    if not ended:
        here.gage("start", "1").exits(125)
        assert not os.path.exists(run_dir / "out.txt")


def test_what_cannot_be_read_is_named(here):
    here.gage("stage").succeeds()
    (run_dir,) = here.runs()
    (run_dir / "gage.toml").unlink()
    (run_dir / "gage.toml").mkdir()
    (run_dir / "gage.toml" / "inner").write_text("")
    out = here.gage("verify", "1").fails(1, "run-changed").out
    assert "missing: gage.toml" in out and "added: gage.toml/inner" in out


def test_all_runs_are_verified_whatever_one_of_them_is(here):
    here.gage("stage").succeeds()
    here.gage("stage").succeeds()
    (here.runs()[0] / "gage.toml").unlink()
    found = here.gage("verify", "1", "2", "--json").exits(1).json
    assert sorted(each["ok"] for each in found) == [False, True]
    broken = next(each for each in found if not each["ok"])
    assert broken["faults"] == [
        {"path": "gage.toml", "kind": "missing", "expected": "", "found": "", "is_meta": False}
    ]


def test_quick_reads_what_has_another_time_only(here):
    here.gage("stage").succeeds()
    (run_dir,) = here.runs()
    big = run_dir / "data" / "big"
    before = big.stat()
    _rewrite(big, "y" * 3_000_000)
    os.utime(big, ns=(before.st_atime_ns, before.st_mtime_ns))
    here.gage("verify", "1", "--quick").succeeds()
    os.utime(big)
    assert "changed: data/big" in here.gage("verify", "1", "--quick").fails(1, "run-changed").out
    _rewrite(big, "x" * 3_000_000)
    here.gage("verify", "1", "--quick").succeeds()


def test_a_lost_run_has_what_nothing_was_recorded_of(here):
    here.gage("stage").succeeds()
    (run_dir,) = here.runs()
    meta_dir = seal_of(run_dir).parent
    (meta_dir / "started").write_text("1700000000000000\n")
    (run_dir / "out.txt").write_text("half")
    (run_dir / "state").write_text("half")
    here.gage("verify", "1").succeeds()
    (run_dir / "gage.toml").unlink()
    assert "missing: gage.toml" in here.gage("verify", "1").fails(1, "run-changed").out


def test_a_run_that_was_not_staged_is_not_verified(here):
    here.write("gage.toml", '[work]\nexec = { run = "true", stage-sourcecode = "false" }\n')
    here.gage("stage").fails(1, "hook-failed")
    assert (
        "cannot be verified: it is failed" in here.gage("verify", "1").fails(1, "run-changed").out
    )


def test_a_large_file_that_did_not_change_is_read_once(here, monkeypatch, tmp_path):
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    run_id = here.gage("stage").succeeds().out.strip()
    run = layout.run_of_dir(os.path.join(here.runs_home, run_id))
    big = os.path.join(run.run_dir, "data", "big")
    _age(big)
    first = compare_run(run, remember=True)
    monkeypatch.setattr(os, "read", _only_small(os.read))
    again = compare_run(run, remember=True)
    assert again == first and not again.faults
    assert (tmp_path / "cache" / "verified" / run.id).exists()
    with pytest.raises(AssertionError):
        compare_run(run)
    monkeypatch.undo()
    # The same size, mode and time: only the ctime tells.
    before = os.stat(big)
    os.chmod(big, 0o644)
    with open(big, "r+") as file:
        file.write("y")
    os.chmod(big, 0o444)
    os.utime(big, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [fault.path for fault in compare_run(run, remember=True).faults] == ["data/big"]


def test_what_was_just_changed_is_not_trusted(here, monkeypatch, tmp_path):
    monkeypatch.setenv("GAGE_CACHE", str(tmp_path / "cache"))
    run_id = here.gage("stage").succeeds().out.strip()
    run = layout.run_of_dir(os.path.join(here.runs_home, run_id))
    _age(os.path.join(run.run_dir, "data", "big"))
    monkeypatch.setattr(verified, "_CLOCK_TICK_NS", 3_600_000_000_000)
    compare_run(run, remember=True)
    assert not (tmp_path / "cache" / "verified").exists()


def _only_small(read):
    def limited(fd, size):
        data = read(fd, size)
        assert len(data) < 1_000_000
        return data

    return limited


def _age(path):
    """Wait until the clock of the file system is well past the last change of a file."""
    import time

    while time.time_ns() - os.stat(path).st_ctime_ns < 100_000_000:
        time.sleep(0.01)
