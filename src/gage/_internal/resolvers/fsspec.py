"""Dependency on what fsspec can read: `fsspec = "s3://bucket/dir"`, a list, or a table.

The table has `address`, one or a list, and where wanted `options` of the file system and `secrets`:
options whose values come from the secret that is named (see `secret_values`), and are never kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.caches import cache_dir
from gage._internal.downloads.addresses import objects_problem, option_problem
from gage._internal.downloads.cache import Kept, content_name, find_kept
from gage._internal.downloads.fetch import Listener, date_text
from gage._internal.downloads.objects import (
    Stored,
    StoreFailed,
    base_name,
    fetch_object,
    has_magic,
    list_objects,
    tried_again,
)
from gage._internal.errors import DependencyError
from gage._internal.fs import printable
from gage._internal.types import as_patterns
from gage.plugins import ResolveContext, Resolved


class _Found(NamedTuple):
    """What is kept of an object, with its address and its name in the run."""

    address: str
    name: str
    kept: Kept


class _Store(NamedTuple):
    """Where objects are: how the file system is opened, and what the keys in the cache end with."""

    options: Mapping[str, Any]
    secrets: Mapping[str, str]
    suffix: str

    def masked(self, text: str) -> str:
        for value in self.secrets.values():
            text = text.replace(value, "***")
        return text


class Fsspec:
    """Takes objects of any file system that fsspec knows, by way of the user's cache."""

    def resolve(self, spec: Any, context: ResolveContext) -> Resolved:
        """Return the objects that addresses stand for, in the cache.

        An address stands for an object, for all below a directory, or is a pattern. In a preview
        nothing is requested: what is kept counts as what it is, the rest is awaited.
        """
        table = spec if isinstance(spec, Mapping) else {"address": spec}
        addresses = as_patterns(table["address"])
        options = table.get("options", {})
        _check(addresses, options)
        cache = cache_dir()
        # The digest of several files is that of a list.
        wanted = context.sha256 if len(addresses) == 1 else None
        found: list[_Found] = []
        awaited: list[str] = []
        if context.is_preview:
            suffix = _suffix(options)
            for address in addresses:
                kept = find_kept(cache, address + suffix)
                if kept is None or (wanted and kept.sha256 != wanted):
                    awaited.append(_awaited_name(address))
                else:
                    found.append(_Found(address, base_name(address), kept))
        else:
            for address in addresses:
                found += _fetch(cache, address, options, table.get("secrets", {}), wanted, context)
        return Resolved(
            cache,
            [content_name(each.kept.sha256) for each in found],
            ", ".join(map(printable, addresses[:3]))
            + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""),
            names=[each.name for each in found],
            lineage={"fsspec": [_lineage(each, options) for each in found]},
            digests={content_name(each.kept.sha256): each.kept.sha256 for each in found},
            awaited=awaited,
        )


def _check(addresses: Sequence[str], options: Mapping[str, Any]) -> None:
    for address in addresses:
        problem = objects_problem(address)
        if problem:
            raise DependencyError(f"fsspec {problem}")
    tables: list[Mapping[str, Any]] = [options]
    for table in tables:
        for name, value in table.items():
            problem = option_problem(name)
            if problem:
                raise DependencyError(f"fsspec option {printable(name)} {problem}")
            if isinstance(value, Mapping):
                tables.append(value)


def _suffix(options: Mapping[str, Any]) -> str:
    """Return what tells an address with options from the same one with others, as in the cache."""
    if not options:
        return ""
    text = json.dumps(options, sort_keys=True, default=str)
    return "#options-" + hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def _fetch(
    cache: str,
    address: str,
    options: Mapping[str, Any],
    secrets: Mapping[str, str],
    wanted: str | None,
    context: ResolveContext,
) -> list[_Found]:
    suffix = _suffix(options)
    kept = None if has_magic(address) else find_kept(cache, address + suffix)
    if kept is not None and kept.sha256 == wanted:
        return [_Found(address, base_name(address), kept)]
    store = _Store(options, _secret_values(secrets), suffix)
    listener = Listener(lambda text: context.notice(store.masked(text)), context.progress)
    try:
        return _fetch_all(cache, address, store, wanted, listener)
    except StoreFailed as error:
        reason = store.masked(error.reason)
        if kept is None or wanted is not None:
            raise DependencyError(f"fsspec {printable(address)}: {reason}", error.hint) from None
        context.notice(
            f"{reason}: taking what {printable(address)} was on {date_text(kept.fetched)}"
        )
        return [_Found(address, base_name(address), kept)]


def _fetch_all(
    cache: str, address: str, store: _Store, wanted: str | None, listener: Listener
) -> list[_Found]:
    from gage._internal.downloads.file_systems import open_file_system

    def listed() -> tuple[Any, list[Stored]]:
        file_system, path = open_file_system(address, {**store.options, **store.secrets})
        return file_system, list_objects(file_system, path, address)

    file_system, objects = tried_again(listener, listed, lambda: 0)
    found = []
    for stored in objects:
        key = stored.address + store.suffix
        kept = fetch_object(cache, file_system, stored, key, wanted is not None, listener)
        found.append(_Found(stored.address, stored.name, kept))
    return found


def _secret_values(secrets: Mapping[str, str]) -> Mapping[str, str]:
    if not secrets:
        return {}
    from gage._internal.lifecycle.secret_values import read_secrets

    values = read_secrets(list(secrets.values()))
    return {option: values[name] for option, name in secrets.items()}


def _awaited_name(address: str) -> str:
    """Return the name of what is awaited; with a slash where it may well be a directory."""
    if has_magic(address):
        return "./"
    name = base_name(address)
    return name if "." in name and not address.endswith("/") else name + "/"


def _lineage(found: _Found, options: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        "address": found.address,
        "options": options or None,
        "etag": found.kept.etag,
        "last_modified": found.kept.last_modified,
        "sha256": found.kept.sha256,
    }
    return {name: value for name, value in values.items() if value is not None}
