"""Limits of requests, which `CapabilitiesService` reports."""

from server.model.errors import InvalidRequest, Reason

MAX_MESSAGE_BYTES = 2 << 20
MAX_PAGE_SIZE = 200
DEFAULT_PAGE_SIZE = 100
MAX_TAGS = 128
"""Limit of extended query tags (docs/conformance.md)."""


def page_size(requested: int) -> int:
    """Return the page size for a requested one; 0 requests the default.

    Raises:
        InvalidRequest: INVALID_FIELD.
    """
    if not 0 <= requested <= MAX_PAGE_SIZE:
        raise InvalidRequest(
            Reason.INVALID_FIELD, f"page_size must be between 1 and {MAX_PAGE_SIZE}.", field="page_size"
        )
    return requested or DEFAULT_PAGE_SIZE
