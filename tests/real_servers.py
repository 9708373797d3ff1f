"""Servers that tests start on loopback and stop after: S3 (moto) and SSH (sshd)."""

from __future__ import annotations

import os
import shutil
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


@contextmanager
def _until_end(process: subprocess.Popen[bytes], port: int, log: Path) -> Iterator[None]:
    try:
        over = time.monotonic() + 60
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > over:
                raise RuntimeError(f"{process.args}: {log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
