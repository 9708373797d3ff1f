"""File systems as fsspec has them: opened by an address, with a clear word on what is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gage._internal.downloads.objects import ask
from gage._internal.errors import DependencyError

# The extra of Gage that a file system needs, by the beginnings of its addresses.
_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "adl": "az",
    "hf": "hf",
    "sftp": "sftp",
    "ssh": "sftp",
}


def scheme_of(address: str) -> str:
    """Return what an address begins with."""
    return address.partition("::")[0].partition("://")[0].lower()


def open_file_system(address: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of an address, and the path that it stands for there.

    Raises:
        DependencyError: what it takes is not installed, or there is no such file system.
        StoreFailed: it cannot be reached.
    """
    schemes = [scheme_of(part) for part in address.split("::") if part]
    try:
        from fsspec.core import url_to_fs
        from fsspec.registry import get_filesystem_class

        for scheme in schemes:
            get_filesystem_class(scheme)
    except ImportError as error:
        raise DependencyError(
            f"fsspec {schemes[0]}:// needs a package that is not installed: {error}",
            _remedy(schemes),
        ) from None
    except ValueError:
        raise DependencyError(
            f"fsspec knows no file system {schemes[0]}://", "see what follows :// in the address"
        ) from None
    _check_hosts(schemes)
    found: tuple[Any, str] = ask(url_to_fs, address, skip_instance_cache=True, **options)
    return found


def _remedy(schemes: list[str]) -> str:
    extras = sorted({_EXTRAS[scheme] for scheme in schemes if scheme in _EXTRAS})
    return f"pip install 'gage[{','.join(extras) or 'fsspec'}]'"


def _check_hosts(schemes: list[str]) -> None:
    pass
