"""File systems of one's own: in memory, and on an image whose power can be cut."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_SYSTEMS = ("ext4", "xfs")

# mkfs.xfs makes none that is smaller than 300 MB. The image has holes.
_SIZE = 320 << 20


@contextmanager
def memory(path: Path) -> Iterator[Path]:
    """Mount a file system in memory on a directory that is made for it."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)
        path.rmdir()


class Disk:
    """A mounted file system whose power can be cut: what was not written is gone then."""

    def __init__(self, image: Path, path: Path, options: str) -> None:
        self._image = image
        self._options = options
        self.path = path

    def mount(self) -> None:
        """Mount it; what is needed of its journal is replayed."""
        subprocess.run(["mount", "-o", self._options, self._image, self.path], check=True)

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", self.path], check=True)

    def sync(self) -> None:
        """Write all there is."""
        subprocess.run(["sync", "-f", self.path], check=True)

    def commit(self) -> None:
        """Do what another program's fsync does: names come to the disk, contents may not."""
        with open(self.path / "neighbour", "ab") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())

    def cut(self) -> None:
        """Cut the power."""
        subprocess.run(["xfs_io", "-x", "-c", "shutdown", self.path], check=True)

    def restart(self) -> None:
        """Come back after the power was cut, with a copy of what is on the disk.

        A mount namespace that another test makes keeps what is mounted: there the disk stays
        without power, and the kernel would give that one again for the same image.
        """
        self.unmount()
        copy = self._image.with_name("copy")
        subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
        copy.replace(self._image)
        self.mount()


@contextmanager
def disk(folder: Path, file_system: str) -> Iterator[Disk]:
    """Make a file system on an image in a directory, and mount it."""
    folder.mkdir(parents=True)
    image = folder / "image"
    with open(image, "wb") as file:
        file.truncate(_SIZE)
    force = "-F" if file_system == "ext4" else "-f"
    subprocess.run([f"mkfs.{file_system}", "-q", force, image], check=True)
    # Two disks with the id of one are too many for XFS, and restart() makes a copy.
    options = "loop,nouuid" if file_system == "xfs" else "loop"
    found = Disk(image, folder / "disk", options)
    found.path.mkdir()
    found.mount()
    try:
        yield found
    finally:
        subprocess.run(["umount", "-l", found.path], check=True)
        found.path.rmdir()
        image.unlink()
        folder.rmdir()
