"""The identity of the archive, on an object store. All functions block.

archive.json    as beside local files; always with a store id
locks/archive   held while a process compares and binds blobs and index
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from server.adapters.blobs.archive_records.identity_format import identity_in, parsed_facts, store_in
from server.adapters.blobs.object_records.conditions import require_conditional_writes
from server.adapters.blobs.object_records.marks import ObjectMarks
from server.adapters.blobs.objects.client import Changed, Exists, NotFound, ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.adapters.blobs.objects.locks import ObjectLock
from server.model.archive import ArchiveId, BlobsIdentity, Mark
from server.model.errors import Reason, Unavailable
from server.model.store_id import StoreId, new_store_id

_NAME = "archive.json"


class ObjectIdentity:
    """IdentityRecord (see `server.ports.archive`).

    Args:
        place: the URL, for messages.
        has_blobs: returns whether there are blobs.
    """

    def __init__(
        self, client: ObjectClient, lease: ProcessLease, marks: ObjectMarks, place: str, has_blobs: Callable[[], bool]
    ) -> None:
        self._client = client
        self._lock = ObjectLock(client, lease, "archive")
        self._marks = marks
        self._place = place
        self._has_blobs = has_blobs
        self._is_checked = False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See the port."""
        if not self._is_checked:
            require_conditional_writes(self._client)
            self._is_checked = True
        with self._lock.held():
            self.assign_store_id()
            yield

    def read(self) -> BlobsIdentity:
        """See the port."""
        mark = self._marks.highest()
        has_blobs = mark != Mark() or self._has_blobs()
        return identity_in(self._facts()[0], self._place, mark, has_blobs=has_blobs)

    def store_id(self) -> StoreId:
        """Return the id with which the locators of the blobs begin; it is chosen on the first call. Raises: Unavailable
        (STORAGE_UNAVAILABLE)."""
        self.assign_store_id()
        return store_in(self._facts()[0])

    def assign_store_id(self) -> None:
        """See the port."""
        while True:
            facts, etag = self._facts()
            if store_in(facts):
                return
            with suppress(Changed, Exists):  # by another process
                self._write({"archive": None, "bound": False, **facts, "store": new_store_id()}, etag)

    def write(self, archive: ArchiveId, *, is_bound: bool, is_recovering: bool = False) -> None:
        """See the port."""
        facts, etag = self._facts()
        self._replace({**facts, "archive": archive, "bound": is_bound, "recovering": is_recovering}, etag)

    def require_authentication(self) -> None:
        """See the port."""
        with self.lock():
            facts, etag = self._facts()
            if facts:
                self._replace({**facts, "authentication": True}, etag)

    def _facts(self) -> tuple[dict[str, Any], str]:
        """Return the content and its entity tag; nothing if there is no record. Raises: Unavailable."""
        try:
            text, etag = self._client.get(_NAME)
        except NotFound:
            return {}, ""
        try:
            return parsed_facts(text), etag
        except ValueError as error:
            message = f"{_NAME} of {self._place} is damaged: restore it from a backup."
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, message) from error

    def _replace(self, facts: dict[str, Any], etag: str) -> None:
        try:
            self._write(facts, etag)
        except (Changed, Exists) as error:
            message = f"{_NAME} of {self._place} was changed by another process meanwhile."
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, message) from error

    def _write(self, facts: dict[str, Any], etag: str) -> None:
        text = json.dumps(facts).encode()
        if etag:
            self._client.replace(_NAME, text, etag)
        else:
            self._client.create(_NAME, text)
