"""What a runner consists of: the modules that start, verify, pack and unpack runs.

All of them need nothing but Python 3.9 and its standard library.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator

import gage
from gage._internal import fs
from gage._internal.portable.members import MAIN

# Every module that the runner imports; a test compares it with what the imports say.
MODULES: tuple[str, ...] = (
    "gage",
    "gage._internal",
    "gage._internal.caches",
    "gage._internal.clock",
    "gage._internal.cores",
    "gage._internal.environments",
    "gage._internal.environments.archives",
    "gage._internal.environments.bytecode",
    "gage._internal.environments.conda",
    "gage._internal.environments.contents",
    "gage._internal.environments.installing",
    "gage._internal.environments.interpreters",
    "gage._internal.environments.kept",
    "gage._internal.environments.prefixes",
    "gage._internal.environments.relocation",
    "gage._internal.errors",
    "gage._internal.fs",
    "gage._internal.lifecycle",
    "gage._internal.lifecycle.conclude",
    "gage._internal.lifecycle.containers",
    "gage._internal.lifecycle.environment",
    "gage._internal.lifecycle.execute",
    "gage._internal.lifecycle.finalize",
    "gage._internal.lifecycle.hooks",
    "gage._internal.lifecycle.isolation",
    "gage._internal.lifecycle.isolation.bubblewrap",
    "gage._internal.lifecycle.isolation.child",
    "gage._internal.lifecycle.isolation.isolate",
    "gage._internal.lifecycle.isolation.kernel",
    "gage._internal.lifecycle.isolation.landlock",
    "gage._internal.lifecycle.isolation.namespaces",
    "gage._internal.lifecycle.isolation.options",
    "gage._internal.lifecycle.isolation.rules",
    "gage._internal.lifecycle.isolation.view",
    "gage._internal.lifecycle.isolation.watch",
    "gage._internal.lifecycle.masking",
    "gage._internal.lifecycle.resume",
    "gage._internal.lifecycle.secret_values",
    "gage._internal.lifecycle.start",
    "gage._internal.lifecycle.start_environment",
    "gage._internal.lifecycle.stop",
    "gage._internal.lifecycle.system",
    "gage._internal.lifecycle.system.compare",
    "gage._internal.lifecycle.system.found",
    "gage._internal.lifecycle.system.hardware",
    "gage._internal.lifecycle.system.libraries",
    "gage._internal.lifecycle.system.programs",
    "gage._internal.lifecycle.system.table",
    "gage._internal.lock_files",
    "gage._internal.portable",
    "gage._internal.portable.arrival",
    "gage._internal.portable.bag",
    "gage._internal.portable.capsule",
    "gage._internal.portable.carried",
    "gage._internal.portable.crate",
    "gage._internal.portable.members",
    "gage._internal.portable.pack",
    "gage._internal.portable.unpack",
    "gage._internal.proc",
    "gage._internal.runner",
    "gage._internal.runner.job",
    "gage._internal.runner.main",
    "gage._internal.store",
    "gage._internal.store.attempts",
    "gage._internal.store.attributes",
    "gage._internal.store.command_lines",
    "gage._internal.store.failure",
    "gage._internal.store.following",
    "gage._internal.store.heartbeat",
    "gage._internal.store.jobs",
    "gage._internal.store.layout",
    "gage._internal.store.lock",
    "gage._internal.store.logs",
    "gage._internal.store.manifest",
    "gage._internal.store.meta",
    "gage._internal.store.names",
    "gage._internal.store.needed",
    "gage._internal.store.output",
    "gage._internal.store.record",
    "gage._internal.store.requirements",
    "gage._internal.store.resources",
    "gage._internal.store.runtime_record",
    "gage._internal.store.seal",
    "gage._internal.store.status",
    "gage._internal.store.verified",
    "gage._internal.store.verify",
    "gage._internal.types",
)

# Where a runs home keeps the runner, for others than the process that put it there.
_FOLDER = ".runner"
_DIGITS = 32

# Also an older Python is to be able to read it, and to say what is wrong.
_MAIN_SOURCE = b"""\
import sys

if sys.version_info < (3, 9):
    sys.exit("this needs Python 3.9 or newer, and was started with " + sys.version.split()[0])

from gage._internal.runner.main import main

sys.exit(main(sys.argv[1:], sys.path[0]))
"""


def iter_runner() -> Iterator[tuple[str, bytes]]:
    """Yield the files of a runner: path in an archive, and content."""
    yield MAIN, _MAIN_SOURCE
    for module in MODULES:
        path = module.replace(".", "/")
        yield _read(f"{path}/__init__.py") or _read(f"{path}.py") or _missing(module)


def _read(path: str) -> tuple[str, bytes] | None:
    """Return a file of this package, which may lie in an archive itself."""
    loader = gage.__loader__
    top = os.path.dirname(os.path.dirname(os.path.abspath(gage.__file__)))
    try:
        return path, loader.get_data(os.path.join(top, *path.split("/")))
    except OSError:
        return None


def _missing(module: str) -> tuple[str, bytes]:
    raise OSError(f"Gage is not installed whole: there is no {module}")


def runner_bytes() -> bytes:
    """Return a runner that has no run in it, as a file that Python executes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in iter_runner():
            # Without a time, so that the same runner is the same file.
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def runner_place(runner: bytes) -> str:
    """Return the path of a runner in a runs home that keeps it."""
    return f"{_FOLDER}/{hashlib.sha256(runner).hexdigest()[:_DIGITS]}.pyz"


def keep_runner(home: str) -> str:
    """Put this runner into a runs home, unless it is there as it is to be; return its path."""
    runner = runner_bytes()
    path = os.path.join(home, runner_place(runner))
    if _find_bytes(path) == runner:
        return path
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    beside = fs.write_beside(path, runner)
    try:
        # Jobs that count on it may outlive this machine.
        fs.sync(folder)
        os.replace(beside, path)
    except BaseException:
        fs.discard(beside)
        raise
    fs.sync(folder)
    return path


def _find_bytes(path: str) -> bytes | None:
    """Return the content of a file; None where that cannot be read."""
    try:
        return fs.read_bytes(path)
    except OSError:
        return None
