"""SearchService."""

from typing import Any

from dicomstore.v1 import resources_pb2 as resources
from dicomstore.v1 import search_service_pb2 as pb
from dicomstore.v1 import search_service_pb2_grpc

from server.domain.search.request import RequestedSort, SearchRequest, Term
from server.domain.search.search import Search, SearchMatch, SearchResult
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import Level
from server.rpc import convert
from server.rpc.interceptors.call_context import Context

_LEVELS = {
    pb.QUERY_LEVEL_PATIENT: Level.STUDY,
    pb.QUERY_LEVEL_STUDY: Level.STUDY,
    pb.QUERY_LEVEL_SERIES: Level.SERIES,
    pb.QUERY_LEVEL_INSTANCE: Level.INSTANCE,
}


class SearchServicer(search_service_pb2_grpc.SearchServiceServicer):
    """Implements SearchService with `Search`."""

    def __init__(self, search: Search) -> None:
        self._search = search

    async def Search(self, request: pb.SearchRequest, context: Context) -> "SearchPage":
        """See the contract."""
        return SearchPage(await self._search.search(context.call, _request(request)))


class FoundMatch:
    """SearchMatch."""

    __slots__ = ("_address", "dicom_json")

    def __init__(self, match: SearchMatch) -> None:
        self.dicom_json = match.dicom_json
        self._address = match.resource

    @property
    def resource(self) -> resources.Address:
        """The address, converted to a message only when it is used."""
        return convert.address_message(self._address)


class SearchPage:
    """SearchResponse. Only gRPC converts it to a message, because that takes longer than composing the matches."""

    def __init__(self, result: SearchResult) -> None:
        self.matches = [FoundMatch(match) for match in result.matches]
        self.next_page_token = result.next_page_token
        self.ignored_attributes = result.ignored_attributes
        self.erroneous_attributes = result.erroneous_attributes
        self.total_count = result.total_count

    def HasField(self, name: str) -> bool:
        """True if a field is set, as in messages."""
        return getattr(self, name) is not None

    def serialized(self, message_class: Any) -> bytes:
        """Return the page serialized as a message of this class."""
        message = message_class(
            next_page_token=self.next_page_token,
            ignored_attributes=self.ignored_attributes,
            erroneous_attributes=self.erroneous_attributes,
            total_count=self.total_count,
        )
        for match in self.matches:  # adding a message to another one copies it
            message.matches.add(resource=match.resource, dicom_json=match.dicom_json)
        serialized: bytes = message.SerializeToString()
        return serialized


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
        include_labels=request.include_labels,
        external_metadata=request.external_metadata,
        by_patient=request.level == pb.QUERY_LEVEL_PATIENT,
        relational=request.relational,
        sort=tuple(RequestedSort(key.attribute, key.descending) for key in request.sort),
    )
