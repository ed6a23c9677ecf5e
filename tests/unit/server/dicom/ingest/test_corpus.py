"""Every file of pydicom and pydicom-data: read as by pydicom, or refused for the reason given here."""

import zlib
from importlib.metadata import files
from pathlib import Path

import pydicom.data
import pytest

from server.model.errors import DicomStoreError
from tests.unit.server.dicom.reading import INDEXED_STRICT, LENIENT, differences, json_of, pydicom_json, read

# Files that violate the standard and that pydicom reads with loss: truncated files are refused here, …
CUT_OFF = {"rtplan_truncated.dcm"}
# … and files with complete fragments but without end are read, while pydicom returns no pixel data.
ONLY_OURS = {"emri_small_jpeg_2k_lossless_too_short.dcm"}


def _corpus() -> list[Path]:
    bundled = (Path(str(name)) for name in pydicom.data.get_testdata_files())
    more = (Path(str(name.locate())) for name in files("pydicom-data") or () if "data_store/data/" in str(name))
    return sorted({path for path in (*bundled, *more) if path.is_file() and path.suffix != ".py"})


CORPUS = _corpus()


def test_the_corpus_is_installed() -> None:
    assert len(CORPUS) > 230


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_json_equals_that_of_pydicom(path: Path) -> None:
    data = path.read_bytes()
    expected = pydicom_json(data)
    if expected is None or path.name in CUT_OFF:
        with pytest.raises(DicomStoreError):
            read(data, INDEXED_STRICT)
        return
    actual = json_of(read(data, INDEXED_STRICT))
    if path.name in ONLY_OURS:
        assert expected == {}
        assert "00100020" in actual
    elif path.name == "badVR.dcm":
        assert actual.pop("00280008") == {"vr": "IS", "Value": ["1A"]}  # pydicom cannot represent this value
        assert differences(actual, expected) == []
    else:
        assert differences(actual, expected) == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_result_does_not_depend_on_chunk_sizes(path: Path) -> None:
    data = path.read_bytes()
    small = 1 + zlib.crc32(path.name.encode()) % 29
    outcomes = []
    arrivals = ((data[: 64 * 1024], small), (data, 4096), (data, 1 << 30), (memoryview(data), 50_000))
    for body, chunk in arrivals:
        try:
            outcomes.append(read(body, LENIENT, chunk=chunk))
        except DicomStoreError as error:
            outcomes.append(error.reason)
    if len(data) > 64 * 1024:
        del outcomes[0]
    assert all(outcome == outcomes[0] for outcome in outcomes)
