"""C-MOVE and C-GET of the Query/Retrieve Service Class (PS3.4 sections C.4.2 and C.4.3)."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import grpc
from dicomstore.v1.search_service_pb2 import SearchRequest, SearchResponse

from dimse.associations.association import Association, Context, Request
from dimse.associations.commands import CommandField
from dimse.associations.errors import AssociationLost, CannotConnect
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings
from dimse.core import Core, call_metadata
from dimse.data_sets.writing import TRANSFER_SYNTAXES, write
from dimse.queries.identifiers import InvalidIdentifier, Level, parse
from dimse.retrieval.selection import Form, Selection, TooManyInstances, select
from dimse.retrieval.suboperations import Counts, Origin, SubOperations, TransferFailed
from dimse.retrieval.transfer_syntaxes import to_propose
from dimse.services import statuses
from dimse.services.failures import Failure, invalid_identifier, of_core

PATIENT_ROOT_MOVE, PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_MOVE, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"

RETRIEVE_EXTENSIONS = b"\1"
"""Relational retrieval (PS3.4 section C.5.2.1)."""

CANNOT_COUNT, CANNOT_SEND, UNKNOWN_DESTINATION = 0xA701, 0xA702, 0xA801
SOME_FAILED = 0xB000
"""Sub-operations complete, with failures or warnings."""

_FAILED_UIDS = "00080058"
_MODELS: Mapping[CommandField, frozenset[str]] = MappingProxyType(
    {
        CommandField.C_MOVE: frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE}),
        CommandField.C_GET: frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET}),
    }
)
_LEVELS = frozenset(Level)
"""Of both models: Orthanc retrieves patients with the Study Root model."""

_MAX_CONTEXTS = 128

_log = logging.getLogger("dimse")


class _Retrieve:
    """What C-MOVE and C-GET have in common."""

    commands: Sequence[CommandField]

    def __init__(self, core: Core) -> None:
        self._core = core

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return those of the two information models."""
        return TRANSFER_SYNTAXES if abstract_syntax in _MODELS[self.commands[0]] else ()

    def association_ended(self, association: Association) -> None:
        """Nothing is kept."""

    def _select(self, request: Request, operation: str) -> Selection | Failure:
        """Return the instances to send, or why there are none."""
        peer, context = request.peer, request.context
        metadata = call_metadata(peer, operation)

        def search(query: SearchRequest) -> SearchResponse:
            found: SearchResponse = self._core.search.Search(query, metadata=metadata, timeout=self._core.call_seconds)
            return found

        try:
            identifier = parse(request.data_set(), context.transfer_syntax)
            level = identifier.level(_LEVELS)
            return select(identifier, level, peer.partition, search)
        except InvalidIdentifier as error:
            return invalid_identifier(error)
        except TooManyInstances:
            return Failure(CANNOT_COUNT, {"error_comment": "There are too many instances for one operation"})
        except grpc.RpcError as error:
            return of_core(error, CANNOT_COUNT, statuses.CANNOT_UNDERSTAND)

    def _run(
        self, request: Request, operation: str, selection: Selection, operations: SubOperations, counts: Counts
    ) -> bool:
        """Send the instances; return False if the operation was cancelled."""
        metadata = call_metadata(request.peer, operation)
        return operations.run(
            selection,
            request.peer.partition,
            partial(self._core.retrieve_instances, metadata=metadata),
            counts,
            is_cancelled=request.is_cancelled,
            report=lambda: request.respond(statuses.PENDING, **counts.of_response(is_final=False)),
        )


class Get(_Retrieve):
    """Sends instances on the association of the request."""

    commands = (CommandField.C_GET,)

    def serve(self, request: Request) -> None:
        """Send the instances, and respond."""
        selection = self._select(request, "C-GET")
        if isinstance(selection, Failure):
            request.respond(selection.status, **selection.elements)
            return
        association = request.association
        can_receive = {uid for uid, role in association.roles.items() if role.scp}
        contexts = by_class(one for one in association.contexts.values() if one.abstract_syntax in can_receive)
        counts = Counts("C-GET", selection.count())
        operations = SubOperations(association, contexts, Origin(), request.command.priority or 0)
        try:
            is_complete = self._run(request, "C-GET", selection, operations, counts)
        except TransferFailed as error:
            raise AssociationLost(str(error)) from error
        _respond_finally(request, counts, is_complete=is_complete)


