"""Selects the adapter for the URL in setting `blobs`. A new kind of storage is added to this function only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from server.adapters.blobs.file_storage import FileStorage
from server.adapters.blobs.memory.storage import MemoryStorage
from server.adapters.blobs.store_set.storage import StoreSet
from server.model.storage.object_storage import ObjectStorageSettings
from server.ports.storage import Storage

_NO_CACHE = ObjectStorageSettings(Path(gettempdir()) / "dicomstore-blobs")
_NO_FOLDERS: Mapping[str, Path] = MappingProxyType({})


def storage_of(
    url: str,
    also: Sequence[str] = (),
    objects: ObjectStorageSettings = _NO_CACHE,
    folders: Mapping[str, Path] = _NO_FOLDERS,
) -> Storage:
    """Return the storage for settings `blobs` and `blobs_also`.

    Args:
        objects: how object stores are used.
        folders: those with adopted files, by name.

    Raises:
        ValueError: as `storage_at`, or a URL is named twice.
    """
    if len({url, *also}) <= len(also):
        raise ValueError("A URL is named twice in DICOMSTORE_BLOBS and DICOMSTORE_BLOBS_ALSO.")
    primary = storage_at(url, objects, folders)
    return StoreSet(primary, [storage_at(one, objects, folders) for one in also]) if also else primary


def storage_at(
    url: str, objects: ObjectStorageSettings = _NO_CACHE, folders: Mapping[str, Path] = _NO_FOLDERS
) -> Storage:
    """Return the storage for a URL.

        file:///PATH          below a directory, which is created when it is first used
        s3://BUCKET/PREFIX    in a bucket of S3 or a compatible service; az:// and gs:// of Azure and Google Cloud
        memory:               in this process, until it ends; for tests

    Raises:
        ValueError: unknown scheme, or the path is not absolute. The message shows only the scheme of the URL, because
            the rest may contain a secret.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
                raise ValueError("DICOMSTORE_BLOBS must be file:///PATH, with an absolute path and nothing else.")
            return FileStorage(Path(unquote(parts.path)), folders)
        case "memory":
            return MemoryStorage()
        case "s3" | "az" | "gs":
            # Local imports: an archive on local files does not need them.
            from server.adapters.blobs.object_storage import ObjectStorage
            from server.adapters.blobs.objects.client import ObjectClient

            return ObjectStorage(ObjectClient(url), url, objects, folders)
        case scheme:
            supported = "file:///PATH, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or gs://BUCKET/PREFIX"
            raise ValueError(f"DICOMSTORE_BLOBS has the scheme {scheme!r}, which is not supported: use {supported}.")
