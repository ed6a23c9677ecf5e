"""Every test file of pydicom is stored and retrieved with dicomweb-client.

Each file gets a partition of its own, because many of them share their UIDs.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from requests import HTTPError

from tests.corpus import corpus, name_of
from tests.e2e.archive import Archive, running_archive

_UID = re.compile(r"[0-9.]{0,63}[0-9]")

# A file that pydicom opens although it ends within an element that is not pixel data.
CUT_OFF = {"rtplan_truncated.dcm"}


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[Archive]:
    with running_archive(module_path / "data", partitions="true") as archive:
        yield archive


def is_storable(path: Path) -> bool:
    """Say, by pydicom and the rules for required attributes, whether a file must be stored."""
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, EOFError):
            return False
        uids = [found.get(name) for name in names]
    legal = all(isinstance(uid, str) and _UID.fullmatch(uid) for uid in uids)
    return legal and path.name not in CUT_OFF


def partition_of(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{path.parent.name}-{path.name}")[:64]


HTTP = httpx.Client(timeout=60, verify=False)  # without TLS there is nothing to verify


def store(archive: Archive, path: Path) -> tuple[int, dict[str, Any]]:
    answer = HTTP.post(
        f"{archive.http}/v2/partitions/{partition_of(path)}/studies",
        content=path.read_bytes(),
        headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
    )
    return answer.status_code, json.loads(answer.content)


@pytest.mark.parametrize("path", corpus(), ids=name_of)
def test_a_file_is_stored_and_retrieved_or_refused_with_the_right_code(archive: Archive, path: Path) -> None:
    status, answer = store(archive, path)
    if not is_storable(path):
        [failed] = answer["00081198"]["Value"]
        assert status == 409
        assert failed["00081197"]["Value"] == [43264]
        return
    assert status in (200, 202), answer
    [stored] = answer["00081199"]["Value"]
    study, series, instance = stored["00081190"]["Value"][0].split("/")[-5::2]
    client = DICOMwebClient(f"{archive.http}/v2/partitions/{partition_of(path)}")

    retrieved = HTTP.get(stored["00081190"]["Value"][0], headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert retrieved.content == path.read_bytes()

    found = read(path)
    if found is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of pydicom about the file are not tested
            assert client.retrieve_instance(study, series, instance) == found

    [metadata] = client.retrieve_study_metadata(study)
    reported = set(re.findall(r"\((\w{4}),(\w{4})\)", json.dumps(stored.get("00741048", {}))))
    left_out = {(group + element).upper() for group, element in reported}
    expected = expected_json(found) if found is not None else {}
    for tag, element in expected.items():
        if tag not in metadata:
            assert tag in left_out, tag
        elif not is_binary(metadata[tag]):
            assert metadata[tag] == element, tag


def read(path: Path) -> pydicom.Dataset | None:
    """Return the data set as read by pydicom; None if pydicom cannot read it completely."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pydicom.dcmread(BytesIO(path.read_bytes()))
            found.walk(lambda *_: None)
        except EOFError:
            return None
    return found


