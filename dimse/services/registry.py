"""The services of the gateway. A new service is a module in this package and a line in `services_of`."""

import logging
from collections.abc import Sequence

from dimse.associations.association import Request
from dimse.associations.errors import AssociationLost, ProtocolError, described
from dimse.associations.requestor import Requestor
from dimse.config import Settings
from dimse.core import Core
from dimse.services import statuses
from dimse.services.commitment.commitment import BeginReport, Commitments
from dimse.services.echo import Echo
from dimse.services.find import FIND_EXTENSIONS, PATIENT_ROOT_FIND, STUDY_ROOT_FIND, Find
from dimse.services.observation import observed
from dimse.services.procedure_steps import ProcedureSteps
from dimse.services.retrieve import (
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    RETRIEVE_EXTENSIONS,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    Get,
    Move,
)
from dimse.services.service import Service
from dimse.services.storage.store import Store
from dimse.services.worklist import MODALITY_WORKLIST, WORKLIST_EXTENSIONS, Worklist

_log = logging.getLogger("dimse")


_EXTENSIONS = {
    **dict.fromkeys((PATIENT_ROOT_FIND, STUDY_ROOT_FIND), FIND_EXTENSIONS),
    **dict.fromkeys((PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE, PATIENT_ROOT_GET, STUDY_ROOT_GET), RETRIEVE_EXTENSIONS),
    MODALITY_WORKLIST: WORKLIST_EXTENSIONS,
}
"""Supported Service Class Application Information by SOP class."""


def services_of(settings: Settings, core: Core, requestor: Requestor, begin_report: BeginReport) -> list[Service]:
    """Return all services."""
    return [
        Echo(),
        Store(settings, core),
        Commitments(core, begin_report),
        Find(core, settings.max_matches),
        Get(core),
        Move(core, requestor),
        ProcedureSteps(core),
        Worklist(core, settings.max_matches),
    ]


def extension(abstract_syntax: str, proposed: bytes) -> bytes:
    """Return the accepted part of proposed Service Class Application Information (PS3.4 section C.5)."""
    supported = _EXTENSIONS.get(abstract_syntax, b"")
    return bytes(one & other for one, other in zip(proposed, supported, strict=False))


class Dispatcher:
    """Finds the service for a request, and the transfer syntaxes of SOP classes."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._known: dict[str, frozenset[str]] = {}

    def transfer_syntaxes(self, abstract_syntax: str) -> frozenset[str]:
        """Return the transfer syntaxes of all services for a SOP class."""
        known = self._known.get(abstract_syntax)
        if known is None:
            known = frozenset(
                syntax for service in self._services for syntax in service.transfer_syntaxes(abstract_syntax)
            )
            if known:  # only these: a peer may propose any number of others
                self._known[abstract_syntax] = known
        return known

    def serve(self, request: Request) -> None:
        """Serve a request; the peer always gets a final response, unless the association is over.

        Raises:
            AssociationLost, ProtocolError: the association is over.
        """
        with observed(request):
            self._serve(request)

    def _serve(self, request: Request) -> None:
        service = self._service(request)
        try:
            if service is None:
                request.association.discard_data_set()
                request.respond(statuses.UNRECOGNIZED_OPERATION)
                return
            service.serve(request)
        except (AssociationLost, ProtocolError):
            raise
        except Exception as error:  # noqa: BLE001 - the association continues
            _log.error("a request of %s failed: %s", request.peer.uri, described(error))
            request.association.discard_data_set()
            request.respond(statuses.PROCESSING_FAILURE)

    def _service(self, request: Request) -> Service | None:
        field, syntax = request.command.field, request.context.abstract_syntax
        for service in self._services:
            if field in service.commands and service.transfer_syntaxes(syntax):
                return service
        return None
