"""The page of a study in a real browser, on real objects: CT, MR, ultrasound, slide, report, PDF, ECG, video, SEG."""

import io
import re

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect

from tests.e2e.explorer.pages import Explorer, pixels_of
from tests.e2e.explorer.studies import LIST_ROOT, VIDEO_STUDY
from tests.e2e.studies import DOCUMENT_STUDY, PHANTOM_STUDY, SLIDE_STUDY, study_of
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


def test_a_rendered_image_is_that_of_the_archive(explorer: Explorer, explored: str) -> None:
    explorer.open(f"/study/{study_of('CT_small.dcm')}")
    shown_position(explorer, "Image 1 of 1")
    shown = explorer.page.evaluate(
        """async () => {
            const image = document.querySelector("img.frame");
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return [canvas.width, canvas.height, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
        }"""
    )
    width, height, values = shown
    pixels = np.array(values, np.uint8).reshape(height, width, 4)[..., 0]
    study = study_of("CT_small.dcm")
    path = f"/v2/studies/{study}/series/{study}.1/instances/{study}.1.1/rendered"
    answer = httpx.get(f"{explored}{path}", headers={"Accept": "image/png"}, trust_env=False)
    expected = image_of(answer.content)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 3  # JPEG


def image_of(content: bytes) -> NDArray[np.uint8]:
    """Return the grey values of an image file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


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


def test_an_ecg_is_drawn(explorer: Explorer) -> None:
    explorer.open(f"/study/{study_of('waveform_ecg.dcm')}")
    canvas = explorer.page.get_by_role("img", name=re.compile("Waveform of 10 seconds with the channels Lead I"))
    expect(canvas).to_be_visible()
    assert pixels_of(explorer.page.locator(".waveform")).std() > 10
    explorer.page.get_by_label("Recording").select_option(label="MEDIAN BEAT")
    expect(explorer.page.get_by_role("img", name=re.compile("Waveform of 1.2 seconds"))).to_be_visible()


def test_a_slide_has_an_overview(explorer: Explorer) -> None:
    explorer.open(f"/study/{SLIDE_STUDY}")
    expect(explorer.page.get_by_alt_text("Overview of the slide")).to_be_visible()
    assert explorer.page.locator("img.slide").evaluate("image => image.decode().then(() => image.naturalWidth)") >= 256


def test_a_video_has_controls(explorer: Explorer) -> None:
    explorer.open(f"/study/{VIDEO_STUDY}")
    video = explorer.page.locator("video")
    expect(video).to_have_attribute("controls", re.compile(".*"))
    source = video.get_attribute("src") or ""
    answer = httpx.get(source, headers={"Range": "bytes=0-11"}, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"], answer.content[4:8]) == (206, "video/mp4", b"ftyp")


def test_a_segmentation_is_rendered(explorer: Explorer) -> None:
    explorer.open(f"/study/{PHANTOM_STUDY}")
    explorer.page.get_by_role("link", name=re.compile("SEG")).click()
    expect(explorer.page.locator("img.frame")).to_be_visible()


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
    page.get_by_role("dialog").get_by_role("button", name="Revert").click()
    expect(page.get_by_role("row").filter(has_text="reverted")).to_be_visible()
    expect(page.locator(".study-about")).to_contain_text("Examination 08")


PAGES = {
    "study": f"/study/{PHANTOM_STUDY}",
    "report": f"/study/{study_of('reportsi.dcm')}",
    "ecg": f"/study/{study_of('waveform_ecg.dcm')}",
    "attributes": f"/study/{study_of('CT_small.dcm')}?view=attributes",
    "versions": f"/study/{LIST_ROOT}.8?view=versions",
}


@pytest.mark.parametrize("name", list(PAGES))
def test_a_study_is_accessible_and_fits_a_telephone(explorer: Explorer, narrow: Explorer, name: str) -> None:
    for window in (explorer, narrow):
        window.open(PAGES[name])
        window.page.locator("[role=tabpanel] :is(img.frame, iframe, canvas, .tree-row, tbody tr)").first.wait_for()
        assert window.violations() == []
        assert window.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        window.keep(name if window is explorer else f"{name}-telephone")
