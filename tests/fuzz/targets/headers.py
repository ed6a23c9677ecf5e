"""Headers that determine addresses and ranges: Host, Origin, Forwarded, X-Forwarded-*, Range, Cookie; paths of share
links and of logins; UIDs; addresses of settings.

The input is lines `name: value` in Latin-1, of which each is also used alone.
"""

import ipaddress
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from cli.addresses import parse_address
from common.sealing import Sealer
from facade import proxies
from facade.browsers.hosts import Hosts, host_name
from facade.browsers.origins import Origins, is_own
from facade.config import Settings
from facade.errors import Refusal
from facade.request.addresses import parse_uid, root_of
from facade.request.query import prefers_strict, require_utf8
from facade.request.ranges import content_range, range_applies, range_of
from facade.sessions.cookies import cookies_of
from facade.sessions.login import local_path
from facade.sessions.session import Sessions
from facade.sharing.paths import WHOLE_TOKEN, SharePaths
from tests.fuzz.target import require

_TRUSTED = "10.0.0.0/8"
_APP = SimpleNamespace(state=SimpleNamespace(settings=Settings(trusted_proxies=_TRUSTED)))
_HOSTS = Hosts(bound="127.0.0.1:8080", public_url="https://pacs.example/dicom", allowed=["*.dicom.example"])
_ORIGINS = Origins(["loopback"])
_SEALER = Sealer(["key", "older"])
_SESSIONS = Sessions(_SEALER, idle_s=60, max_s=60)
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

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
    "origin: http://localhost:3000\nhost: localhost:8080",
    "origin: https://pacs.example\nhost: evil.pacs.example.",
    "/share/dcms_AAAA/v2/studies/1.2\nauthorization: Bearer x\ncookie: dicomstore-share=dcms_BBBB",
    "/shared/00112233445566778899aabbccddeeff/v1/studies\ncookie: a=b; __Secure-dicomstore-share=dcms_C; x=y",
    "cookie: dicomstore-session=AAAA; dicomstore-session-1=BBBB; x=y\nx-forwarded-for: 192.0.2.7, 10.0.0.1",
    "/viewer?StudyInstanceUIDs=1.2\n//evil.example/\n/\\evil.example",
    "/share/dcms_A/../v2/\n/share/dcms_A%2Fv2/studies",
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
    _check_origin(dict(headers))
    _check_cookies(headers)
    for line in lines[:8]:
        _check_text(line)
        _check_share_path(line, headers)


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


def _check_cookies(headers: list[tuple[bytes, bytes]]) -> None:
    present = cookies_of({"type": "http", "headers": headers})
    for is_https in (True, False):
        require(_SESSIONS.of(present, is_https=is_https) is None, "only sealed cookies are sessions")
    sealed = _SEALER.seal("session", 1, ["content"])
    require(_SEALER.open("session", 1, sealed) == ["content"], "a sealed cookie can be opened")
    for text in present.values():
        require(_SEALER.open("session", 1, text) is None, "only sealed cookies can be opened")
        require(not text or _SEALER.open("session", 1, sealed + text) is None, "changed cookies cannot be opened")
    listed = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    require(_is_ip(proxies.client_of("10.0.0.9", listed, _TRUSTED)), "the client behind proxies has an address")


def _check_text(text: str) -> None:
    path = local_path(text)
    require(urlsplit(urljoin("https://a.example/login", path)).netloc == "a.example", "a login returns to this service")
    require(path.startswith("/") and path[1:2] not in ("/", "\\"), "a login returns to this service")
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


def _check_origin(headers: dict[bytes, bytes]) -> None:
    host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
    name = host_name(host)
    is_known = name == "pacs.example" or name.endswith(".dicom.example") or name == "localhost" or _is_ip(name)
    require(_HOSTS.accepts(host) == is_known, "only names of the service and addresses are hosts")
    if _ORIGINS.allows(origin):
        netloc = urlsplit(origin).netloc
        require(netloc.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]", "") or netloc in _LOOPBACK, "origins")
    if is_own(origin, [host]):
        require(host_name(urlsplit(origin).netloc) == host_name(host), "an own origin has the name of the host")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_share_path(path: str, headers: list[tuple[bytes, bytes]]) -> None:
    if "%2f" in path.lower():
        return  # the guard has refused it
    served: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope)

    raw = path.encode("latin-1")
    scope = {"type": "http", "path": unquote(path), "raw_path": raw, "headers": headers}
    try:
        SharePaths(app)({**scope}, _nothing, _nothing).send(None)
    except StopIteration:
        [found] = served
    if found["path"] != scope["path"]:
        credentials = [value for name, value in found["headers"] if name in (b"authorization", b"cookie")]
        require(len(credentials) == 1 and credentials[0].startswith(b"Bearer dcms_"), "only the link is a credential")
        token = credentials[0].removeprefix(b"Bearer ").decode()
        require(token == "dcms_" or WHOLE_TOKEN.fullmatch(token) is not None, "a credential is a token")
        require(found["path"].startswith("/v") and found["raw_path"].startswith(b"/v"), "a path has a version")
        require(unquote(found["raw_path"].decode("latin-1")) == found["path"], "both forms of a path are the same")
    else:
        require(found["headers"] == headers, "other paths are unchanged")


async def _nothing(*_: object) -> Any:
    raise AssertionError("nothing is received or sent")
