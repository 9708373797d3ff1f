"""Environments of conda packages, of an explicit list or an `environment.yml`.

What an `environment.yml` leaves open is decided when the run is staged, and holds for ten minutes,
so that the runs of a batch have the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from gage._internal import clock, fs
from gage._internal.environments.archives import pack_tree
from gage._internal.environments.conda import (
    TOOLS,
    Package,
    find_tool,
    is_explicit,
    make_conda_environment,
    platforms_of,
    read_explicit,
    solve,
    subdir_here,
    write_explicit,
)
from gage._internal.environments.kept import KeptTree, keep_tree, waiting
from gage._internal.environments.prefixes import PLACEHOLDER, Named, write_named
from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.lifecycle.system.remembered import identity, remembered
from gage._internal.store.logs import counted
from gage._internal.store.runtime_record import (
    ARCHIVE,
    CONDA,
    ENVIRONMENT,
    LOCK,
    RuntimeRecord,
    record_values,
)
from gage.plugins import Outline, Provided, RuntimeContext

# Changes whenever the same list would give another environment.
_FORMAT = "1"
_FOLDER = ".runtime"
_LIST = f"{_FOLDER}/explicit.txt"
_ARCHIVE = "environment.tar.gz"
_NAMED = "named.json"
# What `conda activate` would execute.
_SCRIPTS = "etc/conda/activate.d/"
_SAME_FOR = 600
_SETTINGS = (".condarc", ".mambarc", ".config/conda/.condarc")
_WHICH = 'there are "archive", the environment as one file, and "lock", the list alone'
_REFUSED = {
    "env": "conda packages name the directory that they are in, so an environment of them cannot"
    " lie in a run that is moved",
    "wheels": "conda's tools have no common way to take packages from a directory",
}


class Conda:
    """Provides an environment that micromamba, mamba or conda makes."""

    def provide(self, settings: Mapping[str, Any], context: RuntimeContext) -> Provided:
        """Return the environment of the file that `from` names, else of one that is there.

        Raises:
            RuntimeFailed: there is no such file or no tool, or the environment cannot be made.
        """
        bundle = _bundle(settings)
        path, name = _find_source(settings, context)
        data = fs.read_bytes(path)
        packages = read_explicit(data, name) if is_explicit(data) else _solved(path, name, context)
        if not packages:
            raise RuntimeFailed(f"runtime: {printable(name)} has no packages")
        _tell_without_digest(packages, name, context)
        platforms = platforms_of(packages)
        if len(platforms) > 1:
            raise RuntimeFailed(f"runtime: {printable(name)} is for {' and '.join(platforms)}")
        platform = platforms[0] if platforms else ""
        listed = write_explicit(packages)
        pythons = [("version", each.version) for each in packages if each.name == "python"]
        record = RuntimeRecord(
            CONDA, bundle, _LIST, {**dict(pythons), "is_staged": True}, platform=platform
        )
        many = counted(len(packages), "package")
        if bundle == LOCK:
            said = f"a list of {many} for {platform or 'any platform'}"
            return Provided(made={_LIST: listed}, record=record_values(record), said=said)
        if platform not in ("", subdir_here()):
            raise RuntimeFailed(
                f"runtime: {printable(name)} is for {platform}, and this is {subdir_here()}",
                'with bundle = "lock" the environment is made where the run starts',
            )
        return _packed(listed, many, record, context)

    def outline(self, settings: Mapping[str, Any], context: RuntimeContext) -> Outline:
        """Return what `provide` would make the environment of.

        Raises:
            RuntimeFailed: there is nothing, or the settings cannot be.
        """
        return Outline(_bundle(settings), _find_source(settings, context)[1])


def _bundle(settings: Mapping[str, Any]) -> str:
    """Return how the environment is to come with the run.

    Raises:
        RuntimeFailed: the settings ask for what there is not.
    """
    for name in ("python", "extras", "groups"):
        if name in settings:
            raise RuntimeFailed(
                f"runtime: conda takes no {name}", "its list says what there is, Python too"
            )
    bundle = str(settings.get("bundle", ARCHIVE))
    if bundle not in (ARCHIVE, LOCK):
        reason = _REFUSED.get(bundle, f"there is no {bundle}")
        raise RuntimeFailed(f"runtime: conda has no bundle {bundle}: {reason}", _WHICH)
    return bundle


def _find_source(settings: Mapping[str, Any], context: RuntimeContext) -> tuple[str, str]:
    """Return the path of the file to take packages from, and its name.

    The run has it with the config applied; what is no source of the run is in the project.
    """
    names = [f"conda-{subdir_here()}.lock", "explicit.txt", "environment.yml", "environment.yaml"]
    if "from" in settings:
        names = [settings["from"]]
    for folder in filter(None, (context.run_dir, context.project_dir)):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                return path, name
    raise RuntimeFailed(
        f"runtime: the project has no {' and no '.join(map(printable, names))}",
        "conda list --explicit --md5 writes what an environment has: name it with from",
    )


def _tool() -> str:
    tool = find_tool()
    if tool is None:
        raise RuntimeFailed(
            f"runtime: there is none of {', '.join(TOOLS)} on PATH", "install micromamba"
        )
    return tool


def _solved(path: str, name: str, context: RuntimeContext) -> list[Package]:
    """Return the packages that an `environment.yml` is for."""
    _check_environment(path, name, context)
    tool = _tool()

    def decide() -> list[Package]:
        context.notice(f"deciding on the packages of {printable(name)}")
        return solve(tool, path)

    home = os.path.expanduser("~")
    variables = [each for each in os.environ.items() if each[0].startswith(("CONDA_", "MAMBA_"))]
    depends_on = [
        clock.now() // 1_000_000 // _SAME_FOR,
        tool,
        identity(tool),
        hashlib.sha256(fs.read_bytes(path)).hexdigest(),
        # Some may hold a token.
        hashlib.sha256(os.fsencode(repr(sorted(variables)))).hexdigest(),
        *(identity(os.path.join(home, each)) for each in _SETTINGS),
    ]
    return [Package(*each) for each in remembered("conda solve", depends_on, decide)]


def _check_environment(path: str, name: str, context: RuntimeContext) -> None:
    """Refuse a file that asks for what no list of conda packages has.

    Raises:
        RuntimeFailed: it is no `environment.yml`, or installs packages by pip.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(fs.read_bytes(path))
        wanted = data["dependencies"]
        lists = [each for each in wanted if not isinstance(each, str)]
    except (YAMLError, ValueError, KeyError, TypeError):
        raise RuntimeFailed(
            f"runtime: {printable(name)} is neither an explicit list nor an environment.yml",
            "a list has the line @EXPLICIT, an environment.yml has dependencies",
        ) from None
    if lists:
        raise RuntimeFailed(
            f"runtime: {printable(name)} has packages that pip installs, which a list of conda"
            " packages cannot have",
            'name conda packages instead, or use name = "uv"',
        )
    if data.get("variables"):
        context.notice(
            f"the variables of {printable(name)} are not set: write them to env of the operation"
        )


