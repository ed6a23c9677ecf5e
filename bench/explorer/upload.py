"""`python -m bench.explorer.upload`: a folder with many files is uploaded in Chromium, with the explorer.

Beside it, with `--orthanc`, a page sends the same files to Orthanc as Orthanc Explorer 2 does: one after the other,
each read whole and sent in a request of its own (`POST /instances`). With `--plugin`, Explorer 2 itself gets the files.
Browser and server share the machine.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from playwright.sync_api import Page, sync_playwright

from bench.archive import cpu_seconds, running_archive
from bench.data import SMALL, instance
from bench.explorer.orthanc import PAGE, running_orthanc
from bench.explorer.tasks import CATEGORIES, tasks_of

FILES_OF_A_STUDY = 500
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""

_ONE_BY_ONE = """async () => {
  const read = (file) => new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsArrayBuffer(file);
  });
  let stored = 0;
  for (const file of document.querySelector("input").files) {
    const response = await fetch("/instances", { method: "POST", body: await read(file) });
    stored += response.ok;
  }
  return stored;
}"""


def measure(
    files: Annotated[int, typer.Option(help="Number of files.")] = 10_000,
    orthanc: Annotated[bool, typer.Option(help="Orthanc, too.")] = False,
    plugin: Annotated[Path | None, typer.Option(help="Orthanc Explorer 2, see `bench.explorer.orthanc`.")] = None,
) -> None:
    """Upload the files; print seconds, files per second, the heap of the page, CPU time of the server, and the longest
    tasks of the page."""
    with tempfile.TemporaryDirectory(prefix="dicomstore-bench-") as directory:
        folder = Path(directory, "files")
        for number in range(files):
            study, within = divmod(number, FILES_OF_A_STUDY)
            path = folder / str(study) / f"{within}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(instance(SMALL, study, 1, within + 1))
        with running_archive(workers=1) as archive, _page(f"http://127.0.0.1:{archive.http_port}/#/upload") as page:
            page.locator("h1").wait_for()
            before = archive.cpu_seconds()
            page.context.browser.start_tracing(page=page, categories=CATEGORIES)  # type: ignore[union-attr]
            heap, seconds = _watched(page, lambda: _with_explorer(page, folder))
            used = archive.cpu_seconds() - before
            stored = page.locator(".badges").inner_text()
            _report("explorer", stored, files, seconds, heap, used)
            _report_tasks(page.context.browser.stop_tracing())  # type: ignore[union-attr]
        if orthanc:
            with running_orthanc(Path(directory, "orthanc")) as (url, pid), _page(f"{url}/system") as page:
                before = cpu_seconds(pid)
                heap, seconds = _watched(page, lambda: _one_by_one(page, folder))
                _report("Orthanc", f"{page.evaluate('stored')} stored", files, seconds, heap, cpu_seconds(pid) - before)
        if plugin:
            with running_orthanc(Path(directory, "explorer-2"), plugin) as (url, pid), _page(f"{url}{PAGE}") as page:
                before = cpu_seconds(pid)
                heap, seconds = _watched(page, lambda: _with_explorer_2(page, folder, f"{url}/statistics", files))
                stored = str(page.evaluate("stored"))
                _report("Orthanc Explorer 2", stored, files, seconds, heap, cpu_seconds(pid) - before)


def _with_explorer(page: Page, folder: Path) -> None:
    page.locator("input[data-chosen=folder]").set_input_files(folder)


def _one_by_one(page: Page, folder: Path) -> None:
    page.evaluate(
        "document.body.replaceChildren(document.createElement('input'));"
        "Object.assign(document.querySelector('input'), { type: 'file', webkitdirectory: true })"
    )
    page.locator("input").set_input_files(folder)
    page.evaluate(f"({_ONE_BY_ONE})().then((found) => {{ window.stored = found; }}); 0")


def _with_explorer_2(page: Page, folder: Path, statistics: str, files: int) -> None:
    """Choose the folder, and set `stored` when Orthanc has all files."""
    page.locator("#foldersUpload").set_input_files(folder)
    page.evaluate(
        """([url, files]) => {
            const look = async () => {
                const found = (await (await fetch(url)).json()).CountInstances;
                if (found >= files) window.stored = `${found} stored`;
                else setTimeout(look, 200);
            };
            look();
        }""",
        [statistics, files],
    )


def _watched(page: Page, start: Any) -> tuple[float, float]:
    """Return the largest heap (MB) and the seconds from the choice of the folder to the end."""
    devtools = page.context.new_cdp_session(page)
    began, heap = time.perf_counter(), 0.0
    start()
    is_done = (
        "() => window.stored !== undefined || "
        "[...document.querySelectorAll('h2')].some((each) => each.innerText === 'Finished')"
    )
    while not page.evaluate(is_done):
        heap = max(heap, devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6)
        page.wait_for_timeout(200)
    return heap, time.perf_counter() - began


def _report(name: str, stored: str, files: int, seconds: float, heap: float, cpu: float) -> None:
    typer.echo(
        f"{name}: {stored.strip()}, {seconds:.1f} s, {files / seconds:.0f} files/s, heap of the page {heap:.1f} MB, "
        f"server {1000 * cpu / files:.2f} ms CPU per file"
    )


def _report_tasks(trace: bytes) -> None:
    """Print the longest tasks: that of the choice, in which the browser makes its list of the files, and the others."""
    tasks = tasks_of(trace)
    choice = max(task.cpu_us for task in tasks if "chosen" in task.marks) / 1000
    others = sorted((task.cpu_us / 1000 for task in tasks if "chosen" not in task.marks), reverse=True)
    longest = ", ".join(f"{ms:.1f}" for ms in others[:3])
    typer.echo(f"CPU ms of tasks: choice of the folder {choice:.1f}; longest others {longest}")


@contextmanager
def _page(url: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.add_init_script("delete window.showDirectoryPicker")
        page.add_init_script("addEventListener('change', () => performance.mark('chosen'), true)")
        page.goto(url)
        yield page
        browser.close()


if __name__ == "__main__":
    typer.run(measure)
