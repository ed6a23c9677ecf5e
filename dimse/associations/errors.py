"""Ends of associations that are not a release."""

import traceback


class AssociationLost(Exception):
    """The peer has aborted the association, closed the connection, or not answered in time."""


class ProtocolError(Exception):
    """The peer violates the protocol; the association is aborted. The text has no values of the message."""


class Rejected(Exception):
    """An association request is rejected (PS3.8 section 9.3.4).

    Args:
        result: 1 permanent, 2 transient.
        source: 1 service user, 2 service provider (ACSE), 3 service provider (presentation).
        reason: depends on `source`.
        problem: the same in one word, for the metrics (docs/dimse.md).
        text: for the log.
    """

    def __init__(self, result: int, source: int, reason: int, problem: str, text: str) -> None:
        super().__init__(text)
        self.result, self.source, self.reason, self.problem = result, source, reason, problem


class CannotConnect(Exception):
    """No association with a remote application entity; the text says why.

    problem: the same in one word, for the record of transfers (docs/dimse.md).
    """

    def __init__(self, text: str, problem: str = "NO_ASSOCIATION") -> None:
        super().__init__(text)
        self.problem = problem


def described(error: Exception) -> str:
    """Return an unexpected exception for the log: its type and place, without its text, which may have patient data."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"
