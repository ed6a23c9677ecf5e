"""Locks on an object store, which end with the lease of the process that holds them. All functions block.

locks/<name>    "<process> <token>" while it is held, else empty
"""

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from server.adapters.blobs.objects.client import Changed, Exists, NotFound, ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.model.errors import DicomStoreError

_POLL_SECONDS = 0.25
_MAX_POLL_SECONDS = 2.0

_log = logging.getLogger("dicomstore.blobs")


class ObjectLock:
    """A lock that one process, and one user in it, has at a time."""

    def __init__(self, client: ObjectClient, lease: ProcessLease, name: str) -> None:
        self._client = client
        self._lease = lease
        self._object = f"locks/{name}"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; waits for it. Raises: as `ProcessLease.id`."""
        pause = _POLL_SECONDS
        while (token := self.acquire()) is None:
            time.sleep(pause)
            pause = min(2 * pause, _MAX_POLL_SECONDS)
        try:
            yield
        finally:
            self.release(token)

    def acquire(self) -> bytes | None:
        """Take the lock if it is free; return what `release` needs, or None. Raises: as `ProcessLease.id`."""
        try:
            content, etag = self._client.get(self._object)
        except NotFound:
            content, etag = b"", ""
        if content and not self._is_free(content):
            return None
        token = f"{self._lease.id} {uuid.uuid4().hex}".encode()
        self._lease.tokens.add(token.decode())
        try:
            if etag:
                self._client.replace(self._object, token, etag)
            else:
                self._client.create(self._object, token)
        except (Changed, Exists):
            self._lease.tokens.discard(token.decode())
            return None
        except BaseException:
            self._lease.tokens.discard(token.decode())
            raise
        return token

    def release(self, token: bytes) -> None:
        """Give the lock back. Never fails: without an answer of the service, the next attempt of any process does."""
        self._lease.tokens.discard(token.decode())
        try:
            content, etag = self._client.get(self._object)
            if content == token:
                self._client.replace(self._object, b"", etag)
        except (DicomStoreError, NotFound, Changed) as error:
            _log.warning("a lock could not be released name=%s error=%s", self._object, type(error).__name__)

    def _is_free(self, content: bytes) -> bool:
        process = content.decode("ascii", "replace").partition(" ")[0]
        if self._lease.holds(process):
            return content.decode("ascii", "replace") not in self._lease.tokens
        return bool(self._lease.ended([process]))
