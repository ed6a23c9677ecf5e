"""Recording of calls and of other work in the audit trail.

A call that changes something has a record *executing* before its effect, and a record *executed* before it is
acknowledged; both are durable then. A call that reads has a record *executed*, which is durable shortly after; if it
takes long, it also has a record *executing*. An upload is recorded like a call that reads, and has records *outcome*:
those of stored instances are durable together with them, in the outbox (see `outbox`). If there is only one of these,
and the call ends before the trail has it, it becomes the record *executed*.
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
from server.model.call import Call, Principal
from server.model.errors import DicomStoreError
from server.model.ids import ALL_PARTITIONS, Address
from server.ports.audit import AuditLog

_LONG_SECONDS = 1.0
_MAX_UID = 64
_MAX_NAME = 256
_MAX_FACTS = 8 << 10  # bytes of JSON
_MAX_CONSTANT = 1000
_MAX_CHARACTERS = MAX_RECORD_BYTES // 4 - 100  # of a record that certainly is not too large

PRINCIPAL = "dicomstore"
"""Prefix of the principals of work that no client has requested, as in "dicomstore:garbage-collection". Commands of the
operator have another one, as in "operator:root"."""


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Source(NamedTuple):
    """Where a call comes from.

    peer: the address that is connected to the core, "inproc" or "local".
    client, http_method, uri, headers: of the HTTP request, as a trusted facade states them.
    """

    peer: str
    client: str = ""
    http_method: str = ""
    uri: str = ""
    headers: Mapping[str, str] = NO_HEADERS


SourceFacts = tuple[str, str, str, str, Mapping[str, str]]
"""A `Source`, or another tuple with the same members."""


_Constant = tuple[str, str, str, str, str, str, str, int]
"""rpc, type of the operation that it starts, action, partition, peer, client, HTTP method, and id of the principal."""


class AuditRecorder:
    """Records calls and other work of this process.

    Args:
        refuses_reads: reads are refused while the trail cannot be written.
        claims: names of the claims of principals to record.
        outbox: of the transactions that store or delete instances; without one, these are recorded like other changes.
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
        self.log = log
        self.refuses_reads = refuses_reads
        self._claims = sorted(claims)
        self.numbers = itertools.count(1)
        """Of calls."""
        self.running: set[RecordedCall] = set()

        self.constants: dict[_Constant, tuple[Principal, str]] = {}
        """What `constant` has returned."""

    def call(self, rpc: str, action: str, source: Source) -> "RecordedCall":
        """Return the record of a call that begins.

        Args:
            rpc: as in "SearchService/Search".
            action: that the contract declares for it.
        """
        return RecordedCall(self, rpc, action, source)

    async def require_writable(self) -> None:
        """Check that records can be written. Raises: as `AuditLog.append_durably`."""
        if self.log.failure is not None:
            await self.log.append_durably(self._event("event", "audit", "resume", {}))

    async def run(self) -> None:
        """Record calls that take long, until cancelled."""
        while True:
            await asyncio.sleep(_LONG_SECONDS)
            limit = time.monotonic() - _LONG_SECONDS
            for record in [record for record in self.running if record.began < limit]:
                record.note_long()

    def event(self, principal: str, subtype: str, **facts: Any) -> None:
        """Record work that no client has requested; durable shortly after."""
        self.log.append(self._event("event", principal, subtype, facts))

    @asynccontextmanager
    async def work(self, principal: str, subtype: str, **facts: Any) -> AsyncIterator[dict[str, Any]]:
        """Record work that changes something, durably: before it begins, and its result.

        The caller may add facts of the result to the yielded dict; they replace those of the beginning.

        Raises: as `AuditLog.append_durably`.
        """
        await self.begin_work(principal, subtype, **facts)
        outcome = {"code": "OK"}
        results: dict[str, Any] = {}
        try:
            yield results
        except DicomStoreError as error:
            outcome = {"code": "FAILED", "reason": error.reason.value}
            raise
        except BaseException:
            outcome = {"code": "FAILED"}
            raise
        finally:
            self.end_work(principal, subtype, **(facts | results | outcome))

    async def begin_work(self, principal: str, subtype: str, **facts: Any) -> None:
        """Record durably that work begins. Raises: as `AuditLog.append_durably`."""
        await self.log.append_durably(self._event("executing", principal, subtype, facts), may_use_reserve=True)

    def end_work(self, principal: str, subtype: str, **facts: Any) -> None:
        """Record the end of work, with its result as `code`; durable shortly after."""
        self.log.append(self._event("executed", principal, subtype, facts), may_use_reserve=True)

    def _event(self, kind: str, principal: str, subtype: str, facts: Mapping[str, Any]) -> bytes:
        name = principal if ":" in principal else f"{PRINCIPAL}:{principal}"
        values = {"kind": kind, "principal": name, "action": "administer", "subtype": subtype}
        return _encoded(values | dict(facts))

    def constant(self, key: _Constant, principal: Principal) -> str:
        """Return the members of a record that many calls have in common, each after a comma, and keep them."""
        if len(self.constants) >= _MAX_CONSTANT:
            self.constants = {}
        text = _members(self._common(key, principal))
        self.constants[key] = principal, text  # as long as the principal exists, no other one has its id
        return text

    def _common(self, key: _Constant, principal: Principal) -> Mapping[str, Any]:
        rpc, operation, action, partition, peer, client, http_method, _ = key
        values: dict[str, Any] = {
            "principal": principal.id[:_MAX_NAME],
            "action": action,
            "subtype": subtype_of(rpc, operation),
            "rpc": rpc,
            "peer": peer,
        }
        if principal.display_name:
            values["name"] = principal.display_name[:_MAX_NAME]
        if principal.roles:
            values["roles"] = sorted(principal.roles)[:50]
        claims = {name: principal.claims[name][:_MAX_NAME] for name in self._claims if name in principal.claims}
        if claims:
            values["claims"] = claims
        if client:
            values["client"] = client
            values["method"] = http_method
        if partition and partition != ALL_PARTITIONS:
            values["partition"] = partition
        return values


