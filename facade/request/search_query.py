"""What the query string of a search asks for (PS3.18 section 8.3.4, spec/search.md section 2).

Beside the standard's parameters there are two of our own: `totalcount=true` asks for the number of all matches, and
`pagetoken`, which only comes from the `Link` header of a page, says where the next one starts. The standard's own way
to say that is the Prior Record Key (PS3.4 section C.6.4).
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from facade.errors import Refusal
from facade.request.query import Parameter, boolean, first, integer, invalid

DEFAULT_LIMIT = 100
MAX_LIMIT = 200
"""Matches that one call of the core may return, and the most that a strict client may ask for."""

MOST_ROWS = 1_000_000
"""Matches that one request may ask for; they are sent page by page."""

_PRIOR_RECORD_KEY = ("priorrecordkey", "0008041c")

_OPTIONS = frozenset(
    {
        *_PRIOR_RECORD_KEY,
        *("limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching", "multiplevaluematching"),
        *("accept", "charset", "totalcount", "pagetoken"),
    }
)
"""Parameters that are no attributes."""

_STANDARD_ALPHABET = str.maketrans("-_ ", "+/+")

_SHOWN_NAME = re.compile(r"[A-Za-z0-9._(),]{1,64}")


@dataclass(slots=True)
class Search:
    """What a query string asks for."""

    terms: dict[str, list[str]] = field(default_factory=dict)
    include: list[str] = field(default_factory=list)
    include_all: bool = False
    fuzzy: bool = False
    matches_empty: bool = False
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    page_token: str = ""
    prior_record_key: bytes = b""
    wants_total: bool = False


def parse_search(parameters: Sequence[Parameter], *, strict: bool, default_limit: int = DEFAULT_LIMIT) -> Search:
    """Return what a query string asks for (PS3.18 section 8.3.4).

    Repeated attributes are alternatives, repeated and comma-separated include fields add up, an empty value
    matches everything, and a limit may go beyond `MAX_LIMIT`; a strict client has none of these, except that it may
    repeat attributes with `multiplevaluematching`.

    Raises:
        Refusal: 400.
    """
    query = Search(
        fuzzy=boolean(parameters, "fuzzymatching", False),
        matches_empty=boolean(parameters, "emptyvaluematching", False),
        wants_total=boolean(parameters, "totalcount", False),
        page_token=first(parameters, "pagetoken") or "",
        limit=_limit(parameters, strict=strict, default=default_limit),
        offset=integer(parameters, "offset", 0, 0),
    )
    lists = boolean(parameters, "multiplevaluematching", False)
    for parameter in parameters:
        if parameter.key == "includefield":
            query.include += [name.strip() for name in parameter.value.split(",") if name.strip()]
        elif parameter.name and parameter.key not in _OPTIONS:
            values = query.terms.setdefault(parameter.name, [])
            if strict and values and not lists:
                raise Refusal(400, f"The attribute {shown_names([parameter.name])} occurs more than once.")
            if strict and not parameter.value.strip():
                raise Refusal(400, f"The attribute {shown_names([parameter.name])} has no value.")
            values.append(parameter.value)
    names = [name for name in query.include if name.lower() != "all"]
    query.include_all = len(names) < len(query.include)
    if strict and query.include_all and names:
        raise Refusal(400, "The include field 'all' must be the only one.")
    query.include = names
    query.prior_record_key = _prior_record_key(parameters)
    if any(parameter.key in _PRIOR_RECORD_KEY for parameter in parameters):
        query.include.append("RecordKey")  # who goes on needs the next one
    return query


def _prior_record_key(parameters: Sequence[Parameter]) -> bytes:
    """Return the bytes of the Record Key to go on behind; empty at the start.

    They are base64, as they come in an answer, or in the alphabet for URLs, with or without padding. A "+" that the
    client did not encode has come as a space.

    Raises:
        Refusal: 400.
    """
    texts = {parameter.value for parameter in parameters if parameter.key in _PRIOR_RECORD_KEY}
    if len(texts) > 1:
        raise invalid("PriorRecordKey", "There must be one value.")
    text = next(iter(texts), "").rstrip("=").translate(_STANDARD_ALPHABET)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as broken:
        raise invalid("PriorRecordKey", "The value is not a Record Key in base64.") from broken


def _limit(parameters: Sequence[Parameter], *, strict: bool, default: int) -> int:
    """Return how many matches are wanted at most. PS3.18 section 8.3.4.4 knows no upper bound: above ours is ours."""
    text = first(parameters, "limit")
    if text is None and not strict:
        return default
    text = text or ""
    if not strict and re.fullmatch("[0-9]{3,18}", text) and int(text) > MAX_LIMIT:
        return min(int(text), MOST_ROWS)
    return integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)


def shown_names(names: Sequence[str]) -> str:
    """Return parameter names for a text; what does not look like an attribute is not repeated."""
    shown = [name if _SHOWN_NAME.fullmatch(name) else "?" for name in names[:20]]
    return ", ".join(dict.fromkeys(shown))
