"""The names of the objects of the audit trail."""

import re
from typing import NamedTuple

from server.adapters.blobs.audit_trail.log_lines import SUFFIX
from server.model.audit.trail import WriterId

WRITERS = "audit/writers/"
RUNNING = "audit/running/"
PROCESSES = "audit/processes/"
CHECKPOINTS = "audit/checkpoints/"

_SINGLE = re.compile(r"(\d{19})\.log")
_JOINED = re.compile(r"(\d{19})-(\d{19})-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{6}Z)\.log")


class LogName(NamedTuple):
    """What the name of an object says.

    last: number of its last record; 0 if the name does not say it.
    time: of its first record; "" if the name does not say it.
    """

    first: int
    last: int = 0
    time: str = ""


def prefix_of(writer: WriterId) -> str:
    """Return the prefix of the objects of a writer."""
    return f"{WRITERS}{writer}/"


def joined_name(writer: WriterId, first: int, last: int, time: str) -> str:
    """Return the name of an object that replaces others."""
    return f"{prefix_of(writer)}{first:019d}-{last:019d}-{time.replace('-', '').replace(':', '')}{SUFFIX}"


def parsed(name: str) -> LogName | None:
    """Return what a name without prefix says; None if it is not one of a log object."""
    if found := _SINGLE.fullmatch(name):
        return LogName(int(found[1]))
    if found := _JOINED.fullmatch(name):
        first, last, year, month, day, hour, minute, second = found.groups()
        return LogName(int(first), int(last), f"{year}-{month}-{day}T{hour}:{minute}:{second}")
    return None
