"""The copy: every byte, every hole, on all cores, and shared blocks where there are any."""

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gage._internal import cores
from gage._internal.lifecycle.copying import Job, copy_files


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def jobs_of(sources: list[Path], target: Path) -> list[Job]:
    target.mkdir(exist_ok=True)
    return [Job(str(source), str(target / source.name)) for source in sources]


@pytest.mark.parametrize("count", [1, 2, 399, 401, 1500])
def test_many_files_arrive_in_order(tmp_path: Path, count: int) -> None:
    sources = [tmp_path / f"{i}.txt" for i in range(count)]
    for i, source in enumerate(sources):
        source.write_text(f"{i}" * (i % 50))
    copies = copy_files(jobs_of(sources, tmp_path / "to"))
    for source, copied in zip(sources, copies, strict=True):
        data = source.read_bytes()
        assert copied is not None
        assert (copied.size, copied.sha256) == (len(data), digest(data))
        assert (tmp_path / "to" / source.name).read_bytes() == data


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (4 << 20) + 1, 70 << 20])
def test_sizes_around_the_limits(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    sources = [tmp_path / "a", tmp_path / "b"]
    for source in sources:
        source.write_bytes(data)
    copies = copy_files(jobs_of(sources, tmp_path / "to"))
    for source, copied in zip(sources, copies, strict=True):
        assert copied is not None
        assert (copied.size, copied.sha256) == (size, digest(data))
        assert (tmp_path / "to" / source.name).read_bytes() == data


def test_what_is_returned_tells_the_copy(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_text("x")
    source.chmod(0o750)
    os.utime(source, ns=(1, 1_234_567_891_234_567_891))
    (copied,) = copy_files([Job(str(source), str(tmp_path / "b"))])
    found = os.lstat(tmp_path / "b")
    assert copied is not None
    assert copied.mode == found.st_mode & 0o7777 == 0o550
    times = found.st_mtime_ns, found.st_ctime_ns
    assert copied.identity == (found.st_dev, found.st_ino, 1, *times)
    assert found.st_mtime_ns == 1_234_567_891_234_567_891
    origin = os.lstat(source)
    assert copied.origin == (
        origin.st_dev,
        origin.st_ino,
        1,
        origin.st_mtime_ns,
        origin.st_ctime_ns,
    )


def test_holes_stay_holes(tmp_path: Path) -> None:
    size = 200 << 20
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        for offset in (0, 60 << 20, (120 << 20) + 123):
            file.seek(offset)
            file.write(b"data" * 3000)
        file.truncate(size)
    (copied,) = copy_files([Job(str(source), str(tmp_path / "copy"))])
    assert copied is not None
    assert (copied.size, copied.sha256) == (size, digest(source.read_bytes()))
    assert os.stat(tmp_path / "copy").st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_regular_file_is_left_to_others(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "link":
        source.symlink_to("elsewhere")
    elif kind == "pipe":
        os.mkfifo(source)
    else:
        source.mkdir()
    assert copy_files([Job(str(source), str(tmp_path / "copy"))]) == [None]
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("count", [1, 1000])
def test_a_missing_source_is_named(tmp_path: Path, count: int) -> None:
    sources = [tmp_path / str(i) for i in range(count)]
    for source in sources[:-1]:
        source.write_text("x")
    with pytest.raises(FileNotFoundError) as caught:
        copy_files(jobs_of(sources, tmp_path / "to"))
    assert caught.value.filename == str(sources[-1])


def test_a_full_disk_is_reported_from_a_helping_process_too(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    sources = [tmp_path / str(i) for i in range(1000)]
    for source in sources:
        source.write_text("x" * 5000)
    with pytest.raises(OSError, match="No space left on device"):
        copy_files(jobs_of(sources, small_disk("size=1m") / "to"))


def test_a_helping_process_that_dies_is_noticed(tmp_path: Path, monkeypatch) -> None:
    sources = [tmp_path / str(i) for i in range(1000)]
    for source in sources:
        source.write_text("x")
    monkeypatch.setattr(cores.sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="a helping process died at its work"):
        copy_files(jobs_of(sources, tmp_path / "to"))


@pytest.fixture(params=["btrfs", "xfs"])
def sharing_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system that can share blocks between files; root only, as in CI."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(600 << 20)
    subprocess.run([f"mkfs.{request.param}", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def used_bytes(folder: Path) -> int:
    os.sync()
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def test_blocks_are_shared_where_the_file_system_can(sharing_disk: Path) -> None:
    data = random.Random(1).randbytes(100 << 20)
    source = sharing_disk / "source"
    source.write_bytes(data)
    before = used_bytes(sharing_disk)
    (copied,) = copy_files([Job(str(source), str(sharing_disk / "copy"))])
    assert copied is not None
    assert copied.sha256 == digest(data)
    assert used_bytes(sharing_disk) - before < 20 << 20
    source.write_bytes(b"changed")
    assert (sharing_disk / "copy").read_bytes() == data
