"""Modality Worklist (PS3.4 Annex K)."""

from collections.abc import Sequence

import orjson
from dicomstore.v1.workitem_service_pb2 import WorkitemMatch

from dimse.associations.association import Association, Request
from dimse.associations.commands import CommandField
from dimse.core import Core, call_metadata
from dimse.data_sets.writing import TRANSFER_SYNTAXES
from dimse.queries.identifiers import InvalidIdentifier, parse
from dimse.queries.responses import ResponseWriter
from dimse.services.failures import invalid_identifier
from dimse.services.matches import PAGE_SIZE, matching_of, pages_ahead, send_matches
from dimse.worklist.matching import WorklistQuery
from dimse.worklist.scheduled_steps import step_of

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
WORKLIST_EXTENSIONS = bytes((0, 0, 1))
"""Fuzzy matching of names (PS3.4 section K.5.1.1)."""


class Worklist:
    """Serves queries for scheduled procedure steps."""

    commands = (CommandField.C_FIND,)

    def __init__(self, core: Core, most_matches: int) -> None:
        """`most_matches`: the query fails after this number of matches."""
        self._core = core
        self._most_matches = most_matches

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return those of the Modality Worklist Information Model."""
        return TRANSFER_SYNTAXES if abstract_syntax == MODALITY_WORKLIST else ()

    def serve(self, request: Request) -> None:
        """Respond with the matches, and a final status."""
        peer = request.peer
        matching = matching_of(request)
        try:
            identifier = parse(request.data_set(), request.context.transfer_syntax)
            query = WorklistQuery(identifier)
        except InvalidIdentifier as error:
            failure = invalid_identifier(error)
            request.respond(failure.status, **failure.elements)
            return
        writer = ResponseWriter(identifier, request.context.transfer_syntax, {})

        def identifier_of(match: WorkitemMatch) -> bytes | None:
            step = step_of(orjson.loads(match.dicom_json))
            return writer.of_data_set(step) if step is not None and query.matches(step) else None

        search = query.request(peer.partition, matching, PAGE_SIZE)
        rpc, metadata = self._core.workitems.SearchWorkitems, call_metadata(peer, "C-FIND")
        pages = pages_ahead(rpc, search, metadata, self._core.call_seconds)
        send_matches(request, pages, identifier_of, self._most_matches)

    def association_ended(self, association: Association) -> None:
        """Nothing is kept."""
