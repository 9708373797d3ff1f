import json
import os


def test_prints_each_stream_to_its_own_byte_for_byte(project):
    here = project(
        {"noisy.py": "import os\nos.write(1, b'out\\xff\\r\\n')\nos.write(2, b'err\\xfe')\n"}
    )
    here.gage("run", "noisy.py").succeeds()
    out, err = b"out\xff\r\n", b"err\xfe"
    for words, expected in {
        (): (out, err),
        ("1", "--stdout"): (out, b""),
        ("--stderr",): (b"", err),
        ("-f",): (out, err),
    }.items():
        printed = here.gage("logs", *words).succeeds()
        assert (printed.out_bytes, printed.err_bytes) == expected, words


def test_prints_what_a_phase_printed(project):
    here = project(
        {
            "gage.toml": (
                '[a]\nexec.run = "echo the run"\n'
                'exec.stage-sourcecode = "echo staging"\nexec.finalize = "echo finalizing"\n'
            )
        }
    )
    here.gage("run", "a").succeeds()
    assert here.gage("logs").succeeds().out == "the run\n"
    assert here.gage("logs", "--phase", "sourcecode").succeeds().out == "staging\n"
    assert here.gage("logs", "--phase", "finalize").succeeds().out == "finalizing\n"
    for phase in ("runtime", "nonsense", "../opref"):
        known = here.gage("logs", "--phase", phase).fails(2, "usage").err
        assert "finalize, run, sourcecode" in known


def test_prints_the_runner_log(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    lines = here.gage("logs", "--runner").succeeds().out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "Writing initialized",
        "Copied 1 source file",
        "Writing staged",
    ]


def test_a_run_that_printed_nothing(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    silent = here.gage("logs").succeeds()
    assert (silent.out, silent.err) == ("", "")
    here.gage("logs", "--stdout", "--stderr").fails(2, "usage")
    here.gage("logs", "2").fails(1, "run-not-found")


def test_follows_a_run_to_its_end(project):
    here = project(
        {
            "steps.py": (
                "import os, sys\n"
                "print('first', flush=True)\n"
                "sys.stdin.readline()\n"
                "print('last', flush=True)\n"
            )
        }
    )
    stdin, to_run = os.pipe()
    running = here.begin("run", "steps.py", "-q", stdin=stdin)
    os.close(stdin)
    assert running.stdout.readline() == b"first\n"
    following = here.begin("logs", "--follow")
    assert following.stdout.readline() == b"first\n"
    os.write(to_run, b"\n")
    os.close(to_run)
    out, err = following.communicate(timeout=60)
    assert (following.returncode, out, err) == (0, b"last\n", b"")
    running.communicate(timeout=60)


def test_json_is_a_line_for_each_piece(project):
    here = project({"a.py": "import sys\nprint('out')\nprint('err', file=sys.stderr)\n"})
    here.gage("run", "a.py").succeeds()
    pieces = [json.loads(line) for line in here.gage("logs", "--json").succeeds().out.splitlines()]
    for stream, text in (("stdout", "out\n"), ("stderr", "err\n")):
        assert "".join(p["text"] for p in pieces if p["stream"] == stream) == text
    assert [p["time"] for p in pieces] == sorted(p["time"] for p in pieces)
    told = here.gage("logs", "--runner", "--json").succeeds().out.splitlines()
    assert "Writing staged" in [json.loads(line)["text"] for line in told]
