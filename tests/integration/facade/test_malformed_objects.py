"""Malformed objects over HTTP, on both databases and in both versions: no data is lost or shown wrongly."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageSequence

from tests import malformed
from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE_LOSSLESS
from tests.integration.facade.serving import JSON, parts_of, stow

pytestmark = pytest.mark.asyncio(loop_scope="module")

OCTETS = "application/octet-stream"
PNG = {"Accept": "image/png"}
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.fixture
def web(web_on_each_database: httpx.AsyncClient) -> httpx.AsyncClient:
    return web_on_each_database


@pytest.fixture(params=["/v1", "/v2"])
def base(request: pytest.FixtureRequest) -> str:
    path: str = request.param
    return path


class Stored:
    """A stored instance: the client, its URL, and the item of the response that reports it."""

    def __init__(self, web: httpx.AsyncClient, status: int, item: dict[str, Any], file: bytes) -> None:
        self.web, self.status, self.item, self.file = web, status, item, file
        self.url: str = item["00081190"]["Value"][0]

    async def get(self, path: str = "", accept: str = "*/*") -> httpx.Response:
        return await self.web.get(f"{self.url}{path}", headers={"Accept": accept})

    async def metadata(self) -> dict[str, Any]:
        """Return the metadata; a number or name that JSON does not have fails."""
        response = await self.get("/metadata", "application/dicom+json")
        assert response.status_code == 200
        [found] = json.loads(response.content, parse_constant=_no_constant)
        return dict(found)

    async def frames(self, transfer_syntax: str = "*") -> list[bytes]:
        """Return all frames that there are, which are as many as /pixeldata has."""
        found: list[bytes] = []
        accept = f"{OCTETS}; transfer-syntax={transfer_syntax}"
        while (response := await self.get(f"/frames/{len(found) + 1}", accept)).status_code == 200:
            found.append(response.content)
        assert response.status_code == 404
        whole = await self.get("/pixeldata", f'multipart/related; type="{OCTETS}"; transfer-syntax={transfer_syntax}')
        assert [part for _, part in parts_of(whole)] == found
        return found

    async def decoded_image(self, path: str = "/rendered") -> np.ndarray[Any, np.dtype[np.uint8]]:
        response = await self.get(path, "image/png")
        assert response.status_code == 200, response.text
        return np.asarray(Image.open(io.BytesIO(response.content)))

    async def reencoded(self, transfer_syntax: str = EXPLICIT_LITTLE) -> pydicom.FileDataset:
        response = await self.get("", f"application/dicom; transfer-syntax={transfer_syntax}")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == f"application/dicom; transfer-syntax={transfer_syntax}"
        return pydicom.dcmread(io.BytesIO(response.content))

    def failed_attributes(self) -> list[str]:
        """Return the comments about attributes."""
        items = self.item.get("00741048", {}).get("Value", [])
        return [comment for found in items for comment in found["00000902"]["Value"]]


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


async def store(web: httpx.AsyncClient, base: str, file: bytes) -> Stored:
    """Store a file and check that its bytes are returned."""
    response = await stow(web, file, path=f"{base}/studies")
    assert response.status_code in (200, 202), response.text
    [item] = response.json()["00081199"]["Value"]
    stored = Stored(web, response.status_code, item, file)
    as_stored = await stored.get("", "application/dicom; transfer-syntax=*")
    assert as_stored.content == file
    return stored


async def test_each_component_of_a_name_begins_in_the_initial_character_set(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.name_in_latin_and_korean())
    assert stored.status == 200
    assert (await stored.metadata())["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "ç^ㅊ^ç"}]}
    study = stored.url.partition("/studies/")[2].partition("/")[0]
    found = await web.get(f"{base}/studies", params={"PatientName": "ç^ㅊ^ç", "StudyInstanceUID": study}, headers=JSON)
    assert found.status_code == 200
    assert [match["0020000D"]["Value"] for match in found.json()] == [[study]]


async def test_the_fragments_decide_how_many_jpeg_frames_there_are(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.three_jpeg_frames_of_five())
    assert (await stored.metadata())["00280008"]["Value"] == [5]
    assert await stored.frames() == [malformed.grey_jpeg(value) for value in (50, 120, 200)]
    for number, value in enumerate((50, 120, 200), 1):
        assert (await stored.decoded_image(f"/frames/{number}/rendered") == value).all()
    assert [set(frame) for frame in await stored.frames(EXPLICIT_LITTLE)] == [{50}, {120}, {200}]
    reencoded = await stored.reencoded()
    assert (
        reencoded.NumberOfFrames,
        [set(row) for row in np.split(np.frombuffer(reencoded.PixelData, np.uint8), 3)],
    ) == (3, [{50}, {120}, {200}])


async def test_the_length_decides_how_many_native_frames_there_are(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.three_native_frames_of_five())
    assert (await stored.metadata())["00280008"]["Value"] == [5]
    expected = [bytes(range(64)), bytes(range(64, 128)), bytes(range(128, 192))]
    assert await stored.frames() == expected
    for number in (1, 2, 3):
        shown = await stored.decoded_image(f"/frames/{number}/rendered")
        assert shown.shape == (8, 8)
    assert (await stored.get("/frames/4/rendered", "image/png")).status_code == 404


@pytest.mark.parametrize("media_type", ["image/gif", "image/apng"])
async def test_an_animation_has_all_existing_frames(web: httpx.AsyncClient, base: str, media_type: str) -> None:
    stored = await store(web, base, malformed.three_native_frames_of_five())
    response = await stored.get("/rendered", media_type)
    assert response.status_code == 200, response.text
    animation = Image.open(io.BytesIO(response.content))
    shown = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(animation)]
    assert len(shown) == 3


async def test_a_rescale_intercept_of_too_many_characters_is_applied(web: httpx.AsyncClient, base: str) -> None:
    short = await store(web, base, malformed.ct(b"-1024"))
    long = await store(web, base, malformed.ct(b"-1024.000000000000"))
    assert (short.status, long.status) == (200, 202 if base == "/v2" else 200)
    assert (await long.metadata())["00281052"] == {"vr": "DS", "Value": [-1024]}
    expected = await short.decoded_image()
    assert set(expected.flat) > {0, 255}
    for path in ("/rendered", "/frames/1/rendered", "/thumbnail"):
        assert (await long.decoded_image(path) == await short.decoded_image(path)).all()
    if base == "/v2":
        assert any("(0028,1052)" in comment for comment in long.failed_attributes())


NESTED = {
    "Accession Number": (
        lambda: malformed.nested(0x00080050, "SH", "A" * 20, of=0x00400275, top="ACC1"),
        {"00080050": ["ACC1"]}, "00400275", "00080050", ["A" * 20],
    ),
    "Image Position": (
        lambda: malformed.nested(
            0x00200032, "DS", "0.30000000000000004\\0\\0", of=0x00209113, top="1.0\\2.0\\3.0"
        ),
        {"00200032": [1, 2, 3]}, "00209113", "00200032", [0.30000000000000004, 0, 0],
    ),
    "Modality": (
        lambda: malformed.nested(0x00080060, "CS", "ct/mr", of=0x00081115, top="OT"),
        {"00080060": ["OT"]}, "00081115", "00080060", ["ct/mr"],
    ),
    "Patient ID": (
        lambda: malformed.nested(0x00100020, "LO", "x" * 70, of=0x00101002, top="P1"),
        {"00100020": ["P1"]}, "00101002", "00100020", ["x" * 70],
    ),
    "Study Instance UID": (
        lambda: malformed.nested(0x0020000D, "UI", "NOT-A-UID ", of=0x00400275),
        {}, "00400275", "0020000D", ["NOT-A-UID"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("attribute", list(NESTED))
async def test_an_invalid_value_in_an_item_affects_that_item_only(
    web: httpx.AsyncClient, base: str, attribute: str
) -> None:
    build, top, sequence, tag, value = NESTED[attribute]
    stored = await store(web, base, build())
    assert stored.status == (202 if base == "/v2" else 200)
    found = await stored.metadata()
    assert {name: found[name]["Value"] for name in top} == top
    [item] = found[sequence]["Value"]
    assert item[tag]["Value"] == value
    if base == "/v2":
        [comment] = stored.failed_attributes()
        assert f"({sequence[:4]},{sequence[4:]})".lower() in comment
        assert f"({tag[:4]},{tag[4:]})".lower() in comment


def tags_in(data_set: dict[str, Any]) -> list[str]:
    """Return the tags of a data set at all depths."""
    found = list(data_set)
    for attribute in data_set.values():
        if attribute["vr"] == "SQ":
            for item in attribute.get("Value", []):
                found += tags_in(item)
    return found


async def test_no_response_has_group_lengths(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.group_lengths())
    found = await stored.metadata()
    assert "00081150" in found["00081110"]["Value"][0]
    assert [tag for tag in tags_in(found) if tag.endswith("0000")] == []
    xml = await stored.get("/metadata", "application/dicom+xml")
    assert xml.status_code == 200
    assert b'0000"' not in xml.content.replace(b"00000000", b"")
    assert b"GroupLength" not in xml.content
    study, series, instance = stored.url.split("/studies/")[1].split("/")[::2]
    for path in (
        f"studies?StudyInstanceUID={study}&includefield=all",
        f"studies/{study}/series?SeriesInstanceUID={series}&includefield=all",
        f"studies/{study}/instances?SOPInstanceUID={instance}&includefield=all&includefield=00080000",
    ):
        [match] = (await web.get(f"{base}/{path}", headers=JSON)).json()
        assert [tag for tag in tags_in(match) if tag.endswith("0000")] == []


async def test_an_empty_sequence_has_no_value_and_an_empty_item_stays(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.empty_sequences())
    assert stored.status == 200
    found = await stored.metadata()
    assert found["00081110"] == found["00081140"] == {"vr": "SQ"}
    [item] = found["00081032"]["Value"]
    assert item == {"00080100": {"vr": "SH", "Value": ["A1"]}, "00080110": {"vr": "SQ"}}
    assert found["00081111"] == {"vr": "SQ", "Value": [{}]}


@pytest.mark.parametrize(
    "build", [malformed.without_media_storage_uids, malformed.other_media_storage_uids], ids=["missing", "different"]
)
async def test_the_file_meta_information_of_a_re_encoded_file_is_complete_and_fits_the_data_set(
    web: httpx.AsyncClient, base: str, build: Any
) -> None:
    stored = await store(web, base, build())
    found = await stored.reencoded(IMPLICIT_LITTLE)
    meta = found.file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPClassUID == found.SOPClassUID
    assert meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID
    assert meta.TransferSyntaxUID == IMPLICIT_LITTLE
    assert meta.ImplementationClassUID
    assert meta.FileMetaInformationGroupLength
    assert found.PixelData == bytes(range(64))


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
async def test_a_requested_transfer_syntax_is_the_encoding_of_the_data_set(
    web: httpx.AsyncClient, base: str, transfer_syntax: str
) -> None:
    stored = await store(web, base, malformed.implicit_data_set_labelled_explicit())
    assert (await stored.metadata())["00100010"]["Value"] == [{"Alphabetic": "Test^Malformed"}]
    response = await stored.get("", f"application/dicom; transfer-syntax={transfer_syntax}")
    assert response.status_code == 200
    name = b"Test^Malformed"
    length = b"PN\x0e\x00" if transfer_syntax == EXPLICIT_LITTLE else b"\x0e\x00\x00\x00"
    assert b"\x10\x00\x10\x00" + length + name in response.content
    read = await stored.reencoded(transfer_syntax)
    assert read.PixelData == bytes(range(64))
    assert await stored.frames() == [bytes(range(64))]


async def test_the_length_of_palette_data_decides_the_width_of_its_entries(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.palette_of_bytes_described_as_words())
    values = 4 * RAMP
    expected = np.stack([values, np.zeros_like(values), 255 - values], axis=-1)
    assert (await stored.decoded_image() == expected).all()
    assert (await stored.decoded_image("/frames/1/rendered") == expected).all()


async def test_a_compressed_icon_is_decoded_or_removed_with_its_image(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.compressed_icon())
    found = await stored.reencoded()
    assert set(found.PixelData) == {120}
    for icon in found.get("IconImageSequence", []):
        assert (icon.Rows, icon.Columns, icon.BitsAllocated) == (8, 8, 8)
        assert icon["PixelData"].is_undefined_length is False
        assert icon.PixelData == bytes([77]) * 64


async def test_a_codestream_is_not_decoded_as_uncompressed_samples(web: httpx.AsyncClient, base: str) -> None:
    stored = await store(web, base, malformed.codestream_labelled_uncompressed())
    assert await stored.frames() == [malformed.grey_jpeg(120)]
    for path, accept in (
        ("/rendered", "image/png"),
        ("/frames/1/rendered", "image/jpeg"),
        ("", f"application/dicom; transfer-syntax={RLE_LOSSLESS}"),
        ("/frames/1", f"{OCTETS}; transfer-syntax={RLE_LOSSLESS}"),
    ):
        assert (await stored.get(path, accept)).status_code == 406, path
    assert (await stored.get("", "application/dicom")).content == stored.file
