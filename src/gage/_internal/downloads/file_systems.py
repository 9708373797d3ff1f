"""File systems as fsspec has them: opened by an address, or what is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gage._internal.downloads.objects import StoreFailed, ask
from gage._internal.errors import DependencyError
from gage._internal.fs import printable

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
_SSH = frozenset(("sftp", "ssh"))


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
    if not _SSH.isdisjoint(schemes):
        found = _open_sftp(address, schemes, options)
        if found is not None:
            return found
    opened: tuple[Any, str] = ask(url_to_fs, address, skip_instance_cache=True, **options)
    return opened


def _remedy(schemes: list[str]) -> str:
    extras = sorted({_EXTRAS[scheme] for scheme in schemes if scheme in _EXTRAS})
    return f"pip install 'gage[{','.join(extras) or 'fsspec'}]'"


def _open_sftp(
    address: str, schemes: list[str], options: Mapping[str, Any]
) -> tuple[Any, str] | None:
    """Return fsspec's file system, but of known hosts only; None where another one is installed.

    By itself it would take any host for the one that is meant.
    """
    import paramiko
    from fsspec.implementations.sftp import SFTPFileSystem
    from fsspec.registry import get_filesystem_class

    if not issubclass(get_filesystem_class(min(_SSH.intersection(schemes))), SFTPFileSystem):
        return None
    if len(schemes) > 1:
        raise DependencyError(
            f"fsspec {printable(address)}: {schemes[-1]}:// cannot be part of another address",
            "take the whole file, and unpack it",
        )

    class Sftp(SFTPFileSystem):  # type: ignore[misc]
        def _connect(self) -> None:
            self.client = paramiko.SSHClient()
            self.client.load_system_host_keys()
            self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
            self.client.connect(self.host, **self.ssh_kwargs)
            self.ftp = self.client.open_sftp()

    where = Sftp._get_kwargs_from_urls(address)
    try:
        file_system = ask(Sftp, **{**where, **options}, skip_instance_cache=True)
    except StoreFailed as error:
        if "not found in known_hosts" in error.reason:
            raise DependencyError(
                f"fsspec {printable(address)}: {error.reason}",
                "connect to it once with ssh, and accept its key",
            ) from None
        raise
    return file_system, Sftp._strip_protocol(address)
