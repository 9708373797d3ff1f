"""`gage cache`: list, verify or clear what was downloaded or made and is kept."""

from __future__ import annotations

import argparse
from typing import Any

from gage._internal import clock
from gage._internal.caches import cache_dir
from gage._internal.cli import printer
from gage._internal.cli.context import Context
from gage._internal.cli.times import age_text
from gage._internal.cli.values import counted_bytes
from gage._internal.downloads import mirror_upkeep, upkeep
from gage._internal.downloads.mirror_upkeep import MirrorEntry
from gage._internal.downloads.upkeep import Entry
from gage._internal.environments import upkeep as environment_upkeep
from gage._internal.environments.upkeep import TreeEntry
from gage._internal.errors import CacheDamaged, NotKept, UsageError
from gage._internal.fs import printable
from gage._internal.store.logs import counted

DESCRIPTION = (
    "List what was downloaded, or made of that, and is kept; verify that it is what it was, and"
    " remove what is not; or clear it. Runs need none of it, and what one is using stays."
)
_DAY = 86_400_000_000
_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("action", choices=("list", "verify", "clear"), help="what to do")
    parser.add_argument(
        "addresses",
        nargs="*",
        metavar="ADDRESS",
        help="clear: of these only; an environment goes by its key",
    )
    parser.add_argument(
        "--older", type=_days, metavar="DAYS", help="clear: what was not used for so many days only"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="clear: do not ask")


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days")
    return days


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    if args.action != "clear" and (args.addresses or args.older is not None or args.yes):
        raise UsageError(f"cache {args.action} takes no arguments", "gage cache --help")
    cache = cache_dir()
    if args.action == "list":
        _list(cache, context)
    elif args.action == "verify":
        _verify(cache, context)
    else:
        return _clear(cache, args)
    return 0


def _list(cache: str, context: Context) -> None:
    entries = upkeep.list_entries(cache)
    mirrors = mirror_upkeep.list_mirrors(cache)
    trees = environment_upkeep.list_trees(cache)
    if context.json:
        rows_of_all = (
            map(_as_json, entries),
            map(_mirror_as_json, mirrors),
            map(_tree_as_json, trees),
        )
        printer.print_json([row for rows in rows_of_all for row in rows])
        return
    if not entries and not mirrors and not trees:
        printer.print_note(f"nothing is kept in {printable(cache)}")
        return
    rows = [
        (
            printable(entry.kept.address) if entry.kept else "-",
            counted_bytes(entry.size),
            age_text(entry.kept and entry.kept.fetched),
            age_text(entry.used),
            entry.sha256[:12],
        )
        for entry in entries
    ]
    rows += [
        (
            printable(mirror.address),
            counted_bytes(mirror.size),
            age_text(mirror.fetched),
            age_text(mirror.used),
            "git",
        )
        for mirror in mirrors
    ]
    rows += [
        (
            printable(tree.what),
            counted_bytes(tree.size),
            age_text(tree.made),
            age_text(tree.used),
            tree.key[:_SHOWN],
        )
        for tree in trees
    ]
    printer.print_table(("address", "size", "fetched", "used", "sha256"), rows, ("address",))
    sizes = {entry.sha256: entry.size for entry in entries}
    size = sum(sizes.values()) + sum(mirror.size for mirror in mirrors)
    size += sum(tree.size for tree in trees)
    printer.print_note(f"{counted_bytes(size)} in {printable(cache)}")


def _as_json(entry: Entry) -> dict[str, Any]:
    kept = entry.kept
    return {
        "kind": "content",
        "address": kept and kept.address,
        "sha256": entry.sha256,
        "size": entry.size,
        "fetched": kept and kept.fetched,
        "used": entry.used,
        "etag": kept and kept.etag,
        "last_modified": kept and kept.last_modified,
        "final_address": kept and kept.final_address,
    }


def _mirror_as_json(mirror: MirrorEntry) -> dict[str, Any]:
    return _row_of("git", mirror.address, mirror.size, mirror.fetched, mirror.used)


def _tree_as_json(tree: TreeEntry) -> dict[str, Any]:
    row = _row_of("environment", tree.key, tree.size, tree.made, tree.used)
    return {**row, "what": tree.what}


