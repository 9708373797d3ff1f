"""A real Slurm cluster on loopback: its daemons, started for tests and gone with them.

Each of its nodes has processes and a host name of its own, so that to kill the first of its
processes is to cut its power, and a run there is on another host as far as Gage can tell. Executed
as a program it starts a cluster in a directory, prints its configuration's path, and ends it when
its standard input does.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

NODES = ("n1", "n2")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_PR_SET_PDEATHSIG = 1
_UP = ("idle", "mixed", "allocated", "completing")

_CONFIG = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=5
KillWait=2
DefMemPerCPU=100
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=8000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=8000
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
"""
_WITHOUT_ACCOUNTING = """\
AccountingStorageType=accounting_storage/none
MinJobAge=3600
"""
_WITH_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
MinJobAge=2
"""
_ACCOUNTING_CONFIG = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageUser=root
StorageLoc=accounting
"""


class Cluster:
    """The daemons of a cluster, each of which can be killed and started again.

    With `accounting` its controller forgets jobs as soon as it can, and a database keeps them.
    """

    def __init__(self, folder: Path, accounting: bool = False) -> None:
        self.folder = folder
        self._accounting = accounting
        self.config = folder / "slurm.conf"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def env(self) -> dict[str, str]:
        """What makes Slurm's commands ask this cluster."""
        return {"SLURM_CONF": str(self.config)}

    def start(self) -> None:
        """Start all there is, and wait until both nodes take jobs."""
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        *ports, accounting_port = _free_ports(4)
        config = _CONFIG + (_WITH_ACCOUNTING if self._accounting else _WITHOUT_ACCOUNTING)
        self.config.write_text(config.format(folder=self.folder, ports=ports, port=accounting_port))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._start_daemon(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed",
            "--num-threads=2",
        )  # fmt: skip
        until((self.folder / "munge.socket").exists)
        if self._accounting:
            self._start_accounting(accounting_port)
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.until_up()

    def _start_accounting(self, port: int) -> None:
        """Start a database that nobody but this machine can reach, and Slurm's daemon for it."""
        data, sql = self.folder / "database", self.folder / "sql.socket"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root",
             "--auth-root-authentication-method=normal", "--skip-test-db"],
            env={"PATH": _PATH}, check=True, capture_output=True,
        )  # fmt: skip
        self._start_daemon(
            "mariadbd", "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={sql}",
            f"--pid-file={self.folder}/mariadbd.pid", "--user=root", "--skip-networking",
        )  # fmt: skip
        until(sql.exists)
        config = self.folder / "slurmdbd.conf"
        config.write_text(_ACCOUNTING_CONFIG.format(folder=self.folder, port=port))
        config.chmod(0o600)
        self._start_daemon("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=str(sql))
        until(lambda: self.ask("sacctmgr", "-i", "add", "cluster", "tests").returncode == 0)

    def stop(self) -> None:
        """Kill all of it."""
        while self._processes:
            self.kill(next(iter(self._processes)))

    def start_controller(self) -> None:
        """Start the controller, with the state that it was killed with."""
        self._start_daemon("slurmctld", "slurmctld", "-D")
        until(lambda: self.ask("scontrol", "ping").returncode == 0)

    def start_node(self, name: str) -> None:
        """Start a node: its processes and host name are its own, all else is this machine's."""
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(NODES)}\n")
        # The first process stays, so that the daemon can be killed without the node.
        script = (
            f"hostname {name} && mount --bind {hosts} /etc/hosts && slurmd -D -N {name} &"
            " while :; do sleep 1; done"
        )
        self._start_daemon(
            name, "unshare", "-m", "-u", "-p", "-f", "--kill-child", "--mount-proc",
            "bash", "-c", script,
        )  # fmt: skip

    def mend(self) -> None:
        """Start again what was killed."""
        if "slurmctld" not in self._processes:
            self.start_controller()
        for node in NODES:
            if node not in self._processes:
                self.start_node(node)
            elif not any(_is_slurmd(pid, node) for pid in self.processes_of(node)):
                self.start_slurmd(node)
        self.until_up()

    def kill_slurmd(self, node: str) -> None:
        """Kill the daemon of a node; what it has started goes on."""
        (pid,) = [pid for pid in self.processes_of(node) if _is_slurmd(pid, node)]
        os.kill(pid, signal.SIGKILL)

    def start_slurmd(self, node: str) -> None:
        """Start the daemon of a node that has gone on without it."""
        (first,) = Path(f"/proc/{self._processes[node].pid}/task").glob("*/children")
        if f"{node}.again" in self._processes:
            self.kill(f"{node}.again")
        self._start_daemon(
            f"{node}.again",
            "nsenter",
            "-t",
            first.read_text().strip(),
            "-m",
            "-u",
            "-p",
            "slurmd",
            "-D",
            "-N",
            node,
        )

    def kill(self, name: str) -> None:
        """Kill `slurmctld`, `munged`, or a node with all of its processes."""
        if f"{name}.again" in self._processes:
            self.kill(f"{name}.again")
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def end(self, name: str) -> None:
        """Let a daemon end by itself."""
        process = self._processes.pop(name)
        process.terminate()
        process.wait()

    def until_up(self) -> None:
        """Wait until the nodes take jobs."""
        self.put_back()
        until(lambda: self._states() and not set(self._states().values()) - set(_UP))

    def put_back(self) -> None:
        """Do what an administrator does with nodes that the controller does not trust any more."""
        for node, state in self._states().items():
            if state.startswith("drain"):
                self.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def _states(self) -> Mapping[str, str]:
        listed = self.ask("sinfo", "-h", "-N", "-p", "debug", "-o", "%N %T").stdout
        return dict(line.split() for line in listed.splitlines())

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Execute one of Slurm's commands."""
        env = {**os.environ, **self.env, "PATH": _PATH}
        return subprocess.run(
            words, env=env, text=True, capture_output=True, timeout=60, check=False
        )

    def tell(self, *words: str) -> str:
        """Execute one that has to succeed; return what it prints."""
        done = self.ask(*words)
        assert done.returncode == 0, done
        return done.stdout

    def processes_of(self, node: str) -> Sequence[int]:
        """Return the pids of all processes of a node, and of what has made it."""
        found = [
            process.pid for name, process in self._processes.items() if name.split(".")[0] == node
        ]
        for pid in found:
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += map(int, children)
        return found

    def _start_daemon(self, name: str, *words: str, **variables: str) -> None:
        program = shutil.which(words[0], path=_PATH)
        if program is None:
            raise FileNotFoundError(
                f"{words[0]}: apt-get install slurm-wlm munge slurmdbd mariadb-server"
            )
        env = {"PATH": _PATH, **self.env, "HOME": os.environ.get("HOME", "/")}
        env |= variables
        with (self.folder / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [program, *words[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip


@contextmanager
def running_cluster(folder: Path, accounting: bool = False) -> Iterator[Cluster]:
    """Start a cluster in a directory; it is gone when the context ends."""
    cluster = Cluster(folder, accounting)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start()
        yield cluster


def until(true: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something is true."""
    over = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < over, "it does not come true"
        time.sleep(0.05)


def _command_of(pid: int) -> Sequence[bytes]:
    """Return the words of a process; none where it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_slurmd(pid: int, node: str) -> bool:
    return _command_of(pid)[:4] == [b"slurmd", b"-D", b"-N", node.encode()]


def _die_with_parent() -> None:
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    with running_cluster(Path(sys.argv[1])) as started:
        print(started.config, flush=True)
        sys.stdin.read()
