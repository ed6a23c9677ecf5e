"""RetrieveService, as specified in protos/dicomstore/v1/retrieve_service.proto."""

import io
import json
import random
from typing import Any

import pydicom
import pytest
import pytest_asyncio
from dicomstore.v1 import errors_pb2, resources_pb2
from dicomstore.v1 import retrieve_service_pb2 as pb

from tests.core import CoreClient, Ref, file_of, id_of, ref_of, stream_reason
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    new_uid,
    part10,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def core(emptied_core: CoreClient) -> CoreClient:
    return emptied_core


Range = resources_pb2.ByteRange
MPEG2 = "1.2.840.10008.1.2.4.100"


async def retrieval_reason(core: CoreClient, resource: Any, *acceptable: str, **fields: Any) -> str:
    request = pb.RetrieveInstancesRequest(resource=resource, acceptable_transfer_syntax_uids=acceptable, **fields)
    return await stream_reason(core.retrieve_stub.RetrieveInstances(request))


async def frames_reason(core: CoreClient, instance: Any, frames: list[int], *acceptable: str) -> str:
    request = pb.RetrieveFramesRequest(instance=instance, frames=frames, acceptable_transfer_syntax_uids=acceptable)
    return await stream_reason(core.retrieve_stub.RetrieveFrames(request))


async def test_the_instances_of_a_study_are_sent_by_version_as_stored(core: CoreClient) -> None:
    study = new_uid()
    bodies = [part10(StudyInstanceUID=study, SeriesInstanceUID=f"1.2.{i % 2}") for i in range(5)]
    await core.stored(part10(), *bodies)
    found = await core.retrieve(Ref(study_instance_uid=study))
    assert sorted(data for _, data in found) == sorted(bodies)
    versions = [head.version for head, _ in found]
    assert versions == sorted(versions)
    assert {head.size_bytes for head, _ in found} <= {len(body) for body in bodies}


async def test_a_series_is_sent_without_its_siblings(core: CoreClient) -> None:
    study = new_uid()
    mine, other = (part10(StudyInstanceUID=study, SeriesInstanceUID=uid) for uid in ("1.2.1", "1.2.2"))
    await core.stored(mine, other)
    found = await core.retrieve(Ref(study_instance_uid=study, series_instance_uid="1.2.1"))
    assert [data for _, data in found] == [mine]


