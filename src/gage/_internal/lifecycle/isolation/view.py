"""What a sealed run sees: an allow list of paths, and the variables that lead nowhere else.

The system's own directories, less what lies in them that is the user's; the Python that the run
requires, if that lies elsewhere, with what is installed for it, but no virtual environment; the
run; and an empty directory, for its home and for temporary files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gage._internal.lifecycle.environment import Environment
from gage._internal.lifecycle.system.programs import find_program
from gage._internal.store import layout, meta
from gage._internal.store.requirements import PYTHON, read_requirements
from gage._internal.types import Run

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/snap"),
    *("/nix/store", "/gnu/store", "/run/current-system", "/run/opengl-driver"),
    # Caches and names that are the system's and lie elsewhere.
    *("/var/cache/fontconfig", "/var/lib/ca-certificates", "/var/lib/texmf", "/var/lib/gems"),
    *("/var/lib/dbus", "/run/systemd/resolve", "/run/nscd"),
    # By these a program knows that it is in a container.
    *("/.dockerenv", "/run/.containerenv"),
)
# What /etc says by a link to where the system keeps it.
_LINKED_SETTINGS = ("/etc/resolv.conf", "/etc/localtime", "/etc/hosts")
# There anyway, in each rung's own way.
KERNEL = ("/proc", "/sys", "/dev")
# Files by which root could change the system that the run is on.
KERNEL_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
DEVICES = (
    *("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"),
    # GPUs and what their drivers talk to.
    *("dri", "kfd", "dxg", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"),
    *("nvidia-caps", "infiniband", "accel"),
)
SHARED_MEMORY = "/dev/shm"
TEMPORARY = ("/tmp", "/var/tmp")
# In the directory for temporary files.
HOME_NAME = "home"
_NUMBERED_DEVICE = "nvidia"
_ASK_PREFIX = "import sys; print(sys.base_prefix); print(sys.base_exec_prefix)"
# Seconds.
_PATIENCE = 10


class View(NamedTuple):
    """What is there for a sealed run; all paths are real ones, but those of `links`.

    `links` are symbolic links by path, with what they hold. `own` is a new directory of the run's
    own: its home, and the place of `/tmp`. `bin_dirs` are directories of programs that are not
    there, each with the one to look in instead.
    """

    run_dir: str
    readable: Sequence[str]
    writable: Sequence[str]
    links: Mapping[str, str]
    own: str
    bin_dirs: Mapping[str, str]

    def has(self, path: str) -> bool:
        """Tell whether a real path is one of those that are there."""
        return is_below(path, (*KERNEL, *self.readable, *self.writable))

    def shows(self, path: str) -> bool:
        """Tell whether a path, which may have links in it, leads to what is there, seen from there.

        A link that is not there leads nowhere.
        """
        real = os.path.realpath(path)
        return (self.has(real) or self.leads_to(real)) and not any(self.hidden_links(path))

    def hidden_links(self, path: str) -> Iterator[str]:
        """Yield the symbolic links on the way to a path that are not there."""
        for link, _ in _iter_links(path):
            if link not in self.links and not self.has(link):
                yield link

    def leads_to(self, path: str) -> bool:
        """Tell whether a directory is there only because of what lies below it."""
        start = path.rstrip("/") + "/"
        there = (*self.readable, *self.writable, *self.links, *KERNEL)
        return any(each.startswith(start) for each in there)


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Tell whether a path is one of several, or lies in one."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def make_view(
    run: Run,
    environment: Environment,
    own: str,
    hidden: Iterable[str] = (),
    is_writable: bool = True,
    more: Sequence[str] = (),
) -> View:
    """Return what a run sees; `hidden` are directories that are not there wherever they are.

    `more` is there too, to be read. Where it is not `is_writable` the run dir cannot be written to.

    Raises:
        RunDamaged: a meta file cannot be understood.
    """
    not_there = {*map(os.path.realpath, hidden), *_known_places(run)}
    not_there = {place for place in not_there if not _is_the_systems(place)}
    readable: list[str] = []
    links: dict[str, str] = {}
    for root in _SYSTEM:
        links.update(_iter_links(root))
        readable.extend(_without(os.path.realpath(root), not_there))
    readable.extend(map(os.path.realpath, _LINKED_SETTINGS))
    bin_dirs: dict[str, str] = {}
    for path in _interpreters(run, environment):
        prefixes, bin_dir = _home_of(path)
        links.update(_iter_links(os.path.join(bin_dir, os.path.basename(path))))
        bin_dirs[os.path.dirname(path)] = bin_dir
        for prefix in prefixes:
            readable.extend(_narrowed(prefix, bin_dir, not_there))
    of_run = [path for path in (run.run_dir, layout.run_meta_dir(run), environment.kept) if path]
    of_run += more
    for path in of_run:
        links.update(_iter_links(path))
    real = [os.path.realpath(path) for path in of_run]
    writable = real[:1] if is_writable else []
    readable.extend(path for path in real if path not in writable)
    there = [path for path in dict.fromkeys(readable) if os.path.exists(path)]
    there = [path for path in there if not is_below(path, [*KERNEL, *writable])]
    there = [path for path in there if not is_below(path, [p for p in there if p != path])]
    links = {path: target for path, target in links.items() if not is_below(path, there)}
    return View(real[0], sorted(there), writable, links, own, bin_dirs)


def _known_places(run: Run) -> Iterator[str]:
    """Yield the directories that are surely not a part of the system, nor of the run."""
    home = os.path.dirname(os.path.realpath(run.run_dir))
    yield home
    folder = os.path.dirname(home)
    if os.path.basename(folder) == layout.PROJECT_FOLDER:
        yield os.path.dirname(folder)
    yield os.path.realpath(os.path.expanduser("~"))
    try:
        import pwd

        yield os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        pass
    if sys.prefix != sys.base_prefix:
        yield os.path.realpath(sys.prefix)
    active = os.environ.get("VIRTUAL_ENV")
    if active:
        yield os.path.realpath(active)


def _is_the_systems(place: str) -> bool:
    """Tell whether a place, such as the home of a service, is what the system consists of."""
    roots = (*_SYSTEM, *KERNEL)
    return os.path.dirname(place) == "/usr" or place in roots or place in ("/", "/var", "/run")


def _without(path: str, hidden: set[str]) -> Iterator[str]:
    """Yield a directory, or what lies in it where something that is hidden does too."""
    if is_below(path, hidden):
        return
    if not any(is_below(place, [path]) for place in hidden):
        yield path
        return
    try:
        names = sorted(os.listdir(path))
    except OSError:
        # What the user cannot list, the run could not either.
        return
    for name in names:
        child = os.path.join(path, name)
        if not os.path.islink(child):
            yield from _without(child, hidden)


def _narrowed(prefix: str, bin_dir: str, hidden: set[str]) -> Iterator[str]:
    """Yield where a Python is installed; of a place that is more, only what is its own."""
    if not any(is_below(place, [prefix]) for place in hidden) and prefix != "/":
        yield prefix
        return
    for folder in ("lib", "lib64"):
        try:
            names = os.listdir(os.path.join(prefix, folder))
        except OSError:
            continue
        yield from (
            os.path.join(prefix, folder, name)
            for name in names
            if name.startswith(("python", "libpython"))
        )
    for name in os.listdir(bin_dir):
        if name.startswith("python"):
            yield os.path.join(bin_dir, name)


def _iter_links(path: str) -> Iterator[tuple[str, str]]:
    """Yield each symbolic link on the way to a path, with what it holds."""
    current = "/"
    for part in os.path.normpath(path).split("/")[1:]:
        step = os.path.join(current, part)
        if os.path.islink(step):
            target = os.readlink(step)
            yield step, target
            yield from _iter_links(os.path.normpath(os.path.join(current, target)))
            current = os.path.realpath(step)
        else:
            current = step


def _interpreters(run: Run, environment: Environment) -> Iterator[str]:
    """Yield the paths of the Pythons that a run has to have from the system."""
    command = meta.read_cmd(run)
    env = {**command.env, **environment.variables}
    for each in read_requirements(run):
        if each.kind == PYTHON:
            found = find_program(each.name, env, run.run_dir)
            if found and not is_below(found, [run.run_dir]):
                yield found
    tree = environment.variables.get("VIRTUAL_ENV")
    if environment.interpreter:
        yield environment.interpreter
    elif tree:
        yield os.path.realpath(os.path.join(tree, "bin", "python"))


def _home_of(path: str) -> tuple[list[str], str]:
    """Return where the Python at a path is installed, and the directory of its executable.

    Of a virtual environment that is the Python it was made of.
    """
    folder = os.path.dirname(path)
    base = _base_of(os.path.dirname(folder))
    if base:
        return [os.path.realpath(os.path.dirname(base))], base
    if _is_script(path):
        prefixes = _ask(path)
        if prefixes:
            return prefixes, os.path.join(prefixes[-1], "bin")
    real = os.path.realpath(path)
    return [os.path.dirname(os.path.dirname(real))], folder


def _base_of(environment: str) -> str:
    """Return the directory of the Python that a virtual environment is made of; else nothing."""
    try:
        with open(os.path.join(environment, "pyvenv.cfg"), encoding="utf-8") as file:
            settings = dict(line.partition("=")[::2] for line in file)
    except (OSError, ValueError):
        return ""
    return {name.strip(): value.strip() for name, value in settings.items()}.get("home", "")


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _ask(path: str) -> list[str]:
    """Return where a Python that a script stands for, such as a shim of pyenv, is installed."""
    import subprocess

    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK_PREFIX],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = os.fsdecode(done.stdout).splitlines()[-2:]
    return [os.path.realpath(line) for line in dict.fromkeys(lines) if os.path.isabs(line)]


def iter_devices() -> Iterator[str]:
    """Yield the paths of devices that a run may use: those that all have, terminals and GPUs."""
    for name in sorted(os.listdir("/dev")):
        is_numbered = name.startswith(_NUMBERED_DEVICE) and name[len(_NUMBERED_DEVICE) :].isdigit()
        if name in DEVICES or is_numbered:
            yield os.path.join("/dev", name)


def visible_variables(
    inherited: Mapping[str, str], own: Mapping[str, str], view: View, temporary: str
) -> dict[str, str]:
    """Return the environment of a sealed run; `temporary` is where it finds its own directory.

    Of what is inherited, paths that are there outside and not for the run are left out, alone or in
    a list. What the run itself sets stays as it is.
    """
    kept: dict[str, str] = {}
    for name, value in inherited.items():
        visible = _visible(value, view, name == "PATH")
        if visible is not None:
            kept[name] = visible
    own = {**own}
    if "PATH" in own:
        own["PATH"] = _visible(own["PATH"], view, True) or ""
    places = {"HOME": os.path.join(temporary, HOME_NAME), "TMPDIR": temporary}
    return {**kept, **places, **own}


def _visible(value: str, view: View, is_path: bool) -> str | None:
    parts = value.split(os.pathsep)
    if not is_path and not all(os.path.isabs(part) for part in parts if part):
        return value
    found = []
    for part in parts:
        if not os.path.isabs(part) or not os.path.lexists(part) or _is_there(part, view):
            found.append(part)
        elif is_path:
            instead = view.bin_dirs.get(part) or _base_of(os.path.dirname(part))
            if instead and _is_there(instead, view) and instead not in found:
                found.append(instead)
    return os.pathsep.join(found) if found or not value else None


def _is_there(path: str, view: View) -> bool:
    if not view.shows(path):
        return False
    # Of a directory that holds more than Pythons, these may be all that is there.
    return view.has(os.path.realpath(path)) or path in view.bin_dirs.values()
