"""Opens the sources that the settings permit."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from server.adapters.sources.folder import FolderErrors, FolderSource
from server.model.errors import InvalidRequest, Reason, Unavailable
from server.ports.imports import ErrorLocation, Source


class PermittedSources:
    """`server.ports.imports.Sources`.

    Args:
        folders: those that may be imported, and all below.
        adopted: those that may be adopted, and all below.
        excluded: the directories of the archive itself.
    """

    def __init__(self, folders: Sequence[Path], adopted: Sequence[Path], excluded: Collection[Path]) -> None:
        self._folders = folders
        self._adopted = adopted
        self._excluded = excluded

    async def open(self, url: str, *, exact: bool = False, is_emptied: bool = False) -> Source:
        """See the port."""
        if _is_folder(url):
            return FolderSource(
                await asyncio.to_thread(self._resolved, url, "source", exact=exact, is_changed=is_emptied)
            )
        # Local import: only imports from buckets need the library.
        from server.adapters.sources.bucket import BucketSource

        return BucketSource(url)

    async def open_errors(self, url: str) -> ErrorLocation:
        """See the port."""
        if _is_folder(url):
            return FolderErrors(await asyncio.to_thread(self._resolved, url, "errors", is_changed=True))
        from server.adapters.sources.bucket import BucketErrors

        return BucketErrors(url)

    def _resolved(self, url: str, field: str, *, exact: bool = False, is_changed: bool = False) -> Path:
        """Return the path of a folder without links. A location for errors is created.

        is_changed: files in it are deleted or written, which adopted files must not be.
        """
        path = Path(unquote(urlsplit(url).path) or "/")
        found = path.resolve()
        if exact:
            places = (one.resolve() / path.relative_to(one) for one in self._adopted if path.is_relative_to(one))
            is_permitted = found in places
        else:
            is_permitted = any(found.is_relative_to(one.resolve()) for one in self._folders)
        if not is_permitted:
            raise _refused(field, "A link leads out of the folders that the settings permit.")
        if _overlaps(found, self._excluded):
            raise _refused(field, "The folder contains data of the archive itself, or is within it.")
        if is_changed and _overlaps(found, self._adopted):
            message = "The folder contains files that are adopted in place, or is within such a folder."
            raise _refused(field, f"{message} Nothing is deleted or written there.")
        try:
            if field == "errors":
                found.mkdir(parents=True, exist_ok=True, mode=0o750)
            is_folder = found.is_dir()
        except OSError:
            is_folder = False
        if not is_folder:
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The folder does not exist, or is not accessible.")
        return found


def _overlaps(folder: Path, others: Collection[Path]) -> bool:
    """Return whether a folder, without links, is one of the others, below one, or around one."""
    found = (one.resolve() for one in others)
    return any(folder.is_relative_to(one) or one.is_relative_to(folder) for one in found)


def _is_folder(url: str) -> bool:
    return urlsplit(url).scheme == "file"


def _refused(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
