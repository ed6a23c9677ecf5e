"""A user who clicks and types at random: no error in the browser, and flat memory in browser and archive.

`RANDOM_CLICKS=1800 .venv/bin/pytest tests/e2e/explorer/test_random_clicks.py -s` goes on for half an hour
and prints the memory once a minute.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, CDPSession, Error, Locator, Page

from tests.data import UID_ROOT, part10
from tests.e2e.explorer.conftest import store
from tests.e2e.explorer.pages import Explorer, opened
from tests.e2e.studies import phantom_study
from tests.e2e.viewer import running_up

SECONDS = float(os.environ.get("RANDOM_CLICKS", "12"))
SEED = int(os.environ.get("RANDOM_SEED", "1"))

pytestmark = [pytest.mark.clients("chromium"), pytest.mark.timeout(180 + SECONDS)]

WARM_UP = 0.3
"""Part of the time after which memory must not grow any more."""

MOST_HEAP, MOST_SERVER = 24 << 20, 96 << 20
"""Allowed growth after that, in bytes: what caches may still take."""

CONTROLS = "a[href^='#'], button:not([disabled]), select, input:not([type=file]):not([readonly]), textarea, summary"
LEFT_OUT = ("Log out", "New token", "Create the token", "Choose a folder", "Choose files", "Download", "Open in")
"""Controls that leave the application, open dialogs of the browser, or turn authentication on."""

TEXTS = ("", "Doe", "CT", "1.2.3", "*", "StationName", "<b>&", "ü")
PAGES = (
    "studies",
    "upload",
    "worklist",
    "worklist/rules",
    "deleted",
    "status",
    "operations",
    "storage",
    "shares",
    "holds",
)


def heap_of(devtools: CDPSession) -> int:
    devtools.send("HeapProfiler.collectGarbage")
    used: dict[str, Any] = devtools.send("Runtime.getHeapUsage")
    return int(used["usedSize"])


def server_memory(folder: Path) -> int:
    """Return the memory of the archive: all processes that run in its folder."""
    return sum(process.memory_info().rss for process in psutil.process_iter() if _runs_in(process, folder))


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd() == str(folder) and process.is_running()
    except psutil.Error:
        return False


def act(page: Page, choice: random.Random) -> None:
    """Do one thing that a user could do: go to a page, press a key, or use a control."""
    if choice.random() < 0.04:
        page.evaluate("path => { location.hash = `#/${path}`; }", choice.choice(PAGES))
        return
    if choice.random() < 0.1:
        page.keyboard.press(choice.choice(("Escape", "Tab", "ArrowDown", "PageDown", "Enter")))
        return
    scope = page.locator("dialog[open]").last if page.locator("dialog[open]").count() else page.locator("#app")
    controls = scope.locator(CONTROLS).locator("visible=true")
    if found := controls.count():
        try:
            use(controls.nth(choice.randrange(found)), choice)
        except Error:
            # The control has disappeared or is covered meanwhile, as happens to people.
            return


def use(control: Locator, choice: random.Random) -> None:
    kind = control.evaluate("element => element.localName + ' ' + (element.type ?? '')", timeout=500)
    name = control.get_attribute("aria-label", timeout=500) or control.inner_text(timeout=500)
    if any(each in name for each in LEFT_OUT):
        return
    if kind.startswith("select"):
        options = control.locator("option").count()
        control.select_option(index=choice.randrange(options), timeout=500) if options else None
    elif kind == "input date":
        control.fill(choice.choice(("", "2024-01-05")), timeout=500)
    elif kind.startswith(("input text", "input search", "input url", "textarea")):
        control.fill(choice.choice(TEXTS), timeout=500)
    else:
        control.click(timeout=500)


def is_expected(message: str) -> bool:
    """Return whether a user can cause this: the archive refuses what was typed, or what another click has deleted."""
    return bool(
        message.startswith(("400 ", "404 ", "409 ", "Failed to load resource")) or "the server responded" in message
    )


def test_random_clicks_cause_no_errors_and_memory_stays_flat(browser: Browser, tmp_path: Path) -> None:
    choice = random.Random(SEED)
    with running_up(tmp_path) as address, opened(browser, address) as explorer:
        for file in phantom_study():
            store(address, file)
        for number in range(60):
            study = f"{UID_ROOT}.85.{number}"
            store(address, part10(StudyInstanceUID=study, SOPInstanceUID=f"{study}.1", PatientName=f"Clicked^{number}"))
        explorer.page.on("dialog", lambda dialog: dialog.accept())
        explorer.open("/studies")
        devtools = explorer.page.context.new_cdp_session(explorer.page)
        heap, server = click(explorer, choice, devtools, tmp_path)
    assert heap < MOST_HEAP
    assert server < MOST_SERVER


def click(explorer: Explorer, choice: random.Random, devtools: CDPSession, folder: Path) -> tuple[int, int]:
    """Click for `SECONDS`; return the growth of the memory of browser and archive after the warm-up."""
    start = time.monotonic()
    reported, actions = start, 0
    before: tuple[int, int] | None = None
    while (passed := time.monotonic() - start) < SECONDS:
        act(explorer.page, choice)
        actions += 1
        assert explorer.page.url.startswith(f"{explorer.url}/#"), explorer.page.url
        explorer.wrong[:] = [message for message in explorer.wrong if not is_expected(message)]
        assert explorer.wrong == []
        if before is None and passed > WARM_UP * SECONDS:
            before = heap_of(devtools), server_memory(folder)
        if time.monotonic() - reported > 60:
            reported = time.monotonic()
            heap, server = heap_of(devtools) / 1e6, server_memory(folder) / 1e6
            print(f"{passed / 60:.0f} min, {actions} actions: browser {heap:.1f} MB, archive {server:.0f} MB")
    assert before is not None
    assert server_memory(folder) > 0
    return heap_of(devtools) - before[0], server_memory(folder) - before[1]
