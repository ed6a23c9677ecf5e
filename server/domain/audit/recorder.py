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
from functools import partial
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
from server.ports.audit import AuditLog, Written

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


_NOT_RECORDED = CallAudit()


class _Outcome:
    """A record from the outbox. That of stored instances becomes that of the end of its call if this ends before it is
    encoded.

    A `DeferredRecord`. After `members`, `written` also handles a failure: the index has the outcome, and the end of the
    call is a record of its own.
    """

    __slots__ = ("_end", "_is_encoded", "_log", "_record", "ended", "written")

    def __init__(self, log: AuditLog, record: bytes, written: Written) -> None:
        self._log = log
        self._record = record
        self._end = ""
        self._is_encoded = False
        self.ended = time.monotonic()
        self.written: Written | None = written

    def end(self, members: str, ended: float) -> bool:
        """Add members of the record *executed*, each after a comma; return False if it is too late."""
        if self._is_encoded:
            return False
        self._end = members
        self.ended = ended
        return True

    def members(self) -> str:
        """See the protocol."""
        self._is_encoded = True
        record, written = self._record[1:-1].decode(), self.written
        if not self._end or written is None:
            return record
        members = f'"kind":"executed"{record.removeprefix(_OUTCOME)}{self._end}'
        self.written = partial(_written, self._log, written, members)
        return members


_OUTCOME = '"kind":"outcome"'


def _written(log: AuditLog, written: Written, members: str, error: DicomStoreError | None) -> None:
    """Handle the result of a record of an outcome and the end of its call."""
    written(error)
    if error is not None:
        values = orjson.loads(f"{{{members}}}")
        del values["instances"], values["outbox"]
        log.append(_json(values))


