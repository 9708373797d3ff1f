"""Archives: honest ones unpack as their own programs do, hostile ones leave nothing outside."""

import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gage._internal.errors import ArchiveRefused, DependencyError
from gage._internal.lifecycle import archives
from gage._internal.lifecycle.archives import unpack_archive
from gage._internal.lifecycle.stage import stage_run
from gage._internal.store.verify import verify
from runs_on_disk import files_below, read


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o750)
    (folder / "sub" / "deep" / "empty").write_text("")
    (folder / "sub" / "odd \n\\ name").write_text("odd")
    (folder / "sub" / "link").symlink_to("../a.txt")
    os.link(folder / "a.txt", folder / "b.txt")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


PACKED = {
    "tar": "tar -cf ../x -C . .",
    "tar.gz": "tar -czf ../x a.txt b.txt sub",
    "tar.bz2": "tar -cjf ../x .",
    "tar.xz": "tar -cJf ../x .",
    "gnu": "tar -c --format=gnu -f ../x .",
    "ustar": "tar -c --format=ustar -f ../x .",
    "zip": "zip -qr --symlinks ../x.zip . && mv ../x.zip ../x",
    "zip -0": "zip -q0r --symlinks ../x.zip . && mv ../x.zip ../x",
}


@pytest.mark.parametrize("command", PACKED.values(), ids=PACKED)
def test_what_other_programs_pack(tree: Path, out: Path, command: str) -> None:
    subprocess.run(command, shell=True, cwd=tree, check=True)
    unpack_archive(str(tree.parent / "x"), str(out))
    assert files_below(out) == files_below(tree)
    for path in files_below(tree):
        if (tree / path).is_symlink():
            assert os.readlink(out / path) == os.readlink(tree / path)
        else:
            assert (out / path).read_bytes() == (tree / path).read_bytes()
            assert abs((out / path).stat().st_mtime - (tree / path).stat().st_mtime) <= 2
    assert stat.S_IMODE((out / "sub" / "run.sh").stat().st_mode) == 0o750


