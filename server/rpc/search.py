"""SearchService."""

from dicomstore.v1 import search_service_pb2 as pb
from dicomstore.v1 import search_service_pb2_grpc

from server.domain.search.request import SearchRequest, Term
from server.domain.search.search import Search
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import Level
from server.rpc import convert
from server.rpc.interceptors.call_context import Context

_LEVELS = {
    pb.QUERY_LEVEL_STUDY: Level.STUDY,
    pb.QUERY_LEVEL_SERIES: Level.SERIES,
    pb.QUERY_LEVEL_INSTANCE: Level.INSTANCE,
}


class SearchServicer(search_service_pb2_grpc.SearchServiceServicer):
    """Speaks SearchService for `Search`."""

    def __init__(self, search: Search) -> None:
        self._search = search

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        """See the contract."""
        result = await self._search.search(context.call, _request(request))
        response = pb.SearchResponse(
            next_page_token=result.next_page_token,
            ignored_attributes=result.ignored_attributes,
            erroneous_attributes=result.erroneous_attributes,
        )
        if result.total_count is not None:
            response.total_count = result.total_count
        for match in result.matches:  # a message is copied whenever it is put into another
            response.matches.add(resource=convert.address_message(match.resource), dicom_json=match.dicom_json)
        return response


def _request(request: pb.SearchRequest) -> SearchRequest:
    if request.level not in _LEVELS:
        message = f"level: unknown value {request.level}." if request.level else "level is required."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="level")
    return SearchRequest(
        level=_LEVELS[request.level],
        scope=convert.address(request.scope),
        terms=tuple(Term(term.attribute, tuple(term.values)) for term in request.terms),
        fuzzy_matching=request.fuzzy_matching,
        include_attributes=tuple(request.include_attributes),
        include_all=request.include_all,
        page_size=request.page_size,
        page_token=request.page_token,
        prior_record_key=request.prior_record_key,
        skip=request.skip,
        strict=request.strict,
        empty_value_matching=request.empty_value_matching,
        total_count=request.total_count,
        retrieve_url_base=request.retrieve_url_base,
    )