@asynccontextmanager
async def unrecorded(principal: str, subtype: str, **facts: Any) -> AsyncIterator[dict[str, Any]]:
    """Replace `AuditRecorder.work` while the audit trail is disabled."""
    yield {}


RecordWork = Callable[..., AbstractAsyncContextManager[dict[str, Any]]]
"""`AuditRecorder.work` or `unrecorded`."""


class _Outcome:
    """The record of stored instances or of a deletion, which the outbox has, too. The end of its call becomes a part of
    it, if there is no other outcome and the call ends before it is encoded.

    A `DeferredRecord`.
    """

    __slots__ = ("_end", "_record", "ended", "row")

    def __init__(self, record: str, row: int) -> None:
        self._record = record
        self._end = ""
        self.ended = time.monotonic()
        self.row = row

    @property
    def is_in_index(self) -> bool:
        """See the protocol."""
        return not self._end

    def end(self, members: str, ended: float) -> None:
        """Add members of the record *executed*, each after a comma."""
        self._end = members
        self.ended = ended

    def members(self) -> str:
        """See the protocol."""
        record = self._record[1:-1]
        return f'"kind":"executed"{record[_OUTCOME:]}{self._end}' if self._end else record


_OUTCOME = len('"kind":"outcome"')


class _Change:
    """What is recorded of a call before its end, if anything is.

    uses_outbox: its effects have records in the outbox.
    begun: awaits a durable record *executing*; None if there is none.
    is_noted: there is a record *executing* because it takes long.
    common: of its first record, for the next ones, with what it depends on.
    outcome: the only one so far, of a committed transaction.
    has_outcome: a transaction of instances was committed.
    has_outcomes, failed: of an upload, and the number of instances that were not stored.
    has_record: of its end, in a transaction that was not committed yet, or failed.
    is_recorded: that transaction was committed.
    """

    __slots__ = (
        "begun",
        "common",
        "failed",
        "has_outcome",
        "has_outcomes",
        "has_record",
        "is_noted",
        "is_recorded",
        "outcome",
        "uses_outbox",
    )

    def __init__(self) -> None:
        self.begun: Awaitable[None] | None = None
        self.common: tuple[Address | None, object, str] | None = None
        self.outcome: _Outcome | None = None
        self.failed = 0
        self.uses_outbox = self.is_noted = self.has_outcome = self.has_outcomes = False
        self.has_record = self.is_recorded = False


