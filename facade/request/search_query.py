"""Parsing of search requests (PS3.18 section 8.3.4; docs/api.md, Searching).

These parameters are not part of the standard: `totalcount=true` requests the total number of matches; `pagetoken`,
which comes from the `Link` header of a page, selects the next page (the standard's way to page is the Prior Record Key,
PS3.4 section C.6.4); `sort` lists the keys of the order, where "-" before one means descending; `label.NAME` is a
condition on a label, and `labels=true` adds labels to the matches.
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
"""Maximum number of matches per call of the core, and of `limit` for a strict client."""

MAX_ROWS = 1_000_000
"""Maximum number of matches per request; they are sent page by page."""

_PRIOR_RECORD_KEY = ("priorrecordkey", "0008041c")

_OPTIONS = frozenset(
    {
        *_PRIOR_RECORD_KEY,
        *("limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching", "multiplevaluematching"),
        *("accept", "charset", "totalcount", "pagetoken", "labels", "sort"),
    }
)
"""Parameters that are not attributes."""

_LABEL = "label."
"""Beginning of the parameters `label.NAME=value`. No keyword and no tag begins with it."""

_STANDARD_ALPHABET = str.maketrans("-_ ", "+/+")

_SHOWN_NAME = re.compile(r"[A-Za-z0-9._(),-]{1,64}")


@dataclass(slots=True)
class Search:
    """A parsed search request."""

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
    labels: bool = False
    sort: list[tuple[str, bool]] = field(default_factory=list)


def parse_search(parameters: Sequence[Parameter], *, strict: bool, default_limit: int = DEFAULT_LIMIT) -> Search:
    """Parse the parameters of a search request (PS3.18 section 8.3.4).

    Repeated attributes are alternatives, repeated and comma-separated include fields add up, an empty value
    matches everything, and a limit may exceed `MAX_LIMIT`. For a strict client these are errors, except that it may
    repeat attributes with `multiplevaluematching`.

    Raises:
        Refusal: 400.
    """
    query = Search(
        fuzzy=boolean(parameters, "fuzzymatching", False),
        matches_empty=boolean(parameters, "emptyvaluematching", False),
        wants_total=boolean(parameters, "totalcount", False),
        labels=boolean(parameters, "labels", False),
        page_token=first(parameters, "pagetoken") or "",
        limit=_limit(parameters, strict=strict, default=default_limit),
        offset=integer(parameters, "offset", 0, 0),
    )
    lists = boolean(parameters, "multiplevaluematching", False)
    for parameter in parameters:
        if parameter.key == "sort":
            query.sort += [_sort_key(text) for text in parameter.value.split(",") if text.strip(" +-")]
        elif parameter.key == "includefield":
            query.include += [name.strip() for name in parameter.value.split(",") if name.strip()]
        elif parameter.name and parameter.key not in _OPTIONS:
            values = query.terms.setdefault(_attribute(parameter), [])
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
        query.include.append("RecordKey")  # needed to continue with the next page
    return query


def _attribute(parameter: Parameter) -> str:
    """Return the attribute of a search key; the names of labels are case-sensitive, their prefix is not."""
    is_label = parameter.key.startswith(_LABEL)
    return f"{_LABEL}{parameter.name[len(_LABEL) :]}" if is_label else parameter.name


def _sort_key(text: str) -> tuple[str, bool]:
    """Return the attribute of a sort key, and whether a "-" before it requests descending order."""
    return text.strip(" +-"), text.strip().startswith("-")


def _prior_record_key(parameters: Sequence[Parameter]) -> bytes:
    """Return the Record Key to continue after; empty at the start.

    The parameter is base64, in the standard or the URL-safe alphabet, with or without padding. A "+" that the client
    did not percent-encode arrives as a space.

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
    """Return the requested maximum number of matches. PS3.18 8.3.4.4 has no upper bound; `MAX_ROWS` limits it."""
    text = first(parameters, "limit")
    if text is None and not strict:
        return default
    text = text or ""
    if not strict and re.fullmatch("[0-9]{3,18}", text) and int(text) > MAX_LIMIT:
        return min(int(text), MAX_ROWS)
    return integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)


def shown_names(names: Sequence[str]) -> str:
    """Return parameter names for an error text; names that are not keywords or tags are replaced by "?"."""
    shown = [name if _SHOWN_NAME.fullmatch(name) else "?" for name in names[:20]]
    return ", ".join(dict.fromkeys(shown))
