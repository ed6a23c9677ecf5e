"""Shows how far an upload is: a bar on a terminal, a plain line now and then elsewhere."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.output import counted, in_bytes, in_time
from cli.upload.files import LocalFile, Unreadable, walk
from cli.upload.results import Result, Tally

LINE_EVERY_S = 10.0
"""Time between two plain lines."""

REDRAW_EVERY_S = 0.1


@dataclass(slots=True)
class Meter:
    """What is done and, once the folders are walked, what there is. A `Listener` of the upload."""

    tally: Tally
    done_files: int = 0
    done_bytes: int = 0
    total_files: int = 0
    total_bytes: int = 0
    is_total_known: bool = False

    def sent(self, size_bytes: int) -> None:
        """Note bytes that left or have to leave again."""
        self.done_bytes += size_bytes

    def ended(self, result: Result) -> None:
        """Note a file that is done."""
        self.done_files += 1
        self.tally.ended(result)

    def line(self, elapsed_s: float) -> str:
        """Return the state as text; the time left is guessed from the average rate."""
        rate = self.done_bytes / max(elapsed_s, 0.001)
        if not self.is_total_known:
            return f"{counted(self.done_files, 'file')}, {in_bytes(self.done_bytes)}, {in_bytes(rate)}/s"
        text = (
            f"{self.done_files:,} of {counted(self.total_files, 'file')}, "
            f"{in_bytes(self.done_bytes)} of {in_bytes(self.total_bytes)}, {in_bytes(rate)}/s"
        )
        left_bytes = self.total_bytes - self.done_bytes
        return f"{text}, about {in_time(left_bytes / rate)} left" if rate and left_bytes > 0 else text


@asynccontextmanager
async def shown(meter: Meter, paths: Iterable[Path], console: Console, *, quiet: bool) -> AsyncIterator[None]:
    """Show `meter` while the body runs, and count in the background what there is to do."""
    if quiet:
        yield
        return
    tasks = [asyncio.create_task(_measure(meter, paths))]
    tasks.append(asyncio.create_task(_bar(meter, console) if console.is_terminal else _lines(meter, console)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _measure(meter: Meter, paths: Iterable[Path]) -> None:
    """Walk everything once more beforehand: names and sizes only, so it is far ahead of the upload."""
    found = walk(paths)
    while some := await asyncio.to_thread(_sum_some, found):
        meter.total_files += some[0]
        meter.total_bytes += some[1]
    meter.is_total_known = True


def _sum_some(found: Iterator[LocalFile | Unreadable]) -> tuple[int, int] | None:
    files = size_bytes = 0
    for item in found:
        files += 1
        size_bytes += 0 if isinstance(item, Unreadable) else item.size_bytes
        if files == 1000:
            break
    return (files, size_bytes) if files else None


async def _bar(meter: Meter, console: Console) -> None:
    columns = (
        TextColumn("{task.fields[files]}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("store", total=None, files="")
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                of_total = f" of {meter.total_files:,}" if meter.is_total_known else ""
                progress.update(
                    task,
                    completed=meter.done_bytes,
                    total=meter.total_bytes if meter.is_total_known else None,
                    files=f"{meter.done_files:,}{of_total} files",
                )
                progress.refresh()
                await asyncio.sleep(REDRAW_EVERY_S)


async def _lines(meter: Meter, console: Console) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        console.print(meter.line(time.monotonic() - started), soft_wrap=True)
