"""What it takes to stage big projects, beside what copies the same files.

The commands work on a tree that is made when the first of its rows is measured. A peer that
copies a whole directory copies no `.git`: a tree's repository is kept beside it.
"""

from __future__ import annotations

import functools
import glob
import os
import shutil
import subprocess
import time
from collections.abc import Callable

from bench.place import Place, remove
from bench.rows import Bar, Row
from bench.trees import make_large, make_pruned, make_sources, make_tiny

_COPYTREE = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], symlinks=True)"
_SUMS = 'find "$1" -type f -print0 | xargs -0 sha256sum >/dev/null'
_SUMS_ON_ALL = 'find "$1" -type f -print0 | xargs -0 -P "$(nproc)" -n 64 sha256sum >/dev/null'
# Seconds after which a file that did not change is remembered.
_YOUNG = 61
_NO_SYNC = {"GAGE_SYNC": "0"}
_THEN_SUMS = '{copy} && cd "$2" && find . -type f -print0 | xargs -0 sha256sum >"$2.sums"'
_EXCLUDES = "--exclude=.venv --exclude=node_modules --exclude=.git"


def big_staging_rows(place: Place, cache: str) -> list[Row]:
    """Return the rows of each tree."""
    tree = functools.partial(_Tree, place)
    sources = tree("sources", "sources", functools.partial(make_sources, place, cache))
    tiny = tree("tiny", "50,000 tiny files", functools.partial(make_tiny, place))
    large = tree("large", "2 GiB and 20 x 50 MB", functools.partial(make_large, place))
    pruned = tree("pruned", "100 files beside 50,000", functools.partial(make_pruned, place))
    return [
        sources.row("cp -a", 'cp -a "$1" "$2"', Bar(0.8)),
        sources.row("cp -a; sync -f", 'cp -a "$1" "$2" && sync -f "$2"', Bar(0.85), sync=True),
        sources.row("cp -a; sha256sum", _THEN_SUMS.format(copy='cp -a "$1" "$2"')),
        sources.row("rsync -a", 'rsync -a "$1/" "$2"'),
        sources.row("shutil.copytree", f"'{place.python}' -c '{_COPYTREE}' \"$1\" \"$2\""),
        sources.row(
            "git archive, tar",
            'mkdir "$2" && git --git-dir="$1.git" archive HEAD | tar -x -C "$2"',
        ),
        sources.row("cp -a", 'cp -a "$1" "$2"', again=True),
        sources.row("cp -al", 'cp -al "$1" "$2"', Bar(1.1), again=True, share=True),
        tiny.row("cp -a", 'cp -a "$1" "$2"', Bar(1.0)),
        tiny.verify_row("sha256sum", _SUMS, Bar(0.6)),
        tiny.verify_row("sha256sum on all cores", _SUMS_ON_ALL),
        tiny.pack_row("zip -0", 'cd "$1" && zip -0 -q -r "$2" .'),
        tiny.pack_row("tar", 'tar -c -f "$2" -C "$1" .'),
        large.row("cp -a; sha256sum", _THEN_SUMS.format(copy='cp -a "$1" "$2"'), Bar(0.5)),
        large.row("cp -a", 'cp -a "$1" "$2"', again=True),
        large.verify_row("sha256sum", _SUMS, Bar(0.25)),
        large.verify_row("sha256sum on all cores", _SUMS_ON_ALL),
        large.pack_row("zip -0", 'cd "$1" && zip -0 -q -r "$2" .'),
        large.pack_row("tar", 'tar -c -f "$2" -C "$1" .'),
        pruned.row("rsync -a --exclude", f'rsync -a {_EXCLUDES} "$1/" "$2"', Bar(0.5)),
    ]


class _Tree:
    """A tree, and the rows that stage it."""

    def __init__(self, place: Place, name: str, title: str, make: Callable[[], str]) -> None:
        self._place = place
        self._folder = place.path(name)
        self._title = title
        self._peers_tree = self._folder + ".peer"
        self._make = make

    def row(
        self,
        peer: str,
        script: str,
        bar: Bar | None = None,
        sync: bool = False,
        again: bool = False,
        share: bool = False,
    ) -> Row:
        """Return a row beside a shell script whose $1 is the tree and $2 the copy to make.

        `again` measures a staging after another one, `share` one that links what did not change.
        """
        copy, runs = self._folder + ".copy", self._folder + ".runs"
        words = ["stage", *(["--share"] if share else [])]
        title = f"gage {' '.join(words)}{' again' if again else ''}"
        if again:
            runs = self._folder + ".again"
            before = functools.partial(_clear, copy, *([] if share else [runs + "/*"]))
        else:
            before = functools.partial(_clear, copy, runs)
        return Row(
            f"{title}, {self._title} | {peer}",
            self._place.command(
                [self._place.gage, "--runs", runs, *words],
                self._folder,
                {} if sync else _NO_SYNC,
                before=before,
            ),
            self._place.command(
                ["sh", "-c", script, "sh", self._peers_tree if share else self._folder, copy],
                self._place.folder,
                before=functools.partial(_clear, copy, *([] if again else [runs])),
            ),
            bar,
            prepare=functools.partial(self._prepare, runs if again else None, share),
        )

    def verify_row(self, peer: str, script: str, bar: Bar | None = None) -> Row:
        """Return a row that verifies a staged run, beside the digests of the tree."""
        runs = self._folder + ".again"
        return Row(
            f"gage verify, {self._title} | {peer}",
            self._place.command([self._place.gage, "--runs", runs, "verify", "1"], self._folder),
            self._place.command(["sh", "-c", script, "sh", self._folder], self._folder),
            bar,
            prepare=functools.partial(self._prepare, runs),
        )

    def pack_row(self, peer: str, script: str) -> Row:
        """Return a row that packs a staged run, beside a script that packs $1, the tree, to $2."""
        runs, packed = self._folder + ".again", self._folder + ".zip"
        clear = functools.partial(_clear, packed)
        words = [self._place.gage, "--runs", runs, "pack", "1", "-o", packed]
        return Row(
            f"gage pack, {self._title} | {peer}",
            self._place.command(words, self._folder, _NO_SYNC, before=clear),
            self._place.command(
                ["sh", "-c", script, "sh", self._folder, packed], self._folder, before=clear
            ),
            prepare=functools.partial(self._prepare, runs),
        )

    def _prepare(self, again: str | None, share: bool = False) -> None:
        if not os.path.lexists(self._folder):
            self._make_tree()
        if share and not os.path.lexists(self._peers_tree):
            # A link that a peer makes changes the ctime of the file, and so what is known of it.
            subprocess.run(["cp", "-a", self._folder, self._peers_tree], check=True)
        if again and not os.path.lexists(again):
            # By then the files are old enough to be remembered.
            time.sleep(_YOUNG)
            words = [self._place.gage, "--runs", again, "stage"]
            env = self._place.env(_NO_SYNC)
            subprocess.run(words, cwd=self._folder, env=env, check=True, stdout=subprocess.DEVNULL)

    def _make_tree(self) -> None:
        self._make()
        git_dir = os.path.join(self._folder, ".git")
        if os.path.isdir(git_dir):
            # A work tree knows its repository by a file: so a copy of it has no more than ours.
            shutil.move(git_dir, self._folder + ".git")
            with open(git_dir, "w") as file:
                file.write(f"gitdir: {self._folder}.git\n")
        subprocess.run(["sync"], check=True)


def _clear(*patterns: str) -> None:
    for pattern in patterns:
        for path in glob.glob(pattern):
            remove(path)
