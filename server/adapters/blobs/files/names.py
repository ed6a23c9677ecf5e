"""Names of the files of blobs: that of a committed blob is random, and is its locator."""

import re
from pathlib import Path

from server.adapters.blobs.derived import SUFFIX
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

    def committed(self, locator: Locator) -> Path:
        """Return the final name of a blob."""
        return self._committed / locator[:2] / locator

    def unsettled(self, locator: Locator) -> Path:
        """Return the name of a blob of this process until it is settled."""
        return self._ingest / locator

    def existing(self, locator: Locator) -> Path:
        """Return the final name of a blob. Raises FileNotFoundError for a locator of another kind."""
        if not is_locator(locator):
            raise FileNotFoundError(locator)
        return self.committed(locator)
