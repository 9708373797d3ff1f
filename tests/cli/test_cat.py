def test_prints_a_file_of_the_run_byte_for_byte(project):
    here = project({"make.py": "open('made', 'wb').write(b'\\xff\\x00\\r\\n')\n", "sub/a.txt": "a"})
    here.gage("run", "make.py").succeeds()
    assert here.gage("cat", "1", "made").succeeds().out_bytes == b"\xff\x00\r\n"
    assert here.gage("cat", "1", "sub/../sub/a.txt").succeeds().out == "a"
    assert here.gage("cat", "1", "opref", "--meta").succeeds().out == "project:make.py\n"
    assert here.gage("cat", "--meta", "1", "proc/exit").succeeds().out == "0\n"


def test_prints_nothing_from_outside_of_the_run(project):
    here = project({"a.py": "import os\nos.symlink('/etc/hostname', 'away')\n", "secret": "s"})
    here.gage("run", "a.py").succeeds()
    for path in ("../../../secret", "away", "/etc/hostname", f"../{here.run().name}.meta/id"):
        assert here.gage("cat", "1", path).fails(2, "usage").out == ""


def test_a_directory_and_a_missing_file_are_named(project):
    here = project({"sub/a.py": ""})
    here.gage("stage", "sub/a.py").succeeds()
    assert "sub is a directory" in here.gage("cat", "1", "sub").fails(2, "usage").err
    missing = here.gage("cat", "1", "nothing").fails(1, "system-error")
    assert "nothing: No such file or directory" in missing.err and "Errno" not in missing.err
    here.gage("cat", "1").fails(2, "usage")


def test_json_holds_text_or_bytes(project):
    here = project({"a.py": "open('b', 'wb').write(bytes([255, 0]))\n"})
    here.gage("run", "a.py").succeeds()
    text = (here.dir / "a.py").read_text()
    told = here.gage("cat", "1", "a.py", "--json").succeeds().json
    assert told == {"path": "a.py", "bytes": len(text), "text": text}
    told = here.gage("cat", "1", "b", "--json").succeeds().json
    assert told == {"path": "b", "bytes": 2, "base64": "/wA="}
