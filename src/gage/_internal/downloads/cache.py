"""The cache of downloads: each content once, and a record of each address that it came from.

See `docs/format.md` for the files. Contents and records are complete where they have their names;
what is being downloaded lies apart (see `partial`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.caches import make_folder
from gage._internal.store.meta import json_bytes

CONTENT = "content"
ADDRESSES = "addresses"
PARTIAL = "partial"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Kept(NamedTuple):
    """What is kept of an address: its content, and what tells whether that is still its content.

    `name` is what the server calls the file, `final_address` where a redirection led to, less its
    query; `fetched` is when that was, in microseconds since the epoch.
    """

    address: str
    sha256: str
    size: int
    fetched: int
    name: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    final_address: str | None = None


def key_of(address: str) -> str:
    """Return the name under which an address is kept: its digest."""
    return hashlib.sha256(os.fsencode(address)).hexdigest()[:32]


def content_name(sha256: str) -> str:
    """Return the path of a content, relative to the cache."""
    return f"{CONTENT}/{sha256[:2]}/{sha256}"


def record_path(cache: str, address: str) -> str:
    """Return the path of the record of an address."""
    return os.path.join(cache, ADDRESSES, key_of(address) + ".json")


def has_content(cache: str, sha256: str, size: int | None = None) -> bool:
    """Tell whether a content is kept, with its size where that is known."""
    try:
        found = os.lstat(os.path.join(cache, content_name(sha256)))
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and size in (None, found.st_size)


def find_kept(cache: str, address: str) -> Kept | None:
    """Return what is kept of an address; None where there is nothing, or not all of it."""
    kept = find_record(record_path(cache, address))
    if kept is None or kept.address != address:
        return None
    return kept if has_content(cache, kept.sha256, kept.size) else None


def find_record(path: str) -> Kept | None:
    """Return a record that can be understood, whether its content is there or not."""
    try:
        value = json.loads(fs.read_bytes(path))
    except (OSError, ValueError):
        return None
    return _kept_of(value)


def write_record(cache: str, kept: Kept) -> None:
    """Write the record of an address, in place of an earlier one."""
    path = record_path(cache, kept.address)
    make_folder(cache, path)
    values = {name: value for name, value in kept._asdict().items() if value is not None}
    fs.replace_file(path, json_bytes(values))


def mark_used(cache: str, address: str) -> None:
    """Note that an address was used: the time of its record tells when it last was."""
    try:
        os.utime(record_path(cache, address))
    except OSError:
        # A cache that can only be read is as good.
        pass


def _kept_of(value: Any) -> Kept | None:
    if not isinstance(value, dict):
        return None
    texts = ("name", "etag", "last_modified", "final_address")
    if (
        not isinstance(value.get("address"), str)
        or not _SHA256.fullmatch(str(value.get("sha256")))
        or not all(isinstance(value.get(name), int) for name in ("size", "fetched"))
        or not all(isinstance(value.get(name, ""), str) for name in texts)
    ):
        return None
    return Kept(**{name: value[name] for name in Kept._fields if name in value})
