"""Progress of an upload: a bar on a terminal, otherwise a line every few seconds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.output import in_bytes, in_time
from cli.upload.files import LocalFile, Unreadable, walk
from cli.upload.results import Result, Tally
from common.counting import counted

LINE_EVERY_S = 10.0
"""Interval of progress lines."""

REDRAW_EVERY_S = 0.1


@dataclass(slots=True)
class Meter:
    """Completed work and, after the folders were walked, the totals. A `Listener` of the upload."""

    tally: Tally
    done_files: int = 0
    done_bytes: int = 0
    total_files: int = 0
    total_bytes: int = 0
    is_total_known: bool = False

    def sent(self, size_bytes: int) -> None:
        """Add sent bytes; negative if they must be sent again."""
        self.done_bytes += size_bytes

    def ended(self, result: Result) -> None:
        """Count a finished file."""
        self.done_files += 1
        self.tally.ended(result)

    def line(self, elapsed_s: float) -> str:
        """Return the progress as text; the remaining time is estimated from the average rate."""
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
    """Show `meter` while the body runs, and determine the totals in the background."""
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
    """Walk all folders for the totals; it reads only names and sizes, so it is much faster than the upload."""
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
