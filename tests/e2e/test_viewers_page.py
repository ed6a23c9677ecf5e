"""The Python examples of docs/viewers.md work as written, and its OHIF settings equal the generated ones."""

import json
import re
from pathlib import Path

import httpx
import pytest
from PIL import Image

from facade.viewer.settings import config
from tests.e2e.archive import ROOT, Archive
from tests.e2e.examples import Reader, blocks_of
from tests.e2e.studies import phantom_study, slide_study

PAGE = ROOT / "docs/viewers.md"


@pytest.fixture(scope="module")
def reader(archive: Archive, module_path: Path) -> Reader:
    for file in [*slide_study(), *phantom_study()]:
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
        assert httpx.post(f"{archive.http}/v2/studies", content=file, headers=headers).status_code == 200
    return Reader(archive, module_path)


def test_the_example_with_dicomweb_client_works(reader: Reader) -> None:
    [(language, text)] = [block for block in blocks_of(PAGE, "python") if "retrieve_study(" in block[1]]
    reader.run(language, text)


def test_the_slide_example_writes_images(reader: Reader) -> None:
    [(language, text)] = [block for block in blocks_of(PAGE, "python") if "WsiDicom.open_web" in block[1]]
    reader.run(language, text)
    with Image.open(Path(reader.folder, "region.png")) as region:
        assert region.size == (700, 300)


def test_the_documented_ohif_data_source_equals_the_generated_one() -> None:
    [(_, written), _] = blocks_of(PAGE, "js")
    as_json = re.sub(r"(\w+):(?= )", r'"\1":', written).replace("'", '"')
    page = json.loads(re.sub(r",(\s*[}\]])", r"\1", as_json).replace("https://pacs.example", ""))
    text = config([]).decode().removeprefix("window.config = ")
    [ours] = json.loads(text[: text.index(";\n")])["dataSources"]
    assert page == ours
