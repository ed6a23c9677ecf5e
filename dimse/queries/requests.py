"""Keys of an identifier as terms and return attributes of a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dicomstore.v1.search_service_pb2 import (
    QUERY_LEVEL_INSTANCE,
    QUERY_LEVEL_PATIENT,
    QUERY_LEVEL_SERIES,
    QUERY_LEVEL_STUDY,
    QueryLevel,
    SearchRequest,
    Term,
)

from dimse.queries.identifiers import COMPUTED, Identifier, Level

LEVELS: Mapping[Level, QueryLevel] = MappingProxyType(
    {
        Level.PATIENT: QUERY_LEVEL_PATIENT,
        Level.STUDY: QUERY_LEVEL_STUDY,
        Level.SERIES: QUERY_LEVEL_SERIES,
        Level.IMAGE: QUERY_LEVEL_INSTANCE,
    }
)


@dataclass(frozen=True, slots=True)
class Matching:
    """Extensions of matching that were negotiated (PS3.4 section C.5.1.1).

    Ranges of a date and its time are always combined, and time zones taken into account.
    """

    relational: bool = False
    fuzzy: bool = False
    empty_values: bool = False

    @classmethod
    def of_negotiation(cls, information: bytes) -> "Matching":
        """Return the extensions in the accepted Service Class Application Information (PS3.4 Table C.5-2)."""
        flags = information.ljust(6, b"\0")
        return cls(relational=flags[0] == 1, fuzzy=flags[2] == 1, empty_values=flags[5] == 1)


def search_request(
    identifier: Identifier, level: Level, partition: str, matching: Matching, page_size: int
) -> SearchRequest:
    """Return the search for the first page of the matches.

    Attributes of all levels from the highest one of the information model to that of the matches are keys, with or
    without the unique keys of the levels above.

    Raises:
        InvalidIdentifier: a sequence has several items.
    """
    request = SearchRequest(
        level=LEVELS[level],
        fuzzy_matching=matching.fuzzy,
        empty_value_matching=matching.empty_values,
        relational=matching.relational,
        page_size=page_size,
        terms=[Term(attribute=".".join(key.path), values=key.values) for key in identifier.matching_keys()],
        include_attributes=[tag for tag in identifier.data_set if tag not in COMPUTED],
    )
    request.scope.partition = partition
    return request
