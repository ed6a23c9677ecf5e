"""Names of the files of blobs: that of a committed blob is random, and is its locator."""

import re
from pathlib import Path

from server.adapters.blobs.derived import SUFFIX
from server.adapters.blobs.disk.threads import sync_directory
from server.model.instance import Locator

_LOCATOR = re.compile(rf"[0-9a-f]{{32}}({SUFFIX})?")


def is_locator(name: str) -> bool:
    """Return whether a string is a locator of a file."""
    return _LOCATOR.fullmatch(name) is not None


class BlobNames:
    """Names below the directories of committed blobs and of this process's unsettled ones."""

    def __init__(self, committed: Path, ingest: Path) -> None:
        self._committed = committed
        self._ingest = ingest
        self._durable: set[Path] = set()

    def committed(self, locator: Locator) -> Path:
        """Return the final name of a blob."""
        return self._committed / locator[:2] / locator

    def require_directory(self, locator: Locator) -> None:
        """Create the directory of a blob if necessary.

        Its name is durable when this returns, also if another process created it a moment ago. Raises OSError.
        """
        directory = self.committed(locator).parent
        if directory not in self._durable:
            directory.mkdir(exist_ok=True)
            sync_directory(self._committed)
            self._durable.add(directory)

    def unsettled(self, locator: Locator) -> Path:
        """Return the name of a blob of this process until it is settled."""
        return self._ingest / locator

    def existing(self, locator: Locator) -> Path:
        """Return the final name of a blob. Raises FileNotFoundError for a locator of another kind."""
        if not is_locator(locator):
            raise FileNotFoundError(locator)
        return self.committed(locator)
