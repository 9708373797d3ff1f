"""An environment as one file, `tar` and `gzip`, the same bytes for the same files."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Sequence

from gage._internal.environments.contents import Content
from gage._internal.errors import RuntimeFailed

# Packing takes most of the time at any level; above this one it takes twice as long for a tenth.
_LEVEL = 3


def pack_tree(members: Sequence[tuple[str, Content]], path: str) -> None:
    """Write files to an archive, in their order, without owners and times.

    Each is paired with the directory that it lies in.
    """
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for root, each in members:
            member = tarfile.TarInfo(each.path)
            member.mode = each.mode
            if each.target:
                member.type, member.linkname = tarfile.SYMTYPE, each.target
                archive.addfile(member)
            else:
                member.size = each.size
                with open(os.path.join(root, each.path), "rb") as file:
                    archive.addfile(member, file)


def unpack_tree(path: str, tree: str) -> None:
    """Unpack what `pack_tree` wrote into an empty directory.

    Raises:
        RuntimeFailed: it holds something else than files and links that stay inside.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                _check(path, member)
                full = os.path.join(tree, member.name)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                if member.issym():
                    os.symlink(member.linkname, full)
                else:
                    _write(archive, member, full)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RuntimeFailed(f"{path} cannot be unpacked: {error}") from None


def _check(path: str, member: tarfile.TarInfo) -> None:
    target = os.path.join(os.path.dirname(member.name), member.linkname if member.issym() else "")
    for inside in (member.name, os.path.normpath(target)):
        if inside.startswith("/") or ".." in inside.split("/"):
            raise RuntimeFailed(f"{path} has a file that would leave the environment: {inside}")
    if not (member.isreg() or member.issym()):
        raise RuntimeFailed(f"{path} has something else than files and links: {member.name}")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, full: str) -> None:
    import shutil

    source = archive.extractfile(member)
    assert source
    with source, open(full, "xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        os.fchmod(file.fileno(), stat.S_IMODE(member.mode))
