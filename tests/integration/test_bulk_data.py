"""RetrieveBulkData: protos/dicomstore/v1/retrieve_service.proto."""

import random

import pytest
from dicomstore.v1 import resources_pb2
from dicomstore.v1 import retrieve_service_pb2 as pb
from pydicom.dataset import Dataset

from tests.core import CoreClient, id_of, stream_reason
from tests.data import EXPLICIT_LITTLE, JPEG_BASELINE, encapsulated, part10

Range = resources_pb2.ByteRange
MPEG4 = "1.2.840.10008.1.2.4.102"
MPEG2 = "1.2.840.10008.1.2.4.100"


@pytest.mark.parametrize(("syntax", "media_type"), [(MPEG4, "video/mp4"), (MPEG2, "video/mpeg")])
async def test_any_range_of_a_video_can_be_retrieved(core: CoreClient, syntax: str, media_type: str) -> None:
    pieces = [random.randbytes(size) for size in (700_000, 20, 1_300_000)]
    video = b"".join(pieces)
    [stored] = await core.stored(part10(transfer_syntax=syntax, fragments=[pieces], NumberOfFrames=100))
    for offset, length in [(0, 1), (699_990, 40), (5, 1_999_000), (len(video) - 1, 1)]:
        part = Range(offset_bytes=offset, length_bytes=length)
        head, value = await core.bulk_data(id_of(stored), "7FE00010", range=part)
        assert value == video[offset : offset + length]
        assert (head.size_bytes, head.range, head.media_type) == (len(video), part, media_type)
        assert head.version == stored.version
    request = pb.RetrieveBulkDataRequest(
        instance=id_of(stored), path="7FE00010", range=Range(offset_bytes=len(video), length_bytes=1)
    )
    assert await stream_reason(core.retrieve_stub.RetrieveBulkData(request)) == "RANGE_NOT_SATISFIABLE"


@pytest.mark.parametrize(("frames", "media_type"), [(1, "image/jpeg"), (2, "")])
async def test_only_a_single_frame_has_an_image_media_type(core: CoreClient, frames: int, media_type: str) -> None:
    [stored] = await core.stored(part10(transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8ab"]] * frames))
    head, _ = await core.bulk_data(id_of(stored), "7FE00010")
    assert head.media_type == media_type


async def test_an_encapsulated_document_has_the_media_type_of_its_data_set(core: CoreClient) -> None:
    document = b"%PDF-" + random.randbytes(3000) + b"\0"
    body = part10(EncapsulatedDocument=document, MIMETypeOfEncapsulatedDocument="application/pdf")
    [stored] = await core.stored(body)
    head, value = await core.bulk_data(id_of(stored), "00420011")
    assert (head.media_type, head.vr, value) == ("application/pdf", "OB", document)


async def test_the_fragments_of_an_icon_are_joined(core: CoreClient) -> None:
    icon = Dataset()
    icon.PixelData = encapsulated([[b"\xff\xd8icon"]])
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    body = part10(transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8ab"]], IconImageSequence=[icon])
    [stored] = await core.stored(body)
    head, value = await core.bulk_data(id_of(stored), "00880200/1/7FE00010")
    assert (value, head.transfer_syntax_uid) == (b"\xff\xd8icon", JPEG_BASELINE)


async def test_the_icon_of_a_compressed_image_may_be_native(core: CoreClient) -> None:
    icon = Dataset()
    icon.PixelData = b"native"
    icon["PixelData"].VR = "OB"
    body = part10(transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8ab"]], IconImageSequence=[icon])
    [stored] = await core.stored(body)
    head, value = await core.bulk_data(id_of(stored), "00880200/1/7FE00010")
    assert (value, head.transfer_syntax_uid) == (b"native", EXPLICIT_LITTLE)


async def test_the_compressed_frames_of_a_multi_frame_instance_are_one_value(core: CoreClient) -> None:
    frames = [[b"\xff\xd8" + number.to_bytes(4, "big")] for number in range(5000)]
    [stored] = await core.stored(part10(transfer_syntax=JPEG_BASELINE, fragments=frames))
    whole = b"".join(frame for [frame] in frames)
    head, value = await core.bulk_data(id_of(stored), "7FE00010")
    assert value == whole
    assert not head.HasField("size_bytes")
    head, value = await core.bulk_data(id_of(stored), "7FE00010", range=Range(offset_bytes=7, length_bytes=100))
    assert value == whole[7:107]
    head, value = await core.bulk_data(id_of(stored), "7FE00010")
    assert head.size_bytes == len(whole) == len(value)
