"""Every file that pydicom ships, through the archive and back, with dicomweb-client.

Each file gets a partition of its own, because many of them share their UIDs.
"""

import json
import re
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.errors import InvalidDicomError

from tests.corpus import corpus, name_of
from tests.e2e.archive import Archive, running_archive

_UID = re.compile(r"[0-9.]{0,63}[0-9]")

# Files that pydicom opens although they end before they should.
CUT_OFF = {"MR_truncated.dcm", "rtplan_truncated.dcm"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with running_archive(tmp_path_factory.mktemp("corpus") / "data", partitions="true") as archive:
        yield archive


def is_storable(path: Path) -> bool:
    """Say, by pydicom and the rules of spec/store.md section 4, whether a file must be stored."""
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, EOFError):
            return False
        uids = [found.get(name) for name in names]
    legal = all(isinstance(uid, str) and _UID.fullmatch(uid) for uid in uids)
    return legal and "PatientID" in found and path.name not in CUT_OFF


def partition_of(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{path.parent.name}-{path.name}")[:64]


def store(archive: Archive, path: Path) -> tuple[int, dict[str, Any]]:
    answer = httpx.post(
        f"{archive.http}/v2/partitions/{partition_of(path)}/studies",
        content=path.read_bytes(),
        headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
        timeout=60,
    )
    return answer.status_code, json.loads(answer.content)


@pytest.mark.parametrize("path", corpus(), ids=name_of)
def test_a_file_is_stored_and_comes_back_or_is_refused_with_the_right_code(archive: Archive, path: Path) -> None:
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

    retrieved = httpx.get(
        stored["00081190"]["Value"][0], headers={"Accept": "application/dicom; transfer-syntax=*"}, timeout=60
    )
    assert retrieved.content == path.read_bytes()

    found = read(path)
    if found is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pydicom thinks of the file is not the question
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
    """Return what pydicom reads; None if it can't go to the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pydicom.dcmread(BytesIO(path.read_bytes()))
            found.walk(lambda *_: None)
        except EOFError:
            return None
    return found


def expected_json(found: pydicom.Dataset) -> dict[str, Any]:
    """Return pydicom's own JSON of all that it can convert."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return found.to_json_dict(bulk_data_threshold=1 << 40, suppress_invalid_tags=True)


def is_binary(element: dict[str, Any]) -> bool:
    """Say whether there are binary values in an element: large ones are URIs, and big endian ones become little."""
    text = json.dumps(element)
    return '"BulkDataURI"' in text or '"InlineBinary"' in text
