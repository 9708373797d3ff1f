"""Dependency on what is at an address: `url = "https://host/faces.zip"`, or a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gage._internal.caches import cache_dir
from gage._internal.downloads.addresses import address_problem, host_of, name_in
from gage._internal.downloads.cache import Kept, content_name, find_kept
from gage._internal.downloads.fetch import Listener, fetch, find_fetched
from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.types import as_patterns
from gage.plugins import ResolveContext, Resolved


class Url:
    """Takes files from web servers, by way of the user's cache."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the files that addresses hold, in the cache.

        A file is called by the last part of its address, else as the server says, else by the host.
        In a preview nothing is requested: what is kept counts as what it is, the rest is awaited.
        """
        addresses = as_patterns(spec)
        for address in addresses:
            problem = address_problem(address)
            if problem:
                raise DependencyError(f"url {problem}")
        cache = cache_dir()
        # The digest of several files is that of a list.
        wanted = context.sha256 if len(addresses) == 1 else None
        if context.is_preview:
            found = [
                find_fetched(cache, address, wanted) or find_kept(cache, address)
                for address in addresses
            ]
        else:
            listener = Listener(context.notice, context.progress)
            found = [fetch(cache, address, wanted, listener) for address in addresses]
        names = [_name(address, kept) for address, kept in zip(addresses, found, strict=True)]
        _check_differ(addresses, names)
        all_kept = [kept for kept in found if kept is not None]
        return Resolved(
            cache,
            [content_name(kept.sha256) for kept in all_kept],
            ", ".join(map(printable, addresses[:3]))
            + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""),
            names=[name for name, kept in zip(names, found, strict=True) if kept is not None],
            lineage={"url": [_lineage(kept) for kept in all_kept]},
            digests={content_name(kept.sha256): kept.sha256 for kept in all_kept},
            awaited=[name for name, kept in zip(names, found, strict=True) if kept is None],
        )


def _name(address: str, kept: Kept | None) -> str:
    return name_in(address) or (kept and kept.name) or host_of(address).strip(".") or "download"


def _check_differ(addresses: Sequence[str], names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for address, name in zip(addresses, names, strict=True):
        if name in seen:
            raise DependencyError(
                f"url {printable(seen[name])} and {printable(address)} are both called"
                f" {printable(name)}",
                "make them two dependencies, and rename one or give it a target",
            )
        seen[name] = address


def _lineage(kept: Kept) -> dict[str, str]:
    values = {
        "address": kept.address,
        "final_address": kept.final_address,
        "etag": kept.etag,
        "last_modified": kept.last_modified,
        "sha256": kept.sha256,
    }
    return {name: value for name, value in values.items() if value is not None}
