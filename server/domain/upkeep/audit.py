"""Checking that index, blobs and change feed agree."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from crc32c import crc32c as crc32c_of

from server.model.change import ChangeAction, ChangeState, ChangeWindow
from server.model.errors import DataLoss, Reason
from server.model.instance import Locator, StoredInstance
from server.ports.blobs import BlobStore
from server.ports.index import ChangeLog, InstanceIndex

_PAGE = 500
_MAX_EXAMPLES = 20


@dataclass
class Report:
    """The result of an audit. Lists have at most `_MAX_EXAMPLES` examples; counts are complete.

    known_damaged: instances with recorded damage.
    """

    instances: int = 0
    blobs: int = 0
    current_changes: int = 0
    missing: int = 0
    damaged: int = 0
    unused: int = 0
    quarantined: int = 0
    quarantined_bytes: int = 0
    known_damaged: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """True if every visible instance has its bytes and exactly one current entry in the feed."""
        return not self.missing and not self.damaged and self.current_changes == self.instances


class Audit:
    """Compares index, blobs and feed in pages, while the core is in use.

    Instances stored or deleted during the audit may be counted on one side only; repeat the audit of a busy archive to
    confirm a difference.
    """

    def __init__(self, *, blobs: BlobStore, index: InstanceIndex, changes: ChangeLog) -> None:
        self._blobs = blobs
        self._index = index
        self._changes = changes

    async def run(self, *, deep: bool) -> Report:
        """Compare everything; with `deep`, read all bytes and check their checksums."""
        report = Report()
        async for stored in self._instances():
            report.instances += 1
            report.known_damaged += stored.damage.is_of_bytes
            await self._check(stored, report, deep=deep)
        await self._count_changes(report)
        await self._count_quarantined(report)
        await self._count_unused(report)
        return report

    async def _instances(self) -> AsyncIterator[StoredInstance]:
        after = 0
        while page := await self._index.locators(after, _PAGE):
            for stored in page:
                yield stored
            after = page[-1].version

    async def _check(self, stored: StoredInstance, report: Report, *, deep: bool) -> None:
        try:
            is_damaged = (
                await self._crc32c(stored.locator) != stored.crc32c
                if deep
                else await self._blobs.size(stored.locator) != stored.size_bytes
            )
        except DataLoss as loss:
            if loss.reason is not Reason.BLOB_DAMAGED:
                report.missing += 1
                _name(report, f"missing: {stored.id.instance} version {stored.version}")
                return
            is_damaged = True
        if is_damaged:
            report.damaged += 1
            _name(report, f"damaged: {stored.id.instance} version {stored.version}")

    async def _crc32c(self, locator: Locator) -> int:
        crc = 0
        async for piece in self._blobs.read_unverified(locator):
            crc = crc32c_of(piece, crc)
        return crc

    async def _count_changes(self, report: Report) -> None:
        after = 0
        while page := await self._changes.list(ChangeWindow(limit=_PAGE, after_sequence=after)):
            report.current_changes += sum(
                change.state is ChangeState.CURRENT and change.action is not ChangeAction.DELETE for change in page
            )
            after = page[-1].sequence

    async def _count_quarantined(self, report: Report) -> None:
        """Count quarantined blobs that are still unknown to the index."""
        async for locators in self._blobs.quarantined():
            known = await self._index.known(locators)
            for locator in locators:
                if locator in known:
                    continue
                try:
                    report.quarantined_bytes += await self._blobs.size(locator)
                except DataLoss as loss:
                    if loss.reason is Reason.BLOB_MISSING:
                        continue  # erased; its quarantine note is about to be removed
                report.quarantined += 1

    async def _count_unused(self, report: Report) -> None:
        """Count blobs that are neither in the index nor in quarantine; a store in progress has some for a moment."""
        batch: list[Locator] = []
        async for locator, _ in self._blobs.walk():
            report.blobs += 1
            batch.append(locator)
            if len(batch) == _PAGE:
                await self._count_unknown(batch, report)
                batch = []
        await self._count_unknown(batch, report)
        report.unused = max(0, report.unused - report.quarantined)

    async def _count_unknown(self, batch: list[Locator], report: Report) -> None:
        known = await self._index.known(batch) if batch else set()
        for locator in batch:
            if locator not in known:
                report.unused += 1
                _name(report, f"unused blob: {locator}")


def _name(report: Report, example: str) -> None:
    if len(report.examples) < _MAX_EXAMPLES:
        report.examples.append(example)
