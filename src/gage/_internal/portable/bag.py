"""The tag files by which an unpacked capsule is a bag: BagIt 1.0, RFC 8493."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import gage
from gage._internal.portable.members import BAG_INFO, BAG_MANIFEST, BAGIT
from gage._internal.store.record import RunRecord


def bag_files(
    payload: Mapping[str, str], size: int, records: Sequence[RunRecord]
) -> Iterable[tuple[str, bytes]]:
    """Return the tag files, but for their own manifest, of a payload: digests by path."""
    yield BAGIT, b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    info = [f"Bag-Software-Agent: Gage {gage.__version__}", f"Payload-Oxum: {size}.{len(payload)}"]
    info += [f"External-Identifier: urn:uuid:{record.run.id}" for record in records]
    yield BAG_INFO, ("\n".join(info) + "\n").encode()
    yield BAG_MANIFEST, manifest_of(payload)


def manifest_of(digests: Mapping[str, str]) -> bytes:
    """Return the manifest of files whose names need no escapes."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()
