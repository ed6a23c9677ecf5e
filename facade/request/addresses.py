"""Mapping between URLs and addresses of the contract: paths of requests, and absolute URLs in responses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from dicomstore.v1.resources_pb2 import Address
from starlette.datastructures import Headers
from starlette.requests import Request

from facade import proxies
from facade.config import Settings
from facade.errors import Refusal
from facade.prefixes import path_prefix
from facade.request.query import integer, parameters_of

_UID = re.compile(r"[0-9.]{0,63}[0-9]")

_ADDRESS_HEADERS = {name.encode() for name in ("host", "x-forwarded-prefix", "x-forwarded-port", *proxies.NAMES)}
"""Headers that determine the address of the service as seen by the client."""

_UID_NAMES = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}


def resource_of(request: Request) -> Address:
    """Return the resource of the path; levels below it are empty.

    Raises:
        Refusal: 400, an identifier is not a UID (PS3.5 section 9.1).
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
    """Return the partition of the path, or "" if it has none. The core checks whether one is required."""
    partition: str = request.path_params.get("partition", "")
    return partition


def parse_uid(text: str, name: str) -> str:
    """Return a UID from a URL without trailing spaces.

    Raises:
        Refusal: 400, it is not a UID; the text contains `name`.
    """
    trimmed = text.rstrip(" ")
    if not _UID.fullmatch(trimmed):
        raise Refusal(400, f"{name} is not a valid UID.")
    return trimmed


@dataclass(frozen=True, slots=True)
class Urls:
    """Absolute URLs below a base that ends with the version and, if there is one, the partition."""

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

    def resource(self, resource: Address) -> str:
        """Return the URL of a study, series or instance; of a partition, the base."""
        levels = (
            ("studies", resource.study_instance_uid),
            ("series", resource.series_instance_uid),
            ("instances", resource.sop_instance_uid),
        )
        return self.base + "".join(f"/{level}/{uid}" for level, uid in levels if uid)


def urls_of(request: Request) -> Urls:
    """Return the URLs of resources in the version and partition of this request."""
    return urls_in(request, partition_of(request))


def urls_in(request: Request, partition: str) -> Urls:
    """Return the URLs of resources in a given partition; "" if partitions are disabled."""
    base = f"{root_of(request)}/{request.path_params['version'].name}"
    return Urls(f"{base}/partitions/{quote(partition, safe='')}" if partition else base)


def root_of(request: Request) -> str:
    """Return the base URL of this service as seen by the client, without a trailing slash.

    Below the path of a share link it includes that path, so that the client can use the URLs in the response.
    """
    return service_root(request) + path_prefix(request.scope)


def service_root(request: Request) -> str:
    """Return the base URL of this service without the path of a share link."""
    settings: Settings = request.app.state.settings
    return settings.public_url.rstrip("/") or _visible_root(request, settings.trusted_proxies)


def _visible_root(request: Request, trusted: str) -> str:
    """Return scheme, host and prefix as seen by the client; a malformed Host header is ignored."""
    scope = request.scope
    headers = tuple(header for header in scope["headers"] if header[0] in _ADDRESS_HEADERS)
    client = request.client.host if request.client else ""
    return _root(scope["scheme"], client, tuple(scope.get("server") or ("localhost", None)), headers, trusted)


@lru_cache(256)
def _root(
    own_scheme: str,
    client: str,
    server: tuple[str, int | None],
    address_headers: tuple[tuple[bytes, bytes], ...],
    trusted: str,
) -> str:
    headers = Headers(raw=list(address_headers))
    scheme, host, prefix = own_scheme, headers.get("host", ""), ""
    if proxies.is_trusted(client, trusted):
        forwarded = proxies.forwarded(headers)
        scheme = forwarded.get("proto", scheme)
        host = forwarded.get("host", host)
        prefix = forwarded.get("prefix", "").rstrip("/")
    if scheme not in ("http", "https"):
        scheme = own_scheme
    address, port = server
    if not proxies.is_host(host):
        host = f"{address}:{port}" if port else address
    elif _lost_its_port(host, address, headers):
        host = f"{host}:{port}"
    return f"{scheme}://{host}{prefix}"


def _lost_its_port(host: str, address: str, headers: Mapping[str, str]) -> bool:
    """Return whether a direct client omitted the port from Host, as the Python DICOMweb client does.

    This is certain only if Host is the address of the socket that received the request; any other name may belong to a
    proxy, or to a mapped port.
    """
    if any(name in headers for name in proxies.NAMES):
        return False
    return host.strip("[]") == address or (host == "localhost" and address in ("127.0.0.1", "::1"))


ORIGINAL = -1
"""As a version in requests to the core: the one before the first update."""

ORIGINAL_HEADER = "msdicom-request-original"


def version_of(request: Request) -> int:
    """Return the parameter `version`; without it `ORIGINAL` if the header `msdicom-request-original` is `true`, in any
    case; else 0, the current one.

    Raises:
        Refusal: 400, the parameter is not a number from 1.
    """
    if b"version" in request.scope["query_string"].lower():
        version = integer(parameters_of(request), "version", 0, 1)
        if version:
            return version
    return ORIGINAL if request.headers.get(ORIGINAL_HEADER, "").strip().lower() == "true" else 0
