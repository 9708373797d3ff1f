"""The last rung: Landlock, by which a process gives up the right to open all but some files.

What is hidden can still be seen (its name, its size), and not be opened, executed, written or
listed. `/tmp` is not there to be used: `TMPDIR` leads to a directory of the run's own. For the
child, between fork and exec.
"""

from __future__ import annotations

import os

from gage._internal.lifecycle.isolation import kernel, rules
from gage._internal.lifecycle.isolation.view import KERNEL, SHARED_MEMORY, View, iter_devices

_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_TRUNCATE = 1 << 14
# Rights by the version that brought them: the first had thirteen.
_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE}
_TO_READ = _EXECUTE | _READ | _LIST
_FOR_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE
# A run makes no devices.
_DEVICES = (1 << 6) | (1 << 11)


def enter(view: View, network: bool) -> None:
    """Leave this process nothing to open but what the view has.

    Raises:
        OSError: the kernel has no Landlock.
    """
    version = kernel.landlock_version()
    handled = sum(rights for since, rights in _RIGHTS.items() if since <= version)
    ruleset = kernel.landlock_ruleset(handled)
    kernel.drop_capabilities()
    kernel.gain_nothing()
    kernel.let_be_looked_at()
    for path in (*view.readable, *KERNEL[:2]):
        _allow(ruleset, path, _TO_READ)
    for path in (*view.writable, os.path.join(view.own, "tmp"), SHARED_MEMORY):
        _allow(ruleset, path, handled & ~_DEVICES)
    for path in iter_devices():
        _allow(ruleset, path, handled & (_TO_READ | _WRITE | _TRUNCATE))
    kernel.landlock_restrict(ruleset)
    os.close(ruleset)
    if not network:
        machine = kernel.find_machine()
        assert machine
        rules.install_no_network(machine)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        kernel.landlock_allow(ruleset, path, access if os.path.isdir(path) else access & _FOR_FILES)
    except FileNotFoundError:
        # There is no such thing on this system.
        pass
