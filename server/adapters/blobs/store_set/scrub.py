"""The position of the scrub in several stores."""

from collections.abc import Sequence

from server.model.storage.scrub import ScrubPosition
from server.ports.scrub import ScrubRecord


class SetScrubRecord:
    """ScrubRecord (see `server.ports.scrub`): the primary store has it, and another one until it is first saved there.

    Args:
        records: that of the primary store first.
    """

    def __init__(self, records: Sequence[ScrubRecord]) -> None:
        self._records = records
        self.held = records[0].held
        self.save = records[0].save

    async def load(self) -> ScrubPosition | None:
        """See the port."""
        for record in self._records:
            if (position := await record.load()) is not None:
                return position
        return None
