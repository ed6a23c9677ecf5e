"""RetrieveRendered (protos/dicomstore/v1/retrieve_service.proto) on a real core with real worker processes."""

import io
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
import pytest_asyncio
from dicomstore.v1 import resources_pb2
from dicomstore.v1 import retrieve_service_pb2 as pb
from PIL import Image

from tests.core import CoreClient, Ref, ref_of, stream_reason
from tests.data import EXPLICIT_BIG, dataset, file_of, new_uid, part10
from tests.integration.conftest import a_core

Range = resources_pb2.ByteRange
STORAGE = "1.2.840.10008.5.1.4.1.1"
MPEG4 = "1.2.840.10008.1.2.4.102"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def core(emptied_core: CoreClient) -> CoreClient:
    return emptied_core


async def render(core: CoreClient, resource: Any, **fields: Any) -> list[tuple[Any, bytes]]:
    """Return (head, bytes) of each item; head is an ItemError for a failed one. Items left out come first."""
    found: list[tuple[Any, bytes]] = []
    async for response in core.retrieve_stub.RetrieveRendered(pb.RetrieveRenderedRequest(resource=resource, **fields)):
        found += [(error, b"") for error in response.omission.errors]
        for piece in response.pieces:
            if piece.HasField("head"):
                found.append((piece.head, b""))
            if piece.data:
                found[-1] = (found[-1][0], found[-1][1] + piece.data)
            if piece.HasField("failed"):
                found.append((piece.failed, b""))
    return found


async def reason(core: CoreClient, resource: Any, **fields: Any) -> str:
    request = pb.RetrieveRenderedRequest(resource=resource, **fields)
    return await stream_reason(core.retrieve_stub.RetrieveRendered(request))


async def rendered_png(core: CoreClient, resource: Any, **fields: Any) -> Image.Image:
    """Return the only rendered image, requested as PNG."""
    fields.setdefault("acceptable_media_types", ["image/png"])
    [(head, data)] = await render(core, resource, **fields)
    assert head.media_type == fields["acceptable_media_types"][0]
    assert head.size_bytes == len(data)
    return Image.open(io.BytesIO(data))


def ramp(value: int = 0, *, frames: int = 1, **attributes: Any) -> bytes:
    """Return an image of 16 by 8; columns increase by 10 from `value`, frames by 1."""
    row = numpy.arange(16) * 10 + value
    sample_type = ">i2" if attributes.get("transfer_syntax") == EXPLICIT_BIG else "<i2"
    pixels = [numpy.tile(row + number, (8, 1)).astype(sample_type).tobytes() for number in range(frames)]
    described = {
        "SOPClassUID": f"{STORAGE}.2",
        "Modality": "CT",
        "Rows": 8,
        "Columns": 16,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleIntercept": -1000,
        "RescaleSlope": 2,
        "WindowCenter": -850,
        "WindowWidth": 301,
    }
    return part10(frames=pixels, **(described | attributes))


async def test_the_default_is_a_jpeg_of_the_first_frame(core: CoreClient) -> None:
    [stored] = await core.stored(ramp(frames=3))
    [(head, data)] = await render(core, ref_of(stored))
    assert (head.media_type, head.frame, head.version) == ("image/jpeg", 0, stored.version)
    assert head.id.sop_instance_uid == stored.id.sop_instance_uid
    assert Image.open(io.BytesIO(data)).size == (16, 8)


