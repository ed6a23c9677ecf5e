"""QIDO-RS: search for studies, series and instances (PS3.18 section 10.6).

The core knows the attributes and matching rules; this module parses the query string. Unknown parameters are ignored
and reported in a Warning header, or refused with `Prefer: handling=strict`.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from dicomstore.v1.search_service_pb2 import QueryLevel, SearchMatch, SearchRequest, SearchResponse, SortKey, Term
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import Urls, resource_of, urls_of
from facade.request.azure.external_metadata import requests_external_metadata
from facade.request.query import accepted_media_ranges, parameters_of, prefers_strict
from facade.request.search_query import DEFAULT_LIMIT, MAX_LIMIT, MAX_ROWS, Search, parse_search, shown_names
from facade.response.content_coding import IDENTITY, WORTH_BYTES, coded, coded_chunks, coding_headers, coding_of
from facade.response.dicom_json import has_bulk_data, with_bulk_data_urls
from facade.response.search_bodies import form_for
from facade.response.search_pages import next_page, remaining
from facade.response.streaming import StreamedResponse
from facade.serving.observe import call_metadata
from facade.versions import ALL_ATTRIBUTES, INSTANCE, SERIES, STUDY, ApiVersion


@dataclass(frozen=True, slots=True)
class Scope:
    """One of the six search resources.

    level: level of the matches.
    returned: the levels of the default attributes in a match.
    default_limit: limit for clients that give none and are not strict. Below a study or series it is the maximum,
        because viewers list its contents without a limit and do not request further pages.
    """

    level: QueryLevel
    returned: tuple[QueryLevel, ...]
    default_limit: int = DEFAULT_LIMIT


_ALL_STUDIES = Scope(STUDY, (STUDY,))
_ALL_SERIES = Scope(SERIES, (STUDY, SERIES))
_ALL_INSTANCES = Scope(INSTANCE, (STUDY, SERIES, INSTANCE))
_SERIES_OF_STUDY = Scope(SERIES, (SERIES,), MAX_ROWS)
_INSTANCES_OF_STUDY = Scope(INSTANCE, (SERIES, INSTANCE), MAX_ROWS)
_INSTANCES_OF_SERIES = Scope(INSTANCE, (INSTANCE,), MAX_ROWS)


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
    form = form_for(accepted_media_ranges(request))
    strict = prefers_strict(request)
    query = parse_search(parameters_of(request), strict=strict, default_limit=scope.default_limit)
    core: Core = request.app.state.core
    urls = urls_of(request)
    core_request = SearchRequest(
        level=scope.level,
        scope=resource_of(request),
        terms=[Term(attribute=name, values=values) for name, values in query.terms.items()],
        fuzzy_matching=query.fuzzy,
        empty_value_matching=query.matches_empty,
        include_attributes=returned_attributes(query, scope, request.path_params["version"]),
        page_size=min(query.limit, MAX_LIMIT),
        page_token=query.page_token,
        prior_record_key=query.prior_record_key,
        skip=query.offset,
        strict=strict,
        total_count=query.wants_total,
        retrieve_url_base=urls.base,
        include_labels=query.labels,
        external_metadata=requests_external_metadata(request),
        sort=[SortKey(attribute=name, descending=descending) for name, descending in query.sort],
    )
    answer: SearchResponse = await core.call(core.search.Search, core_request, call_metadata(request))
    ignored = list(answer.ignored_attributes)
    if strict and ignored:
        raise Refusal(400, f"The query has parameters that are not supported: {shown_names(ignored)}.")
    more = bool(answer.next_page_token)
    response = Response(status_code=204)
    if more and query.limit > MAX_LIMIT:
        pages = _pages(request, core_request, answer, query)
        coding = coding_of(request)
        headers = {"Content-Type": form.content_type, **coding_headers(coding, "Accept")}
        chunks = coded_chunks(form.chunks(pages), coding)
        response = StreamedResponse(chunks, headers, source=pages, idle_seconds=core.idle_seconds)
    elif answer.matches:
        body = await form.whole(_data_sets(answer, urls))
        coding = coding_of(request) if len(body) >= WORTH_BYTES else IDENTITY
        headers = {"Content-Type": form.content_type, **coding_headers(coding, "Accept")}
        response = Response(await coded(body, coding), 200, headers)
    total = answer.total_count if answer.HasField("total_count") else None
    if query.wants_total:
        response.headers["X-Total-Count"] = str(total)
    if answer.erroneous_attributes:
        response.headers["erroneous-dicom-attributes"] = ",".join(answer.erroneous_attributes)
    if ignored:
        response.headers.append("Warning", f'299 dicomstore "These parameters were ignored: {shown_names(ignored)}."')
    if left := more and remaining(query, total):
        response.headers.append("Warning", f'299 dicomstore "There are {left} that can be requested."')
    if more and query.limit <= MAX_LIMIT and (link := next_page(request, urls, answer.next_page_token)):
        response.headers["Link"] = link
    return response


async def _pages(
    request: Request, core_request: SearchRequest, answer: SearchResponse, query: Search
) -> AsyncGenerator[list[bytes], None]:
    """Yield the matches page by page, up to the limit; only one page is in memory."""
    core: Core = request.app.state.core
    urls = urls_of(request)
    left = query.limit
    while True:
        yield _data_sets(answer, urls)
        left -= len(answer.matches)
        if not left or not answer.next_page_token:
            return
        core_request.skip, core_request.total_count = 0, False
        core_request.page_token = answer.next_page_token
        core_request.page_size = min(left, MAX_LIMIT)
        answer = await core.call(core.search.Search, core_request, call_metadata(request))


def returned_attributes(query: Search, scope: Scope, version: ApiVersion) -> list[str]:
    """Return the attributes of matches: the defaults of the version, or all attributes, and the include fields."""
    sources = (version.returned_attributes, ALL_ATTRIBUTES) if query.include_all else (version.returned_attributes,)
    names = [name for source in sources for level in scope.returned for name in source[level]]
    return list(dict.fromkeys([*names, *query.include]))


def _data_sets(answer: SearchResponse, urls: Urls) -> list[bytes]:
    return [
        _with_urls(match, urls) if has_bulk_data(data_set := match.dicom_json) else data_set for match in answer.matches
    ]


def _with_urls(match: SearchMatch, urls: Urls) -> bytes:
    data_set: bytes = match.dicom_json
    uids = match.resource
    if not uids.sop_instance_uid:
        return data_set
    url = urls.instance(uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
    return with_bulk_data_urls(data_set, url)
