"""The messages of storage commitment (PS3.4 section J.3)."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dicomstore.v1.commitment_service_pb2 import Commitment, CommitmentResult, InstanceReference

from dimse.associations.association import Association, Context
from dimse.associations.commands import Command, CommandField
from dimse.data_sets.reading import DataSet, Unreadable, read
from dimse.data_sets.writing import write

STORAGE_COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance."""

TRANSACTION_UID = "00081195"
REFERENCED_SOP_SEQUENCE = "00081199"
_FAILED_SOP_SEQUENCE = "00081198"
_FAILURE_REASON = "00081197"
_SOP_CLASS_UID, _SOP_INSTANCE_UID = "00081150", "00081155"
_RETRIEVE_AE_TITLE = "00080054"

ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event types."""


class InvalidAction(Exception):
    """The information of an action is incomplete; the text says what is missing."""


class CommitmentRequest(NamedTuple):
    """The information of an action."""

    transaction_uid: str
    references: list[InstanceReference]


def parse_action(data: bytes, transfer_syntax: str) -> CommitmentRequest:
    """Return the content of a request. Raises InvalidAction."""
    try:
        data_set = read(data, transfer_syntax)
    except Unreadable as error:
        raise InvalidAction(str(error)) from None
    transaction_uid = _uid(data_set, TRANSACTION_UID)
    items = data_set.get(REFERENCED_SOP_SEQUENCE, {}).get("Value", [])
    if not transaction_uid:
        raise InvalidAction("Transaction UID is missing")
    if not items:
        raise InvalidAction("Referenced SOP Sequence is missing or empty")
    references = [
        InstanceReference(sop_class_uid=_uid(item, _SOP_CLASS_UID), sop_instance_uid=_uid(item, _SOP_INSTANCE_UID))
        for item in items
    ]
    return CommitmentRequest(transaction_uid, references)


def event_of(commitment: Commitment, ae_title: str, transfer_syntax: str) -> tuple[int, bytes]:
    """Return event type and event information of a result.

    Args:
        ae_title: of the archive, from which the instances can be retrieved.
    """
    committed = [result for result in commitment.results if not result.failure_reason]
    failed = [result for result in commitment.results if result.failure_reason]
    data_set: dict[str, Mapping[str, Any]] = {
        _RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [ae_title]},
        TRANSACTION_UID: {"vr": "UI", "Value": [commitment.transaction_uid]},
    }
    if failed:
        data_set[_FAILED_SOP_SEQUENCE] = {"vr": "SQ", "Value": list(_items(failed))}
    if committed:
        data_set[REFERENCED_SOP_SEQUENCE] = {"vr": "SQ", "Value": list(_items(committed))}
    return SOME_FAILED if failed else ALL_COMMITTED, write(data_set, transfer_syntax, ())


def send_result(association: Association, context: Context, commitment: Commitment) -> int | None:
    """Report a result (N-EVENT-REPORT); return the status of the response.

    Raises:
        AssociationLost, ProtocolError: the association is over.
    """
    event_type, data_set = event_of(commitment, association.peer.called_ae_title, context.transfer_syntax)
    event = Command(
        CommandField.N_EVENT_REPORT,
        affected_sop_class_uid=STORAGE_COMMITMENT_PUSH,
        affected_sop_instance_uid=INSTANCE,
        event_type_id=event_type,
    )
    return association.perform(context, event, [data_set]).status


def _items(results: Iterable[CommitmentResult]) -> Iterable[DataSet]:
    for result in results:
        item: DataSet = {
            _SOP_CLASS_UID: {"vr": "UI", "Value": [result.reference.sop_class_uid]},
            _SOP_INSTANCE_UID: {"vr": "UI", "Value": [result.reference.sop_instance_uid]},
        }
        if result.failure_reason:
            item[_FAILURE_REASON] = {"vr": "US", "Value": [result.failure_reason]}
        yield item


def _uid(data_set: DataSet, tag: str) -> str:
    values = data_set.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""