class RecordedCall(CallAudit):
    """The record of one call; see `CallAudit` for what operations add.

    As a `DeferredRecord`, it is that of the end of the call.
    """

    written: Written | None = None

    __slots__ = (
        "_action",
        "_begun",
        "_call",
        "_code",
        "_common",
        "_failed",
        "_has_outcome",
        "_has_outcomes",
        "_has_record",
        "_in_outbox",
        "_is_noted",
        "_is_plain",
        "_is_recorded",
        "_number",
        "_outcome",
        "_reason",
        "_recorder",
        "_rpc",
        "_source",
        "began",
        "ended",
    )

    def __init__(self, recorder: AuditRecorder, rpc: str, action: str, source: SourceFacts | None) -> None:
        """Begin to record; a subclass without a source has a method `source`."""
        self.address = self.facts = None
        self.items = self.size_bytes = self._failed = 0
        self._recorder = recorder
        self._number = next(recorder.numbers)
        self._rpc = rpc
        self._action = action
        self._source = source
        self._begun: Awaitable[None] | None = None
        self._call: Call | None = None
        self._in_outbox: Call | None = None  # whose effects have records in the outbox
        self._common: tuple[Address | None, object, str] | None = None  # of its first record, with what it depends on
        self._outcome: _Outcome | None = None  # the only one so far
        self._has_outcome = False  # of a committed transaction
        self._has_outcomes = False
        self._is_noted = False
        self._is_plain = True  # none of the above
        self._has_record = False  # of its end, in a transaction that was not committed yet, or failed
        self._is_recorded = False  # the transaction was committed
        self._code = self._reason = ""
        self.began = self.ended = time.monotonic()
        recorder.running.add(self)

    def source(self) -> SourceFacts:
        """Return where the call comes from."""
        assert self._source is not None
        return self._source

    def begin(self, call: Call, action: Action, *, uses_outbox: bool = False) -> None:
        """See the base class. The records of a delete may use the reserve of the disk, because it frees space."""
        self._action = action.value
        self._is_plain = False
        self._common = None
        is_reserved = action is Action.DELETE
        # While the trail cannot be written, a deletion is recorded like other changes, because these use the reserve.
        is_usable = self._recorder.outbox is not None and not (is_reserved and self._recorder.log.failure is not None)
        if uses_outbox and is_usable:
            # Without this record, because reference cycles are freed late.
            self._in_outbox = Call(call.request_id, call.principal, call.deadline, _NOT_RECORDED)
            return
        record = self._record("executing", call)
        # An upload has to send its data first. Until then, the record may be written with those of other calls.
        soon = action is Action.WRITE
        self._begun = self._recorder.log.append_durably(record, may_use_reserve=is_reserved, soon=soon)

    def expedite(self) -> None:
        """See the base class."""
        if self._begun is not None and not asyncio.ensure_future(self._begun).done():
            self._recorder.log.expedite()

    async def begun(self) -> None:
        """See the base class. While the trail cannot be written, an upload has to be recorded before its effect."""
        log = self._recorder.log
        if self._in_outbox is not None:
            if log.is_backlogged:
                await log.room()
            if self._begun is not None or self._is_noted:
                await self._recorder.require_writable()
            elif log.failure is not None:
                self._begun = log.append_durably(self._record("executing", self._in_outbox))
        if self._begun is not None:
            future = asyncio.ensure_future(self._begun)
            if future.done():
                future.result()
            else:
                log.expedite()
                await asyncio.shield(future)  # the instances of an upload wait for the same one

    def stored_record(self, items: Sequence[StoredItem], outbox_id: str) -> bytes | None:
        """See the base class."""
        if self._in_outbox is None:
            return None
        instances = _json(_listed(items)).decode()
        return self._record("outcome", self._in_outbox, f',"instances":{instances},"outbox":"{outbox_id}"')

    async def stored(self, call: Call, items: Sequence[StoredItem]) -> None:
        """See the base class."""
        self._has_outcomes = True
        self._is_plain = False
        count = sum(item.outcome in ACCEPTED for item in items)
        self.items += count
        self._failed += len(items) - count
        if self._in_outbox is not None:
            items = [item for item in items if item.outcome not in (STORED, REPLACED)]  # these are in the outbox
            if not items:
                return
            count = sum(item.outcome == IDENTICAL for item in items)
        record = self._record("outcome", call, _members({"instances": _listed(items)}))
        self._outcome = None
        if count:
            await self._recorder.log.append_durably(record)
        else:  # nothing was changed
            self._recorder.log.append(record)

    def deleted_record(self, count: int, outbox_id: str) -> bytes | None:
        """See the base class."""
        if self._in_outbox is None:
            return None
        self._has_record = True
        milliseconds = (time.monotonic() - self.began) * 1000
        more = f',"code":"OK","items":{count},"ms":{milliseconds:.1f},"outbox":"{outbox_id}"'
        if self._begun is not None or self._is_noted:
            more += ',"begun":true'
        return self._record("executed", self._in_outbox, more)

    def committed(self, record: bytes, written: Written) -> None:
        """See the base class."""
        outcome = _Outcome(self._recorder.log, record, written)
        if not self._has_record:
            self._outcome = None if self._has_outcome else outcome
            self._has_outcome = True
        self._recorder.log.append_deferred(outcome)

    def deleted(self, count: int) -> None:
        """See the base class."""
        self.items = count
        self._is_recorded = self._in_outbox is not None

    def accesses(self, call: Call, address: Address) -> None:
        """See the base class."""
        self.address = address
        self._call = call

    def note_long(self) -> None:
        """Record that a call runs, if there is no record yet."""
        if self._begun is None and self._call is not None and not self._has_record:
            self._recorder.log.append(self._record("executing", self._call))
            self._call = None
            self._is_noted = True
            self._is_plain = False

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
        recorder = self._recorder
        recorder.running.discard(self)
        self.ended = time.monotonic()
        if self._is_plain:
            self._call = call
            self._code = code
            self._reason = reason
            return recorder.log.room() if recorder.log.append_deferred(self) and not is_cancelled else None
        self._call = None  # reference cycles are freed late
        return self._end_of_change(call, code, reason, is_cancelled=is_cancelled)

    def _end_of_change(self, call: Call, code: str, reason: str, *, is_cancelled: bool) -> Awaitable[None] | None:
        if self._is_recorded and code == "OK":
            return None
        log = self._recorder.log
        self._code = code
        self._reason = reason
        outcome = self._outcome
        if outcome is not None and self._has_outcomes and code == "OK" and outcome.end(self._end(), self.ended):
            return None
        self._call = call
        if self._begun is not None and not self._has_outcomes and not is_cancelled:
            may_use_reserve = self._action == Action.DELETE.value
            return log.append_durably(f"{{{self.members()}}}".encode(errors="replace"), may_use_reserve=may_use_reserve)
        return log.room() if log.append_deferred(self) and not is_cancelled else None

    def members(self) -> str:
        """Return the members of the record of the end of the call, once (see `DeferredRecord`)."""
        call, self._call = self._call, None  # reference cycles are freed late
        assert call is not None
        end = self._end()
        members = f'"kind":"executed",{self._members_of(call)}{end}'
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
        if self._is_plain:
            return more
        if self._begun is not None or self._is_noted:
            more += ',"begun":true'
        if self._has_outcomes:
            more += f',"outcomes":true,"failed":{self._failed}'
        return more

    def _record(self, kind: str, call: Call, more: str = "") -> bytes:
        """Return a record; `more` is members of it, each after a comma."""
        return f"{{{self._members(kind, call, more)}}}".encode(errors="replace")

    def _members(self, kind: str, call: Call, more: str) -> str:
        """Return the members of a record."""
        known = self._common
        if known is not None and known[0] is self.address and known[1] is self.facts:
            common = known[2]
        else:
            common = self._members_of(call)
            if kind != "executed":
                self._common = self.address, self.facts, common
        members = f'"kind":"{kind}",{common}{more}'
        return members if len(members) <= _MAX_CHARACTERS else _shortened(members)

    def _members_of(self, call: Call) -> str:
        """Return the members that all records of the call have.

        Most are put together from texts that need no escapes, which takes less time than encoding a mapping.
        """
        peer, client, http_method, uri, headers = self.source()
        address, facts = self.address, self.facts
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
        principal = call.principal
        key = (self._rpc, operation, self._action, partition, peer, client, http_method, id(principal))
        known = self._recorder.constants.get(key)
        constant = self._recorder.constant(key, principal) if known is None else known[1]
        request = call.request_id
        if uri:
            if not uri.isprintable() or '"' in uri or "\\" in uri:
                uri = _escaped(uri)
            place = f',"uri":"{uri}"{place}'
        if not request.isprintable() or '"' in request or "\\" in request:
            request = _escaped(request)
        return f'"call":{self._number},"request":"{request}"{constant}{place}'


def _shortened(members: str) -> str:
    """Return members without values that are too long for a record."""
    record = f"{{{members}}}".encode(errors="replace")
    return members if len(record) <= MAX_RECORD_BYTES else _encoded(orjson.loads(record))[1:-1].decode()


def _escaped(text: str) -> str:
    return _json(text)[1:-1].decode()


def _members(values: Mapping[str, Any]) -> str:
    """Return the members of a JSON object, each after a comma."""
    text = _json(values)
    return f",{text[1:-1].decode()}" if len(text) > 2 else ""


def _listed(items: Sequence[StoredItem]) -> list[list[Any]]:
    return [
        [study[:_MAX_UID], series[:_MAX_UID], instance[:_MAX_UID], sop_class[:_MAX_UID], outcome, size_bytes]
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
