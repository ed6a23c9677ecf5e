"""Paging of search responses: Link header and number of remaining matches (PS3.18 section 8.3.4.4, RFC 8288)."""

from urllib.parse import quote

from starlette.requests import Request

from facade.request.addresses import Urls
from facade.request.search_query import MAX_LIMIT, Search

MAX_LINK_LENGTH = 4000
"""Maximum characters of a `Link` header. Proxies refuse responses with large headers, mostly from 8 KB on."""

_LEVELS = {"study": "studies", "series": "series"}
_POSITION = ("offset", "pagetoken")
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '<>"')


def next_page(request: Request, urls: Urls, token: str) -> str | None:
    """Return the `Link` header for the page of a token; None if it would be too long.

    The URL has the client's query with the token instead of the position, and the host as seen by the client. A Prior
    Record Key is kept, because the token is valid only together with it.
    """
    raw: str = request.scope["query_string"].decode("latin-1")
    kept = [pair for pair in raw.split("&") if pair and pair.partition("=")[0].lower() not in _POSITION]
    query = quote("&".join([*kept, f"pagetoken={token}"]), safe=_PRINTABLE, encoding="latin-1")
    link = f'<{urls.base}{_resource(request)}?{query}>; rel="next"'
    return link if len(link) <= MAX_LINK_LENGTH else None


def remaining(query: Search, total: int | None) -> str | None:
    """Return "57 additional results", without the number if it is unknown; None if there may be none.

    Call it only if the first page of the core has a successor.
    """
    # The number of matches before a token or key is unknown.
    if total is not None and not query.page_token and not query.prior_record_key:
        left = total - query.offset - query.limit
        if left > 0:
            return f"{left} additional results"
    return "additional results" if query.limit <= MAX_LIMIT else None


def _resource(request: Request) -> str:
    parameters = request.path_params
    within = [f"/{name}/{parameters[key].strip()}" for key, name in _LEVELS.items() if key in parameters]
    return f"{''.join(within)}/{request.scope['path'].rstrip('/').rpartition('/')[2]}"
