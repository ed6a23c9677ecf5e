"""The reasons that clients give for changes."""

from server.model.errors import InvalidRequest, Reason

MAX_REASON_LENGTH = 500


def check_reason(reason: str, *, required: bool = False) -> None:
    """Check a reason, which is for people.

    Raises:
        InvalidRequest: INVALID_FIELD, it is longer than `MAX_REASON_LENGTH`, not printable, or required and missing.
    """
    if len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        message = f"A reason has at most {MAX_REASON_LENGTH} printable characters."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="reason")
    if required and not reason.strip():
        raise InvalidRequest(Reason.INVALID_FIELD, "A reason is required.", field="reason")
