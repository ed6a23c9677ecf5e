"""Instances and frames transcoded on retrieval, over gRPC (retrieve_service.proto, PS3.18 8.7.3)."""

import asyncio
import contextlib
import io
import os
import random
import signal
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pydicom
import pytest
import pytest_asyncio
from dicomstore.v1 import capabilities_service_pb2, errors_pb2, resources_pb2
from dicomstore.v1 import retrieve_service_pb2 as pb
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status._async import from_call
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import set_pixel_data
from pydicom.uid import UID

from server.dicom.part10.file_meta import FileMeta, read_meta
from tests.core import CoreClient, Ref, id_of, ref_of, stream_reason
from tests.corpus import corpus, name_of
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    RLE_LOSSLESS,
    dataset,
    file_of,
    new_uid,
    part10,
)
from tests.integration.conftest import a_core

Range = resources_pb2.ByteRange
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
MPEG2 = "1.2.840.10008.1.2.4.100"
NATIVE = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]
COMPRESSED = [RLE_LOSSLESS, JPEG_LS, JPEG_2000_LOSSLESS]

# Attributes that transcoding may change (server/dicom/pixel_data/image_pixel_module.py).
DESCRIBING = {
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
}
UNDECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}  # its codestream has more tiles than the decoder accepts
_LARGE_BYTES = 4 << 20

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def core(emptied_core: CoreClient) -> CoreClient:
    return emptied_core


def image(
    frames: int = 3, rows: int = 13, columns: int = 11, transfer_syntax: str = EXPLICIT_LITTLE, **more: Any
) -> bytes:
    """Return a file with 12-bit frames, all different."""
    made = dataset(**more)
    pixels = np.random.default_rng(7).integers(0, 4096, (frames, rows, columns)).astype("<u2")
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    set_pixel_data(made, pixels if frames > 1 else pixels[0], "MONOCHROME2", 12, generate_instance_uid=False)
    if transfer_syntax == EXPLICIT_BIG:
        made.PixelData = pixels.astype(">u2").tobytes()
    return file_of(made, transfer_syntax)


def read(file: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(file))


