"""The page of a study in a real browser, on real objects: CT, MR, ultrasound, slide, report, PDF, ECG, video, SEG."""

import re
import time
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, expect
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from tests.e2e.explorer import video
from tests.e2e.explorer.pages import Explorer, pixels_of
from tests.e2e.explorer.studies import LIST_ROOT, VIDEO_STUDY
from tests.e2e.studies import (
    DOCUMENT_STUDY,
    PHANTOM_STUDY,
    SLIDE_LEVELS,
    SLIDE_STUDY,
    pdf,
    phantom_study,
    section,
    study_of,
)
from tests.e2e.viewer import is_an_image

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180)]


def shown_position(explorer: Explorer, text: str) -> None:
    """Wait until an image is displayed whose position has a text."""
    number = int(re.findall(r"\d+", text)[0]) - 1
    expect(explorer.page.locator(f"img.frame[data-index='{number}']")).to_be_visible()
    expect(explorer.page.locator(".stage-text")).to_contain_text(text)


def test_the_images_of_a_series_are_scrolled(explorer: Explorer) -> None:
    explorer.open(f"/study/{PHANTOM_STUDY}")
    page = explorer.page
    shown_position(explorer, "Image 1 of 24")
    first = pixels_of(page.locator(".stage"))
    assert is_an_image(first)
    page.locator(".stage").focus()
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    shown_position(explorer, "Image 12 of 24")
    assert np.abs(pixels_of(page.locator(".stage")).astype(int) - first).mean() > 1
    page.locator(".stage").hover()
    page.mouse.wheel(0, 120)
    shown_position(explorer, "Image 15 of 24")
    expect(page).to_have_url(re.compile(r"instance=[\d.]+\.15$"))
    page.reload()
    shown_position(explorer, "Image 15 of 24")


DECODED = """async (element) => {
    const width = element.naturalWidth ?? element.videoWidth ?? element.width;
    const height = element.naturalHeight ?? element.videoHeight ?? element.height;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(element, 0, 0);
    const reader = new FileReader();
    reader.readAsDataURL(await canvas.convertToBlob({ type: "image/png" }));
    await new Promise((done) => { reader.onload = done; });
    return reader.result;
}"""


