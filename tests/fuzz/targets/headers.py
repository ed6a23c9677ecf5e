"""Headers that determine addresses and ranges: Host, Forwarded, X-Forwarded-*, Range; UIDs; addresses of settings.

The input is lines `name: value` in Latin-1, of which each is also used alone.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

from starlette.requests import Request

from cli.addresses import parse_address
from facade import proxies
from facade.config import Settings
from facade.errors import Refusal
from facade.request.addresses import parse_uid, root_of
from facade.request.query import prefers_strict, require_utf8
from facade.request.ranges import content_range, range_applies, range_of
from tests.fuzz.target import require

_TRUSTED = "10.0.0.0/8"
_APP = SimpleNamespace(state=SimpleNamespace(settings=Settings(trusted_proxies=_TRUSTED)))

_HEADS = [
    'host: pacs.example\nforwarded: for=192.0.2.1;proto=https;host="pacs.example:8443", for=10.0.0.1',
    "host: [::1]:8080\nx-forwarded-proto: https\nx-forwarded-host: a.example\nx-forwarded-port: 443",
    "x-forwarded-prefix: /dicom/\nx-forwarded-port: 8080\nx-forwarded-host: a.example, b.example",
    'forwarded: host="a b";proto=javascript;prefix=/x\nhost: 127.0.0.1',
    'range: bytes=0-99\nif-range: "tag"',
    "range: bytes=-5",
    "range: bytes = 10 - \nprefer: handling=strict, respond-async",
    "range: bytes=0-1,5-6\naccept-charset: utf-8;q=0, *",
    "range: bytes=999999999999999999-",
    "1.2.840.10008.1.2\n127.0.0.1:8080\n[::1]:50051\n::ffff:10.0.0.1\nfe80::1%eth0",
    'forwarded: for="[2001:db8::1]:4711";by=_hidden\nvia: 1.1 proxy',
]


def seeds() -> Iterator[bytes]:
    """Yield headers of clients and proxies, and malformed ones."""
    for text in _HEADS:
        yield text.encode()


def check(data: bytes) -> None:
    """Check that any headers give a safe URL and a range within the body."""
    lines = data.decode("latin-1").split("\n")
    headers = [
        (name.strip().lower().encode("latin-1"), value.strip().encode("latin-1"))
        for name, colon, value in (line.partition(":") for line in lines)
        if colon
    ]
    for client in ("10.1.2.3", "192.0.2.1"):
        _check_url(_request(headers, client))
    plain = [header for header in headers if header[0] == b"host"]
    if not any(name.decode("latin-1") in proxies.NAMES for name, _ in headers):
        urls = {root_of(_request(given, "192.0.2.1")) for given in (headers, plain)}
        require(len(urls) == 1, "only a trusted proxy changes the address of the service")
    _check_range(_request(headers, "192.0.2.1"))
    for line in lines[:8]:
        _check_text(line)


def _request(headers: list[tuple[bytes, bytes]], client: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "server": ("127.0.0.1", 8080),
            "client": (client, 40000),
            "headers": headers,
            "query_string": b"",
            "app": _APP,
        }
    )


def _check_url(request: Request) -> None:
    url = root_of(request)
    require(url.isascii() and url.isprintable() and not set(url) & set(" <>\"'\\`{}"), "a generated URL is safe")
    parts = urlsplit(url)
    require(parts.scheme in ("http", "https"), "a generated URL is HTTP")
    require(proxies.is_host(parts.netloc), "a generated URL names a host")
    require(not parts.query and not parts.fragment and "//" not in parts.path, "a generated URL ends with a prefix")


def _check_range(request: Request) -> None:
    found = range_of(request)
    range_applies(request, '"tag"')
    prefers_strict(request)
    try:
        require_utf8(request)
    except Refusal as refusal:
        require(refusal.status == 406, "no character set is 406")
    for size in (0, 1, 100, 2**40):
        part = found.within(size) if found else None
        if part is not None:
            end = part.offset_bytes + part.length_bytes
            require(0 <= part.offset_bytes < end <= size, "a range is not empty and in the body")
            require(content_range(part, size).startswith("bytes "), "a range has a header")
    if found and not found.needs_size:
        found.for_core().SerializeToString()


def _check_text(text: str) -> None:
    try:
        uid = parse_uid(text, "StudyInstanceUID")
        require(0 < len(uid) <= 64 and set(uid) <= set("0123456789."), "a UID of a path has its characters")
    except Refusal as refusal:
        require(refusal.status == 400, "a malformed UID is 400")
    try:
        address = parse_address(text)
        require(parse_address(str(address)) == address, "an address can be written and read")
    except ValueError:
        pass
    try:
        proxies.address_of(text)
    except ValueError:
        require(not proxies.is_trusted(text, _TRUSTED), "what is not an address is not trusted")
