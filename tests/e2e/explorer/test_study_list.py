"""The list of studies in a real browser."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.data import part10
from tests.e2e.explorer.conftest import store
from tests.e2e.explorer.pages import Explorer
from tests.e2e.explorer.studies import LIST_ROOT, LIST_STUDIES, MANY, list_study

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180)]


def names(explorer: Explorer) -> list[str]:
    return explorer.page.locator(".grid-row strong").all_inner_texts()


def test_filters_combine_and_are_in_the_url(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies")
    page.get_by_label("Patient name").fill("listed")
    expect(page.locator(".list-count")).to_have_text(f"{LIST_STUDIES} studies found")
    page.get_by_label("Patient ID").fill("L03")
    expect(page.locator(".list-count")).to_have_text("1 study found")
    assert names(explorer) == ["Listed, Person 03"]
    assert re.search(r"#/studies\?PatientName=listed&PatientID=L03$", page.url)
    page.get_by_role("button", name="Remove the filter Patient ID").click()
    expect(page.locator(".list-count")).to_have_text(f"{LIST_STUDIES} studies found")
    page.get_by_label("Study date: from").fill("2024-01-05")
    page.get_by_label("Study date: to").fill("2024-01-06")
    expect(page.locator(".list-count")).to_have_text("2 studies found")
    page.reload()
    expect(page.locator(".list-count")).to_have_text("2 studies found")
    assert page.get_by_label("Study date: from").input_value() == "2024-01-05"


def test_the_list_is_sorted_by_a_column(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies?PatientName=listed")
    expect(page.locator(".grid-row strong").first).to_have_text(f"Listed, Person {LIST_STUDIES}")
    page.get_by_role("button", name="Patient", exact=True).click()
    expect(page.locator(".grid-row strong").first).to_have_text("Listed, Person 01")
    expect(page.get_by_role("columnheader", name="Patient")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Study date").click()
    page.get_by_role("button", name="Study date").click()
    expect(page).to_have_url(re.compile("sort=-StudyDate$"))
    expect(page.locator(".grid-row strong").first).to_have_text(f"Listed, Person {LIST_STUDIES}")


def test_a_long_list_has_only_the_rows_in_view(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies?PatientName=many")
    expect(page.locator(".list-count")).to_have_text(f"{MANY} studies found")
    expect(page.locator(".grid-row strong").first).to_have_text(f"Many, Person {MANY}")
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", str(MANY + 1))
    assert page.locator(".grid-row").count() < 40
    with page.expect_response(lambda answer: "offset=200" in answer.url):
        grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    expect(page.locator(".grid-row strong").last).to_have_text("Many, Person 001")
    with page.expect_response(lambda answer: "pagetoken=" in answer.url or "offset=100" in answer.url):
        grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight / 2; }")
    expect(page.get_by_role("row", name="Many, Person 115")).to_be_visible()
    assert page.locator(".grid-row").count() < 40


def test_the_place_in_the_list_remains_when_the_user_returns(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies?PatientName=many")
    expect(page.locator(".list-count")).to_have_text(f"{MANY} studies found")  # so the grid has its height
    page.get_by_role("grid").evaluate("grid => { grid.scrollTop = 56 * 60; }")
    row = page.get_by_role("row", name=f"Many, Person {MANY - 62}")
    row.get_by_role("link").click()
    page.get_by_role("link", name="Back to the studies").wait_for()
    page.go_back()
    expect(row).to_be_in_viewport()


def test_modalities_are_chosen_from_a_list_with_the_keyboard(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies")
    button = page.get_by_role("button", name=re.compile("^Modality"))
    button.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("CT", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    expect(page).to_have_url(re.compile("ModalitiesInStudy=MR$"))
    expect(page.locator(".grid-row")).to_have_count(1)


def test_the_keyboard_selects_and_opens_studies(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies?PatientName=listed")
    expect(page.locator(".grid-row")).to_have_count(LIST_STUDIES)
    page.get_by_role("grid").focus()
    for key in ("ArrowDown", "ArrowDown", "Space", "Shift+ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator(".list-count")).to_have_text("3 studies selected")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+a")
    expect(page.locator(".list-count")).to_have_text(f"{LIST_STUDIES} studies selected")
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"#/study/{re.escape(LIST_ROOT)}\.\d+$"))


def test_the_keyboard_alone_leads_to_an_image_and_back(explorer: Explorer) -> None:
    page = explorer.page

    def tab_to(selector: str, key: str = "Tab") -> None:
        for _ in range(60):
            page.keyboard.press(key)
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{key} does not lead to {selector}")

    explorer.open("/studies?PatientName=phantom&sort=-NumberOfStudyRelatedInstances")
    expect(page.get_by_role("row", name="Phantom, Head")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Skip to the content
    tab_to("[role=grid]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".stage-text")).to_contain_text("Image 1 of 24")
    expect(page.get_by_role("main")).to_be_focused()
    tab_to(".stage")
    page.keyboard.press("PageDown")
    expect(page.locator(".stage-text")).to_contain_text("Image 11 of 24")
    page.keyboard.press("+")
    expect(page.locator(".stage")).to_have_class(re.compile("zoomed"))
    tab_to("a[aria-label='Back to the studies']", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/studies$"))
    tab_to("[role=grid]")


def test_deleted_studies_are_restored(explorer: Explorer, explored: str) -> None:
    page = explorer.page
    explorer.open("/studies?PatientName=listed")
    page.get_by_label("Select Listed, Person 01").check()
    page.get_by_label("Select Listed, Person 02").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Reason (optional)").fill("stored twice – übrig")
    assert explorer.violations_of_dialog() == []
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".list-count")).to_have_text(f"{LIST_STUDIES - 2} studies found")
    deletions = httpx.get(f"{explored}/v2/deleted", trust_env=False).json()
    assert {each["reason"] for each in deletions[:2]} == {"stored twice – übrig"}
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".list-count")).to_have_text(f"{LIST_STUDIES} studies found")


def test_labels_are_set_shown_and_found(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies?PatientName=listed")
    page.get_by_label("Select Listed, Person 04").check()
    page.get_by_role("button", name="Label").click()
    page.get_by_label("Name", exact=True).fill("project")
    page.get_by_label("Value").fill("lung")
    assert explorer.violations_of_dialog() == []
    page.get_by_role("button", name="Set the label").click()
    expect(page.locator(".grid-row").filter(has_text="project: lung")).to_have_count(1)
    explorer.open("/studies?label.project=lung")
    expect(page.locator(".grid-row strong")).to_have_text(["Listed, Person 04"])


def test_a_share_link_is_shown_once(explorer: Explorer, explored: str) -> None:
    page = explorer.page
    explorer.open("/studies?PatientID=L05")
    page.get_by_label("Select Listed, Person 05").check()
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Create the link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    assert link.startswith(f"{explored}/share/dcms_")
    assert explorer.violations_of_dialog() == []
    assert httpx.get(link, trust_env=False).status_code == 200


def test_an_update_changes_studies(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies?PatientID=L06")
    page.get_by_label("Select Listed, Person 06").check()
    page.get_by_role("button", name="Update").click()
    page.get_by_role("dialog").get_by_label("Description").fill("Corrected")
    assert explorer.violations_of_dialog() == []
    page.get_by_role("dialog").get_by_role("button", name="Update").click()
    expect(page.get_by_text("1 study was updated.")).to_be_visible()
    expect(page.locator(".grid-row")).to_contain_text("Corrected")


def test_studies_appear_and_disappear_while_the_list_is_open(explorer: Explorer, explored: str) -> None:
    page = explorer.page
    explorer.open("/studies?PatientID=NEW*")
    expect(page.get_by_text("No study matches the filters.")).to_be_visible()
    store(explored, part10(StudyInstanceUID=f"{LIST_ROOT}.99", PatientID="NEW1", PatientName="New^Arrival"))
    expect(page.locator(".grid-row strong")).to_have_text(["New, Arrival"])
    httpx.delete(f"{explored}/v2/studies/{LIST_ROOT}.99", trust_env=False)
    expect(page.get_by_text("No study matches the filters.")).to_be_visible()


def test_columns_are_chosen_and_kept(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies")
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("checkbox", name="Sex").check()
    page.get_by_role("checkbox", name="Accession no.").uncheck()
    assert explorer.violations_of_dialog() == []
    page.get_by_role("button", name="Done").click()
    page.reload()
    expect(page.get_by_role("columnheader", name="Sex")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Accession no.")).to_have_count(0)


def test_a_downloaded_archive_has_the_instances(explorer: Explorer) -> None:
    page = explorer.page
    explorer.open("/studies?PatientID=L07")
    page.get_by_label("Select Listed, Person 07").check()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download").click()
    assert started.value.suggested_filename.endswith(".zip")
    assert list_study(7)[:4] != started.value.path().read_bytes()[:4] == b"PK\x03\x04"


def test_the_list_is_accessible(explorer: Explorer) -> None:
    explorer.open("/studies")
    explorer.page.locator(".grid-row strong").first.wait_for()
    explorer.keep("studies")
    explorer.page.emulate_media(color_scheme="dark")
    explorer.keep("studies-dark")
    explorer.page.emulate_media(color_scheme="light")
    explorer.page.get_by_role("button", name="More filters").click()
    assert explorer.violations() == []
    explorer.page.locator(".grid-row input").first.check()
    assert explorer.violations() == []
    explorer.page.get_by_role("button", name="Share").click()
    assert explorer.violations() == []


def test_the_list_is_accessible_on_a_telephone_in_the_dark(narrow: Explorer) -> None:
    narrow.open("/studies")
    narrow.page.locator(".grid-row strong").first.wait_for()
    assert narrow.page.evaluate("document.documentElement.scrollWidth") == 360
    assert narrow.violations() == []
    narrow.keep("studies-telephone")
    narrow.page.get_by_role("button", name="Filters").click()
    assert narrow.page.evaluate("document.documentElement.scrollWidth") == 360
    assert narrow.violations() == []
    narrow.page.get_by_role("button", name="Menu").click()
    narrow.page.get_by_role("link", name="Studies", exact=True).wait_for()
    assert narrow.violations() == []
