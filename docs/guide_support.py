"""What the documents use without importing it: files, and commands as one types them."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

import console_sessions

__all__ = ["cat", "cd", "find", "make_temp_dir", "option_masked", "sh", "write"]


def make_temp_dir() -> str:
    """Return a new directory that is removed when the document ends."""
    path = os.path.realpath(tempfile.mkdtemp(prefix="gage-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def cd(path: str) -> None:
    """Go to a directory, made if it is not there."""
    os.makedirs(path, exist_ok=True)
    os.chdir(path)


def write(path: str, text: str) -> None:
    """Write a file; the newline that the text begins with is left out."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text.removeprefix("\n"), encoding="utf-8")


def sh(command: str) -> None:
    """Run a command as one types it, and print all that it prints."""
    sys.stdout.write(console_sessions.run_shell(command, Path.cwd()))


def cat(*parts: str) -> None:
    """Print a file."""
    sys.stdout.write(Path(*parts).read_text(encoding="utf-8"))


def find(folder: str) -> None:
    """Print the files below a directory, each with its permissions."""
    from stat import filemode

    paths = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    for path in sorted(paths):
        print_line = f"{filemode(path.lstat().st_mode)} {path.relative_to(folder)}\n"
        sys.stdout.write(print_line)


def option_masked(value: bool) -> Callable[[str], str] | None:
    """Compare what differs from run to run by its form, for the option `masked`."""
    return console_sessions.mask if value else None


# Where a document is run, rather than where its options are looked up.
if sys.argv[0].endswith("python.py"):
    home = make_temp_dir()
    env = console_sessions.user_env()
    # Nothing is there yet but what uv has fetched before.
    env.setdefault("UV_CACHE_DIR", os.path.expanduser("~/.cache/uv"))
    env["XDG_CACHE_HOME"] = make_temp_dir()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(home)
