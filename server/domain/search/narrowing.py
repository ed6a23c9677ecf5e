"""Searches of principals that may read a part of a study or series only.

A match that contains the permitted part is returned with its own attributes; what would describe its other series and
instances is left out, or describes the permitted part.
"""

from collections.abc import Sequence
from dataclasses import replace

from server.domain.search.answer import Selection
from server.model.ids import Address
from server.model.search.query import Condition, Level, Match, Query
from server.ports.index import InstanceIndex

_MODALITY = "00080060"
_MODALITY_KEY = "Modality"
_MODALITIES = "ModalitiesInStudy"


def is_part(scope: Address, level: Level) -> bool:
    """Return whether a scope is a part of one match at a level."""
    return (scope.series is not None and level is Level.STUDY) or (
        scope.instance is not None and level is not Level.INSTANCE
    )


def of_whole_match(query: Query, selection: Selection) -> tuple[Query, Selection]:
    """Return the query and selection without attributes of levels below the match."""
    selection = replace(selection, from_metadata=frozenset(), owners=(), newest=frozenset(), newest_levels=frozenset())
    return replace(query, metadata=False, newest=frozenset()), selection


async def of_own_series(index: InstanceIndex, query: Query) -> Query | None:
    """Return a query below a series in which conditions on the modalities of the study apply to this series.

    None if the series does not meet them, so that nothing matches.
    """
    own = tuple(Condition(_MODALITY_KEY, each.matchers) for each in query.conditions if each.key == _MODALITIES)
    if not own:
        return query
    others = tuple(each for each in query.conditions if each.key != _MODALITIES)
    series = Query(Level.SERIES, replace(query.scope, instance=None), conditions=own, limit=1)
    return replace(query, conditions=others) if await index.search(series) else None


async def counted_in(index: InstanceIndex, scope: Address, matches: Sequence[Match]) -> Sequence[Match]:
    """Return matches that contain a scope with the counts and modalities of the scope."""
    state = await index.state(scope)
    series = Query(Level.SERIES, replace(scope, instance=None), conditions=(), limit=1)
    modalities = [
        str(value)
        for match in await index.search(series)
        for value in match.elements.get(_MODALITY, {}).get("Value", ())
    ]
    count = 0 if state is None else state.instance_count
    return [match._replace(modalities=tuple(modalities), series_count=1, instance_count=count) for match in matches]
