"""WADO-URI over a real core (PS3.18 chapter 9)."""

import io

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, part10
from tests.integration.facade.serving import stored

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "1.2.826.0.1.3680043.10.1.1"
UIDS = f"studyUID={STUDY}&seriesUID={STUDY}.1&objectUID=1.2.3"
URL = f"/v2/wado?requestType=WADO&{UIDS}"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
LEFT_WHITE = (b"\xff" * 16 + b"\0" * 16) * 16
BLACK = bytes(512)
FILE = part10(
    SOPInstanceUID="1.2.3",
    transfer_syntax=IMPLICIT_LITTLE,
    frames=[LEFT_WHITE, BLACK],
    Rows=16,
    Columns=32,
    WindowCenter="128",
    WindowWidth="256",
)


@pytest_asyncio.fixture(loop_scope="module")
async def archive(web: httpx.AsyncClient) -> httpx.AsyncClient:
    await stored(web, FILE)
    return web


def decoded_image(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content)).convert("L")


def pixel(image: Image.Image, x: int, y: int) -> int:
    value = image.getpixel((x, y))
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize(
    ("query", "syntax"),
    [
        ("&contentType=application/dicom&transferSyntax=*", IMPLICIT_LITTLE),
        ("&contentType=application%2Fdicom&transferSyntax=*&frame=2", IMPLICIT_LITTLE),
        (f"&contentType=application/dicom&transferSyntax={IMPLICIT_LITTLE}", IMPLICIT_LITTLE),
        ("&contentType=application/dicom", EXPLICIT_LITTLE),
        (f"&CONTENTTYPE=application/dicom&TransferSyntax={EXPLICIT_LITTLE}", EXPLICIT_LITTLE),
    ],
)
async def test_an_instance_is_the_body(archive: httpx.AsyncClient, query: str, syntax: str) -> None:
    response = await archive.get(URL + query, headers=BROWSER)

    assert response.status_code == 200
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
    assert (response.content == FILE) is (syntax == IMPLICIT_LITTLE)


async def test_an_instance_supports_ranges_and_entity_tags(archive: httpx.AsyncClient) -> None:
    url = f"{URL}&contentType=application/dicom&transferSyntax=*"
    part = await archive.get(url, headers={"Range": "bytes=128-131"})

    assert (part.status_code, part.content) == (206, b"DICM")
    assert (await archive.get(url, headers={"If-None-Match": part.headers["etag"]})).status_code == 304


@pytest.mark.parametrize(("query", "media_type"), [("", "image/jpeg"), ("&contentType=image/png", "image/png")])
async def test_an_image_is_rendered(archive: httpx.AsyncClient, query: str, media_type: str) -> None:
    response = await archive.get(URL + query, headers=BROWSER)
    image = decoded_image(response)

    assert response.headers["content-type"] == media_type
    assert image.size == (32, 16)
    assert pixel(image, 2, 8) > 240
    assert pixel(image, 29, 8) < 15


async def test_a_frame_is_named_by_its_number(archive: httpx.AsyncClient) -> None:
    assert pixel(decoded_image(await archive.get(f"{URL}&frameNumber=2")), 2, 8) < 15
    assert (await archive.get(f"{URL}&frameNumber=3")).status_code == 404


async def test_rows_and_columns_are_the_largest_size(archive: httpx.AsyncClient) -> None:
    assert decoded_image(await archive.get(f"{URL}&columns=8")).size == (8, 4)
    assert decoded_image(await archive.get(f"{URL}&rows=8")).size == (16, 8)
    assert decoded_image(await archive.get(f"{URL}&rows=8&columns=8")).size == (8, 4)


async def test_a_region_is_a_part_of_the_image(archive: httpx.AsyncClient) -> None:
    right = decoded_image(await archive.get(f"{URL}&contentType=image/png&region=0.5,0.0,1.0,1.0"))
    larger = decoded_image(await archive.get(f"{URL}&contentType=image/png&region=0.0,0.5,0.5,1.0&columns=32"))

    assert (right.size, pixel(right, 1, 8)) == ((16, 16), 0)
    assert (larger.size, pixel(larger, 30, 8)) == ((32, 16), 255)


async def test_a_window_is_applied(archive: httpx.AsyncClient) -> None:
    dark = decoded_image(await archive.get(f"{URL}&contentType=image/png&windowCenter=1000&windowWidth=100"))

    assert pixel(dark, 2, 8) == 0


@pytest.mark.parametrize(
    "url",
    [
        f"/v2/wado?{UIDS}",
        f"/v2/wado?requestType=QIDO&{UIDS}",
        "/v2/wado?requestType=WADO",
        f"/v2/wado?requestType=WADO&studyUID={STUDY}&seriesUID={STUDY}.1",
        f"/v2/wado?requestType=WADO&studyUID=x&seriesUID={STUDY}.1&objectUID=1.2.3",
        f"{URL}&frameNumber=0",
        f"{URL}&frameNumber=x",
        f"{URL}&windowCenter=1",
        f"{URL}&windowWidth=1",
        f"{URL}&windowCenter=a&windowWidth=b",
        f"{URL}&rows=0",
        f"{URL}&region=0,0,1",
        f"{URL}&region=0.5,0,0.5,1",
        f"{URL}&region=0,0,2,1",
        f"{URL}&imageQuality=0",
        f"{URL}&annotation=everything",
        f"{URL}&anonymize=no",
        f"{URL}&contentType=application/dicom&transferSyntax=x",
    ],
)
async def test_missing_or_invalid_parameters_are_400(archive: httpx.AsyncClient, url: str) -> None:
    assert (await archive.get(url)).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "&anonymize=yes",
        "&contentType=application/dicom&anonymize=yes",
        "&presentationUID=1.2",
        "&contentType=audio/basic",
        "&contentType=nonsense",
        "&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.4.100",
    ],
)
async def test_unsupported_parameters_are_406(archive: httpx.AsyncClient, query: str) -> None:
    response = await archive.get(URL + query)

    assert response.status_code == 406
    assert response.text


async def test_an_unknown_instance_is_404(archive: httpx.AsyncClient) -> None:
    for content_type in ("application/dicom", "image/jpeg"):
        assert (await archive.get(f"{URL}9&contentType={content_type}")).status_code == 404


async def test_wado_exists_in_each_version_only(archive: httpx.AsyncClient) -> None:
    query = URL.removeprefix("/v2")

    assert (await archive.get(f"/v1{query}")).status_code == 200
    assert (await archive.get(query)).status_code == 404


@pytest.mark.asyncio(loop_scope="function")
async def test_wado_exists_in_each_partition(partitioned_web: httpx.AsyncClient) -> None:
    await stored(partitioned_web, FILE, base="/v2/partitions/one")
    query = URL.removeprefix("/v2")

    assert (await partitioned_web.get(f"/v2/partitions/one{query}")).status_code == 200


async def test_unknown_parameters_and_other_character_sets_are_errors_for_a_strict_client(
    archive: httpx.AsyncClient,
) -> None:
    strict = {"Prefer": "handling=strict"}
    for query, status in (("", 200), ("&nonsense=1", 400), ("&charset=latin1", 406), ("&charset=utf-8", 200)):
        assert (await archive.get(URL + query)).status_code == 200
        assert (await archive.get(URL + query, headers=strict)).status_code == status
