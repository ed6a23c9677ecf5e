"""A page of the explorer in a browser, and everything that goes wrong in it."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

AXE = files("axe_playwright_python") / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

APPEARANCES = """() => {
    const before = document.documentElement.dataset.appearance;
    const isDark = before === "dark" || (before === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    return [before, isDark ? "light" : "dark"];
}"""
"""The present appearance, and the other one."""

APPEAR = "name => { document.documentElement.dataset.appearance = name; }"
"""Sets the appearance, at once."""


@dataclass
class Explorer:
    """A page. `wrong` has messages of the console, exceptions, failed requests and refused files."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def open(self, fragment: str) -> None:
        """Open a page by the fragment of its URL, such as "/studies?PatientName=DOE*"."""
        self.page.goto(f"{self.url}/#{fragment}")
        self.page.locator("h1").wait_for()

    def violations(self, *, is_other_tested: bool = False) -> list[str]:
        """Return what axe finds: rule, help, elements; contrasts also in the other appearance, unless it is tested."""
        found = self._axe(RULES)
        if is_other_tested:
            return found
        before, other = self.page.evaluate(APPEARANCES)
        self.page.evaluate(APPEAR, other)
        found += self._axe(["color-contrast"])
        self.page.evaluate(APPEAR, before)
        return found

    def violations_of_dialog(self) -> list[str]:
        """Return what axe finds in the open dialog, in the present appearance; the page behind it is tested itself."""
        self.page.get_by_role("dialog").wait_for()
        return self._axe(RULES, "dialog[open]")

    def _axe(self, rules: list[str], part: str = "html") -> list[str]:
        if self.page.evaluate("typeof axe === 'undefined'"):
            self.page.evaluate(AXE.read_text())
        options = {"runOnly": rules, "resultTypes": ["violations"]}
        found: list[dict[str, Any]] = self.page.evaluate(
            "([part, options]) => axe.run(part, options).then(found => found.violations)", [part, options]
        )
        return [f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']][:3]}" for each in found]

    def keep(self, name: str) -> None:
        """Save a screenshot for the documentation, if requested."""
        if folder := os.environ.get("FIGURES"):
            self.page.wait_for_load_state("networkidle")  # images
            image = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            image.quantize(96, dither=Image.Dither.NONE).save(Path(folder, f"explorer-{name}.png"), optimize=True)


def pixels_of(element: Locator) -> NDArray[np.uint8]:
    """Return the pixels of an element, with three channels."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))


@contextmanager
def window(
    browser: Browser, *, width: int = 1280, height: int = 800, appearance: Literal["light", "dark"] = "light"
) -> Iterator[Page]:
    """Open a window with storage of its own."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=appearance, bypass_csp=False, reduced_motion="reduce"
    )
    expect.set_options(timeout=20_000)
    yield context.new_page()
    context.close()


@contextmanager
def used(page: Page, url: str) -> Iterator[Explorer]:
    """Use a window for a test, any error in which fails it; leave it as a new one, apart from cached responses.

    A new window takes two seconds of processor time.
    """
    explorer = Explorer(page, url)
    note = explorer.wrong.append
    listeners: dict[Any, Any] = {
        "console": lambda line: note(line.text) if line.type in ("error", "warning") else None,
        "pageerror": lambda error: note(str(error)),
        "response": lambda answer: note(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    viewport = page.viewport_size
    is_dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    yield explorer
    if page.url.startswith(url):
        page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    page.goto("about:blank")
    page.context.clear_cookies()
    page.emulate_media(color_scheme="dark" if is_dark else "light")
    if viewport is not None:
        page.set_viewport_size(viewport)
    assert explorer.wrong == [], explorer.wrong


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Explorer]:
    """Open a window of its own; any error in it fails the test."""
    with window(browser) as page, used(page, url) as explorer:
        yield explorer
