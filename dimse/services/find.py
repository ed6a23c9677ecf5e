"""C-FIND of the Query/Retrieve Service Class (PS3.4 section C.4.1)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from dimse.associations.association import Association, Request
from dimse.associations.commands import CommandField
from dimse.core import Core, call_metadata
from dimse.data_sets.writing import TRANSFER_SYNTAXES
from dimse.queries.identifiers import InvalidIdentifier, Level, parse
from dimse.queries.requests import search_request
from dimse.queries.responses import ResponseWriter, computed_values
from dimse.services.failures import invalid_identifier
from dimse.services.matches import PAGE_SIZE, matching_of, pages_ahead, send_matches

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

FIND_EXTENSIONS = bytes((1, 1, 1, 1, 0, 1, 1))
"""Relational queries, combined date and time ranges, fuzzy names, time zones, no views, empty and multiple values."""

_LEVELS: Mapping[str, frozenset[Level]] = MappingProxyType(
    {PATIENT_ROOT_FIND: frozenset(Level), STUDY_ROOT_FIND: frozenset(Level) - {Level.PATIENT}}
)


class Find:
    """Serves queries for patients, studies, series and instances."""

    commands = (CommandField.C_FIND,)

    def __init__(self, core: Core, most_matches: int) -> None:
        """`most_matches`: the query fails after this number of matches."""
        self._core = core
        self._most_matches = most_matches

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return those of the two information models."""
        return TRANSFER_SYNTAXES if abstract_syntax in _LEVELS else ()

    def serve(self, request: Request) -> None:
        """Respond with the matches, and a final status."""
        peer, context = request.peer, request.context
        matching = matching_of(request)
        try:
            identifier = parse(request.data_set(), context.transfer_syntax)
            level = identifier.level(_LEVELS[context.abstract_syntax])
            search = search_request(identifier, level, peer.partition, matching, PAGE_SIZE)
        except InvalidIdentifier as error:
            failure = invalid_identifier(error)
            request.respond(failure.status, **failure.elements)
            return
        writer = ResponseWriter(identifier, context.transfer_syntax, computed_values(level, peer.called_ae_title))
        send_matches(
            request,
            pages_ahead(self._core.search.Search, search, call_metadata(peer, "C-FIND"), self._core.call_seconds),
            lambda match: writer.write(match.dicom_json),
            self._most_matches,
        )

    def association_ended(self, association: Association) -> None:
        """Nothing is kept."""
