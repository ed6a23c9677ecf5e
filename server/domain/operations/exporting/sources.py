"""The instances to export, in pages that can be continued after a crash."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from server.domain.search.request import MAX_PAGE_SIZE, SearchRequest, Term
from server.domain.search.search import Search
from server.model.errors import InvalidRequest, Reason
from server.model.ids import Address, PartitionName, parse_address, parse_uid
from server.model.instance import StoredInstance
from server.model.operation import Json
from server.model.search.query import Level, Query
from server.ports.index import InstanceIndex

_LEVELS = {
    "QUERY_LEVEL_STUDY": Level.STUDY,
    "QUERY_LEVEL_SERIES": Level.SERIES,
    "QUERY_LEVEL_INSTANCE": Level.INSTANCE,
}
_UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
_MAX_BATCH_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Resources:
    """Studies, series and instances of one partition, each once. What another one contains is not copied again."""

    addresses: Sequence[Address]
    every: frozenset[Address]

    def has_whole(self, address: Address) -> bool:
        """Return whether another one contains an address."""
        if address.series is None:
            return False
        study = Address(address.partition, address.study)
        return study in self.every or (
            address.instance is not None and replace(study, series=address.series) in self.every
        )


Source = Resources | SearchRequest
"""Studies, series and instances, or a search for them."""


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the instances of a source.

    source: number of sources that have been begun; of a search: row key of the last match that has been begun.
    resource: the study, series or instance that is being read, as its UIDs; empty for none.
    as_of: highest version of the resource when it was begun.
    after: version of its last instance that was read.
    number: number of instances that were read.
    progressed: time of the last progress, in seconds since 1970.
    """

    source: int = 0
    resource: tuple[str, ...] = ()
    as_of: int = 0
    after: int = 0
    number: int = 0
    progressed: float = 0.0

    def encoded(self) -> str:
        """Return it as the cursor of an operation."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, cursor: str) -> "Position":
        """Return the position of a cursor."""
        if not cursor:
            return cls()
        fields = json.loads(cursor)
        return cls(**fields | {"resource": tuple(fields["resource"])})


class Batch(NamedTuple):
    """Instances to copy, sources that do not exist, and the position after them."""

    instances: Sequence[StoredInstance]
    missing: Sequence[Address]
    following: Position
    is_last: bool


def source_of(request: Json) -> Source:
    """Return the source of a request. Raises: InvalidRequest, INVALID_FIELD, INVALID_UID."""
    given = [name for name in ("sources", "query", "everything") if request.get(name)]
    if len(given) != 1:
        raise _invalid("sources", "Exactly one of sources, a query and everything must be given.")
    partition = PartitionName(request.get("partition", ""))
    if given == ["sources"]:
        addresses = addresses_of(request)
        return Resources(addresses, frozenset(addresses))
    if given == ["everything"]:
        return SearchRequest(Level.STUDY, Address(partition), strict=True)
    query = request["query"]
    level = _LEVELS.get(query.get("level", ""))
    if level is None:
        raise _invalid("query.level", "The level is that of studies, series or instances.")
    terms = tuple(Term(term.get("attribute", ""), tuple(term.get("values", ()))) for term in query.get("terms", ()))
    return SearchRequest(
        level, Address(partition), terms, fuzzy_matching=bool(query.get("fuzzy_matching")), strict=True
    )


def addresses_of(request: Json) -> Sequence[Address]:
    """Return the studies, series and instances of a request. Raises: InvalidRequest, INVALID_FIELD, INVALID_UID."""
    partition = request.get("partition", "")
    addresses = []
    for source in request["sources"]:
        if source.get("partition", partition) != partition:
            raise _invalid("sources", "All sources must be of one partition.")
        addresses.append(parse_address(partition, *(source.get(name, "") for name in _UIDS)))
        addresses[-1].require_study()
    return list(dict.fromkeys(addresses))


class Sources:
    """Reads the instances of sources."""

    def __init__(self, index: InstanceIndex, search: Search) -> None:
        self._index = index
        self._search = search

    async def check(self, source: Source) -> None:
        """Check a search. Raises: InvalidRequest and WrongState, as `Search.query_of`."""
        if isinstance(source, SearchRequest):
            await self._search.query_of(source)

    async def count(self, source: Source, after: int) -> tuple[int, int | None]:
        """Return the number of instances of some sources from a position on, and the next position; None at the end."""
        if isinstance(source, SearchRequest):
            matches = await self._index.search(replace(await self._query(source, after), counts=True))
            is_instances = source.level is Level.INSTANCE
            total = sum(1 if is_instances else match.instance_count for match in matches)
            return total, matches[-1].key if len(matches) == MAX_PAGE_SIZE else None
        total = 0
        some = source.addresses[after : after + MAX_PAGE_SIZE]
        for address in some:
            state = await self._index.state(address)
            if state is None:
                total += 1
            elif not source.has_whole(address):
                total += state.instance_count
        return total, after + len(some) if after + len(some) < len(source.addresses) else None

    async def batch(self, source: Source, position: Position, limit: int) -> Batch:
        """Return the next instances, at most `limit`, and not much more than 64 MiB of them."""
        instances: list[StoredInstance] = []
        missing: list[Address] = []
        following: list[tuple[int, Address]] = []
        left = _MAX_BATCH_BYTES
        while (free := limit - len(instances) - len(missing)) and left > 0:
            if not position.resource:
                following = following or await self._next(source, position.source, free)
                if not following:
                    return Batch(instances, missing, position, is_last=True)
                number, address = following.pop(0)
                position = replace(position, source=number)
                state = await self._index.state(address)
                if isinstance(source, Resources) and (state is None or source.has_whole(address)):
                    missing += [address] if state is None else []
                elif state is not None:
                    position = replace(position, resource=_uids_of(address), as_of=state.max_version)
                continue
            address = _address(source, position.resource)
            page = await self._index.find(address, position.after, free, as_of=position.as_of)
            taken = _within(page, left)
            instances += taken
            left -= sum(stored.size_bytes for stored in taken)
            if taken:
                position = replace(position, after=taken[-1].version)
            if len(taken) == len(page) < free:
                position = replace(position, resource=(), as_of=0, after=0)
        return Batch(instances, missing, position, is_last=False)

    async def _next(self, source: Source, after: int, limit: int) -> list[tuple[int, Address]]:
        """Return the next studies, series and instances, each with the position after it."""
        if isinstance(source, Resources):
            return list(enumerate(source.addresses[after : after + limit], after + 1))
        query = replace(await self._query(source, after), limit=min(limit, MAX_PAGE_SIZE))
        return [(match.key, match.resource) for match in await self._index.search(query)]

    async def _query(self, source: SearchRequest, after: int) -> Query:
        """Return the query for the matches after a row key."""
        query = await self._search.query_of(source)
        return replace(query, after=after or None, limit=MAX_PAGE_SIZE, metadata=False)


def _address(source: Source, uids: Sequence[str]) -> Address:
    partition = source.addresses[0].partition if isinstance(source, Resources) else source.scope.partition
    return Address(partition, *(parse_uid(uid, "uid") for uid in uids))


def _uids_of(address: Address) -> tuple[str, ...]:
    return tuple(uid for uid in (address.study, address.series, address.instance) if uid is not None)


def _within(page: Sequence[StoredInstance], size_bytes: int) -> Sequence[StoredInstance]:
    """Return the first instances, up to the one that reaches a size."""
    for count, stored in enumerate(page, 1):
        size_bytes -= stored.size_bytes
        if size_bytes <= 0:
            return page[:count]
    return page


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
