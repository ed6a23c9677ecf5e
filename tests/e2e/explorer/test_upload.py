"""Uploads in a real browser: choosing, progress, outcomes, pause, back-off, and continuation after a reload."""

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from tests.data import UID_ROOT, part10
from tests.e2e.explorer.pages import Explorer, opened

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180)]


@pytest.fixture
def explorer(explored: str, browser: Browser) -> Iterator[Explorer]:
    """A window of its own: a test changes what the browser does, and what it stores."""
    with opened(browser, explored) as page:
        yield page


WITHOUT_PICKER = "delete window.showDirectoryPicker"
STORE = re.compile(r"/v2/studies$")
REFUSED = bytes(128) + b"DICM" + b"garbage" * 20


def dicom(number: int, study: str, rows: int = 8) -> bytes:
    return part10(
        StudyInstanceUID=f"{UID_ROOT}.{study}",
        SeriesInstanceUID=f"{UID_ROOT}.{study}.1",
        SOPInstanceUID=f"{UID_ROOT}.{study}.1.{number}",
        PatientName=f"Uploaded^{study}",
        Rows=rows,
        Columns=rows,
        frames=[bytes([number % 256]) * (rows * rows)],
    )


def folder_of(path: Path, study: str, files: int) -> Path:
    """Return a folder with folders of DICOM files."""
    for number in range(files):
        parent = path / "slices" / str(number // 100)
        parent.mkdir(parents=True, exist_ok=True)
        (parent / f"{number:04}").write_bytes(dicom(number, study))
    return path / "slices"


def stored(explorer: Explorer, study: str) -> int:
    path = f"{explorer.url}/v2/studies/{UID_ROOT}.{study}/instances?limit=1&totalcount=true"
    answer = httpx.get(path, headers={"Accept": "application/dicom+json"}, trust_env=False)
    return int(answer.headers.get("x-total-count", 0))


def choose(explorer: Explorer, folder: Path) -> None:
    explorer.page.add_init_script(WITHOUT_PICKER)  # its dialog belongs to the browser
    explorer.open("/upload")
    explorer.page.locator("input[data-chosen=folder]").set_input_files(folder)


def badges(explorer: Explorer) -> Locator:
    """The number of files with each outcome."""
    return explorer.page.locator(".badges .badge")


def outcomes(explorer: Explorer) -> list[str]:
    expect(explorer.page.get_by_role("heading", name="Finished", exact=True)).to_be_visible()
    return badges(explorer).all_inner_texts()


def test_a_folder_is_stored_and_each_file_has_an_outcome(explorer: Explorer, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "801", 120)
    (folder / "notes.txt").write_text("a text that is longer than the head of a DICOM file" * 4)
    (folder / "broken").write_bytes(REFUSED)
    choose(explorer, folder)
    expect(badges(explorer)).to_have_text(["120 stored", "1 refused", "1 not DICOM"])
    assert stored(explorer, "801") == 120
    table = explorer.page.get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(2)
    expect(table.get_by_role("row").last).to_contain_text("slices/broken")
    expect(table.get_by_role("row").last).to_contain_text("The data set ends within its last element.")
    assert explorer.violations() == []
    explorer.keep("upload")
    choose(explorer, folder)
    expect(badges(explorer)).to_have_text(["120 already there", "1 refused", "1 not DICOM"])
    explorer.page.get_by_label("Show", exact=True).select_option(label="not DICOM")
    expect(table.get_by_role("row").last).to_contain_text("slices/notes.txt")


def test_small_files_share_requests_and_a_large_one_has_its_own(explorer: Explorer, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "802", 230)
    (folder / "large").write_bytes(dicom(999, "802", 4200))
    requests: list[str] = []
    explorer.page.on("request", lambda sent: requests.append(sent.method) if STORE.search(sent.url) else None)
    choose(explorer, folder)
    expect(badges(explorer)).to_have_text(["231 stored"])
    assert 4 <= requests.count("POST") <= 6


def test_a_busy_archive_and_a_lost_connection_are_tried_again(explorer: Explorer, tmp_path: Path) -> None:
    answers = [
        lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}, body="The archive is busy."),
        lambda route: route.fulfill(status=429, body="Too many requests."),
        lambda route: route.abort(),
    ]

    def answer(route: Route) -> None:
        (answers.pop(0) if answers else Route.continue_)(route)

    explorer.page.route(STORE, answer)
    choose(explorer, folder_of(tmp_path, "803", 20))
    expect(badges(explorer)).to_have_text(["20 stored"])
    assert answers == []
    explorer.wrong.clear()  # the browser reports these answers


