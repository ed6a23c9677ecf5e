"""The examples of the README work as written."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from pydicom.data import get_testdata_file

from tests.e2e.archive import ROOT, Archive, running_archive
from tests.e2e.examples import Reader, blocks_of, json_in

CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


class Tried:
    """An archive on which all examples were run, and their output."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self.archive = archive
        self.folder = folder
        reader = Reader(archive, folder)
        self.outputs = [(text, reader.run(language, text)) for language, text in blocks_of(README, "bash", "python")]

    def output_of(self, words: str) -> str:
        """Return the output of the only example that contains `words`."""
        [output] = [output for text, output in self.outputs if words in text]
        return output


README = ROOT / "README.md"


@pytest.fixture(scope="module")
def tried(module_path: Path) -> Iterator[Tried]:
    with running_archive(module_path / "data") as archive:
        yield Tried(archive, module_path)


def test_the_readme_has_examples_for_the_command_line_curl_python_and_grpc(tried: Tried) -> None:
    text = "".join(text for text, _ in tried.outputs)
    assert all(words in text for words in ("dicomstore store", "curl ", "DICOMwebClient", "SearchServiceStub"))


def test_the_search_for_studies_finds_doe(tried: Tried) -> None:
    studies = json_in(tried.output_of("curl "))[0]
    assert len(studies) == 2
    assert all(study["00100010"]["Value"][0]["Alphabetic"].startswith("Doe^") for study in studies)


def test_the_search_for_instances_finds_one_with_its_class(tried: Tried) -> None:
    [instance] = json_in(tried.output_of("curl "))[1]
    assert instance["00080016"]["Value"] == [CT_IMAGE_STORAGE]


def test_the_store_response_has_the_instance_and_no_failure(tried: Tried) -> None:
    response = json_in(tried.output_of("curl "))[2]
    assert len(response["00081199"]["Value"]) == 1
    assert "00081198" not in response


def test_the_metadata_belongs_to_the_stored_study(tried: Tried) -> None:
    [data_set] = json_in(tried.output_of("curl "))[3]
    assert data_set["0020000D"]["Value"] == [CT_STUDY]


def test_the_retrieved_study_holds_the_stored_bytes(tried: Tried) -> None:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    assert Path(path).read_bytes() in (tried.folder / "study.multipart").read_bytes()


def test_the_delete_leaves_nothing_to_retrieve(tried: Tried) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{tried.archive.http}/v2/studies/{CT_STUDY}/metadata?accept=application/json", timeout=30)
    with refused.value as answer:
        assert answer.code == 404


def test_the_change_feed_starts_with_the_first_stored_instance(tried: Tried) -> None:
    changes = json_in(tried.output_of("curl "))[-1]
    assert [change["sequence"] for change in changes] == [1, 2, 3, 4, 5]
    assert {change["action"] for change in changes} == {"Create"}


@pytest.mark.files
def test_the_shown_doctor_has_the_checks_of_the_real_one(tried: Tried) -> None:
    shown = README.read_text().partition("dicomstore doctor\n")[2].partition("\n```")[0].splitlines()[1:]
    ran = tried.archive.run("cli", "doctor", "--json", check=False)
    checks = json.loads(ran.stdout)["checks"]
    assert [re.split(r"  +", line)[1] for line in shown] == [check["name"] for check in checks]
    details = {check["name"]: check["detail"] for check in checks}
    assert any(line.endswith(details["database"]) for line in shown), details["database"]
    for name in ("archive", "operations", "clock", "agreement", "scrub", "unused blobs", "quarantine"):
        assert any(re.sub(r"\d+", "0", line).endswith(re.sub(r"\d+", "0", details[name])) for line in shown), name


def test_the_grpc_search_prints_studies_of_doe(tried: Tried) -> None:
    matches = json_in(tried.output_of("SearchServiceStub"))
    assert matches
    assert all(match["00100010"]["Value"][0]["Alphabetic"].startswith("Doe^") for match in matches)
