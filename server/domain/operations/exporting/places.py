"""Destinations in requests: parsed, checked against the configuration, and without their credentials."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import SplitResult, urlsplit

from server.model.errors import InvalidRequest, Reason
from server.model.lifecycle.export import AzureContainer, Credentials, Folder, GcsBucket, Place, S3Bucket
from server.model.operation import Json

_EMULATOR = "devstoreaccount1"
_EMULATOR_ENDPOINT = f"http://127.0.0.1:10000/{_EMULATOR}"
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of the storage emulator is the same everywhere, and published."""

_CONTAINER = re.compile(r"\$root|\$web|[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){2,62}")
_ACCOUNT = re.compile(r"[a-z0-9-]{3,64}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_NAME = re.compile(r"[A-Za-z0-9._=@ +-]{1,200}")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_MAX_SECRET_LENGTH = 32 << 10


@dataclass(frozen=True, slots=True)
class ExportPolicy:
    """What the configuration permits.

    has_sas: shared access signatures.
    has_anonymous: containers and buckets that anybody can write to.
    has_http: unencrypted connections, also to other machines than this one.
    folders: the folders below which files may be written.
    """

    has_sas: bool = True
    has_anonymous: bool = False
    has_http: bool = False
    folders: Sequence[str] = ()


def destination_of(request: Json) -> tuple[Place, Credentials]:
    """Return the destination of a request and its credentials; of a recorded request without these.

    Raises:
        InvalidRequest: INVALID_FIELD.
    """
    given = [name for name in ("azure_blob", "s3", "gcs", "folder") if name in request]
    if len(given) != 1:
        raise _invalid("destination", "The destination of the export is missing.")
    return _PARSERS[given[0]](request[given[0]])


def check(place: Place, credentials: Credentials, policy: ExportPolicy) -> None:
    """Check a destination against the configuration. Raises: InvalidRequest, INVALID_FIELD."""
    if isinstance(place, Folder):
        if not any(PurePosixPath(place.path).is_relative_to(folder) for folder in policy.folders):
            raise _invalid("destination", "The folder is not one of those to which exports are permitted.")
        return
    if not credentials and (not policy.has_anonymous or isinstance(place, GcsBucket)):
        raise _invalid("destination", "Public containers and buckets are not permitted: credentials are missing.")
    if "sas_token" in credentials and not policy.has_sas:
        raise _invalid("destination", "Shared access signatures are not permitted.")
    if isinstance(place, GcsBucket):
        return
    url = urlsplit(place.endpoint)
    if url.scheme == "http" and not policy.has_http and not _is_loopback(url.hostname or ""):
        raise _invalid("destination", "The URL of the destination must begin with https.")


def without_credentials(request: Json, place: Place) -> dict[str, Any]:
    """Return a request to record."""
    kept = {name: value for name, value in request.items() if name not in _PARSERS}
    if isinstance(place, AzureContainer):
        return kept | {"azure_blob": {"container_uri": place.url}}
    if isinstance(place, S3Bucket):
        settings = {"bucket": place.bucket, "prefix": place.prefix, "endpoint": place.endpoint, "region": place.region}
        return kept | {"s3": settings | {"virtual_hosted_style": place.has_bucket_in_host}}
    if isinstance(place, GcsBucket):
        return kept | {"gcs": {"bucket": place.bucket, "prefix": place.prefix}}
    return kept | {"folder": {"path": place.path}}


def _azure(settings: Mapping[str, Any]) -> tuple[Place, Credentials]:
    uri, connection = settings.get("container_uri", ""), settings.get("connection_string", "")
    name = settings.get("container_name", "")
    if bool(uri) == bool(connection):
        message = "Either blobContainerUri, or connectionString and blobContainerName, must be given."
        raise _invalid("destination", message)
    if uri and name:
        raise _invalid("destination", "blobContainerName must not be given together with blobContainerUri.")
    if connection and not name:
        raise _invalid("destination", "blobContainerName is missing.")
    place, credentials = _azure_connection(connection, name) if connection else _azure_url(uri)
    if settings.get("use_managed_identity"):
        if connection or credentials:
            message = "useManagedIdentity must not be given together with a connection string or a signature."
            raise _invalid("destination", message)
        raise _invalid("destination", "This archive has no managed identity.")
    return place, credentials


def _azure_url(text: str) -> tuple[AzureContainer, Credentials]:
    url = _url(text, "blobContainerUri")
    *accounts, container = url.path.strip("/").split("/")
    host = url.hostname or ""
    if len(accounts) > 1 or not _CONTAINER.fullmatch(container):
        raise _invalid("destination", "blobContainerUri is not the URL of a container.")
    account = accounts[0] if accounts else host.partition(".")[0]
    if not _ACCOUNT.fullmatch(account):
        raise _invalid("destination", "blobContainerUri is not the URL of a container.")
    endpoint = "/".join((_origin(url), *accounts))
    return AzureContainer(endpoint, account, container), _secrets(sas_token=url.query)


def _azure_connection(text: str, container: str) -> tuple[AzureContainer, Credentials]:
    fields: dict[str, str] = {}
    for field in filter(None, map(str.strip, text.split(";"))):
        key, separator, value = field.partition("=")
        if not separator or key.strip().lower() in fields:
            raise _invalid("destination", "The connection string is invalid.")
        fields[key.strip().lower()] = value.strip()
    if not _CONTAINER.fullmatch(container):
        raise _invalid("destination", "blobContainerName is not the name of a container.")
    if fields.get("usedevelopmentstorage", "").lower() == "true":
        fields = {"blobendpoint": _EMULATOR_ENDPOINT, "accountname": _EMULATOR, "accountkey": _EMULATOR_KEY}
    account, key = fields.get("accountname", ""), fields.get("accountkey", "")
    if key and account != _EMULATOR:
        raise _invalid("destination", "The connection string must not contain an account key.")
    endpoint = fields.get("blobendpoint", "")
    if not endpoint and account:
        suffix = fields.get("endpointsuffix", "core.windows.net")
        endpoint = f"{fields.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix}"
    url = _url(endpoint, "connectionString")
    path = url.path.strip("/")
    account = account or path or (url.hostname or "").partition(".")[0]
    if url.query or "/" in path or not _ACCOUNT.fullmatch(account):
        raise _invalid("destination", "The connection string is invalid.")
    place = AzureContainer("/".join(filter(None, (_origin(url), path))), account, container)
    signature = fields.get("sharedaccesssignature", "").removeprefix("?")
    return place, _secrets(account_key=key) if key else _secrets(sas_token=signature)


def _s3(settings: Mapping[str, Any]) -> tuple[Place, Credentials]:
    region = settings.get("region", "") or "us-east-1"
    if not _REGION.fullmatch(region):
        raise _invalid("destination", "region is invalid.")
    endpoint = settings.get("endpoint", "") or f"https://s3.{region}.amazonaws.com"
    url = _url(endpoint, "endpoint")
    if url.path.strip("/") or url.query:
        raise _invalid("destination", "endpoint is the URL of a service, without path and query.")
    place = S3Bucket(
        _origin(url),
        region,
        _bucket(settings),
        _prefix(settings),
        has_bucket_in_host=bool(settings.get("virtual_hosted_style")),
    )
    names = ("access_key_id", "secret_access_key", "session_token")
    credentials = _secrets(**{name: settings.get(name, "") for name in names})
    if credentials and not {"access_key_id", "secret_access_key"} <= credentials.keys():
        raise _invalid("destination", "accessKeyId and secretAccessKey must be given together.")
    return place, credentials


def _gcs(settings: Mapping[str, Any]) -> tuple[Place, Credentials]:
    key = settings.get("service_account_key", "")
    try:
        fields = json.loads(key)
        is_key = isinstance(fields["client_email"], str) and isinstance(fields["private_key"], str)
    except (ValueError, TypeError, KeyError):
        is_key = False
    if not is_key and "service_account_key" in settings:
        raise _invalid("destination", "serviceAccountKey is not the JSON key of a service account.")
    return GcsBucket(_bucket(settings), _prefix(settings)), _secrets(service_account_key=key)


def _folder(settings: Mapping[str, Any]) -> tuple[Place, Credentials]:
    path = str(settings.get("path", ""))
    parts = path.split("/")[1:]
    if not path.startswith("/") or path.startswith("//") or "\0" in path or {".", ".."} & set(parts):
        raise _invalid("destination", "path is an absolute path without '.' and '..'.")
    return Folder(str(PurePosixPath(path))), {}


_PARSERS = {"azure_blob": _azure, "s3": _s3, "gcs": _gcs, "folder": _folder}


def _url(text: str, field: str) -> SplitResult:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise _invalid("destination", f"{field} is not a URL.") from None
    host = url.netloc.removesuffix("" if port is None else f":{port}")
    is_url = url.scheme in ("http", "https") and _HOST.fullmatch(host) and text.isascii() and text.isprintable()
    if not is_url or url.fragment or "%" in url.path or "\\" in text or " " in text:
        raise _invalid("destination", f"{field} is not a URL of a service with http or https.")
    return url


def _origin(url: SplitResult) -> str:
    return f"{url.scheme}://{url.netloc.lower()}"


def _bucket(settings: Mapping[str, Any]) -> str:
    bucket = str(settings.get("bucket", ""))
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise _invalid("destination", "bucket is missing, or is not the name of a bucket.")
    return bucket


def _prefix(settings: Mapping[str, Any]) -> str:
    prefix = str(settings.get("prefix", "")).strip("/")
    parts = prefix.split("/") if prefix else []
    if not all(_NAME.fullmatch(part) and part not in (".", "..") for part in parts) or len(prefix) > 400:
        raise _invalid("destination", "prefix consists of names of letters, digits and ._=@ +-, separated by '/'.")
    return prefix


def _secrets(**secrets: str) -> dict[str, str]:
    given = {name: value for name, value in secrets.items() if value}
    for name, value in given.items():
        # All but the JSON document become part of a header or a URL, where control characters cannot be sent.
        is_text = name == "service_account_key" or value.isprintable()
        if len(value) > _MAX_SECRET_LENGTH or not value.isascii() or not is_text:
            raise _invalid("destination", "The credentials are invalid.")
    return given


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
