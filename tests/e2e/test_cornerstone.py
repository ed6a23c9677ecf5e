"""Frames as Cornerstone3D parses them, which is less lenient than RFC 2046.

It looks for the first blank line; the first line that begins with `--` is the boundary; the line whose first 13
characters are `Content-Type:` is the type, split at `;` and then at `=`; what ends two bytes before the boundary is the
frame.
"""

import http.client
from io import BytesIO

import httpx
import pydicom
import pytest
from pydicom.encaps import generate_frames

from tests.e2e.archive import Archive
from tests.e2e.studies import in_own_study, study_of

ACCEPTS = [
    "multipart/related; type=application/octet-stream; transfer-syntax=*",
    'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
]
FILES = {
    "emri_small.dcm": "1.2.840.10008.1.2.1",
    "emri_small_RLE.dcm": "1.2.840.10008.1.2.5",
    "emri_small_jpeg_2k_lossless.dcm": "1.2.840.10008.1.2.4.90",
    "emri_small_jpeg_ls_lossless.dcm": "1.2.840.10008.1.2.4.80",
    "examples_ybr_color.dcm": "1.2.840.10008.1.2.4.50",
}


def extracted(body: bytes) -> tuple[dict[str, str], str, bytes]:
    """Return the media type, its parameters, and the frame as parsed by Cornerstone."""
    blank = body.index(b"\r\n\r\n")
    lines = body[:blank].decode("latin-1").split("\r\n")
    boundary = next(line for line in lines if line[:2] == "--").encode()
    content_type = next(line[13:].strip() for line in lines if line[:13] == "Content-Type:")
    end = body.index(boundary, blank + 4)
    name, *parameters = content_type.split(";")
    pairs = [parameter.split("=") for parameter in parameters]
    assert all(len(pair) == 2 for pair in pairs), content_type
    return {key.strip(): value.strip() for key, value in pairs}, name.strip(), body[blank + 4 : end - 2]


def frames_of(file: bytes) -> list[bytes]:
    """Return the frames as they are stored."""
    found = pydicom.dcmread(BytesIO(file))
    count = int(found.NumberOfFrames)
    if found.file_meta.TransferSyntaxUID.is_encapsulated:
        return list(generate_frames(found.PixelData, number_of_frames=count))
    size = len(found.PixelData) // count
    return [found.PixelData[number * size : (number + 1) * size] for number in range(count)]


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("name", list(FILES))
def test_a_frame_is_extracted_as_stored_with_its_transfer_syntax(archive: Archive, name: str, accept: str) -> None:
    file = in_own_study(name)
    study = study_of(name)
    httpx.post(
        f"{archive.http}/v2/studies",
        content=file,
        headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
    )
    connection = http.client.HTTPConnection("127.0.0.1", archive.http_port, timeout=60)
    for number, stored in list(enumerate(frames_of(file), 1))[:3]:
        path = f"/v2/studies/{study}/series/{study}.1/instances/{study}.1.1/frames/{number}"
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        parameters, media_type, frame = extracted(body)

        assert answer.status == 200
        assert parameters == {"transfer-syntax": FILES[name]}
        assert media_type == "application/octet-stream"
        assert frame.rstrip(b"\0") == stored.rstrip(b"\0")
        boundary = answer.headers["Content-Type"].rpartition("boundary=")[2]
        assert body.startswith(f"--{boundary}\r\n".encode())
        assert body.endswith(f"\r\n--{boundary}--\r\n".encode())
        assert not set(boundary) & set(' ;="')
    connection.close()
