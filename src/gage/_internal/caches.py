"""Where Gage keeps, for a user of this machine, what it can make or fetch again."""

from __future__ import annotations

import os


def cache_dir() -> str:
    """Return the user's cache of Gage: `GAGE_CACHE`, else `gage` where caches are."""
    own = os.environ.get("GAGE_CACHE")
    if own:
        return os.path.abspath(os.path.expanduser(own))
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path there is to be ignored, as the standard that has the variable says.
    return os.path.join(caches if caches.startswith("/") else _home_caches(), "gage")


def _home_caches() -> str:
    return os.path.join(os.path.expanduser("~"), ".cache")


def make_folder(cache: str, path: str) -> None:
    """Make the directory that `path` is to lie in; the cache itself is its user's only."""
    if not os.path.isdir(cache):
        os.makedirs(os.path.dirname(cache), exist_ok=True)
        try:
            os.mkdir(cache, 0o700)
        except FileExistsError:
            pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
