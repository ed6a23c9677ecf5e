"""Events as HTTP messages: CloudEvents 1.0 in structured mode, signed as in Standard Webhooks."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.v1.event import CloudEvent

from server.model.events.webhook import Event, key_of


@dataclass(frozen=True, slots=True)
class EventOrigin:
    """What events say about where they come from.

    source: CloudEvents `source`.
    host: name of the archive for its clients.
    has_partitions: whether events name their data partition.
    """

    source: str
    host: str
    has_partitions: bool


def cloud_event(event: Event, origin: EventOrigin) -> CloudEvent:
    """Return an event with the attributes and data of Azure's DICOM service, or of the same form for a study.

    It contains no attributes of patients, only UIDs. `traceparent` is the extension of CloudEvents for distributed
    tracing.
    """
    resource = event.resource
    path = [origin.host, "v1"]
    data: dict[str, Any] = {}
    if origin.has_partitions:
        path += ["partitions", resource.partition]
        data["partitionName"] = resource.partition
    path += ["studies", str(resource.study)]
    data["imageStudyInstanceUid"] = resource.study
    if resource.instance is not None:
        path += ["series", str(resource.series), "instances", resource.instance]
        data["imageSeriesInstanceUid"] = resource.series
        data["imageSopInstanceUid"] = resource.instance
    data["serviceHostName"] = origin.host
    data["sequenceNumber"] = event.sequence
    if event.changes is not None:
        data["eventNumber"] = event.position.number
        data["instances"] = event.instances
        data["created"] = event.changes.created
        data["updated"] = event.changes.updated
        data["deleted"] = event.changes.deleted
        data["restored"] = event.changes.restored
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": origin.source,
        "type": event.type.value,
        "subject": "/".join(path),
        "time": event.time,
        "datacontenttype": "application/json",
    }
    if event.trace:
        attributes["traceparent"] = event.trace
    return CloudEvent(attributes, data)


def message(event: Event, origin: EventOrigin, secrets: Sequence[str], at: datetime) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the request that delivers an event at this time."""
    structured = to_structured_event(cloud_event(event, origin))
    timestamp = int(at.timestamp())
    headers = {
        **structured.headers,
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures(secrets, event.id, timestamp, structured.body),
    }
    return headers, structured.body


def signatures(secrets: Sequence[str], event_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature for each secret."""
    signed = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
    made = (base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)) for secret in secrets)
    return " ".join(f"v1,{one.decode()}" for one in made)
