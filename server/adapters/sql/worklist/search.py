"""Search for workitems, newest first.

An index on the values of search keys returns few workitems for a condition, or many; this depends on the values, so it
is tried for each condition up to a limit, exact values first. For an exact value it returns them in the order of the
result; few others are examined one by one. If each condition holds for many:

1. An index of trigrams returns workitems with parts of values or words, in SQLite in order until the page is full; if
   there is also a range, only if they are few.
2. A range, or a part of a value, is likely to have a page among the next 2,000 workitems; some matches among these show
   that examining all in order is faster than the trigrams of PostgreSQL.
3. Otherwise trigrams are used; without three characters, all values are read to find those with the part.
4. If these are many, those of a range are sorted, if they are not too many.
5. Otherwise those with an exact value, or all, are examined in order, which soon fills a page.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, Select, bindparam, func, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.search import pages
from server.adapters.sql.search.trigrams import is_in_order, of_workitems
from server.adapters.sql.tables.worklist import workitem_texts, workitem_values, workitems
from server.adapters.sql.worklist import values
from server.model.ids import Uid
from server.model.search.query import MAX_METADATA, Condition, Empty, Equals
from server.model.worklist.workitem import MatchPage, WorkitemMatch, WorkitemQuery

FEW = 1_000
"""Number of workitems that are examined one by one."""

NEWEST = 2_000
"""Number of newest workitems that are examined before more expensive ways."""

FREQUENT = 10
"""Number of matches among the next workitems from which all are examined in order, not those of trigrams."""

MAX_SORTED = 20_000
"""Maximum number of values of a range that are sorted; beyond, workitems are examined in order."""

_STATE = "ProcedureStepState"
_NO_KEY = 0
"""No workitem has it; a list in a statement must have a value."""

_v = workitem_values.c
_OF_PARTITION: BindParameter[int] = bindparam("of_partition")
_AMONG: BindParameter[int] = bindparam("among", expanding=True)
_KEYS: BindParameter[int] = bindparam("keys", expanding=True)
_SIZES = Prepared(select(workitems.c.key, func.length(workitems.c.elements)).where(workitems.c.key.in_(_KEYS)))
_MATCHES = Prepared(select(workitems.c.key, workitems.c.uid, workitems.c.elements).where(workitems.c.key.in_(_KEYS)))

_NTH_NEXT = Prepared(
    select(workitems.c.key)
    .where(workitems.c.partition_key == _OF_PARTITION, workitems.c.key < bindparam("after"))
    .order_by(workitems.c.key.desc())
    .offset(bindparam("number"))
    .limit(1)
)
_MAX_KEY = 2**63 - 1

_CANDIDATES = {
    dialect: Prepared(of_workitems.bare_candidates(dialect).limit(bindparam("limit")))
    for dialect in ("sqlite", "postgresql")
}

_Keys = Select[*tuple[Any, ...]]


class _Source(NamedTuple):
    """The form of a statement that selects the keys of matches, its parameters, and a function that creates it."""

    form: tuple[object, ...]
    where: dict[str, Any]
    keys: Callable[[], _Keys]


def search(connection: Connection, partition_key: int, query: WorkitemQuery) -> MatchPage:
    """Return a page of matches."""
    found = _page(connection, partition_key, query)
    fit = _fitting(connection, found[: query.limit])
    by_key = {row[0]: row for row in _MATCHES.tuples(connection, {"keys": fit})} if fit else {}
    matches = (WorkitemMatch(key, Uid(by_key[key][1]), by_key[key][2].encode()) for key in fit)
    return MatchPage(tuple(matches), has_more=len(fit) < len(found))


def _page(connection: Connection, partition_key: int, query: WorkitemQuery) -> list[int]:
    """Return the keys of a page and of one more match."""
    ways = _Ways(connection, partition_key, query.conditions)
    narrow = ways.narrow()
    if narrow is not None:
        return _keys_of(connection, query, narrow)
    text = ways.by_text()
    if text is not None and is_in_order(connection.dialect.name) and ways.is_best(text):
        return _keys_of(connection, query, text)
    if ways.ranges and query.skip + query.limit < NEWEST:
        after = _MAX_KEY if query.after is None else query.after
        last = _NTH_NEXT.tuples(connection, {"of_partition": partition_key, "after": after, "number": NEWEST})
        if last:
            found = _keys_of(connection, query, ways.in_order(), above=last[0][0])
            if len(found) > query.limit:
                return found
            if text is not None and found and query.skip + len(found) >= FREQUENT:
                return _keys_of(connection, query, ways.in_order())
    return _keys_of(connection, query, ways.last())


def _keys_of(connection: Connection, query: WorkitemQuery, source: _Source, above: int | None = None) -> list[int]:
    """Return the keys of a page from a source; `above`: only greater ones."""
    where = source.where | {"after": query.after, "above": above, "limit": query.limit + 1, "skip": query.skip}

    def statement() -> _Keys:
        found = source.keys()
        [key] = found.selected_columns
        if query.after is not None:
            found = found.where(key < bindparam("after"))
        if above is not None:
            found = found.where(key > bindparam("above"))
        found = found.order_by(key.desc()).limit(bindparam("limit"))
        return found.offset(bindparam("skip")) if query.skip else found

    form = (*source.form, query.after is None, above is None, query.skip == 0)
    return [key for (key,) in pages.run(connection, form, statement, where)]


def count(connection: Connection, partition_key: int, query: WorkitemQuery) -> int:
    """Return the number of all matches."""
    ways = _Ways(connection, partition_key, query.conditions)
    source = ways.narrow() or ways.last()
    rows = pages.run(
        connection,
        ("count", *source.form),
        lambda: select(func.count()).select_from(source.keys().subquery("found")),
        source.where,
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


class _Ways:
    """The ways to find the matches of conditions."""

    def __init__(self, connection: Connection, partition_key: int, conditions: tuple[Condition, ...]) -> None:
        self._connection = connection
        self._conditions = conditions
        self._named = [(condition, f"value_{number}") for number, condition in enumerate(conditions)]
        self._form = ("workitems", *values.form_of_all(conditions))
        self._where: dict[str, Any] = {"of_partition": partition_key}
        pages.add_values(self._where, conditions)
        self.ranges = [one for one in conditions if not _is_exact(one) and Empty() not in one.matchers]
        """Conditions that several values fulfil."""
        of_text = [one for one in self.ranges if values.is_of_text(one)]
        self._text = of_workitems.sought(of_text, connection.dialect.name)

    def narrow(self) -> _Source | None:
        """Return a source with few workitems; None if each condition has more."""
        if len(self._conditions) == 1 and _is_exact(self._conditions[0]):
            return self._of_value(self._conditions[0])
        return self._few([one for one in self._conditions if values.has_beginning(one)])

    def last(self) -> _Source:
        """Return a source if there is no narrow one."""
        if text := self.by_text():
            return text if self.is_best(text) else self.sorted() or text
        contained = [one for one in self.ranges if not values.has_beginning(one)]
        return self._few(contained) or self.sorted() or self.in_order()

    def by_text(self) -> _Source | None:
        """Return a source that examines the workitems in the text index; None if that does not apply."""
        if self._text is None:
            return None
        dialect = self._connection.dialect.name
        key = of_workitems.rowid if is_in_order(dialect) else (workitem_texts.c.key + 0).label("key")

        def keys() -> _Keys:
            of_partition = workitem_texts.c.partition_key == _OF_PARTITION
            found = of_workitems.candidates(dialect).with_only_columns(key)
            return found.where(of_partition, *values.all_hold(self._named, workitem_texts.c.key))

        return _Source(("text", dialect, *self._form), self._where | {"trigrams": self._text}, keys)

    def is_best(self, text: _Source) -> bool:
        """Return whether text is better than a range: it leads to few workitems, or there is no range."""
        if all(values.is_of_text(one) for one in self.ranges):
            return True
        given = {"trigrams": text.where["trigrams"], "limit": FEW + 1}
        return len(_CANDIDATES[self._connection.dialect.name].tuples(self._connection, given)) <= FEW

    def _few(self, conditions: Sequence[Condition]) -> _Source | None:
        narrowing = [one for one in conditions if Empty() not in one.matchers]
        is_equal = {one.key: all(isinstance(matcher, Equals) for matcher in one.matchers) for one in narrowing}
        for condition in sorted(narrowing, key=lambda one: not is_equal[one.key]):
            found = self._candidates(condition, FEW)
            if found is None:
                continue
            return self._of_value(condition) if _is_exact(condition) else self._among(found or [_NO_KEY])
        return None

    def sorted(self) -> _Source | None:
        """Return a source that begins with the values of a range; None if there are too many."""
        for condition in filter(values.has_beginning, self.ranges):
            if self._candidates(condition, MAX_SORTED) is not None:
                return self._of_range(condition)
        return None

    def in_order(self) -> _Source:
        """Return a source that examines the workitems with an exact value, or all, in order."""
        if exact := _exact(self._conditions):
            return self._of_value(exact)
        return _Source(
            ("all", *self._form),
            self._where,
            lambda: select(workitems.c.key).where(
                workitems.c.partition_key == _OF_PARTITION, *values.all_hold(self._named, workitems.c.key)
            ),
        )

    def _among(self, few: Sequence[int]) -> _Source:
        # The sum prevents a scan of all rows in order, which databases would choose to avoid sorting a few.
        key = workitems.c.key
        return _Source(
            ("few", *self._form),
            self._where | {"among": few},
            lambda: select((key + 0).label("key")).where(key.in_(_AMONG), *values.all_hold(self._named, key)),
        )

    def _of_value(self, exact: Condition) -> _Source:
        """Select matches in the index of an exact value, where they are in order."""
        driver = workitem_values.alias("driver")
        is_driver = (
            driver.c.partition_key == _OF_PARTITION,
            driver.c.keyword == str(exact.key),
            driver.c.text == bindparam("exact"),
            driver.c.part == 0,
        )
        others = [(one, name) for one, name in self._named if one is not exact or "." in str(one.key)]
        return _Source(
            ("exact", exact.key, *self._form),
            self._where | {"exact": self._where[f"value_{self._conditions.index(exact)}_0"][0]},
            lambda: (
                select(driver.c.workitem_key)
                .distinct()
                .where(*is_driver, *values.all_hold(others, driver.c.workitem_key))
            ),
        )

    def _of_range(self, condition: Condition) -> _Source:
        """Select matches in the index of a range. The sum prevents a scan in order."""
        driver = workitem_values.alias("driver")
        is_driver = (driver.c.partition_key == _OF_PARTITION, values.candidates(driver, condition, "range"))
        key = (driver.c.workitem_key + 0).label("key")
        return _Source(
            ("range", *values.candidate_form(condition), *self._form),
            self._where | dict(values.candidate_parameters(condition, "range")),
            lambda: select(key).distinct().where(*is_driver, *values.all_hold(self._named, driver.c.workitem_key)),
        )

    def _candidates(self, condition: Condition, limit: int) -> list[int] | None:
        """Return the keys of workitems with values of a condition; None if these are more than the limit.

        Without DISTINCT, for which PostgreSQL would read the values of all workitems in order of their keys.
        """
        parameters = {
            "of_partition": self._where["of_partition"],
            "limit": limit + 1,
            **dict(values.candidate_parameters(condition, "value")),
        }

        def statement() -> _Keys:
            return (
                select(_v.workitem_key)
                .where(_v.partition_key == _OF_PARTITION, values.candidates(workitem_values, condition, "value"))
                .limit(bindparam("limit"))
            )

        form = ("candidates", *values.candidate_form(condition))
        rows = pages.run(self._connection, form, statement, parameters)
        return None if len(rows) > limit else sorted({key for (key,) in rows})


def _is_exact(condition: Condition) -> bool:
    """Return whether a condition has one exact value."""
    [first, *others] = condition.matchers
    return not others and isinstance(first, Equals) and len(first.values) == 1


def _exact(conditions: tuple[Condition, ...]) -> Condition | None:
    """Return a condition with one exact value, if possible not the state, which most workitems share."""
    return min(filter(_is_exact, conditions), key=lambda one: one.key == _STATE, default=None)
