"""Servers that tests start on loopback and stop after: S3 (moto) and SSH (sshd)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECRET = "wJalrXUtnFEMIverysecret"


@dataclass(frozen=True)
class S3:
    """A server of S3, with one bucket."""

    port: int
    bucket: str = "bucket"

    @property
    def options(self) -> dict[str, Any]:
        """What s3fs needs to come to it, but for the secret."""
        return {"endpoint_url": f"http://127.0.0.1:{self.port}", "key": "tester"}

    def file_system(self) -> Any:
        import s3fs

        return s3fs.S3FileSystem(**self.options, secret=SECRET, skip_instance_cache=True)

    def put(self, files: Mapping[str, bytes], prefix: str) -> str:
        """Put files below a prefix; return its address."""
        file_system = self.file_system()
        for name, data in files.items():
            file_system.pipe_file(f"{self.bucket}/{prefix}/{name}", data)
        return f"s3://{self.bucket}/{prefix}"

    def remove(self, prefix: str) -> None:
        self.file_system().rm(f"{self.bucket}/{prefix}", recursive=True)


@dataclass(frozen=True)
class Ssh:
    """A server of SSH, into which a key logs in; `known_hosts` has the key of the server."""

    port: int
    user: str
    key: str
    known_hosts: str

    @property
    def options(self) -> dict[str, Any]:
        return {"port": self.port, "username": self.user, "key_filename": self.key}


@contextmanager
def serving_s3(folder: Path) -> Iterator[S3]:
    """Start a server of S3, and make its bucket."""
    program = ROOT / ".venv-servers" / "bin" / "moto_server"
    if not program.exists():
        raise FileNotFoundError(f"{program}: scripts/setup .venv-servers python3 servers")
    server = S3(_free_port())
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(server.port)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
        )  # fmt: skip
    with _until_end(process, server.port, folder / "moto.log"):
        server.file_system().mkdir(server.bucket)
        yield server


@contextmanager
def serving_ssh(folder: Path) -> Iterator[Ssh]:
    """Start a server of SSH that serves SFTP."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise FileNotFoundError("sshd: apt-get install openssh-server")
    for name in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    shutil.copy(folder / "client.pub", folder / "authorized_keys")
    port = _free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    if os.getuid() == 0:
        # Where it drops its rights.
        os.makedirs("/run/sshd", exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    import pwd

    user = pwd.getpwuid(os.getuid()).pw_name
    with _until_end(process, port, folder / "sshd.log"):
        yield Ssh(port, user, str(folder / "client"), str(folder / "known_hosts"))


@dataclass(frozen=True)
class Machine:
    """What passes for another machine, with SSH: own host name, processes, /root and /tmp.

    `root` is where its /root lies here, `bin` a directory for PATH with an `ssh` that knows it as
    `far`. At /root/small there is room for a megabyte.
    """

    port: int
    root: Path
    bin: Path
    config: Path

    def reached_by(self, folder: Path, port: int, **others: str) -> dict[str, str]:
        """Return an environment in which `ssh far` comes to it by way of another port."""
        config = folder / "ssh_config"
        text = self.config.read_text().replace(f"Port {self.port}", f"Port {port}")
        for name, value in others.items():
            text = re.sub(rf"\b{name} .*", f"{name} {value}", text)
        config.write_text(text)
        return {"PATH": f"{_write_ssh(folder / 'bin', config)}:{os.environ['PATH']}"}

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}:{os.environ['PATH']}"}


def _write_ssh(folder: Path, config: Path) -> Path:
    folder.mkdir(exist_ok=True)
    ssh = folder / "ssh"
    real = shutil.which("ssh", path="/usr/local/bin:/usr/bin:/bin")
    ssh.write_text(f'#!/bin/sh\nexec {real} -F {config} "$@"\n')
    ssh.chmod(0o755)
    return folder


@contextmanager
def serving_machine(folder: Path, *options: str) -> Iterator[Machine]:
    """Start a server of SSH in namespaces of its own, where only Debian's Python is."""
    for name in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    shutil.copy(folder / "client.pub", folder / "authorized_keys")
    port = _free_port()
    root = folder / "root"
    (root / "small").mkdir(parents=True)
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"far {host_key}\n")
    config = folder / "ssh_config"
    config.write_text(
        f"Host far\nHostName 127.0.0.1\nPort {port}\nUser root\nHostKeyAlias far\n"
        f"IdentityFile {folder}/client\nIdentitiesOnly yes\nLogLevel ERROR\n"
        f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile none\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    given = [f"-o{option}" for option in (
        f"Port={port}", "ListenAddress=127.0.0.1", "HostKey=/mnt/host", "PidFile=none",
        "AuthorizedKeysFile=/mnt/authorized_keys", "StrictModes=no", "UsePAM=no",
        "MaxStartups=100", *options,
    )]  # fmt: skip
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    script = (
        'hostname far; mount --make-rprivate /; mount --bind "$0/root" /root;'
        ' mount --bind "$0" /mnt; mount -t tmpfs tmpfs /tmp;'
        ' mount -t tmpfs -o size=1m tmpfs /root/small; exec "$@"'
    )
    command = ["unshare", "-m", "-u", "-p", "-i", "-f", "--kill-child", "--mount-proc"]
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "bash", "-c", script, folder, sshd, "-D", "-e", "-f", "/dev/null", *given],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    # It takes no notice of being terminated; with it all end that it has started.
    with _until_end(process, port, folder / "sshd.log", signal.SIGKILL):
        yield Machine(port, root, _write_ssh(folder / "bin", config), config)


@contextmanager
def _until_end(
    process: subprocess.Popen[bytes], port: int, log: Path, ending: int = signal.SIGTERM
) -> Iterator[None]:
    try:
        over = time.monotonic() + 60
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > over:
                raise RuntimeError(f"{process.args}: {log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(ending)
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
