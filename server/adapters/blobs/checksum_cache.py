"""Keeps the checksums of the blocks of the files that were read last: those of a large file are themselves large."""

from collections import OrderedDict

from server.adapters.blobs.records import Blocks
from server.model.instance import Locator

_MOST_BLOCKS = 1 << 20
_MOST_BLOBS = 1000


class KeptBlocks:
    """Those of at most 1000 blobs, which have 64 GiB together, or of one: about 4 MiB."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Locator, Blocks] = OrderedDict()
        self._blocks = 0

    def get(self, locator: Locator) -> Blocks | None:
        """Return checksums that are kept."""
        found = self._kept.get(locator)
        if found is not None:
            self._kept.move_to_end(locator)
        return found

    def keep(self, locator: Locator, found: Blocks) -> None:
        """Keep checksums instead of those that were not used for the longest time."""
        before = self._kept.pop(locator, None)
        self._blocks += len(found.blocks) - (len(before.blocks) if before else 0)
        self._kept[locator] = found
        while len(self._kept) > 1 and (self._blocks > _MOST_BLOCKS or len(self._kept) > _MOST_BLOBS):
            _, oldest = self._kept.popitem(last=False)
            self._blocks -= len(oldest.blocks)
