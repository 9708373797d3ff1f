"""The files of a commit, taken out of a mirror exactly: modes and links, no filter, no attribute.

What `.gitattributes` or a configuration says would change them (line endings, keywords, LFS,
`export-ignore`), so it is not git that writes them. They lie in the mirror's directory, read-only,
under the id of what they are, so that the next staging finds them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

from gage._internal import fs
from gage._internal.downloads.git_process import start_git
from gage._internal.downloads.mirrors import TREES, Mirror
from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.store.meta import json_bytes

FILES = "files"
RECORD = "record.json"
_LINK = "120000"
_EXECUTABLE = "100755"
_SUBMODULE = "160000"
_POINTER = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER = 1024
_READ_SIZE = 1 << 20


class Tree(NamedTuple):
    """Files that were taken out of a commit: where they lie, and the SHA-256 of each but links.

    `paths` are those of files and links; of a single file it is its name. `submodules` are the
    commits of other repositories that belong in it, by path, and are not in it. `pointers` are the
    files that stand for what Git LFS keeps elsewhere.
    """

    root: str
    paths: Sequence[str]
    digests: Mapping[str, str]
    submodules: Mapping[str, str]
    pointers: Sequence[str]


class ObjectMissing(Exception):
    """A mirror lacks an object that it should have."""


class _Object(NamedTuple):
    """A line of `git ls-tree`."""

    mode: str
    id: str
    path: str


def find_tree(folder: str, tree: str) -> Tree | None:
    """Return files that lie in the directory of a mirror already; None where they do not."""
    path = os.path.join(folder, TREES, tree)
    try:
        value = json.loads(fs.read_bytes(os.path.join(path, RECORD)))
        return Tree(
            os.path.join(path, FILES),
            [*value["sha256"], *value["links"]],
            value["sha256"],
            value["submodules"],
            value["pointers"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def list_tree(mirror: Mirror, commit: str, path: str | None) -> tuple[str, list[str]]:
    """Return the name that files of a commit lie under once they are taken out, and their paths.

    Raises:
        DependencyError: there is no such path.
    """
    name, objects = _objects_of(mirror, commit, path)
    return name, [each.path for each in objects if each.mode != _SUBMODULE]


def take_tree(mirror: Mirror, commit: str, path: str | None) -> tuple[str, Tree]:
    """Return the name that files of a commit, or of a path in it, lie under, and these.

    Raises:
        DependencyError: there is no such path, or what is there cannot be a file here.
        ObjectMissing: the mirror is damaged.
        OSError: they cannot be written.
    """
    name, objects = _objects_of(mirror, commit, path)
    found = find_tree(mirror.folder, name)
    if found is not None:
        return name, found
    for each in objects:
        _check_path(each.path)
    place = os.path.join(mirror.folder, TREES, name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    # What cannot be understood is nothing.
    fs.remove_tree(place)
    beside = fs.path_beside(place)
    try:
        os.mkdir(beside)
        _write(mirror, objects, beside)
        fs.sync(beside)
        os.rename(beside, place)
    except BaseException:
        fs.remove_tree(beside)
        raise
    tree = find_tree(mirror.folder, name)
    assert tree is not None
    return name, tree


def damaged_files(folder: str, name: str) -> list[str]:
    """Return the paths of files of a tree that are not what they were, or are not there."""
    tree = find_tree(folder, name)
    if tree is None:
        return [name]
    return [
        path
        for path, sha256 in tree.digests.items()
        if _digest(os.path.join(tree.root, path)) != sha256
    ] + [
        path for path in tree.paths if not os.path.lexists(os.path.join(tree.root, path))
    ]  # fmt: skip


def _objects_of(mirror: Mirror, commit: str, path: str | None) -> tuple[str, list[_Object]]:
    if path is None:
        name = mirror.tree_of(commit)
        return name, _listed(mirror, name)
    found = _parse(mirror.run("ls-tree", "-z", "--full-tree", commit, "--", f"{path}"))
    if not found:
        raise DependencyError(f"there is no {printable(path)} in commit {commit[:12]}")
    mode, id_, _ = found[0]
    if mode == "040000":
        return id_, _listed(mirror, id_)
    if mode == _SUBMODULE:
        raise DependencyError(
            f"{printable(path)} is a submodule, another repository at commit {id_}",
            "make that repository the dependency",
        )
    return f"{id_}-{mode}", [_Object(mode, id_, os.path.basename(path))]


def _listed(mirror: Mirror, tree: str) -> list[_Object]:
    return _parse(mirror.run("ls-tree", "-r", "-z", "--full-tree", tree))


def _parse(output: bytes) -> list[_Object]:
    objects = []
    for line in filter(None, output.split(b"\0")):
        head, _, path = line.partition(b"\t")
        mode, _, id_ = head.decode("ascii").split()
        objects.append(_Object(mode, id_, os.fsdecode(path)))
    return objects


def _check_path(path: str) -> None:
    """Refuse what git itself would not check out, and a tree made by hand can have."""
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
        raise DependencyError(f"the commit has a file {printable(path)}, which no honest one has")


def _write(mirror: Mirror, objects: Sequence[_Object], folder: str) -> None:
    root = os.path.join(folder, FILES)
    os.mkdir(root)
    digests: dict[str, str] = {}
    links: list[str] = []
    pointers: list[str] = []
    made = {root}
    # Links at last: no file is written through one.
    ordered = sorted((o for o in objects if o.mode != _SUBMODULE), key=lambda o: o.mode == _LINK)
    process = start_git([f"--git-dir={mirror.path}", "cat-file", "--batch"])
    assert process.stdin and process.stdout
    try:
        for each in ordered:
            target = os.path.join(root, each.path)
            above = os.path.dirname(target)
            if above not in made:
                os.makedirs(above, exist_ok=True)
                made.add(above)
            size = _ask(process.stdin, process.stdout, each.id)
            try:
                if each.mode == _LINK:
                    os.symlink(os.fsdecode(process.stdout.read(size)), target)
                    links.append(each.path)
                else:
                    sha256, is_pointer = _write_file(process.stdout, size, target, each.mode)
                    digests[each.path] = sha256
                    if is_pointer:
                        pointers.append(each.path)
            except FileExistsError:
                raise DependencyError(
                    f"the commit has {printable(each.path)} twice, which no honest one has"
                ) from None
            process.stdout.read(1)
    finally:
        for pipe in (process.stdin, process.stdout):
            pipe.close()
        process.wait()
    values = {
        "sha256": dict(sorted(digests.items())),
        "links": sorted(links),
        "submodules": {each.path: each.id for each in objects if each.mode == _SUBMODULE},
        "pointers": sorted(pointers),
    }
    fs.replace_file(os.path.join(folder, RECORD), json_bytes(values))


def _ask(stdin: IO[bytes], stdout: IO[bytes], id_: str) -> int:
    """Ask for an object, whose content comes next; return its size in bytes."""
    try:
        stdin.write(id_.encode("ascii") + b"\n")
        stdin.flush()
    except BrokenPipeError:
        raise ObjectMissing(id_) from None
    head = stdout.readline().split()
    if len(head) != 3:
        raise ObjectMissing(id_)
    return int(head[2])


def _write_file(stdout: IO[bytes], size: int, target: str, mode: str) -> tuple[str, bool]:
    """Write a file; return its digest, and whether it is a pointer of Git LFS."""
    sha256 = hashlib.sha256()
    left = size
    is_pointer = False
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while left:
            data = stdout.read(min(left, _READ_SIZE))
            if not data:
                raise ObjectMissing(target)
            is_pointer = is_pointer or (size <= _LONGEST_POINTER and data.startswith(_POINTER))
            sha256.update(data)
            fs.write_all(fd, data)
            left -= len(data)
        os.fchmod(fd, 0o555 if mode == _EXECUTABLE else 0o444)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None
    finally:
        os.close(fd)
    return sha256.hexdigest(), is_pointer


def _digest(path: str) -> str | None:
    sha256 = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while data := file.read(_READ_SIZE):
                sha256.update(data)
    except OSError:
        return None
    return sha256.hexdigest()
