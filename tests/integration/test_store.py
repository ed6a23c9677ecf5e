"""StoreService, as specified in protos/dicomstore/v1/store_service.proto."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c as crc32c_of
from dicomstore.v1 import errors_pb2
from dicomstore.v1 import store_service_pb2 as pb

from tests.core import CoreClient, Ref, ref_of, stream_reason
from tests.data import IMPLICIT_LITTLE, element, new_uid, part10, part10_of, required_elements
from tests.integration.conftest import a_core

Header = pb.StoreHeader
Piece = pb.InstancePiece
Request = pb.StoreInstancesRequest


def failed(outcome: Any) -> Any:
    assert outcome.WhichOneof("outcome") == "failed", outcome
    return outcome.failed


def reason(outcome: Any) -> str:
    return str(errors_pb2.ErrorReason.Name(failed(outcome).reason)).removeprefix("ERROR_REASON_")


async def test_the_outcome_of_a_stored_instance_has_identity_version_and_size(core: CoreClient) -> None:
    body = part10(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.5")
    [stored] = await core.stored(body)
    assert (stored.id.study_instance_uid, stored.id.series_instance_uid) == ("1.2.3", "1.2.3.4")
    assert stored.id.sop_instance_uid == "1.2.3.4.5"
    assert stored.id.partition == "Microsoft.Default"
    assert stored.size_bytes == len(body)
    assert stored.version > 0
    assert stored.dicom_warning_reason == 0


async def test_versions_increase(core: CoreClient) -> None:
    versions = [(await core.stored(part10()))[0].version for _ in range(5)]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("piece_bytes", [1, 7, 127, 133, 1000, 1 << 20])
async def test_the_size_of_pieces_does_not_affect_the_outcome(core: CoreClient, piece_bytes: int) -> None:
    body = part10(frames=[bytes(range(256))] * 8)
    [stored] = await core.stored(body, piece_bytes=piece_bytes)
    assert [data for _, data in await core.retrieve(ref_of(stored))] == [body]


async def test_many_small_instances_travel_in_one_message(core: CoreClient) -> None:
    bodies = [part10() for _ in range(50)]
    pieces = [Piece(item=number, data=body, last=True) for number, body in enumerate(bodies, 1)]
    outcomes = await core.send([Request(header=Header(), pieces=pieces)])
    assert [outcome.item for outcome in outcomes] == list(range(1, 51))
    assert all(outcome.HasField("stored") for outcome in outcomes)


async def test_an_invalid_instance_does_not_affect_its_neighbours(core: CoreClient) -> None:
    first, last = part10(), part10()
    outcomes = await core.store(first, b"this is no DICOM", b"", part10(SOPClassUID=None), last[:-4], last)
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["stored", *["failed"] * 4, "stored"]
    assert [reason(outcome) for outcome in outcomes[1:5]] == [
        "UNREADABLE_INSTANCE",
        "UNREADABLE_INSTANCE",
        "INVALID_INSTANCE",
        "UNREADABLE_INSTANCE",
    ]
    assert [failed(outcome).dicom_failure_reason for outcome in outcomes[1:5]] == [43264] * 4
    assert [data for _, data in await core.retrieve(ref_of(outcomes[5].stored))] == [last]


@pytest.mark.parametrize("piece_bytes", [200, 1 << 20])
async def test_an_instance_with_a_false_length_of_a_gigabyte_is_unreadable(core: CoreClient, piece_bytes: int) -> None:
    whole = part10()
    false = part10_of([*required_elements(), element(0x00104000, "UT", bytes(1000), length=1 << 30)])
    outcomes = await core.store(false, whole, piece_bytes=piece_bytes)
    assert reason(outcomes[0]) == "UNREADABLE_INSTANCE"
    assert failed(outcomes[0]).dicom_failure_reason == 43264
    assert outcomes[1].HasField("stored")


@pytest.mark.parametrize("frames", [1, 50], ids=["small", "large"])
async def test_storing_identical_bytes_again_succeeds_and_changes_nothing(core: CoreClient, frames: int) -> None:
    body = part10(frames=[bytes(60_000)] * frames)
    [stored] = await core.stored(body)
    [again] = await core.stored(body)
    assert again.identical
    again.identical = False
    assert again == stored
    assert len(await core.changes()) == 1


async def test_identical_bytes_fail_as_already_existing_where_the_setting_rejects_them(tmp_path: Path) -> None:
    body = part10()
    async with a_core(tmp_path, identical_instances="reject") as core:
        [stored] = await core.stored(body)
        [again] = await core.store(body)
    assert reason(again) == "INSTANCE_ALREADY_EXISTS"
    assert failed(again).dicom_failure_reason == 45070
    assert failed(again).instance.sop_instance_uid == stored.id.sop_instance_uid
    assert failed(again).identical


@pytest.mark.parametrize("frames", [1, 50], ids=["small", "large"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
async def test_storing_again_fails_if_the_stored_bytes_are_damaged(
    core: CoreClient, caplog: pytest.LogCaptureFixture, frames: int, damage: str
) -> None:
    body = part10(frames=[b"pixels" * 10_000] * frames)
    [stored] = await core.stored(body)
    for path in core.data.rglob("*"):
        if path.is_file() and b"pixels" in (content := path.read_bytes()):
            if damage == "changed":
                path.write_bytes(content.replace(b"pixels", b"PIXELS", 1))
            else:
                path.unlink()
    [again] = await core.store(body)
    assert (reason(again), failed(again).dicom_failure_reason) == ("INSTANCE_ALREADY_EXISTS", 45070)
    assert "damaged" in failed(again).message
    assert not failed(again).identical
    assert f"instance={stored.id.sop_instance_uid} damage={damage}" in caplog.text


async def test_different_bytes_with_the_same_identity_fail_and_change_nothing(core: CoreClient) -> None:
    uid = new_uid()
    body = part10(SOPInstanceUID=uid, PatientName="A^B")
    [stored] = await core.stored(body)
    [again] = await core.store(part10(SOPInstanceUID=uid, PatientName="C^D"))
    assert reason(again) == "INSTANCE_ALREADY_EXISTS"
    assert not failed(again).identical
    assert [data for _, data in await core.retrieve(ref_of(stored))] == [body]


async def test_an_instance_twice_in_one_stream_is_stored_once(core: CoreClient) -> None:
    body = part10()
    first, second = await core.stored(body, body)
    assert (first.identical, second.identical) == (False, True)
    assert len(await core.changes()) == 1


async def test_items_become_visible_in_the_order_sent(core: CoreClient) -> None:
    large = {"Rows": 1000, "Columns": 1000, "frames": [bytes(1_000_000)]}  # takes longer to sync than small ones
    bodies = [part10(**(large if number % 5 == 0 else {})) for number in range(40)]
    stored = await core.stored(*bodies)
    assert [one.version for one in stored] == sorted(one.version for one in stored)
    changes = await core.changes()
    assert [change.instance for change in changes] == [one.id for one in stored]


async def test_the_same_sop_instance_in_another_series_is_another_instance(core: CoreClient) -> None:
    uid = new_uid()
    await core.stored(part10(SOPInstanceUID=uid), part10(SOPInstanceUID=uid, SeriesInstanceUID="1.2.9"))


async def test_many_streams_storing_the_same_instance_store_it_once(core: CoreClient) -> None:
    body = part10()
    results = await asyncio.gather(*(core.store(body) for _ in range(20)))
    assert sorted(outcome.stored.identical for [outcome] in results) == [False] + [True] * 19
    assert all(outcome.HasField("stored") for [outcome] in results)
    assert len(await core.retrieve(Ref(study_instance_uid="1.2.826.0.1.3680043.10.1.1"))) == 1


async def test_an_instance_of_another_study_than_expected_fails(core: CoreClient) -> None:
    outcomes = await core.store(
        part10(StudyInstanceUID="1.2.3"), part10(StudyInstanceUID="1.2.4"), address={"study_instance_uid": "1.2.3 "}
    )
    assert outcomes[0].HasField("stored")
    assert reason(outcomes[1]) == "STUDY_MISMATCH"
    assert failed(outcomes[1]).dicom_failure_reason == 43264
    assert [finding.tag for finding in failed(outcomes[1]).findings] == ["0020000D"]


async def test_implicit_vr_is_stored_with_a_warning(core: CoreClient) -> None:
    [stored] = await core.stored(part10(transfer_syntax=IMPLICIT_LITTLE))
    assert stored.dicom_warning_reason == 45063


async def test_an_invalid_attribute_is_reported_without_its_value(core: CoreClient) -> None:
    [stored] = await core.stored(part10(StudyDate="NotADate"))
    assert stored.dicom_warning_reason == 1
    [finding] = stored.findings
    assert (finding.tag, finding.keyword, finding.vr) == ("00080020", "StudyDate", "DA")
    assert "NotADate" not in finding.message


async def test_strict_validation_refuses_an_invalid_indexed_attribute(core: CoreClient) -> None:
    strict = {"validation": pb.VALIDATION_MODE_INDEXED_STRICT}
    [refused] = await core.store(part10(StudyDate="NotADate"), **strict)
    assert reason(refused) == "INVALID_INSTANCE"
    assert [finding.tag for finding in failed(refused).findings] == ["00080020"]
    [stored] = await core.stored(part10(ContentDate="NotADate"), **strict)
    assert not stored.findings


async def test_an_empty_patient_id_is_stored_with_a_validation_warning_and_refused_when_strict(
    core: CoreClient,
) -> None:
    [stored] = await core.stored(part10(PatientID=""))
    assert [finding.tag for finding in stored.findings] == ["00100020"]
    [refused] = await core.store(part10(PatientID=""), validation=pb.VALIDATION_MODE_INDEXED_STRICT)
    assert reason(refused) == "INVALID_INSTANCE"


async def test_a_checksum_mismatch_fails_the_item(core: CoreClient) -> None:
    body = part10()
    good, bad = crc32c_of(body), crc32c_of(body) ^ 1
    outcomes = await core.send(
        [
            Request(
                header=Header(),
                pieces=[
                    Piece(item=1, data=body, last=True, crc32c=bad),
                    Piece(item=2, data=body, last=True, crc32c=good),
                ],
            )
        ]
    )
    assert reason(outcomes[0]) == "TRANSFER_DAMAGED"
    assert outcomes[1].HasField("stored")


async def test_a_mismatch_with_the_declared_size_fails_the_item(core: CoreClient) -> None:
    body = part10()
    [outcome] = await core.send(
        [Request(header=Header(), pieces=[Piece(item=1, data=body, last=True, declared_size_bytes=len(body) + 1)])]
    )
    assert reason(outcome) == "TRANSFER_DAMAGED"


async def test_an_aborted_item_has_an_outcome_and_leaves_nothing(core: CoreClient) -> None:
    body = part10()
    outcomes = await core.send(
        [
            Request(header=Header(), pieces=[Piece(item=1, data=body)]),
            Request(pieces=[Piece(item=1, aborted=True), Piece(item=2, data=body, last=True)]),
        ]
    )
    assert reason(outcomes[0]) == "ITEM_ABORTED"
    assert outcomes[1].HasField("stored")


async def test_an_unfinished_item_is_discarded(core: CoreClient) -> None:
    body = part10()
    assert await core.send([Request(header=Header(), pieces=[Piece(item=1, data=body)])]) == []
    assert await core.changes() == []
    assert await core.blob_count() == 0


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [Request(pieces=[Piece(item=1, last=True)])],
        [Request(header=Header()), Request(header=Header())],
        [Request(header=Header(), pieces=[Piece(item=0, last=True)])],
        [Request(header=Header(), pieces=[Piece(item=2, last=True), Piece(item=1, last=True)])],
        [Request(header=Header(), pieces=[Piece(item=1), Piece(item=2, last=True)])],
        [Request(header=Header(), pieces=[Piece(item=1, data=bytes((2 << 20) + 1), last=True)])],
    ],
    ids=["nothing", "no header", "two headers", "item 0", "descending items", "item unfinished", "message too large"],
)
async def test_a_malformed_stream_fails_the_call(core: CoreClient, requests: list[Any]) -> None:
    assert await stream_reason(core.store_stub.StoreInstances(requests)) == "MALFORMED_STREAM"


async def test_items_complete_before_a_malformed_message_are_stored_and_have_outcomes(core: CoreClient) -> None:
    body = part10()
    call = core.store_stub.StoreInstances(
        [Request(header=Header(), pieces=[Piece(item=1, data=body, last=True)]), Request(header=Header())]
    )
    outcomes: list[Any] = []

    async def collect() -> AsyncIterator[Any]:
        async for response in call:
            outcomes.extend(response.outcomes)
            yield response

    responses = collect()
    with pytest.raises(Exception, match="Only the first message"):
        async for _ in responses:
            pass
    assert [outcome.HasField("stored") for outcome in outcomes] == [True]


@pytest.mark.parametrize("study", ["abc", "1.2.", "1" * 65])
async def test_an_invalid_expected_study_fails_the_call(core: CoreClient, study: str) -> None:
    header = Header(address={"study_instance_uid": study})
    assert await stream_reason(core.store_stub.StoreInstances([Request(header=header)])) == "INVALID_UID"


async def test_a_cancelled_stream_leaves_no_partial_item(core: CoreClient) -> None:
    whole, half = part10(), part10(frames=[random.randbytes(2_000_000)], Rows=2000, Columns=1000)
    sent = asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        yield Request(header=Header(), pieces=[Piece(item=1, data=whole, last=True)])
        yield Request(pieces=[Piece(item=2, data=half[:1_500_000])])
        sent.set()
        await asyncio.Event().wait()

    call = core.store_stub.StoreInstances(requests())
    assert (await call.read()).outcomes[0].HasField("stored")
    await sent.wait()
    call.cancel()
    await core.stored(part10())  # the core accepts another stream
    assert len(await core.changes()) == 2
    assert await core.blob_count() == 2


async def test_the_same_instance_in_two_partitions_is_two_instances(partitioned_core: CoreClient) -> None:
    body = part10()
    for name in ("a", "b"):
        [stored] = await partitioned_core.stored(body, address={"partition": name}, create_partition=True)
        assert stored.id.partition == name


async def test_an_unknown_partition_is_only_created_on_request(partitioned_core: CoreClient) -> None:
    stub = partitioned_core.store_stub
    assert (
        await stream_reason(stub.StoreInstances([Request(header=Header(address={"partition": "x"}))]))
        == "PARTITION_NOT_FOUND"
    )
    assert await stream_reason(stub.StoreInstances([Request(header=Header())])) == "PARTITION_REQUIRED"
    assert (
        await stream_reason(
            stub.StoreInstances([Request(header=Header(address={"partition": "a/b"}, create_partition=True))])
        )
        == "INVALID_PARTITION_NAME"
    )


async def test_a_partition_is_refused_when_partitions_are_off(core: CoreClient) -> None:
    call = core.store_stub.StoreInstances([Request(header=Header(address={"partition": "Microsoft.Default"}))])
    assert await stream_reason(call) == "PARTITIONS_DISABLED"
