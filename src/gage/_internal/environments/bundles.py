"""What of an environment goes into a run: a list, packages, one file, or the environment itself.

Environments are kept in the cache under what they are made of: the locked list and the interpreter.
Packages that are made of the project's own source change with it, so these are an environment of
their own, of which what the first one does not have is put on top of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from gage._internal import fs
from gage._internal.environments.archives import pack_tree
from gage._internal.environments.bytecode import compile_modules
from gage._internal.environments.contents import Content
from gage._internal.environments.installing import Wanted, install
from gage._internal.environments.interpreters import Interpreter
from gage._internal.environments.kept import KeptTree, keep_tree, waiting
from gage._internal.environments.locks import with_digests, without_login
from gage._internal.environments.relocation import make_relocatable
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.store.logs import counted
from gage._internal.store.runtime_record import (
    ARCHIVE,
    ENV,
    ENVIRONMENT,
    LOCK,
    WHEELS,
    Index,
    RuntimeRecord,
    record_values,
)
from gage.plugins import Notice, Provided

# Changes whenever the same input would give another environment.
_FORMAT = "1"
_FOLDER = ".runtime"
_LIST = f"{_FOLDER}/requirements.txt"
_WHEELS = f"{_FOLDER}/wheels"
_ARCHIVE = "environment.tar.gz"


class Locked(NamedTuple):
    """What an environment is made of.

    `requirements` is the list, with a version and digests for each package; `projects` are paths of
    wheels made of the project; `uv` the path of uv, or None where pip installs.
    `with_interpreter` takes the interpreter into the environment, which must be one that can be
    moved. uv reads the settings of `cwd`. What is locked is taken from `indexes` too.
    """

    interpreter: Interpreter
    requirements: bytes
    projects: Sequence[str]
    uv: str | None
    with_interpreter: bool = False
    cwd: str | None = None
    indexes: Sequence[Index] = ()

    @property
    def many(self) -> str:
        """How many packages the list has, in words."""
        return counted(sum(b"==" in line for line in self.requirements.splitlines()), "package")

    def key(self, *more: str) -> str:
        """Return the key of something that is made of the list and the interpreter."""
        own = [self.interpreter.path, self.interpreter.prefix] if self.with_interpreter else []
        facts = [_FORMAT, bool(self.uv), *self.interpreter.facts().values(), *own, *more]
        text = json.dumps(facts).encode() + b"\n" + self.requirements
        return hashlib.sha256(text).hexdigest()[:32]


def provide_environment(
    name: str,
    bundle: str,
    locked: Locked,
    make_wheels: Callable[[str, str], None],
    notice: Notice,
) -> Provided:
    """Return what a run gets of an environment, in the way that `bundle` says.

    `make_wheels` is given the path of the list, and a directory to put its packages into.

    Raises:
        RuntimeFailed: the environment cannot be made.
    """
    is_staged = locked.with_interpreter and bundle in (ENV, ARCHIVE)
    python = {**locked.interpreter.facts(), "is_staged": is_staged}
    record = RuntimeRecord(name, bundle, _LIST, python)
    if bundle in (LOCK, WHEELS):
        projects = [(path, f"{_WHEELS}/{os.path.basename(path)}") for path in locked.projects]
        record = record._replace(projects=tuple(target for _, target in projects))
        made = {_LIST: locked.requirements}
        if bundle == LOCK:
            record = record._replace(indexes=tuple(_reachable(locked.indexes)))
            said = f"a list of {locked.many} for {locked.interpreter.words}"
            return Provided((), projects, made, record_values(record), said)

        def fetch(tree: str) -> Mapping[str, Any]:
            notice(f"fetching {locked.many}")
            return _wheels(locked, tree, make_wheels)

        wheels = keep_tree(locked.key(WHEELS), fetch, waiting(notice))
        record = record._replace(wheels=_WHEELS)
        made = {_LIST: with_digests(locked.requirements, wheels.contents)}
        said = f"{locked.many} for {locked.interpreter.words}"
        return Provided([(wheels, _WHEELS)], projects, made, record_values(record), said)
    trees = _environment(locked, notice)
    packages: dict[str, str] = {}
    for tree in trees:
        packages |= tree.facts["packages"]
        _tell_mentions(tree, notice)
    record = record._replace(path=ENVIRONMENT, packages=packages)
    said = f"an environment of {counted(len(packages), 'package')} for {locked.interpreter.words}"
    if bundle == ENV:
        return Provided(
            [(tree, ENVIRONMENT) for tree in trees], record=record_values(record), said=said
        )

    def pack(folder: str) -> Mapping[str, Any]:
        notice(f"packing the environment of {counted(len(packages), 'package')}")
        return _pack(trees, folder)

    archive = keep_tree(locked.key(ARCHIVE, *_digests(locked.projects)), pack, waiting(notice))
    record = record._replace(path=f"{_FOLDER}/{_ARCHIVE}", sha256=archive.contents[0].sha256)
    packed = [(tree, ENVIRONMENT) for tree in trees]
    values = record_values(record)
    return Provided([(archive, _FOLDER)], record=values, said=f"{said}, packed", packed=packed)


def _reachable(indexes: Sequence[Index]) -> Iterator[Index]:
    """Yield the indexes that another machine reaches, less users and passwords in addresses."""
    for index in indexes:
        if index.url.startswith(("http://", "https://")):
            yield index._replace(url=without_login(index.url))


def make_environment(
    tree: str, interpreter: Interpreter, wanted: Wanted, uv: str | None, with_interpreter: bool
) -> dict[str, Any]:
    """Make an environment in an empty directory that works wherever it is put; return its facts.

    Raises:
        RuntimeFailed: it cannot be made.
    """
    install(tree, interpreter, wanted, uv)
    make_relocatable(tree, interpreter, with_interpreter)
    compile_modules(tree, interpreter.path, ENVIRONMENT)
    packages = _packages(tree)
    what = f"environment of {counted(len(packages), 'package')} for {interpreter.words}"
    return {"what": what, "packages": packages, "python": interpreter.facts()}


def _environment(locked: Locked, notice: Notice) -> list[KeptTree]:
    """Return the environment of the list, and what the project's own packages add to it."""

    def make(tree: str, projects: Sequence[str] = ()) -> dict[str, Any]:
        listed = os.path.join(os.path.dirname(tree), "requirements.txt")
        if not projects:
            notice(f"making the environment of {locked.many} for {locked.interpreter.words}")
        fs.replace_file(listed, b"" if projects else locked.requirements)
        wanted = Wanted(listed, projects, None, locked.cwd, locked.indexes)
        return make_environment(
            tree, locked.interpreter, wanted, locked.uv, locked.with_interpreter and not projects
        )

    def make_projects(tree: str) -> dict[str, Any]:
        facts = make(tree, locked.projects)
        for each in base.contents:
            full = f"{tree}/{each.path}"
            if each.sha256 and os.path.isfile(full) and not _is_same(full, each):
                raise RuntimeFailed(
                    f"the project's own package and one that it needs both have {each.path}",
                    "rename it in the project",
                )
            fs.remove_file(full)
        packages = set(facts["packages"]) - set(base.facts["packages"])
        facts["packages"] = {name: facts["packages"][name] for name in sorted(packages)}
        return {**facts, "what": f"{' '.join(packages)} for {locked.interpreter.words}"}

    wait = waiting(notice)
    base = keep_tree(locked.key(ENV), make, wait)
    if not locked.projects:
        return [base]
    return [
        base,
        keep_tree(locked.key(ENV, *_digests(locked.projects)), make_projects, wait),
    ]


