"""What it takes to bring a run to another machine, beside rsync over the same connection.

The other machine is a server of SSH on loopback, started for the rows and ended with the benchmark.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import socket
import subprocess
import time

from bench.measure import CannotRun, Command
from bench.place import Place, remove
from bench.rows import Row

_SMALL_FILES = 2000
_LARGE = 200 << 20
_NO_SYNC = {"GAGE_SYNC": "0"}


def moving_rows(place: Place) -> list[Row]:
    """Return the rows: a first push, one of a run of which a file has changed, and a pull."""
    folder = place.path("moved")
    first, changed = folder + ".first", folder + ".changed"
    far, copy, home = place.path("far"), place.path("far.copy"), place.path("far.home")
    prepare = functools.partial(_prepare, place, folder, first, changed)
    env = {**_NO_SYNC, "PATH": f"{place.path('ssh')}:{place.bin}:{os.environ['PATH']}"}

    def gage(*words: str, before: functools.partial[None]) -> Command:
        return place.command([place.gage, *words], folder, env, before=before)

    def rsync(source: str, target: str, before: functools.partial[None]) -> Command:
        words = ["sh", "-c", 'rsync -a -e ssh "$1"/ "$2"', "sh", source, target]
        return place.command(words, folder, env, before=before)

    clear = functools.partial(remove, far, copy, home)
    push_first = functools.partial(_push_first, place, env, folder, first, far, copy)
    rows = [
        (
            "gage push over ssh, 2000 files and 200 MiB | rsync -a",
            gage("--runs", first, "push", "1", f"ssh://far{far}", before=clear),
            rsync(first, f"far:{copy}", clear),
        ),
        (
            "gage push over ssh of the same with a file changed | rsync -a",
            gage("--runs", changed, "push", "1", f"ssh://far{far}", before=push_first),
            rsync(folder, f"far:{copy}", push_first),
        ),
        (
            "gage pull over ssh, 2000 files and 200 MiB | rsync -a",
            gage("--runs", home, "pull", "--all", f"ssh://far{first}", before=clear),
            rsync(f"far:{first}", copy, clear),
        ),
    ]
    return [Row(name, ours, peer, prepare=prepare) for name, ours, peer in rows]


def _push_first(
    place: Place, env: dict[str, str], folder: str, first: str, far: str, copy: str
) -> None:
    """Let the run without the change be there already, and its files for the peer."""
    remove(far, copy)
    words = [place.gage, "--runs", first, "push", "1", f"ssh://far{far}"]
    subprocess.run(words, cwd=folder, env=place.env(env), check=True, capture_output=True)
    subprocess.run(["cp", "-a", folder, copy], check=True)
    with open(os.path.join(copy, "small", "0"), "a") as file:
        file.write("as it was before")


def _prepare(place: Place, folder: str, first: str, changed: str) -> None:
    if os.path.isdir(folder):
        return
    _serve(place)
    os.makedirs(os.path.join(folder, "small"))
    for number in range(_SMALL_FILES):
        with open(os.path.join(folder, "small", str(number)), "w") as file:
            file.write(f"{number} is what file {number} holds\n" * 40)
    with open(os.path.join(folder, "large"), "wb") as file:
        for _ in range(_LARGE >> 20):
            file.write(os.urandom(1 << 20))
    with open(os.path.join(folder, "gage.toml"), "w") as file:
        file.write('[work]\nexec = "true"\nsourcecode = ["**"]\n')
    for home in (first, changed):
        words = [place.gage, "--runs", home, "stage"]
        subprocess.run(words, cwd=folder, env=place.env(), check=True, capture_output=True)
        with open(os.path.join(folder, "small", "0"), "a") as file:
            file.write("changed\n")


def _serve(place: Place) -> None:
    """Start a server of SSH, and make an `ssh` that knows it as `far`."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    real = shutil.which("ssh")
    if program is None or real is None or shutil.which("rsync") is None:
        raise CannotRun("needs sshd, ssh and rsync: apt-get install openssh-server rsync")
    folder = place.path("ssh")
    os.makedirs(folder)
    for name in ("host", "client"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(folder, name)]
        subprocess.run(words, check=True)
    shutil.copy(os.path.join(folder, "client.pub"), os.path.join(folder, "authorized"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if os.getuid() == 0:
        # Where it drops its rights.
        os.makedirs("/run/sshd", exist_ok=True)
    options = [f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={folder}/host", "PidFile=none"]
    options += [f"AuthorizedKeysFile={folder}/authorized", "StrictModes=no", "UsePAM=no"]
    words = [program, "-D", "-f", "/dev/null", *(word for each in options for word in ("-o", each))]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    atexit.register(server.terminate)
    with open(os.path.join(folder, "config"), "w") as file:
        file.write(
            f"Host far\nHostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/client\n"
            "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
        )
    with open(os.path.join(folder, "ssh"), "w") as file:
        file.write(f'#!/bin/sh\nexec {real} -F {folder}/config "$@"\n')
    os.chmod(os.path.join(folder, "ssh"), 0o755)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise CannotRun("sshd does not answer")
