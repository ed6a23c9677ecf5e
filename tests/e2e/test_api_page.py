"""The examples of docs/api.md work as written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset

from tests.e2e.archive import ROOT, running_archive
from tests.e2e.examples import Reader, blocks_of, json_in

PAGE = ROOT / "docs/api.md"


class Tried:
    """A folder in which all examples were run, and their output."""

    def __init__(self, reader: Reader) -> None:
        self.folder = reader.folder
        self._outputs = [(text, reader.run(language, text)) for language, text in blocks_of(PAGE, "bash")]

    def output_of(self, words: str) -> str:
        """Return the output of the only example that contains `words`."""
        [output] = [output for text, output in self._outputs if words in text]
        return output

    def file(self, name: str) -> bytes:
        """Return a file that an example wrote."""
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="module")
def tried(module_path: Path) -> Iterator[Tried]:
    with running_archive(module_path / "data") as archive:
        yield Tried(Reader(archive, module_path))


@pytest.fixture(scope="module")
def ct() -> FileDataset:
    data_set = get_testdata_file("CT_small.dcm", read=True)
    assert isinstance(data_set, FileDataset)
    return data_set


def test_one_instance_is_stored(tried: Tried) -> None:
    [response] = json_in(tried.output_of("application/dicom' --data-binary"))
    assert len(response["00081199"]["Value"]) == 1


def test_two_parts_are_stored(tried: Tried) -> None:
    [response] = json_in(tried.output_of("MR_small.dcm"))
    assert len(response["00081199"]["Value"]) == 2
    assert "00081198" not in response


def test_an_instance_and_a_study_are_retrieved_as_stored(tried: Tried, ct: FileDataset) -> None:
    stored = Path(str(ct.filename)).read_bytes()
    assert tried.file("one.dcm") == stored
    assert stored in tried.file("study.multipart")


def test_a_frame_is_retrieved_once_and_twice(tried: Tried, ct: FileDataset) -> None:
    assert tried.file("frame.raw") == ct.PixelData
    assert tried.file("frames.multipart").count(ct.PixelData) == 2


def test_images_are_rendered_in_the_requested_format_and_size(tried: Tried) -> None:
    assert tried.file("rendered.jpg").startswith(b"\xff\xd8\xff")
    assert tried.file("rendered.png").startswith(b"\x89PNG")
    assert tried.file("small.jpg").startswith(b"\xff\xd8\xff")


def test_metadata_is_not_sent_again_to_a_client_with_its_tag(tried: Tried, ct: FileDataset) -> None:
    [[data_set]] = json_in(tried.file("metadata.json").decode())
    assert data_set["00080018"]["Value"] == [ct.SOPInstanceUID]
    assert tried.output_of("If-None-Match") == "304\n"


def test_a_range_of_a_value_is_retrieved(tried: Tried, ct: FileDataset) -> None:
    assert tried.output_of("/bulkdata/") == "206\n"
    assert tried.file("first.raw") == ct.PixelData[:16]


def test_the_search_finds_the_study_and_counts_its_instances(tried: Tried, ct: FileDataset) -> None:
    [[study]] = json_in(tried.output_of("PatientName=compressed*ct?"))
    assert study["0020000D"]["Value"] == [ct.StudyInstanceUID]
    assert study["00201208"]["Value"] == [1]


def test_an_attribute_of_another_level_is_ignored_with_a_warning_or_refused(tried: Tried) -> None:
    warning, status = tried.output_of("handling=strict").splitlines()
    assert "Modality" in warning
    assert status == "400"


def test_a_version_is_retrieved_and_is_the_current_one(tried: Tried) -> None:
    assert tried.file("first.dcm") == tried.file("one.dcm")
    assert json_in(tried.output_of("/difference"))[0] == []


def test_a_workitem_is_created_found_claimed_and_updated(tried: Tried) -> None:
    [found], [workitem] = json_in(tried.output_of("/workitems?workitem="))
    assert found["00741000"]["Value"] == ["SCHEDULED"]
    assert workitem["00741000"]["Value"] == ["IN PROGRESS"]
    assert workitem["00741204"]["Value"] == ["Detect and measure nodules"]


def test_the_instance_is_deleted(tried: Tried) -> None:
    assert tried.output_of('-X DELETE "$INSTANCE" -w') == "204\n"


def test_the_instance_is_restored_and_put_on_hold(tried: Tried, ct: FileDataset) -> None:
    output = tried.output_of("$INSTANCE/hold")
    restored, hold, holds = json_in(output)
    assert restored == {"restoredInstances": 1}
    assert hold["sopInstanceUid"] == ct.SOPInstanceUID
    assert holds == [hold]
    assert output.endswith("204\n")


def test_an_expiry_is_set_and_removed(tried: Tried) -> None:
    output = tried.output_of("/expiry")
    before, after = json_in(output)
    assert before == {"expires": None}
    assert after["expires"] == "2999-12-31T00:00:00Z"
    assert output.endswith("204\n")


def test_the_change_feed_shows_what_was_stored_deleted_and_restored(tried: Tried) -> None:
    changes, latest = json_in(tried.output_of("/changefeed/latest"))
    assert [change["action"] for change in changes] == ["Create", "Create", "Create", "Delete", "Create"]
    assert latest == changes[-1]


def test_health_and_openapi_are_answered(tried: Tried) -> None:
    assert json_in(tried.output_of("/health/check"))[0]["overallStatus"] == "Healthy"
    assert "/v2/studies" in json_in(tried.file("api.json").decode())[0]["paths"]


def test_partitions_are_created_searched_and_listed(tmp_path: Path) -> None:
    blocks = blocks_of(PAGE, "bash", "sh")
    with running_archive(tmp_path / "data", partitions="true") as archive:
        reader = Reader(archive, tmp_path)
        reader.run(*blocks[0])  # the variables
        outputs = [reader.run(language, text) for language, text in blocks if language == "sh"]
    stored, found, partitions, changed = json_in("".join(outputs))
    assert changed["duplicates"] == "new-version"
    assert len(stored["00081199"]["Value"]) == 1
    assert len(found) == 1
    assert [partition["partitionName"] for partition in partitions] == ["Microsoft.Default", "radiology"]
