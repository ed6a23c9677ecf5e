"""Malicious objects, pages and names in a real browser."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from tests.data import UID_ROOT, part10
from tests.e2e.archive import Archive, running_archive
from tests.e2e.studies import ENCAPSULATED_PDF, padded, pdf

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(120)]

EVIL = "evil.example"
SCRIPT = "document.documentElement.setAttribute('data-executed', self.origin)"
STYLESHEET = (
    '<xsl:stylesheet id="s" version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
    f'<xsl:template match="/"><html><script>{SCRIPT}</script></html></xsl:template></xsl:stylesheet>'
)

# MIME Type of Encapsulated Document, and a document that executes `SCRIPT` if the browser lets it.
ACTIVE = {
    "HTML": ("text/html", f"<!doctype html><title>a</title><body><script>{SCRIPT}</script>"),
    "an event handler": ("text/html", f'<!doctype html><body><img src="data:," onerror="{SCRIPT}">'),
    "XHTML": (
        "application/xhtml+xml",
        f'<html xmlns="http://www.w3.org/1999/xhtml"><body><script>{SCRIPT}</script></body></html>',
    ),
    "SVG": ("image/svg+xml", f'<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT}"/>'),
    "a CDA with a script": (
        "text/xml",
        f'<ClinicalDocument xmlns="urn:hl7-org:v3"><script xmlns="http://www.w3.org/1999/xhtml">{SCRIPT}</script>'
        "</ClinicalDocument>",
    ),
    "a CDA with a stylesheet": (
        "text/xml",
        '<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#s"?><!DOCTYPE d [<!ATTLIST xsl:stylesheet id ID '
        f"#REQUIRED>]><d>{STYLESHEET}</d>",
    ),
}
# The browser must not use these as scripts or styles of another page, or as documents with parts.
EXECUTED = {
    "JavaScript": ("text/javascript", SCRIPT),
    "JavaScript with parameters": ("application/x-javascript; charset=utf-8", SCRIPT),
    "CSS": ("text/css", "* { display: none }"),
    "parts": ("multipart/x-mixed-replace", "--\r\nContent-Type: text/html\r\n\r\n<script>1</script>"),
    "MHTML": ("message/rfc822", "Content-Type: text/html\r\n\r\n<script>1</script>"),
}
INJECTED = "text/html; charset=utf-7\r\nSet-Cookie: a=b\r\n\r\n<script>alert(1)</script>"


def uid_of(number: int) -> str:
    return f"{UID_ROOT}.131.{number}"


def path_of(number: int) -> str:
    study = uid_of(number)
    return f"/v2/studies/{study}/series/{study}.1/instances/{study}.2"


def document(number: int, media_type: str, content: bytes) -> bytes:
    study = uid_of(number)
    return part10(
        SOPClassUID=ENCAPSULATED_PDF, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.2", Modality="DOC", MIMETypeOfEncapsulatedDocument=media_type,
        EncapsulatedDocument=padded(content + b" " * 4096),
    )  # fmt: skip


DOCUMENTS = [*ACTIVE.items(), *EXECUTED.items(), ("injected", (INJECTED, "<script>1</script>"))]
NUMBERS = {name: number for number, (name, _) in enumerate(DOCUMENTS, 1)}
PDF_NUMBER = len(NUMBERS) + 1
PDF_ACTION = b"/OpenAction << /S /JavaScript /JS (app.alert\\(typeof document + typeof fetch\\);) >>"


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[Archive]:
    with running_archive(module_path / "data") as archive:
        files = [document(NUMBERS[name], media_type, content.encode()) for name, (media_type, content) in DOCUMENTS]
        active_pdf = pdf("A letter").replace(b"/Type /Catalog", b"/Type /Catalog " + PDF_ACTION)
        files.append(document(PDF_NUMBER, "application/pdf", active_pdf))
        with httpx.Client(base_url=archive.http, trust_env=False) as client:
            headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
            for file in files:
                assert client.post("/v2/studies", content=file, headers=headers).status_code in (200, 202)
        yield archive


@pytest.fixture(scope="module")
def other_site() -> Iterator[str]:
    """HOST:PORT of a web server that returns what the path says: /{media type}/{content}."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type, _, content = self.path[1:].partition("/")
            body = unquote(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", unquote(media_type))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for which evil.example has the address of this machine."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        # Not every browser protects local networks, so this one must not do it in place of the archive.
        features = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {EVIL} 127.0.0.1", features]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def executed(page: Page) -> list[str | None]:
    """Return in which origin a script was executed, for the page and each frame in it."""
    return [
        frame.evaluate("document.documentElement && document.documentElement.getAttribute('data-executed')")
        for frame in page.frames
    ]


def served(site: str, media_type: str, content: str) -> str:
    """Return the URL of some content at another site."""
    escaped = "".join(f"%{byte:02x}" for byte in content.encode())
    return f"http://{site}/{media_type.replace('/', '%2f').replace(' ', '%20')}/{escaped}"


# ---------------------------------------------------------------------------------------------------------------------
# Stored objects


@pytest.mark.parametrize("name", ACTIVE)
def test_a_stored_document_is_not_executed(page: Page, archive: Archive, other_site: str, name: str) -> None:
    media_type, content = ACTIVE[name]
    path = path_of(NUMBERS[name])
    query = f"?accept={media_type.replace('+', '%2B')}"
    urls = [f"{archive.http}{path}/bulkdata/00420011{query}"]
    if media_type.startswith("text/"):  # for others it is 406
        urls.append(f"{archive.http}{path}/rendered{query}")
    for url in urls:
        response = page.goto(url)
        assert response is not None
        assert response.status == 200
        assert response.headers["content-type"].partition(";")[0] == media_type
        assert executed(page) == [None], url

        page.goto(served(other_site, "text/html", f'<!doctype html><iframe src="{url}"></iframe>'))
        page.frames[1].wait_for_load_state()
        assert page.frames[1].url == url
        assert executed(page) == [None, None]

    page.goto(served(other_site, media_type, content))  # proves that the browser would
    assert executed(page) == [f"http://{other_site}"]


@pytest.mark.parametrize("name", EXECUTED)
def test_a_stored_document_cannot_become_a_part_of_another_page(archive: Archive, name: str) -> None:
    media_type = EXECUTED[name][0].partition(";")[0]
    for path in ("rendered", "bulkdata/00420011"):
        url = f"{archive.http}{path_of(NUMBERS[name])}/{path}"
        response = httpx.get(url, params={"accept": f"{media_type}, */*;q=0.1"}, trust_env=False)
        assert response.status_code in (200, 406)
        assert response.headers["content-type"].partition(";")[0] in ("application/octet-stream", "text/plain")


@pytest.mark.parametrize("path", ["rendered", "bulkdata/00420011"])
@pytest.mark.parametrize("accept", ["text/html", "text/*", 'multipart/related; type="text/*"', "*/*"])
def test_the_media_type_of_a_document_cannot_inject_headers(archive: Archive, path: str, accept: str) -> None:
    url = f"{archive.http}{path_of(NUMBERS['injected'])}/{path}"
    response = httpx.get(url, headers={"Accept": accept}, trust_env=False)
    assert response.status_code in (200, 406)
    assert "set-cookie" not in response.headers
    assert b"Set-Cookie" not in response.content
    assert "utf-7" not in response.headers["content-type"]


def test_a_script_in_a_pdf_has_no_access_to_the_page(page: Page, archive: Archive) -> None:
    """It is executed by the PDF viewer of the browser, without document and network."""
    said: list[str] = []

    def note(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    with page.expect_event("dialog"):
        page.goto(f"{archive.http}{path_of(PDF_NUMBER)}/rendered")
    assert said == ["undefinedundefined"]
    assert executed(page)[0] is None


def test_text_of_a_report_is_not_executed(page: Page, archive: Archive) -> None:
    study = uid_of(99)
    markup = f'</p><script>{SCRIPT}</script><img src=x onerror="{SCRIPT}">'
    file = part10(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.2", Modality="SR", PatientName=markup[:60], ValueType="CONTAINER", TextValue=markup,
    )  # fmt: skip
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    httpx.post(f"{archive.http}/v2/studies", content=file, headers=headers, trust_env=False).raise_for_status()
    response = page.goto(f"{archive.http}{path_of(99)}/rendered")
    assert response is not None
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert executed(page) == [None]
    assert page.locator("script, img").count() == 0


# ---------------------------------------------------------------------------------------------------------------------
# Pages of other sites

FETCH = """async ([url, options]) => {
    try { return (await fetch(url, options)).status } catch (error) { return "blocked" }
}"""
SIMPLE_POST = {"method": "POST", "mode": "no-cors", "headers": {"Content-Type": "text/plain"}, "body": "x"}
DELETE = {"method": "DELETE"}


def site_page(other_site: str, host: str) -> str:
    """Return the URL of an empty page of another site with this host name."""
    return served(other_site.replace("127.0.0.1", host), "text/html", "<!doctype html><title>a page</title>")


def test_a_page_of_another_site_can_neither_read_nor_change(page: Page, archive: Archive, other_site: str) -> None:
    page.goto(site_page(other_site, EVIL))
    studies = f"{archive.http}/v2/studies"
    study = f"{studies}/{uid_of(1)}"
    for url, options in ((f"{studies}?limit=1", {}), (study, DELETE), (studies, SIMPLE_POST | {"mode": "cors"})):
        assert page.evaluate(FETCH, [url, options]) == "blocked"
    assert page.evaluate(FETCH, [studies, SIMPLE_POST]) in (0, "blocked")  # sent, but not readable
    form = f'<form method="post" enctype="text/plain" action="{studies}"><input name="a" value="b"></form>'
    page.evaluate("form => { document.body.innerHTML = form }", form)
    with page.expect_navigation():
        page.evaluate("document.forms[0].submit()")
    assert page.inner_text("body").startswith("Pages of this origin may not")
    assert httpx.get(f"{study}/metadata", trust_env=False).status_code == 200


def test_a_page_on_loopback_may_read(page: Page, archive: Archive, other_site: str) -> None:
    page.goto(site_page(other_site, "localhost"))
    assert page.evaluate(FETCH, [f"{archive.http}/v2/studies?limit=1", {}]) == 200


def test_a_page_of_another_site_cannot_show_the_archive_in_a_frame(
    page: Page, archive: Archive, other_site: str
) -> None:
    for path in ("/v2", f"{path_of(1)}/rendered", f"{path_of(PDF_NUMBER)}/rendered", "/v2/api.json"):
        frame = f'<!doctype html><iframe src="{archive.http}{path}"></iframe>'
        refused: list[str] = []
        page.on("console", lambda message, refused=refused: refused.append(message.text))
        page.goto(served(other_site.replace("127.0.0.1", EVIL), "text/html", frame))
        page.wait_for_load_state("networkidle")
        assert any("frame-ancestors" in text for text in refused), (path, refused)


def test_a_name_that_was_rebound_to_the_archive_is_refused(page: Page, archive: Archive) -> None:
    site = f"http://{EVIL}:{archive.http_port}"
    page.route(f"{site}/page", lambda route: route.fulfill(content_type="text/html", body="<title>before</title>"))
    page.goto(f"{site}/page")
    assert page.evaluate(FETCH, ["/v2/studies", {}]) == 421
    assert page.evaluate(FETCH, [f"/v2/studies/{uid_of(1)}", DELETE]) == 421
