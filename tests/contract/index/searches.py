"""Helper functions for searches in the index suite."""

from typing import Any

from server.model.ids import Address
from server.model.search.query import Condition, Level, Match, Matcher, Query
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, sample


async def search(
    index: InstanceIndex,
    *conditions: Condition,
    level: Level = Level.STUDY,
    scope: Address = EVERYTHING,
    **rest: Any,
) -> list[Match]:
    return await index.search(Query(level, scope, conditions, limit=200, **rest))


async def studies(index: InstanceIndex, key: str, *matchers: Matcher) -> list[int]:
    """Return the numbers of the studies that match, in order of storage."""
    matches = await search(index, Condition(key, matchers))
    return sorted(int(match.resource.study.rpartition(".")[2]) for match in matches if match.resource.study)


async def store_values(index: InstanceIndex, key: str, *values: str) -> None:
    """Store one study per value, numbered from 1."""
    await index.add([sample(n, study_keys={key: value}) for n, value in enumerate(values, start=1)], NOON)
