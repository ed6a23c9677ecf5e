"""How far the scrub has come; see `server.domain.upkeep.scrub`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ScrubPosition:
    """A position.

    began: when the first instance was due.
    after: version of the instance that was read last; None if all were read.
    complete: when all had been read the last time, if ever.
    """

    began: datetime
    after: int | None
    complete: datetime | None
