"""`gage push`: bring runs to a remote."""

from __future__ import annotations

import argparse
import os

from gage._internal.cli.context import Context
from gage._internal.cli.groups import add_group_argument, find_named
from gage._internal.fs import printable

DESCRIPTION = (
    "Bring runs to a remote: a directory, one on another machine (ssh://HOST/DIRECTORY), object"
    " storage (s3://BUCKET/PREFIX), or what settings define by a name. What is there is not sent"
    " again: interrupted and repeated, it sends the rest."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("runs_to_push", nargs="*", metavar="RUN", help="a run")
    parser.add_argument("remote", metavar="REMOTE", help="where to: a name or an address")
    add_group_argument(parser, "bring all runs of a group")


def run(args: argparse.Namespace, context: Context) -> int:
    """Run the command; return the exit status."""
    from gage._internal.cli.moving import move_runs, opened_local, opened_remote
    from gage._internal.portable.transfer import check_may_leave

    found = find_named(args.runs_to_push, args.group, context)
    # A run may be named by the path of its run directory, in whatever runs home that is.
    homes = list(dict.fromkeys(os.path.dirname(each.run_dir) for each in found))
    for each in found:
        described = opened_local(os.path.dirname(each.run_dir)).describe(each.id)
        if described:
            check_may_leave(each.id, described)
    with opened_remote(context, args.remote, make=True) as target:
        for home in homes:
            ids = [each.id for each in found if os.path.dirname(each.run_dir) == home]
            done = f"pushed to {printable(args.remote)}"
            move_runs(opened_local(home), target, ids, context, done)
    return 0
