"""Expiry of studies."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Expiry:
    """The time at which a study is deleted, like by a client.

    author: id of the principal that set it.
    time: when it was set.
    """

    expires: datetime
    author: str
    time: datetime
