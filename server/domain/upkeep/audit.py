"""Checking that index, blobs and change feed agree."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from crc32c import crc32c as crc32c_of

from server.model.change import ChangeAction, ChangeState, ChangeWindow
from server.model.errors import DataLoss, Reason
from server.model.instance import Locator, StoredInstance
from server.model.lifecycle.kept import KeptVersion, VersionState
from server.ports.blobs import BlobStore
from server.ports.index import ChangeLog, InstanceIndex

_PAGE = 500
_MAX_EXAMPLES = 20


@dataclass
class Report:
    """The result of an audit. Lists have at most `_MAX_EXAMPLES` examples; counts are complete.

    known_damaged: instances with recorded damage.
    earlier, deleted: versions whose bytes are kept, but not visible: earlier versions of instances, and all versions of
        deleted instances. Of these, `kept_missing` have no bytes and `kept_damaged` other ones.
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
    earlier: int = 0
    deleted: int = 0
    kept_missing: int = 0
    kept_damaged: int = 0
    examples: list[str] = field(default_factory=list)
    kept_examples: list[str] = field(default_factory=list)

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
        async for version in self._versions():
            await self._check(version, report, deep=deep)
        await self._count_changes(report)
        await self._count_quarantined(report)
        await self._count_unused(report)
        return report

    async def _versions(self) -> AsyncIterator[KeptVersion]:
        after = 0
        while page := await self._index.kept_versions(after, _PAGE):
            for version in page:
                yield version
            after = page[-1].stored.version

    async def _check(self, version: KeptVersion, report: Report, *, deep: bool) -> None:
        problem = await self._problem(version.stored, deep=deep)
        may_have_changed = problem and version.state is not VersionState.CURRENT
        if may_have_changed and await self._index.kept_versions(version.stored.version - 1, 1) != [version]:
            return  # erased or restored in between
        is_missing, is_damaged = problem == "missing", problem == "damaged"
        if version.state is VersionState.CURRENT:
            report.instances += 1
            report.known_damaged += version.stored.damage.is_of_bytes
            report.missing += is_missing
            report.damaged += is_damaged
        else:
            report.earlier += version.state is VersionState.EARLIER
            report.deleted += version.state is VersionState.DELETED
            report.kept_missing += is_missing
            report.kept_damaged += is_damaged
        if problem:
            kind = "" if version.state is VersionState.CURRENT else f", {version.state}"
            example = f"{problem}: {version.stored.id.instance} version {version.stored.version}{kind}"
            _name(report.examples if version.state is VersionState.CURRENT else report.kept_examples, example)

    async def _problem(self, stored: StoredInstance, *, deep: bool) -> str:
        """Return whether the bytes are missing or damaged; empty if neither."""
        try:
            if deep:
                is_damaged = await self._crc32c(stored.locator) != stored.crc32c
            else:
                is_damaged = await self._blobs.size(stored.locator) != stored.size_bytes
        except DataLoss as loss:
            return "damaged" if loss.reason is Reason.BLOB_DAMAGED else "missing"
        return "damaged" if is_damaged else ""

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
                _name(report.examples, f"unused blob: {locator}")


def _name(examples: list[str], example: str) -> None:
    if len(examples) < _MAX_EXAMPLES:
        examples.append(example)
