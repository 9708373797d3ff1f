"""Facts about this system that take long to find out, kept in the user's cache.

Each is kept with all that it depends on: where one of these is another now, so is the fact, and it
is found out anew. What is damaged counts as nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from gage._internal import fs
from gage._internal.caches import cache_dir, make_folder

FOLDER = "system"


def remembered(what: str, depends_on: Sequence[Any], find: Callable[[], Any]) -> Any:
    """Return a fact, a JSON value, that depends on nothing else; `find` finds it out.

    What `find` answers with None is not kept.
    """
    key = json.dumps([what, *depends_on])
    cache = cache_dir()
    path = os.path.join(cache, FOLDER, hashlib.sha256(key.encode()).hexdigest()[:32] + ".json")
    try:
        head, _, body = fs.read_bytes(path).partition(b"\n")
        if head == hashlib.sha256(body).hexdigest().encode():
            kept_key, value = json.loads(body)
            if kept_key == key:
                return value
    except (OSError, ValueError, TypeError):
        pass
    value = find()
    if value is not None:
        body = json.dumps([key, value]).encode()
        try:
            make_folder(cache, path)
            fs.replace_file(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body, 0o644)
        except OSError:
            # A cache that cannot be written to is as good as none.
            pass
    return value


def identity(path: str) -> list[int]:
    """Return what is another when a file or directory is; nothing where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
