"""Progress of the scrub; see `server.domain.upkeep.scrub`."""

from dataclasses import dataclass
from datetime import datetime

MAX_DAMAGED = 1000


@dataclass(frozen=True, slots=True)
class ScrubPosition:
    """Position of the scrub.

    began: when the first instance was due.
    after: version of the instance that was read last; None if all were read.
    complete: end of the last complete pass; None before the first.
    damaged: earlier versions, and versions of deleted instances, whose bytes were damaged when they were last read; at
        most `MAX_DAMAGED`. Damage of current versions is recorded in the index.
    """

    began: datetime
    after: int | None
    complete: datetime | None
    damaged: frozenset[int] = frozenset()