def pixels_of(file: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(file).pixel_array


async def converted(core: CoreClient, stored: Any, target: str) -> bytes:
    [(head, sent)] = await core.retrieve(ref_of(stored), target)
    assert head.transfer_syntax_uid == target
    assert read(sent).file_meta.TransferSyntaxUID == target
    return sent


async def frame_pieces(core: CoreClient, instance: Any, frames: Sequence[int], target: str, **fields: Any) -> list[Any]:
    request = pb.RetrieveFramesRequest(
        instance=instance, frames=frames, acceptable_transfer_syntax_uids=[target], **fields
    )
    return [piece async for message in core.retrieve_stub.RetrieveFrames(request) for piece in message.pieces]


async def frames_reason(core: CoreClient, instance: Any, frames: Sequence[int], target: str, **fields: Any) -> str:
    request = pb.RetrieveFramesRequest(
        instance=instance, frames=frames, acceptable_transfer_syntax_uids=[target], **fields
    )
    return await stream_reason(core.retrieve_stub.RetrieveFrames(request))


def compressed_files() -> list[Path]:
    """Return the compressed images of the corpus, without the very large one."""
    found = []
    for path in corpus():
        with contextlib.suppress(InvalidDicomError, AttributeError, KeyError, TypeError, EOFError):
            file = read(path.read_bytes()) if path.stat().st_size < _LARGE_BYTES else Dataset()
            if file.file_meta.TransferSyntaxUID.is_compressed and {"PixelData", "StudyInstanceUID"} <= set(file.dir()):
                found.append(path)
    return found


# Whole instances


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", compressed_files(), ids=name_of)
async def test_compressed_files_decode_as_pydicom_decodes_them(core: CoreClient, path: Path) -> None:
    file = path.read_bytes()  # noqa: ASYNC240 - a test may block
    [outcome] = await core.store(file)
    if path.name in UNDECODABLE or outcome.WhichOneof("outcome") != "stored":
        return
    sent = await converted(core, outcome.stored, EXPLICIT_LITTLE)
    theirs, ours = read(file), read(sent)
    for element in theirs:
        if element.keyword not in {*DESCRIBING, "PixelData"} and element.tag.element != 0:
            assert ours[element.tag].value == element.value, element.keyword
    assert {element.keyword for element in ours} - {element.keyword for element in theirs} <= DESCRIBING
    assert read_meta(sent, is_whole=True) == FileMeta(
        144 + ours.file_meta.FileMetaInformationGroupLength, EXPLICIT_LITTLE
    )
    try:
        theirs.decompress(generate_instance_uid=False)
        expected = theirs.pixel_array.astype(np.int64)
    except (RuntimeError, ValueError):  # pydicom cannot decode this one; dicomstore can
        assert pixels_of(sent).size
        return
    difference = np.abs(pixels_of(sent).astype(np.int64) - expected).max()
    assert difference <= (2 if theirs.get("LossyImageCompression") == "01" else 1)


@pytest.mark.parametrize("target", COMPRESSED)
@pytest.mark.parametrize("stored_as", NATIVE)
async def test_uncompressed_instances_are_compressed_and_come_back_equal(
    core: CoreClient, stored_as: str, target: str
) -> None:
    body = image(transfer_syntax=stored_as)
    [stored] = await core.stored(body)
    compressed = await converted(core, stored, target)
    assert (pixels_of(compressed) == pixels_of(body)).all()
    await core.delete(ref_of(stored))
    [again] = await core.stored(compressed)
    for native in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        assert (pixels_of(await converted(core, again, native)) == pixels_of(body)).all()


async def test_rle_is_transcoded_to_jpeg_2000_and_back(core: CoreClient) -> None:
    body = image()
    [native] = await core.stored(body)
    rle = await converted(core, native, RLE_LOSSLESS)
    await core.delete(ref_of(native))
    [stored] = await core.stored(rle)
    wavelets = await converted(core, stored, JPEG_2000_LOSSLESS)
    await core.delete(ref_of(stored))
    [stored] = await core.stored(wavelets)
    assert (pixels_of(await converted(core, stored, RLE_LOSSLESS)) == pixels_of(body)).all()


async def test_compressed_frames_are_items_of_even_length_after_an_empty_offset_table(core: CoreClient) -> None:
    [stored] = await core.stored(image(frames=4))
    sent = await converted(core, stored, JPEG_LS)
    start = sent.index(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff") + 12
    lengths = []
    while sent[start : start + 4] == b"\xfe\xff\x00\xe0":
        lengths.append(struct.unpack_from("<I", sent, start + 4)[0])
        start += 8 + lengths[-1]
    assert lengths[0] == 0
    assert len(lengths) == 5
    assert not any(length % 2 for length in lengths)
    assert sent[start:] == b"\xfe\xff\xdd\xe0\0\0\0\0"


async def test_uncompressed_pixel_data_of_odd_length_is_padded(core: CoreClient) -> None:
    frames = [bytes([number] * 15) for number in range(3)]
    [native] = await core.stored(part10(frames=frames, Rows=3, Columns=5))
    rle = await converted(core, native, RLE_LOSSLESS)
    await core.delete(ref_of(native))
    [stored] = await core.stored(rle)
    sent = await converted(core, stored, EXPLICIT_LITTLE)
    assert read(sent)["PixelData"].value == b"".join(frames) + b"\0"
    assert read(sent)["PixelData"].VR == "OB"


async def test_elements_after_pixel_data_are_preserved(core: CoreClient) -> None:
    body = image(DataSetTrailingPadding=b"after")
    [stored] = await core.stored(body)
    assert read(await converted(core, stored, RLE_LOSSLESS)).DataSetTrailingPadding == b"after\0"


async def test_file_meta_information_names_the_implementation_and_preserves_other_elements(core: CoreClient) -> None:
    body = image()
    [stored] = await core.stored(body)
    meta, before = read(await converted(core, stored, RLE_LOSSLESS)).file_meta, read(body).file_meta
    assert meta.MediaStorageSOPInstanceUID == before.MediaStorageSOPInstanceUID
    assert meta.MediaStorageSOPClassUID == before.MediaStorageSOPClassUID
    assert meta.ImplementationClassUID != before.ImplementationClassUID
    assert meta.ImplementationVersionName == "DICOMSTORE"


async def test_lossy_compression_sets_its_attributes(core: CoreClient) -> None:
    [stored] = await core.stored(part10(frames=[bytes(range(256))], Rows=16, Columns=16))
    sent = read(await converted(core, stored, JPEG_BASELINE))
    assert sent.LossyImageCompression == "01"
    assert sent.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(sent.LossyImageCompressionRatio) > 0


async def test_objects_without_pixel_data_use_a_compressed_syntax_only_if_no_other_is_accepted(
    core: CoreClient,
) -> None:
    [stored] = await core.stored(part10(transfer_syntax=IMPLICIT_LITTLE))
    [(head, _)] = await core.retrieve(ref_of(stored), JPEG_2000_LOSSLESS, EXPLICIT_LITTLE)
    assert head.transfer_syntax_uid == EXPLICIT_LITTLE
    sent = await converted(core, stored, JPEG_2000_LOSSLESS)
    assert read(sent).PatientID == "P1"


async def test_instances_of_different_syntaxes_are_sent_in_one(core: CoreClient) -> None:
    study = new_uid()
    bodies = [image(frames=number, StudyInstanceUID=study) for number in (1, 2, 3)]
    natives = await core.stored(*bodies)
    rle = await converted(core, natives[0], RLE_LOSSLESS)
    await core.delete(ref_of(natives[0]))
    await core.stored(rle, part10(StudyInstanceUID=study), part10(StudyInstanceUID=study, transfer_syntax=DEFLATED))
    found = await core.retrieve(Ref(study_instance_uid=study), EXPLICIT_LITTLE)
    assert {head.transfer_syntax_uid for head, _ in found} == {EXPLICIT_LITTLE}
    sent = {read(body).SOPInstanceUID: body for _, body in found}
    assert len(sent) == 5
    for body in bodies:
        assert (pixels_of(sent[read(body).SOPInstanceUID]) == pixels_of(body)).all()


async def test_a_damaged_frame_fails_its_instance_only(core: CoreClient) -> None:
    study = new_uid()
    late = await _compressed(core, damaged=3, StudyInstanceUID=study)
    early = await _compressed(core, damaged=1, StudyInstanceUID=study)
    whole = image(StudyInstanceUID=study)
    await core.stored(late, early, whole)
    request = pb.RetrieveInstancesRequest(
        resource=Ref(study_instance_uid=study), acceptable_transfer_syntax_uids=[EXPLICIT_LITTLE]
    )
    pieces = [piece async for message in core.retrieve_stub.RetrieveInstances(request) for piece in message.pieces]
    assert [piece.head.transfer_syntax_uid for piece in pieces if piece.HasField("head")] == [EXPLICIT_LITTLE] * 2
    failed = [piece.failed.reason for piece in pieces if piece.HasField("failed")]
    assert failed == [errors_pb2.ERROR_REASON_PIXEL_DATA_UNREADABLE] * 2
    assert sum(piece.last for piece in pieces) == 1
    again = [message async for message in core.retrieve_stub.RetrieveInstances(request)]
    assert again[0].omission.count == 2
    assert [piece.last for message in again for piece in message.pieces] == [True]


async def test_a_single_instance_with_a_damaged_first_frame_fails_before_any_bytes_are_sent(core: CoreClient) -> None:
    [stored] = await core.stored(await _compressed(core, damaged=1))
    request = pb.RetrieveInstancesRequest(resource=ref_of(stored), acceptable_transfer_syntax_uids=[EXPLICIT_LITTLE])
    assert await stream_reason(core.retrieve_stub.RetrieveInstances(request)) == "PIXEL_DATA_UNREADABLE"


@pytest.mark.parametrize("number", [1, 2, 5])
async def test_re_encoded_instances_have_the_true_number_of_frames(core: CoreClient, number: int) -> None:
    rle = read(await _compressed(core, frames=3))
    whole = rle.pixel_array
    rle.NumberOfFrames = number
    [stored] = await core.stored(file_of(rle, RLE_LOSSLESS))
    for target in (EXPLICIT_LITTLE, JPEG_LS):
        sent = await converted(core, stored, target)
        assert read(sent).NumberOfFrames == 3
        assert (pixels_of(sent) == whole).all()
    assert len(await core.frames(id_of(stored), [1, 2, 3], EXPLICIT_LITTLE)) == 3
    assert await frames_reason(core, id_of(stored), [1, 4], EXPLICIT_LITTLE) == "FRAME_NOT_FOUND"
    assert await frames_reason(core, id_of(stored), [4], "*") == "FRAME_NOT_FOUND"


async def test_an_instance_that_lacks_a_middle_frame_is_not_re_encoded(core: CoreClient) -> None:
    rle = read(await _compressed(core, frames=3))
    first, _, third = generate_frames(rle.PixelData, number_of_frames=3)
    file = part10(
        transfer_syntax=RLE_LOSSLESS, Rows=13, Columns=11, BitsAllocated=16, fragments=[[first], [b""], [third]]
    )
    [stored] = await core.stored(file)
    request = pb.RetrieveInstancesRequest(resource=ref_of(stored), acceptable_transfer_syntax_uids=[EXPLICIT_LITTLE])
    assert await stream_reason(core.retrieve_stub.RetrieveInstances(request)) == "PIXEL_DATA_UNREADABLE"
    assert [data for _, data in await core.frames(id_of(stored), [1, 3], "*")] == [first, third]
    assert await frames_reason(core, id_of(stored), [2], "*") == "FRAME_NOT_FOUND"
    whole = await core.all_bulk_data(ref_of(stored), "*")
    assert [data for _, data in whole if data] == [first, third]


async def test_a_refusal_lists_the_available_transfer_syntaxes(core: CoreClient) -> None:
    [stored] = await core.stored(image())
    request = pb.RetrieveInstancesRequest(resource=ref_of(stored), acceptable_transfer_syntax_uids=[MPEG2])
    possible = await _possible(core.retrieve_stub.RetrieveInstances(request))
    assert possible[0] == EXPLICIT_LITTLE
    assert {IMPLICIT_LITTLE, *COMPRESSED} <= set(possible)
    assert JPEG_BASELINE not in possible  # 12 bits
    frames = pb.RetrieveFramesRequest(instance=id_of(stored), frames=[1], acceptable_transfer_syntax_uids=[MPEG2])
    assert set(await _possible(core.retrieve_stub.RetrieveFrames(frames))) == set(possible)


async def test_frames_above_the_size_limit_are_only_available_as_stored(tmp_path: Path) -> None:
    async with a_core(tmp_path, max_frame_bytes=2 * 13 * 11 - 1) as core:
        [stored] = await core.stored(image())
        request = pb.RetrieveInstancesRequest(resource=ref_of(stored), acceptable_transfer_syntax_uids=[RLE_LOSSLESS])
        assert set(await _possible(core.retrieve_stub.RetrieveInstances(request))) == {EXPLICIT_LITTLE, IMPLICIT_LITTLE}


async def test_uncompressed_pixel_data_above_the_length_limit_is_not_acceptable(core: CoreClient) -> None:
    frame_bytes = 1 << 27
    body = part10(transfer_syntax=RLE_LOSSLESS, fragments=[[b"run"]] * 32, Rows=1 << 13, Columns=1 << 14)
    assert 31 * frame_bytes < 0xFFFFFFFE < 32 * frame_bytes
    [stored] = await core.stored(body)
    request = pb.RetrieveInstancesRequest(resource=ref_of(stored), acceptable_transfer_syntax_uids=[EXPLICIT_LITTLE])
    possible = await _possible(core.retrieve_stub.RetrieveInstances(request))
    assert JPEG_2000_LOSSLESS in possible
    assert not {EXPLICIT_LITTLE, IMPLICIT_LITTLE} & set(possible)


# Qualities


@pytest.mark.parametrize(
    ("acceptable", "qualities", "expected"),
    [
        ([RLE_LOSSLESS, EXPLICIT_LITTLE], [], RLE_LOSSLESS),
        ([RLE_LOSSLESS, EXPLICIT_LITTLE], [1, 1], EXPLICIT_LITTLE),
        ([RLE_LOSSLESS, "*"], [0.5, 0.5], EXPLICIT_LITTLE),
        ([RLE_LOSSLESS, EXPLICIT_LITTLE], [1, 0.9], RLE_LOSSLESS),
        ([RLE_LOSSLESS, EXPLICIT_LITTLE], [0.1, 0.2], EXPLICIT_LITTLE),
        ([MPEG2, JPEG_LS, RLE_LOSSLESS], [1, 0.5, 0.5], JPEG_LS),
        (["*", RLE_LOSSLESS], [0, 0.1], RLE_LOSSLESS),
    ],
)
async def test_of_equally_preferred_syntaxes_the_stored_one_is_used(
    core: CoreClient, acceptable: list[str], qualities: list[float], expected: str
) -> None:
    [stored] = await core.stored(image())
    [(head, _)] = await core.retrieve(ref_of(stored), *acceptable, acceptable_qualities=qualities)
    assert head.transfer_syntax_uid == expected
    request = pb.RetrieveFramesRequest(
        instance=id_of(stored),
        frames=[1],
        acceptable_transfer_syntax_uids=acceptable,
        acceptable_qualities=qualities,
    )
    async for message in core.retrieve_stub.RetrieveFrames(request):
        assert message.pieces[0].head.transfer_syntax_uid == expected


async def test_qualities_are_given_for_all_syntaxes_or_for_none(core: CoreClient) -> None:
    [stored] = await core.stored(image())
    request = pb.RetrieveInstancesRequest(
        resource=ref_of(stored), acceptable_transfer_syntax_uids=["*", RLE_LOSSLESS], acceptable_qualities=[1]
    )
    assert await stream_reason(core.retrieve_stub.RetrieveInstances(request)) == "INVALID_FIELD"


# Frames


@pytest.mark.parametrize("stored_as", NATIVE)
@pytest.mark.parametrize("target", COMPRESSED)
async def test_frames_are_compressed_one_by_one(core: CoreClient, stored_as: str, target: str) -> None:
    body = image(frames=6, transfer_syntax=stored_as)
    [stored] = await core.stored(body)
    wanted = [5, 1, 5, 6]
    found = await core.frames(id_of(stored), wanted, target)
    assert [head.frame for head, _ in found] == wanted
    assert {head.transfer_syntax_uid for head, _ in found} == {target}
    assert {head.version for head, _ in found} == {stored.version}
    assert [head.size_bytes for head, _ in found] == [len(data) for _, data in found]
    made = dataset(**{element.keyword: element.value for element in read(body) if element.keyword != "PixelData"})
    made.PixelData = pydicom.encaps.encapsulate([data for _, data in found])
    made["PixelData"].VR, made.NumberOfFrames = "OB", len(wanted)
    file = file_of(made, target)
    assert (pixels_of(file) == pixels_of(body)[[number - 1 for number in wanted]]).all()


async def test_compressed_frames_can_be_retrieved_uncompressed(core: CoreClient) -> None:
    body = image(frames=6)
    [stored] = await core.stored(await _compressed(core, frames=6))
    found = await core.frames(id_of(stored), [2, 6], EXPLICIT_LITTLE)
    assert [data for _, data in found] == [pixels_of(body)[number].tobytes() for number in (1, 5)]


async def test_a_damaged_frame_is_reported_before_the_others_are_sent(core: CoreClient) -> None:
    [stored] = await core.stored(await _compressed(core, frames=4, damaged=2))
    request = pb.RetrieveFramesRequest(
        instance=id_of(stored), frames=[1, 2, 3, 2, 4], acceptable_transfer_syntax_uids=[EXPLICIT_LITTLE]
    )
    messages = [message async for message in core.retrieve_stub.RetrieveFrames(request)]
    assert messages[0].omission.count == 2
    pieces = [piece for message in messages for piece in message.pieces]
    assert [piece.head.frame for piece in pieces] == [1, 3, 4]
    assert all(piece.last for piece in pieces)


async def test_a_frame_known_to_be_damaged_is_reported_before_the_others_are_sent(core: CoreClient) -> None:
    [stored] = await core.stored(await _compressed(core, damaged=2))
    assert await frames_reason(core, id_of(stored), [2], EXPLICIT_LITTLE) == "PIXEL_DATA_UNREADABLE"
    for numbers in ([2, 1], [1, 2, 3]):
        request = pb.RetrieveFramesRequest(
            instance=id_of(stored), frames=numbers, acceptable_transfer_syntax_uids=[EXPLICIT_LITTLE]
        )
        messages = [message async for message in core.retrieve_stub.RetrieveFrames(request)]
        assert messages[0].omission.count == 1
        assert [piece.last for message in messages for piece in message.pieces] == [True] * (len(numbers) - 1)


@pytest.mark.parametrize("target", [EXPLICIT_LITTLE, RLE_LOSSLESS, JPEG_LS])
@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize(("offset", "length"), [(0, 10), (7, 0), (30, 4), (5, 10**9)])
async def test_a_range_of_a_frame(core: CoreClient, is_compressed: bool, target: str, offset: int, length: int) -> None:
    [stored] = await core.stored(await _compressed(core) if is_compressed else image())
    [(_, whole)] = await core.frames(id_of(stored), [2], target)
    part = Range(offset_bytes=offset, length_bytes=length)
    pieces = await frame_pieces(core, id_of(stored), [2], target, range=part)
    assert b"".join(piece.data for piece in pieces) == whole[offset : offset + length if length else None]
    assert pieces[0].head.size_bytes == len(whole)


@pytest.mark.parametrize("bounds", [(1, 0), (0, 5), (3, 9)])
async def test_a_range_of_a_frame_of_several_fragments_or_odd_bits(core: CoreClient, bounds: tuple[int, int]) -> None:
    offset, length = bounds
    stop = offset + length if length else None
    fragments = [[b"\xff\xd8\xffabc", b"defghijk"], [b"\xff\xd8\xffxyz", b"uvwxyz"]]
    bits = bytes(random.randrange(256) for _ in range(20))
    for body in (
        part10(transfer_syntax=JPEG_BASELINE, fragments=fragments),
        part10(frames=[bits[:10], bits[10:]], Rows=7, Columns=11, BitsAllocated=1, BitsStored=1, HighBit=0),
    ):
        [stored] = await core.stored(body)
        [(_, whole)] = await core.frames(id_of(stored), [2], "*")
        part = Range(offset_bytes=offset, length_bytes=length)
        pieces = await frame_pieces(core, id_of(stored), [2], "*", range=part)
        assert b"".join(piece.data for piece in pieces) == whole[offset:stop]
        assert pieces[0].head.size_bytes == len(whole)


@pytest.mark.parametrize("target", [EXPLICIT_LITTLE, RLE_LOSSLESS])
async def test_a_range_outside_of_a_frame_is_not_satisfiable(core: CoreClient, target: str) -> None:
    [stored] = await core.stored(image())
    outside = Range(offset_bytes=10**6)
    assert await frames_reason(core, id_of(stored), [1], target, range=outside) == "RANGE_NOT_SATISFIABLE"


async def test_a_range_requires_a_single_frame(core: CoreClient) -> None:
    [stored] = await core.stored(image())
    part = Range(offset_bytes=1)
    assert await frames_reason(core, id_of(stored), [1, 2], EXPLICIT_LITTLE, range=part) == "INVALID_FIELD"


# Resources


async def test_many_frames_take_no_more_memory_than_few(tmp_path: Path) -> None:
    body = image(frames=200, rows=512, columns=512)  # 105 MB
    async with a_core(tmp_path, max_instance_bytes=1 << 30) as core:
        [stored] = await core.stored(body)
        size, length = len(body), 0
        del body
        request = pb.RetrieveInstancesRequest(resource=ref_of(stored), acceptable_transfer_syntax_uids=[RLE_LOSSLESS])
        before, most = None, 0
        async for message in core.retrieve_stub.RetrieveInstances(request):
            before = before or _rss_bytes()
            length += sum(len(piece.data) for piece in message.pieces)
            most = max(most, _rss_bytes())
        assert length > size // 2
        assert before
        assert most - before < 40 << 20


async def test_a_killed_worker_fails_one_frame_at_most(core: CoreClient) -> None:
    [stored] = await core.stored(image(frames=400, rows=64, columns=64))
    request = pb.RetrieveFramesRequest(
        instance=id_of(stored), frames=range(1, 401), acceptable_transfer_syntax_uids=[JPEG_2000_LOSSLESS]
    )
    ended: list[bool] = []
    async for message in core.retrieve_stub.RetrieveFrames(request):
        if not ended:
            os.kill(_workers()[0], signal.SIGKILL)
        ended += [piece.last for piece in message.pieces if piece.last or piece.HasField("failed")]
    assert len(ended) == 400
    assert ended.count(False) <= 1


async def test_a_client_that_disconnects_stops_the_transcoding(core: CoreClient) -> None:
    [stored] = await core.stored(image(frames=300, rows=256, columns=256))
    request = pb.RetrieveInstancesRequest(resource=ref_of(stored), acceptable_transfer_syntax_uids=[JPEG_2000_LOSSLESS])
    call = core.retrieve_stub.RetrieveInstances(request)
    await call.read()
    call.cancel()
    found = await asyncio.wait_for(core.frames(id_of(stored), [1], JPEG_2000_LOSSLESS), 10)
    assert found[0][1]


async def test_capabilities_list_the_decodable_and_encodable_transfer_syntaxes(core: CoreClient) -> None:
    answer = await core.capabilities_stub.GetCapabilities(capabilities_service_pb2.GetCapabilitiesRequest())
    assert {EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG_BASELINE, *COMPRESSED} <= set(answer.encodable_transfer_syntax_uids)
    assert {*NATIVE, JPEG_BASELINE, *COMPRESSED} <= set(answer.decodable_transfer_syntax_uids)
    assert MPEG2 not in answer.decodable_transfer_syntax_uids


async def _compressed(core: CoreClient, frames: int = 3, damaged: int = 0, **attributes: Any) -> bytes:
    """Return an RLE image; frame number `damaged` can't be decoded, 0 damages none."""
    [stored] = await core.stored(image(frames=frames, **attributes))
    sent = read(await converted(core, stored, RLE_LOSSLESS))
    await core.delete(ref_of(stored))
    made = list(pydicom.encaps.generate_frames(sent.PixelData, number_of_frames=frames))
    if damaged:
        made[damaged - 1] = b"\x02\0\0\0" + b"\xff" * 70
    sent.PixelData = pydicom.encaps.encapsulate(made)
    sent["PixelData"].VR = "OB"
    return file_of(sent, RLE_LOSSLESS)


async def _possible(call: Any) -> list[str]:
    """Return the available transfer syntaxes that a refusal lists."""
    info = ErrorInfo()
    try:
        await call.read()
    except grpc.aio.AioRpcError:
        assert (await from_call(call)).details[0].Unpack(info)
    assert info.reason == "NOT_ACCEPTABLE_TRANSFER_SYNTAX"
    return list(info.metadata["possible"].split(","))


def _rss_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("every process has memory")


def _workers() -> list[int]:
    """Return the process ids of the workers of this process."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has ended in between
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"adapters.workers.process" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found
