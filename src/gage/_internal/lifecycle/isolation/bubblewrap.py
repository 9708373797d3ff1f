"""The second rung: bubblewrap, a program that some systems allow what they forbid to others.

It stays between the runner and the command, in the same process group. So it ignores what the
command is told by signals, and the command is started by `env`, which lets go of that again. It
exits with 128 and the number of the signal by which the command was ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from gage._internal.lifecycle.isolation.view import KERNEL_SETTINGS, TEMPORARY, View, iter_devices
from gage._internal.lifecycle.system.programs import find_program
from gage._internal.types import NOTHING

PROGRAM = "bwrap"
_ENV = "/usr/bin/env"
_IGNORED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Devices that it makes itself.
_MADE = frozenset(["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"])


def find_bubblewrap() -> str | None:
    """Return the path of bubblewrap; None where it is not installed."""
    return find_program(PROGRAM, NOTHING, os.sep)


def options(view: View, network: bool) -> list[str]:
    """Return the options by which it shows a command what the view has."""
    words = ["--unshare-all", *(["--share-net"] if network else [])]
    words += ["--die-with-parent", "--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev"]
    for path in iter_devices():
        if os.path.basename(path) not in _MADE:
            words += ["--dev-bind", path, path]
    for place in TEMPORARY:
        words += ["--bind", os.path.join(view.own, "tmp"), place]
    paths = [*view.readable, *view.writable, "/sys"]
    for path in sorted(paths):
        words += ["--bind" if path in view.writable else "--ro-bind", path, path]
    for path in KERNEL_SETTINGS:
        words += ["--ro-bind-try", path, path]
    for path, target in view.links.items():
        if not _is_in_place(path, view):
            words += ["--symlink", target, path]
    return [*words, "--remount-ro", "/", "--chdir", view.run_dir]


def _is_in_place(path: str, view: View) -> bool:
    """Tell whether a link lies in a directory for temporary files, and was made there before."""
    return any(
        path.startswith(f"{place}/")
        and os.path.lexists(os.path.join(view.own, "tmp", os.path.relpath(path, place)))
        for place in TEMPORARY
    )


def wrapped(program: str, view: View, network: bool, args: Sequence[str]) -> list[str]:
    """Return the arguments by which bubblewrap, a path, executes a command in a view."""
    names = [each.name[3:] for each in _heard()]
    again = [f"--default-signal={','.join(names)}"] if names else []
    return [program, *options(view, network), "--", _ENV, *again, "--", *args]


def ignore_signals() -> None:
    """Leave signals to the command; for the child, between fork and exec."""
    for number in _heard():
        signal.signal(number, signal.SIG_IGN)


def _heard() -> list[signal.Signals]:
    return [each for each in _IGNORED if signal.getsignal(each) is not signal.SIG_IGN]
