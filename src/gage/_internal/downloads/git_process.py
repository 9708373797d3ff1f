"""Git as a process: never asks, runs nobody's hooks, and says in words why it failed.

What the user has configured of how to reach a server holds (credential helpers, proxies,
certificates, `insteadOf`, ssh); what would change content or run other programs does not.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gage._internal.errors import DependencyError
from gage._internal.fs import printable

if TYPE_CHECKING:
    import subprocess

# Where a hook of git runs, these tell of the repository that the hook is for.
LOCAL_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip
_OTHER_VARIABLES = (
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_TEMPLATE_DIR",
)
# Its progress comes in lines that end with a carriage return.
_RECEIVED = re.compile(rb"Receiving objects:.*?, ([\d.]+) (bytes|KiB|MiB|GiB)")
_UNITS = {b"bytes": 1, b"KiB": 1 << 10, b"MiB": 1 << 20, b"GiB": 1 << 30}
_LOGIN = re.compile(r"//[^/@\s']*@")
_PREFIXES = ("fatal: ", "error: ", "ERROR: ", "remote: ", "ssh: ")
_FULL = ("No space left on device", "Disk quota exceeded")
# A server that sends less for so long is taken for gone: bytes each second, seconds.
_SLOWEST = ("http.lowSpeedLimit=1", "http.lowSpeedTime=60")

_HINTS = (
    (
        ("could not read Username", "could not read Password", "Authentication failed",
         "terminal prompts disabled", "error: 401", "error: 403"),
        'who may have it writes "machine HOST login … password …" into ~/.netrc',
    ),
    (("Host key verification failed",), "connect to it once with ssh, and accept its key"),
    (("Permission denied (",), "see that ssh connects without asking: ssh-add"),
    (("safe.directory",), "git config --global --add safe.directory, with its path"),
    (("Could not resolve host", "Failed to connect", "Couldn't connect", "Connection refused",
      "Name or service not known", "Temporary failure in name resolution"),
     "check the address, and whether this machine is online"),
    (("not found", "does not exist", "does not appear to be a git", "error: 404"),
     "check the address"),
)  # fmt: skip


class GitFailed(Exception):
    """Git failed: why, in its words, and what to do."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class GitDiskFull(GitFailed):
    """Git could not write what it had to."""


def run_git(
    args: Sequence[str],
    *,
    data: bytes = b"",
    lock: int | None = None,
    received: Callable[[int], None] | None = None,
) -> bytes:
    """Run git to its end; return what it printed.

    `lock` is a file that git, and what it starts, keeps locked even where this process is killed;
    `received` is told the bytes that have come so far.

    Raises:
        GitFailed: its exit status is not 0.
        DependencyError: there is no git here.
    """
    process = start_git(args, lock, is_heard=True)
    try:
        output, said = _communicate(process, data, received)
    except BaseException:
        # Its own session: what it has started, to talk to a server, ends with it.
        _kill_group(process)
        raise
    if process.returncode:
        raise _failure(os.fsdecode(said), process.returncode)
    return output


def start_git(
    args: Sequence[str], lock: int | None = None, is_heard: bool = False
) -> subprocess.Popen[bytes]:
    """Start git with pipes to it and from it, and to its messages where these are to be heard.

    Raises:
        DependencyError: there is no git here.
    """
    import subprocess

    try:
        return subprocess.Popen(
            ["git", *_settings(), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if is_heard else subprocess.DEVNULL,
            env=_environment(),
            pass_fds=() if lock is None else (lock,),
            # Away from the terminal, which ssh would ask at.
            start_new_session=True,
        )
    except FileNotFoundError:
        raise DependencyError(
            "git is not installed, and a dependency is in a git repository", "install git"
        ) from None


def is_of_full_disk(error: OSError) -> bool:
    """Tell whether an error says that there is no room."""
    import errno

    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _settings() -> list[str]:
    settings = [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.quotePath=false",
        # Objects come as packs, which are there or not, and never in part.
        "fetch.unpackLimit=1",
        "transfer.unpackLimit=1",
        "fetch.writeCommitGraph=false",
        "gc.autoDetach=false",
        "maintenance.autoDetach=false",
        "protocol.allow=never",
        *(f"protocol.{name}.allow=always" for name in ("http", "https", "ssh", "git", "file")),
        *_SLOWEST,
    ]
    return [word for setting in settings for word in ("-c", setting)]


def _environment() -> dict[str, str]:
    dropped = {*LOCAL_VARIABLES, *_OTHER_VARIABLES, "LANGUAGE"}
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    return env | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        # Empty: no program is asked, neither the one of a setting.
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _communicate(
    process: subprocess.Popen[bytes], data: bytes, received: Callable[[int], None] | None
) -> tuple[bytes, bytes]:
    if received is None:
        return process.communicate(data)
    assert process.stdin and process.stdout and process.stderr
    process.stdin.close()
    said = bytearray()
    while True:
        part = os.read(process.stderr.fileno(), 1 << 16)
        if not part:
            break
        said += part
        found = _RECEIVED.findall(part)
        if found:
            received(int(float(found[-1][0]) * _UNITS[found[-1][1]]))
    output = process.stdout.read()
    process.stdout.close()
    process.stderr.close()
    process.wait()
    return output, bytes(said)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            _close(pipe)
    process.wait()


def _close(pipe: Any) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        pass


def _failure(said: str, code: int) -> GitFailed:
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip()]
    told = [line for line in lines if line.startswith(_PREFIXES)]
    fatal = [line for line in told if line.startswith("fatal: ")]
    # The last word is often a general one, after the one that tells.
    first = next((line for line in told if not line.startswith("remote: ")), None)
    line = (fatal or [first or (told or lines or [f"exit status {code}"])[-1]])[0]
    if "Could not read from remote repository" in line and len(lines) > 1:
        line = next((each for each in lines if each != line), line)
    for prefix in _PREFIXES:
        line = line.removeprefix(prefix)
    reason = f"git says: {printable(_LOGIN.sub('//', line))}"
    if any(text in said for text in _FULL):
        return GitDiskFull(reason)
    hint = next((hint for words, hint in _HINTS if any(word in said for word in words)), None)
    return GitFailed(reason, hint)
