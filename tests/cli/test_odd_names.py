import json
import os
import subprocess

import pytest

NOT_UTF8 = os.fsdecode(b"b\xff\xfe")
ODD_TEXTS = [
    "[red]not markup[/red]",
    "'single' \"double\" `back`",
    "back\\slash \\n \\udcff %2F %",
    "two\nlines\r\n\ttab",
    "emoji 😀 café 中文",
    "  spaces  ",
    "\x1b[31mescape\x7f",
    "\u2028\u202e",
    "{braces} $HOME $(id) *",
    NOT_UTF8,
]
# What a file name, tag or operation name can hold, besides.
ODD_NAMES = [text.strip().replace("/", "|") for text in ODD_TEXTS]
ODD_NAMES += ["-dash", ".dot", "#hash", "~tilde", "a=b"]
ALL_IN_ONE = "".join(ODD_TEXTS)


def test_labels_tags_and_comments_round_trip(project):
    here = project({"a.py": ""})
    tags = [*ODD_NAMES, "with/slash", ".."]
    words = [f"--tag={tag}" for tag in tags]
    here.gage("stage", "a.py", "--label", ALL_IN_ONE, *words).succeeds()
    (shown,) = here.gage("list", "--json", "--label", ALL_IN_ONE, "--tag", "with/slash").json
    assert shown["label"] == ALL_IN_ONE and sorted(shown["tags"]) == sorted(tags)
    here.gage("label", "1", NOT_UTF8).succeeds()
    assert here.gage("label", "1", "--json").json == NOT_UTF8
    here.gage("label", "1", ALL_IN_ONE).succeeds()
    assert here.gage("label", "1", "--json").json == ALL_IN_ONE

    here.gage("comment", "1", ALL_IN_ONE).succeeds()
    (comment,) = here.gage("comment", "1", "--json").succeeds().json
    assert comment["text"] == ALL_IN_ONE

    printed = {name: here.gage(name, "1").succeeds().out for name in ("label", "comment", "tag")}
    assert {name: text.count("\n") for name, text in printed.items()} == {
        "label": 1,
        "comment": 1,
        "tag": len(tags),
    }
    printed["list"] = here.gage("list").succeeds().out
    printed["show"] = here.gage("show").succeeds().out
    assert len(printed["list"].splitlines()) == 2
    for text in printed.values():
        assert "\x1b" not in text and "\\x1b[31mescape" in text and "[red]not markup[" in text

    here.gage("tag", "1", "-d", "--", *tags[1:]).succeeds()
    assert here.gage("tag", "1", "--json").succeeds().json == tags[:1]


def test_text_that_the_terminal_cannot_show_is_no_fault(project):
    here = project({"a.py": ""})
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    here.gage("stage", "a.py", "--label", "😀").succeeds()
    for command in ("label", "list", "show"):
        words = [command] if command == "list" else [command, "1"]
        assert "\\U0001f600" in here.gage(*words, env=ascii_only).succeeds().out
    assert "\\U0001f600" in here.gage("show", "😀", env=ascii_only).fails(1, "run-not-found").err


VALUES = [*ODD_TEXTS, "", "=", "a=b", "-dash", "--value", "None", "1e3", "'''\\", "#", "e\u0301"]


@pytest.mark.parametrize("kind", ["file", "args", "env"])
def test_config_values_reach_the_run_unchanged(project, kind):
    # A Gage file is UTF-8, and its escapes are no lone surrogates.
    values = {f"v{i}": v for i, v in enumerate(VALUES) if kind != "env" or v != NOT_UTF8}
    names = list(values)
    words = [f"{name}={value}" for name, value in values.items()]
    if kind == "file":
        here = project({"a.py": "".join(f"{n} = 'x'\n" for n in names) + write_all(names)})
        here.gage("run", "a.py", *words).succeeds()
    elif kind == "args":
        options = "".join(f"parser.add_argument('--{n}', default='x')\n" for n in names)
        parser = f"import argparse\nparser = argparse.ArgumentParser()\n{options}"
        script = parser + "args = parser.parse_args()\n" + write_all([f"args.{n}" for n in names])
        here = project({"a.py": script})
        here.gage("run", "a.py", *words).succeeds()
    else:
        gage_file = json.dumps({"a": {"exec": "python3 a.py", "env": values}})
        here = project(
            {"gage.json": gage_file, "a.py": write_all([f"os.environ['{n}']" for n in names])}
        )
        here.gage("run", "a").succeeds()
    shown = here.gage("show", "--json").succeeds().json
    assert shown["env" if kind == "env" else "config"] == values
    assert here.gage("cat", "1", "got").succeeds().out.split("\0") == list(values.values())
    here.gage("show").succeeds()
    assert len(here.gage("list").succeeds().out.splitlines()) == 2


def write_all(expressions):
    return (
        f"import os\ntexts = [{', '.join(expressions)}]\n"
        "with open('got', 'wb') as file:\n"
        "    file.write(b'\\0'.join(map(os.fsencode, texts)))\n"
    )