def tar_with(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as file:
        for member in members:
            info, content = member if isinstance(member, tuple) else (member, b"")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return data.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_with(*members: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members:
            file.writestr(member, content)
    return data.getvalue()


def zip_link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member, target.encode()


def zip_special(name: str) -> tuple[zipfile.ZipInfo, bytes]:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFIFO | 0o600) << 16
    return member, b""


def encrypted_zip() -> bytes:
    data = bytearray(zip_with(("a", b"x")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def zip_of_zeros_that_lies() -> bytes:
    data = bytearray(zip_with(("a", bytes(100_000))))
    small = (10).to_bytes(4, "little")
    data[22:26] = small
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = small
    return bytes(data)


def altered(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def overlapping_zip() -> bytes:
    data = bytearray(zip_with(("a", os.urandom(5000)), ("b", os.urandom(5000))))
    second = data.rindex(b"PK\x01\x02")
    first = data.index(b"PK\x01\x02")
    data[second + 20 : second + 24] = (9000).to_bytes(4, "little")
    assert first < second
    return bytes(data)


SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE: dict[str, tuple[bytes, str]] = {
    "tar, absolute": (tar_with((info("/tmp/evil"), b"x")), "/tmp/evil leads out of it"),
    "tar, parent": (tar_with((info("a/../../evil"), b"x")), "leads out of it"),
    "tar, parent only": (tar_with(info("..", tarfile.DIRTYPE)), "leads out of it"),
    "tar, link out": (tar_with(info("l", SYM, "/etc/passwd")), "is a link out of it"),
    "tar, link up": (tar_with(info("a/l", SYM, "../../x")), "is a link out of it"),
    "tar, empty link": (tar_with(info("l", SYM, "")), "is a link out of it"),
    "tar, through a link": (
        tar_with(info("d", SYM, "."), (info("d/evil"), b"x")),
        "is in d, which is a link",
    ),
    "tar, link replaced": (tar_with(info("d", SYM, "e"), (info("d"), b"x")), "in it twice"),
    "tar, file as directory": (
        tar_with((info("d"), b"x"), (info("d/e"), b"x")),
        "is in d, which is a file",
    ),
    "tar, directory as file": (
        tar_with((info("d/e"), b"x"), (info("d"), b"x")),
        "d stands in it twice",
    ),
    "tar, twice": (tar_with((info("a"), b"x"), (info("./a"), b"y")), "stands in it twice"),
    "tar, hard link out": (tar_with(info("h", HARD, "/etc/passwd")), "leads out of it"),
    "tar, hard link to none": (tar_with(info("h", HARD, "no")), "no file before it"),
    "tar, hard link to link": (
        tar_with(info("s", SYM, "x"), info("h", HARD, "s")),
        "no file before it",
    ),
    "tar, device": (tar_with(info("dev", tarfile.CHRTYPE)), "dev is a device or a pipe"),
    "tar, block device": (tar_with(info("dev", tarfile.BLKTYPE)), "is a device or a pipe"),
    "tar, pipe": (tar_with(info("p", tarfile.FIFOTYPE)), "is a device or a pipe"),
    "tar, cut": (tar_with((info("a"), os.urandom(50_000)))[:20_000], "is damaged"),
    "tar, altered": (altered(tar_with((info("a"), os.urandom(50_000)))), "is damaged"),
    "zip, absolute": (zip_with(("/tmp/evil", b"x")), "leads out of it"),
    "zip, parent": (zip_with(("../evil", b"x")), "leads out of it"),
    "zip, link out": (zip_with(zip_link("l", "../x")), "is a link out of it"),
    "zip, through a link": (zip_with(zip_link("d", "e"), ("d/x", b"x")), "which is a link"),
    "zip, twice": (zip_with(("a", b"x"), ("b/../a", b"x")), "leads out of it"),
    "zip, same": (zip_with(("a", b"x"), ("./a", b"x")), "stands in it twice"),
    "zip, pipe": (zip_with(zip_special("p")), "p is a device or a pipe"),
    "zip, encrypted": (encrypted_zip(), "is encrypted: a"),
    "zip, lies about its size": (zip_of_zeros_that_lies(), "is damaged|longer than it is said"),
    "zip, overlapping": (overlapping_zip(), "is a bomb: its members overlap"),
    "zip, altered": (zip_with(("a", b"hello" * 99)).replace(b"\xcb", b"\xcc", 1), "is damaged"),
    "text": (b"no archive at all", "is no zip or tar archive"),
    "empty": (b"", "is no zip or tar archive"),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused_by_name(
    tmp_path: Path, out: Path, data: bytes, message: str
) -> None:
    archive = tmp_path / "hostile"
    archive.write_bytes(data)
    before = {path for path in tmp_path.rglob("*") if out not in path.parents}
    with pytest.raises(ArchiveRefused, match=message):
        unpack_archive(str(archive), str(out))
    assert {path for path in tmp_path.rglob("*") if out not in path.parents} == before
    assert not os.path.lexists("/tmp/evil")


@pytest.mark.parametrize("pack", [tar_with, zip_with], ids=["tar", "zip"])
def test_a_bomb_is_stopped(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[..., bytes]
) -> None:
    monkeypatch.setattr(archives, "_LARGE", 1 << 20)
    archive = tmp_path / "bomb"
    zeros = bytes(5 << 20)
    archive.write_bytes(pack((info("a") if pack is tar_with else "a", zeros)))
    with pytest.raises(ArchiveRefused, match="a makes it a bomb"):
        unpack_archive(str(archive), str(out))


def test_what_the_disk_has_no_room_for_is_refused(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    archive = tmp_path / "large"
    archive.write_bytes(zip_with(("a", bytes(5 << 20))))
    with pytest.raises(ArchiveRefused, match="more than there is room for"):
        unpack_archive(str(archive), str(small_disk("size=1m")))


def test_set_user_id_is_not_kept(tmp_path: Path, out: Path) -> None:
    member = info("a")
    member.mode = 0o6755
    (tmp_path / "x").write_bytes(tar_with((member, b"x")))
    unpack_archive(str(tmp_path / "x"), str(out))
    assert stat.S_IMODE((out / "a").stat().st_mode) == 0o755


class TestDependency:
    @pytest.fixture
    def stage(self, make_initialized, project_dir: Path, tmp_path: Path):
        def stage(**settings: object):
            depends = {"files": str(tmp_path / "x"), "unpack": True, **settings}
            run = make_initialized("true", opdef={"sourcecode": False, "depends": depends})
            stage_run(run, str(project_dir))
            verify(run)
            return run

        return stage

    @pytest.fixture
    def archive(self, tree: Path) -> Path:
        subprocess.run(PACKED["tar.gz"], shell=True, cwd=tree, check=True)
        return tree.parent / "x"

    def test_the_content_takes_the_place_of_the_archive(self, stage, archive: Path) -> None:
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        run = stage(select="*.txt", rename={"a.txt": "c.txt"}, target="in", sha256=digest)
        assert files_below(run.run_dir) == {"in/b.txt", "in/c.txt"}
        assert f'"sha256": "{digest}"' in read(run, "depends.json")
        assert os.listdir(Path(run.run_dir).parent / "..").count("x") == 1
        assert not [name for name in os.listdir(Path(run.run_dir).parent) if "unpacked" in name]

    def test_another_digest_is_an_error(self, stage, archive: Path) -> None:
        with pytest.raises(DependencyError, match="sha256 is "):
            stage(sha256="0" * 64)

    def test_another_digest_is_not_even_unpacked(self, stage, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(tar_with((info("../evil"), b"x")))
        with pytest.raises(DependencyError, match="sha256 is "):
            stage(sha256="0" * 64)

    @pytest.mark.parametrize("link", ["hardlink", "symlink"])
    def test_what_is_unpacked_is_not_linked(self, stage, archive: Path, link: str) -> None:
        with pytest.raises(DependencyError, match=f"unpack does not go with link = {link}"):
            stage(link=link)

    def test_a_hostile_one_leaves_nothing(self, stage, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(tar_with((info("ok"), b"x"), (info("../evil"), b"x")))
        with pytest.raises(ArchiveRefused, match=r"\.\./evil leads out of it"):
            stage()
        assert not [path for path in tmp_path.rglob("*") if path.name in ("evil", "ok")]

    def test_unpacked_by_hand_it_is_the_same(self, stage, archive: Path, tmp_path: Path) -> None:
        run = stage()
        (tmp_path / "hand").mkdir()
        shutil.unpack_archive(archive, tmp_path / "hand", "gztar", filter="fully_trusted")
        assert files_below(run.run_dir) == files_below(tmp_path / "hand")
