"""`python -m bench.explorer.pages`: the explorer in Chromium, with an archive of many studies.

Prints, for a cold cache, the bytes of the first load and the time to the first paint and to the first studies. For the
list, it scrolls from the first to the last study, and prints the longest task of the main thread, and how many took
more than 50 ms, both in CPU time, which other programs of the machine do not increase, and the memory of the page.
For jumps, it is the time until the studies at the place are shown.
The studies are entries of the index without files, so images are placeholders.

With `--plugin`, the first load of Orthanc Explorer 2 is measured as well, in turn.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from playwright.sync_api import Browser, CDPSession, sync_playwright

from bench.archive import running_archive
from bench.data import SMALL, instance
from bench.explorer.orthanc import PAGE, running_orthanc
from bench.explorer.tasks import CATEGORIES, tasks_of
from bench.figures import Row, table, write_rows
from bench.index.many_studies import fill

app = typer.Typer(add_completion=False)

_COLUMNS = {
    "what": "what",
    "studies": "studies",
    "bytes": "bytes",
    "paint_ms": "first paint, ms",
    "rows_ms": "studies shown, ms",
    "longest_ms": "longest task, CPU ms",
    "over_50": "tasks over 50 CPU ms",
    "page_mb": "page, MB",
}
_STEPS = 400
_ROUNDS = 7
_FILTERS = "thead input"
"""What Explorer 2 shows last with the versions of Orthanc before 1.12, which do not return what its list needs."""

_LONG_US = 50_000
_SCROLL = """async steps => {
    const grid = document.querySelector(".grid");
    for (let step = 0; step <= steps; step += 1) {
        grid.scrollTop = (grid.scrollHeight - grid.clientHeight) * step / steps;
        await new Promise(requestAnimationFrame);
        if (step % 40 === 0) await new Promise(resolve => setTimeout(resolve, 400));
    }
}"""

_JUMP = """place => {
    const grid = document.querySelector(".grid");
    grid.scrollTop = (grid.scrollHeight - grid.clientHeight) * place;
}"""
_IS_SHOWN = """index => [...document.querySelectorAll(".grid-row strong")].some(
    name => Math.abs(name.closest(".grid-row").ariaRowIndex - index) < 100)"""


@app.command()
def main(
    studies: Annotated[int, typer.Option(help="Studies in the archive.")] = 100_000,
    url: Annotated[str, typer.Option(help="Measure a running archive, which has so many studies already.")] = "",
    plugin: Annotated[Path | None, typer.Option(help="Orthanc Explorer 2, see `bench.explorer.orthanc`.")] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the rows to this file, as JSON lines.")] = None,
) -> None:
    """Measure the first load, scrolling, and jumps."""
    if url:
        rows = _measured(url, studies)
    else:
        with running_archive() as archive:
            asyncio.run(fill(f"sqlite:///{archive.data / 'index.db'}", studies))
            url = f"http://127.0.0.1:{archive.http_port}/"
            rows = _measured(url, studies)
            if plugin:
                rows += _beside_orthanc(url, studies, plugin)
    typer.echo("\n".join(table(rows, _COLUMNS)))
    if output:
        write_rows(output, rows)


def _measured(url: str, studies: int) -> list[Row]:
    with _browser() as browser:
        _first_load(browser, url, studies)  # the first one fills caches of the archive
        return [_first_load(browser, url, studies), _scrolling(browser, url, studies), *_jumps(browser, url, studies)]


def _beside_orthanc(url: str, studies: int, plugin: Path) -> list[Row]:
    """Measure the first load of both in turn; return the medians. Orthanc has a hundredth of the studies."""
    few = max(studies // 100, 1)
    with (
        tempfile.TemporaryDirectory(prefix="dicomstore-bench-") as directory,
        running_orthanc(Path(directory, "orthanc"), plugin) as (orthanc, _),
        _browser() as browser,
    ):
        for number in range(few):
            httpx.post(
                f"{orthanc}/instances", content=instance(SMALL, number, 1, 1), trust_env=False
            ).raise_for_status()
        found: list[tuple[Row, Row]] = []
        for _ in range(_ROUNDS):
            own = _first_load(browser, url, studies)
            found.append((own, _first_load(browser, f"{orthanc}{PAGE}", few, _FILTERS, "../../system")))
    names = ("first load, median", "first load, Orthanc Explorer 2")
    return [_median(name, rows) for name, rows in zip(names, zip(*found, strict=True), strict=True)]


def _median(what: str, rows: Sequence[Row]) -> Row:
    middle = sorted(rows, key=lambda row: float(str(row["paint_ms"])))[len(rows) // 2]
    return {**middle, "what": what}


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def _first_load(browser: Browser, url: str, studies: int, shown: str = ".grid-row strong", other: str = "docs") -> Row:
    """Measure the first load. `shown` is there when studies are shown; `other` is another page, relative to `url`."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}{other}")  # the connection and the first process of the browser are not those of the explorer
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    began = time.perf_counter()
    page.goto(url)
    page.locator(shown).first.wait_for()
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
    browser.start_tracing(page=page, categories=CATEGORIES)
    page.evaluate(_SCROLL, _STEPS)
    page.locator(".grid-row strong").last.wait_for()
    durations = [task.cpu_us for task in tasks_of(browser.stop_tracing())]
    row: Row = {
        "what": "scrolling through the list",
        "studies": studies,
        "longest_ms": round(max(durations) / 1000, 1),
        "over_50": sum(duration > _LONG_US for duration in durations),
        "page_mb": _page_mb(context.new_cdp_session(page)),
    }
    context.close()
    return row


def _jumps(browser: Browser, url: str, studies: int) -> list[Row]:
    """Measure from a key or a drag of the scroll bar until the studies at that place are shown."""
    context = browser.new_context()
    page = context.new_page()
    rows: list[Row] = []
    for sort in ("", "-StudyDate", "PatientName", "-NumberOfStudyRelatedInstances"):
        page.goto(f"{url}#/studies?sort={sort}")
        page.locator(".grid-row strong").first.wait_for()
        for what, place in (("the end", 1), ("the middle", 0.5)):
            began = time.perf_counter()
            page.evaluate(_JUMP, place)
            page.wait_for_function(_IS_SHOWN, arg=round(studies * place))
            ms = round((time.perf_counter() - began) * 1000)
            rows.append({"what": f"jump to {what}{sort and f', sort={sort}'}", "studies": studies, "rows_ms": ms})
    context.close()
    return rows


def _page_mb(session: CDPSession) -> float:
    """Return the memory of the scripts of a page after garbage collection."""
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return round(used / 1e6, 1)


if __name__ == "__main__":
    app()
