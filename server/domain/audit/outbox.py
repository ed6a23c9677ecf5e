"""Records of stored instances and of deletions: durable in the transaction of the index that they describe.

So they are neither missing nor wrong, whatever ends the process, and need no sync of their own. The records of a
transaction are one row. Afterwards they are appended to the audit trail with other records, and the row is removed by a
later transaction. Records of a process that was killed meanwhile, or that could not be appended, are appended by
`recover`, each once: they have an id, which is searched for in the trail first.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from server.model.audit.call_audit import CallAudit, StoredItem
from server.model.errors import DicomStoreError
from server.ports.audit import AuditLog, AuditTrail
from server.ports.outbox import (
    ROWS_PER_PROCESS,
    DeletionRecordOf,
    KeyRange,
    OutboxChanges,
    OutboxRow,
    OutboxTable,
    ProcessNumber,
)

_CLEAN_SECONDS = 10.0
_RECOVER_SECONDS = 60.0
_PAGE = 500
_MAX_ITEMS = 100
_CLOCK_STEP = timedelta(minutes=5)
_MARK = b'"outbox":"'
_SEPARATOR = "\t"
_log = logging.getLogger("dicomstore.audit")


class Outbox:
    """The records of this process, for transactions that run one after the other.

    Args:
        process: registered in the trail.
    """

    def __init__(self, log: AuditLog, trail: AuditTrail, process: ProcessNumber) -> None:
        self._log = log
        self._trail = trail
        self._process = process
        first = process * ROWS_PER_PROCESS
        # After the last key the first one again: its row was removed months ago.
        self._keys = itertools.chain.from_iterable(itertools.repeat(range(first + 1, first + ROWS_PER_PROCESS)))
        self._appended: list[int] = []  # keys of rows to be removed
        self._pending: dict[int, int] = {}  # number of records that are not in the trail, by the key of their row
        self._emptied: asyncio.Future[None] | None = None
        self._orphans: set[int] = set()  # keys of rows that `recover` has to decide about
        log.on_rows = self._written

    def changes(self, stored: Iterable[tuple[CallAudit, StoredItem]]) -> OutboxChanges:
        """Return what a transaction changes that stores these instances, for `committed` or `failed`.

        Called in any thread.
        """
        of_calls: dict[CallAudit, list[StoredItem]] = {}
        for audit, item in stored:
            of_calls.setdefault(audit, []).append(item)
        key, records = next(self._keys), list[tuple[CallAudit, str]]()
        for audit, items in of_calls.items():
            for start in range(0, len(items), _MAX_ITEMS):
                id_ = f"{key}.{len(records)}" if records else str(key)
                record = audit.stored_record(items[start : start + _MAX_ITEMS], id_)
                if record is not None:
                    records.append((audit, record))
        return self._changes(key, records)

    async def delete(self, audit: CallAudit, transaction: Callable[[DeletionRecordOf], Awaitable[int]]) -> int:
        """Run a transaction that deletes instances, with the record of its call; return the number of instances.

        Must not be cancelled. Raises: as the transaction.
        """
        made: list[OutboxChanges] = []

        def record_of(count: int) -> OutboxChanges:
            key = next(self._keys)
            record = audit.deleted_record(count, str(key))
            made[:] = [self._changes(key, [] if record is None else [(audit, record)])]
            return made[0]

        try:
            count = await transaction(record_of)
        except BaseException as error:
            is_known = isinstance(error, DicomStoreError) and not error.may_have_happened
            for changes in made:
                self.failed(changes, may_have_happened=not is_known)
            raise
        if count:  # otherwise the transaction was repeated, and the instances were gone
            audit.deleted(count)
            for changes in made:
                self.committed(changes)
        return count

    def _changes(self, key: int, records: Sequence[tuple[CallAudit, str]]) -> OutboxChanges:
        """Return changes that add a row for records, and remove those of appended records."""
        added: list[OutboxRow] = []
        if records:
            text = _SEPARATOR.join([record for _, record in records])
            added.append(OutboxRow(key, time.time_ns() // 1000, text.encode(errors="replace")))
        removed = _ranges(tuple(self._appended)) if self._appended else ()
        return OutboxChanges(added, removed, records)

    def committed(self, changes: OutboxChanges) -> None:
        """Append the records of a committed transaction to the audit trail."""
        for first, last in changes.removed:
            self._appended = [key for key in self._appended if not first <= key <= last]
        for row in changes.added:
            self._pending[row.key] = len(changes.records)
            for audit, record in changes.records:
                audit.committed(record, row.key)

    def failed(self, changes: OutboxChanges, *, may_have_happened: bool) -> None:
        """Note a failed transaction."""
        if may_have_happened:
            self._orphans.update(row.key for row in changes.added)

    def _written(self, rows: Sequence[int], error: DicomStoreError | None) -> None:
        """Note the result of a record of each of these rows."""
        if error is not None:
            self._orphans.update(rows)
        pending = self._pending
        for key in rows:
            left = pending[key] - 1
            if left:
                pending[key] = left
            else:
                del pending[key]
                if key not in self._orphans:
                    self._appended.append(key)
        if not pending and self._emptied is not None:
            self._emptied.set_result(None)
            self._emptied = None

    async def run(self, table: OutboxTable) -> None:
        """Remove rows that no transaction has removed, and recover those of ended processes, until cancelled."""
        recovered = time.monotonic()
        while True:
            await asyncio.sleep(_CLEAN_SECONDS)
            try:
                await self.clean(table)
                if self._orphans or time.monotonic() - recovered > _RECOVER_SECONDS:
                    recovered = time.monotonic()
                    await self.recover(table)
            except DicomStoreError as error:
                _log.warning("the outbox of the audit trail could not be emptied reason=%s", error.reason)

    async def clean(self, table: OutboxTable) -> None:
        """Remove the rows of appended records. Raises: as `OutboxTable.remove`."""
        keys, self._appended = self._appended, []
        try:
            await table.remove(_ranges(keys))
        except BaseException:
            self._appended += keys
            raise

    async def close(self, table: OutboxTable) -> None:
        """Wait until all records are in the audit trail, and remove their rows. Raises: as `OutboxTable.remove`."""
        if self._pending:
            self._emptied = asyncio.get_running_loop().create_future()
            self._log.expedite()
            await self._emptied
        await self.clean(table)

    async def recover(self, table: OutboxTable) -> int:
        """Append the records that no running process will append; return their number. One process at a time does it.

        Raises: as `OutboxTable`, `AuditTrail.records` and `AuditLog.append_durably`; what is left can be repeated.
        """
        count, orphans = 0, self._orphans - self._pending.keys()
        async with self._trail.exclusive("outbox") as is_first:
            after = 0
            while is_first and (page := await table.page(after, _PAGE)):
                after = page[-1].key
                ended = await asyncio.to_thread(self._ended, {row.process for row in page})
                mine = [row for row in page if row.key in orphans]
                rows = mine + [row for row in page if row.process in ended]
                if rows:
                    count += await self._append(rows)
                    await table.remove(_ranges([row.key for row in rows]))
            if is_first:
                self._orphans -= orphans  # those without a row, too: their transaction was not committed
        return count

    async def _append(self, rows: Sequence[OutboxRow]) -> int:
        found = [record for row in rows for record in _records(row)]
        known = await asyncio.to_thread(
            self._known, {record["outbox"] for record in found}, min(row.time for row in rows)
        )
        missing = [record for record in found if record["outbox"] not in known]
        await asyncio.gather(*[self._log.append_durably(orjson.dumps(record)) for record in missing])
        return len(missing)

    def _ended(self, processes: Collection[ProcessNumber]) -> set[ProcessNumber]:
        return {process for process in processes if process != self._process and self._trail.has_ended(process)}

    def _known(self, ids: Collection[str], since: int) -> set[str]:
        start = _written(datetime.fromtimestamp(since / 1e6, UTC) - _CLOCK_STEP)
        found = (orjson.loads(one.data).get("outbox") for one in self._trail.records(start) if _MARK in one.data)
        return {id_ for id_ in found if id_ in ids}


def _ranges(keys: Collection[int]) -> Sequence[KeyRange]:
    found: list[KeyRange] = []
    for key in sorted(keys):
        if found and key == found[-1].last + 1:
            found[-1] = found[-1]._replace(last=key)
        else:
            found.append(KeyRange(key, key))
    return found


def _records(row: OutboxRow) -> list[dict[str, Any]]:
    """Return the records with the time at which they were written to the index, because `time` will be a later one."""
    written = _written(datetime.fromtimestamp(row.time / 1e6, UTC))
    return [{**orjson.loads(record), "written": written} for record in row.records.split(_SEPARATOR.encode())]


def _written(time_: datetime) -> str:
    return time_.isoformat(timespec="microseconds").replace("+00:00", "Z")
