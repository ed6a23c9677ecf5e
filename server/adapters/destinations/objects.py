"""Objects in containers and buckets of Azure Blob Storage, S3 and Google Cloud Storage.

The library is `obstore`, with its synchronous functions only: its asynchronous ones can abort the interpreter when it
exits. It takes what it is not told from the environment, which has the credentials of the archive's own store; so the
endpoint is always given, and credentials come from a function, which takes precedence over all others.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from server.adapters.destinations.google_tokens import GoogleTokens
from server.adapters.destinations.writing import PART_BYTES
from server.model.buffer import Buffer
from server.model.lifecycle.export import AzureContainer, Credentials, GcsBucket, S3Bucket
from server.ports.lifecycle.exports import DestinationError

_STATUS = re.compile(r"(?:status(?: code)?|Client error with status)[ :]+(\d{3})", re.IGNORECASE)
_PASSING = (408, 409, 425, 429)
_REFUSED = ("PermissionDeniedError", "UnauthenticatedError")
_RETRY: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 3},
}
_CONTENT_TYPES = {"dcm": "application/dicom", "jsonl": "application/x-ndjson"}


class ObjectTarget:
    """`server.adapters.destinations.writing.Target` in a container or bucket.

    Args:
        proxy_port: port of the proxy on the loopback address, see `gate`.
        was_refused: returns whether the proxy has refused a connection.
    """

    def __init__(
        self,
        place: AzureContainer | S3Bucket | GcsBucket,
        credentials: Credentials,
        proxy_port: int,
        was_refused: Callable[[], bool],
    ) -> None:
        self._prefix = "" if isinstance(place, AzureContainer) else place.prefix
        self._was_refused = was_refused
        self._tokens: GoogleTokens | None = None
        with self._translated():
            if isinstance(place, GcsBucket):
                self._tokens = GoogleTokens(credentials["service_account_key"], proxy_port)
            self._store = _store(place, credentials, proxy_port, self._tokens)

    def put(self, path: str, data: Buffer) -> None:
        """See `Target`."""
        import obstore

        with self._translated():
            obstore.put(self._store, self._name(path), bytes(data), use_multipart=False, attributes=_attributes(path))

    def begin(self, path: str) -> "ObjectUpload":
        """See `Target`."""
        import obstore

        with self._translated():
            writer = obstore.open_writer(
                self._store,
                self._name(path),
                buffer_size=PART_BYTES,
                max_concurrency=1,
                attributes=_attributes(path),
            )
        return ObjectUpload(writer, self._translated)

    def clean_up(self, path: str) -> None:
        """See `Target`. Nothing is visible before it is complete; the store discards incomplete uploads by itself."""

    def _name(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise DestinationError instead of the errors of the library, whose texts contain URLs and signatures."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the library raises many types
            if self._was_refused():
                raise DestinationError("The address of the destination is not permitted.", may_pass=False) from None
            if self._tokens is not None and self._tokens.is_unreachable:
                raise DestinationError("Google's service for tokens cannot be reached.", may_pass=True) from None
            raise _error(error) from None


class ObjectUpload:
    """`server.adapters.destinations.writing.Upload` of an object."""

    def __init__(self, writer: Any, translated: Callable[[], Any]) -> None:
        self._writer = writer
        self._translated = translated

    def write(self, data: Buffer) -> None:
        """See `Upload`."""
        with self._translated():
            self._writer.write(bytes(data))

    def commit(self) -> None:
        """See `Upload`."""
        with self._translated():
            self._writer.close()

    def abort(self) -> None:
        """See `Upload`."""
        with suppress(Exception):
            self._writer.__exit__(InterruptedError, InterruptedError(), None)


def _store(
    place: AzureContainer | S3Bucket | GcsBucket,
    credentials: Credentials,
    proxy_port: int,
    tokens: GoogleTokens | None,
) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    options: Any = {
        "proxy_url": f"http://127.0.0.1:{proxy_port}",
        "allow_http": True,  # the request has been checked
        "timeout": "120s",
        "connect_timeout": "10s",
        "http1_only": True,
    }
    is_anonymous = not credentials
    common: Any = {"client_options": options, "retry_config": _RETRY}
    if isinstance(place, AzureContainer):
        config: Any = {
            "azure_storage_account_name": place.account,
            "azure_endpoint": place.endpoint,
            "azure_storage_use_emulator": "false",
            "azure_skip_signature": str(is_anonymous).lower(),
        }
        if not is_anonymous:
            name, value = ("access_key", "account_key") if "account_key" in credentials else ("sas_token", "sas_token")
            common["credential_provider"] = lambda: {name: credentials[value], "expires_at": None}
        return AzureStore(place.container, config=config, **common)
    if isinstance(place, S3Bucket):
        config = {
            "aws_endpoint": place.service_url,
            "aws_region": place.region,
            "aws_virtual_hosted_style_request": str(place.has_bucket_in_host).lower(),
            "aws_skip_signature": str(is_anonymous).lower(),
            "aws_s3_express": "false",
        }
        if not is_anonymous:
            common["credential_provider"] = lambda: {
                "access_key_id": credentials["access_key_id"],
                "secret_access_key": credentials["secret_access_key"],
                "token": credentials.get("session_token"),
                "expires_at": None,
            }
        return S3Store(place.bucket, config=config, **common)
    common["credential_provider"] = tokens
    return GCSStore(place.bucket, **common)


def _attributes(path: str) -> Any:
    content_type = _CONTENT_TYPES.get(path.rpartition(".")[2])
    return {"Content-Type": content_type} if content_type else None


def _error(error: Exception) -> DestinationError:
    """Return the error for one of the library. Its text is examined, but never passed on."""
    name, text = type(error).__name__, str(error)
    found = _STATUS.search(text)
    status = int(found[1]) if found else 0
    if name in _REFUSED or status in (401, 403):
        return DestinationError("The destination refuses access with these credentials.", may_pass=False)
    if isinstance(error, FileNotFoundError) or name == "NotFoundError" or status == 404:
        return DestinationError("The container or bucket of the destination does not exist.", may_pass=False)
    if 300 <= status < 500 and status not in _PASSING:
        return DestinationError(f"The destination refuses the request with status {status}.", may_pass=False)
    if isinstance(error, ValueError | TypeError):
        return DestinationError("The settings of the destination are invalid.", may_pass=False)
    cause = f"status {status}" if status else "no response"
    return DestinationError(f"The destination cannot be reached ({cause}).", may_pass=True)
