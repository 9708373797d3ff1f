"""One request over HTTP or HTTPS: what comes of it, or why nothing does, in words.

On top of urllib: no other schemes, logins from ~/.netrc that go to the host they are for and to no
other, and redirections that leave HTTPS refused. Proxies and the certificates to trust are what the
environment says (`https_proxy`, `no_proxy`, `SSL_CERT_FILE`).
"""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import gage
from gage._internal.downloads.addresses import as_requested, host_of, is_same_origin, without_query
from gage._internal.fs import printable

PARTIAL_CONTENT = 206
_NOT_MODIFIED = 304
_RANGE_NOT_SATISFIABLE = 416
_TOO_MANY = 429
_UNAUTHORIZED = (401, 403)
_GONE = (404, 410)
_PERMANENT_REDIRECT = 308
_CONDITIONS = {"If-None-Match", "If-Modified-Since"}
_ONLINE = "check the address, and whether this machine is online"


class Unreachable(Exception):
    """A request came to nothing: why, as a sentence, and what to do.

    `is_passing` tells whether it may well succeed soon, `wait` the seconds that the server asks to
    wait before.
    """

    def __init__(
        self,
        reason: str,
        hint: str | None = None,
        is_passing: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.is_passing = is_passing
        self.wait = wait


class NoSuchRange(Unreachable):
    """What is there has no bytes where more of them were asked for."""


def open_address(
    address: str, headers: Mapping[str, str], timeout: float
) -> http.client.HTTPResponse | None:
    """Request an address; return the response, of status 200 or 206.

    None where the headers ask for what has changed, and it has not.

    Raises:
        NoSuchRange: the headers ask for bytes behind the end.
        Unreachable: there is no such response.
    """
    try:
        request = urllib.request.Request(as_requested(address), headers=dict(headers))
        request.add_header("User-Agent", f"gage/{gage.__version__}")
        login = _find_login(host_of(address))
        if login:
            # Not sent along where the answer is a redirection.
            request.add_unredirected_header("Authorization", login)
        response: http.client.HTTPResponse = _opener().open(request, timeout=timeout)
    except HTTPError as error:
        with error:
            if error.code == _NOT_MODIFIED and _CONDITIONS & headers.keys():
                return None
            raise _refusal(address, error) from None
    except (OSError, http.client.HTTPException) as error:
        raise why_broken(address, error) from None
    except ValueError:
        host = printable(host_of(address))
        raise Unreachable(f"{host} is no name of a host, or leads to what is no address") from None
    if response.status not in (200, PARTIAL_CONTENT):
        with response:
            raise Unreachable(f"{host_of(address)} answers {response.status}, and sends no file")
    return response


def why_broken(address: str, error: Exception) -> Unreachable:
    """Return in words why a connection failed or broke."""
    cause = error.reason if isinstance(error, URLError) else error
    host = printable(urlsplit(address).netloc)
    if isinstance(cause, socket.gaierror):
        is_passing = cause.errno == socket.EAI_AGAIN
        return Unreachable(f"{host} is a name that nobody knows here", _ONLINE, is_passing)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(
            f"the certificate of {host} is not to be trusted: {cause.verify_message}",
            "where it is right all the same, name the authority's file in SSL_CERT_FILE",
        )
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(f"{host} refuses the connection", _ONLINE, is_passing=True)
    if isinstance(cause, TimeoutError):
        return Unreachable(f"{host} does not answer in time", _ONLINE, is_passing=True)
    if isinstance(cause, http.client.InvalidURL):
        return Unreachable(f"{host} leads to what is no address")
    if isinstance(cause, ssl.SSLError):
        return Unreachable(f"no secure connection to {host}: {cause.reason}", is_passing=True)
    if isinstance(cause, (http.client.HTTPException, ConnectionError)):
        return Unreachable(f"the connection to {host} broke", is_passing=True)
    reason = getattr(cause, "strerror", None) or str(cause)
    return Unreachable(f"no connection to {host}: {printable(reason)}", _ONLINE, is_passing=True)


def _refusal(address: str, error: HTTPError) -> Unreachable:
    host = printable(urlsplit(address).netloc)
    answer = f"{host} answers {error.code} {printable(error.reason or '')}".rstrip()
    location = error.headers.get("Location")
    if 300 <= error.code < 400:
        to = f" and leads to {printable(without_query(location))}" if location else ""
        return Unreachable(
            f"{host} answers {error.code}{to}",
            "not followed are circles, and what is not http or https or leaves https",
        )
    if error.code in _UNAUTHORIZED:
        name = host_of(address)
        return Unreachable(
            answer, f'who may have it writes "machine {name} login … password …" into ~/.netrc'
        )
    if error.code in _GONE:
        return Unreachable(answer, "check the address")
    if error.code == _RANGE_NOT_SATISFIABLE:
        return NoSuchRange(answer, is_passing=True, wait=0)
    is_passing = error.code == _TOO_MANY or error.code >= 500
    return Unreachable(answer, "try later" if is_passing else None, is_passing, _retry_after(error))


def _retry_after(error: HTTPError) -> float | None:
    """Return the seconds that a server asks to wait; it says them, or a date."""
    import time
    from email.utils import parsedate_to_datetime

    text = (error.headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _find_login(host: str) -> str | None:
    path = os.environ.get("NETRC") or os.path.join(os.path.expanduser("~"), ".netrc")
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, UnicodeError, netrc.NetrcParseError):
        return None
    # Not the entry "default": it would go to whoever is asked.
    if host not in hosts:
        return None
    login, _, password = hosts[host]
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode("ascii")


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirections(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections from http to http and https, and from https to https."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in (urlsplit(req.full_url).scheme, "https"):
            raise HTTPError(req.full_url, code, msg, headers, fp)
        request = urllib.request.Request(newurl, headers=req.headers)
        login = req.unredirected_hdrs.get("Authorization")
        if login and is_same_origin(req.full_url, newurl):
            request.add_unredirected_header("Authorization", login)
        return request

    def http_error_308(self, *args: Any) -> Any:
        """Follow what Python 3.10 does not."""
        return self.http_error_302(*args)