async def test_the_window_of_the_data_set_is_applied(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    shown = numpy.asarray(await rendered_png(core, ref_of(stored)))
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255, x from -1000 to -700, c = -850, w = 301
    values = numpy.arange(16) * 20 - 1000
    expected = numpy.clip(((values + 850.5) / 300 + 0.5) * 255, 0, 255)
    assert shown.shape == (8, 16)
    assert numpy.abs(shown[0] - expected).max() <= 1


async def test_a_requested_window_replaces_that_of_the_data_set(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    window = pb.Window(center=-990, width=1, function=pb.WINDOW_FUNCTION_LINEAR)
    shown = numpy.asarray(await rendered_png(core, ref_of(stored), window=window))
    assert list(shown[0]) == [0] + [255] * 15


async def test_rendered_frames_are_in_the_requested_order(core: CoreClient) -> None:
    [stored] = await core.stored(ramp(frames=3, WindowCenter=-1000, WindowWidth=21))
    found = await render(core, ref_of(stored), frames=[3, 1, 3], acceptable_media_types=["image/png"])
    assert [head.frame for head, _ in found] == [3, 1, 3]
    firsts = [int(numpy.asarray(Image.open(io.BytesIO(data)))[0, 0]) for _, data in found]
    assert firsts[0] == firsts[2] > firsts[1]


async def test_big_endian_and_little_endian_files_are_rendered_alike(core: CoreClient) -> None:
    little, big = await core.stored(ramp(), ramp(transfer_syntax=EXPLICIT_BIG))
    shown = [numpy.asarray(await rendered_png(core, ref_of(stored))) for stored in (little, big)]
    assert (shown[0] == shown[1]).all()


async def test_a_viewport_scales_and_crops(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    whole = await rendered_png(core, ref_of(stored), viewport=pb.Viewport(width=8, height=8))
    half = pb.Viewport(width=16, height=16, source_width=8, source_height=8)
    part = await rendered_png(core, ref_of(stored), viewport=half)
    assert whole.size == (8, 4)
    assert part.size == (16, 16)


async def test_annotations_are_drawn_into_the_image(core: CoreClient) -> None:
    size = {"Rows": 200, "Columns": 300, "WindowCenter": 128, "WindowWidth": 256}
    black = part10(frames=[bytes(200 * 300)], PatientName="Roe^Ann", **size)
    [stored] = await core.stored(black)
    plain = numpy.asarray(await rendered_png(core, ref_of(stored)))
    named = numpy.asarray(await rendered_png(core, ref_of(stored), annotations=[pb.ANNOTATION_PATIENT]))
    both = [pb.ANNOTATION_PATIENT, pb.ANNOTATION_TECHNIQUE]
    assert plain.max() == 0
    assert (
        0
        < (named > 127).sum()
        < (numpy.asarray(await rendered_png(core, ref_of(stored), annotations=both)) > 127).sum()
    )


@pytest.mark.parametrize("media_type", ["image/gif", "image/apng"])
async def test_several_frames_can_be_rendered_as_an_animation(core: CoreClient, media_type: str) -> None:
    [stored] = await core.stored(ramp(frames=7, FrameTime="40"))
    [(head, data)] = await render(core, ref_of(stored), acceptable_media_types=[media_type])
    shown = Image.open(io.BytesIO(data))
    assert head.media_type == media_type
    assert not head.HasField("size_bytes")
    assert getattr(shown, "n_frames") == 7  # noqa: B009 - not every Image class has it
    assert shown.info["duration"] == 40
    shown.seek(6)
    assert shown.size == (16, 8)


async def test_a_single_frame_cannot_be_an_animation(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    assert await reason(core, ref_of(stored), acceptable_media_types=["image/gif"]) == "NOT_ACCEPTABLE_MEDIA_TYPE"


async def test_a_refusal_lists_the_available_media_types(core: CoreClient) -> None:
    [stored] = await core.stored(ramp(frames=2))
    call = core.retrieve_stub.RetrieveRendered(
        pb.RetrieveRenderedRequest(resource=ref_of(stored), acceptable_media_types=["text/html"])
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    trailer = str(caught.value.trailing_metadata())
    assert "image/jpeg,image/png,image/gif,image/apng" in trailer


async def test_the_first_acceptable_media_type_is_used(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    for wanted, got in (
        (["application/pdf", "image/png", "image/jpeg"], "image/png"),
        (["image/*"], "image/jpeg"),
        (["*/*"], "image/jpeg"),
        (["text/html", "IMAGE/PNG"], "image/png"),
    ):
        [(head, _)] = await render(core, ref_of(stored), acceptable_media_types=wanted)
        assert head.media_type == got


# ---------------------------------------------------------------------------------------------------------------------
# Several instances


async def test_a_series_has_one_item_per_instance_after_the_items_left_out(core: CoreClient) -> None:
    study, series = new_uid(), new_uid()
    level = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    stored = await core.stored(part10(**level), *[ramp(**level) for _ in range(4)], part10(**level))
    found = await render(core, Ref(study_instance_uid=study, series_instance_uid=series))
    versions = {each.id.sop_instance_uid: each.version for each in stored}
    names = [
        head.id.sop_instance_uid if hasattr(head, "media_type") else head.instance.sop_instance_uid for head, _ in found
    ]
    in_order = sorted(versions.values())
    assert [versions[name] for name in names] == [in_order[0], in_order[-1], *in_order[1:-1]]
    assert [bool(data) for _, data in found] == [False, False, True, True, True, True]


async def test_a_study_without_renderable_instances_fails(core: CoreClient) -> None:
    study = new_uid()
    await core.stored(part10(StudyInstanceUID=study), part10(StudyInstanceUID=study))
    assert await reason(core, Ref(study_instance_uid=study)) == "NO_PIXEL_DATA"
    assert await reason(core, Ref(study_instance_uid=study), acceptable_media_types=["image/png"]) == "NO_PIXEL_DATA"


async def test_a_series_has_one_animation_per_instance(core: CoreClient) -> None:
    level = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    await core.stored(*[ramp(frames=3, **level) for _ in range(3)])
    found = await render(core, Ref(study_instance_uid=level["StudyInstanceUID"]), acceptable_media_types=["image/gif"])
    assert [getattr(Image.open(io.BytesIO(data)), "n_frames") for _, data in found] == [3, 3, 3]  # noqa: B009


def jpeg(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (16, 16), value).save(out, "JPEG")
    return out.getvalue()


async def test_an_undecodable_frame_fails_the_animation_but_no_other_frame(core: CoreClient) -> None:
    frames = [jpeg(value) for value in range(0, 60, 10)]
    frames[3] = frames[2] = b"\xff\xd8\xff broken"
    body = part10(
        transfer_syntax="1.2.840.10008.1.2.4.50", fragments=[[frame] for frame in frames], Rows=16, Columns=16
    )
    [stored] = await core.stored(body)
    for media_type in ("image/gif", "image/apng"):
        assert await reason(core, ref_of(stored), acceptable_media_types=[media_type]) == "PIXEL_DATA_UNREADABLE"
    still = await render(core, ref_of(stored), frames=[2, 4, 5])
    assert sum(bool(data) for _, data in still) == 2
    assert (await thumbnail(core, ref_of(stored)))[0].frame == 1  # the middle frame is damaged
    assert (await thumbnail(core, ref_of(stored), frames=[4]))[0].frame == 0
    assert await reason(core, ref_of(stored), frames=[4]) == "PIXEL_DATA_UNREADABLE"


async def test_a_client_that_disconnects_stops_the_encoding_of_an_animation(core: CoreClient) -> None:
    [stored] = await core.stored(ramp(frames=300))
    call = core.retrieve_stub.RetrieveRendered(
        pb.RetrieveRenderedRequest(resource=ref_of(stored), acceptable_media_types=["image/gif"])
    )
    await call.read()
    call.cancel()
    assert (await rendered_png(core, ref_of(stored))).size == (16, 8)


# ---------------------------------------------------------------------------------------------------------------------
# Reports, documents and videos


def document(body: bytes, *, length: int | None = None, **attributes: Any) -> bytes:
    described = {
        "SOPClassUID": f"{STORAGE}.104.1",
        "Modality": "DOC",
        "MIMETypeOfEncapsulatedDocument": "application/pdf",
        "EncapsulatedDocument": body + bytes(len(body) % 2),
        "EncapsulatedDocumentLength": length,
    }
    return file_of(dataset(**(described | attributes)))


async def test_a_report_is_rendered_as_html(core: CoreClient) -> None:
    title = dataset(CodeValue="1", CodingSchemeDesignator="99T", CodeMeaning="Findings")
    report = dataset(SOPClassUID=f"{STORAGE}.88.11", ValueType="CONTAINER", ConceptNameCodeSequence=[title])
    [stored] = await core.stored(file_of(report))
    [(head, data)] = await render(core, ref_of(stored))
    assert (head.media_type, head.size_bytes) == ("text/html", len(data))
    assert b"<h1>Findings</h1>" in data


@pytest.mark.parametrize("size", [11, 1000, 5001, 3_000_001])
@pytest.mark.parametrize("says", [True, False])
async def test_a_document_is_sent_without_its_padding(core: CoreClient, size: int, says: bool) -> None:
    body = bytes(number % 251 for number in range(size))
    [stored] = await core.stored(document(body, length=size if says else None))
    [(head, data)] = await render(core, ref_of(stored))
    assert head.media_type == "application/pdf"
    assert head.size_bytes == len(data)
    assert data == (body if says else body + bytes(size % 2))


async def test_a_document_supports_ranges(core: CoreClient) -> None:
    body = bytes(number % 251 for number in range(5001))
    [stored] = await core.stored(document(body, length=5001))
    [(head, data)] = await render(core, ref_of(stored), range=Range(offset_bytes=4900, length_bytes=1000))
    assert data == body[4900:]
    assert head.size_bytes == 5001
    assert (head.range.offset_bytes, head.range.length_bytes) == (4900, 101)
    assert await reason(core, ref_of(stored), range=Range(offset_bytes=5001)) == "RANGE_NOT_SATISFIABLE"


async def test_an_empty_document_is_not_renderable(core: CoreClient) -> None:
    [stored] = await core.stored(document(b""))
    assert await reason(core, ref_of(stored)) == "NOT_RENDERABLE"


async def test_a_video_is_its_joined_fragments_and_supports_ranges(core: CoreClient) -> None:
    pieces = [bytes([number]) * (1000 + 2 * number) for number in range(5)]
    video = b"".join(pieces)
    body = part10(transfer_syntax=MPEG4, fragments=[pieces], Rows=4, Columns=4, NumberOfFrames=25)
    [stored] = await core.stored(body)
    [(head, data)] = await render(core, ref_of(stored))
    assert (head.media_type, head.size_bytes, data) == ("video/mp4", len(video), video)
    [(head, data)] = await render(core, ref_of(stored), range=Range(offset_bytes=990, length_bytes=1100))
    assert data == video[990:2090]
    assert head.range.length_bytes == 1100
    assert await reason(core, ref_of(stored), frames=[1]) == "NOT_RENDERABLE"
    assert (await thumbnail(core, ref_of(stored), frames=[3]))[1].size == (256, 256)
    assert await reason(core, ref_of(stored), acceptable_media_types=["image/jpeg"]) == "NOT_ACCEPTABLE_MEDIA_TYPE"


async def test_rendered_images_ignore_ranges(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    [(head, data)] = await render(core, ref_of(stored), range=Range(offset_bytes=10, length_bytes=10))
    assert head.size_bytes == len(data)
    assert not head.HasField("range")


# ---------------------------------------------------------------------------------------------------------------------
# Thumbnails


async def thumbnail(core: CoreClient, resource: Any, **fields: Any) -> tuple[Any, Image.Image]:
    [(head, data)] = await render(core, resource, thumbnail=True, **fields)
    return head, Image.open(io.BytesIO(data))


async def test_the_thumbnail_of_a_series_is_its_middle_image(core: CoreClient) -> None:
    level = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    stored = await core.stored(*[ramp(number, **level) for number in range(9)])
    stored.sort(key=lambda each: int(each.version))
    head, shown = await thumbnail(core, Ref(study_instance_uid=level["StudyInstanceUID"]))
    assert head.id.sop_instance_uid == stored[4].id.sop_instance_uid
    assert (head.media_type, head.frame) == ("image/jpeg", 1)
    assert shown.size == (16, 8)


async def test_the_thumbnail_of_a_multi_frame_instance_is_its_middle_frame(core: CoreClient) -> None:
    [stored] = await core.stored(ramp(frames=9))
    assert (await thumbnail(core, ref_of(stored)))[0].frame == 5
    assert (await thumbnail(core, ref_of(stored), frames=[2]))[0].frame == 2


async def test_the_thumbnail_of_a_study_is_a_localizer_only_without_another_image(core: CoreClient) -> None:
    study = new_uid()

    def image(series: str, number: int, flavor: str) -> bytes:
        kind = ["ORIGINAL", "PRIMARY", flavor]
        return ramp(StudyInstanceUID=study, SeriesInstanceUID=series, SeriesNumber=number, ImageType=kind)

    of_report = {"SeriesNumber": 0, "Modality": "SR", "SOPClassUID": f"{STORAGE}.88.11"}
    report = part10(StudyInstanceUID=study, SeriesInstanceUID="1.2.3", **of_report)
    await core.stored(report)
    assert (await thumbnail(core, Ref(study_instance_uid=study)))[0].id.series_instance_uid == "1.2.3"
    await core.stored(image("1.2.1", 1, "LOCALIZER"))
    assert (await thumbnail(core, Ref(study_instance_uid=study)))[0].id.series_instance_uid == "1.2.1"
    await core.stored(image("1.2.2", 2, "AXIAL"))
    assert (await thumbnail(core, Ref(study_instance_uid=study)))[0].id.series_instance_uid == "1.2.2"


def slide(flavor: str, tiles: int, **level: str) -> bytes:
    return part10(
        frames=[bytes([200]) * 64] * tiles,
        Rows=8,
        Columns=8,
        SOPClassUID=f"{STORAGE}.77.1.6",
        Modality="SM",
        ImageType=["DERIVED", "PRIMARY", flavor, "NONE"],
        **level,
    )


async def test_the_thumbnail_of_a_slide_is_its_thumbnail_or_smallest_image_and_never_its_label(
    core: CoreClient,
) -> None:
    level = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    [large] = await core.stored(slide("VOLUME", 20, **level))
    [middle] = await core.stored(slide("VOLUME", 6, **level))
    await core.stored(slide("LABEL", 1, **level))
    series = Ref(study_instance_uid=level["StudyInstanceUID"], series_instance_uid=level["SeriesInstanceUID"])
    assert (await thumbnail(core, series))[0].id.sop_instance_uid == middle.id.sop_instance_uid
    [overview] = await core.stored(slide("OVERVIEW", 1, **level))
    assert (await thumbnail(core, series))[0].id.sop_instance_uid == overview.id.sop_instance_uid
    [small] = await core.stored(slide("THUMBNAIL", 1, **level))
    for resource in (series, ref_of(large), Ref(study_instance_uid=level["StudyInstanceUID"])):
        head, _ = await thumbnail(core, resource)
        assert head.id.sop_instance_uid == small.id.sop_instance_uid
    assert (await thumbnail(core, ref_of(large), frames=[7]))[0].frame == 7


@pytest.mark.parametrize(
    "sop_class", [".88.11", ".104.1", ".9.1.1", ".11.1", ".481.5", ".481.3", ".66", ".66.5", ".2", ".67"]
)
async def test_objects_without_an_image_have_an_icon(core: CoreClient, sop_class: str) -> None:
    [stored] = await core.stored(part10(SOPClassUID=STORAGE + sop_class))
    head, shown = await thumbnail(core, ref_of(stored), viewport=pb.Viewport(width=64, height=64))
    assert (head.media_type, shown.size, head.frame) == ("image/jpeg", (64, 64), 0)
    assert await reason(core, ref_of(stored), thumbnail=True, frames=[1]) == "NO_PIXEL_DATA"


async def test_an_undecodable_image_has_an_icon_and_no_rendering(core: CoreClient) -> None:
    body = part10(transfer_syntax="1.2.840.10008.1.2.4.50", fragments=[[b"\xff\xd8\xff no JPEG"]], Columns=8, Rows=8)
    [stored] = await core.stored(body)
    assert (await thumbnail(core, ref_of(stored)))[1].size == (256, 256)
    assert await reason(core, ref_of(stored)) == "PIXEL_DATA_UNREADABLE"


async def test_thumbnails_are_cached_by_version_and_request(core: CoreClient) -> None:
    level = {"SOPInstanceUID": "1.2.3"}
    [stored] = await core.stored(ramp(0, **level))
    dark = await render(core, ref_of(stored), thumbnail=True)
    assert await render(core, ref_of(stored), thumbnail=True) == dark
    assert await render(core, ref_of(stored), thumbnail=True, quality=5) != dark
    assert await core.delete(ref_of(stored)) == 1
    await core.stored(ramp(100, **level))
    bright = await render(core, ref_of(stored), thumbnail=True)
    assert bright[0][1] != dark[0][1]


# ---------------------------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"frames": [0]}, "INVALID_FRAME_NUMBER"),
        ({"frames": [1, 9]}, "FRAME_NOT_FOUND"),
        ({"quality": 101}, "INVALID_FIELD"),
        ({"quality": -1}, "INVALID_FIELD"),
        ({"window": pb.Window(center=1, width=0)}, "INVALID_FIELD"),
        ({"window": pb.Window(center=float("nan"), width=1)}, "INVALID_FIELD"),
        ({"window": pb.Window(width=0.5, function=pb.WINDOW_FUNCTION_LINEAR)}, "INVALID_FIELD"),
        ({"window": pb.Window(width=5, function=99)}, "INVALID_FIELD"),
        ({"viewport": pb.Viewport(width=-1)}, "INVALID_FIELD"),
        ({"viewport": pb.Viewport(height=32768)}, "INVALID_FIELD"),
        ({"viewport": pb.Viewport(width=1, source_x=float("inf"))}, "INVALID_FIELD"),
        ({"viewport": pb.Viewport(width=1, source_x=1000)}, "NOT_RENDERABLE"),
        ({"annotations": [0]}, "INVALID_FIELD"),
        ({"icc_profile": 77}, "INVALID_FIELD"),
        ({"thumbnail": True, "frames": [1, 2]}, "INVALID_FIELD"),
        ({"frames": [1, 2], "range": Range(offset_bytes=1)}, "INVALID_FIELD"),
        ({"frames": [1], "acceptable_media_types": ["image/gif"]}, "NOT_ACCEPTABLE_MEDIA_TYPE"),
    ],
)
async def test_invalid_parameters_are_refused(core: CoreClient, fields: dict[str, Any], expected: str) -> None:
    [stored] = await core.stored(ramp(frames=3))
    assert await reason(core, ref_of(stored), **fields) == expected


async def test_frames_and_ranges_need_an_instance(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    study = Ref(study_instance_uid=stored.id.study_instance_uid)
    assert await reason(core, study, frames=[1]) == "INVALID_FIELD"
    assert await reason(core, study, range=Range(offset_bytes=1)) == "INVALID_FIELD"


async def test_rendering_an_unknown_resource_is_not_found(core: CoreClient) -> None:
    [stored] = await core.stored(ramp())
    study, series = stored.id.study_instance_uid, stored.id.series_instance_uid
    for thumbnails in (False, True):
        assert await reason(core, Ref(study_instance_uid="1.9"), thumbnail=thumbnails) == "STUDY_NOT_FOUND"
        nowhere = Ref(study_instance_uid=study, series_instance_uid="1.9")
        assert await reason(core, nowhere, thumbnail=thumbnails) == "SERIES_NOT_FOUND"
        nothing = Ref(study_instance_uid=study, series_instance_uid=series, sop_instance_uid="1.9")
        assert await reason(core, nothing, thumbnail=thumbnails) == "INSTANCE_NOT_FOUND"


async def test_a_frame_larger_than_the_setting_allows_is_not_rendered(tmp_path: Path) -> None:
    async with a_core(tmp_path, max_frame_bytes=255) as core:
        [stored] = await core.stored(ramp())
        assert await reason(core, ref_of(stored)) == "NOT_RENDERABLE"
        assert (await thumbnail(core, ref_of(stored)))[1].size == (256, 256)
