"""Events as HTTP messages (server/adapters/webhooks/messages.py)."""

from datetime import UTC, datetime

import pytest

from server.adapters.webhooks.messages import EventOrigin, cloud_event, signatures
from server.model.events.webhook import Event, EventPosition, EventType
from server.model.ids import Address, PartitionName, Uid


def test_the_signature_is_that_of_the_example_of_standard_webhooks() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signatures([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == signature


@pytest.mark.parametrize("has_partitions", [False, True])
@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (EventType.IMAGE_CREATED, "DicomImageCreated"),
        (EventType.IMAGE_UPDATED, "DicomImageUpdated"),
        (EventType.IMAGE_DELETED, "DicomImageDeleted"),
    ],
)
def test_an_event_of_an_instance_has_the_type_subject_and_data_of_azures_service(
    type_: EventType, name: str, has_partitions: bool
) -> None:
    resource = Address(PartitionName("p1"), Uid("1.2"), Uid("1.3"), Uid("1.4"))
    event = Event(EventPosition(7), "7", type_, datetime(2026, 3, 1, 12, tzinfo=UTC), 7, resource)
    sent = cloud_event(event, EventOrigin("urn:archive", "archive.example", has_partitions))
    partition = "/partitions/p1" if has_partitions else ""

    assert sent.get_type() == f"Microsoft.HealthcareApis.{name}"
    assert sent.get_subject() == f"archive.example/v1{partition}/studies/1.2/series/1.3/instances/1.4"
    assert sent.get_data() == ({"partitionName": "p1"} if has_partitions else {}) | {
        "imageStudyInstanceUid": "1.2",
        "imageSeriesInstanceUid": "1.3",
        "imageSopInstanceUid": "1.4",
        "serviceHostName": "archive.example",
        "sequenceNumber": 7,
    }
