"""QIDO-RS: search for studies, series and instances (PS3.18 section 10.6, spec/search.md).

The core knows the attributes and how they match; this room splits the query string. What can't be understood is
ignored and reported in a Warning header, unless the client prefers to have it refused (`Prefer: handling=strict`).
"""

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from dicomstore.v1.search_service_pb2 import QueryLevel, SearchMatch, SearchRequest, SearchResponse, Term
from starlette.requests import Request
from starlette.responses import Response

from facade.accept import accepts_json
from facade.addresses import Urls, resource_of, urls_of
from facade.catalogue import DICOM_JSON
from facade.channel import Core
from facade.content_coding import IDENTITY, WORTH_BYTES, coded, coded_chunks, coding_headers, coding_of
from facade.dicom_json import array, array_chunks, has_bulk_data, with_bulk_data_urls, with_retrieve_url
from facade.errors import Refusal
from facade.observe import call_metadata
from facade.query import Parameter, boolean, first, integer, parameters_of, wishes_of
from facade.streaming import StreamedResponse
from facade.versions import ALL_ATTRIBUTES, INSTANCE, SERIES, STUDY, ApiVersion

DEFAULT_LIMIT = 100
MAX_LIMIT = 200
"""Matches that one call of the core may return, and the most that a strict client may ask for."""

MOST_ROWS = 1_000_000
"""Matches that one request may ask for; they are sent page by page."""


_NO_ATTRIBUTES = {"limit", "offset", "includefield", "fuzzymatching", "accept", "charset"}
_UNSUPPORTED = {"emptyvaluematching", "multiplevaluematching"}
_RETRIEVE_URL = {"RetrieveURL", "00081190"}
_MODALITY = {"Modality", "00080060"}
_OF_A_LIST_OF_STUDIES = ("ModalitiesInStudy", "NumberOfStudyRelatedInstances")
_SHOWN_NAME = re.compile(r"[A-Za-z0-9._]{1,64}")


@dataclass(frozen=True, slots=True)
class Scope:
    """One of the six resources to search.

    level: what a match is.
    returned: the levels whose default attributes a match has.
    default_limit: of who says nothing and is not strict. Who lists what is in a study or series wants all of it, and
        a viewer that gets a part shows a part; clients are known that ask without a limit and never again.
    """

    level: QueryLevel
    returned: tuple[QueryLevel, ...]
    default_limit: int = DEFAULT_LIMIT


@dataclass(slots=True)
class Search:
    """What a query string asks for."""

    terms: dict[str, list[str]] = field(default_factory=dict)
    include: list[str] = field(default_factory=list)
    include_all: bool = False
    fuzzy: bool = False
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    ignored: list[str] = field(default_factory=list)

    @property
    def wants_retrieve_url(self) -> bool:
        """Say whether matches shall have Retrieve URL, which only this program knows."""
        return not _RETRIEVE_URL.isdisjoint(self.include)


_ALL_STUDIES = Scope(STUDY, (STUDY,))
_ALL_SERIES = Scope(SERIES, (STUDY, SERIES))
_ALL_INSTANCES = Scope(INSTANCE, (STUDY, SERIES, INSTANCE))
_SERIES_OF_STUDY = Scope(SERIES, (SERIES,), MOST_ROWS)
_INSTANCES_OF_STUDY = Scope(INSTANCE, (SERIES, INSTANCE), MOST_ROWS)
_INSTANCES_OF_SERIES = Scope(INSTANCE, (INSTANCE,), MOST_ROWS)


async def all_studies(request: Request) -> Response:
    """GET /studies: search for studies."""
    return await _search(request, _ALL_STUDIES)


async def all_series(request: Request) -> Response:
    """GET /series: search for series of all studies."""
    return await _search(request, _ALL_SERIES)


async def all_instances(request: Request) -> Response:
    """GET /instances: search for instances of all studies."""
    return await _search(request, _ALL_INSTANCES)


async def series_of_study(request: Request) -> Response:
    """GET /studies/{study}/series: search for series of one study."""
    return await _search(request, _SERIES_OF_STUDY)


async def instances_of_study(request: Request) -> Response:
    """GET /studies/{study}/instances: search for instances of one study."""
    return await _search(request, _INSTANCES_OF_STUDY)


async def instances_of_series(request: Request) -> Response:
    """GET /studies/{study}/series/{series}/instances: search for instances of one series."""
    return await _search(request, _INSTANCES_OF_SERIES)


async def _search(request: Request, scope: Scope) -> Response:
    if not accepts_json(wishes_of(request)):
        raise Refusal(406, f"Only {DICOM_JSON} can be returned.")
    strict = prefers_strict(request)
    query = parse_search(parameters_of(request), strict=strict, default_limit=scope.default_limit)
    core: Core = request.app.state.core
    question = SearchRequest(
        level=scope.level,
        scope=resource_of(request),
        terms=[Term(attribute=name, values=values) for name, values in query.terms.items()],
        fuzzy_matching=query.fuzzy,
        include_attributes=returned_attributes(query, scope, request.path_params["version"]),
        page_size=min(query.limit, MAX_LIMIT),
        skip=query.offset,
        strict=strict,
    )
    answer: SearchResponse = await core.ask(core.search.Search, question, call_metadata(request))
    ignored = [*query.ignored, *answer.ignored_attributes]
    if strict and ignored:
        raise Refusal(400, f"The query has parameters that are not supported: {_names(ignored)}.")
    more = bool(answer.next_page_token)
    response = Response(status_code=204)
    if more and query.limit > MAX_LIMIT:
        pages = _pages(request, question, answer, query)
        coding = coding_of(request)
        headers = {"Content-Type": DICOM_JSON, **coding_headers(coding)}
        chunks = coded_chunks(array_chunks(pages), coding)
        response = StreamedResponse(chunks, headers, source=pages, idle_seconds=core.idle_seconds)
    elif answer.matches:
        body = array(_data_sets(answer, request, query))
        coding = coding_of(request) if len(body) >= WORTH_BYTES else IDENTITY
        headers = {"Content-Type": DICOM_JSON, **coding_headers(coding)}
        response = Response(await coded(body, coding), 200, headers)
    if ignored:
        response.headers.append("Warning", f'299 dicomstore "These parameters were ignored: {_names(ignored)}."')
    if more and query.limit <= MAX_LIMIT:
        response.headers.append("Warning", '299 dicomstore "There are additional results that can be requested."')
    return response


