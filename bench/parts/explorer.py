"""`python -m bench.parts.explorer`: the explorer in Chromium, with an archive of many studies.

Prints, for a cold cache, the bytes of the first load and the time to the first paint and to the first studies. For the
list, it scrolls from the first to the last study, and prints the longest task of the main thread, and how many took
more than 50 ms, both in CPU time, which other programs of the machine do not increase, and the memory of the page.
The studies are entries of the index without files, so images are placeholders.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Browser, CDPSession, sync_playwright

from bench.archive import running_archive
from bench.figures import Row, table, write_rows
from bench.index.many_studies import fill

app = typer.Typer(add_completion=False)

_COLUMNS = {
    "what": "what",
    "studies": "studies",
    "bytes": "bytes",
    "paint_ms": "first paint, ms",
    "rows_ms": "first studies, ms",
    "longest_ms": "longest task, CPU ms",
    "over_50": "tasks over 50 CPU ms",
    "page_mb": "page, MB",
}
_STEPS = 400
_TASK, _LONG_US = "ThreadControllerImpl::RunTask", 50_000
_SCROLL = """async steps => {
    const grid = document.querySelector(".grid");
    for (let step = 0; step <= steps; step += 1) {
        grid.scrollTop = (grid.scrollHeight - grid.clientHeight) * step / steps;
        await new Promise(requestAnimationFrame);
        if (step % 40 === 0) await new Promise(resolve => setTimeout(resolve, 400));
    }
}"""


@app.command()
def main(
    studies: Annotated[int, typer.Option(help="Studies in the archive.")] = 100_000,
    output: Annotated[Path | None, typer.Option(help="Also write the rows to this file, as JSON lines.")] = None,
) -> None:
    """Measure the first load and scrolling."""
    with running_archive() as archive:
        asyncio.run(fill(f"sqlite:///{archive.data / 'index.db'}", studies))
        url = f"http://127.0.0.1:{archive.http_port}/"
        with _browser() as browser:
            rows = [_first_load(browser, url, studies), _scrolling(browser, url, studies)]
    typer.echo("\n".join(table(rows, _COLUMNS)))
    if output:
        write_rows(output, rows)


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def _first_load(browser: Browser, url: str, studies: int) -> Row:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}docs")  # the connection and the first process of the browser are not those of the explorer
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    began = time.perf_counter()
    page.goto(url)
    page.locator(".grid-row strong").first.wait_for()
    rows_ms = (time.perf_counter() - began) * 1000
    paint: float = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    return {
        "what": "first load",
        "studies": studies,
        "bytes": round(sum(sizes)),
        "paint_ms": round(paint),
        "rows_ms": round(rows_ms),
    }


def _scrolling(browser: Browser, url: str, studies: int) -> Row:
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.locator(".grid-row strong").first.wait_for()
    browser.start_tracing(page=page, categories=["toplevel"])
    page.evaluate(_SCROLL, _STEPS)
    page.locator(".grid-row strong").last.wait_for()
    durations = _tasks_us(browser.stop_tracing())
    row: Row = {
        "what": "scrolling through the list",
        "studies": studies,
        "longest_ms": round(max(durations) / 1000, 1),
        "over_50": sum(duration > _LONG_US for duration in durations),
        "page_mb": _page_mb(context.new_cdp_session(page)),
    }
    context.close()
    return row


def _tasks_us(trace: bytes) -> list[float]:
    """Return the CPU time of each task of the main threads of pages, in microseconds."""
    events = json.loads(trace)["traceEvents"]
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event["tdur"]
        for event in events
        if event["name"] == _TASK and "tdur" in event and (event["pid"], event["tid"]) in threads
    ]


def _page_mb(session: CDPSession) -> float:
    """Return the memory of the scripts of a page after garbage collection."""
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return round(used / 1e6, 1)


if __name__ == "__main__":
    app()