class RecordedCall(CallAudit):
    """The record of one call; see `CallAudit` for what operations add.

    As a `DeferredRecord`, it is that of the end of the call.
    """

    row = 0
    is_in_index = False

    _change: _Change | None
    _principal: Principal | None  # and not the call, because reference cycles are freed late
    _request: str
    _code: str
    _reason: str
    ended: float

    __slots__ = (
        "_action",
        "_change",
        "_code",
        "_number",
        "_principal",
        "_reason",
        "_recorder",
        "_request",
        "_rpc",
        "_source",
        "began",
        "ended",
    )

    def __init__(self, recorder: AuditRecorder, rpc: str, action: str, source: SourceFacts | None) -> None:
        """Begin to record; a subclass without a source has a method `source`."""
        self.address = self.facts = self._change = self._principal = None
        self.items = self.size_bytes = self._number = 0
        self._recorder = recorder
        self._rpc = rpc
        self._action = action
        self._source = source
        self.began = time.monotonic()
        recorder.running.add(self)

    def source(self) -> SourceFacts:
        """Return where the call comes from."""
        assert self._source is not None
        return self._source

    def accesses(self, call: Call, address: Address) -> None:
        """See the base class."""
        self.address = address
        self._principal = call.principal
        self._request = call.request_id

    def begin(self, call: Call, action: Action, *, uses_outbox: bool = False) -> None:
        """See the base class. The records of a delete may use the reserve of the disk, because it frees space."""
        log = self._recorder.log
        self._action = action.value
        self._principal = call.principal
        self._request = call.request_id
        change = self._changed()
        change.common = None
        is_reserved = action is Action.DELETE
        # While the trail cannot be written, a deletion is recorded like other changes, because these use the reserve.
        if uses_outbox and self._recorder.outbox is not None and not (is_reserved and log.failure is not None):
            change.uses_outbox = True
            return
        # An upload has to send its data first. Until then, the record may be written with those of other calls.
        soon = action is Action.WRITE
        change.begun = log.append_durably(_utf8(self._record("executing")), may_use_reserve=is_reserved, soon=soon)

    def _changed(self) -> _Change:
        if self._change is None:
            self._change = _Change()
        return self._change

    def expedite(self) -> None:
        """See the base class."""
        change = self._change
        if change is not None and change.begun is not None and not asyncio.ensure_future(change.begun).done():
            self._recorder.log.expedite()

    async def begun(self) -> None:
        """See the base class. While the trail cannot be written, an upload has to be recorded before its effect."""
        log, change = self._recorder.log, self._change
        if change is None:
            return
        if change.uses_outbox:
            if log.is_backlogged:
                await log.room()
            if change.begun is not None or change.is_noted:
                await self._recorder.require_writable()
            elif log.failure is not None:
                change.begun = log.append_durably(_utf8(self._record("executing")))
        if change.begun is not None:
            future = asyncio.ensure_future(change.begun)
            if future.done():
                future.result()
            else:
                log.expedite()
                await asyncio.shield(future)  # the instances of an upload wait for the same one

    def stored_record(self, items: Sequence[StoredItem], outbox_id: str) -> str | None:
        """See the base class."""
        change = self._change
        if change is None or not change.uses_outbox:
            return None
        instances = _json(_listed(items)).decode()
        return self._record("outcome", f',"instances":{instances},"outbox":"{outbox_id}"')

    async def stored(self, call: Call, items: Sequence[StoredItem]) -> None:
        """See the base class."""
        change = self._changed()
        change.has_outcomes = True
        count = sum([item.outcome in ACCEPTED for item in items])
        self.items += count
        change.failed += len(items) - count
        if change.uses_outbox:
            items = [item for item in items if item.outcome not in (STORED, REPLACED)]  # these are in the outbox
            if not items:
                return
            count = sum([item.outcome == IDENTICAL for item in items])
        self._principal = call.principal
        self._request = call.request_id
        record = self._record("outcome", _members({"instances": _listed(items)}))
        self._release_outcome()
        if count:
            await self._recorder.log.append_durably(_utf8(record))
        else:  # nothing was changed
            self._recorder.log.append(_utf8(record))

    def deleted_record(self, count: int, outbox_id: str) -> str | None:
        """See the base class."""
        change = self._change
        if change is None or not change.uses_outbox:
            return None
        change.has_record = True
        milliseconds = (time.monotonic() - self.began) * 1000
        more = f',"code":"OK","items":{count},"ms":{milliseconds:.1f},"outbox":"{outbox_id}"'
        if change.begun is not None or change.is_noted:
            more += ',"begun":true'
        return self._record("executed", more)

    def committed(self, record: str, row: int) -> None:
        """See the base class."""
        change, log = self._changed(), self._recorder.log
        outcome = _Outcome(record, row)
        if change.has_record or change.has_outcome:
            self._release_outcome()
            log.append_deferred(outcome)
        else:
            change.outcome = outcome
            change.has_outcome = True
            log.hold(outcome)

    def _release_outcome(self) -> None:
        """Append the outcome as a record of its own, before other records of this call."""
        log, change = self._recorder.log, self._change
        if change is not None and change.outcome is not None:
            if log.is_held(change.outcome):
                log.release(change.outcome)
            change.outcome = None

    def deleted(self, count: int) -> None:
        """See the base class."""
        self.items = count
        change = self._change
        if change is not None:
            change.is_recorded = change.uses_outbox

    def note_long(self) -> None:
        """Record that a call runs, if there is no record yet."""
        change = self._change
        if self._principal is not None and (change is None or (change.begun is None and not change.has_record)):
            self._recorder.log.append(_utf8(self._record("executing")))
            self._changed().is_noted = True
            self._recorder.running.discard(self)

    async def complete(self, call: Call, code: str, reason: str, *, is_cancelled: bool = False) -> None:
        """Record the end of the call; that of a change is durable when this returns. See `end`."""
        rest = self.end(call, code, reason, is_cancelled=is_cancelled)
        if rest is not None:
            await rest

    def end(self, call: Call, code: str, reason: str, *, is_cancelled: bool = False) -> Awaitable[None] | None:
        """Record the end of the call, once; return what the caller must wait for, if anything.

        Args:
            code: of gRPC, "OK" for success.
            reason: of the error, or "".

        Raises, when awaited: as `begun`.
        """
        recorder, change = self._recorder, self._change
        log = recorder.log
        recorder.running.discard(self)
        self.ended = time.monotonic()
        self._principal = call.principal
        self._request = call.request_id
        self._code = code
        self._reason = reason
        if change is not None:
            if code == "OK":
                outcome = change.outcome
                if change.is_recorded:
                    return None
                if outcome is not None and change.has_outcomes and log.is_held(outcome):
                    outcome.end(self._end(), self.ended)
                    log.release(outcome)
                    return None
            self._release_outcome()
            if change.begun is not None and not change.has_outcomes and not is_cancelled:
                may_use_reserve = self._action == Action.DELETE.value
                return log.append_durably(_utf8(f"{{{self.members()}}}"), may_use_reserve=may_use_reserve)
        return log.room() if log.append_deferred(self) and not is_cancelled else None

    def members(self) -> str:
        """Return the members of the record of the end of the call (see `DeferredRecord`)."""
        end = self._end()  # before the others, because it changes the facts
        members = f'"kind":"executed",{self._members()}{end}'
        return members if len(members) <= _MAX_CHARACTERS else _shortened(members)

    def _end(self) -> str:
        """Return the members of the record of the end that others do not have."""
        more = f',"code":"{self._code}","items":{self.items},"ms":{(self.ended - self.began) * 1000:.1f}'
        if self.size_bytes:
            more += f',"bytes":{self.size_bytes}'
        if self._reason:
            more += f',"reason":"{self._reason}"'
            if self.facts is not None:  # it may have the reason that the client gave
                self.facts = {name: value for name, value in self.facts.items() if name != "reason"}
        change = self._change
        if change is None:
            return more
        if change.begun is not None or change.is_noted:
            more += ',"begun":true'
        if change.has_outcomes:
            more += f',"outcomes":true,"failed":{change.failed}'
        return more

    def _record(self, kind: str, more: str = "") -> str:
        """Return a record before the end of the call; `more` is members of it, each after a comma."""
        change = self._changed()
        known = change.common
        if known is not None and known[0] is self.address and known[1] is self.facts:
            common = known[2]
        else:
            common = self._members()
            change.common = self.address, self.facts, common
        members = f'"kind":"{kind}",{common}{more}'
        return f"{{{members if len(members) <= _MAX_CHARACTERS else _shortened(members)}}}"

    def _members(self) -> str:
        """Return the members that all records of the call have.

        Most are put together from texts that need no escapes, which takes less time than encoding a mapping.
        """
        peer, client, http_method, uri, headers = self.source()
        address, facts, principal, request = self.address, self.facts, self._principal, self._request
        assert principal is not None
        partition = place = operation = ""
        if address is not None:
            partition = address.partition
            if address.instance is not None:
                place = f',"study":"{address.study}","series":"{address.series}","instance":"{address.instance}"'
            elif address.series is not None:
                place = f',"study":"{address.study}","series":"{address.series}"'
            elif address.study is not None:
                place = f',"study":"{address.study}"'
        if facts:
            operation = facts.get("operation_type", "")
            stated = _members(facts)
            place += stated if len(stated) <= _MAX_FACTS else _members(bounded(facts))
        if headers:
            place += _members({"headers": dict(headers)})
        key = (self._rpc, operation, self._action, partition, peer, client, http_method, id(principal))
        known = self._recorder.constants.get(key)
        constant = self._recorder.constant(key, principal) if known is None else known[1]
        if not self._number:
            self._number = next(self._recorder.numbers)
        try:
            request, uri = orjson.dumps(request).decode(), orjson.dumps(uri).decode()
        except TypeError:  # as in `_json`
            request, uri = _json(request).decode(), _json(uri).decode()
        if len(uri) > 2:
            place = f',"uri":{uri}{place}'
        return f'"call":{self._number},"request":{request}{constant}{place}'


