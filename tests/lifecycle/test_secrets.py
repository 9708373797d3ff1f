"""Secrets: found when a run starts, given to it, and nowhere in what is recorded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gage._internal.errors import HookFailed, SecretMissing, SecretWritten
from gage._internal.lifecycle.conclude import conclude_run
from gage._internal.lifecycle.create import create_run
from gage._internal.lifecycle.masking import Mask, MaskedStream
from gage._internal.lifecycle.secret_values import find_secrets
from gage._internal.lifecycle.stage import stage_run
from gage._internal.lifecycle.start import start_run
from gage._internal.project.operations import find_operation, parse_config
from gage._internal.project.projects import read_project
from gage._internal.store.record import read_record
from gage._internal.store.status import run_status
from gage._internal.types import Run
from runs_on_disk import files_below, meta_file, read

VALUE = "s3cr/et+value-0123"
OPDEF = {"secrets": ["API_KEY"]}


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


@pytest.fixture
def in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", VALUE)


def all_that_is_recorded(run: Run) -> bytes:
    return b"".join(
        meta_file(run, name).read_bytes() for name in files_below(run.run_dir + ".meta")
    )


@pytest.mark.usefixtures("in_environment")
def test_the_run_has_it_and_the_record_does_not(make_staged) -> None:
    script = """
import json, os, sys, urllib.parse
key = os.environ["API_KEY"]
print("key", key, key)
sys.stderr.write("https://x/?k=" + urllib.parse.quote(key, safe="") + "\\n")
for char in "piecewise " + key + "!":
    sys.stdout.write(char)
    sys.stdout.flush()
