"""Data sets with a VR encoding that contradicts their transfer syntax (PS3.18 section 8.7.3)."""

import io
import warnings
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE_LOSSLESS, element, file_head, part10, part10_of
from tests.integration.facade.serving import stored

STUDY, SERIES = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.1.1"
INSTANCE = f"/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.3"


def body_of(file: bytes) -> bytes:
    """Return the data set of a file."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def relabelled(file: bytes, transfer_syntax: str) -> bytes:
    """Return a file with another transfer syntax in its file meta information."""
    return file_head(transfer_syntax) + body_of(file)


def compressed_implicit() -> bytes:
    """Return a compressed image with a data set in implicit VR."""
    with_explicit = part10(transfer_syntax=RLE_LOSSLESS, fragments=[[b"frame!"]], SOPInstanceUID="1.2.3")
    pixels = body_of(with_explicit)
    pixels = pixels[pixels.index(b"\xe0\x7f\x10\x00OB") + 12 :]
    without = part10(transfer_syntax=IMPLICIT_LITTLE, SOPInstanceUID="1.2.3", Rows=1, Columns=6)
    head = b"\xe0\x7f\x10\x00\xff\xff\xff\xff"
    return file_head(RLE_LOSSLESS) + body_of(without) + head + pixels


def nested_implicit() -> bytes:
    """Return a file with explicit VR of which one item has implicit VR."""
    item = element(0x00080100, "SH", b"CODE", IMPLICIT_LITTLE) + element(0x00080102, "SH", b"99X ", IMPLICIT_LITTLE)
    whole = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    sequence = element(0x00081032, "SQ", whole)
    body = body_of(part10(SOPInstanceUID="1.2.3"))
    at = body.index(b"\x10\x00\x10\x00")  # Patient's Name
    return part10_of(body[:at] + sequence + body[at:])


IMAGE: dict[str, Any] = {"SOPInstanceUID": "1.2.3", "frames": [b"ABCDEFGH"]}
CASES = {
    "implicit-under-explicit": (
        relabelled(part10(transfer_syntax=IMPLICIT_LITTLE, **IMAGE), EXPLICIT_LITTLE),
        EXPLICIT_LITTLE,
    ),
    "explicit-under-implicit": (relabelled(part10(**IMAGE), IMPLICIT_LITTLE), IMPLICIT_LITTLE),
    "implicit-under-compressed": (compressed_implicit(), RLE_LOSSLESS),
    "implicit-item": (nested_implicit(), EXPLICIT_LITTLE),
}


def read_as_labelled(file: bytes) -> Dataset:
    """Read a file as its transfer syntax says; pydicom warns of one that contradicts it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = pydicom.dcmread(io.BytesIO(file))
        str(made)
    return made


@pytest.mark.parametrize("case", CASES)
async def test_a_client_that_names_the_transfer_syntax_receives_it(web: httpx.AsyncClient, case: str) -> None:
    file, syntax = CASES[case]
    await stored(web, file)
    as_stored = await web.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    named = await web.get(INSTANCE, headers={"Accept": f"application/dicom; transfer-syntax={syntax}"})

    assert as_stored.content == file
    assert named.headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    assert named.headers["ETag"] != as_stored.headers["ETag"]
    made = read_as_labelled(named.content)
    assert made.file_meta.TransferSyntaxUID == syntax
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    head = body_of(named.content)[:6]
    assert (head[4:6] == b"UI" or head[4:6] == b"CS") is (syntax != IMPLICIT_LITTLE)
    if case != "implicit-item":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert made.PixelData == pydicom.dcmread(io.BytesIO(file)).PixelData
    await stored_again_is_as_labelled(web, named.content, syntax)


async def stored_again_is_as_labelled(web: httpx.AsyncClient, file: bytes, syntax: str) -> None:
    """Check that the re-encoded file is sent byte for byte when its transfer syntax is named."""
    await web.delete(f"/v2/studies/{STUDY}")
    await stored(web, file)
    again = await web.get(INSTANCE, headers={"Accept": f"application/dicom; transfer-syntax={syntax}"})
    assert again.content == file


async def test_a_well_formed_file_is_sent_byte_for_byte(web: httpx.AsyncClient) -> None:
    """Also one with a sequence of VR UN, which has items in implicit VR (PS3.5 section 6.2.2)."""
    item = element(0x00090110, "UN", b"x ", IMPLICIT_LITTLE)
    items = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    unknown = b"\x09\x00\x01\x10UN\0\0\xff\xff\xff\xff" + items
    creator = element(0x00090010, "LO", b"CREATOR ")
    body = body_of(part10(SOPInstanceUID="1.2.3"))
    at = body.index(b"\x10\x00\x10\x00")
    file = part10_of(body[:at] + creator + unknown + body[at:])
    await stored(web, file)
    named = await web.get(INSTANCE, headers={"Accept": f"application/dicom; transfer-syntax={EXPLICIT_LITTLE}"})
    assert named.content == file