class Move(_Retrieve):
    """Sends instances to a remote of the settings, on a new association."""

    commands = (CommandField.C_MOVE,)

    def __init__(self, core: Core, requestor: Requestor) -> None:
        """`requestor` opens associations with remotes."""
        super().__init__(core)
        self._requestor = requestor

    def serve(self, request: Request) -> None:
        """Send the instances, and respond."""
        selection = self._select(request, "C-MOVE")
        if isinstance(selection, Failure):
            request.respond(selection.status, **selection.elements)
            return
        remote = self._requestor.remote(request.command.move_destination or "")
        if remote is None:
            comment = "The settings have no remote with this AE title and a host"
            request.respond(UNKNOWN_DESTINATION, error_comment=comment)
            return
        counts = Counts("C-MOVE", selection.count())
        is_complete = True
        if counts.remaining:
            is_complete = self._send(request, selection, remote, counts)
        _respond_finally(request, counts, is_complete=is_complete)

    def _send(self, request: Request, selection: Selection, remote: RemoteSettings, counts: Counts) -> bool:
        """Send the instances to the destination; return False if the operation was cancelled.

        If there is no association with it, or it ends, the remaining sub-operations fail.
        """
        try:
            association = self._requestor.open(
                remote, contexts_for(selection.forms()), calling=request.peer.called_ae_title
            )
        except CannotConnect as error:
            _log.info("destination=%s event=failed reason=%s", remote.ae_title, error)
            _fail_remaining(counts, selection)
            return True
        origin = Origin(request.peer.ae_title, request.command.message_id)
        contexts = by_class(association.contexts.values())
        operations = SubOperations(association, contexts, origin, request.command.priority or 0)
        try:
            is_complete = self._run(request, "C-MOVE", selection, operations, counts)
            association.release()
        except TransferFailed as error:
            _log.info("destination=%s event=lost reason=%s", remote.ae_title, error)
            _fail_remaining(counts, selection)
            return True
        finally:
            association.close()
        return is_complete


def contexts_for(forms: Iterable[Form]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the presentation contexts to propose for instances: SOP class and transfer syntaxes of each.

    If there are too many for an association, those for stored transfer syntaxes are left out first.
    """
    stored: dict[str, set[str]] = {}
    for form in forms:
        if form.sop_class:
            stored.setdefault(form.sop_class, set()).add(form.transfer_syntax)
    proposed = {sop_class: to_propose(syntaxes) for sop_class, syntaxes in stored.items()}
    first = [(sop_class, syntaxes[0]) for sop_class, syntaxes in proposed.items()]
    others = [(sop_class, one) for sop_class, syntaxes in proposed.items() for one in syntaxes[1:]]
    return [*first, *others][:_MAX_CONTEXTS]


def by_class(contexts: Iterable[Context]) -> dict[str, dict[str, Context]]:
    """Return contexts by SOP class and transfer syntax."""
    found: dict[str, dict[str, Context]] = {}
    for context in contexts:
        found.setdefault(context.abstract_syntax, {}).setdefault(context.transfer_syntax, context)
    return found


def _fail_remaining(counts: Counts, selection: Selection) -> None:
    for uid in selection.uids():
        counts.fail(uid)


def _respond_finally(request: Request, counts: Counts, *, is_complete: bool) -> None:
    """Send the final response, with the UIDs of failed instances if there are any."""
    has_success = bool(counts.completed or counts.warning)
    if not is_complete:
        status = statuses.CANCEL
    elif counts.failed and not has_success:
        status = CANNOT_SEND
    elif counts.failed or counts.warning:
        status = SOME_FAILED
    else:
        status = statuses.SUCCESS
    identifier = None
    if counts.failed:
        failed = {_FAILED_UIDS: {"vr": "UI", "Value": counts.failed_uids}}
        identifier = write(failed, request.context.transfer_syntax, ())
    request.respond(status, identifier, **counts.of_response(is_final=is_complete))
