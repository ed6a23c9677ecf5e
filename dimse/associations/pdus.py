"""PDUs that establish and end associations (PS3.8 section 9.3), encoded and decoded by pynetdicom."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import PresentationContextItemRQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from dimse.associations.errors import ProtocolError

IMPLEMENTATION_CLASS_UID = "2.25.152405951230771313210763692461971624025"
"""Of the archive, also in the file meta information that it writes."""

IMPLEMENTATION_VERSION_NAME = "DICOMSTORE"

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


class PduType(IntEnum):
    """PDU types."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


RELEASE_RQ = struct.pack(">BBLL", PduType.RELEASE_RQ, 0, 4, 0)
RELEASE_RP = struct.pack(">BBLL", PduType.RELEASE_RP, 0, 4, 0)


class AbortSource(IntEnum):
    """Source of an A-ABORT: this application, or its implementation of the protocol."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


def abort(source: AbortSource) -> bytes:
    """Return an A-ABORT PDU, without a reason."""
    return struct.pack(">BBLBBBB", PduType.ABORT, 0, 4, 0, 0, source, 0)


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The result of a proposed presentation context: 0 accepted, 3 unknown abstract syntax, 4 no transfer syntax."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Roles:
    """Roles of the requestor for a SOP class (PS3.7 section D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """The content of an A-ASSOCIATE-RQ.

    max_pdu_bytes: largest PDU that the requestor accepts; 0 means no limit.
    roles: proposed roles by SOP class.
    extended: proposed Service Class Application Information by SOP class (PS3.7 section D.3.3.5).
    """

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int
    roles: Mapping[str, Roles]
    extended: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AssociationAcceptance:
    """The content of an A-ASSOCIATE-AC; members as in `AssociationRequest`."""

    results: tuple[ContextResult, ...]
    max_pdu_bytes: int
    roles: Mapping[str, Roles]
    extended: Mapping[str, bytes] = field(default_factory=dict)


def decode_request(data: bytes) -> AssociationRequest:
    """Return the content of a PDU with type and length. Raises ProtocolError if it is malformed.

    Presentation contexts may have even IDs: PS3.8 section 9.3.2.2 forbids them, and dcm4che's `stgcmtscu` uses them.
    """
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(data)
        contexts = tuple(
            ProposedContext(int(item.context_id or 0), str(item.abstract_syntax), tuple(map(str, item.transfer_syntax)))
            for item in pdu.presentation_context
        )
        pdu.variable_items = [one for one in pdu.variable_items if not isinstance(one, PresentationContextItemRQ)]
        primitive = pdu.to_primitive()
    except Exception:  # noqa: BLE001 - pynetdicom raises whatever the malformed bytes cause
        raise ProtocolError("the PDU is malformed") from None
    return AssociationRequest(
        primitive.called_ae_title.strip(), primitive.calling_ae_title.strip(), contexts, *_user_information(primitive)
    )


def decode_acceptance(data: bytes) -> AssociationAcceptance:
    """Return the content of a PDU with type and length. Raises ProtocolError if it is malformed."""
    primitive = _primitive(A_ASSOCIATE_AC(), data)
    results = tuple(
        ContextResult(
            context.context_id, context.result, str(context.transfer_syntax[0]) if context.transfer_syntax else ""
        )
        for context in primitive.presentation_context_definition_results_list
    )
    return AssociationAcceptance(results, *_user_information(primitive))


def decode_rejection(data: bytes) -> tuple[int, int, int]:
    """Return result, source and reason of an A-ASSOCIATE-RJ PDU."""
    if len(data) != 10:
        raise ProtocolError("the PDU is malformed")
    return data[7], data[8], data[9]


def encode_acceptance(request: AssociationRequest, acceptance: AssociationAcceptance) -> bytes:
    """Return an A-ASSOCIATE-AC PDU."""
    primitive = _associate(request, acceptance)
    primitive.result = 0
    contexts = []
    for one in acceptance.results:
        context = PresentationContext()
        context.context_id = 1  # pynetdicom has none that are even
        context.result = one.result
        context.add_transfer_syntax(one.transfer_syntax)
        contexts.append(context)
    primitive.presentation_context_definition_results_list = contexts
    pdu = A_ASSOCIATE_AC(primitive)
    for item, one in zip(pdu.presentation_context, acceptance.results, strict=True):
        item.presentation_context_id = one.context_id
    return bytes(pdu.encode())


def encode_rejection(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU."""
    primitive = A_ASSOCIATE()
    primitive.result, primitive.result_source, primitive.diagnostic = result, source, reason
    return bytes(A_ASSOCIATE_RJ(primitive).encode())


def encode_request(request: AssociationRequest) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU."""
    primitive = _associate(request, request)
    nowhere = AddressInformation("127.0.0.1", 104)  # not part of the PDU
    primitive.calling_presentation_address = primitive.called_presentation_address = nowhere
    contexts = []
    for one in request.contexts:
        context = PresentationContext()
        context.context_id = one.context_id
        context.abstract_syntax = UID(one.abstract_syntax)
        context.transfer_syntax = list(one.transfer_syntaxes)
        contexts.append(context)
    primitive.presentation_context_definition_list = contexts
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def _associate(request: AssociationRequest, sent: AssociationRequest | AssociationAcceptance) -> A_ASSOCIATE:
    """Return the primitive with the AE titles of a request, and the user information that is sent."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.called_ae_title, primitive.calling_ae_title = request.called, request.calling
    max_length = MaximumLengthNotification()
    max_length.maximum_length_received = sent.max_pdu_bytes
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    items: list[Any] = [max_length, class_uid, version]
    for sop_class, role in sent.roles.items():
        item = SCP_SCU_RoleSelectionNegotiation()
        item.sop_class_uid = UID(sop_class)
        item.scu_role, item.scp_role = role.scu, role.scp
        items.append(item)
    for sop_class, information in sent.extended.items():
        extension = SOPClassExtendedNegotiation()
        extension.sop_class_uid = UID(sop_class)
        extension.service_class_application_information = information
        items.append(extension)
    primitive.user_information = items
    return primitive


def _primitive(pdu: Any, data: bytes) -> Any:
    try:
        pdu.decode(data)
        return pdu.to_primitive()
    except Exception:  # noqa: BLE001 - pynetdicom raises whatever the malformed bytes cause
        raise ProtocolError("the PDU is malformed") from None


def _user_information(primitive: A_ASSOCIATE) -> tuple[int, Mapping[str, Roles], Mapping[str, bytes]]:
    max_length = 0
    roles, extended = {}, {}
    for item in primitive.user_information:
        if isinstance(item, MaximumLengthNotification):
            max_length = int(item.maximum_length_received)
        elif isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid is not None:
            roles[str(item.sop_class_uid)] = Roles(bool(item.scu_role), bool(item.scp_role))
        elif isinstance(item, SOPClassExtendedNegotiation) and item.sop_class_uid is not None:
            extended[str(item.sop_class_uid)] = item.service_class_application_information or b""
    return max_length, roles, extended
