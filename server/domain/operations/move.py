"""Operation type `move`: moves the blobs of instances from the further stores to the primary one, while the archive
serves. Items are versions of instances.

All blobs that an instance has in a store are copied, the copies are verified, and one transaction refers the instance
to them. So a kill at any time leaves each instance complete in one of the stores, and copies that the index does not
know, which are quarantined like those of other interrupted work. What is moved is not found again, so that an
interrupted operation continues by looking for what is left.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from server.domain.limits import MIN_GRACE_PERIOD
from server.domain.operations import lifecycle
from server.domain.operations.blob_copier import BlobCopier, Copies
from server.domain.operations.pace import Pace
from server.domain.operations.types import OperationType, Progress, Step
from server.model.archive import BlobsIdentity
from server.model.errors import DataLoss, DicomStoreError, InvalidRequest, Reason, WrongState
from server.model.instance import Locator
from server.model.lifecycle.blob_move import BlobsOfInstance, StoredBlob
from server.model.operation import Json, Operation, OperationError
from server.ports.blobs import BlobStore
from server.ports.lifecycle.blob_moves import BlobMoves
from server.ports.operations import Operations as Record

NAME = "move"
_PAGE = 200
_PAGE_BYTES = 64 << 20
"""Limit of what is copied before a transaction; a single larger instance is copied alone."""

_HEARTBEAT_SECONDS = 15
"""Interval at which a long copy is recorded as progress, so that no other worker takes over the operation."""

_MAX_PASSES = 30
_BETWEEN_PASSES = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Position: the locator after which the next page begins, in which of the stores, and in which pass.

    has_more: some instances could not be moved in this pass, because they were changing, or their blobs are missing or
        damaged, which may be an erasure in progress. After the second pass it is damage.
    """

    store: int = 0
    after: Locator = ""
    passes: int = 1
    has_more: bool = False

    def encoded(self) -> str:
        return json.dumps([self.store, self.after, self.passes, self.has_more])

    @classmethod
    def of(cls, text: str) -> "_Cursor":
        return cls(*json.loads(text)) if text else cls()


