"""Make an environment of Python one that works wherever it is put.

- `pyvenv.cfg` has no `home`: without it, Python finds its library where the file that `bin/python`
  links to lies (see `getpath.py` of CPython).
- `bin/python` and its other names are relative links to an interpreter that lies in the
  environment; where none does, there are no such links until the environment is used (see
  `lifecycle/environment.py`).
- Scripts start the `python` that lies beside them.
- What installers note of where they took a package from, if that is on this machine, goes.

`RECORD` (the core metadata specification of installed projects) is kept true.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
from collections.abc import Callable

from gage._internal import fs
from gage._internal.environments.interpreters import Interpreter

_OWN_INTERPRETER = "python"
_LAUNCHER = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")/python" "$0" "$@"
' '''
"""
_MODULES_NOT_NEEDED = ("__pycache__", "test", "site-packages", "idlelib", "turtledemo")


def make_relocatable(tree: str, interpreter: Interpreter, with_interpreter: bool) -> None:
    """Take what names this machine out of an environment that was made by `interpreter`.

    With `with_interpreter` that is copied into the environment.
    """
    settings = (
        "include-system-site-packages = false\n"
        f"version_info = {interpreter.version}\n"
        "relocatable = true\n"
    )
    fs.replace_file(os.path.join(tree, "pyvenv.cfg"), settings.encode(), 0o644)
    for path in interpreter_links(interpreter):
        fs.remove_file(os.path.join(tree, path))
    changed: dict[str, bytes | None] = {}
    for name in os.listdir(os.path.join(tree, "bin")):
        path = f"bin/{name}"
        full = os.path.join(tree, path)
        if os.path.islink(full):
            if os.readlink(full).startswith("/"):
                os.unlink(full)
        elif name.lower().startswith("activate") or name.endswith(".bat"):
            # These name the directory, some in ways of their own, and a run has no use for them.
            os.unlink(full)
            changed[path] = None
        elif os.path.isfile(full):
            script = _relocatable_script(fs.read_bytes(full), tree)
            if script is not None:
                fs.replace_file(full, script, 0o755)
                changed[path] = script
    if with_interpreter:
        _copy_interpreter(tree, interpreter)
    for record in _records(tree):
        _clean_record(record, tree, changed)


def interpreter_links(interpreter: Interpreter) -> list[str]:
    """Return the paths in an environment by which its interpreter goes."""
    return [f"bin/{name}" for name in ("python", "python3", f"python{interpreter.series}")]


def link_interpreter(tree: str, interpreter: Interpreter, path: str = "") -> None:
    """Link an environment to an interpreter; `path` is a relative one to it, if need be."""
    os.makedirs(os.path.join(tree, "bin"), exist_ok=True)
    for name in interpreter_links(interpreter):
        os.symlink(path or interpreter.path, os.path.join(tree, name))


def _relocatable_script(script: bytes, tree: str) -> bytes | None:
    """Return a script that starts the Python beside it; None where it names no other one."""
    first, _, rest = script.partition(b"\n")
    if not first.startswith(b"#!") or os.fsencode(tree) not in first:
        if not first.startswith(b"#!/bin/sh") or os.fsencode(tree) not in rest[:4096]:
            return None
        # A launcher for a path that is too long for a first line: its two lines go too.
        rest = rest.split(b"\n", 2)[-1]
    return _LAUNCHER + rest


def _copy_interpreter(tree: str, interpreter: Interpreter) -> None:
    """Copy an interpreter that can be moved: its executable, library and shared objects."""
    name = f"python{interpreter.series}"
    root = os.path.join(tree, _OWN_INTERPRETER)
    os.makedirs(os.path.join(root, "bin"))
    shutil.copy2(interpreter.path, os.path.join(root, "bin", name))
    shutil.copytree(
        os.path.join(interpreter.prefix, "lib", name),
        os.path.join(root, "lib", name),
        symlinks=True,
        ignore=shutil.ignore_patterns(*_MODULES_NOT_NEEDED),
    )
    for entry in sorted(os.listdir(os.path.join(interpreter.prefix, "lib"))):
        if ".so" in entry:
            full = os.path.join(interpreter.prefix, "lib", entry)
            shutil.copy2(full, os.path.join(root, "lib", entry), follow_symlinks=False)
    link_interpreter(tree, interpreter, f"../{_OWN_INTERPRETER}/bin/{name}")


def _records(tree: str) -> list[str]:
    found = []
    for path in fs.files_of(tree):
        folder, name = os.path.split(path)
        if name == "RECORD" and folder.endswith(".dist-info"):
            found.append(os.path.join(tree, path))
    return found


def _clean_record(record: str, tree: str, changed: dict[str, bytes | None]) -> None:
    """Remove what notes where the package came from; let its RECORD say what there is now."""
    folder = os.path.dirname(record)
    packages = os.path.dirname(folder)
    gone = {os.path.join(folder, "uv_cache.json")}
    origin = os.path.join(folder, "direct_url.json")
    if os.path.exists(origin) and b'"file:' in fs.read_bytes(origin):
        gone.add(origin)
    for path in gone:
        fs.remove_file(path)

    def row_now(row: list[str]) -> list[str] | None:
        full = os.path.normpath(os.path.join(packages, row[0]))
        if full in gone:
            return None
        path = os.path.relpath(full, tree)
        if path not in changed:
            return [os.path.relpath(full, packages), *row[1:]]
        data = changed[path]
        return None if data is None else [row[0], _hash(data), str(len(data))]

    _rewrite(record, row_now)


def _rewrite(record: str, row_now: Callable[[list[str]], list[str] | None]) -> None:
    text = fs.read_bytes(record).decode()
    rows = [row_now(row) for row in csv.reader(io.StringIO(text)) if row]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(row for row in rows if row)
    if written.getvalue() != text:
        fs.replace_file(record, written.getvalue().encode(), 0o644)


def _hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + digest.decode().rstrip("=")
