"""Documents of identity providers: fetched with limits of time, size and redirects. All calls block."""

import time
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit

from common.issuers import require_secure_url
from server.adapters.identity.strict_json import parse_object

MAX_BYTES = 512 << 10
"""Largest document."""

FETCH_SECONDS = 10.0
"""Time limit for one document."""

_WAIT_SECONDS = 5.0
_PIECE_BYTES = 16 << 10


class DocumentError(Exception):
    """A document cannot be fetched; the message is for the log and has no values of other parties."""


def fetch(url: str) -> dict[str, Any]:
    """Return the JSON object at a URL. The system's certificate authorities and `SSL_CERT_FILE` apply.

    Raises:
        DocumentError
    """
    require_permitted(url)
    deadline = time.monotonic() + FETCH_SECONDS
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked above
    try:
        with _OPENER.open(request, timeout=_WAIT_SECONDS) as response:
            return parse_object(_body(response, deadline))
    except HTTPError as error:
        error.close()
        raise DocumentError(f"{url} returned status {error.code}") from None
    except (OSError, HTTPException) as error:  # a URLError is an OSError
        cause = error.reason if isinstance(error, URLError) else error
        detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause).__name__
        raise DocumentError(f"{url} cannot be fetched: {detail}") from None
    except ValueError as error:
        raise DocumentError(f"{url} is not valid: {error}") from None


def require_permitted(url: str) -> None:
    """Require HTTPS, or HTTP on a loopback address. Raises: DocumentError."""
    try:
        require_secure_url(url)
    except ValueError as error:
        raise DocumentError(str(error)) from None


def _body(response: Any, deadline: float) -> bytes:
    pieces = bytearray()
    while piece := response.read1(_PIECE_BYTES):
        pieces += piece
        if len(pieces) > MAX_BYTES:
            raise ValueError("too long")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(pieces)


class _RedirectsOnOneOrigin(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same scheme, host and port only."""

    max_redirections = 3

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if _origin(urlsplit(newurl)) != _origin(urlsplit(req.full_url)):
            raise DocumentError("a redirect to another host was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for HTTP and HTTPS only, which uses proxies from the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _RedirectsOnOneOrigin(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()