async def test_a_study_of_many_instances_is_sent_completely(core: CoreClient) -> None:
    study = new_uid()
    bodies = [part10(StudyInstanceUID=study) for _ in range(1100)]  # more than two index pages
    await core.stored(*bodies)
    assert sorted(data for _, data in await core.retrieve(Ref(study_instance_uid=study))) == sorted(bodies)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ({"study_instance_uid": "1.9"}, "STUDY_NOT_FOUND"),
        ({"study_instance_uid": "1.9", "series_instance_uid": "1.9"}, "STUDY_NOT_FOUND"),
        ({"study_instance_uid": "1.2", "series_instance_uid": "1.9"}, "SERIES_NOT_FOUND"),
        (
            {"study_instance_uid": "1.2", "series_instance_uid": "1.9", "sop_instance_uid": "1.9"},
            "SERIES_NOT_FOUND",
        ),
        (
            {"study_instance_uid": "1.2", "series_instance_uid": "1.3", "sop_instance_uid": "1.9"},
            "INSTANCE_NOT_FOUND",
        ),
        ({"study_instance_uid": "x"}, "INVALID_UID"),
        ({"study_instance_uid": "1.2", "series_instance_uid": "x"}, "INVALID_UID"),
        ({}, "INVALID_FIELD"),
        ({"study_instance_uid": "1.2", "sop_instance_uid": "1.4"}, "INVALID_FIELD"),
        ({"study_instance_uid": "1.2", "partition": "p"}, "PARTITIONS_DISABLED"),
    ],
)
async def test_unknown_and_invalid_resources(core: CoreClient, levels: dict[str, str], reason: str) -> None:
    await core.stored(part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.3"))
    assert await retrieval_reason(core, Ref(**levels)) == reason
    request = pb.RetrieveMetadataRequest(resource=Ref(**levels))
    assert await stream_reason(core.retrieve_stub.RetrieveMetadata(request)) == reason


async def test_trailing_spaces_of_a_uid_are_ignored(core: CoreClient) -> None:
    await core.stored(part10(StudyInstanceUID="1.2.33"))
    assert len(await core.retrieve(Ref(study_instance_uid="1.2.33  "))) == 1


@pytest.mark.parametrize("stored_as", [IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
async def test_uncompressed_instances_are_re_encoded_to_explicit_little_endian(
    core: CoreClient, stored_as: str
) -> None:
    frame = bytes(range(64)) * 2
    body = part10(
        transfer_syntax=stored_as, frames=[frame], Rows=8, Columns=8, BitsAllocated=16, BitsStored=16, HighBit=15
    )
    [stored] = await core.stored(body)
    [(head, sent)] = await core.retrieve(ref_of(stored), EXPLICIT_LITTLE)
    assert head.transfer_syntax_uid == EXPLICIT_LITTLE
    expected, got = pydicom.dcmread(io.BytesIO(body)), pydicom.dcmread(io.BytesIO(sent))
    assert got.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert (got.pixel_array == expected.pixel_array).all()
    assert {e.tag: e.value for e in got if e.tag != 0x7FE00010} == {
        e.tag: e.value for e in expected if e.tag != 0x7FE00010
    }


async def test_the_first_acceptable_transfer_syntax_is_used(core: CoreClient) -> None:
    body = part10(transfer_syntax=IMPLICIT_LITTLE)
    [stored] = await core.stored(body)
    for acceptable, expected in [
        ((), IMPLICIT_LITTLE),
        (("*",), IMPLICIT_LITTLE),
        ((JPEG_BASELINE, "*"), IMPLICIT_LITTLE),
        ((JPEG_BASELINE, EXPLICIT_LITTLE, "*"), EXPLICIT_LITTLE),
    ]:
        [(head, _)] = await core.retrieve(ref_of(stored), *acceptable)
        assert head.transfer_syntax_uid == expected


async def test_an_instance_that_cannot_be_transcoded_is_not_acceptable(core: CoreClient) -> None:
    [stored] = await core.stored(part10(transfer_syntax=MPEG2, fragments=[[b"stream"]]))
    assert await retrieval_reason(core, ref_of(stored), EXPLICIT_LITTLE) == "NOT_ACCEPTABLE_TRANSFER_SYNTAX"


async def test_an_unacceptable_instance_does_not_affect_the_others(core: CoreClient) -> None:
    study = new_uid()
    native = part10(StudyInstanceUID=study)
    await core.stored(part10(StudyInstanceUID=study, transfer_syntax=MPEG2, fragments=[[b"stream"]]), native)
    (error, _), (_, sent) = await core.retrieve(Ref(study_instance_uid=study), EXPLICIT_LITTLE)
    assert error.reason == errors_pb2.ERROR_REASON_NOT_ACCEPTABLE_TRANSFER_SYNTAX
    assert sent == native


async def test_a_missing_blob_fails_its_item_only(core: CoreClient) -> None:
    study = new_uid()
    large = {"frames": [bytes(1_200_000)], "Rows": 12_000, "Columns": 100}  # large enough for a separate file
    bodies = [part10(StudyInstanceUID=study, PatientName=name, **large) for name in ("A", "BB", "CCC")]
    await core.stored(*bodies)
    file_of(core.data, bodies[1]).unlink()
    found = await core.retrieve(Ref(study_instance_uid=study))
    assert sorted(data for _, data in found if data) == sorted([bodies[0], bodies[2]])
    [error] = [head for head, _ in found if isinstance(head, resources_pb2.ItemError)]
    assert error.reason == errors_pb2.ERROR_REASON_BLOB_MISSING


async def test_an_instance_with_changed_bytes_is_never_sent_completely(core: CoreClient) -> None:
    body = part10(
        frames=[bytes(3_600_000)], Rows=12_000, Columns=300
    )  # large enough for a separate file and several pieces
    [stored] = await core.stored(body)
    with file_of(core.data, body).open("r+b") as file:
        file.seek(len(body) - 5000)
        file.write(b"\1")
    *_, (head, _) = await core.retrieve(ref_of(stored))
    assert head.reason == errors_pb2.ERROR_REASON_BLOB_DAMAGED


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (100, 0), (128, 4), (5, 10**9)])
async def test_a_range_of_one_instance(core: CoreClient, offset: int, length: int) -> None:
    body = part10()
    [stored] = await core.stored(body)
    [(head, sent)] = await core.retrieve(ref_of(stored), range=Range(offset_bytes=offset, length_bytes=length))
    assert sent == body[offset : offset + length if length else None]
    assert head.size_bytes == len(body)


async def test_a_range_outside_of_the_instance_is_not_satisfiable(core: CoreClient) -> None:
    [stored] = await core.stored(part10())
    outside = Range(offset_bytes=stored.size_bytes)
    assert await retrieval_reason(core, ref_of(stored), range=outside) == "RANGE_NOT_SATISFIABLE"


# Frames


async def test_native_frames_are_in_the_requested_order(core: CoreClient) -> None:
    frames = [bytes([number]) * 100 for number in range(10)]
    [stored] = await core.stored(part10(frames=frames, Rows=10, Columns=10))
    found = await core.frames(id_of(stored), [3, 1, 10, 3])
    assert [(head.frame, data) for head, data in found] == [
        (3, frames[2]),
        (1, frames[0]),
        (10, frames[9]),
        (3, frames[2]),
    ]
    assert {head.transfer_syntax_uid for head, _ in found} == {EXPLICIT_LITTLE}


@pytest.mark.parametrize("stored_as", [IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
async def test_native_frames_are_little_endian_in_any_stored_byte_order(core: CoreClient, stored_as: str) -> None:
    frames = [random.randbytes(2 * 9 * 7) for _ in range(3)]
    body = part10(
        transfer_syntax=stored_as, frames=frames, Rows=9, Columns=7, BitsAllocated=16, BitsStored=16, HighBit=15
    )
    [stored] = await core.stored(body)
    pixels = pydicom.dcmread(io.BytesIO(body)).pixel_array.astype("<u2")
    for number in (1, 2, 3):
        [(head, data)] = await core.frames(id_of(stored), [number], EXPLICIT_LITTLE)
        assert data == pixels[number - 1].tobytes()
        assert head.transfer_syntax_uid == EXPLICIT_LITTLE
        assert head.size_bytes == len(data)


async def test_one_bit_frames_that_start_within_a_byte(core: CoreClient) -> None:
    bits = [random.getrandbits(1) for _ in range(3 * 5 * 5)]
    packed = bytes(sum(bit << i for i, bit in enumerate(bits[n : n + 8])) for n in range(0, 75, 8))
    body = part10(frames=[packed], NumberOfFrames=3, Rows=5, Columns=5, BitsAllocated=1, BitsStored=1, HighBit=0)
    [stored] = await core.stored(body)
    found = await core.frames(id_of(stored), [1, 2, 3])
    for number, (_, data) in enumerate(found):
        mine = bits[number * 25 : number * 25 + 25]
        assert [data[i // 8] >> i % 8 & 1 for i in range(25)] == mine


@pytest.mark.parametrize("table", [{"basic_offset_table": True}, {"basic_offset_table": False}])
async def test_an_encapsulated_frame_is_its_joined_fragments(core: CoreClient, table: dict[str, bool]) -> None:
    fragments = [[b"\xff\xd8a1", b"a2"], [b"\xff\xd8b1"], [b"\xff\xd8c1", b"c2", b"c3"]]
    if not table["basic_offset_table"]:
        fragments = [[b"".join(pieces)] for pieces in fragments]
    [stored] = await core.stored(part10(transfer_syntax=JPEG_BASELINE, fragments=fragments, **table))
    found = await core.frames(id_of(stored), [3, 1, 2])
    assert [data for _, data in found] == [b"".join(fragments[number]) for number in (2, 0, 1)]
    assert {head.transfer_syntax_uid for head, _ in found} == {JPEG_BASELINE}


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([0], "INVALID_FRAME_NUMBER"),
        ([-1], "INVALID_FRAME_NUMBER"),
        ([], "INVALID_FRAME_NUMBER"),
        ([1, 3], "FRAME_NOT_FOUND"),
    ],
)
async def test_invalid_frame_numbers(core: CoreClient, frames: list[int], reason: str) -> None:
    [stored] = await core.stored(part10(frames=[b"ab", b"cd"]))
    assert await frames_reason(core, id_of(stored), frames) == reason


async def test_frame_numbers_are_validated_before_the_instance_is_found(core: CoreClient) -> None:
    nowhere = resources_pb2.Address(study_instance_uid="1.2", series_instance_uid="1.2", sop_instance_uid="1.2")
    assert await frames_reason(core, nowhere, [0]) == "INVALID_FRAME_NUMBER"
    assert await frames_reason(core, nowhere, [1]) == "STUDY_NOT_FOUND"


async def test_an_instance_without_pixel_data_has_no_frames(core: CoreClient) -> None:
    [stored] = await core.stored(part10())
    assert await frames_reason(core, id_of(stored), [1]) == "NO_PIXEL_DATA"


async def test_a_video_is_not_available_uncompressed(core: CoreClient) -> None:
    [stored] = await core.stored(part10(transfer_syntax=MPEG2, fragments=[[b"stream"]]))
    assert await frames_reason(core, id_of(stored), [1], EXPLICIT_LITTLE) == "NOT_ACCEPTABLE_TRANSFER_SYNTAX"


# Bulk data and metadata


async def test_metadata_is_canonical_dicom_json(core: CoreClient) -> None:
    body = part10(
        frames=[bytes(64)],
        Rows=8,
        Columns=8,
        InstanceNumber="7",
        PatientName="Yamada^Tarou=山田^太郎",
        SpecificCharacterSet="ISO_IR 192",
    )
    [stored] = await core.stored(body)
    state, [item] = await core.metadata(ref_of(stored))
    assert (state.max_version, state.instance_count) == (stored.version, 1)
    found = json.loads(item)
    assert list(found) == sorted(found)
    assert b" " not in item.replace(b"ISO_IR 192", b"")
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]}
    assert found["00200013"] == {"vr": "IS", "Value": [7]}
    assert found["00083002"] == {"vr": "UI", "Value": [EXPLICIT_LITTLE]}
    assert found["7FE00010"] == {"vr": "OB", "BulkDataURI": "bulkdata:7FE00010"}


async def test_metadata_of_a_study_has_all_instances_and_a_state_that_changes(core: CoreClient) -> None:
    study = new_uid()
    await core.stored(*(part10(StudyInstanceUID=study) for _ in range(120)))
    resource = Ref(study_instance_uid=study)
    state, items = await core.metadata(resource)
    assert len({json.loads(item)["00080018"]["Value"][0] for item in items}) == 120
    assert (await core.metadata(resource, known_state=state))[1] == []
    await core.stored(part10(StudyInstanceUID=study))
    newer, items = await core.metadata(resource, known_state=state)
    assert newer != state
    assert len(items) == 121


async def test_the_first_metadata_message_has_the_state_and_does_not_wait_for_the_others(
    core: CoreClient,
) -> None:
    study = new_uid()
    await core.stored(*(part10(StudyInstanceUID=study) for _ in range(60)))
    request = pb.RetrieveMetadataRequest(resource=Ref(study_instance_uid=study))
    first, *others = [message async for message in core.retrieve_stub.RetrieveMetadata(request)]
    assert first.state.instance_count == 60
    assert len(first.items) == 20
    assert [message.HasField("state") for message in others] == [False]
    versions = [item.version for message in (first, *others) for item in message.items]
    assert len(versions) == 60
    assert versions == sorted(versions)
    assert versions[-1] == first.state.max_version


async def test_metadata_messages_are_of_about_a_mebibyte(core: CoreClient) -> None:
    study = new_uid()
    long = "x" * 10_000
    await core.stored(*(part10(StudyInstanceUID=study, TextComments=long, ImageComments=long) for _ in range(250)))
    request = pb.RetrieveMetadataRequest(resource=Ref(study_instance_uid=study))
    messages = [message async for message in core.retrieve_stub.RetrieveMetadata(request)]
    assert sum(len(message.items) for message in messages) == 250
    assert max(message.ByteSize() for message in messages) < 1.1 * 2**20
    assert len(messages) < 10


async def test_metadata_has_invalid_values_as_stored(core: CoreClient) -> None:
    [stored] = await core.stored(part10(StudyDate="NotADate"))
    _, [item] = await core.metadata(ref_of(stored))
    assert json.loads(item)["00080020"] == {"vr": "DA", "Value": ["NotADate"]}


@pytest.mark.parametrize("stored_as", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
async def test_bulk_data_is_little_endian(core: CoreClient, stored_as: str) -> None:
    frame = random.randbytes(2 * 30 * 20)
    body = part10(
        transfer_syntax=stored_as, frames=[frame], Rows=30, Columns=20, BitsAllocated=16, BitsStored=16, HighBit=15
    )
    [stored] = await core.stored(body)
    expected = pydicom.dcmread(io.BytesIO(body)).pixel_array.astype("<u2").tobytes()
    head, value = await core.bulk_data(id_of(stored), "7FE00010")
    assert (head.vr, head.size_bytes, value) == ("OW", len(expected), expected)
    for offset, length in [(0, 3), (7, 10), (1199, 1)]:
        part = Range(offset_bytes=offset, length_bytes=length)
        head, value = await core.bulk_data(id_of(stored), "7FE00010", range=part)
        assert value == expected[offset : offset + length]
        assert head.range == part


async def test_encapsulated_pixel_data_as_bulk_data_is_the_joined_frames(core: CoreClient) -> None:
    fragments = [[b"\xff\xd8a1", b"a2"], [b"\xff\xd8b1"]]
    [stored] = await core.stored(part10(transfer_syntax=JPEG_BASELINE, fragments=fragments))
    head, value = await core.bulk_data(id_of(stored), "7FE00010")
    assert value == b"\xff\xd8a1a2\xff\xd8b1"
    assert head.size_bytes == 10
    assert head.transfer_syntax_uid == JPEG_BASELINE


async def test_unknown_bulk_data(core: CoreClient) -> None:
    [stored] = await core.stored(part10())
    request = pb.RetrieveBulkDataRequest(instance=id_of(stored), path="7FE00010")
    assert await stream_reason(core.retrieve_stub.RetrieveBulkData(request)) == "BULK_DATA_NOT_FOUND"


async def test_head_only_sends_neither_bytes_nor_ranges(core: CoreClient) -> None:
    study = new_uid()
    bodies = [part10(StudyInstanceUID=study) for _ in range(3)]
    stored = await core.stored(*bodies)
    found = await core.retrieve(Ref(study_instance_uid=study), head_only=True)
    assert [(head.size_bytes, data) for head, data in found] == [(len(body), b"") for body in bodies]
    [(head, data)] = await core.retrieve(ref_of(stored[0]), head_only=True, range=Range(offset_bytes=1 << 40))
    assert (head.id, head.size_bytes, data) == (stored[0].id, len(bodies[0]), b"")


async def test_the_head_of_a_frame_has_its_size_for_several_fragments_too(core: CoreClient) -> None:
    frame = [random.randbytes(70_000), random.randbytes(70_000)]
    body = part10(transfer_syntax=JPEG_BASELINE, fragments=[frame])
    [stored] = await core.stored(body)
    request = pb.RetrieveFramesRequest(instance=id_of(stored), frames=[1], head_only=True)
    [message] = [message async for message in core.retrieve_stub.RetrieveFrames(request)]
    [piece] = message.pieces
    assert (piece.head.size_bytes, piece.data, piece.last) == (140_000, b"", True)


async def test_the_stored_form_is_only_sent_in_the_accepted_transfer_syntaxes(core: CoreClient) -> None:
    study = new_uid()
    little, implicit = (
        part10(StudyInstanceUID=study, transfer_syntax=syntax) for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    )
    [first, second] = await core.stored(little, implicit)
    only = {"acceptable_stored_transfer_syntax_uids": [EXPLICIT_LITTLE]}
    [(head, data)] = await core.retrieve(ref_of(first), "*", **only)
    assert (head.transfer_syntax_uid, data) == (EXPLICIT_LITTLE, little)
    assert await retrieval_reason(core, ref_of(second), "*", **only) == "NOT_ACCEPTABLE_TRANSFER_SYNTAX"
    [(head, _)] = await core.retrieve(ref_of(second), "*", EXPLICIT_LITTLE, **only)
    assert head.transfer_syntax_uid == EXPLICIT_LITTLE
    found = await core.retrieve(Ref(study_instance_uid=study), "*", **only)
    assert [type(head).__name__ for head, _ in found] == ["ItemError", "InstanceHead"]
