"""The status of a C-STORE response for each outcome of the core (PS3.4 Table B.2-1, PS3.7 section 9.1.1.1.9).

A peer retries after A700H, and not after others: the instance itself cannot be stored.
"""

from typing import NamedTuple

import grpc
from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.store_service_pb2 import StoreOutcome

from dimse.services import statuses

_MAX_COMMENT = 64
"""Characters of an Error Comment (0000,0902), VR LO."""

_STATUSES = {
    ErrorReason.ERROR_REASON_UNREADABLE_INSTANCE: statuses.CANNOT_UNDERSTAND,
    ErrorReason.ERROR_REASON_INVALID_INSTANCE: statuses.CANNOT_UNDERSTAND,
    ErrorReason.ERROR_REASON_INSTANCE_TOO_LARGE: statuses.CANNOT_UNDERSTAND,
    ErrorReason.ERROR_REASON_HEADER_TOO_LARGE: statuses.CANNOT_UNDERSTAND,
    ErrorReason.ERROR_REASON_STUDY_MISMATCH: statuses.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    ErrorReason.ERROR_REASON_INSTANCE_ALREADY_EXISTS: statuses.DUPLICATE_SOP_INSTANCE,
    ErrorReason.ERROR_REASON_ON_HOLD: statuses.DUPLICATE_SOP_INSTANCE,
    ErrorReason.ERROR_REASON_PERMISSION_DENIED: statuses.NOT_AUTHORIZED,
}
"""Of the reasons that are not temporary."""

_NOT_AUTHORIZED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


class Answer(NamedTuple):
    """Status and Error Comment of a response; the comment has no values of attributes."""

    status: int
    comment: str | None = None


STORED = Answer(statuses.SUCCESS)


def answer_to(outcome: StoreOutcome) -> Answer:
    """Return the answer to the outcome of an instance.

    An instance that is stored already with the same bytes is a success, whatever the server's setting says: the peer
    must not send it again.
    """
    if outcome.HasField("stored") or outcome.failed.identical:
        return STORED
    status = _STATUSES.get(outcome.failed.reason, statuses.OUT_OF_RESOURCES)
    return Answer(status, _comment(outcome.failed.message))


def answer_to_failure(code: grpc.StatusCode) -> Answer:
    """Return the answer to an instance whose call has failed."""
    if code in _NOT_AUTHORIZED:
        return Answer(statuses.NOT_AUTHORIZED, "the archive does not permit this")
    return Answer(statuses.OUT_OF_RESOURCES, "the archive cannot store now")


def _comment(message: str) -> str:
    text = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in message)
    return text.replace("\\", "/")[:_MAX_COMMENT].strip()
