"""Stage dependencies: let each one's resolver find its files, and copy them into the run.

A dependency is a table with the key of one resolver, and settings that hold for any: `select`
which of its files, `rename` and `target` where they go, `sha256` what they must be, `link` how they
get there, and whether they are `writable` and `optional`. Where the files come from is kept with
the run, in `depends.json`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.lifecycle.staged_files import StagedFiles
from gage._internal.store import layout, manifest, meta
from gage._internal.store.logs import counted, log_action
from gage._internal.store.manifest import DEPENDENCY, Entry
from gage._internal.types import OpDef, Run, as_patterns

if TYPE_CHECKING:
    from gage._internal.lifecycle.freeze import Frozen
    from gage.plugins import Notice, Progress, Resolved

SETTINGS = (
    *("name", "description", "select", "rename", "target"),
    *("sha256", "unpack", "link", "writable", "optional"),
)


class Dependency(NamedTuple):
    """A dependency that was resolved: what it is called, its files, and the paths they get.

    `pairs` hold a path relative to the root of `resolved`, and one relative to the run; `made`
    files that have no source, by their path in the run; `awaited` the paths of those that a preview
    does not fetch. `sources` are what all of them were called before they got their paths.
    `settings` is the table that defines it.
    """

    name: str
    resolved: Resolved
    pairs: Sequence[tuple[str, str]]
    made: Mapping[str, bytes]
    awaited: Sequence[str]
    sources: Sequence[str]
    settings: Mapping[str, Any]

    @property
    def is_packed(self) -> bool:
        """Whether its files are archives, whose content is to take their place."""
        return bool(self.settings.get("unpack"))

    @property
    def paths(self) -> list[str]:
        """The paths of all its files in the run."""
        return [*(path for _, path in self.pairs), *self.made, *self.awaited]


def stage_dependencies(
    run: Run,
    opdef: OpDef,
    project_dir: str | None,
    files: StagedFiles,
    notice: Notice,
    progress: Progress,
    frozen: Frozen | None = None,
) -> None:
    """Copy the files of each dependency to its target.

    What resolvers have to say goes to `notice` and into the log.

    Raises:
        DependencyError: a dependency has no files or others than it should, or would replace a file
            that is staged.
    """

    def tell(sentence: str) -> None:
        log_action(run, f"Noticed: {sentence}")
        notice(sentence)

    home = os.path.dirname(run.run_dir)
    records = []
    for found in _resolved(opdef, project_dir, home, tell, progress, frozen):
        if isinstance(found, DependencyError):
            log_action(run, f"Left out: {found}")
            continue
        with _unpacked(run, found, frozen) as (placed, digest):
            check_is_free(placed, lambda path: files.get(path) is not None)
            _copy(placed, files)
        if digest is None:
            entries = ((source, files.get(path)) for source, path in found.pairs)
            _check_undamaged(found, ((s, e.sha256) for s, e in entries if e and e.sha256))
            digest = _digest(found, files)
            _check_digest(found, digest)
        told = f"{counted(len(placed.paths), 'file')} of {placed.resolved.origin}"
        log_action(run, f"Copied {told}")
        if "run" in placed.resolved.lineage:
            # Which run it is depends on what else was run, and nobody should have to guess.
            notice(f"{found.name}: {told}")
        records.append(_record(placed, files, digest))
    if records:
        meta.write_json(run, layout.DEPENDS, records)


def _resolved(
    opdef: OpDef,
    project_dir: str | None,
    home: str,
    tell: Notice,
    progress: Progress,
    frozen: Frozen | None,
) -> Iterable[Dependency | DependencyError]:
    """Return each dependency as it resolves; those of a batch all at once, for all of its runs."""
    if frozen is None:
        return resolve_dependencies(opdef, project_dir, home, tell, progress)
    said: list[str] = []

    def resolve() -> tuple[list[Dependency | DependencyError], list[str]]:
        found = list(resolve_dependencies(opdef, project_dir, home, said.append, progress))
        return found, said

    found, sentences = frozen.once("dependencies", resolve)
    for sentence in sentences:
        tell(sentence)
    return found


def resolve_dependencies(
    opdef: OpDef,
    project_dir: str | None,
    home: str,
    notice: Notice | None = None,
    progress: Progress | None = None,
) -> Iterator[Dependency | DependencyError]:
    """Yield each dependency as it resolves; the error of one that is optional and does not.

    With nobody to tell what happens this is a preview, for which nothing is fetched.

    Raises:
        DependencyError: a dependency has no files.
    """
    if "depends" not in opdef.data:
        return
    from gage.plugins import ResolveContext, find_resolver

    spec = opdef.data["depends"]
    context = ResolveContext(project_dir or "", home, is_preview=notice is None)
    if notice and progress:
        context = context._replace(notice=notice, progress=progress)
    for settings in spec if isinstance(spec, list) else [spec]:
        (kind,) = settings.keys() - set(SETTINGS)
        try:
            sha256 = settings["sha256"].lower() if "sha256" in settings else None
            resolver = find_resolver(kind)
            resolved = resolver.resolve(settings[kind], context._replace(sha256=sha256))
            yield _placed(f"{kind} {_in_words(settings[kind])}", resolved, settings)
        except DependencyError as error:
            if not settings.get("optional"):
                raise
            yield error


def check_is_free(dependency: Dependency, is_taken: Callable[[str], bool]) -> None:
    """Refuse a dependency that would replace a file, be it one of its own.

    Raises:
        DependencyError: a path that it gets is taken.
    """
    kind = dependency.name.partition(" ")[0]
    seen: dict[str, str] = {}
    for source, path in zip(dependency.sources, dependency.paths, strict=True):
        if is_taken(path):
            raise DependencyError(
                f"{kind} {printable(source)} would replace {printable(path)}, which is staged"
                " already",
                "give the dependency a target, or exclude the other with sourcecode",
            )
        if path in seen:
            raise DependencyError(
                f"{kind} {printable(source)} would replace {printable(path)}, which"
                f" {printable(seen[path])} is staged as",
                "select one of them, or rename one",
            )
        seen[path] = source


def _placed(
    name: str, resolved: Resolved, settings: Mapping[str, Any], unpacked: bool = False
) -> Dependency:
    """Give the files of a dependency their paths; archives have some once they are unpacked."""
    from gage._internal.project.picking import pick_files
    from gage._internal.project.source_rules import parse_rules

    _check_link(name, settings)
    if settings.get("unpack") and not unpacked:
        return Dependency(name, resolved, (), {}, (), (), settings)
    rules = parse_rules(settings.get("select"))
    names = resolved.paths if resolved.names is None else resolved.names
    chosen = pick_files(resolved.root, list(zip(resolved.paths, names, strict=True)), rules)
    if not chosen and not resolved.made and not resolved.awaited:
        count = counted(len(resolved.paths), "file")
        raise DependencyError(f"{name}: select takes none of {count}")
    rename = _Rename(name, settings.get("rename", {}), settings.get("target", "."))
    pairs = [(path, rename.path_of(name)) for path, name in chosen]
    made = {rename.path_of(path): data for path, data in resolved.made.items()}
    awaited = [rename.path_of(path) for path in resolved.awaited]
    if not any(path.endswith("/") for path in resolved.awaited):
        rename.check_all_used()
    sources = [*(name for _, name in chosen), *resolved.made, *resolved.awaited]
    return Dependency(name, resolved, pairs, made, awaited, sources, settings)


def _check_link(name: str, settings: Mapping[str, Any]) -> None:
    link = settings.get("link")
    if link not in ("hardlink", "symlink"):
        return
    for setting, why in (
        ("writable", "the run would write to the file itself"),
        ("unpack", "what is unpacked is nowhere but in the run"),
    ):
        if settings.get(setting):
            raise DependencyError(
                f"{name}: {setting} does not go with link = {link}: {why}", "leave one of them out"
            )


class _Rename:
    """The paths that files of a dependency get: some have new names, and all are in the target."""

    def __init__(self, name: str, renamed: Mapping[str, str], target: str) -> None:
        self._name = name
        self._renamed = {os.path.normpath(old): new for old, new in renamed.items()}
        self._unused = set(self._renamed)
        self._target = target

    def path_of(self, path: str) -> str:
        """Return the path in the run; the longest of the names that hold for a path counts."""
        old = path
        while old and old not in self._renamed:
            old = os.path.dirname(old)
        if old:
            self._unused.discard(old)
            path = self._renamed[old] + path[len(old) :]
        is_folder = path.endswith("/")
        return os.path.normpath(os.path.join(self._target, path)) + ("/" if is_folder else "")

    def check_all_used(self) -> None:
        if self._unused:
            unused = printable(min(self._unused))
            raise DependencyError(f"{self._name}: rename has {unused}, which is none of its files")


def _copy(found: Dependency, files: StagedFiles) -> None:
    is_writable = bool(found.settings.get("writable"))
    link = found.settings.get("link", "auto")
    files.copy(found.resolved.root, found.pairs, DEPENDENCY, link, is_writable)
    for path, data in found.made.items():
        files.create(path, data, DEPENDENCY, is_writable)


def _check_undamaged(found: Dependency, digests: Iterable[tuple[str, str]]) -> None:
    """Refuse a file, of which the path and the digest are given, that is not what it should be."""
    for path, sha256 in digests:
        if sha256 != found.resolved.digests.get(path, sha256):
            raise DependencyError(
                f"{found.name}: {printable(os.path.join(found.resolved.root, path))} is damaged",
                "gage cache verify removes it; then do this again",
            )


@contextmanager
def _unpacked(
    run: Run, found: Dependency, frozen: Frozen | None
) -> Iterator[tuple[Dependency, str | None]]:
    """Yield a dependency, and a digest where it has archives: with what is in these in their place.

    They are unpacked beside the run, from where they are taken as any files are; those of a batch
    once, where it keeps what is frozen.
    """
    if not found.is_packed:
        yield found, None
        return
    if frozen:
        folder = frozen.folder_of(found.name)
        yield frozen.once(("unpacked", found.name), lambda: _unpack(found, folder))
        return
    folder = fs.path_beside(f"{run.run_dir}.unpacked")
    os.mkdir(folder)
    try:
        yield _unpack(found, folder)
    finally:
        fs.remove_tree(folder)


def _unpack(found: Dependency, folder: str) -> tuple[Dependency, str]:
    from gage._internal.lifecycle.archives import unpack_archive

    digest = _digest_of_archives(found)
    _check_digest(found, digest)
    for path in found.resolved.paths:
        unpack_archive(os.path.join(found.resolved.root, path), folder)
    resolved = found.resolved._replace(root=folder, paths=fs.files_of(folder), names=None)
    return _placed(found.name, resolved, found.settings, unpacked=True), digest


def _check_digest(found: Dependency, digest: str) -> None:
    wanted = found.settings.get("sha256")
    if wanted is not None and digest != wanted.lower():
        raise DependencyError(
            f"{found.name}: sha256 is {digest}, not {wanted}",
            "if the files are right, write this digest into the Gage file",
        )


def _entries(found: Dependency, files: StagedFiles) -> list[Entry]:
    return [entry for entry in map(files.get, found.paths) if entry is not None]


def _digest(found: Dependency, files: StagedFiles) -> str:
    """Return the digest of one file; of several, that of what `sha256sum` prints of them by path.

    Paths are relative to the target.
    """
    entries = [entry for entry in _entries(found, files) if entry.sha256]
    if len(entries) == 1:
        return entries[0].sha256
    target = found.settings.get("target", ".")
    return _digest_of_list((os.path.relpath(e.path, target), e.sha256) for e in entries)


def _digest_of_list(pairs: Iterable[tuple[str, str]]) -> str:
    text = "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(pairs))
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _digest_of_archives(found: Dependency) -> str:
    resolved = found.resolved
    digests = [manifest.entry_of(resolved.root, path, "").sha256 for path in resolved.paths]
    _check_undamaged(found, zip(resolved.paths, digests, strict=True))
    if len(digests) == 1:
        return digests[0]
    return _digest_of_list(zip(resolved.names or resolved.paths, digests, strict=True))


def _record(found: Dependency, files: StagedFiles, digest: str) -> dict[str, Any]:
    entries = _entries(found, files)
    return {
        "name": found.settings.get("name", found.name),
        "origin": found.resolved.origin,
        "lineage": dict(found.resolved.lineage),
        "files": len(entries),
        "bytes": sum(entry.size for entry in entries),
        "sha256": digest,
        "relocatable": found.settings.get("link") != "symlink",
    }


def _in_words(spec: Any) -> str:
    if isinstance(spec, Mapping):
        for key in ("repository", "address"):
            if key in spec:
                return _in_words(spec[key])
        return " ".join(f"{key}={printable(str(value))}" for key, value in spec.items())
    return " ".join(map(printable, as_patterns(spec)))
