"""RetrieveAllBulkData: protos/dicomstore/v1/retrieve_service.proto, PS3.18 10.4.1.1.5 and 10.4.1.1.6."""

import random

import pytest
from dicomstore.v1 import retrieve_service_pb2 as pb
from pydicom.dataset import Dataset

from tests.core import CoreClient, Ref, ref_of, stream_reason
from tests.data import EXPLICIT_BIG, EXPLICIT_LITTLE, JPEG_BASELINE, new_uid, part10

MPEG4 = "1.2.840.10008.1.2.4.102"


async def test_values_are_ordered_by_version_and_path_and_pixel_data_is_sent_by_frame(core: CoreClient) -> None:
    study = new_uid()
    profile, document = random.randbytes(2000), random.randbytes(3000)
    frames = [random.randbytes(10), random.randbytes(10)]
    first, second = await core.stored(
        part10(StudyInstanceUID=study, frames=frames, ICCProfile=profile),
        part10(StudyInstanceUID=study, EncapsulatedDocument=document),
    )
    await core.stored(part10(frames=frames))
    found = await core.all_bulk_data(Ref(study_instance_uid=study))
    assert [(head.id.sop_instance_uid, head.path, head.frame, value) for head, value in found] == [
        (first.id.sop_instance_uid, "00282000", 0, profile),
        (first.id.sop_instance_uid, "7FE00010", 1, frames[0]),
        (first.id.sop_instance_uid, "7FE00010", 2, frames[1]),
        (second.id.sop_instance_uid, "00420011", 0, document),
    ]
    assert [head.version for head, _ in found] == [first.version] * 3 + [second.version]
    assert [head.size_bytes for head, _ in found] == [2000, 10, 10, 3000]
    assert {head.transfer_syntax_uid for head, _ in found} == {EXPLICIT_LITTLE}


async def test_pixel_data_can_be_requested_alone(core: CoreClient) -> None:
    icon = Dataset()
    icon.PixelData = b"icon"
    icon["PixelData"].VR = "OB"
    body = part10(frames=[b"ab"], ICCProfile=bytes(2000), IconImageSequence=[icon])
    [stored] = await core.stored(body)
    found = await core.all_bulk_data(ref_of(stored), pixel_data_only=True)
    assert [(head.path, head.frame, value) for head, value in found] == [("7FE00010", 1, b"ab")]


async def test_frames_of_many_pages_are_in_order(core: CoreClient) -> None:
    frames = [number.to_bytes(2, "big") for number in range(1, 601)]
    [stored] = await core.stored(part10(frames=frames))
    found = await core.all_bulk_data(ref_of(stored))
    assert [(head.frame, value) for head, value in found] == list(enumerate(frames, 1))


async def test_a_video_is_one_value(core: CoreClient) -> None:
    [stored] = await core.stored(part10(transfer_syntax=MPEG4, fragments=[[b"moving", b"images"]], NumberOfFrames=50))
    [(head, value)] = await core.all_bulk_data(ref_of(stored), pixel_data_only=True)
    assert (head.frame, head.transfer_syntax_uid, value) == (0, MPEG4, b"movingimages")


async def test_an_unacceptable_transfer_syntax_fails_only_its_item(core: CoreClient) -> None:
    study = new_uid()
    video, image = await core.stored(
        part10(StudyInstanceUID=study, transfer_syntax=MPEG4, fragments=[[b"stream"]], NumberOfFrames=50),
        part10(StudyInstanceUID=study, frames=[b"ab"]),
    )
    (failed, _), (head, value) = await core.all_bulk_data(Ref(study_instance_uid=study), EXPLICIT_LITTLE)
    assert failed.instance.sop_instance_uid == video.id.sop_instance_uid
    assert (head.id.sop_instance_uid, value) == (image.id.sop_instance_uid, b"ab")


async def test_values_are_little_endian(core: CoreClient) -> None:
    table = list(range(1000))
    body = part10(
        transfer_syntax=EXPLICIT_BIG,
        RedPaletteColorLookupTableDescriptor=[1000, 0, 16],
        SegmentedRedPaletteColorLookupTableData=b"".join(number.to_bytes(2, "big") for number in table),
    )
    [stored] = await core.stored(body)
    [(head, value)] = await core.all_bulk_data(ref_of(stored))
    assert head.vr == "OW"
    assert value == b"".join(number.to_bytes(2, "little") for number in table)


@pytest.mark.parametrize(
    ("uid", "pixels_only", "reason"),
    [("1.9.9.9", False, "STUDY_NOT_FOUND"), ("", False, "BULK_DATA_NOT_FOUND"), ("", True, "NO_PIXEL_DATA")],
)
async def test_a_missing_resource_fails_before_any_item_is_sent(
    core: CoreClient, uid: str, pixels_only: bool, reason: str
) -> None:
    study = new_uid()
    await core.stored(part10(StudyInstanceUID=study))
    request = pb.RetrieveAllBulkDataRequest(resource=Ref(study_instance_uid=uid or study), pixel_data_only=pixels_only)
    assert await stream_reason(core.retrieve_stub.RetrieveAllBulkData(request)) == reason


async def test_compressed_frames_are_sent_as_stored(core: CoreClient) -> None:
    fragments = [[b"\xff\xd8a1", b"a2"], [b"\xff\xd8b1"]]
    [stored] = await core.stored(part10(transfer_syntax=JPEG_BASELINE, fragments=fragments))
    found = await core.all_bulk_data(ref_of(stored))
    assert [(head.transfer_syntax_uid, value) for head, value in found] == [
        (JPEG_BASELINE, b"\xff\xd8a1a2"),
        (JPEG_BASELINE, b"\xff\xd8b1"),
    ]