def test_without_permission_the_upload_stops_and_says_why(explorer: Explorer, tmp_path: Path) -> None:
    explorer.page.route(STORE, lambda route: route.fulfill(status=403, body="The role does not allow it."))
    choose(explorer, folder_of(tmp_path, "804", 3))
    expect(explorer.page.get_by_role("heading", name="Interrupted")).to_be_visible()
    expect(explorer.page.get_by_role("alert")).to_have_text("The role does not allow it.")
    explorer.page.unroute(STORE)
    explorer.page.get_by_role("button", name="Continue").click()
    expect(badges(explorer)).to_have_text(["3 stored"])
    explorer.wrong.clear()


def test_an_upload_pauses_and_the_browser_warns_before_the_page_is_left(explorer: Explorer, tmp_path: Path) -> None:
    held: list[Route] = []
    explorer.page.route(STORE, lambda route: held.append(route))
    warns = "!window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    choose(explorer, folder_of(tmp_path, "805", 450))
    expect(explorer.page.get_by_role("button", name="Pause")).to_be_visible()
    while len(held) < 3:
        explorer.page.evaluate("() => new Promise(requestAnimationFrame)")
    assert explorer.page.evaluate(warns) is True
    explorer.page.get_by_role("button", name="Pause").click()
    for route in held:
        route.continue_()
    explorer.page.unroute(STORE)
    expect(explorer.page.get_by_text("300 of 450")).to_be_visible()
    assert stored(explorer, "805") == 300
    explorer.page.get_by_role("link", name="Studies", exact=True).click()  # it goes on while other pages are open
    explorer.page.get_by_role("link", name="Upload", exact=True).click()
    expect(explorer.page.get_by_role("heading", name="Paused")).to_be_visible()
    explorer.page.get_by_role("button", name="Continue").click()
    expect(badges(explorer)).to_have_text(["450 stored"])
    assert explorer.page.evaluate(warns) is False


def interrupted_after_the_first_request(explorer: Explorer) -> None:
    sent: list[Route] = []

    def answer(route: Route) -> None:
        sent.append(route)
        if len(sent) == 1:
            route.continue_()  # the others get no answer

    explorer.page.route(STORE, answer)


RECORDED = """count => new Promise((resolve) => {
    const request = indexedDB.open("dicomstore-uploads");
    request.onsuccess = () => {
        const found = request.result.transaction("done").objectStore("done").count();
        found.onsuccess = () => { request.result.close(); resolve(found.result >= count); };
    };
})"""
"""Whether the page has recorded as many files as stored."""


def reloaded(explorer: Explorer) -> int:
    """Reload the page after the first request; return how many files it had: 100, or the 50 of the last one."""
    progress = explorer.page.get_by_text(re.compile(r"\b(50|100) of 250"))
    expect(progress).to_be_visible()
    found = re.search(r"(\d+) of 250", progress.inner_text())
    assert found is not None
    count = int(found[1])
    explorer.page.wait_for_function(RECORDED, arg=count)
    explorer.page.on("dialog", lambda dialog: dialog.accept())
    explorer.page.reload()
    expect(explorer.page.get_by_role("heading", name="Unfinished upload")).to_be_visible()
    expect(explorer.page.get_by_text(f"{count} files are stored")).to_be_visible()
    explorer.page.unroute_all(behavior="ignoreErrors")  # before the reload, it would let the held requests pass
    return count


def test_an_upload_continues_after_a_reload_when_the_folder_is_chosen_again(explorer: Explorer, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "806", 250)
    interrupted_after_the_first_request(explorer)
    choose(explorer, folder)
    count = reloaded(explorer)
    assert explorer.violations() == []
    names = explorer.page.evaluate(
        "() => new Promise(done => { const asked = indexedDB.open('dicomstore-uploads'); asked.onsuccess = () => {"
        "  const all = asked.result.transaction('done').objectStore('done').getAll();"
        "  all.onsuccess = () => done(JSON.stringify(all.result)); }; })"
    )
    assert "slices" not in names  # names of files may be those of patients
    explorer.page.locator("input[data-chosen=folder]").first.set_input_files(folder)
    counts = {name: int(number) for number, _, name in (each.partition(" ") for each in outcomes(explorer))}
    assert counts.pop("stored before") == count
    assert sum(counts.values()) == 250 - count
    assert counts.keys() <= {"stored", "already there"}
    explorer.wrong.clear()  # the requests that the reload has ended


