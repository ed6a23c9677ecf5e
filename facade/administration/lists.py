"""Pages of lists: limit, page token and the Link header of the next page (RFC 8288)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response

from facade.request.addresses import urls_in
from facade.request.query import Parameter, first, integer

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

PRIVATE = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Page:
    """The requested page of a list."""

    limit: int
    token: str


def page_of(parameters: Sequence[Parameter]) -> Page:
    """Return the page that the parameters `limit` and `pagetoken` select. Raises: Refusal, 400."""
    limit = integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    return Page(limit, first(parameters, "pagetoken") or "")


def json_response(value: object, status: int = 200, **headers: str) -> Response:
    """Return a response with a value as JSON, which is not cached."""
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), status, {**PRIVATE, **headers})


def list_response(
    request: Request, path: str, rows: Sequence[Any], page: Page, next_token: str, query: Mapping[str, str | None]
) -> Response:
    """Return a page of a list, with a link to the next page if there is a token for it.

    Args:
        path: of the list, below the version.
        query: the other parameters of the request; None for those that are not given.
    """
    if not next_token:
        return json_response(rows)
    given = {name: value for name, value in query.items() if value is not None}
    text = urlencode({**given, "limit": str(page.limit), "pagetoken": next_token})
    return json_response(rows, Link=f'<{urls_in(request, "").base}{path}?{text}>; rel="next"')
