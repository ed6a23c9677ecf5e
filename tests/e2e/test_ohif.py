"""OHIF from npm, served by `dicomstore up --viewer` and controlled in a real browser.

Runs where chromium is installed and `make viewer` has fetched OHIF. With `FIGURES=docs/figures` in the environment it
also takes the screenshots of the documentation; they show no real patients.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from tests.data import UID_ROOT, part10
from tests.e2e.studies import (
    DOCUMENT_STUDY,
    HTJ2K_STUDY,
    PHANTOM_STUDY,
    SLIDE_STUDY,
    document_study,
    htj2k_study,
    in_own_study,
    phantom_study,
    slide_study,
    structures,
    study_of,
)
from tests.e2e.viewer import START_S, Watched, archive_with_viewer, chromium, is_an_image, watched_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

REAL_FILES = {
    "emri_small.dcm": "explicit little endian",
    "emri_small_RLE.dcm": "RLE",
    "emri_small_jpeg_2k_lossless.dcm": "JPEG 2000",
    "emri_small_jpeg_ls_lossless.dcm": "JPEG-LS",
    "examples_ybr_color.dcm": "JPEG in YBR_FULL_422",
    "examples_palette.dcm": "palette colour",
    "JPGLosslessP14SV1_1s_1f_8b.dcm": "JPEG lossless",
    "image_dfl.dcm": "deflated",
    "waveform_ecg.dcm": "an ECG",
}
REPORT = "reportsi.dcm"


@pytest.fixture(scope="module")
def url(module_path: Path) -> Iterator[str]:
    """The address of an archive with the viewer and all studies."""
    with archive_with_viewer(module_path) as address:
        files = [
            *phantom_study(),
            structures(),
            document_study(),
            htj2k_study(),
            *slide_study(),
            *map(in_own_study, [*REAL_FILES, REPORT]),
        ]
        with httpx.Client(base_url=address, trust_env=False, timeout=START_S) as client:
            for file in files:
                answer = client.post(
                    "/v2/studies",
                    content=file,
                    headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
                )
                assert answer.status_code in (200, 202), answer.text
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def ohif(browser: Browser, url: str) -> Iterator[Watched]:
    """A page; any error in it fails the test."""
    with watched_page(browser, url) as watched:
        yield watched


def amount(pixels: NDArray[np.uint8], *, red: int, green: int, blue: int) -> int:
    """Return how many pixels have about this colour."""
    return int((np.abs(pixels.astype(int) - (red, green, blue)).max(axis=2) < 24).sum())


def test_the_page_may_share_memory_with_its_workers(ohif: Watched) -> None:
    ohif.open("/viewer/")
    assert ohif.page.evaluate("crossOriginIsolated") is True


def test_the_study_list_shows_modalities_and_numbers_of_instances(ohif: Watched) -> None:
    ohif.open("/viewer/")
    row = ohif.page.get_by_role("row").filter(has_text="Phantom of a head").filter(has_text="SEG")
    row.wait_for()
    text = row.inner_text()
    assert re.search(r"\bCT\b", text)
    assert re.search(r"\bSEG\b", text)
    assert re.search(r"\b26\b", text)
    ohif.keep("list")


def test_the_study_list_is_searched_for_a_part_of_a_name(ohif: Watched) -> None:
    ohif.open("/viewer/")
    ohif.page.get_by_role("row").filter(has_text="Stained section").wait_for()
    with ohif.page.expect_response(lambda answer: "PatientName=*pape*" in answer.url):
        ohif.page.get_by_role("textbox").first.fill("pape")
    ohif.page.get_by_role("row").filter(has_text="Stained section").wait_for(state="detached")
    assert ohif.page.get_by_role("row").filter(has_text="A letter").count() == 1


def test_a_ct_series_is_displayed_with_its_segmentation(ohif: Watched) -> None:
    ohif.open(f"/viewer/viewer?StudyInstanceUIDs={PHANTOM_STUDY}")
    ohif.paints(is_an_image)
    ohif.page.get_by_text("Lesion").first.dblclick()
    ohif.page.get_by_role("button", name="Yes").click()
    ohif.paints(lambda pixels: amount(pixels, red=255, green=0, blue=0) > 50)
    ohif.paints(is_an_image)
    ohif.keep("segmentation")


def test_structures_are_displayed_over_a_ct_series(ohif: Watched) -> None:
    ohif.open(f"/viewer/viewer?StudyInstanceUIDs={PHANTOM_STUDY}")
    ohif.paints(is_an_image)
    ohif.page.get_by_text("Structures").first.dblclick()
    ohif.page.get_by_role("button", name="Yes").click()
    ohif.paints(lambda pixels: amount(pixels, red=0, green=255, blue=0) > 50)


@pytest.mark.parametrize("name", list(REAL_FILES), ids=list(REAL_FILES.values()))
def test_an_object_is_displayed(ohif: Watched, name: str) -> None:
    ohif.open(f"/viewer/viewer?StudyInstanceUIDs={study_of(name)}")
    ohif.paints(is_an_image)


def test_high_throughput_jpeg_2000_is_displayed(ohif: Watched) -> None:
    ohif.open(f"/viewer/viewer?StudyInstanceUIDs={HTJ2K_STUDY}")
    # Air below the head is black: bytes that are taken for pixels are not.
    ohif.paints(lambda pixels: is_an_image(pixels) and pixels[690:715, 300:600].mean() < 8)


def test_a_report_is_displayed_as_text(ohif: Watched) -> None:
    ohif.open(f"/viewer/viewer?StudyInstanceUIDs={study_of(REPORT)}")
    ohif.page.get_by_text("Recording Observer's Name").wait_for()


def test_a_pdf_is_shown(ohif: Watched) -> None:
    ohif.open(f"/viewer/viewer?StudyInstanceUIDs={DOCUMENT_STUDY}")
    ohif.paints(lambda pixels: amount(pixels, red=255, green=0, blue=0) > 2000)


def test_a_slide_is_displayed_from_its_tiles(ohif: Watched) -> None:
    ohif.open(f"/viewer/microscopy?StudyInstanceUIDs={SLIDE_STUDY}")
    ohif.paints(lambda pixels: amount(pixels, red=226, green=160, blue=196) > 50_000)
    ohif.keep("slide")


def test_a_file_uploaded_from_the_study_list_appears_in_it(ohif: Watched, tmp_path: Path) -> None:
    file = tmp_path / "new.dcm"
    file.write_bytes(part10(StudyInstanceUID=f"{UID_ROOT}.73", StudyDescription="Just uploaded", frames=[bytes(64)]))
    ohif.open("/viewer/")
    ohif.page.get_by_text("Upload").first.click()
    with ohif.page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        ohif.page.locator("input[type=file]").first.set_input_files(file)
    assert answered.value.status == 200
    ohif.open("/viewer/")
    ohif.page.get_by_role("row").filter(has_text="Just uploaded").wait_for()
