"""From the URL in setting `blobs` to the adapter: the only function that a new kind of storage has to be added to."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from server.adapters.blobs.file_storage import FileStorage
from server.adapters.blobs.memory.storage import MemoryStorage
from server.ports.storage import Storage


def storage_at(url: str) -> Storage:
    """Return the storage that a URL names.

        file:///PATH    below a directory, which is created when it is first used
        memory:         in this process, until it ends; for tests

    Raises:
        ValueError: no adapter has this scheme, or the URL does not name an absolute path. Shows nothing of the URL but
            its scheme: the rest may hold a secret.
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
