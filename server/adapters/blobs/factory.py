"""Selects the adapter for the URL in setting `blobs`. A new kind of storage is added to this function only."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from server.adapters.blobs.file_storage import FileStorage
from server.adapters.blobs.memory.storage import MemoryStorage
from server.adapters.blobs.store_set.storage import StoreSet
from server.ports.storage import Storage


def storage_of(url: str, also: Sequence[str] = ()) -> Storage:
    """Return the storage for settings `blobs` and `blobs_also`.

    Raises:
        ValueError: as `storage_at`, or a URL is named twice.
    """
    if len({url, *also}) <= len(also):
        raise ValueError("A URL is named twice in DICOMSTORE_BLOBS and DICOMSTORE_BLOBS_ALSO.")
    primary = storage_at(url)
    return StoreSet(primary, [storage_at(one) for one in also]) if also else primary


def storage_at(url: str) -> Storage:
    """Return the storage for a URL.

        file:///PATH    below a directory, which is created when it is first used
        memory:         in this process, until it ends; for tests

    Raises:
        ValueError: unknown scheme, or the path is not absolute. The message shows only the scheme of the URL, because
            the rest may contain a secret.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
                raise ValueError("DICOMSTORE_BLOBS must be file:///PATH, with an absolute path and nothing else.")
            return FileStorage(Path(unquote(parts.path)))
        case "memory":
            return MemoryStorage()
        case scheme:
            raise ValueError(f"DICOMSTORE_BLOBS has the scheme {scheme!r}, which is not supported: use file:///PATH.")