def expected_json(found: pydicom.Dataset) -> dict[str, Any]:
    """Return pydicom's JSON of all elements that it can convert and that the DICOM JSON model has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return in_json_model(found.to_json_dict(bulk_data_threshold=1 << 40, suppress_invalid_tags=True))


def in_json_model(data_set: dict[str, Any]) -> dict[str, Any]:
    """Return a data set without group lengths and values of empty sequences (PS3.18 sections F.2.2 and F.2.5)."""
    kept = {tag: dict(element) for tag, element in data_set.items() if not tag.endswith("0000")}
    for element in kept.values():
        if element["vr"] == "SQ":
            items = element.pop("Value", [])
            element |= {"Value": [in_json_model(item) for item in items]} if items else {}
    return kept


def is_binary(element: dict[str, Any]) -> bool:
    """Return whether there are binary values in an element: large ones are URIs, and big endian ones become little."""
    text = json.dumps(element)
    return '"BulkDataURI"' in text or '"InlineBinary"' in text


STORABLE = [path for path in corpus() if is_storable(path)]

# Retrieval is the same in all versions of the API, so each file is retrieved in one of them.
IN_A_VERSION = [
    pytest.param(path, version, id=f"{version}-{name_of(path)}")
    for path, version in zip(STORABLE, cycle(("v1", "v2")), strict=False)
]

# pydicom cannot return the frames of these: too few, or no Number of Frames.
UNCLEAR_FRAMES = {"emri_small_jpeg_2k_lossless_too_short.dcm", "badVR.dcm"}

# Undecodable pixel data is available only as stored.
UNDECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}

Address = tuple[DICOMwebClient, str, str, str]


@pytest.fixture(scope="module")
def addressed(module_path: Path) -> Iterator[Callable[[Path, str], Address]]:
    """A client for the partition of a file in an archive of all, in a version of the API, and the UIDs of the file."""
    with running_archive(module_path / "addressed", partitions="true") as archive:
        for path in STORABLE:
            store(archive, path)

        @cache
        def address(path: Path, version: str) -> Address:
            client = DICOMwebClient(f"{archive.http}/{version}/partitions/{partition_of(path)}")
            [found] = client.search_for_instances(fields=["StudyInstanceUID", "SeriesInstanceUID"])
            study, series, instance = (found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
            return client, study, series, instance

        yield address


@pytest.mark.parametrize(("path", "version"), IN_A_VERSION)
def test_instance_series_and_study_return_the_same_object(
    addressed: Callable[[Path, str], Address], path: Path, version: str
) -> None:
    client, study, series, instance = addressed(path, version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of pydicom about the file are not tested
        [by_series], [by_study] = client.retrieve_series(study, series), client.retrieve_study(study)
        by_instance = client.retrieve_instance(study, series, instance, media_types=("application/dicom",))
        assert by_series == by_study == by_instance
        assert by_study.file_meta.TransferSyntaxUID == by_instance.file_meta.TransferSyntaxUID
        if path.name in UNDECODABLE:  # it comes as stored (PS3.18 section 8.7.3.3)
            assert by_study.file_meta.TransferSyntaxUID == pydicom.dcmread(path).file_meta.TransferSyntaxUID
    assert str(by_study.SOPInstanceUID) == instance

    [metadata] = client.retrieve_study_metadata(study)
    assert client.retrieve_series_metadata(study, series) == [metadata]
    assert client.retrieve_instance_metadata(study, series, instance) == metadata


@pytest.mark.parametrize(("path", "version"), IN_A_VERSION)
def test_every_bulk_data_uri_of_metadata_returns_its_value(
    addressed: Callable[[Path, str], Address], path: Path, version: str
) -> None:
    client, study, series, instance = addressed(path, version)
    metadata = client.retrieve_instance_metadata(study, series, instance)
    for uri in re.findall(r'"BulkDataURI": "([^"]+)"', json.dumps(metadata)):
        values = client.retrieve_bulkdata(uri)
        assert sum(map(len, values)) > 0, uri


@pytest.mark.parametrize(("path", "version"), IN_A_VERSION)
def test_frames_equal_those_of_the_file(addressed: Callable[[Path, str], Address], path: Path, version: str) -> None:
    client, study, series, instance = addressed(path, version)
    if path.name in UNCLEAR_FRAMES:
        assert client.retrieve_instance_frames(study, series, instance, [1])
        return
    expected = frames_of(path)
    if not expected:
        with pytest.raises(HTTPError) as refused:
            client.retrieve_instance_frames(study, series, instance, [1])
        assert refused.value.response.status_code == 404
        return
    numbers = [*range(1, len(expected) + 1)][:5]
    found = client.retrieve_instance_frames(study, series, instance, numbers)
    assert [frame.rstrip(b"\0") for frame in found] == [frame.rstrip(b"\0") for frame in expected[: len(numbers)]]


@pytest.mark.parametrize(("path", "version"), IN_A_VERSION)
def test_an_instance_is_rendered_or_refused_with_a_reason(
    addressed: Callable[[Path, str], Address], path: Path, version: str
) -> None:
    client, study, series, instance = addressed(path, version)
    try:
        assert client.retrieve_instance_rendered(study, series, instance)
        return
    except HTTPError as refused:
        answer = refused.response
    assert answer.status_code == (406 if frames_of(path) else 404)
    assert len(answer.text) > 10


def frames_of(path: Path) -> list[bytes] | None:
    """Return the whole frames of a file as they are stored, but never in big endian; None if it has no pixel data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(path)
        pixels = next((found.get(name) for name in PIXELS if found.get(name)), None)
        if not pixels:
            return None
        count = int(found.get("NumberOfFrames") or 1)
        if found.file_meta.TransferSyntaxUID.is_encapsulated:
            return list(generate_frames(pixels, number_of_frames=count))
        if not found.file_meta.TransferSyntaxUID.is_little_endian:
            pixels = in_little_endian(pixels, found.BitsAllocated, found["PixelData"].VR)
        bits = found.Rows * found.Columns * found.SamplesPerPixel * found.BitsAllocated
    if found.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits // 3 * 2
    if bits % 8:
        return None
    whole = min(count, len(pixels) * 8 // bits)
    return [pixels[number * bits // 8 : (number + 1) * bits // 8] for number in range(whole)]


def in_little_endian(pixels: bytes, bits_allocated: int, vr: str) -> bytes:
    """Return native pixels of big endian files with the bytes of each word turned around."""
    size = max(bits_allocated // 8, 2 if vr == "OW" else 1)
    return b"".join(pixels[start : start + size][::-1] for start in range(0, len(pixels), size))


PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
