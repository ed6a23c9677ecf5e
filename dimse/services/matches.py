"""Matches of a query as pending responses."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import grpc

from dimse.associations.association import Request
from dimse.queries.requests import Matching
from dimse.services import statuses
from dimse.services.failures import of_core

PAGE_SIZE = 200
"""Matches on a page of a search; the maximum of the core."""


def matching_of(request: Request) -> Matching:
    """Return the extensions of matching that were negotiated for the SOP class of a request."""
    return Matching.of_negotiation(request.association.extended.get(request.context.abstract_syntax, b""))


class Page(Protocol):
    """A page of a search."""

    matches: Sequence[Any]
    next_page_token: str
    ignored_attributes: Sequence[str]


def pages_ahead(rpc: Any, request: Any, metadata: Any, seconds: float) -> Generator[Page]:
    """Yield the pages of a search; while one is used, the core prepares the next one.

    Raises:
        RpcError: a call failed.
    """
    page, following = rpc(request, metadata=metadata, timeout=seconds), None
    try:
        while True:
            if page.next_page_token:
                request.page_token = page.next_page_token
                following = rpc.future(request, metadata=metadata, timeout=seconds)
            yield page
            if following is None:
                return
            page, following = following.result(), None
    finally:
        if following is not None:
            following.cancel()


def send_matches(
    request: Request, pages: Generator[Page], identifier_of: Callable[[Any], bytes | None], most_matches: int
) -> None:
    """Send a pending response for each match, and the final one.

    Args:
        identifier_of: returns the identifier of a match, or None if it is none.
        most_matches: the query fails after this number.
    """
    sent = 0
    try:
        for page in pages:
            # FF01: keys were not supported for matching or existence (PS3.4 Table C.4-1)
            pending = statuses.PENDING_WITH_WARNING if page.ignored_attributes else statuses.PENDING
            for match in page.matches:
                identifier = identifier_of(match)
                if identifier is None:
                    continue
                if sent == most_matches:
                    comment = f"There are more than {most_matches} matches"
                    request.respond(statuses.OUT_OF_RESOURCES, error_comment=comment)
                    return
                request.respond(pending, identifier, is_held=True)
                sent += 1
            if page.next_page_token:
                request.association.send_held()
            if request.is_cancelled():
                request.respond(statuses.CANCEL)
                return
    except grpc.RpcError as error:
        failure = of_core(error, statuses.OUT_OF_RESOURCES, statuses.CANNOT_UNDERSTAND)
        request.respond(failure.status, **failure.elements)
        return
    finally:
        pages.close()
    request.respond(statuses.SUCCESS)
