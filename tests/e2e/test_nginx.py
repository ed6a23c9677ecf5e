"""The nginx configuration of docs/operations.md, except addresses and TLS, with a viewer on another origin."""

import os
import re
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import sync_playwright
from websockets.sync.client import connect

from tests.data import part10
from tests.e2e.archive import ROOT, Archive, running_archive
from tests.e2e.examples import blocks_of
from tests.e2e.viewer import BROWSER
from tests.ports import free_port

ORIGIN = "http://viewer.example"
PASSWORD = {"Authorization": "Basic " + b64encode(b"viewer:secret").decode()}
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization,accept",
}
JSON = {"Accept": "application/dicom+json"}
WORKLIST = "1.2.840.10008.5.1.4.34.5"


def example() -> str:
    """Return the configuration that the guide gives."""
    [(_, text)] = blocks_of(ROOT / "docs/operations.md", "nginx")
    return text


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[Archive]:
    """An archive that allows the origin of the viewer."""
    with running_archive(module_path / "data", cors_origins=f"{ORIGIN}, loopback") as archive:
        yield archive


@pytest.fixture(scope="module")
def proxy(archive: Archive, module_path: Path) -> Iterator[httpx.Client]:
    """A client of nginx, which runs with the example in front of the archive."""
    folder = module_path / "nginx"
    folder.mkdir()
    (folder / "passwords").write_text("viewer:{PLAIN}secret\n")
    port = free_port()
    adapted = example()
    for pattern, replacement in (
        (r"listen 443 ssl http2;", f"listen 127.0.0.1:{port};"),
        (r" *ssl_certificate\w* .*;\n", ""),
        (r"127\.0\.0\.1:8080", f"127.0.0.1:{archive.http_port}"),
        (r"/etc/nginx/dicomstore\.htpasswd", str(folder / "passwords")),
        (r"Host( +)\$host;", r"Host\1$http_host;"),  # the port is not that of TLS here
    ):
        adapted, count = re.subn(pattern, replacement, adapted)
        assert count, pattern
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "" if os.geteuid() else "user root root;"  # as another user it may not read the passwords
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{adapted}\n}}"
    )
    with serving(folder) as process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.get("/health/check")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        assert process.poll() is None, "nginx has ended"
        yield client


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def page_server() -> Iterator[str]:
    """Serve an empty page at an address of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@contextmanager
def serving(folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf"])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def test_the_example_lets_only_preflights_and_probes_pass_without_a_password() -> None:
    """Checks the configuration without nginx: other requests need the password, which the archive never gets."""
    text = example()
    assert re.search(r"map \$request_method \$realm \{\s*OPTIONS off;\s*default \"dicomstore\";\s*\}", text)
    assert re.findall(r"auth_basic +(.+?);", text) == ["$realm", "off"]
    assert re.search(r"location = /health/check \{\s*auth_basic off;", text)
    assert re.search(r'proxy_set_header Authorization +"";', text)


@pytest.mark.clients("nginx")
def test_a_preflight_passes_without_a_password(proxy: httpx.Client) -> None:
    response = proxy.options("/v2/studies", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert "authorization" in response.headers["access-control-allow-headers"].lower()


@pytest.mark.clients("nginx")
def test_an_event_channel_is_opened_at_the_url_of_the_subscription(proxy: httpx.Client) -> None:
    subscribed = proxy.post(f"/v2/workitems/{WORKLIST}/subscribers/VIEWER", headers=PASSWORD)
    assert subscribed.status_code == 201
    url = subscribed.headers["content-location"]
    assert url == f"ws{str(proxy.base_url)[4:].rstrip('/')}/v2/subscribers/VIEWER"
    with connect(url, additional_headers=PASSWORD, proxy=None) as channel:
        assert channel.ping().wait(20)


@pytest.mark.clients("nginx")
def test_the_capabilities_are_described_without_a_password(proxy: httpx.Client) -> None:
    """The description names methods and media types, and no data."""
    response = proxy.options("/v2/studies", headers={"Origin": ORIGIN})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/vnd.sun.wadl+xml")


@pytest.mark.clients("nginx")
def test_a_viewer_of_another_origin_stores_and_reads_with_its_password(proxy: httpx.Client) -> None:
    headers = PASSWORD | JSON | {"Origin": ORIGIN}
    stored = proxy.post("/v2/studies", content=part10(), headers=headers | {"Content-Type": "application/dicom"})
    assert stored.status_code == 200
    found = proxy.get("/v2/instances", headers=headers)
    assert found.headers.get_list("access-control-allow-origin") == [ORIGIN]
    [instance] = found.json()
    assert instance["00081190"]["Value"][0].startswith(f"{proxy.base_url}/v2/studies/")


@pytest.mark.clients("nginx")
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_a_password_nothing_else_passes_and_the_refusal_is_readable(proxy: httpx.Client, method: str) -> None:
    response = proxy.request(method, "/v2/studies/1.2", headers={"Origin": ORIGIN})
    assert response.status_code == 401
    assert response.headers.get_list("access-control-allow-origin") == ["*"]
    assert response.headers.get_list("www-authenticate") == ['Basic realm="dicomstore"']
    assert proxy.get("/health/check").status_code == 200


@pytest.mark.clients("nginx")
@pytest.mark.clients("chromium")
def test_a_page_of_another_origin_reads_in_a_real_browser(proxy: httpx.Client) -> None:
    script = """async ([url, password]) => {
        const read = async (headers) => {
            const response = await fetch(url, { headers: { Accept: "application/dicom+json", ...headers } });
            return response.status;
        };
        return [await read({ Authorization: password }), await read({ Authorization: "Basic wrong" })];
    }"""
    with page_server() as viewer, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(viewer)  # another port is another origin
        statuses = page.evaluate(script, [f"{proxy.base_url}/v2/studies?limit=1", PASSWORD["Authorization"]])
        browser.close()
    assert statuses[0] in (200, 204)
    assert statuses[1] == 401