def _utf8(record: str) -> bytes:
    return record.encode(errors="replace")


def _shortened(members: str) -> str:
    """Return members without values that are too long for a record."""
    record = f"{{{members}}}".encode(errors="replace")
    return members if len(record) <= MAX_RECORD_BYTES else _encoded(orjson.loads(record))[1:-1].decode()


def _members(values: Mapping[str, Any]) -> str:
    """Return the members of a JSON object, each after a comma."""
    text = _json(values)
    return f",{text[1:-1].decode()}" if len(text) > 2 else ""


def _listed(items: Sequence[StoredItem]) -> list[tuple[Any, ...]]:
    return [
        (study[:_MAX_UID], series[:_MAX_UID], instance[:_MAX_UID], sop_class[:_MAX_UID], outcome, size_bytes)
        for study, series, instance, sop_class, outcome, size_bytes in items
    ]


def _encoded(values: dict[str, Any]) -> bytes:
    record = _json(values)
    if len(record) <= MAX_RECORD_BYTES:
        return record
    kept = {name: value for name, value in values.items() if not isinstance(value, (dict, list))}
    return _json({**kept, "truncated": True})


def _json(values: Any) -> bytes:
    try:
        return orjson.dumps(values, default=str)
    except TypeError:  # half of a surrogate pair, as a claim in a token can have
        return json.dumps(values, default=str, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
