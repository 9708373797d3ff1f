import subprocess

COMMANDS = [
    *(
        "init",
        "operations",
        "run",
        "stage",
        "start",
        "rerun",
        "stop",
        "list",
        "show",
        "cat",
        "logs",
    ),
    *("open", "diff", "label", "tag", "comment", "delete", "restore", "purge", "push", "pull"),
    *("verify", "pack", "unpack", "check", "cache", "completion"),
]


def test_bash_completes_commands_and_options(project):
    script = project().gage("completion", "bash").succeeds().out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert set(_complete(script, "")) >= set(COMMANDS)
    assert _complete(script, "st") == ["stage", "start", "stop"]
    assert _complete(script, "list", "--del") == ["--deleted"]
    assert _complete(script, "list", "--status", "comp") == ["completed"]


def _complete(script, *words):
    count = len(words)
    quoted = " ".join(f"'{word}'" for word in words)
    ask = (
        f"COMP_WORDS=(gage {quoted}); COMP_CWORD={count}; "
        "$(complete -p gage | sed 's/.*-F \\([^ ]*\\).*/\\1/') gage; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split())


def test_zsh_and_fish_scripts_know_every_command(project):
    here = project()
    zsh = here.gage("completion", "zsh").succeeds().out
    assert zsh.startswith("#compdef gage\n")
    fish = here.gage("completion", "fish").succeeds().out
    assert "complete -c gage" in fish
    for command in COMMANDS:
        assert f"\n    {command}:'" in zsh, command
        assert f" -a {command} -d " in fish, command
    assert "--deleted" in zsh and "-l deleted" in fish


def test_other_shells_are_wrong_usage(project):
    here = project()
    here.gage("completion", "tcsh").fails(2, "usage")
    here.gage("completion").fails(2, "usage")
