"""wsidicom reads a tiled slide over DICOMweb as from files, with both versions of the API."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from wsidicom import WsiDicom, WsiDicomWebClient

from tests.e2e.archive import Archive
from tests.e2e.studies import SLIDE_STUDY, slide_study

# Warning of dicomweb-client for every PixelData with a BulkDataURI in metadata, which the standard allows.
pytestmark = pytest.mark.filterwarnings("ignore:No bulk data URI handler")


@pytest.fixture(scope="module")
def stored(archive: Archive) -> Archive:
    """An archive with the slide."""
    for file in slide_study():
        answer = httpx.post(
            f"{archive.http}/v2/studies",
            content=file,
            headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
        )
        assert answer.status_code == 200, answer.text
    return archive


@pytest.fixture(scope="module")
def local(module_path: Path) -> Iterator[WsiDicom]:
    folder = module_path / "slide"
    folder.mkdir()
    for number, file in enumerate(slide_study()):
        Path(folder, f"{number}.dcm").write_bytes(file)
    with WsiDicom.open(folder) as slide:
        yield slide


@pytest.fixture(params=["v1", "v2"])
def remote(stored: Archive, request: pytest.FixtureRequest) -> Iterator[WsiDicom]:
    with opened(stored, request.param) as slide:
        yield slide


def opened(archive: Archive, version: str) -> WsiDicom:
    client = WsiDicomWebClient.create_client(f"{archive.http}/{version}")
    return WsiDicom.open_web(client, SLIDE_STUDY, f"{SLIDE_STUDY}.1")


def assert_same(one: Image.Image, other: Image.Image) -> None:
    assert one.size == other.size
    assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("location", "level", "size"),
    [((0, 0), 0, (500, 400)), ((1000, 900), 0, (700, 300)), ((2500, 2300), 0, (316, 260)), ((10, 10), 1, (300, 300))],
)
def test_a_region_equals_that_of_the_file(
    remote: WsiDicom, local: WsiDicom, location: tuple[int, int], level: int, size: tuple[int, int]
) -> None:
    there, here = remote.read_region(location, level, size), local.read_region(location, level, size)
    assert np.asarray(here).std() > 2
    assert_same(there, here)


def test_a_tile_has_the_bytes_of_the_file(remote: WsiDicom, local: WsiDicom) -> None:
    assert remote.read_encoded_tile(0, (5, 4)) == local.read_encoded_tile(0, (5, 4))


def test_label_overview_and_thumbnail_equal_those_of_the_files(remote: WsiDicom, local: WsiDicom) -> None:
    assert_same(remote.read_label(), local.read_label())
    assert_same(remote.read_overview(), local.read_overview())
    assert_same(remote.read_thumbnail(), local.read_thumbnail())


def test_a_hundred_tiles_equal_those_of_the_file(stored: Archive, local: WsiDicom) -> None:
    with opened(stored, "v2") as slide:
        for number in range(100):
            tile = number % 11, number // 11
            assert slide.read_encoded_tile(0, tile) == local.read_encoded_tile(0, tile)
