"""Blocking access to the objects of one bucket, with the errors of the ports.

All functions block; call them on a thread, never on the event loop. The library is `obstore`, with its synchronous
functions only: its asynchronous ones can abort the interpreter when it exits. It is imported when a client is first
used, so that processes with local files pay nothing for it. A client can't be used after `fork`.

Object names are relative to the prefix of the URL. They consist of segments of letters, digits and `-_.=~@`, separated
by `/`.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from common.telemetry.catalogue import OBJECT_BYTES, OBJECT_REQUESTS, OBJECT_RETRIES, OBJECT_SECONDS
from common.telemetry.tracing import CLIENT, part
from server.adapters.blobs.objects.calls import calls
from server.adapters.blobs.objects.plain_ranges import LEAST_BYTES, PlainRanges
from server.model.buffer import Buffer
from server.model.errors import DicomStoreError, Exhausted, Reason, Unavailable

SCHEMES = frozenset({"s3", "az", "gs"})
"""URL schemes of object stores: Amazon S3 and compatible services, Azure Blob Storage, Google Cloud Storage."""

MIN_PART_BYTES = 5 << 20
"""Smallest part of a multipart upload except the last one (S3)."""

_TIMEOUT_SECONDS = 30
_CONNECT_SECONDS = 5
_SIGNED_FOR = timedelta(minutes=15)
_RETRIES = 4
"""Retries of one request: after status 408, 429 and 5xx, and broken connections. Those of lists and of parts of large
objects are the library's, because it alone knows what has to be repeated."""

_RETRY_SECONDS, _MAX_RETRY_SECONDS, _RETRY_FACTOR = 0.05, 2.0, 3
"""Pause before the first retry, the longest pause, and by what it grows."""

_SHORT_SECONDS = 1.0
"""A request that fails without a status after more than this has probably waited for a response in vain."""

_ATTEMPTS = 3
"""Attempts of an operation. A request whose effect is unknown, as after a timeout, is retried only here."""

_COMPARISONS = 5
"""Reads of an object before its content counts as different: bytes may change on the way."""

_PAUSE_SECONDS = 0.3
_STATUS = re.compile(r"status[ :]+(?:code:? )?(\d{3})")
_DAMAGED_REQUEST = re.compile(r"ContentSHA256Mismatch|BadDigest|InvalidDigest|IncompleteBody|Md5Mismatch")
"""Refusals of a request whose bytes changed on the way."""

_FULL = re.compile(r"QuotaExceeded|StorageFull|InsufficientStorage|status[ :]+507")

_T = TypeVar("_T")


class NotFound(KeyError):
    """There is no object of this name."""


class Exists(Exception):
    """There is an object of this name already, with other content."""


class Changed(Exception):
    """The object is not the one that was to be replaced."""


class Listed(NamedTuple):
    """An object in a listing.

    etag: of its content; empty if the store has none.
    """

    name: str
    size_bytes: int
    last_modified: datetime
    etag: str


