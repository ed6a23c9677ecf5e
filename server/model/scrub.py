"""Progress of the scrub; see `server.domain.upkeep.scrub`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ScrubPosition:
    """Position of the scrub.

    began: when the first instance was due.
    after: version of the instance that was read last; None if all were read.
    complete: end of the last complete pass; None before the first.
    """

    began: datetime
    after: int | None
    complete: datetime | None
