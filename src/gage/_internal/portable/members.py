"""The members of a capsule: which there may be, and what each is called.

A capsule is a zip file, which Python executes, and a BagIt bag (RFC 8493) once it is unpacked:

    __main__.py, gage/...        the runner
    capsule.json                 the runs that are in it, and what a zip file cannot say
    data/ID/..., data/ID.meta/...
    data/ro-crate-metadata.json
    bagit.txt, bag-info.txt, manifest-sha256.txt, tagmanifest-sha256.txt

A path that some programs would not take, or write another way, goes by a plain one in the zip
file, and `names` in `capsule.json` has the path that it stands for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

FORMAT = 1
MAIN = "__main__.py"
PACKAGE = "gage/"
INDEX = "capsule.json"
PAYLOAD = "data/"
CRATE = PAYLOAD + "ro-crate-metadata.json"
BAGIT = "bagit.txt"
BAG_INFO = "bag-info.txt"
BAG_MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
TAGS = (MAIN, INDEX, BAGIT, BAG_INFO, BAG_MANIFEST, TAG_MANIFEST)

# BagIt and zip programs disagree on these.
_UNUSUAL = re.compile(r"[\x00-\x1f\x7f-\x9f%\\\u2028\u2029\ud800-\udfff]|\s(?=/|$)")


def member_name(path: str, taken: Container[str]) -> str:
    """Return what a path goes by in a capsule: itself, but for what is unusual in it."""
    name = unicodedata.normalize("NFC", _UNUSUAL.sub("_", path))
    if name == path and name not in taken:
        return name
    number = 1
    while f"{name}~{number}" in taken:
        number += 1
    return f"{name}~{number}"


def is_tag(name: str) -> bool:
    """Tell whether a member is none of the payload, and one that a capsule has."""
    return name in TAGS or (name.startswith(PACKAGE) and name.endswith(".py"))


def is_safe(path: str) -> bool:
    """Tell whether a path stays below the directory that it is relative to."""
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))