def _is_same(path: str, content: Content) -> bool:
    # Of tools that both environments have, the lists of files are written anew.
    is_list = path.endswith((".dist-info/RECORD", ".pyc"))
    return is_list or hashlib.sha256(fs.read_bytes(path)).hexdigest() == content.sha256


def _wheels(
    locked: Locked, tree: str, make_wheels: Callable[[str, str], None]
) -> Mapping[str, Any]:
    listed = os.path.join(os.path.dirname(tree), "requirements.txt")
    fs.replace_file(listed, locked.requirements)
    make_wheels(listed, tree)
    many = counted(len(os.listdir(tree)), "package")
    return {"what": f"{many} for {locked.interpreter.words}"}


def _pack(trees: Sequence[KeptTree], folder: str) -> Mapping[str, Any]:
    members: dict[str, tuple[str, Content]] = {}
    for tree in trees:
        members |= {each.path: (tree.root, each) for each in tree.contents}
    pack_tree([members[path] for path in sorted(members)], os.path.join(folder, _ARCHIVE))
    return {"what": f"{trees[0].facts['what']}, packed"}


def _packages(tree: str) -> dict[str, str]:
    """Return the installed packages and their versions, as their directories are called."""
    packages = {}
    for path in fs.files_of(tree):
        folder, name = os.path.split(path)
        if name == "METADATA" and folder.endswith(".dist-info"):
            stem = os.path.basename(folder).removesuffix(".dist-info")
            package, _, version = stem.partition("-")
            packages[canonicalize_name(package)] = version
    return dict(sorted(packages.items()))


def _tell_mentions(tree: KeptTree, notice: Notice) -> None:
    mentions = tree.facts["mentions"]
    if mentions:
        named = ", ".join(map(printable, mentions[:3]))
        more = f" and {len(mentions) - 3} more" if len(mentions) > 3 else ""
        notice(
            f"{ENVIRONMENT}/{named}{more} of the environment may not work elsewhere: the path"
            " of the directory that it was made in is written there"
        )


def _digests(paths: Sequence[str]) -> list[str]:
    digests = []
    for path in paths:
        try:
            digests.append(hashlib.sha256(fs.read_bytes(path)).hexdigest())
        except OSError as error:
            raise RuntimeFailed(f"{printable(path)}: {error.strerror}") from None
    return digests
