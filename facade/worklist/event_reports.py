"""Event reports as DICOM JSON (PS3.18 sections 8.10.5 and 11.13, PS3.4 Table CC.2.4-1)."""

from dicomstore.v1.workitem_event_service_pb2 import WorkitemEvent

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""SOP Class of all workitems, and so the Affected SOP Class of all event reports (PS3.4 section CC.3.1)."""

_MAX_MESSAGE_ID = 0xFFFF

_COMMAND = (
    '{"00000002":{"vr":"UI","Value":["%s"]},"00000110":{"vr":"US","Value":[%d]},'
    '"00001000":{"vr":"UI","Value":["%s"]},"00001002":{"vr":"US","Value":[%d]}'
)
"""Affected SOP Class UID, Message ID, Affected SOP Instance UID, Event Type ID (PS3.7 Table 10.3-1)."""


def event_report(event: WorkitemEvent) -> bytes:
    """Return the data set of an event report: command attributes, then the event information.

    The Message ID follows from the position of the event, so that one that is sent again has the same.
    """
    message_id = event.position % _MAX_MESSAGE_ID + 1
    command = _COMMAND % (UPS_PUSH, message_id, event.workitem_uid, event.type)
    information = event.dicom_json[1:]
    return command.encode() + (b"," if len(information) > 1 else b"") + information
