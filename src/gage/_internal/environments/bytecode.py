"""Compile the modules of an environment, so that a read-only one starts as fast as any.

The compiled files are of the kind that is not checked against its source (PEP 552), since the
modules of a run do not change. They are the same for the same modules: the seed of hashes is fixed,
each file is compiled after the same others, the path in it is relative to the environment, and no
garbage is collected meanwhile. (What marshal writes of a name tells whether something else has it
at that moment, be it garbage.)
"""

from __future__ import annotations

import os
import tempfile

from gage._internal import fs
from gage._internal.errors import RuntimeFailed

# The number decides what is compiled after what, so it does not follow the number of cores.
_PROCESSES = 2
_COMPILE = "import gc; gc.disable(); import compileall, sys; sys.exit(not compileall.main())"


def compile_modules(tree: str, python: str, name: str) -> None:
    """Compile the modules below `tree` with an interpreter; tracebacks call the tree `name`.

    What an interpreter cannot compile, such as a template, stays as it is.

    Raises:
        RuntimeFailed: the interpreter cannot be run.
    """
    import subprocess

    modules = [f"{tree}/{path}" for path in fs.files_of(tree) if path.endswith(".py")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["PYTHONHASHSEED"] = "0"
    # An interpreter of the tree reads its own modules there: who compiles beside it changes these.
    is_inside = os.path.realpath(python).startswith(os.path.realpath(tree) + os.sep)
    count = 1 if is_inside else _PROCESSES
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for number in range(count):
            listed = os.path.join(folder, str(number))
            with open(listed, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(f"{path}\n" for path in modules[number::count])
            words = ["-c", _COMPILE, "-q", "-f", "-i", listed, "-s", tree, "-p", name]
            words += ["--invalidation-mode", "unchecked-hash"]
            try:
                processes.append(
                    subprocess.Popen(
                        [python, "-s", *words],
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
            except OSError as error:
                raise RuntimeFailed(f"{python} cannot be run: {error.strerror}") from None
        ended = [process.wait() for process in processes]
    if min(ended) < 0:
        raise RuntimeFailed(f"{python} was ended by signal {-min(ended)} while it compiled modules")
