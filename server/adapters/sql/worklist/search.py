"""Search for workitems, newest first.

An index on the values of search keys returns few workitems for a condition, or many; this depends on the values, so it
is tried for each condition up to a limit, exact values first. Few workitems are examined one by one. If each condition
holds for many, those with an exact value, or all, are examined in the order of the result, which soon fills a page.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, func, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.tables import workitem_values, workitems
from server.adapters.sql.search import pages
from server.adapters.sql.worklist import values
from server.model.ids import Uid
from server.model.search.query import MAX_METADATA, Condition, Empty, Equals
from server.model.worklist.workitem import MatchPage, WorkitemMatch, WorkitemQuery

FEW = 1_000
"""Number of workitems that are examined one by one."""

_STATE = "ProcedureStepState"
_v = workitem_values.c
_OF_PARTITION: BindParameter[int] = bindparam("of_partition")
_AMONG: BindParameter[int] = bindparam("among", expanding=True)
_KEYS: BindParameter[int] = bindparam("keys", expanding=True)
_SIZES = Prepared(select(workitems.c.key, func.length(workitems.c.elements)).where(workitems.c.key.in_(_KEYS)))
_MATCHES = Prepared(select(workitems.c.key, workitems.c.uid, workitems.c.elements).where(workitems.c.key.in_(_KEYS)))

_Keys = Select[*tuple[Any, ...]]


def search(connection: Connection, partition_key: int, query: WorkitemQuery) -> MatchPage:
    """Return a page of matches."""
    source = _source(connection, partition_key, query.conditions)
    if source is None:
        return MatchPage((), has_more=False)
    form, where, keys = source
    where |= {"after": query.after, "limit": query.limit + 1, "skip": query.skip}

    def statement() -> _Keys:
        found = keys()
        [key] = found.selected_columns
        if query.after is not None:
            found = found.where(key < bindparam("after"))
        found = found.order_by(key.desc()).limit(bindparam("limit"))
        return found.offset(bindparam("skip")) if query.skip else found

    rows = pages.run(connection, (*form, query.after is None, query.skip == 0), statement, where)
    found = [key for (key,) in rows]
    fit = _fitting(connection, found[: query.limit])
    by_key = {row[0]: row for row in _MATCHES.tuples(connection, {"keys": fit})} if fit else {}
    matches = (WorkitemMatch(key, Uid(by_key[key][1]), by_key[key][2].encode()) for key in fit)
    return MatchPage(tuple(matches), has_more=len(fit) < len(found))


def count(connection: Connection, partition_key: int, query: WorkitemQuery) -> int:
    """Return the number of all matches."""
    source = _source(connection, partition_key, query.conditions)
    if source is None:
        return 0
    form, where, keys = source
    rows = pages.run(
        connection, ("count", *form), lambda: select(func.count()).select_from(keys().subquery("found")), where
    )
    return int(rows[0][0])


def _fitting(connection: Connection, keys: list[int]) -> list[int]:
    """Return the first keys, whose data sets together have at most `MAX_METADATA` characters; at least one."""
    sizes: dict[int, int] = dict(_SIZES.tuples(connection, {"keys": keys})) if keys else {}
    room, fit = MAX_METADATA, list[int]()
    for key in keys:
        room -= sizes[key]
        if room < 0 and fit:
            break
        fit.append(key)
    return fit


def _source(
    connection: Connection, partition_key: int, conditions: tuple[Condition, ...]
) -> tuple[tuple[object, ...], dict[str, Any], Callable[[], _Keys]] | None:
    """Return the form of the statement that selects the keys of matches, its parameters, and a function that creates
    it; None if there are no matches."""
    where: dict[str, Any] = {"of_partition": partition_key}
    pages.add_values(where, conditions)
    named = [(condition, f"value_{number}") for number, condition in enumerate(conditions)]
    form = ("workitems", *values.form_of_all(conditions))
    few = _few(connection, partition_key, conditions)
    if few == []:
        return None
    if few is not None:
        # The sum prevents a scan of all rows in order, which databases would choose to avoid sorting a few.
        key = workitems.c.key
        return (
            ("few", *form),
            where | {"among": few},
            lambda: select((key + 0).label("key")).where(key.in_(_AMONG), *values.all_hold(named, key)),
        )
    if exact := _exact(conditions):
        where["exact"] = where[f"value_{conditions.index(exact)}_0"][0]
        return (("exact", exact.key, *form), where, lambda: _of_value(exact, named))
    return (
        ("all", *form),
        where,
        lambda: select(workitems.c.key).where(
            workitems.c.partition_key == _OF_PARTITION, *values.all_hold(named, workitems.c.key)
        ),
    )


def _of_value(exact: Condition, named: list[values.Named]) -> _Keys:
    """Select matches in the index of an exact value, where they are in order."""
    driver = workitem_values.alias("driver")
    is_driver = (
        driver.c.partition_key == _OF_PARTITION,
        driver.c.keyword == str(exact.key),
        driver.c.text == bindparam("exact"),
        driver.c.part == 0,
    )
    return select(driver.c.workitem_key).distinct().where(*is_driver, *values.all_hold(named, driver.c.workitem_key))


def _exact(conditions: tuple[Condition, ...]) -> Condition | None:
    """Return a condition with one exact value, if possible not the state, which most workitems share."""
    exact = [
        one
        for one in conditions
        if len(one.matchers) == 1 and isinstance(one.matchers[0], Equals) and len(one.matchers[0].values) == 1
    ]
    return min(exact, key=lambda one: one.key == _STATE, default=None)


def _few(connection: Connection, partition_key: int, conditions: tuple[Condition, ...]) -> list[int] | None:
    """Return the keys of at most `FEW` workitems that include all matches; None if each condition has more."""
    narrowing = [one for one in conditions if Empty() not in one.matchers]
    is_exact = {one.key: all(isinstance(matcher, Equals) for matcher in one.matchers) for one in narrowing}
    for condition in sorted(narrowing, key=lambda one: not is_exact[one.key]):
        parameters = {
            "of_partition": partition_key,
            "limit": FEW + 1,
            **dict(values.candidate_parameters(condition, "value")),
        }

        def statement(condition: Condition = condition) -> _Keys:
            return (
                select(_v.workitem_key)
                .distinct()
                .where(_v.partition_key == _OF_PARTITION, values.candidates(workitem_values, condition, "value"))
                .limit(bindparam("limit"))
            )

        form = ("candidates", *values.candidate_form(condition))
        found = pages.run(connection, form, statement, parameters)
        if len(found) <= FEW:
            return sorted(key for (key,) in found)
    return None