class Move:
    """Performs the steps.

    Args:
        stores: returns the stores of the archive; blocks.
        gather_records: copies the records of the further stores to the primary one; blocks.
        url: of the primary store, as in the settings.
        retention: time for which old copies are kept.
    """

    def __init__(
        self,
        *,
        moves: BlobMoves,
        blobs: BlobStore,
        new_blobs: Copies,
        record: Record,
        stores: Callable[[], BlobsIdentity],
        gather_records: Callable[[], None],
        url: str,
        now: Callable[[], datetime],
        retention: timedelta,
    ) -> None:
        self._moves = moves
        self._blobs = blobs
        self._new_blobs = new_blobs
        self._record = record
        self._stores = stores
        self._gather_records = gather_records
        self._url = url
        self._now = now
        self._grace = max(retention, MIN_GRACE_PERIOD)
        self._copier = BlobCopier(blobs, new_blobs)
        self.type = OperationType(
            name=NAME,
            request_message="MoveRequest",
            result_message="MoveResult",
            steps=(Step("move", self._step), Step("conclude", self._conclude)),
            check=self._checked,
            is_exclusive=True,
            is_internal=True,
        )

    def _checked(self, request: Json) -> Json:
        to = str(request.get("to", ""))
        if int(request.get("max_bytes_per_second", 0)) < 0:
            raise _invalid("max_bytes_per_second", "max_bytes_per_second must not be negative.")
        if not to or _normal(to) != _normal(self._url):
            raise _invalid(
                "to",
                f"{to or 'The empty URL'} is not the primary store of this archive. Set DICOMSTORE_BLOBS to it, and "
                f"DICOMSTORE_BLOBS_ALSO to {self._url}, for all processes, start them again, and repeat the command "
                "(docs/operations.md, Several stores).",
            )
        return request

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _step(self, operation: Operation) -> Progress:
        """Move the instances of one page."""
        await self._new_blobs.resolve_in_doubt()
        cursor = _Cursor.of(operation.cursor)
        stores = await asyncio.to_thread(self._stores)
        if stores.writes_elsewhere:
            places = ", ".join(stores.further.values())
            message = f"A process still has {places} as DICOMSTORE_BLOBS: start it again with the present settings."
            raise WrongState(Reason.OPERATION_RUNNING, message)
        sources = sorted(stores.further)
        total = None
        if not operation.cursor:
            total = operation.done + sum([await self._moves.count(store) for store in sources])
        if cursor.store >= len(sources):
            return self._next_pass(cursor, total)
        page = await self._moves.page(sources[cursor.store], cursor.after, _PAGE)
        async with _Heartbeat(self._alive(operation)):
            pace = Pace(int(operation.request.get("max_bytes_per_second", 0)))
            moved, errors, has_more, last = await self._move(page.instances, cursor, pace)
            await pace.rest()
        after = last or page.last
        following = replace(cursor, after=after or "", has_more=cursor.has_more or has_more)
        if after is None:
            following = replace(following, store=cursor.store + 1)
        result = _counted(operation.result, versions_moved=len(moved), bytes_moved=sum(moved.values()))
        if moved:
            result["old_copies_until"] = (self._now() + self._grace).isoformat()
        return Progress(
            following.encoded(), len(moved) + len(errors), len(errors), total=total, errors=errors, result=result
        )

    def _next_pass(self, cursor: _Cursor, total: int | None) -> Progress:
        """Begin another pass, if something is left that may be moved later; other operations take a turn before."""
        if not cursor.has_more or cursor.passes >= _MAX_PASSES:
            return Progress(total=total, is_last=True)
        following = _Cursor(passes=cursor.passes + 1).encoded()
        return Progress(following, total=total, resumes=self._now() + _BETWEEN_PASSES)

    async def _move(
        self, page: Sequence[BlobsOfInstance], cursor: _Cursor, pace: Pace
    ) -> tuple[Mapping[Locator, int], Sequence[OperationError], bool, Locator | None]:
        """Copy and move instances up to a limit of their size.

        Returns the old locators and sizes of what was moved, errors, whether something else is left, and the locator
        after which the next page begins if this one was not finished.
        """
        chosen: list[Sequence[StoredBlob]] = []
        left, last = _PAGE_BYTES, None
        for one in page:
            if chosen and left <= 0:
                break
            chosen.append(one.blobs)
            last = one.first
            left -= sum(blob.size_bytes for blob in one.blobs)
        done = await self._copier.copy(chosen, pace)
        copies = [one for one in done if not isinstance(one, DataLoss)]
        try:
            moved = await self._moves.move(copies, self._now() + self._grace) if copies else set[Locator]()
        except BaseException as error:
            is_refused = isinstance(error, DicomStoreError) and not error.may_have_happened
            for copy in (new for one in copies for new in one.values()):
                (self._new_blobs.abandon if is_refused else self._new_blobs.mark_in_doubt)(copy)
            raise
        await self._blobs.settle([new for one in copies for old, new in one.items() if old in moved])
        await self._new_blobs.discard([new for one in copies for old, new in one.items() if old not in moved])
        errors: list[OperationError] = []
        for blobs, outcome in zip(chosen, done, strict=True):
            if isinstance(outcome, DataLoss) and cursor.passes == 2:
                errors += await self._errors(blobs, outcome)
        sizes = {blob.locator: blob.size_bytes for blobs in chosen for blob in blobs if blob.locator in moved}
        has_losses = len(copies) < len(chosen)
        has_more = sum(map(len, copies)) > len(moved) or (has_losses and cursor.passes == 1)
        return sizes, errors, has_more, last if len(chosen) < len(page) else None

    async def _errors(self, blobs: Sequence[StoredBlob], loss: DataLoss) -> list[OperationError]:
        """Return the errors of an instance that cannot be moved; none if it was erased meanwhile."""
        addresses = [await self._moves.address(blob.locator) for blob in blobs]
        now = self._now()
        return [OperationError(now, loss.reason, loss.message, address) for address in addresses if address]

    def _alive(self, operation: Operation) -> Callable[[], Awaitable[None]]:
        """Return a function that records that the operation is making progress."""

        async def record() -> None:
            progress = Progress(operation.cursor)
            now = self._now()
            await self._record.update(
                operation.id, lambda current: lifecycle.advanced(self.type, operation, progress, current, now)
            )

        return record

    async def _conclude(self, operation: Operation) -> Progress:
        """Copy the records beside the blobs, and end the operation: it has failed if something is left."""
        stores = await asyncio.to_thread(self._stores)
        left = sum([await self._moves.count(store) for store in stores.further])
        await asyncio.to_thread(self._gather_records)
        result = {**operation.result, "versions_left": left}
        if left and operation.result.get("versions_left") == left:
            raise WrongState(
                Reason.OPERATION_RUNNING,
                f"{left} versions are left in {', '.join(stores.further.values())}: the errors of the operation name "
                "those that are damaged; repeat the command for others.",
            )
        return Progress("left", result=result, is_last=not left)


class _Heartbeat:
    """Calls a function at intervals until the context is left."""

    def __init__(self, beat: Callable[[], Awaitable[None]]) -> None:
        self._beat = beat

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            await self._beat()


def _counted(result: Json, **counts: int) -> dict[str, Any]:
    return {**result, **{name: int(result.get(name, 0)) + count for name, count in counts.items()}}


def _normal(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    host = "" if parts.scheme == "file" else parts.netloc
    return parts.scheme, host, unquote(parts.path).rstrip("/")


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