def test_an_upload_of_kept_handles_continues_by_a_button(explorer: Explorer) -> None:
    """The handles are those of the private file system of the page, which needs no dialog of the browser."""
    explorer.open("/upload")
    interrupted_after_the_first_request(explorer)
    files = [b64encode(dicom(number, "807")).decode() for number in range(250)]
    explorer.page.evaluate(
        """async (files) => {
            const root = await navigator.storage.getDirectory();
            const folder = await root.getDirectoryHandle("slices", { create: true });
            for (const [number, text] of files.entries()) {
                const writer = await (await folder.getFileHandle(`${number}`, { create: true })).createWritable();
                await writer.write(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
                await writer.close();
            }
            const base = document.querySelector("script[type=module]").src.replace(/app\\.js$/, "");
            const { start } = await import(`${base}lib/upload/current.js`);
            const { fromHandles } = await import(`${base}lib/upload/sources.js`);
            start(fromHandles([folder]), { handles: [folder] });
        }""",
        files,
    )
    count = reloaded(explorer)
    explorer.page.get_by_role("button", name="Continue").click()
    assert f"{count} stored before" in outcomes(explorer)
    assert stored(explorer, "807") == 250
    explorer.wrong.clear()


def test_a_recipient_of_a_link_uploads_with_the_same_controls(narrow: Explorer, explored: str, tmp_path: Path) -> None:
    page = narrow.page
    link = httpx.post(f"{explored}/v2/$share-upload", json={"label": "practice"}, trust_env=False).json()
    page.add_init_script(WITHOUT_PICKER)
    page.goto(link["url"])
    expect(page.get_by_text(re.compile("Files that you choose here are stored"))).to_be_visible()
    page.locator("input[data-chosen=folder]").set_input_files(folder_of(tmp_path, "809", 30))
    assert outcomes(narrow) == ["30 stored"]
    assert stored(narrow, "809") == 30
    assert narrow.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(color_scheme="light")
    narrow.keep("upload-link")
    httpx.delete(f"{explored}/v2/shares/{link['id']}", trust_env=False)
    page.locator("input[data-chosen=folder]").set_input_files(tmp_path / "slices")
    expect(page.get_by_role("alert")).to_have_text("This link has expired or was revoked. Ask for a new one.")
    kept = page.evaluate(
        "() => new Promise(done => { const asked = indexedDB.open('dicomstore-uploads'); asked.onsuccess = () => {"
        "  const all = asked.result.transaction('uploads').objectStore('uploads').getAll();"
        "  all.onsuccess = () => done(JSON.stringify(all.result)); }; })"
    )
    assert link["id"] in kept
    assert "dcms_" not in kept  # the token is a credential
    narrow.wrong.clear()  # the browser reports the refusal


def test_dropped_folders_are_read_at_any_depth(explorer: Explorer) -> None:
    """Without handles: the entries of the drag and drop interface that all browsers have."""
    explorer.open("/upload")
    paths = explorer.page.evaluate(
        """async () => {
            const base = document.querySelector("script[type=module]").src.replace(/app\\.js$/, "");
            const { fromEntry } = await import(`${base}lib/upload/sources.js`);
            const file = (path) => ({ isFile: true, fullPath: path, file: (done) => done(new File(["x"], path)) });
            const folder = (path, ...portions) => ({
                isFile: false,
                createReader: () => ({ readEntries: (done) => done(portions.shift() ?? []) }),
            });
            const tree = folder("/a", [file("/a/1"), folder("/a/b", [file("/a/b/2")])], [file("/a/3")]);
            const found = [];
            for await (const source of fromEntry(tree)) found.push([source.path, (await source.open()).size]);
            return found;
        }"""
    )
    assert paths == [["a/1", 1], ["a/b/2", 1], ["a/3", 1]]


def test_the_page_is_usable_on_a_telephone_in_the_dark(narrow: Explorer, tmp_path: Path) -> None:
    choose(narrow, folder_of(tmp_path, "808", 5))
    assert outcomes(narrow) == ["5 stored"]
    assert narrow.violations() == []
    assert narrow.page.evaluate("document.documentElement.scrollWidth") <= 360
