"""Recording of calls and of other work in the audit trail.

A call that changes something has a record *executing* before its effect, and a record *executed* before it is
acknowledged; both are durable then. A call that reads has a record *executed*, which is durable shortly after; if it
takes long, it also has a record *executing*. An upload is recorded like a call that reads, and has records *outcome*:
those of stored instances are durable together with them, in the outbox (see `outbox`).
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from server.domain.audit.outbox import Outbox
from server.domain.audit.subtypes import subtype_of
from server.model.access import Action
from server.model.audit.call_audit import ACCEPTED, IDENTICAL, REPLACED, STORED, CallAudit, StoredItem, bounded
from server.model.audit.trail import MAX_RECORD_BYTES
from server.model.call import Call
from server.model.errors import DicomStoreError
from server.model.ids import ALL_PARTITIONS, Address
from server.ports.audit import AuditLog

_LONG_SECONDS = 1.0
_MAX_UID = 64
_MAX_NAME = 256
_MAX_FACTS = 8 << 10  # bytes of JSON

PRINCIPAL = "dicomstore"
"""Prefix of the principals of work that no client has requested, as in "dicomstore:garbage-collection". Commands of the
operator have another one, as in "operator:root"."""


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Source(NamedTuple):
    """Where a call comes from.

    peer: the address that is connected to the core, or "inproc".
    client, http_method, uri, headers: of the HTTP request, as a trusted facade states them.
    """

    peer: str
    client: str = ""
    http_method: str = ""
    uri: str = ""
    headers: Mapping[str, str] = _NO_HEADERS


class AuditRecorder:
    """Records calls and other work of this process.

    Args:
        refuses_reads: reads are refused while the trail cannot be written.
        claims: names of the claims of principals to record.
        outbox: of the transactions that store instances; without one, uploads are recorded like other changes.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        refuses_reads: bool = False,
        claims: Collection[str] = (),
        outbox: Outbox | None = None,
    ) -> None:
        self.outbox = outbox
        self._log = log
        self.refuses_reads = refuses_reads
        self._claims = sorted(claims)
        self._numbers = itertools.count(1)
        self._running: set[RecordedCall] = set()

    def call(self, rpc: str, action: str, source: Source) -> "RecordedCall":
        """Return the record of a call that begins.

        Args:
            rpc: as in "SearchService/Search".
            action: that the contract declares for it.
        """
        record = RecordedCall(self, self._log, next(self._numbers), rpc, action, source)
        self._running.add(record)
        return record

    async def require_writable(self) -> None:
        """Check that records can be written. Raises: as `AuditLog.append_durably`."""
        if self._log.failure is not None:
            await self._log.append_durably(self._event("event", "audit", "resume", {}))

    async def run(self) -> None:
        """Record calls that take long, until cancelled."""
        while True:
            await asyncio.sleep(_LONG_SECONDS)
            limit = time.monotonic() - _LONG_SECONDS
            for record in [record for record in self._running if record.began < limit]:
                record.note_long()

    def event(self, principal: str, subtype: str, **facts: Any) -> None:
        """Record work that no client has requested; durable shortly after."""
        self._log.append(self._event("event", principal, subtype, facts))

    @asynccontextmanager
    async def work(self, principal: str, subtype: str, **facts: Any) -> AsyncIterator[None]:
        """Record work that changes something, durably: before it begins, and its result.

        Raises: as `AuditLog.append_durably`.
        """
        await self.begin_work(principal, subtype, **facts)
        outcome = {"code": "OK"}
        try:
            yield
        except DicomStoreError as error:
            outcome = {"code": "FAILED", "reason": error.reason.value}
            raise
        except BaseException:
            outcome = {"code": "FAILED"}
            raise
        finally:
            self.end_work(principal, subtype, **facts, **outcome)

    async def begin_work(self, principal: str, subtype: str, **facts: Any) -> None:
        """Record durably that work begins. Raises: as `AuditLog.append_durably`."""
        await self._log.append_durably(self._event("executing", principal, subtype, facts), may_use_reserve=True)

    def end_work(self, principal: str, subtype: str, **facts: Any) -> None:
        """Record the end of work, with its result as `code`; durable shortly after."""
        self._log.append(self._event("executed", principal, subtype, facts), may_use_reserve=True)

    def _event(self, kind: str, principal: str, subtype: str, facts: Mapping[str, Any]) -> bytes:
        name = principal if ":" in principal else f"{PRINCIPAL}:{principal}"
        values = {"kind": kind, "principal": name, "action": "administer", "subtype": subtype}
        return _encoded(values | dict(facts))

    def claims_of(self, call: Call) -> dict[str, str]:
        """Return the claims of the principal that are recorded."""
        claims = call.principal.claims
        return {name: claims[name][:_MAX_NAME] for name in self._claims if name in claims}

    def ended(self, record: "RecordedCall") -> None:
        """Forget a running call."""
        self._running.discard(record)