def decoded(element: Locator) -> NDArray[np.uint8]:
    """Return the pixels of an image or video as the browser has decoded them, with three channels."""
    content = b64decode(element.evaluate(DECODED).partition(",")[2])
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def difference(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the mean difference of two images of the same size."""
    assert first.shape == second.shape
    return float(np.abs(first.astype(float) - second).mean())


def windowed(values: NDArray[Any], center: float, width: float) -> NDArray[Any]:
    """Return grey values of 0 to 255 (PS3.3 section C.11.2.1.2.1), in three channels."""
    grey = np.clip(((values - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)
    return np.repeat(grey[..., None], 3, axis=2)


JPEG_DIFFERENCE = 3.5


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_a_grey_image_has_the_pixels_of_the_object_in_its_window(explorer: Explorer, name: str) -> None:
    dataset = dcmread(str(get_testdata_file(name)))
    values = dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    explorer.open(f"/study/{study_of(name)}")
    shown_position(explorer, "Image 1 of 1")
    page = explorer.page
    with page.expect_response(lambda answer: "window=" in answer.url):
        page.get_by_label("Window").select_option(index=1)
    text = page.locator(".stage-text").inner_text().replace(",", "")
    found = re.search(r"Window (-?[\d.]+) / ([\d.]+)", text)
    assert found is not None, text
    expected = windowed(values, float(found[1]), float(found[2]))
    frame = page.locator("img.frame")
    wait_for(lambda: difference(decoded(frame), expected) < JPEG_DIFFERENCE)


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when an image that has just been requested is displayed."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_frame_of_an_ultrasound_has_its_pixels(explorer: Explorer) -> None:
    name = "examples_ybr_color.dcm"
    frames = pixel_array(str(get_testdata_file(name)))  # in RGB
    for number in (1, 17):
        explorer.open(f"/study/{study_of(name)}?frame={number}")
        shown_position(explorer, f"Image {number} of 30")
        shown = decoded(explorer.page.locator("img.frame"))
        assert difference(shown, frames[number - 1]) < JPEG_DIFFERENCE
    assert difference(shown, frames[0]) > difference(shown, frames[16])


def test_windows_of_ct_change_the_image(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('CT_small.dcm')}")
    page = explorer.page
    shown_position(explorer, "Image 1 of 1")
    before = pixels_of(page.locator(".stage"))
    with page.expect_response(lambda answer: "window=-600%2C1500%2Clinear" in answer.url):
        page.get_by_label("Window").select_option(label="Lung")
    expect(page.locator(".stage-text")).to_contain_text("Window -600 / 1,500")
    expect(page.locator("img.frame")).to_be_visible()
    after = pixels_of(page.locator(".stage"))
    assert np.abs(after.astype(int) - before).mean() > 5


def test_images_are_enlarged_and_moved(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('MR_small.dcm')}")
    page = explorer.page
    shown_position(explorer, "Image 1 of 1")
    fit = pixels_of(page.locator(".stage"))
    page.locator(".stage").focus()
    for _ in range(4):
        page.keyboard.press("+")
    enlarged = pixels_of(page.locator(".stage"))
    assert np.abs(enlarged.astype(int) - fit).mean() > 5
    box = page.locator(".stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 360, box["y"] + 240, steps=4)
    page.mouse.up()
    assert "translate(60px, 40px)" in (page.locator("img.frame").get_attribute("style") or "")
    page.get_by_role("button", name="Fit").click()
    assert np.abs(pixels_of(page.locator(".stage")).astype(int) - fit).mean() < 1


def test_a_multi_frame_image_plays(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('examples_ybr_color.dcm')}")
    page = explorer.page
    shown_position(explorer, "Image 1 of 30")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("img.frame")).not_to_have_attribute("data-index", re.compile("^[0-2]$"))
    page.get_by_role("button", name="Pause").click()
    expect(page).to_have_url(re.compile(r"frame=\d+"))


def test_a_report_is_shown_without_scripts(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('reportsi.dcm')}")
    frame = explorer.page.locator("iframe.document")
    expect(frame).to_have_attribute("sandbox", "")
    expect(explorer.page.frame_locator("iframe.document").locator("body")).to_contain_text("Recording Observer's Name")


def test_a_pdf_is_shown_in_a_frame(explorer: Explorer) -> None:
    with explorer.page.expect_response(lambda answer: answer.url.endswith("/rendered")) as answered:
        explorer.open(f"/study/{DOCUMENT_STUDY}")
        explorer.page.locator("iframe.document").wait_for()
    assert answered.value.headers["content-type"] == "application/pdf"
    source = explorer.page.locator("iframe.document").get_attribute("src") or ""
    assert httpx.get(source, trust_env=False).content.rstrip(b"\0") == pdf("A letter about a phantom.")
    wait_for(lambda: reddish(pixels_of(explorer.page.locator("iframe.document"))) > 2000)  # its rectangle


def reddish(pixels: NDArray[np.uint8]) -> int:
    """Return the number of red pixels."""
    return int(((pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)).sum())


def test_an_ecg_is_drawn(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('waveform_ecg.dcm')}")
    canvas = explorer.page.get_by_role("img", name=re.compile("Waveform of 10 seconds with the channels Lead I"))
    expect(canvas).to_be_visible()
    assert pixels_of(explorer.page.locator(".waveform")).std() > 10
    explorer.page.get_by_label("Recording").select_option(label="MEDIAN BEAT")
    expect(explorer.page.get_by_role("img", name=re.compile("Waveform of 1.2 seconds"))).to_be_visible()


def test_a_slide_has_an_overview_of_all_its_tiles(explorer: Explorer) -> None:
    explorer.open(f"/study/{SLIDE_STUDY}")
    canvas = explorer.page.get_by_role("img", name="Overview of the slide")
    expect(canvas).to_have_attribute("data-complete", "true")
    shown = decoded(canvas)
    level = SLIDE_LEVELS[1]
    assert shown.shape[1::-1] == level
    assert difference(shown, np.asarray(section(*SLIDE_LEVELS[0]).resize(level))) < 6


def test_a_video_is_played_with_its_pictures(explorer: Explorer) -> None:
    explorer.open(f"/study/{VIDEO_STUDY}")
    element = explorer.page.locator("video")
    expect(element).to_have_attribute("controls", re.compile(".*"))
    for number, luma in enumerate(video.GREYS):
        moment = number / video.RATE + 0.05
        element.evaluate(
            """(video, moment) => new Promise((done) => {
                video.requestVideoFrameCallback(done);
                video.currentTime = moment;
            })""",
            moment,
        )
        grey = (luma - 16) * 255 / 219  # ITU-R BT.601
        shown = decoded(element)
        assert np.abs(shown[:, :24].astype(float) - grey).max() <= 4, number
        assert shown[:, 40:].max() <= 4
    source = element.get_attribute("src") or ""
    answer = httpx.get(source, headers={"Range": "bytes=0-11"}, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"], answer.content[4:8]) == (206, "video/mp4", b"ftyp")
    assert httpx.get(source, trust_env=False).content.rstrip(b"\0") == video.mp4().rstrip(b"\0")


def test_a_segmentation_is_rendered_as_its_mask(explorer: Explorer) -> None:
    explorer.open(f"/study/{PHANTOM_STUDY}")
    explorer.page.get_by_role("link", name=re.compile("SEG")).click()
    expect(explorer.page.locator(".stage-text")).to_contain_text("Image 1 of")
    mask = dcmread(BytesIO(phantom_study()[-1])).pixel_array[0]
    frame = explorer.page.locator("img.frame")
    expect(frame).to_be_visible()
    assert mask.any()
    wait_for(lambda: decoded(frame).shape[:2] == mask.shape)
    assert ((decoded(frame)[..., 0] > 127) != mask.astype(bool)).mean() < 0.002


def test_attributes_are_searched_and_binary_values_are_links(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('CT_small.dcm')}?view=attributes")
    page = explorer.page
    page.get_by_label("Search the attributes").fill("slice loc")
    expect(page.get_by_text("1 attribute found")).to_be_visible()
    expect(page.locator(".tree-row")).to_contain_text("(0020,1041)")
    page.get_by_label("Search the attributes").fill("7FE00010")
    with page.expect_download() as started:
        page.get_by_role("link", name="Binary value: download").click()
    assert started.value.path().stat().st_size == 128 * 128 * 2


def test_items_of_sequences_are_opened_with_the_keyboard(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('waveform_ecg.dcm')}?view=attributes")
    page = explorer.page
    page.locator("summary").filter(has_text="Waveform Sequence").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Item 1", exact=True).click()
    expect(page.locator(".tree-row").filter(has_text="(003A,0010)")).to_contain_text("10000")


def test_versions_are_compared_and_reverted(explorer: Explorer, explored: str) -> None:
    study = f"{LIST_ROOT}.8"
    change = {"studyInstanceUids": [study], "changeDataset": {"00081030": {"vr": "LO", "Value": ["Second"]}}}
    httpx.post(f"{explored}/v2/studies/$bulkUpdate", json=change, trust_env=False)
    explorer.open(f"/study/{study}?view=versions")
    page = explorer.page
    expect(page.get_by_role("row").filter(has_text="updated")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name=re.compile("What version")).click()
    row = page.get_by_role("row").filter(has_text="Study Description")
    expect(row).to_contain_text("Examination 08")
    expect(row).to_contain_text("Second")
    page.get_by_role("button", name=re.compile("Revert to version")).click()
    assert explorer.violations_of_dialog() == []
    page.get_by_role("dialog").get_by_role("button", name="Revert").click()
    expect(page.get_by_role("row").filter(has_text="reverted")).to_be_visible()
    expect(page.locator(".study-about")).to_contain_text("Examination 08")


PAGES = {
    "study": f"/study/{PHANTOM_STUDY}",
    "report": f"/study/{study_of('reportsi.dcm')}",
    "ecg": f"/study/{study_of('waveform_ecg.dcm')}",
    "attributes": f"/study/{study_of('CT_small.dcm')}?view=attributes",
    "versions": f"/study/{LIST_ROOT}.8?view=versions",
    "slide": f"/study/{SLIDE_STUDY}",
    "video": f"/study/{VIDEO_STUDY}",
}


@pytest.mark.parametrize("name", list(PAGES))
def test_a_study_is_accessible_and_fits_a_telephone(explorer: Explorer, narrow: Explorer, name: str) -> None:
    for window in (explorer, narrow):
        window.open(PAGES[name])
        window.page.locator(
            "[role=tabpanel] :is(img.frame, iframe, canvas, video, .tree-row, tbody tr)"
        ).first.wait_for()
        assert window.violations(is_other_tested=True) == []
        assert window.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        if window is explorer or name == "study":
            window.keep(name if window is explorer else f"{name}-telephone")