json.dump({"key": key, "length": len(key)}, open("summary.json", "w"))
"""
    run = make_staged(sys.executable, "-c", script, opdef=OPDEF)
    seen: list[bytes] = []
    assert start_run(run, lambda stream, data: seen.append(data)).exit_code == 0
    assert read_record(run).summary == {"key": "***", "length": len(VALUE)}
    printed = read(run, "output/run")
    assert (
        "key *** ***" in printed and "https://x/?k=***" in printed and "piecewise ***!" in printed
    )
    assert VALUE.encode() not in all_that_is_recorded(run) + b"".join(seen)
    assert b"s3cr%2Fet" not in all_that_is_recorded(run)


def test_a_missing_one_stops_the_start_and_the_run_stays_staged(make_staged, monkeypatch) -> None:
    run = make_staged("true", opdef={"secrets": ["API_KEY", "OTHER", "PATH"]})
    with pytest.raises(SecretMissing, match=r"API_KEY, OTHER$") as caught:
        start_run(run)
    assert ".config/gage/secrets" in str(caught.value.hint)
    assert run_status(run) == "staged"
    monkeypatch.setenv("API_KEY", "x")
    monkeypatch.setenv("OTHER", "y")
    assert start_run(run).exit_code == 0


class TestFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "user" / ".config" / "gage" / "secrets"
        path.parent.mkdir(parents=True)
        path.write_text(f"# mine\n\nAPI_KEY = {VALUE}\nOTHER=a=b\nEMPTY=\n")
        path.chmod(0o600)
        return path

    def test_gives_what_the_environment_does_not(self, file: Path, monkeypatch) -> None:
        found = find_secrets(["API_KEY", "OTHER", "EMPTY", "NONE"])
        assert found == {"API_KEY": VALUE, "OTHER": "a=b"}
        monkeypatch.setenv("API_KEY", "nearer")
        assert find_secrets(["API_KEY", "OTHER"])["API_KEY"] == "nearer"

    def test_may_lie_elsewhere(self, file: Path, tmp_path: Path, monkeypatch) -> None:
        file.rename(tmp_path / "mine")
        monkeypatch.setenv("GAGE_SECRETS", str(tmp_path / "mine"))
        assert find_secrets(["API_KEY"]) == {"API_KEY": VALUE}

    def test_that_others_may_read_is_refused(self, file: Path, make_staged) -> None:
        file.chmod(0o640)
        run = make_staged("true", opdef={})
        start_run(run)
        with pytest.raises(SecretMissing, match="others may read it") as caught:
            find_secrets(["API_KEY"])
        assert caught.value.hint == f"chmod 600 {file}"

    def test_reaches_the_run(self, file: Path, make_staged) -> None:
        run = make_staged("sh", "-c", "printf %s $API_KEY | wc -c", opdef=OPDEF)
        start_run(run)
        assert int(read(run, "output/run")) == len(VALUE)


def test_the_keyring_gives_what_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "my_keyring.py").write_text(
        "from keyring.backend import KeyringBackend\n"
        "class Mine(KeyringBackend):\n"
        "    priority = 1\n"
        "    def get_password(self, service, name):\n"
        "        return 'from-keyring' if (service, name) == ('gage', 'API_KEY') else None\n"
        "    def set_password(self, service, name, value):\n"
        "        raise NotImplementedError\n"
    )
    code = (
        "from gage._internal.lifecycle.secret_values import find_secrets\n"
        "print(find_secrets(['API_KEY', 'NONE']))"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHON_KEYRING_BACKEND": "my_keyring.Mine", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'API_KEY': 'from-keyring'}\n"


@pytest.mark.usefixtures("in_environment")
class TestHooks:
    def test_output_of_staging_and_finalizing_is_masked(self, make_staged) -> None:
        hook = "echo $API_KEY"
        execs = {"run": "true", "stage-sourcecode": hook, "finalize": hook}
        run = make_staged("true", opdef={**OPDEF, "exec": execs})
        start_run(run)
        assert read(run, "output/sourcecode") == read(run, "output/finalize") == "***\n"
        assert VALUE.encode() not in all_that_is_recorded(run)

    def test_last_words_of_a_failed_one_are_masked(self, make_initialized) -> None:
        execs = {"run": "true", "stage-sourcecode": "echo bad $API_KEY; exit 1"}
        run = make_initialized("true", opdef={**OPDEF, "exec": execs})
        with pytest.raises(HookFailed) as caught:
            stage_run(run)
        assert "bad ***" in str(caught.value)
        assert VALUE.encode() not in all_that_is_recorded(run)


@pytest.mark.usefixtures("in_environment")
@pytest.mark.parametrize(
    ("gage_file", "words", "where"),
    [
        (f'exec = "run --key {VALUE}"', [], "the command"),
        (f'exec = "run"\nenv = {{ K = "x{VALUE}" }}', [], "env K"),
        (f'exec = {{ run = "run", finalize = "send {VALUE}" }}', [], "the operation"),
        ('exec = "python3 a.py"\nconfig = "a.py"', [f"key={VALUE}"], "config key"),
    ],
)
def test_a_value_that_would_be_written_is_refused(
    project_dir: Path, tmp_path: Path, gage_file: str, words: list[str], where: str
) -> None:
    (project_dir / "a.py").write_text("key = ''\n")
    (project_dir / "gage.toml").write_text(f'[op]\n{gage_file}\nsecrets = "API_KEY"\n')
    operation = find_operation(read_project(str(project_dir)), "op", str(project_dir))
    config = parse_config(operation, words)
    with pytest.raises(SecretWritten, match=f"^{where} has the value of the secret API_KEY"):
        create_run(str(tmp_path / "runs"), operation, config)
    assert not (tmp_path / "runs").exists()


words = st.text("ab/", min_size=4, max_size=6)


@given(st.lists(words, min_size=1, max_size=3), st.text("ab/ ", max_size=40), st.data())
def test_no_secret_passes_however_it_is_cut(
    secrets: list[str], text: str, data: st.DataObject
) -> None:
    mask = Mask(secrets)
    whole = text.encode()
    stream, out = MaskedStream(mask), b""
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        out += stream.feed(whole[:size])
        whole = whole[size:]
    out += stream.close()
    assert not any(secret.encode() in out for secret in secrets)


@given(st.text("ab ", max_size=30), st.data())
def test_what_is_not_secret_passes_whole(text: str, data: st.DataObject) -> None:
    stream = MaskedStream(Mask(["abcabc"]))
    cut = data.draw(st.integers(0, len(text)))
    out = stream.feed(text[:cut].encode()) + stream.feed(text[cut:].encode()) + stream.close()
    assert out.decode() == text


def test_a_value_of_a_few_characters_is_not_masked() -> None:
    assert Mask(["1", "abc"]).text("1 abc") == "1 abc"


@pytest.mark.parametrize("is_known", [True, False])
def test_where_its_runner_is_killed_it_is_not_recorded_either(
    make_staged, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setenv("API_KEY", VALUE)
    script = """
import json, os, signal
json.dump({"key": os.environ["API_KEY"]}, open("summary.json", "w"))
os.kill(os.getppid(), signal.SIGKILL)
"""
    run = make_staged(sys.executable, "-c", script, opdef=OPDEF)
    start = (
        "import sys; from gage._internal.lifecycle.start import start_run;"
        "from gage._internal.types import Run; start_run(Run(*sys.argv[1:]))"
    )
    subprocess.run([sys.executable, "-c", start, run.id, run.run_dir], check=False)
    if not is_known:
        monkeypatch.delenv("API_KEY")
    assert conclude_run(run)
    assert read_record(run).summary == ({"key": "***"} if is_known else {})
    assert VALUE.encode() not in all_that_is_recorded(run)
    assert ("Left out the summary" in read(run, "log/runner")) != is_known