class ObjectClient:
    """The objects below the prefix of one URL.

        s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX
        file:///DIRECTORY, which must exist, and memory:     for tests; `replace` is not possible in files

    Credentials and endpoints come from the variables `AWS_*`, `AZURE_*` and `GOOGLE_*` of the environment.

    All methods raise, in addition to what they state:
        Unavailable: STORAGE_UNAVAILABLE, also for missing permissions and a missing bucket.
        Exhausted: STORAGE_FULL.
    No message contains a URL, a key or a signature.

    Args:
        config: settings of the library for the store, which take precedence over the environment, such as
            `access_key_id`. Never logged.
        timeout_seconds: of one request.
        attempts: of each operation; fewer report an outage sooner.
    """

    def __init__(
        self,
        url: str,
        *,
        config: Mapping[str, str] | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        attempts: int = _ATTEMPTS,
    ) -> None:
        self._url = url
        self._config = dict(config or {})
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._opened: dict[bool, Any] = {}
        self._pid = os.getpid()
        self.scheme, self.bucket, self.prefix = _parts(url)
        reads_plain = self.scheme == "s3" and not _has_proxy(self._config)
        self._plain = PlainRanges(self._signed, _CONNECT_SECONDS, timeout_seconds) if reads_plain else None

    def create(self, name: str, data: Buffer, *, storage_class: str | None = None) -> str:
        """Create an object and return its entity tag.

        An object that exists with the same content counts as created by this call: an attempt whose response was lost
        may have created it.

        Raises:
            Exists
        """
        attributes = {"Storage-Class": storage_class} if storage_class else None
        try:
            result = self._call(
                "put",
                lambda obs, store: obs.put(store, name, data, mode="create", attributes=attributes),
                sent_bytes=len(data),
            )
        except Exists:
            if (found := self._same(name, data)) is None:
                raise
            return found
        return str(result["e_tag"] or "")

    def replace(self, name: str, data: Buffer, etag: str) -> str:
        """Replace the content of an object that has the entity tag `etag`, and return the new tag.

        Raises:
            Changed: it has another tag, or does not exist.
        """
        mode = {"e_tag": etag}
        try:
            result = self._call("put", lambda obs, store: obs.put(store, name, data, mode=mode), sent_bytes=len(data))
        except (Changed, NotFound):
            if (found := self._same(name, data)) is None:
                raise Changed(name) from None
            return found
        return str(result["e_tag"] or "")

    def put(self, name: str, data: Buffer, *, storage_class: str | None = None) -> str:
        """Create an object or overwrite it, and return its entity tag."""
        attributes = {"Storage-Class": storage_class} if storage_class else None
        result = self._call(
            "put",
            lambda obs, store: obs.put(store, name, data, use_multipart=False, attributes=attributes),
            sent_bytes=len(data),
        )
        return str(result["e_tag"] or "")

    def get(self, name: str) -> tuple[bytes, str]:
        """Return the content of an object and its entity tag. Raises: NotFound."""

        def read(obs: Any, store: Any) -> tuple[bytes, str]:
            result = obs.get(store, name)
            return bytes(result.bytes()), str(result.meta["e_tag"] or "")

        found, etag = self._call("get", read)
        self._count_received(found)
        return found, etag

    def get_range(self, name: str, offset: int, length: int) -> memoryview:
        """Return `length` bytes from `offset`; fewer if the object ends before. Raises: NotFound."""
        if not length:
            return memoryview(b"")

        def read(obs: Any, store: Any) -> memoryview:
            if self._plain is not None and length >= LEAST_BYTES:
                data = self._plain.get(name, offset, length)
                if data is not None:
                    return data
            return memoryview(obs.get_range(store, name, start=offset, length=length))

        try:
            found = self._call("get", read)
        except _OutOfRange:
            return memoryview(b"")
        self._count_received(found)
        return found

    def release_memory(self) -> bool:
        """Return memory for ranges that is not in use to the system; return whether none is in use."""
        return self._plain is None or self._plain.release_memory()

    def size(self, name: str) -> int:
        """Return the size of an object in bytes. Raises: NotFound."""
        return int(self._call("head", lambda obs, store: obs.head(store, name)["size"]))

    def head(self, name: str) -> Listed:
        """Return size, time and entity tag of an object. Raises: NotFound."""
        return _listed(self._call("head", lambda obs, store: obs.head(store, name)))

    def names(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> Iterator[Listed]:
        """Yield the objects below `prefix`, which ends at a `/` of their names; requests are made as needed.

        Buckets are listed in the order of names, local files in none. Raises `InvalidName` for an object with a name
        that cannot be used, which others may have written; up to a thousand names before it are not yielded.

        after: only objects with names after this one.
        limit: most objects.
        """
        left = limit
        page = iter(())
        started = False
        while left is None or left > 0:
            if not started:
                size = 1000 if left is None else min(1000, left)
                obs, store = self._library(with_retries=True)
                page = obs.list(store, prefix or None, offset=after, chunk_size=size)
                started = True
            try:
                chunk = self.run("list", lambda: next(page, None))  # noqa: B023
            except InvalidName as error:
                raise InvalidName(error.name.removeprefix(f"{self.prefix}/" if self.prefix else "")) from None
            if chunk is None:
                return
            for found in chunk:
                listed = _listed(found)
                after = listed.name
                yield listed
                if left is not None:
                    left -= 1
                    if not left:
                        return

    def folders(self, prefix: str = "") -> list[str]:
        """Return the names of the folders directly below `prefix`: parts of object names that end before a `/`."""
        return self.folder(prefix)[1]

    def folder(self, prefix: str = "") -> tuple[list[Listed], list[str]]:
        """Return the objects directly below `prefix`, and the names of the folders, all at once."""
        found = self._call("list", lambda obs, store: obs.list_with_delimiter(store, prefix or None))
        return [_listed(one) for one in found["objects"]], [str(name) for name in found["common_prefixes"]]

    def copy(self, name: str, target: str) -> None:
        """Copy an object within the store. `target` must be the caller's own name. Raises: NotFound."""
        self._call("copy", lambda obs, store: obs.copy(store, name, target))

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, many with one request where the store can; names without an object are ignored."""
        if not names:
            return
        try:
            self._call("delete", lambda obs, store: obs.delete(store, list(names)))
        except NotFound:
            for name in names:
                try:
                    self._call("delete", lambda obs, store: obs.delete(store, name))  # noqa: B023
                except NotFound:
                    continue

    def multipart(
        self, name: str, *, part_bytes: int = MIN_PART_BYTES, storage_class: str | None = None
    ) -> "MultipartWriter":
        """Start an object that is written in parts. It appears as a whole, when it is completed."""
        attributes = {"Storage-Class": storage_class} if storage_class else None
        obs, store = self._library(with_retries=True)
        file = self.run(
            "part",
            lambda: obs.open_writer(store, name, buffer_size=part_bytes, max_concurrency=1, attributes=attributes),
        )
        return MultipartWriter(self, name, file)

    def run(self, operation: str, work: Callable[[], _T], *, sent_bytes: int = 0) -> _T:
        """Run one call of the library, once. Raises: as the class, NotFound, Exists, Changed."""
        result, started = "ok", time.perf_counter()
        try:
            with calls.running(), part(f"object {operation}", {"dicomstore.object_store": self.scheme}, CLIENT):
                found = work()
            if sent_bytes:
                OBJECT_BYTES.of(self.scheme, "sent").value += sent_bytes
            return found
        except (DicomStoreError, NotFound, Exists, Changed, _OutOfRange) as error:
            result = _result_of(error)
            raise
        except Exception as error:  # noqa: BLE001 - the library raises many, whose texts may contain secrets
            translated = _translated(error)
            result = _result_of(translated)
            raise translated from None
        finally:
            OBJECT_REQUESTS.of(self.scheme, operation, result).value += 1
            OBJECT_SECONDS.of(self.scheme, operation).observe(time.perf_counter() - started)

    def _count_received(self, data: Buffer) -> None:
        OBJECT_BYTES.of(self.scheme, "received").value += len(data)

    def _call(self, operation: str, work: Callable[[Any, Any], _T], *, sent_bytes: int = 0) -> _T:
        """Run a call of the library, and again after a failure that may be short."""
        left = self._attempts
        pause = _PAUSE_SECONDS
        while True:
            left -= 1
            try:
                return self._attempt(operation, work, sent_bytes)
            except Unavailable as error:
                if not left or not getattr(error, "is_transient", False):
                    raise
                self._wait(operation, error, pause)
            pause *= 3

    def _attempt(self, operation: str, work: Callable[[Any, Any], _T], sent_bytes: int) -> _T:
        """Run a call, and again soon after a failure of the server or the connection, but not after a timeout."""
        obs, store = self._library()
        deadline = time.monotonic() + self._timeout_seconds
        pause = _RETRY_SECONDS
        for left in range(_RETRIES, -1, -1):
            started = time.monotonic()
            try:
                return self.run(operation, lambda: work(obs, store), sent_bytes=sent_bytes)
            except _Unavailable as error:
                now = time.monotonic()
                is_short = error.is_of_server or (error.is_transient and now - started < _SHORT_SECONDS)
                if not (left and is_short and self.scheme in SCHEMES and now + pause < deadline):
                    raise
                self._wait(operation, error, pause)
            pause = min(pause * _RETRY_FACTOR, _MAX_RETRY_SECONDS)
        raise AssertionError

    def _wait(self, operation: str, error: Unavailable, seconds: float) -> None:
        """Count a retry, and wait for a random time of about `seconds`, so that many clients do not come at once."""
        OBJECT_RETRIES.of(self.scheme, operation, "throttled" if _is_throttled(error) else "failed").value += 1
        time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311

    def _library(self, *, with_retries: bool = False) -> tuple[Any, Any]:
        """Return the library and the store, which is opened when it is first used.

        Args:
            with_retries: the library repeats requests that fail.
        """
        if self._pid != os.getpid():
            raise RuntimeError("An object store can't be used after a fork.")
        import obstore

        with_retries = with_retries and self.scheme in SCHEMES
        store = self._opened.get(with_retries)
        if store is None:
            store = self._opened[with_retries] = self._open(_RETRIES if with_retries else 0)
        return obstore, store

    def _open(self, retries: int) -> Any:
        from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

        if self.scheme == "memory":
            return MemoryStore()
        if self.scheme == "file":
            return LocalStore(self.prefix)
        prefix = self.prefix or None
        config = {"timeout": f"{self._timeout_seconds}s", "connect_timeout": f"{_CONNECT_SECONDS}s"} | self._config
        retry: Any = {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=self._timeout_seconds),
            "backoff": {"init_backoff": timedelta(seconds=0.05), "max_backoff": timedelta(seconds=2), "base": 3},
        }
        kinds: Any = {"s3": S3Store, "az": AzureStore, "gs": GCSStore}
        return kinds[self.scheme](self.bucket, prefix=prefix, config=config, retry_config=retry)

    def _signed(self, name: str) -> str:
        """Return a URL with which an object can be read for a time that allows for different clocks."""
        obs, store = self._library()
        return str(obs.sign(store, "GET", name, _SIGNED_FOR))

    def _same(self, name: str, data: Buffer) -> str | None:
        """Return the entity tag of an object if its content is `data`."""
        try:
            if self.size(name) != len(data):
                return None
            for _ in range(_COMPARISONS):
                found, etag = self.get(name)
                if found == data:
                    return etag
        except NotFound:
            return None
        return None


class MultipartWriter:
    """An object that is being written. After a failure of `part` or `complete`, call `abort`.

    At most the part that is being sent and the one that is passed are held. Each part is at least `MIN_PART_BYTES`
    long, except the last one.
    """

    def __init__(self, client: ObjectClient, name: str, file: Any) -> None:
        self._client = client
        self._name = name
        self._file = file
        self._size_bytes = 0

    def part(self, data: Buffer) -> None:
        """Send the next part; returns when the one before it has been sent. The data must not change afterwards."""
        self._run(lambda: self._file.write(data), len(data))
        self._size_bytes += len(data)

    def complete(self) -> None:
        """Make the object exist.

        If the response is lost, an object of the right size counts as completed: its name must be the caller's own.
        """
        try:
            self._run(self._file.close)
        except Unavailable:
            try:
                if self._client.size(self._name) == self._size_bytes:
                    return
            except NotFound:
                pass
            raise

    def _run(self, work: Callable[[], object], sent_bytes: int = 0) -> None:
        try:
            self._client.run("part", work, sent_bytes=sent_bytes)
        except NotFound:  # the upload has ended: an earlier attempt, whose response was lost, has completed it
            raise _Unavailable(Reason.STORAGE_UNAVAILABLE, "The upload to the object store has ended.") from None

    def abort(self) -> None:
        """Discard what was sent. Never fails: a lifecycle rule of the bucket removes what can't be discarded now."""
        try:
            self._client.run("part", lambda: self._file.__exit__(_Aborted, _Aborted(), None))
        except (DicomStoreError, NotFound, Exists, Changed, _OutOfRange):
            return


class _Aborted(Exception):
    """Passed to the library when a multipart upload is discarded."""


class _OutOfRange(Exception):
    """The range begins at the end of the object or after it."""


def _has_proxy(config: Mapping[str, str]) -> bool:
    """Return whether the library uses a proxy for requests without TLS."""
    names = [name.lower() for name in (*config, *os.environ)]
    return any(name in ("http_proxy", "all_proxy") or "proxy_url" in name for name in names)


def _parts(url: str) -> tuple[str, str, str]:
    """Return scheme, bucket and prefix. Raises ValueError, whose message has only the scheme."""
    found = urlsplit(url)
    if found.scheme == "memory":
        return found.scheme, "", ""
    if found.scheme == "file" and found.path.startswith("/"):
        return found.scheme, "", unquote(found.path)
    if found.scheme not in SCHEMES or not found.netloc or "@" in found.netloc or found.query or found.fragment:
        raise ValueError(
            f"The URL of an object store with the scheme {found.scheme!r} must be {found.scheme}://BUCKET/PREFIX, "
            "without user, query and fragment."
        )
    return found.scheme, found.netloc, unquote(found.path).strip("/")


def _listed(found: Any) -> Listed:
    return Listed(str(found["path"]), int(found["size"]), found["last_modified"], str(found["e_tag"] or ""))


def _translated(error: Exception) -> Exception:
    """Return the error for one of the library. Its text is examined, but never passed on."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in text and "ContainerNotFound" not in text:
        return NotFound("There is no such object.")
    if name == "AlreadyExistsError":
        return Exists("The object exists.")
    if name == "InvalidPathError" and (invalid := _invalid_name(text)) is not None:
        return invalid
    if name == "PreconditionError":
        return Changed("The object has changed.")
    status = _STATUS.search(text)
    number = int(status[1]) if status else 0
    if number == 416 or "Invalid range" in text or "Wanted range starting at" in text:
        return _OutOfRange()
    if _FULL.search(text):
        return Exhausted(Reason.STORAGE_FULL, "The object store is full.")
    unavailable = _Unavailable(Reason.STORAGE_UNAVAILABLE, f"The object store is unavailable ({_cause(name, number)}).")
    unavailable.status = number
    unavailable.is_transient = not isinstance(error, ValueError | TypeError) and not (
        400 <= number < 500 and number not in (408, 409, 429) and not _DAMAGED_REQUEST.search(text)
    )
    return unavailable


class _Unavailable(Unavailable):
    """Attributes.

    status: of the response; 0 without one.
    is_transient: trying again may help.
    """

    status = 0
    is_transient = True

    @property
    def is_of_server(self) -> bool:
        """Whether the server has answered that it cannot serve the request now."""
        return self.status in (408, 429) or self.status >= 500


def _is_throttled(error: Exception) -> bool:
    """Return whether the server has answered that there are too many requests."""
    return isinstance(error, _Unavailable) and error.status in (429, 503)


def _result_of(error: Exception) -> str:
    """Return the result of a request for the metrics."""
    if isinstance(error, _OutOfRange):
        return "ok"
    if isinstance(error, NotFound):
        return "notFound"
    if isinstance(error, Exists | Changed):
        return "conflict"
    if isinstance(error, Exhausted):
        return "full"
    return "throttled" if _is_throttled(error) else "failed"


class InvalidName(_Unavailable):
    """A listed object has an empty segment, `.` or `..` as a segment, or a control character in its name.

    name: of the object. It may have patient data.
    """

    is_transient = False

    def __init__(self, name: str) -> None:
        super().__init__(Reason.STORAGE_UNAVAILABLE, "An object in the bucket has a name that cannot be used.")
        self.name = name


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_INVALID_NAME = re.compile(r'\bpath: "((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]+)\}|(.))", re.DOTALL)


def _invalid_name(text: str) -> InvalidName | None:
    """Return the error for a name that the library refuses, from its text, where the name is written as in Rust."""
    found = _INVALID_NAME.search(text)
    if found is None:
        return None
    return InvalidName(
        _ESCAPE.sub(lambda one: chr(int(one[1], 16)) if one[1] else _ESCAPES.get(one[2], one[2]), found[1])
    )


def _cause(name: str, status: int) -> str:
    if name in ("PermissionDeniedError", "UnauthenticatedError") or status in (401, 403):
        return "access denied"
    if name == "FileNotFoundError":
        return "no such bucket"
    return f"status {status}" if status else "no response"
