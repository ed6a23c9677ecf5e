"""Search for workitems (PS3.18 section 11.9). The core knows attributes and matching rules."""

from collections.abc import AsyncGenerator

from dicomstore.v1.workitem_service_pb2 import SearchWorkitemsRequest, SearchWorkitemsResponse, WorkitemTerm
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import partition_of, urls_of
from facade.request.query import accepted_media_ranges, parameters_of, prefers_strict
from facade.request.search_query import MAX_LIMIT, Search, parse_search, shown_names
from facade.response.content_coding import coded_chunks, coding_headers, coding_of
from facade.response.search_bodies import form_for
from facade.response.search_pages import next_page, remaining
from facade.response.streaming import StreamedResponse
from facade.serving.observe import call_metadata


async def search(request: Request) -> Response:
    """GET /workitems: search for workitems, newest first."""
    form = form_for(accepted_media_ranges(request))
    strict = prefers_strict(request)
    query = parse_search(parameters_of(request), strict=strict)
    if query.labels or query.prior_record_key:
        raise Refusal(400, "Workitems have neither labels nor record keys.")
    wanted = SearchWorkitemsRequest(
        partition=partition_of(request),
        terms=[WorkitemTerm(attribute=name, values=values) for name, values in query.terms.items()],
        fuzzy_matching=query.fuzzy,
        empty_value_matching=query.matches_empty,
        include_attributes=query.include,
        include_all=query.include_all,
        page_size=min(query.limit, MAX_LIMIT),
        page_token=query.page_token,
        skip=query.offset,
        strict=strict,
        total_count=query.wants_total,
    )
    core: Core = request.app.state.core
    answer: SearchWorkitemsResponse = await core.call(core.workitems.SearchWorkitems, wanted, call_metadata(request))
    ignored = list(answer.ignored_attributes)
    if strict and ignored:
        raise Refusal(400, f"The query has parameters that are not supported: {shown_names(ignored)}.")
    response = Response(status_code=204)
    if answer.matches:
        pages = _pages(request, wanted, answer, query)
        coding = coding_of(request)
        headers = {"Content-Type": form.content_type, **coding_headers(coding, "Accept")}
        chunks = coded_chunks(form.chunks(pages), coding)
        response = StreamedResponse(chunks, headers, source=pages, idle_seconds=core.idle_seconds)
    total = answer.total_count if answer.HasField("total_count") else None
    if query.wants_total:
        response.headers["X-Total-Count"] = str(total)
    if ignored:
        response.headers.append("Warning", f'299 dicomstore "These parameters were ignored: {shown_names(ignored)}."')
    is_whole_page = len(answer.matches) == query.limit
    if answer.next_page_token and is_whole_page:
        if left := remaining(query, total):
            response.headers.append("Warning", f'299 dicomstore "There are {left} that can be requested."')
        if link := next_page(request, urls_of(request), answer.next_page_token):
            response.headers["Link"] = link
    return response


async def _pages(
    request: Request, wanted: SearchWorkitemsRequest, answer: SearchWorkitemsResponse, query: Search
) -> AsyncGenerator[list[bytes], None]:
    """Yield the data sets of matches page by page, up to the limit; only one page is in memory."""
    core: Core = request.app.state.core
    left = query.limit
    while True:
        yield [match.dicom_json for match in answer.matches]
        left -= len(answer.matches)
        if not left or not answer.next_page_token:
            return
        wanted.skip, wanted.total_count = 0, False
        wanted.page_token = answer.next_page_token
        wanted.page_size = min(left, MAX_LIMIT)
        answer = await core.call(core.workitems.SearchWorkitems, wanted, call_metadata(request))
