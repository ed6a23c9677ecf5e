"""Handing out whole instances (spec: retrieve.md). What is not there is known before the first piece."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from server.domain.acceptable import Acceptable, choose, ranked
from server.domain.partitions import PartitionGate
from server.domain.reading import AS_STORED, Reading, not_acceptable, range_within
from server.domain.resources import not_found, parse_resource
from server.domain.transcode_instance import InstanceTranscoder
from server.model.errors import DicomStoreError, InvalidRequest, NotFound, Reason
from server.model.ids import ResourceRef
from server.model.instance import StoredInstance
from server.ports.index import InstanceIndex

_PAGE = 500


@dataclass(frozen=True, slots=True)
class OpenInstance:
    """An instance in the form it will be sent in; `chunks` raises what becomes of it on the way."""

    stored: StoredInstance
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class FailedInstance:
    """An instance that can't be had, or in no acceptable form."""

    stored: StoredInstance
    error: DicomStoreError


class RetrieveInstances:
    """Reads studies, series and instances."""

    def __init__(
        self, *, reading: Reading, transcoder: InstanceTranscoder, index: InstanceIndex, gate: PartitionGate
    ) -> None:
        self._reading = reading
        self._transcoder = transcoder
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
        qualities: Sequence[float] = (),
        offset: int = 0,
        length: int | None = None,
    ) -> AsyncGenerator[OpenInstance | FailedInstance]:
        """Find a study, series or instance and yield its instances by version, each to be read before the next.

        A range is for one instance as stored. What is re-encoded is begun before it is yielded.

        Raises, all before the first item:
            InvalidRequest, NotFound: for the address.
            WrongState: NOT_ACCEPTABLE_TRANSFER_SYNTAX when no instance can be had.
            OutOfRange: RANGE_NOT_SATISFIABLE.
            and, if there is only one instance, what it fails with at its first frame.
        """
        choices = ranked(acceptable, qualities)
        ref = await parse_resource(self._gate, partition, study, series, instance)
        page = await self._first_page(ref, choices)
        if offset or length is not None:
            yield await self._part(ref, page[0], choices, offset, length)
            return
        is_alone = len(page) == 1
        async for stored in self._all(ref, page):
            target = await self._choose(stored, choices)
            if target is None:
                yield FailedInstance(stored, await self._refusal(stored))
            elif target == stored.transfer_syntax_uid:
                yield OpenInstance(stored, target, stored.size_bytes, self._reading.whole(stored))
            else:
                try:
                    chunks = await self._transcoder.open(stored, target)
                except DicomStoreError as error:
                    if is_alone:
                        raise
                    yield FailedInstance(stored, error)
                    continue
                async with aclosing(chunks):
                    yield OpenInstance(stored, target, None, chunks)

    async def _part(
        self, ref: ResourceRef, stored: StoredInstance, choices: Acceptable, offset: int, length: int | None
    ) -> OpenInstance:
        target = await self._choose(stored, choices)
        if ref.instance is None or target != stored.transfer_syntax_uid:
            raise InvalidRequest(Reason.INVALID_FIELD, "A range needs one instance in its stored form.", field="range")
        offset, length = range_within(stored.size_bytes, offset, length)
        return OpenInstance(stored, target, stored.size_bytes, self._reading.read(stored, offset, length))

    async def _all(self, ref: ResourceRef, page: Sequence[StoredInstance]) -> AsyncIterator[StoredInstance]:
        """Yield the instances of `page`, the first one, and of those that follow."""
        while page:
            for stored in page:
                yield stored
            page = await self._index.find(ref, page[-1].version, _PAGE) if len(page) == _PAGE else ()

    async def _first_page(self, ref: ResourceRef, choices: Acceptable) -> Sequence[StoredInstance]:
        """Return the first instances, certain that at least one of all can be had."""
        first = await self._index.find(ref, 0, _PAGE)
        async for stored in self._all(ref, first):
            if await self._choose(stored, choices) is not None:
                return first
        raise await self._refusal(first[0]) if first else await not_found(self._index, ref)

    async def _choose(self, stored: StoredInstance, choices: Acceptable) -> str | None:
        """Return the transfer syntax to send an instance in."""

        own = stored.transfer_syntax_uid
        transcoder = self._transcoder
        try:
            chosen = await choose(
                choices, lambda uid: uid in (AS_STORED, own), lambda uid: transcoder.can_become(stored, uid)
            ) or await choose(choices, lambda uid: False, lambda uid: transcoder.can_be_named(stored, uid))
        except NotFound:  # it was deleted meanwhile
            return None
        return own if chosen == AS_STORED else chosen

    async def _refusal(self, stored: StoredInstance) -> DicomStoreError:
        """Return why no acceptable form can be had."""
        try:
            return not_acceptable(stored.transfer_syntax_uid, await self._transcoder.targets(stored))
        except NotFound as gone:
            return gone
