"""OHIF in a real browser: `dicomstore up --viewer`, and pages whose errors are noticed."""

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.archive import ROOT
from tests.programs import Program

START_S, PAINT_S = 60, 40
POLL_MS = 200
SIZE = {"width": 1280, "height": 800}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or ""


@contextmanager
def archive_with_viewer(folder: Path, *, port: int = 0, workers: int = 1, **settings: str) -> Iterator[str]:
    """Run an archive with OHIF in a folder, by default on a free port; yield its address."""
    options = ("--viewer", str(ROOT / ".viewer"))
    with running_up(folder, *options, port=port, workers=workers, **settings) as address:
        assert f"Viewer     {address}/viewer/" in (folder / "welcome").read_text()
        yield address


@contextmanager
def running_up(folder: Path, *options: str, port: int = 0, workers: int = 1, **settings: str) -> Iterator[str]:
    """Run `dicomstore up` in a folder, by default on a free port; yield its address."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}"
    environment |= {f"DICOMSTORE_{name.upper()}": value for name, value in settings.items()}
    addresses = ("--http", f"127.0.0.1:{port}", "--grpc", "127.0.0.1:0", "--workers", str(workers))
    reader, writer = Pipe(duplex=False)
    with writer:
        archive = Program(
            "cli", "up", *addresses, *options,
            environment=environment, folder=folder, stdout=writer, stderr=folder / "log",
        )  # fmt: skip
    with reader, open(reader.fileno(), closefd=False) as output:
        try:
            welcome = ""
            while "Stop" not in welcome:
                line = output.readline()
                assert line, (folder / "log").read_text()
                welcome += line
            (folder / "welcome").write_text(welcome)
            address = re.search(r"Explorer +(http://\S+)/", welcome)
            assert address is not None
            yield address[1]
        finally:
            archive.terminate()
            archive.wait(START_S)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium."""
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
            self.page.wait_for_timeout(POLL_MS)  # a screenshot takes as much processor time as the viewer

    def keep(self, name: str) -> None:
        """Save a screenshot for the documentation, if requested."""
        if folder := os.environ.get("FIGURES"):
            image = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            image.quantize(48, dither=Image.Dither.NONE).save(Path(folder, f"ohif-{name}.png"), optimize=True)


@contextmanager
def watched_page(browser: Browser, url: str) -> Iterator[Watched]:
    """Open a page without the introductory tour; any error in it fails the test."""
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
    assert watched.wrong == [], watched.wrong


def is_an_image(pixels: NDArray[np.uint8]) -> bool:
    """Return whether there is more than text and lines: many shades, over a good part of the area."""
    grey = pixels.mean(axis=2)
    return bool(np.unique(grey.astype(np.uint8)).size > 40 and grey.std() > 10)