@asynccontextmanager
async def unrecorded(principal: str, subtype: str, **facts: Any) -> AsyncIterator[None]:
    """Replace `AuditRecorder.work` while the audit trail is disabled."""
    yield


RecordWork = Callable[..., AbstractAsyncContextManager[None]]
"""`AuditRecorder.work` or `unrecorded`."""


_NOT_RECORDED = CallAudit()


class RecordedCall(CallAudit):
    """The record of one call; see `CallAudit` for what operations add."""

    _begun: Awaitable[None] | None = None
    _has_outcomes = False
    _is_noted = False
    _failed = 0
    _call: Call | None = None
    _upload: Call | None = None  # whose outcomes are in the outbox

    def __init__(
        self, recorder: AuditRecorder, log: AuditLog, number: int, rpc: str, action: str, source: Source
    ) -> None:
        self._recorder = recorder
        self._log = log
        self._number = number
        self._rpc = rpc
        self._action = action
        self._source = source
        self.began = time.monotonic()

    def begin(self, call: Call, action: Action, *, only_stores: bool = False) -> None:
        """See the base class. The records of a delete may use the reserve of the disk, because it frees space."""
        self._action = action.value
        if only_stores and self._recorder.outbox is not None:
            # Without this record, because reference cycles are freed late.
            self._upload = Call(call.request_id, call.principal, call.deadline, _NOT_RECORDED)
            return
        record = _encoded(self._values("executing", call))
        # An upload has to send its data first. Until then, the record may be written with those of other calls.
        soon = action is Action.WRITE
        self._begun = self._log.append_durably(record, may_use_reserve=action is Action.DELETE, soon=soon)

    def expedite(self) -> None:
        """See the base class."""
        if self._begun is not None and not asyncio.ensure_future(self._begun).done():
            self._log.expedite()

    async def begun(self) -> None:
        """See the base class. While the trail cannot be written, an upload has to be recorded before its effect."""
        if self._upload is not None:
            if self._log.is_backlogged:
                await self._log.room()
            if self._begun is not None or self._is_noted:
                await self._recorder.require_writable()
            elif self._log.failure is not None:
                self._begun = self._log.append_durably(_encoded(self._values("executing", self._upload)))
        if self._begun is not None:
            future = asyncio.ensure_future(self._begun)
            if future.done():
                future.result()
            else:
                self._log.expedite()
                await asyncio.shield(future)  # the instances of an upload wait for the same one

    def stored_record(self, items: Sequence[StoredItem], outbox_id: str) -> bytes | None:
        """See the base class."""
        if self._upload is None:
            return None
        return _encoded({**self._outcome(self._upload, items), "outbox": outbox_id})

    async def stored(self, call: Call, items: Sequence[StoredItem]) -> None:
        """See the base class."""
        self._has_outcomes = True
        count = sum(item.outcome in ACCEPTED for item in items)
        self.items += count
        self._failed += len(items) - count
        if self._upload is not None:
            items = [item for item in items if item.outcome not in (STORED, REPLACED)]  # these are in the outbox
            if not items:
                return
            count = sum(item.outcome == IDENTICAL for item in items)
        record = _encoded(self._outcome(call, items))
        if count:
            await self._log.append_durably(record)
        else:  # nothing was changed
            self._log.append(record)

    def _outcome(self, call: Call, items: Sequence[StoredItem]) -> dict[str, Any]:
        values = self._values("outcome", call)
        values["instances"] = [[*(uid[:_MAX_UID] for uid in item[:4]), item.outcome, item.size_bytes] for item in items]
        return values

    def accesses(self, call: Call, address: Address) -> None:
        """See the base class."""
        self.address = address
        self._call = call

    def note_long(self) -> None:
        """Record that a call runs, if there is no record yet."""
        if self._begun is None and self._call is not None:
            self._log.append(_encoded(self._values("executing", self._call)))
            self._call = None
            self._is_noted = True

    async def complete(self, call: Call, code: str, reason: str, *, is_cancelled: bool = False) -> None:
        """Record the end of the call; that of a change is durable when this returns.

        Args:
            code: of gRPC, "OK" for success.
            reason: of the error, or "".

        Raises: as `begun`.
        """
        self._recorder.ended(self)
        self._call = None
        values = self._values("executed", call)
        values["code"] = code
        if reason:
            values["reason"] = reason
        values["items"] = self.items
        if self._begun is not None or self._is_noted:
            values["begun"] = True
        if self._has_outcomes:
            values["outcomes"] = True
            values["failed"] = self._failed
        if self.size_bytes:
            values["bytes"] = self.size_bytes
        values["ms"] = round((time.monotonic() - self.began) * 1000, 1)
        record = _encoded(values)
        if self._begun is not None and not self._has_outcomes and not is_cancelled:
            await self._log.append_durably(record, may_use_reserve=self._action == Action.DELETE.value)
        elif self._log.append(record) and not is_cancelled:
            await self._log.room()

    def _values(self, kind: str, call: Call) -> dict[str, Any]:
        principal, source, address = call.principal, self._source, self.address
        values: dict[str, Any] = {
            "kind": kind,
            "call": self._number,
            "request": call.request_id,
            "principal": principal.id[:_MAX_NAME],
            "action": self._action,
            "subtype": subtype_of(self._rpc, str(self.facts.get("operation_type", "")) if self.facts else ""),
            "rpc": self._rpc,
            "peer": source.peer,
        }
        if principal.display_name:
            values["name"] = principal.display_name[:_MAX_NAME]
        if principal.roles:
            values["roles"] = sorted(principal.roles)[:50]
        if principal.claims and (claims := self._recorder.claims_of(call)):
            values["claims"] = claims
        if source.client:
            values["client"] = source.client
            values["method"] = source.http_method
            values["uri"] = source.uri
            if source.headers:
                values["headers"] = dict(source.headers)
        if address is not None:
            if address.partition and address.partition != ALL_PARTITIONS:
                values["partition"] = address.partition
            if address.study is not None:
                values["study"] = address.study
                if address.series is not None:
                    values["series"] = address.series
                    if address.instance is not None:
                        values["instance"] = address.instance
        if self.facts is not None:
            is_small = len(_json(self.facts)) <= _MAX_FACTS  # takes a tenth of the time of `bounded`
            values.update(self.facts if is_small else bounded(self.facts))
        return values


def _encoded(values: dict[str, Any]) -> bytes:
    record = _json(values)
    if len(record) <= MAX_RECORD_BYTES:
        return record
    kept = {name: value for name, value in values.items() if not isinstance(value, (dict, list))}
    return _json({**kept, "truncated": True})


def _json(values: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(values, default=str)
    except TypeError:  # half of a surrogate pair, as a claim in a token can have
        return json.dumps(values, default=str, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
