"""Workitems: their states, and the transitions between them (PS3.4 section CC.1.1)."""

import enum
import hashlib
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import NamedTuple

from server.model.errors import NotFound, Reason, WrongState
from server.model.ids import PartitionName, Uid
from server.model.search.query import Condition


class WorkitemState(enum.StrEnum):
    """Values of Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


@dataclass(frozen=True, slots=True)
class Workitem:
    """A workitem.

    lock: digest of its Transaction UID; empty while it is SCHEDULED, and if it was cancelled in that state.
    data_set: DICOM JSON, without the Transaction UID.
    values: of its search keys, see `SearchValue`.
    modified: time of the last change.
    """

    uid: Uid
    state: WorkitemState
    lock: str
    data_set: str
    values: tuple["SearchValue", ...]
    modified: datetime


class SearchValue(NamedTuple):
    """A normalised value of a search key.

    keyword: the search key, a dotted path of keywords.
    item: number of the item of the outermost sequence, from 0; 0 outside of sequences.
    is_name: a person name, whose component groups are separated by "=".
    """

    keyword: str
    item: int
    value: str
    is_name: bool = False


@dataclass(frozen=True, slots=True)
class WorkitemQuery:
    """A query for the workitems of a partition, newest first.

    after: row key of the last match of the previous page.
    """

    partition: PartitionName
    conditions: tuple[Condition, ...]
    limit: int
    skip: int = 0
    after: int | None = None


class WorkitemMatch(NamedTuple):
    """A match, with its row key and its data set in DICOM JSON."""

    key: int
    uid: Uid
    data_set: bytes


class MatchPage(NamedTuple):
    """Matches, and whether there are more."""

    matches: tuple[WorkitemMatch, ...]
    has_more: bool


def lock_of(transaction_uid: str) -> str:
    """Return the digest of a Transaction UID, which is stored instead of it; empty for none."""
    return hashlib.sha256(transaction_uid.encode()).hexdigest() if transaction_uid else ""


def opens(transaction_uid: str, lock: str) -> bool:
    """Return whether a Transaction UID is that of a workitem. The time does not depend on the values."""
    return bool(lock) and compare_digest(lock_of(transaction_uid), lock)


def must_change(workitem: Workitem, wanted: WorkitemState, transaction_uid: str) -> bool:
    """Return whether a change of state has an effect; False if the workitem is in the wanted final state already.

    Raises:
        WrongState: WORKITEM_STATE_CONFLICT, the transition is not possible (PS3.4 Table CC.1.1-2).
    """
    state, is_owner = workitem.state, opens(transaction_uid, workitem.lock)
    if wanted is WorkitemState.SCHEDULED:
        raise _impossible(wanted, "C303")
    if state is WorkitemState.SCHEDULED:
        if wanted is not WorkitemState.IN_PROGRESS:
            raise _impossible(wanted, "C301")  # there is no Transaction UID yet, so none is correct
        return True
    if not is_owner:
        raise _impossible(wanted, "C301")
    if state is WorkitemState.IN_PROGRESS:
        if wanted is WorkitemState.IN_PROGRESS:
            raise _impossible(wanted, "C302")
        return True
    if state is not wanted:
        raise _impossible(wanted, "C300")
    return False


def check_updatable(workitem: Workitem, transaction_uid: str) -> None:
    """Check that a workitem can be updated with a Transaction UID, which is empty if the request has none.

    Raises:
        WrongState: WORKITEM_STATE_CONFLICT (PS3.4 section CC.2.6.3).
    """
    match workitem.state:
        case WorkitemState.SCHEDULED if transaction_uid:
            raise state_conflict("C301", "A Transaction UID must not be given for a workitem in state SCHEDULED.")
        case WorkitemState.IN_PROGRESS if not opens(transaction_uid, workitem.lock):
            raise state_conflict("C301", "The correct Transaction UID was not provided.")
        case WorkitemState.COMPLETED:
            raise state_conflict("C306", "The workitem is already COMPLETED.")
        case WorkitemState.CANCELED:
            raise state_conflict("C304", "The workitem is already CANCELED.")


def check_cancelable(workitem: Workitem) -> None:
    """Check that cancellation of a workitem can be requested.

    Raises:
        WrongState: WORKITEM_NOT_CANCELABLE (PS3.4 section CC.2.2).
    """
    problems = {
        WorkitemState.COMPLETED: ("C311", "The workitem is already COMPLETED."),
        WorkitemState.CANCELED: ("B304", "The UPS is already in the requested state of CANCELED."),
    }
    if problem := problems.get(workitem.state):
        raise WrongState(Reason.WORKITEM_NOT_CANCELABLE, problem[1], status=problem[0])


def unreachable() -> WrongState:
    """Return the error for a request for cancellation of which the performer cannot learn (PS3.4 section CC.2.2.3)."""
    message = "The performer of the workitem cannot be contacted."
    return WrongState(Reason.WORKITEM_NOT_CANCELABLE, message, status="C312")


def state_conflict(status: str, message: str) -> WrongState:
    """Return the error with a status of PS3.4 Annex CC."""
    return WrongState(Reason.WORKITEM_STATE_CONFLICT, f"{message} ({status})", status=status)


def workitem_not_found() -> NotFound:
    """Return the error for a workitem that does not exist."""
    return NotFound(Reason.WORKITEM_NOT_FOUND, "The workitem instance is not found.", status="C307")


def _impossible(wanted: WorkitemState, status: str) -> WrongState:
    message = f"The workitem instance can not transition to '{wanted}' state: {status}."
    return WrongState(Reason.WORKITEM_STATE_CONFLICT, message, status=status)
