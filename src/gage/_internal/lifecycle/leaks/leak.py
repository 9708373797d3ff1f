"""A leak, and what people are told of it."""

from __future__ import annotations

from typing import NamedTuple

from gage._internal.fs import printable
from gage._internal.store.logs import counted

# The other kinds are those of places.
OUTSIDE = "outside"
MISSING = "missing"

_WORDS = {
    "project": "is in the project",
    "home": "is in the home directory",
    "environment": "is in an environment",
    "run": "is where the run is now",
    OUTSIDE: "is outside of the run",
    MISSING: "is needed and not staged",
}


class Leak(NamedTuple):
    """Something in a run that would break elsewhere.

    `path` is the staged file that holds it, relative to the run; for what is in no staged file
    it is empty, or the file of the project that says it. `line` counts from 1 where there are
    lines. `holder` is what holds it if not the file as such, such as `the command` or `env DATA`.
    `target` is what would not be there, `kind` what that is: `project`, `home`, `environment`,
    `run`, `outside` or `missing`. `remedy` is what to do. `more` lines of the file are alike.
    """

    path: str
    line: int | None
    kind: str
    target: str
    remedy: str
    holder: str = ""
    more: int = 0

    @property
    def place(self) -> str:
        """Where the leak is, as people read it."""
        file = printable(self.path)
        if file and self.line is not None:
            file = f"{file}:{self.line}"
        if not self.holder:
            return file
        holder = printable(self.holder)
        return f"{file}: {holder}" if file else holder

    @property
    def fault(self) -> str:
        """What is wrong and where, without the remedy."""
        more = f", and {counted(self.more, 'more line')} are alike" if self.more else ""
        return f"{self.place}: {printable(self.target)} {_WORDS[self.kind]}{more}"
