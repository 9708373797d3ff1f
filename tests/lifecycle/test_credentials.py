"""What looks like a secret: found by its form, told with its place, never repeated."""

import random
import string
from pathlib import Path
from typing import Any

import pytest

from gage._internal.lifecycle.leaks.tokens import find_tokens
from gage._internal.lifecycle.stage import stage_run
from runs_on_disk import files_below, read

ALPHANUMERIC = string.ascii_letters + string.digits


def some(count: int, characters: str = ALPHANUMERIC) -> str:
    """Return characters that no scanner of this repository takes for a token by themselves."""
    return "".join(random.Random(count).choices(characters, k=count))


# Put together here, so that none stands in a file.
TOKENS = {
    "ghp_" + some(36): "a token of GitHub",
    "github_pat_" + some(22) + "_" + some(59): "a token of GitHub",
    "glpat-" + some(20): "a token of GitLab",
    "hf_" + some(34, string.ascii_letters): "a token of Hugging Face",
    "AKIA" + some(16, string.ascii_uppercase + "234567"): "a token of AWS",
    "xoxb-" + some(12, string.digits) + "-" + some(24): "a token of Slack",
    "sk-ant-" + "api03-" + some(90): "a token of Anthropic",
    "sk-proj-" + some(60): "a token of OpenAI",
    "AIza" + some(35): "a token of Google",
    "sk_live_" + some(24): "a token of Stripe",
    "npm_" + some(36): "a token of npm",
    "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3Blbn": "a private key",
    "-----BEGIN " + "PRIVATE KEY-----\\nMIIE": "a private key",
}


@pytest.mark.parametrize(("token", "kind"), TOKENS.items(), ids=range(len(TOKENS)))
def test_each_form_is_known_by_line_and_kind(token: str, kind: str) -> None:
    for text in (token, f'a: "{token}"', f"a={token}\n"):
        assert list(find_tokens("x\n" + text)) == [(2, kind)]


@pytest.mark.parametrize(
    "text",
    [
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "ghp_short", "hf_hub_download", "task-list",
        "sk-learn-contrib-" + "a" * 60, "AKIAIOSFODNN7EXAMPLE", "risk-proj-" + some(60),
        "x" + "ghp_" + some(36), "ghp_" + some(36) + "_more", "-----BEGIN PUBLIC KEY-----\nMIIB",
        "-----BEGIN PRIVATE KEY-----", "hf_" + "0123456789" * 4, "mypypi-" + some(60),
    ],
)  # fmt: skip
def test_what_only_looks_a_little_like_one_is_none(text: str) -> None:
    assert list(find_tokens(text)) == []


@pytest.fixture
def stage(make_initialized, project_dir: Path):
    def stage(*args: str, **options: Any) -> tuple[Any, list[str]]:
        run = make_initialized(*args, **options)
        told: list[str] = []
        stage_run(run, str(project_dir), notice=told.append)
        return run, told

    return stage


def test_files_that_hold_settings_are_searched(stage, project_dir: Path) -> None:
    token = "glpat-" + some(20)
    (project_dir / "conf").mkdir()
    (project_dir / "conf" / "app.yaml").write_text(f"a: 1\n\ntoken: {token}\n")
    run, told = stage("true")
    (sentence,) = told
    assert sentence.splitlines()[:2] == [
        "1 thing in the run looks like a secret:",
        "  conf/app.yaml:3: a token of GitLab",
    ]
    assert "name it in secrets" in sentence and token not in sentence
    assert "Looks like a secret: conf/app.yaml:3: a token of GitLab\n" in read(run, "log/runner")
    for name in files_below(run.run_dir + ".meta"):
        assert token.encode() not in Path(run.run_dir + ".meta", name).read_bytes()


def test_values_are_searched(stage) -> None:
    tokens = list(TOKENS)
    run, told = stage(
        "echo", f"--token={tokens[0]}", env={"A": tokens[2]}, config={"b": ["x", tokens[3]]}
    )
    (sentence,) = told
    assert "3 things in the run look like a secret:" in sentence
    for line in ("the command: a token of GitHub", "env A: a token of GitLab",
                 "config b: a token of Hugging Face"):  # fmt: skip
        assert f"  {line}\n" in sentence
    assert not any(token in sentence + read(run, "log/runner") for token in tokens)


def test_a_run_without_any_is_told_of_nothing(stage, project_dir: Path) -> None:
    (project_dir / "gage.toml").write_text("[a]\nexec = 'true'\n")
    (project_dir / "a.json").write_text('{"model": "hf_model", "task": "task-1"}')
    assert stage("python3", "train.py", "--risk-level=1")[1] == []


@pytest.mark.parametrize("name", ["train.py", "src/pkg/client.py", "README", "notes.md", "a.R"])
def test_all_source_is_searched(stage, project_dir: Path, name: str) -> None:
    (project_dir / name).parent.mkdir(parents=True, exist_ok=True)
    (project_dir / name).write_text(f"# one\nlogin(token='{next(iter(TOKENS))}')\n")
    _, (sentence,) = stage("true")
    assert f"  {name}:2: a token of GitHub\n" in sentence


@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
def test_each_form_is_found_in_source(stage, project_dir: Path, token: str) -> None:
    (project_dir / "train.py").write_text(f'A = """\n{token}\n"""\n')
    assert f"  train.py:2: {TOKENS[token]}\n" in stage("true")[1][0]


def test_what_is_no_text_is_not_searched(stage, project_dir: Path) -> None:
    (project_dir / "a.bin").write_bytes(b"\0\n" + next(iter(TOKENS)).encode())
    assert stage("true", opdef={"sourcecode": "*"})[1] == []


def test_what_others_wrote_is_not_searched(stage, project_dir: Path) -> None:
    (project_dir / "vendored").mkdir()
    (project_dir / "vendored" / "a.py").write_text(next(iter(TOKENS)))
    opdef = {"sourcecode": ["-vendored/"], "depends": {"project-files": "vendored"}}
    assert stage("true", opdef=opdef)[1] == []


def test_of_a_large_project_some_files_are_searched_and_that_is_logged(
    stage, project_dir: Path
) -> None:
    (project_dir / "deep" / "er").mkdir(parents=True)
    for i in range(60):
        (project_dir / "deep" / "er" / f"{i}.py").write_text("#" * (64 << 10))
    (project_dir / "deep" / "er" / "a.py").write_text("#" * (65 << 10) + list(TOKENS)[1])
    (project_dir / "deep" / "er" / "z.json").write_text(list(TOKENS)[2])
    (project_dir / "train.py").write_text(next(iter(TOKENS)))
    run, (sentence,) = stage("true")
    assert [line.partition(":")[0] for line in sentence.splitlines()[1:3]] == [
        "  deep/er/z.json",
        "  train.py",
    ]
    assert "Looked for secrets in 47 of 63 files only\n" in read(run, "log/runner")
