"""Frame responses as parsed by Cornerstone3D's image loader.

Its rules are implemented here as functions with the same strictness.
"""

import re

import httpx
import pytest

from tests.data import EXPLICIT_LITTLE, JPEG_BASELINE, part10
from tests.integration.facade.serving import stored

STUDY = "1.2.826.0.1.3680043.10.1.1"
INSTANCE = f"/v2/studies/{STUDY}/series/{STUDY}.1/instances/1.2.3"
ASKS = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}
HTJ2K = "1.2.840.10008.1.2.4.202"
PIXELS = b"--\r\n\r\n--other\r\nContent-Type: no\r\n" + bytes(range(256)) * 4 + b"!\r\n--"


def extracted(response: httpx.Response) -> tuple[str, dict[str, str], bytes]:
    """Return boundary, parameters of the part's Content-Type (its type is "") and pixels."""
    body = response.content
    begin = body.index(b"\r\n\r\n")
    lines = body[:begin].decode("latin-1").split("\r\n")
    boundary = next(line for line in lines if line.startswith("--"))  # rule 5: the delimiter as it stands
    (content_type,) = [line[13:].strip() for line in lines if line[:13] == "Content-Type:"]  # rule 5: this spelling
    parameters = {}
    for text in content_type.split(";"):  # rule 6: cut at each ";" and "="
        pair = text.split("=")
        if len(pair) <= 2:
            parameters[pair[0].strip() if len(pair) == 2 else ""] = pair[-1].strip()
    end = body.index(boundary.encode(), begin + 4)
    while not body[end + len(boundary) :].startswith((b"--", b"\r\n")):
        end = body.index(boundary.encode(), end + 1)
    return boundary, parameters, body[begin + 4 : end - 2]  # rule 5: exactly two bytes before it


@pytest.fixture
async def archive(web: httpx.AsyncClient) -> httpx.AsyncClient:
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=HTJ2K, fragments=[[PIXELS]]))
    return web


async def test_a_frame_is_exactly_these_bytes(archive: httpx.AsyncClient) -> None:
    response = await archive.get(f"{INSTANCE}/frames/1", headers=ASKS)
    boundary = response.headers["content-type"].rpartition("boundary=")[2]
    location = f"{archive.base_url}".rstrip("/") + f"{INSTANCE}/frames/1"

    assert response.headers["content-type"] == (
        f'multipart/related; type="application/octet-stream"; boundary={boundary}'
    )
    assert response.content == (
        f"--{boundary}\r\n"
        f"Content-Type: application/octet-stream; transfer-syntax={HTJ2K}\r\n"
        f"Content-Location: {location}\r\n"
        "\r\n"
    ).encode() + PIXELS + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip
    assert response.headers["content-length"] == str(len(response.content))


async def test_stored_bytes_are_not_transcoded(archive: httpx.AsyncClient) -> None:
    _, _, pixels = extracted(await archive.get(f"{INSTANCE}/frames/1", headers=ASKS))

    assert pixels == PIXELS


@pytest.mark.parametrize("syntax", [HTJ2K, JPEG_BASELINE, "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.5"])
async def test_a_part_names_its_transfer_syntax(web: httpx.AsyncClient, syntax: str) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=syntax, fragments=[[PIXELS]]))
    _, parameters, _ = extracted(await web.get(f"{INSTANCE}/frames/1", headers=ASKS))

    assert parameters == {"": "application/octet-stream", "transfer-syntax": syntax}


async def test_a_part_with_a_native_frame_names_its_transfer_syntax(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[b"AAAA"]))
    _, parameters, pixels = extracted(await web.get(f"{INSTANCE}/frames/1", headers=ASKS))

    assert (parameters["transfer-syntax"], pixels) == (EXPLICIT_LITTLE, b"AAAA")


async def test_a_multipart_body_starts_with_the_delimiter_and_has_crlf(
    archive: httpx.AsyncClient,
) -> None:
    body = (await archive.get(f"{INSTANCE}/frames/1", headers=ASKS)).content
    head, _, _ = body.partition(b"\r\n\r\n")

    assert body.startswith(b"--")
    assert head.count(b"\n") == head.count(b"\r\n")


@pytest.mark.parametrize("accept", [ASKS["Accept"], "*/*", 'multipart/related; type="image/jphc"'])
async def test_part_headers_have_no_separator_of_the_client(archive: httpx.AsyncClient, accept: str) -> None:
    _, parameters, _ = extracted(await archive.get(f"{INSTANCE}/frames/1", headers={"Accept": accept}))

    assert set(parameters) == {"", "transfer-syntax"}
    assert not re.search('[=;" ]', "".join(parameters.values()))


async def test_a_boundary_needs_no_quotes(archive: httpx.AsyncClient) -> None:
    response = await archive.get(f"{INSTANCE}/frames/1", headers=ASKS)
    boundary, _, _ = extracted(response)

    assert re.fullmatch("--[0-9A-Za-z]{1,70}", boundary)
    assert boundary[2:] == response.headers["content-type"].rpartition("boundary=")[2]


async def test_a_progressive_frame_is_retrieved_in_ranges(archive: httpx.AsyncClient) -> None:
    """With `accept=` in the URL it sends no Accept of its own, and reads Content-Range."""
    url = f"{INSTANCE}/frames/1?accept=image/jhc"
    headers = {"Accept": "*/*", "Origin": "http://localhost:3000"}
    received, total, step = b"", 1, 400
    while len(received) < total:
        asked = {"Range": f"bytes={len(received)}-{len(received) + step - 1}"}
        response = await archive.get(url, headers=headers | asked)
        assert response.status_code == 206
        assert "Content-Range" in response.headers["access-control-expose-headers"]
        assert response.headers["content-type"] == f"image/jhc; transfer-syntax={HTJ2K}"
        total = int(response.headers["content-range"].partition("/")[2])
        received += response.content

    assert received == PIXELS


async def test_a_range_of_a_multipart_body_is_ignored(archive: httpx.AsyncClient) -> None:
    """Without a Content-Range the client treats the body as complete, which it is."""
    response = await archive.get(f"{INSTANCE}/frames/1", headers=ASKS | {"Range": "bytes=0-65535"})

    assert response.status_code == 200
    assert extracted(response)[2] == PIXELS


async def test_the_head_of_a_large_frame_is_sent_before_the_rest(web: httpx.AsyncClient) -> None:
    frame = bytes(3 << 20)
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[frame], Rows=1536, Columns=2048))
    async with web.stream("GET", f"{INSTANCE}/frames/1", headers=ASKS) as response:
        first = await anext(response.aiter_raw())

    assert b"\r\n\r\n" in first
    assert len(first) < len(frame)
    assert int(response.headers["content-length"]) > len(frame)
