"""What the core records about an HTTP request in the audit trail: address of the client, method, URI, custom headers.

The core believes this only of facades that it trusts. The custom headers are those of Azure's DICOM service.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote_plus

from starlette.requests import Request
from starlette.types import Scope

from facade import proxies
from facade.errors import Refusal

_CERTIFICATE = "x-dicomstore-certificate-bin"
_HEADER = b"x-ms-azuredicom-audit-"
_NAME = re.compile(rb"[a-z0-9_.-]+(?<!-bin)")
"""Names that metadata of gRPC can have with text as value."""

_MAX_HEADERS = 10
_MAX_HEADER_LENGTH = 2048
_MAX_URI_LENGTH = 4096

_SECRETS = re.compile(
    r"(?<=/share/)[^/?#]+|(?<=/login/link/)[^/?#]+|(?<=[?&]token=)[^&#]+|(?<=[?&]access_token=)[^&#]+", re.IGNORECASE
)
_NOT_IN_METADATA = re.compile(r"[^\x20-\x7e]")


def caller_metadata(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the metadata for the core. Raises Refusal (400) for custom headers that cannot be recorded."""
    scope = request.scope
    host, forwarded_for, custom = b"", [], []
    for name, value in scope["headers"]:
        if name == b"host":
            host = value
        elif name == b"x-forwarded-for":
            forwarded_for.append(value.decode("latin-1"))
        elif name.startswith(_HEADER):
            custom.append((name, value))
    address = scope["client"]
    client: str = address[0] if address else "unknown"
    if forwarded_for:
        trusted: str = request.app.state.settings.trusted_proxies
        if proxies.is_trusted(client, trusted):
            client = proxies.client_of(client, forwarded_for, trusted)
    found = (
        ("x-dicomstore-client", client),
        ("x-dicomstore-method", scope["method"]),
        ("x-dicomstore-uri", _uri(scope, host)),
    )
    return (*found, *_checked(custom)) if custom else found


def _checked(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    if len(headers) > _MAX_HEADERS:
        raise Refusal(400, f"There are more than {_MAX_HEADERS} headers X-MS-AZUREDICOM-AUDIT-*.")
    if not all(_NAME.fullmatch(name) for name, _ in headers):
        raise Refusal(400, "A header X-MS-AZUREDICOM-AUDIT-* has an invalid name.")
    if any(len(value) > _MAX_HEADER_LENGTH for _, value in headers):
        raise Refusal(400, f"A header X-MS-AZUREDICOM-AUDIT-* is longer than {_MAX_HEADER_LENGTH} characters.")
    return [(name.decode("latin-1"), _printable(value)) for name, value in headers]


def _uri(scope: Scope, host: bytes) -> str:
    """Return the URI as received, without tokens in its path and query, and without Transaction UIDs of workitems."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    if b"%" in path and _SECRETS.search(scope["path"]):  # an encoded letter would hide what is secret
        path = quote(scope["path"]).encode()
    query = b"" if _has_transaction_uid(scope) else scope["query_string"]
    uri = (b"%b://%b%b?%b" if query else b"%b://%b%b%b") % (scope["scheme"].encode(), host, path, query)
    text = _printable(uri[:_MAX_URI_LENGTH])
    has_secret = "/share/" in text or "/login/" in text or "token=" in text
    return _SECRETS.sub("***", text) if has_secret else text


def _has_transaction_uid(scope: Scope) -> bool:
    """Return whether the query may have the Transaction UID of a workitem, which is a secret (PS3.18 section 11.6)."""
    path, query = scope["path"], scope["query_string"]
    if not query or "/workitems" not in path:
        return False
    text = unquote_plus(query.decode("latin-1")).lower()
    return "/workitems/" in path or "transaction" in text or "00081195" in text


def _printable(data: bytes) -> str:
    """Return bytes as text, other characters than printable ASCII percent-encoded, as metadata of gRPC require."""
    text = data.decode("latin-1")
    if text.isascii() and text.isprintable():
        return text
    return _NOT_IN_METADATA.sub(lambda one: f"%{ord(one[0]):02X}", text)
