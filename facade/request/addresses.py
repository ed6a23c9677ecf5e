"""Resources as URLs name them: from the path of a request to an address of the contract, and back to absolute URLs."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from dicomstore.v1.resources_pb2 import Address
from starlette.datastructures import Headers
from starlette.requests import Request

from facade.config import Settings, comma_list
from facade.errors import Refusal

_UID = re.compile(r"[0-9.]{0,63}[0-9]")
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_FORWARDED_PAIR = re.compile(r'\s*(\w+)=(?:"([^"]*)"|([^;,"\s]*))\s*(?:;|$)')

_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

_TELLING = {name.encode() for name in ("host", "x-forwarded-prefix", "x-forwarded-port", *_PROXY_HEADERS)}
"""Headers that say under which address the client sees us."""

_UID_NAMES = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}


def resource_of(request: Request) -> Address:
    """Return what the path names; what it leaves out stays empty.

    Raises:
        Refusal: 400, an identifier is not a UID (spec/store.md section 5).
    """
    path = request.path_params
    uids = {key: parse_uid(path[key], name) for key, name in _UID_NAMES.items() if key in path}
    return Address(
        partition=partition_of(request),
        study_instance_uid=uids.get("study", ""),
        series_instance_uid=uids.get("series", ""),
        sop_instance_uid=uids.get("instance", ""),
    )


def partition_of(request: Request) -> str:
    """Return the partition of the path, empty when it has none. The core knows whether that is right."""
    partition: str = request.path_params.get("partition", "")
    return partition


def parse_uid(text: str, name: str) -> str:
    """Return a UID of a URL, without spaces at its end.

    Raises:
        Refusal: 400, it is none; the text says which, by `name`.
    """
    trimmed = text.rstrip(" ")
    if not _UID.fullmatch(trimmed):
        raise Refusal(400, f"{name} is not a valid UID.")
    return trimmed


@dataclass(frozen=True, slots=True)
class Urls:
    """Absolute URLs below one base, which ends with the version and, if there is one, the partition."""

    base: str

    def study(self, study: str) -> str:
        """Return the URL of a study."""
        return f"{self.base}/studies/{study}"

    def series(self, study: str, series: str) -> str:
        """Return the URL of a series."""
        return f"{self.base}/studies/{study}/series/{series}"

    def instance(self, study: str, series: str, instance: str) -> str:
        """Return the URL of an instance."""
        return f"{self.base}/studies/{study}/series/{series}/instances/{instance}"


def urls_of(request: Request) -> Urls:
    """Return the URLs that the client of this request can use, with its version and partition."""
    return urls_in(request, partition_of(request))


def urls_in(request: Request, partition: str) -> Urls:
    """Return the URLs of resources in another partition than the request's; empty is the only one there is."""
    base = f"{root_of(request)}/{request.path_params['version'].name}"
    return Urls(f"{base}/partitions/{quote(partition, safe='')}" if partition else base)


def root_of(request: Request) -> str:
    """Return the URL, without a slash at its end, below which the client sees this service."""
    settings: Settings = request.app.state.settings
    return settings.public_url.rstrip("/") or _visible_root(request, settings.trusted_proxies)


def _visible_root(request: Request, trusted: str) -> str:
    """Return scheme, host and prefix as the client sees them; what it says about itself must look like a host."""
    scope = request.scope
    telling = tuple(header for header in scope["headers"] if header[0] in _TELLING)
    client = request.client.host if request.client else ""
    return _root(scope["scheme"], client, tuple(scope.get("server") or ("localhost", None)), telling, trusted)


@lru_cache(256)
def _root(
    own_scheme: str,
    client: str,
    server: tuple[str, int | None],
    telling: tuple[tuple[bytes, bytes], ...],
    trusted: str,
) -> str:
    headers = Headers(raw=list(telling))
    scheme, host, prefix = own_scheme, headers.get("host", ""), ""
    if _is_trusted(client, trusted):
        forwarded = _forwarded(headers)
        scheme = forwarded.get("proto", scheme)
        host = forwarded.get("host", host)
        prefix = forwarded.get("prefix", "").rstrip("/")
    if scheme not in ("http", "https"):
        scheme = own_scheme
    address, port = server
    if not _HOST.fullmatch(host):
        host = f"{address}:{port}" if port else address
    elif _lost_its_port(host, address, headers):
        host = f"{host}:{port}"
    return f"{scheme}://{host}{prefix}"


def _lost_its_port(host: str, address: str, headers: Mapping[str, str]) -> bool:
    """Say whether a direct client left the port out of Host, as the Python DICOMweb client does.

    That is certain only if Host names the very socket that the request came in by: a name may as well be that of
    a proxy, or of another port that is mapped to ours.
    """
    if any(name in headers for name in _PROXY_HEADERS):
        return False
    return host.strip("[]") == address or (host == "localhost" and address in ("127.0.0.1", "::1"))


@lru_cache(1024)
def _is_trusted(client: str, trusted: str) -> bool:
    networks = comma_list(trusted)
    if "*" in networks:
        return True
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return `proto`, `host` and `prefix` as the outermost proxy wrote them: RFC 7239, or the X- headers before it."""
    first = headers.get("forwarded", "").split(",")[0]
    found = {key.lower(): quoted or bare for key, quoted, bare in _FORWARDED_PAIR.findall(first)}
    for key in ("proto", "host", "prefix"):
        if value := headers.get(f"x-forwarded-{key}", "").split(",")[0].strip():
            found.setdefault(key, value)
    port = headers.get("x-forwarded-port", "").strip()
    if "host" in found and port.isdecimal() and ":" not in found["host"]:
        default = {"http": "80", "https": "443"}.get(found.get("proto", ""))
        found["host"] += "" if port == default else f":{port}"
    if not _PREFIX.fullmatch(found.get("prefix", "")):
        del found["prefix"]
    return found