def _row_of(kind: str, address: str, size: int, fetched: int, used: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "address": address,
        "sha256": None,
        "size": size,
        "fetched": fetched,
        "used": used,
        "etag": None,
        "last_modified": None,
        "final_address": None,
    }


def _verify(cache: str, context: Context) -> None:
    count, damaged = upkeep.remove_damaged(cache)
    mirrors, more = mirror_upkeep.remove_damaged_mirrors(cache)
    trees, still_more = environment_upkeep.remove_damaged_trees(cache)
    damaged += [*more, *still_more]
    read = _in_words(counted(count, "content"), mirrors, trees)
    if context.json:
        printer.print_json({"verified": count + mirrors + trees, "damaged": damaged})
    if damaged:
        raise CacheDamaged(
            f"of {read}, {len(damaged)} {_was(damaged)} damaged and"
            f" {_was(damaged)} removed" + "".join(f"\n  {sha256}" for sha256 in damaged),
            "what is needed of it will be downloaded or made again",
        )
    if not context.json:
        printer.print_note(f"{read} verified")


def _counted_mirrors(count: int) -> str:
    return f"{count} git {'repository' if count == 1 else 'repositories'}"


def _in_words(downloads: str, mirrors: int, trees: int) -> str:
    """Return the numbers of what is kept, the first one already in words, less those that are 0."""
    parts = [
        downloads,
        *([_counted_mirrors(mirrors)] if mirrors else []),
        *([counted(trees, "environment")] if trees else []),
    ]
    if len(parts) > 1 and downloads.startswith("0 "):
        del parts[0]
    return " and ".join(parts)


def _was(damaged: list[str]) -> str:
    return "was" if len(damaged) == 1 else "were"


def _clear(cache: str, args: argparse.Namespace) -> int:
    addresses = set(args.addresses)
    before = None if args.older is None else clock.now() - int(args.older * _DAY)

    def is_chosen(entry: Entry) -> bool:
        return is_meant(entry.kept and entry.kept.address, entry.used)

    def is_meant(address: str | None, used: int) -> bool:
        return (not addresses or address in addresses) and (before is None or used <= before)

    entries = upkeep.list_entries(cache)
    mirrors = mirror_upkeep.list_mirrors(cache)
    trees = environment_upkeep.list_trees(cache)
    known = {entry.kept.address for entry in entries if entry.kept}
    known |= {mirror.address for mirror in mirrors}
    # Of a key, as much is enough as the list shows.
    keys = {tree.key[:_SHOWN]: tree.key for tree in trees}
    addresses = {keys.get(address[:_SHOWN], address) for address in addresses}
    for address in addresses - known - set(keys.values()):
        raise NotKept(f"nothing is kept of {printable(address)}", "gage cache list")
    chosen = {entry.sha256: entry.size for entry in entries if is_chosen(entry)}
    meant = [mirror for mirror in mirrors if is_meant(mirror.address, mirror.used)]
    meant_trees = [tree for tree in trees if is_meant(tree.key, tree.used)]
    sizes = [*chosen.values(), *(mirror.size for mirror in meant)]
    sizes += [tree.size for tree in meant_trees]
    size = counted_bytes(sum(sizes))
    if sizes and not args.yes:
        many = _removed(len(chosen), len(meant), len(meant_trees))
        question = f"Remove {many}, {size}, from {printable(cache)}?"
        if not printer.confirm(question):
            printer.print_note("nothing is removed; -y removes without asking")
            return 1
    count, freed = upkeep.remove_entries(cache, is_chosen)
    gone, freed_too = mirror_upkeep.remove_mirrors(
        cache, lambda mirror: is_meant(mirror.address, mirror.used)
    )
    gone_trees, freed_trees = environment_upkeep.remove_trees(
        cache, lambda tree: is_meant(tree.key, tree.used)
    )
    if before is None:
        for address in addresses or {None}:
            upkeep.remove_parts(cache, address)
        if not addresses:
            mirror_upkeep.remove_unfinished_mirrors(cache)
            environment_upkeep.remove_unfinished_trees(cache)
    many = _removed(count, gone, gone_trees)
    printer.print_note(f"{many} removed, {counted_bytes(freed + freed_too + freed_trees)}")
    return 0


def _removed(downloads: int, mirrors: int, trees: int) -> str:
    return _in_words(counted(downloads, "download"), mirrors, trees)
