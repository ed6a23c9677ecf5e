"""The examples of docs/worklist.md work as written: a rule, and a performer that does its workitem."""

import json
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.e2e.archive import ROOT, running_archive
from tests.e2e.examples import Reader, blocks_of

PAGE = ROOT / "docs/worklist.md"


def test_a_stable_study_gets_a_workitem_and_a_performer_stores_its_result(tmp_path: Path) -> None:
    with running_archive(tmp_path / "data", study_quiet_seconds="1") as archive:
        reader = Reader(archive, tmp_path)
        outputs = [reader.run(language, text) for language, text in blocks_of(PAGE, "bash", "python")]
        result = outputs[-2].strip()
        [workitem] = map(json.loads, outputs[-1].splitlines())
        with urlopen(f"{archive.http}/v2/instances?SOPInstanceUID={result}", timeout=30) as answer:
            [found] = json.load(answer)
        path = found["00081190"]["Value"][0]
        with urlopen(f"{path}?accept=application/dicom", timeout=30) as answer:
            mask = dcmread(BytesIO(answer.read()))
    original = dcmread(str(get_testdata_file("CT_small.dcm"))).pixel_array
    assert np.array_equal(mask.pixel_array, original > original.mean())
    assert workitem["00741000"]["Value"] == ["COMPLETED"]
    [item] = workitem["00404021"]["Value"]
    assert item["0020000D"]["Value"] == [mask.StudyInstanceUID]
