"""The identity of the archive, as a file beside the blobs. All functions block.

archive.json    see `identity_format`
.archive-lock   held while a process compares and binds blobs and index
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from server.adapters.blobs.archive_records.identity_format import identity_in, parsed_facts, store_in
from server.adapters.blobs.archive_records.marks import Marks
from server.adapters.blobs.disk.file_lock import locked
from server.adapters.blobs.disk.threads import sync_directory
from server.model.archive import ArchiveId, BlobsIdentity, Mark
from server.model.errors import Reason, Unavailable
from server.model.store_id import StoreId, new_store_id

_NAME = "archive.json"


class ArchiveFile:
    """IdentityRecord (see `server.ports.archive`) below one directory.

    Args:
        marks: of the same directory.
        has_blobs: returns whether the directory has blobs. Raises: OSError.
    """

    def __init__(self, root: Path, marks: Marks, has_blobs: Callable[[], bool]) -> None:
        self._root = root
        self._marks = marks
        self._has_blobs = has_blobs
        self._path = root / _NAME

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See the port."""
        with ExitStack() as stack:
            with _translated():
                self._root.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self._root / ".archive-lock"))
            yield

    def read(self) -> BlobsIdentity:
        """See the port."""
        place = str(self._root.absolute())
        with _translated():
            mark = self._marks.highest()
            has_blobs = mark != Mark() or self._has_blobs()
            facts = self._facts()
        return identity_in(facts, place, mark, has_blobs=has_blobs)

    def store_id(self) -> StoreId:
        """Return the id with which the locators of the blobs begin. Raises: Unavailable (STORAGE_UNAVAILABLE)."""
        with _translated():
            return store_in(self._facts())

    def assign_store_id(self) -> None:
        """See the port."""
        with _translated():
            facts = self._facts()
            if not store_in(facts):
                self._replace({"archive": None, "bound": False, **facts, "store": new_store_id()})

    def write(self, archive: ArchiveId, *, is_bound: bool, is_recovering: bool = False) -> None:
        """See the port."""
        with _translated():
            self._replace({**self._facts(), "archive": archive, "bound": is_bound, "recovering": is_recovering})

    def require_authentication(self) -> None:
        """See the port."""
        with self.lock(), _translated():
            if facts := self._facts():
                self._replace({**facts, "authentication": True})

    def _facts(self) -> dict[str, Any]:
        """Return the content of the file; nothing if it does not exist. Raises: Unavailable, OSError."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return parsed_facts(text)
        except ValueError as error:
            message = f"{self._path} is damaged: restore it from a backup."
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, message) from error

    def _replace(self, facts: dict[str, Any]) -> None:
        temporary = self._path.with_suffix(".new")
        with open(temporary, "w") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        sync_directory(self._root)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, f"The data directory can't be used: {error.strerror}.") from error