async def _pages(
    request: Request, question: SearchRequest, answer: SearchResponse, query: Search
) -> AsyncGenerator[list[bytes], None]:
    """Yield the matches of one page after the other, up to the limit; only one page is held at a time."""
    core: Core = request.app.state.core
    left = query.limit
    while True:
        yield _data_sets(answer, request, query)
        left -= len(answer.matches)
        if not left or not answer.next_page_token:
            return
        question.skip = 0
        question.page_token = answer.next_page_token
        question.page_size = min(left, MAX_LIMIT)
        answer = await core.ask(core.search.Search, question, call_metadata(request))


def parse_search(parameters: Sequence[Parameter], *, strict: bool, default_limit: int = DEFAULT_LIMIT) -> Search:
    """Return what a query string asks for.

    Repeated attributes are alternatives, repeated and comma-separated include fields add up, an empty value
    matches everything, and a limit may go beyond `MAX_LIMIT`; a strict client has none of these.

    Raises:
        Refusal: 400.
    """
    query = Search(
        fuzzy=boolean(parameters, "fuzzymatching", False),
        limit=_limit(parameters, strict=strict, default=default_limit),
        offset=integer(parameters, "offset", 0, 0),
    )
    for parameter in parameters:
        if parameter.key == "includefield":
            query.include += [name.strip() for name in parameter.value.split(",") if name.strip()]
        elif parameter.key in _UNSUPPORTED:
            query.ignored.append(parameter.name)
        elif parameter.name and parameter.key not in _NO_ATTRIBUTES:
            values = query.terms.setdefault(parameter.name, [])
            if strict and values:
                raise Refusal(400, f"The attribute {_names([parameter.name])} occurs more than once.")
            if strict and not parameter.value.strip():
                raise Refusal(400, f"The attribute {_names([parameter.name])} has no value.")
            values.append(parameter.value)
    names = [name for name in query.include if name.lower() != "all"]
    query.include_all = len(names) < len(query.include)
    if strict and query.include_all and names:
        raise Refusal(400, "The include field 'all' must be the only one.")
    query.include = names
    return query


def _limit(parameters: Sequence[Parameter], *, strict: bool, default: int) -> int:
    """Return how many matches are wanted at most; PS3.18 section 8.3.4.4 knows no upper bound."""
    text = first(parameters, "limit")
    if text is None and not strict:
        return default
    text = text or ""
    if not strict and re.fullmatch("[0-9]{1,9}", text) and MAX_LIMIT < int(text) <= MOST_ROWS:
        return int(text)
    return integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)


def returned_attributes(query: Search, scope: Scope, version: ApiVersion) -> list[str]:
    """Return what matches shall have: the defaults of the version, or all of them, and what is asked for.

    A study has no modality of its own. Who asks for it makes a list of studies, as OHIF does, and gets what PS3.18
    Table 10.6.3-3 has for that, too.
    """
    source = ALL_ATTRIBUTES if query.include_all else version.returned_attributes
    names = [name for level in scope.returned for name in source[level]]
    if scope.level == STUDY and not _MODALITY.isdisjoint(query.include):
        names += _OF_A_LIST_OF_STUDIES
    return list(dict.fromkeys([*names, *(name for name in query.include if name not in _RETRIEVE_URL)]))


def prefers_strict(request: Request) -> bool:
    """Say whether the client prefers an error to an answer that ignores something (RFC 7240 section 4.4)."""
    preferences = ",".join(request.headers.getlist("prefer")).replace(" ", "").replace('"', "").lower()
    return "handling=strict" in re.split("[,;]", preferences)


def _data_sets(answer: SearchResponse, request: Request, query: Search) -> list[bytes]:
    urls = urls_of(request)
    return [_data_set(match, urls, query.wants_retrieve_url) for match in answer.matches]


def _data_set(match: SearchMatch, urls: Urls, with_url: bool) -> bytes:
    data_set: bytes = match.dicom_json
    if not with_url and not has_bulk_data(data_set):
        return data_set
    uids = match.resource
    url = urls.study(uids.study_instance_uid)
    if uids.sop_instance_uid:
        url = urls.instance(uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
        data_set = with_bulk_data_urls(data_set, url)
    elif uids.series_instance_uid:
        url = urls.series(uids.study_instance_uid, uids.series_instance_uid)
    return with_retrieve_url(data_set, url) if with_url else data_set


def _names(names: Sequence[str]) -> str:
    """Return parameter names for a text; what does not look like an attribute is not repeated."""
    shown = [name if _SHOWN_NAME.fullmatch(name) else "?" for name in names[:20]]
    return ", ".join(dict.fromkeys(shown))