def test_file_names_round_trip(project):
    here = project()
    names = [*ODD_NAMES, "dir [x]/😀/in\nner", f"dir/{NOT_UTF8}"]
    for name in names:
        here.write(name, f"content of {name!r}")
    here.write("copy.py", COPY)
    here.gage("run", "copy.py").succeeds()
    files = here.gage("show", "--files", "--json").succeeds().json
    assert {entry["path"] for entry in files if entry["type"] == "source"} == {"copy.py", *names}
    generated = {entry["path"] for entry in files if entry["type"] == "generated"}
    assert generated == {f"{name}+" for name in [*ODD_NAMES, "copy.py"]}
    for name in ("-dash", NOT_UTF8, "dir [x]/😀/in\nner", "[red]not markup[|red]"):
        assert here.gage("cat", "--", "1", name).succeeds().out == f"content of {name!r}"
    assert len(here.gage("show", "--files").succeeds().out.splitlines()) == len(files)
    here.gage("check", "1").succeeds()
    subprocess.run(
        ["sha256sum", "--quiet", "-c", str(here.meta() / "manifest")],
        cwd=here.run(),
        check=True,
    )
    here.gage("stage", "copy.py").succeeds()
    here.gage("start", "1", "-q").succeeds()


COPY = """\
import os
for name in os.listdir(b'.'):
    if os.path.isfile(name):
        with open(name, 'rb') as old, open(name + b'+', 'wb') as new:
            new.write(old.read())
"""


def test_script_names(project):
    names = [f"{name}.py" for name in ODD_NAMES if not name.startswith(".")]
    here = project(dict.fromkeys(names, "x = 1\nprint(x)\n"))
    tried = [NOT_UTF8, "-dash", "a=b", "emoji 😀 café 中文", "two\nlines\r\n\ttab"]
    for name in tried:
        assert here.gage("run", "-q", "--", f"{name}.py", "x=2").succeeds().out == "2\n"
    recorded = [record["operation"] for record in here.gage("list", "--json").json]
    assert recorded[::-1] == [f"{name}.py" for name in tried]
    assert len(here.gage("list").succeeds().out.splitlines()) == len(tried) + 1
    listed = here.gage("operations", "--json").succeeds().json
    assert sorted(operation["name"] for operation in listed) == sorted(names)
    assert len(here.gage("operations").succeeds().out.splitlines()) == 2 * len(names)
    near = here.gage("run", "--", "emoji 😀 cafe.py").fails(125, "unknown-operation")
    assert "did you mean emoji 😀 café 中文.py?" in near.err

    written = here.gage("init").succeeds()
    assert "left out: a Gage file cannot hold its name" in written.err
    defined = {o["name"] + ".py" for o in here.gage("operations", "--json").succeeds().json}
    assert defined == {name for name in names if name.isprintable()}


def test_operation_names(project):
    names = [name for name in ODD_NAMES if name != NOT_UTF8 and "\n" not in name] + ["a/b", "c:d"]
    here = project({"gage.json": json.dumps({name: {"exec": ["echo", name]} for name in names})})
    tried = ["-dash", "a=b", "c:d", "a/b", "[red]not markup[|red]", "back\\slash \\n \\udcff %2F %"]
    for name in tried:
        assert here.gage("run", "-q", "--", name).succeeds().out == f"{name}\n"
    listed = here.gage("list", "--json").succeeds().json
    assert [record["operation"] for record in listed][::-1] == tried
    assert len(here.gage("list", "--json", "-o", "c:d").succeeds().json) == 1
    assert len(here.gage("list").succeeds().out.splitlines()) == len(tried) + 1
    assert [o["name"] for o in here.gage("operations", "--json").succeeds().json] == names
    assert len(here.gage("operations").succeeds().out.splitlines()) == len(names)
    assert "did you mean c:d?" in here.gage("run", "c:dd").fails(125, "unknown-operation").err


@pytest.mark.parametrize(
    "name", ["with space", "[red] 'q' \"d\" \\", "two\nlines", "😀", NOT_UTF8, "a:b%"]
)
def test_project_paths(project, name):
    here = project({"a.py": "import gage\nx = 1\nprint(x, gage.current_run().status)\n"}, name=name)
    assert here.gage("run", "a.py", "x=2", "-q").succeeds().out == "2 running\n"
    shown = here.gage("show", "--json").succeeds().json
    assert (shown["namespace"], shown["run_dir"]) == (name, str(here.run()))
    assert here.gage("show", shown["run_dir"], "--json").succeeds().json == shown
    assert here.gage("-C", str(here.dir), "open", "-p").succeeds().out == shown["run_dir"] + "\n"
    for command in ("show", "list", "operations", "check"):
        printed = here.gage(command).succeeds()
        assert "two\nlines" not in printed.out + printed.err
    here.gage("delete", "1", "-y").succeeds()
    here.gage("restore", "1").succeeds()
    assert here.python("import gage\nprint(len(gage.runs()))").succeeds().out == "1\n"


def test_the_python_api_gives_the_same_text(project):
    here = project({"a.py": "x = ''\n"})
    here.python(
        f"import gage\nfor text in {ODD_TEXTS!r}:\n"
        "    gage.stage('a.py', {'x': text}, label=text, tags=[text])\n"
        "    row = gage.runs()[0]\n"
        "    found = (row['label'], row['tags'], row['config.x'])\n"
        "    assert found == (text, (text,), text), found\n"
    ).succeeds()
