"""Records of quarantined blobs, which the index does not know.

    <directory>/<microseconds since 1970 UTC>-<digest>    locators, one per line, and their digest

A record is written once. An incomplete one after a crash does not match the digest in its name and is ignored: its
blobs are still unsettled. All functions block; call them on a thread.
"""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from server.adapters.blobs.disk.threads import sync_directory, write_all
from server.model.instance import Locator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Quarantine:
    """The quarantine of one blob store, which several processes may use concurrently."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def enter(self) -> None:
        """Create the directory."""
        self._directory.mkdir(parents=True, exist_ok=True)

    def add(self, locators: Sequence[Locator], now: datetime) -> None:
        """Record a batch durably; a batch that is already recorded keeps its time."""
        text = _text(locators)
        if self._notes_of(text):
            return
        fd = os.open(
            self._directory / f"{(now - _EPOCH) // _MICROSECOND}-{_digest(text)}",
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
            0o640,
        )
        try:
            write_all(fd, [text], 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_directory(self._directory)

    def remove(self, locators: Sequence[Locator]) -> None:
        """Remove the record of a batch."""
        for path in self._notes_of(_text(locators)):
            path.unlink(missing_ok=True)

    def names(self, until: datetime | None) -> list[str]:
        """Return the records of `until` and before, or all of them, oldest first."""
        found = []
        for path in self._directory.glob("*-*"):
            microseconds = path.name.partition("-")[0]
            if microseconds.isdecimal() and (until is None or _EPOCH + int(microseconds) * _MICROSECOND <= until):
                found.append((int(microseconds), path.name))
        return [name for _, name in sorted(found)]

    def read(self, name: str) -> list[Locator]:
        """Return the batch of a record; empty if the record was removed or is incomplete."""
        try:
            text = (self._directory / name).read_bytes()
        except FileNotFoundError:
            return []
        return text.decode("ascii").split() if _digest(text) == name.partition("-")[2] else []

    def _notes_of(self, text: bytes) -> list[Path]:
        wanted = text.decode("ascii").split()
        return [path for path in self._directory.glob(f"*-{_digest(text)}") if self.read(path.name) == wanted]


def _text(locators: Sequence[Locator]) -> bytes:
    return "".join(f"{locator}\n" for locator in sorted(locators)).encode("ascii")


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:32]
