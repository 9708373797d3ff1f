import shlex


def test_opens_the_run_dir_with_a_command(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    opener = here.write("opener", '#!/bin/sh\nprintf "%s\\n" "$@"\n', mode=0o755)
    command = f"{shlex.quote(str(opener))} 'two words'"
    run = here.run()
    assert here.gage("open", "--with", command).succeeds().out == f"two words\n{run}\n"
    assert here.gage("open", "1", "--meta", "-w", command).succeeds().out.endswith(".meta\n")
    assert here.gage("open", env={"GAGE_OPEN": str(opener)}).succeeds().out == f"{run}\n"
    here.gage("open", "--with", "false").exits(1)


def test_prints_the_path(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    assert here.gage("open", "-p").succeeds().out == f"{here.run()}\n"
    assert here.gage("open", "--path", "--meta", "1").succeeds().out == f"{here.meta()}\n"


def test_a_command_that_is_not_there_is_named_with_the_place_of_the_run(project):
    here = project({"a.py": ""})
    here.gage("stage", "a.py").succeeds()
    missing = here.gage("open", "--with", "no-such-opener").fails(2, "usage")
    assert "no-such-opener: command not found" in missing.err and str(here.run()) in missing.err
    here.gage("open", "--with", "an 'open quote").fails(2, "usage")
    here.gage("open", "2").fails(1, "run-not-found")


def test_json_tells_the_path(project):
    here = project({"a.py": "x = 1\n"})
    here.gage("run", "a.py").succeeds()
    assert here.gage("open", "--json").succeeds().json == {"path": str(here.run())}