def _tell_without_digest(packages: Sequence[Package], name: str, context: RuntimeContext) -> None:
    missing = [each.name for each in packages if not each.digest]
    if missing:
        context.notice(
            f"{printable(name)} has no digest for {', '.join(missing[:3])}"
            f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}: conda list --explicit"
            " --md5 writes them"
        )


def _packed(listed: bytes, many: str, record: RuntimeRecord, context: RuntimeContext) -> Provided:
    """Return the environment as one file, with a list of its files that name its directory."""
    tool = _tool()

    def make(tree: str) -> Mapping[str, Any]:
        context.notice(f"making the environment of {many} of conda")
        path = os.path.join(os.path.dirname(tree), "explicit.txt")
        fs.replace_file(path, listed)
        made = make_conda_environment(tree, path, PLACEHOLDER, tool)
        return {
            "what": f"environment of {many} of conda",
            "packages": dict(made.packages),
            "named": made.named._asdict(),
        }

    def pack(folder: str) -> Mapping[str, Any]:
        context.notice(f"packing the environment of {many}")
        return _pack(tree, folder)

    wait = waiting(context.notice)
    tree = keep_tree(_key(listed, "tree"), make, wait)
    _tell_mentions(tree, context)
    _tell_scripts(tree, context)
    archive = keep_tree(_key(listed, ARCHIVE), pack, wait)
    packages: Mapping[str, str] = tree.facts["packages"]
    digests = {each.path: each.sha256 for each in archive.contents}
    record = record._replace(
        path=f"{_FOLDER}/{_ARCHIVE}",
        sha256=digests[_ARCHIVE],
        packages=packages,
        named=f"{_FOLDER}/{_NAMED}",
    )
    return Provided(
        [(archive, _FOLDER)],
        made={_LIST: listed},
        record=record_values(record),
        said=f"an environment of {many} for {record.platform or 'any platform'}, packed",
        packed=[(tree, ENVIRONMENT)],
    )


def _pack(tree: KeptTree, folder: str) -> Mapping[str, Any]:
    members = [(tree.root, each) for each in tree.contents]
    pack_tree(members, os.path.join(folder, _ARCHIVE))
    fs.replace_file(os.path.join(folder, _NAMED), write_named(Named(**tree.facts["named"])))
    return {"what": f"{tree.facts['what']}, packed"}


def _tell_mentions(tree: KeptTree, context: RuntimeContext) -> None:
    if tree.facts["mentions"]:
        context.notice(
            f"{', '.join(map(printable, tree.facts['mentions'][:3]))} of the environment may not"
            " work elsewhere: the path of the directory that it was made in is written there, and"
            " no package says how to replace it"
        )


def _tell_scripts(tree: KeptTree, context: RuntimeContext) -> None:
    scripts = [each.path for each in tree.contents if each.path.startswith(_SCRIPTS)]
    if scripts:
        context.notice(
            f"{', '.join(printable(os.path.basename(each)) for each in scripts[:3])}"
            f"{f' and {len(scripts) - 3} more' if len(scripts) > 3 else ''} of {_SCRIPTS} will not"
            " be executed: what they set goes into env of the operation"
        )


def _key(listed: bytes, what: str) -> str:
    facts = f"conda {_FORMAT} {what} {subdir_here()}\n"
    return hashlib.sha256(facts.encode() + listed).hexdigest()[:32]
