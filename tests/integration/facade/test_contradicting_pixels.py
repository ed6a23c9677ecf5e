"""Pixel data that contradicts its description: frames, rendered images and transcoded instances agree."""

import io
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pydicom
import pytest
import pytest_asyncio
from PIL import Image, ImageSequence

from tests.data import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    element,
    part10,
    part10_of,
    required_elements,
)
from tests.integration.facade.serving import JSON, parts_of, stow

STUDY = "1.2.826.0.1.3680043.10.1.1"
SOP = "1.2.3"
INSTANCE = f"/v2/studies/{STUDY}/series/{STUDY}.1/instances/{SOP}"
WADO_URI = f"/v2/wado?requestType=WADO&studyUID={STUDY}&seriesUID={STUDY}.1&objectUID={SOP}"
JPEG_LS = "1.2.840.10008.1.2.4.80"
GE, PRIVATE = "1.2.840.113619.5.2", "1.2.3.4.5.6"
NOISE = np.random.default_rng(11)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(shared_web: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A facade without instances. All tests share it and its pixel workers."""
    yield shared_web
    await shared_web.delete(f"/v2/studies/{STUDY}")


async def keep(web: httpx.AsyncClient, file: bytes, *, is_reported: bool = True) -> None:
    response = await stow(web, file)
    assert response.status_code == (202 if is_reported else 200), response.text


async def frames(web: httpx.AsyncClient, numbers: str, syntax: str = "*") -> list[tuple[str, bytes]]:
    """Return the transfer syntax and the bytes of frames."""
    accept = f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'
    response = await web.get(f"{INSTANCE}/frames/{numbers}", headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return [(kind.rpartition("transfer-syntax=")[2], body) for kind, body in parts_of(response)]


async def status(web: httpx.AsyncClient, path: str, accept: str = "*/*") -> int:
    return (await web.get(f"{INSTANCE}{path}", headers={"Accept": accept})).status_code


async def instance(web: httpx.AsyncClient, syntax: str) -> pydicom.Dataset:
    accept = f"application/dicom; transfer-syntax={syntax}"
    response = await web.get(INSTANCE, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return pydicom.dcmread(io.BytesIO(response.content))


async def shown(web: httpx.AsyncClient, path: str = "/rendered", accept: str = "image/png") -> Any:
    response = await web.get(f"{INSTANCE}{path}", headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"))


def jpegs(count: int) -> list[bytes]:
    encoded = [bytes(imagecodecs.jpeg8_encode(np.full((16, 16), 30 + 40 * n, np.uint8))) for n in range(count)]
    return [frame + bytes(len(frame) % 2) for frame in encoded]


def compressed(said: int, pieces: Sequence[Sequence[bytes]]) -> bytes:
    more = {"Rows": 16, "Columns": 16, "NumberOfFrames": said, "SOPInstanceUID": SOP}
    return part10(transfer_syntax=JPEG_BASELINE, fragments=pieces, basic_offset_table=False, **more)


def native(said: int, values: Sequence[int]) -> bytes:
    more = {"Rows": 16, "Columns": 16, "NumberOfFrames": said, "SOPInstanceUID": SOP}
    return part10(frames=[bytes([value]) * 256 for value in values], **more)


MULTI_FRAME = {
    "fewer codestreams": (compressed(5, [[frame] for frame in jpegs(3)]), 5),
    "more codestreams": (compressed(1, [[frame] for frame in jpegs(3)]), 1),
    "codestreams in several fragments": (compressed(7, [[f[:90], b"", f[90:-2], f[-2:]] for f in jpegs(3)]), 7),
    "fewer native frames": (native(5, [30, 70, 110]), 5),
    "more native frames": (native(2, [30, 70, 110]), 2),
    "native frames that are cut off": (native(4, [30, 70, 110, 150])[:-100], 4),
}


@pytest.mark.parametrize("name", MULTI_FRAME)
async def test_frames_that_exist_are_retrieved_and_others_are_not_found(web: httpx.AsyncClient, name: str) -> None:
    file, said = MULTI_FRAME[name]
    await keep(web, file)

    [data_set] = (await web.get(f"{INSTANCE}/metadata", headers=JSON)).json()
    assert data_set["00280008"]["Value"] == [said]
    for syntax in ("*", EXPLICIT_LITTLE, JPEG_LS):
        found = await frames(web, "3,1,2", syntax)
        assert len({body for _, body in found}) == 3
        for missing in ("4", "1,4"):
            accept = f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'
            assert await status(web, f"/frames/{missing}", accept) == 404
    levels = [int((await shown(web, f"/frames/{number}/rendered")).mean()) for number in (1, 2, 3)]
    assert levels[0] < levels[1] < levels[2]
    assert await status(web, "/frames/4/rendered", "image/png") == 404
    assert await status(web, "/frames/4/thumbnail", "image/png") == 404
    assert (await web.get(f"{WADO_URI}&frameNumber=4")).status_code == 404
    assert (await web.get(f"{WADO_URI}&frameNumber=3")).status_code == 200
    assert int((await shown(web, "/thumbnail")).mean()) == levels[1]


@pytest.mark.parametrize("name", MULTI_FRAME)
async def test_animations_pixel_data_and_re_encoded_instances_have_the_frames_that_exist(
    web: httpx.AsyncClient, name: str
) -> None:
    file, _ = MULTI_FRAME[name]
    await keep(web, file)

    for media_type in ("image/gif", "image/apng"):
        response = await web.get(f"{INSTANCE}/rendered", headers={"Accept": media_type})
        assert response.status_code == 200
        image = Image.open(io.BytesIO(response.content))
        assert len([frame.convert("L").tobytes() for frame in ImageSequence.Iterator(image)]) == 3
    accept = 'multipart/related; type="application/octet-stream"'
    response = await web.get(f"{INSTANCE}/pixeldata", headers={"Accept": accept})
    assert response.status_code == 200
    assert len(parts_of(response)) == 3
    again = await instance(web, JPEG_LS)
    assert again.NumberOfFrames == 3
    assert again.pixel_array.shape == (3, 16, 16)
    stored = await web.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert stored.content == file


COLOURS = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "SOPInstanceUID": SOP}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("planar", [0, 1])
async def test_full_chroma_labelled_as_subsampled_is_recognised(
    web: httpx.AsyncClient, planar: int, count: int
) -> None:
    pixels = NOISE.integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)
    stored = pixels.transpose(0, 3, 1, 2) if planar else pixels
    size = {"Rows": 4, "Columns": 6, "PlanarConfiguration": planar, "NumberOfFrames": count}
    await keep(web, part10(frames=[frame.tobytes() for frame in stored], **(COLOURS | size)))

    assert await frames(web, str(count), EXPLICIT_LITTLE) == [(EXPLICIT_LITTLE, stored[-1].tobytes())]
    again = await instance(web, JPEG_LS)
    assert again.PhotometricInterpretation == "YBR_FULL"
    raw = pydicom.pixels.pixel_array(again, raw=True)
    assert np.array_equal(raw.reshape(pixels.shape), pixels)
    expected = np.asarray(Image.fromarray(pixels[0], "YCbCr").convert("RGB"))
    assert np.array_equal(await shown(web), expected)


async def test_subsampled_chroma_is_upsampled_when_transcoded(web: httpx.AsyncClient) -> None:
    packed = NOISE.integers(0, 256, (4, 12), dtype=np.uint8)
    await keep(web, part10(frames=[packed.tobytes()], Rows=4, Columns=6, **COLOURS), is_reported=False)

    raw = pydicom.pixels.pixel_array(await instance(web, JPEG_LS), raw=True)
    pairs = packed.reshape(4, 3, 4)
    assert np.array_equal(raw[:, :, 0], pairs[:, :, :2].reshape(4, 6))
    assert np.array_equal(raw[:, 0::2, 1:], pairs[:, :, 2:])
    assert np.array_equal(raw[:, 1::2, 1:], pairs[:, :, 2:])


@pytest.mark.parametrize(
    ("attributes", "dtype", "shape"),
    [
        ({"BitsAllocated": 16, "BitsStored": 8, "HighBit": 7}, "u1", (4, 6)),
        ({"BitsAllocated": 8, "BitsStored": 12, "HighBit": 11}, "<u2", (4, 6)),
        ({"SamplesPerPixel": 1, "PhotometricInterpretation": "RGB"}, "u1", (4, 6, 3)),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "MONOCHROME2"}, "u1", (4, 6)),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "MONOCHROME2", "PlanarConfiguration": 1}, "u1", (4, 6)),
    ],
)
async def test_the_length_corrects_bits_and_samples(
    web: httpx.AsyncClient, attributes: dict[str, Any], dtype: str, shape: tuple[int, ...]
) -> None:
    pixels = NOISE.integers(0, 256, shape).astype(dtype)
    file = part10(frames=[pixels.tobytes()], Rows=4, Columns=6, SOPInstanceUID=SOP, **attributes)
    await keep(web, file)

    assert await frames(web, "1") == [(EXPLICIT_LITTLE, pixels.tobytes())]
    again = await instance(web, JPEG_LS)
    assert np.array_equal(again.pixel_array, pixels)
    assert (await shown(web)).shape == (4, 6, 3)


UNFIT = {
    "no frame fits": {"Rows": 16, "Columns": 16},
    "two interpretations fit": {"Rows": 5, "Columns": 8, "BitsAllocated": 16, "BitsStored": 8, "NumberOfFrames": 2},
    "no size": {"Rows": None, "Columns": None},
}


@pytest.mark.parametrize("name", UNFIT)
async def test_pixel_data_that_fits_no_interpretation_is_returned_only_as_stored(
    web: httpx.AsyncClient, name: str
) -> None:
    file = part10(frames=[bytes(range(80))], SOPInstanceUID=SOP, **({"Rows": 1, "Columns": 80} | UNFIT[name]))
    await keep(web, file, is_reported=name != "no size")

    assert [body for _, body in await frames(web, "1")] == [bytes(range(80))]
    for syntax in (EXPLICIT_LITTLE, JPEG_LS):
        octets = f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'
        assert await status(web, "/frames/1", octets) == 406
    assert await status(web, "/frames/2", "application/octet-stream; transfer-syntax=*") == 404
    assert await status(web, "/rendered", "image/png") == 406
    assert await status(web, "/rendered", "image/gif") == 406
    assert await status(web, "", f"application/dicom; transfer-syntax={JPEG_LS}") == 406
    assert (await web.get(f"{INSTANCE}/thumbnail")).status_code == 200
    stored = await web.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert stored.content == file


@pytest.mark.parametrize(
    ("path", "accept", "expected"),
    [
        ("/frames/1", "*/*", 404),
        ("/rendered", "*/*", 404),
        ("/thumbnail", "*/*", 200),
        ("", "application/dicom", 200),
        ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2", 200),
        ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90", 406),
    ],
)
async def test_a_truncated_frame_is_not_found(web: httpx.AsyncClient, path: str, accept: str, expected: int) -> None:
    await keep(web, native(1, [30])[:-10])
    assert await status(web, path, accept) == expected


async def test_truncated_pixel_data_has_its_actual_length_when_transcoded(web: httpx.AsyncClient) -> None:
    await keep(web, native(4, [30, 70, 110, 150])[:-99])

    again = await instance(web, IMPLICIT_LITTLE)
    assert again.PixelData == bytes([30] * 256 + [70] * 256 + [110] * 256 + [150] * 157 + [0])


def image_elements(bits: int, pixels: bytes, form: str) -> bytes:
    def us(tag: int, value: int) -> bytes:
        return element(tag, "US", struct.pack("<H", value), form)

    return b"".join(
        [
            *required_elements(form, SOPInstanceUID=SOP.encode() + b"\0"),
            us(0x00280002, 1),
            element(0x00280004, "CS", b"MONOCHROME2 ", form),
            us(0x00280010, 4),
            us(0x00280011, 6),
            us(0x00280100, bits),
            us(0x00280101, bits),
            us(0x00280102, bits - 1),
            us(0x00280103, 0),
            element(0x00281201, "OW", b"\1\0\2\0" * 400, form),
            element(0x7FE00010, "OW", pixels, form),
        ]
    )


@pytest.mark.parametrize("bits", [8, 16])
async def test_the_big_endian_pixels_of_ge_become_little_endian(web: httpx.AsyncClient, bits: int) -> None:
    pixels = NOISE.integers(0, 1 << bits, (4, 6)).astype(f"<u{bits // 8}")
    little = pixels.tobytes()
    big = np.frombuffer(little, "<u2").astype(">u2").tobytes()
    await keep(web, part10_of(image_elements(bits, big, IMPLICIT_LITTLE), GE))  # implicit VR is reported

    assert await frames(web, "1", EXPLICIT_LITTLE) == [(EXPLICIT_LITTLE, little)]
    for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG_LS):
        again = await instance(web, syntax)
        assert again.file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(again.pixel_array, pixels)
        assert again[0x00281201].value == b"\1\0\2\0" * 400
    assert (await web.get(f"{INSTANCE}/bulkdata/00281201")).content.count(b"\1\0\2\0") == 400
    value = await web.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Accept": "application/octet-stream"})
    assert value.content == little
    grey = (await shown(web))[:, :, 0].astype(int)
    assert np.array_equal(np.argmax(grey), np.argmax(pixels))


async def test_pixel_data_in_an_unknown_transfer_syntax_keeps_its_label(web: httpx.AsyncClient) -> None:
    pixels = bytes(range(48))
    file = part10_of(image_elements(16, pixels, EXPLICIT_LITTLE), PRIVATE)
    await keep(web, file, is_reported=False)

    assert await frames(web, "1") == [(PRIVATE, pixels)]
    assert await frames(web, "1", PRIVATE) == [(PRIVATE, pixels)]
    for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, JPEG_LS):
        octets = f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'
        assert await status(web, "/frames/1", octets) == 406
        assert await status(web, "", f"application/dicom; transfer-syntax={syntax}") == 406
    assert await status(web, "/rendered", "image/png") == 406
    assert await status(web, "/frames/1/rendered", "image/jpeg") == 406
    octets = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    response = await web.get(f"{INSTANCE}/pixeldata", headers={"Accept": octets})
    assert [body for _, body in parts_of(response)] == [pixels]
    assert PRIVATE in parts_of(response)[0][0]
    stored = await web.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert stored.content == file
