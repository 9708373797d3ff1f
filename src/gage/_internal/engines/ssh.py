"""Runs that execute on another machine, started, followed and stopped by the system's ssh.

Nothing of Gage need be there: the runner is one file, sent once, `.runner/DIGEST.pyz` in the runs
home there. A run is started so that it needs no connection any more. What it prints is followed
from the byte on that has been seen, so a connection that is lost is made again and nothing is lost.
Arguments go as JSON in hexadecimal digits, so that no shell there has anything to understand.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from gage._internal.errors import RemoteFailed, RemoteUnfit, RemoteUnreachable
from gage._internal.fs import printable
from gage._internal.portable.carried import runner_bytes, runner_place
from gage._internal.portable.logins import Login, ssh_command

# What the program below exits with where there is no such runner; and ssh, where it fails.
_NO_RUNNER = 97
_NO_CONNECTION = 255
# Seconds until a host that does not answer is given up, and after which a connection that says
# nothing is asked, and how often.
_ALIVE = ("-oConnectTimeout=20", "-oServerAliveInterval=15", "-oServerAliveCountMax=4")
_EXECUTE = (
    "import json,os,sys;a=json.loads(bytes.fromhex('%s'));"
    "p=os.path.join(a[0],a[1]);"
    "os.path.exists(p) or sys.exit(97);"
    "os.execv(sys.executable,[sys.executable,'-I',p]+a[2:])"
)
_INSTALL = (
    "import hashlib,json,os,sys;a=json.loads(bytes.fromhex('%s'));"
    "p=os.path.join(a[0],a[1]);d=sys.stdin.buffer.read();"
    "hashlib.sha256(d).hexdigest()==a[2] or sys.exit('it came with other bytes');"
    "os.makedirs(os.path.dirname(p),exist_ok=True);t=p+'.%%d'%%os.getpid();"
    "f=open(t,'wb');f.write(d);f.close();os.replace(t,p)"
)

# Is told each piece of output: the stream (`o` or `e`) and the bytes.
Output = Callable[[str, bytes], None]


class Said(NamedTuple):
    """What the runner there answered: its exit status, and what it printed."""

    code: int
    out: bytes
    err: str


class There:
    """The runner in a runs home on another machine."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._runner = runner_bytes()
        self._digest = hashlib.sha256(self._runner).hexdigest()

    @property
    def host(self) -> str:
        """The name of the other machine."""
        return self._login.host

    def prepare(self) -> None:
        """Make the runs home there, with the directories that it lies in, and put the runner in it.

        Raises:
            RemoteFailed: as for `call`.
        """
        self.call("state", ".")

    def call(self, *args: str) -> Said:
        """Have the runner do something, and wait until it has.

        Raises:
            RemoteUnreachable: the other machine does not answer.
            RemoteFailed: it does not do what it should.
        """
        said = self._execute(args)
        if said.code == _NO_RUNNER:
            self._install()
            said = self._execute(args)
        return said

    def run_dir(self, run_id: str) -> str:
        """Return the path there of a run directory."""
        return f"{self._home()}/{run_id}"

    def follow(self, run_id: str, start: int, output: Output) -> int:
        """Pass on what a run prints from byte `start` on, until it ends; return the next byte.

        Raises:
            RemoteUnreachable: the connection was lost; `seen` is the next byte.
            RemoteFailed: it cannot be followed.
        """
        args = ("logs", "-f", "--frames", "--from", str(start), self.run_dir(run_id))
        with tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                self._command(_EXECUTE, self._arguments(args)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
            )
            assert process.stdout
            try:
                for stream, data in _frames(process.stdout):
                    start += len(data)
                    output(stream, data)
            except BaseException:
                process.terminate()
                process.wait()
                raise
            finally:
                process.stdout.close()
            code = process.wait()
            err.seek(0)
            text = err.read().decode("utf-8", "replace")
        if code != 0:
            self._raise(code, text, start)
        return start

    def _execute(self, args: tuple[str, ...]) -> Said:
        done = subprocess.run(
            self._command(_EXECUTE, self._arguments(args)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        said = Said(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
        if said.code in (_NO_CONNECTION, 127):
            self._raise(said.code, said.err, 0)
        return said

    def _install(self) -> None:
        done = subprocess.run(
            self._command(_INSTALL, [self._home(), self._place(), self._digest]),
            input=self._runner,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            self._raise(done.returncode, done.stderr.decode("utf-8", "replace"), 0)

    def _arguments(self, args: tuple[str, ...]) -> list[str]:
        return [self._home(), self._place(), *args]

    def _home(self) -> str:
        return self._login.path.removeprefix("~/") or "."

    def _place(self) -> str:
        return runner_place(self._runner)

    def _command(self, program: str, arguments: list[str]) -> list[str]:
        text = program % json.dumps(arguments).encode().hex()
        command = ssh_command(self._login, text)
        return [command[0], *_ALIVE, *command[1:]]

    def _raise(self, code: int, said: str, seen: int) -> None:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = printable(lines[-1]) if lines else "the connection has ended"
        where = printable(self._login.host)
        if code == _NO_CONNECTION:
            error = RemoteUnreachable(f"{where} cannot be reached: {last}", "repeat it later")
            raise Lost(error, seen)
        if code == 127:
            raise RemoteUnfit(f"{where} has no python3", "install Python 3.9 or newer there")
        raise RemoteFailed(f"{where}: {last}")


class Lost(RemoteUnreachable):
    """The connection was lost; `seen` is the byte to go on from."""

    def __init__(self, error: RemoteUnreachable, seen: int) -> None:
        super().__init__(error.message, error.hint)
        self.seen = seen


def _frames(source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    while True:
        head = source.readline()
        if not head.endswith(b"\n"):
            return
        stream, size = head.split()
        left = int(size)
        while left:
            data = source.read1(min(left, 1 << 16))  # type: ignore[attr-defined]
            if not data:
                return
            left -= len(data)
            yield stream.decode(), data
