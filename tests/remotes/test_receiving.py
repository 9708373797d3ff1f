"""What arrives is not trusted: not where it says that it lies, nor that it is what it says."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gage._internal.portable.homes import Home
from gage._internal.portable.items import Item, Refused, index_of
from gage._internal.portable.receiving import Receiving, receive

RUN_ID = "0d9c1c9e-5f0e-4f7c-8f2e-1a2b3c4d5e6f"
DATA = b"data"
SHA256 = hashlib.sha256(DATA).hexdigest()


def item(path: str, kind: str = "f", target: str = "", data: bytes = DATA) -> Item:
    if kind != "f":
        return Item(path, kind, 0o755, 0, len(target), "", target)
    return Item(path, kind, 0o644, 0, len(data), hashlib.sha256(data).hexdigest())


def begun(home: Path) -> Receiving:
    receiving = receive(Home(str(home)), RUN_ID, wait=False)
    assert receiving is not None
    return receiving


@pytest.mark.parametrize(
    "items",
    [
        [item("run/../../x")],
        [item("run//x")],
        [item("run/./x")],
        [item("/etc/x")],
        [item("notes/x")],
        [item("run")],
        [item("run/a\0b")],
        [item("run/a"), item("run/a")],
        [item("run/a", "l", "/tmp"), item("run/a/b")],
        [item("run/a/b/c"), item("run/a", "l", "/tmp")],
        [item("run/a"), item("run/a/b")],
        [item("run/a", "p")],
    ],
    ids=lambda items: "-".join(each.path.replace("/", ":").replace("\0", "0") for each in items),
)
def test_nothing_is_written_elsewhere(items: list[Item], tmp_path: Path) -> None:
    receiving = begun(tmp_path)
    with pytest.raises(Refused):
        receiving.begin(index_of(items))
    receiving.close()
    assert os.listdir(tmp_path) == []


def test_what_another_attempt_left_does_not_become_part_of_the_run(tmp_path: Path) -> None:
    left = tmp_path / ".incoming" / RUN_ID / "run"
    (left / "sub").mkdir(parents=True)
    (left / "sub" / "other").write_text("x")
    (left / "long").write_bytes(DATA + b"more")
    (left / "dir").symlink_to("/tmp")
    (left / "same").write_bytes(DATA)
    (left / "wrong").write_bytes(b"atad")
    (left / "file").mkdir()
    items = [item(f"run/{name}") for name in ("long", "dir/x", "same", "wrong", "file")]
    items = [each._replace(sha256=SHA256) for each in items] + [item("meta/id", data=b"id")]
    receiving = begun(tmp_path)
    assert receiving.begin(index_of(items)) == [(0, 0), (5, 0)]
    assert receiving.expect(receiving.wants) == len(DATA) + 2
    receiving.feed(DATA + b"id")
    assert receiving.finish() == []
    receiving.commit(None)
    receiving.close()
    found = {str(path.relative_to(tmp_path / RUN_ID)) for path in (tmp_path / RUN_ID).rglob("*")}
    assert found == {"long", "dir", "dir/x", "same", "wrong", "file"}
    assert all((tmp_path / RUN_ID / name).read_bytes() == DATA for name in found - {"dir"})


def test_what_is_not_what_it_says_does_not_count(tmp_path: Path) -> None:
    items = [item("run/a"), item("run/b", data=b"other"), item("meta/id", data=b"id")]
    receiving = begun(tmp_path)
    assert receiving.begin(index_of(items)) == [(0, 0), (1, 0), (2, 0)]
    receiving.expect(receiving.wants)
    receiving.feed(b"daXaother")
    with pytest.raises(Refused):
        receiving.finish()
    receiving.expect([(2, 0)])
    receiving.feed(b"id")
    with pytest.raises(Refused):
        receiving.feed(b"more")
    with pytest.raises(Refused, match="has not arrived"):
        receiving.commit(None)
    receiving.expect([(0, 0)])
    receiving.feed(b"daXa")
    assert receiving.finish() == [0]
    receiving.close()
    assert os.listdir(tmp_path) == [".incoming"]


def test_a_run_is_what_its_manifest_says(tmp_path: Path) -> None:
    text = f"# gage manifest 1\n# staged\n#\tf\ts\t0644\t4\n{SHA256}  a\n"
    for paths in ((), ("run/a", "run/b"), ("run/b",)):
        receiving = begun(tmp_path)
        items = [*map(item, paths), item("meta/manifest", data=text.encode())]
        wants = receiving.begin(index_of(items))
        receiving.expect(wants)
        for number, offset in wants:
            data = DATA if items[number].path != "meta/manifest" else text.encode()
            receiving.feed(data[offset:])
        assert receiving.finish() == []
        with pytest.raises(Refused, match="is not as the manifest has it"):
            receiving.commit(None)
        receiving.close()
        assert os.listdir(tmp_path) == [".incoming"]
