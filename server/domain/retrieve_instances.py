"""Handing out whole instances (spec: retrieve.md). What is not there is known before the first piece."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from server.dicom.reencode import can_reencode, reencode
from server.domain.partitions import PartitionGate
from server.domain.reading import (
    AS_STORED,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    Reading,
    not_acceptable,
    range_within,
)
from server.domain.resources import not_found, parse_resource
from server.model.errors import InvalidRequest, Reason, WrongState
from server.model.ids import ResourceRef
from server.model.instance import StoredInstance
from server.ports.index import InstanceIndex

ENCODABLE = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)

_PAGE = 500


@dataclass(frozen=True, slots=True)
class OpenInstance:
    """An instance in the form it will be sent in; `chunks` raises what becomes of it on the way."""

    stored: StoredInstance
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class NotAcceptable:
    """An instance that can't be had in any acceptable form."""

    stored: StoredInstance
    error: WrongState


class RetrieveInstances:
    """Reads studies, series and instances."""

    def __init__(self, *, reading: Reading, index: InstanceIndex, gate: PartitionGate) -> None:
        self._reading = reading
        self._index = index
        self._gate = gate

    async def open(
        self,
        *,
        partition: str,
        study: str,
        series: str,
        instance: str,
        acceptable: Sequence[str],
        offset: int = 0,
        length: int | None = None,
    ) -> AsyncGenerator[OpenInstance | NotAcceptable]:
        """Find a study, series or instance and yield its instances by version, each to be read before the next.

        `acceptable` is ordered; empty means as stored. A range is for one instance as stored.

        Raises, all before the first item:
            InvalidRequest, NotFound: for the address.
            WrongState: NOT_ACCEPTABLE_TRANSFER_SYNTAX when no instance can be had.
            OutOfRange: RANGE_NOT_SATISFIABLE.
        """
        ref = await parse_resource(self._gate, partition, study, series, instance)
        acceptable = acceptable or (AS_STORED,)
        whole = offset == 0 and length is None
        async for stored in self._all(ref, await self._first_page(ref, acceptable)):
            opened = self._open(stored, acceptable)
            if whole or isinstance(opened, NotAcceptable):
                yield opened
                continue
            if ref.instance is None or opened.transfer_syntax_uid != stored.transfer_syntax_uid:
                raise InvalidRequest(
                    Reason.INVALID_FIELD, "A range needs one instance in its stored form.", field="range"
                )
            offset, length = range_within(stored.size_bytes, offset, length)
            yield OpenInstance(
                stored,
                opened.transfer_syntax_uid,
                stored.size_bytes,
                self._reading.read(stored, offset, length),
            )

    async def _all(self, ref: ResourceRef, page: Sequence[StoredInstance]) -> AsyncIterator[StoredInstance]:
        """Yield the instances of `page`, the first one, and of those that follow."""
        while page:
            for stored in page:
                yield stored
            page = await self._index.find(ref, page[-1].version, _PAGE) if len(page) == _PAGE else ()

    async def _first_page(self, ref: ResourceRef, acceptable: Sequence[str]) -> Sequence[StoredInstance]:
        """Return the first instances, certain that at least one of all can be had."""
        first = await self._index.find(ref, 0, _PAGE)
        async for stored in self._all(ref, first):
            if _choose(stored.transfer_syntax_uid, acceptable) is not None:
                return first
        raise not_acceptable(first[0].transfer_syntax_uid) if first else await not_found(self._index, ref)

    def _open(self, stored: StoredInstance, acceptable: Sequence[str]) -> OpenInstance | NotAcceptable:
        target = _choose(stored.transfer_syntax_uid, acceptable)
        if target is None:
            return NotAcceptable(stored, not_acceptable(stored.transfer_syntax_uid))
        chunks = self._reading.whole(stored)
        if target == stored.transfer_syntax_uid:
            return OpenInstance(stored, target, stored.size_bytes, chunks)
        return OpenInstance(stored, target, None, reencode(chunks, stored.transfer_syntax_uid, target))


def _choose(stored: str, acceptable: Sequence[str]) -> str | None:
    """Return the transfer syntax to send, the first acceptable one that can be had."""
    for wanted in acceptable:
        if wanted in (AS_STORED, stored):
            return stored
        if can_reencode(stored, wanted):
            return wanted
    return None
