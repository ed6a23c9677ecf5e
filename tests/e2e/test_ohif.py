"""OHIF from npm, served by `dicomstore up --viewer` and controlled in a real browser.

Runs where chromium is installed and `make viewer` has fetched OHIF. With `FIGURES=docs/figures` in the environment it
also takes the screenshots of the documentation; they show no real patients.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.data import UID_ROOT, part10
from tests.e2e.archive import ROOT
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

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

START_S, PAINT_S = 60, 40
SIZE = {"width": 1280, "height": 800}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or ""

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
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an archive with the viewer and all studies."""
    folder = tmp_path_factory.mktemp("ohif")
    command = [sys.executable, "-m", "cli", "up", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}"
    with open(folder / "log", "wb") as log:
        archive = subprocess.Popen(
            [*command, "--viewer", str(ROOT / ".viewer"), "--workers", "1"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert archive.stdout is not None
    try:
        welcome = ""
        while "Stop" not in welcome:
            line = archive.stdout.readline()
            assert line, (folder / "log").read_text()
            welcome += line
        address = re.search(r"Viewer +(http://\S+)/", welcome)
        assert address is not None
        files = [
            *phantom_study(),
            structures(),
            document_study(),
            htj2k_study(),
            *slide_study(),
            *map(in_own_study, [*REAL_FILES, REPORT]),
        ]
        with httpx.Client(base_url=address[1], trust_env=False, timeout=START_S) as client:
            for file in files:
                answer = client.post(
                    "/v2/studies",
                    content=file,
                    headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
                )
                assert answer.status_code in (200, 202), answer.text
        yield address[1]
    finally:
        archive.terminate()
        archive.communicate(timeout=START_S)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # No graphics card here, and no user namespaces in containers.
        arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and all that went wrong in it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def screenshot(self) -> NDArray[np.uint8]:
        """Return the pixels of the main viewport: that of the page without toolbar and panels."""
        image = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        return np.asarray(image.crop((300, 60, 1220, 780)))

    def paints(self, is_displayed: Callable[[NDArray[np.uint8]], bool]) -> None:
        """Return when the viewport has the expected pixels."""
        deadline = time.monotonic() + PAINT_S
        while not is_displayed(self.screenshot()):
            assert time.monotonic() < deadline, self.wrong

    def keep(self, name: str) -> None:
        """Save a screenshot for the documentation, if requested."""
        if folder := os.environ.get("FIGURES"):
            image = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            image.quantize(48, dither=Image.Dither.NONE).save(Path(folder, f"ohif-{name}.png"), optimize=True)


@pytest.fixture
def ohif(browser: Browser, url: str) -> Iterator[Watched]:
    """A page without the introductory tour; any error in it fails the test."""
    context = browser.new_context(viewport=SIZE)  # type: ignore[arg-type]
    context.add_init_script(
        "if (window === window.top) {"
        "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']));"
        "sessionStorage.setItem('investigationalUseDialog', 'hidden'); }"
    )
    watched = Watched(context.new_page(), url)
    note = watched.wrong.append
    watched.page.on("console", lambda line: note(line.text) if line.type == "error" else None)
    watched.page.on("pageerror", lambda error: note(str(error)))
    watched.page.on("response", lambda answer: note(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    # Not errors of the browser's built-in PDF viewer.
    watched.page.on(
        "requestfailed", lambda request: note(f"{request.failure} {request.url}") if request.url[:4] == "http" else None
    )
    yield watched
    context.close()
    assert watched.wrong == []


def is_an_image(pixels: NDArray[np.uint8]) -> bool:
    """Return whether there is more than text and lines: many shades, over a good part of the area."""
    grey = pixels.mean(axis=2)
    return bool(np.unique(grey.astype(np.uint8)).size > 40 and grey.std() > 10)


def amount(pixels: NDArray[np.uint8], *, red: int, green: int, blue: int) -> int:
    """Return how many pixels have about this colour."""
    return int((np.abs(pixels.astype(int) - (red, green, blue)).max(axis=2) < 24).sum())


def test_the_page_may_share_memory_with_its_workers(ohif: Watched) -> None:
    ohif.open("/")
    assert ohif.page.evaluate("crossOriginIsolated") is True


def test_the_study_list_shows_modalities_and_numbers_of_instances(ohif: Watched) -> None:
    ohif.open("/")
    row = ohif.page.get_by_role("row").filter(has_text="Phantom of a head").filter(has_text="SEG")
    row.wait_for()
    text = row.inner_text()
    assert re.search(r"\bCT\b", text)
    assert re.search(r"\bSEG\b", text)
    assert re.search(r"\b26\b", text)
    ohif.keep("list")


def test_the_study_list_is_searched_for_a_part_of_a_name(ohif: Watched) -> None:
    ohif.open("/")
    ohif.page.get_by_role("row").filter(has_text="Stained section").wait_for()
    with ohif.page.expect_response(lambda answer: "PatientName=*pape*" in answer.url):
        ohif.page.get_by_role("textbox").first.fill("pape")
    ohif.page.get_by_role("row").filter(has_text="Stained section").wait_for(state="detached")
    assert ohif.page.get_by_role("row").filter(has_text="A letter").count() == 1


def test_a_ct_series_is_displayed_with_its_segmentation(ohif: Watched) -> None:
    ohif.open(f"/viewer?StudyInstanceUIDs={PHANTOM_STUDY}")
    ohif.paints(is_an_image)
    ohif.page.get_by_text("Lesion").first.dblclick()
    ohif.page.get_by_role("button", name="Yes").click()
    ohif.paints(lambda pixels: amount(pixels, red=255, green=0, blue=0) > 50)
    ohif.paints(is_an_image)
    ohif.keep("segmentation")


def test_structures_are_displayed_over_a_ct_series(ohif: Watched) -> None:
    ohif.open(f"/viewer?StudyInstanceUIDs={PHANTOM_STUDY}")
    ohif.paints(is_an_image)
    ohif.page.get_by_text("Structures").first.dblclick()
    ohif.page.get_by_role("button", name="Yes").click()
    ohif.paints(lambda pixels: amount(pixels, red=0, green=255, blue=0) > 50)


@pytest.mark.parametrize("name", list(REAL_FILES), ids=list(REAL_FILES.values()))
def test_an_object_is_displayed(ohif: Watched, name: str) -> None:
    ohif.open(f"/viewer?StudyInstanceUIDs={study_of(name)}")
    ohif.paints(is_an_image)


def test_high_throughput_jpeg_2000_is_displayed(ohif: Watched) -> None:
    ohif.open(f"/viewer?StudyInstanceUIDs={HTJ2K_STUDY}")
    # Air below the head is black: bytes that are taken for pixels are not.
    ohif.paints(lambda pixels: is_an_image(pixels) and pixels[690:715, 300:600].mean() < 8)


def test_a_report_is_displayed_as_text(ohif: Watched) -> None:
    ohif.open(f"/viewer?StudyInstanceUIDs={study_of(REPORT)}")
    ohif.page.get_by_text("Recording Observer's Name").wait_for()


def test_a_pdf_is_shown(ohif: Watched) -> None:
    ohif.open(f"/viewer?StudyInstanceUIDs={DOCUMENT_STUDY}")
    ohif.paints(lambda pixels: amount(pixels, red=255, green=0, blue=0) > 2000)


def test_a_slide_is_displayed_from_its_tiles(ohif: Watched) -> None:
    ohif.open(f"/microscopy?StudyInstanceUIDs={SLIDE_STUDY}")
    ohif.paints(lambda pixels: amount(pixels, red=226, green=160, blue=196) > 50_000)
    ohif.keep("slide")


def test_a_file_uploaded_from_the_study_list_appears_in_it(ohif: Watched, tmp_path: Path) -> None:
    file = tmp_path / "new.dcm"
    file.write_bytes(part10(StudyInstanceUID=f"{UID_ROOT}.73", StudyDescription="Just uploaded", frames=[bytes(64)]))
    ohif.open("/")
    ohif.page.get_by_text("Upload").first.click()
    with ohif.page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        ohif.page.locator("input[type=file]").first.set_input_files(file)
    assert answered.value.status == 200
    ohif.open("/")
    ohif.page.get_by_role("row").filter(has_text="Just uploaded").wait_for()
