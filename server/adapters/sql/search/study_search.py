"""Search for all studies of a partition.

An index may return few or many studies, depending on the values: a range may be a day or ten years, a modality frequent
or rare. Therefore the search requests slightly more keys than the limit for few:

1. An exact value (patient ID, date, ...) returns few: any index that the database chooses is good.
2. Substrings are looked up in `trigrams`. If candidates are not in order of the result, a sample of the newest studies
  shows their frequency: frequent ones soon fill a page in order, rare ones are looked up and sorted.
3. A modality returns its studies in order of the result.
4. Of a range, a prefix, a modality, and text combined with one of those, the first one that returns few is used.
5. If all return many, and a range is among them, a page is likely to be among the newest studies.
6. If it is not: text in order, a range if it can still be sorted (more of it if it is the only condition, because its
  index has the keys), otherwise all studies in order until the page is full.

In another order (`sorting`), studies are sorted if a condition returns few, or those of a modality at a large offset;
otherwise all studies in that order are examined until the page is full.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Select, Table, bindparam, func, select, union_all

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.search import likes, pages, sorting
from server.adapters.sql.search.conditions import MODALITIES_IN_STUDY, form_of, holds, values_of
from server.adapters.sql.search.keys import COLUMNS, column_text
from server.adapters.sql.search.matches import rows_of
from server.adapters.sql.search.pages import Rows
from server.adapters.sql.search.trigrams import is_in_order, of_studies
from server.adapters.sql.tables.instances import series
from server.adapters.sql.tables.studies import STUDIES_PER_BLOCK, studies, study_block_changes, study_blocks
from server.model.search.query import Between, Condition, Equals, Level, Like, Matcher, NameMatches, Order, Query

FEW = 1_000
"""Number of studies that are examined one by one."""

NEWEST = 2_000
"""Number of newest studies that are examined before more expensive ways."""

SAMPLE = 1_000
"""Number of studies examined to estimate the frequency of a text."""

FREQUENT = 10
"""Number of matches in a sample from which a scan in order is faster than sorting."""

MAX_SORTED = 20_000
"""Maximum number of studies of a range that are sorted; beyond, all studies are scanned in order."""

MAX_SORTED_KEYS = 300_000
"""The same if the range is the only condition: only keys in its index are read and sorted, 0.1 s for so many."""

MAX_SORTED_BY_VALUE = 5_000
"""The same in an order of values: about the number from which reading all studies in order until a page is full takes
less, in an archive of some hundred thousand."""

MAX_SORTED_FAR = 100_000
"""The same at a large offset, up to which all studies would have to be read."""

FAR_SHARE = 8
"""Studies of a modality are sorted at an offset of at least one in so many: up to there, all studies would be read."""

MAX_SORTED_OF_MODALITY = 300_000
"""Maximum number of studies of a modality that are sorted at a large offset, 2 µs each."""

MAX_MODALITIES = 32
"""Maximum number of modalities that are looked up one by one."""

FAR = STUDIES_PER_BLOCK
"""From this offset, blocks are skipped."""

_INDEXED = frozenset(key for key, column in COLUMNS.items() if column.table is studies) - {
    "StudyTime",
    "IssuerOfPatientID",
}
"""Search keys of studies with an index on their values."""

_OF_PARTITION = studies.c.partition_key == bindparam("of_partition")
_CANDIDATES = {
    dialect: Prepared(of_studies.bare_candidates(dialect).limit(bindparam("limit")))
    for dialect in ("sqlite", "postgresql")
}

_OF_MODALITY_ALL = (
    select(series.c.study_key)
    .distinct()
    .where(series.c.partition_key == bindparam("of_partition"), series.c.modality == bindparam("modality"))
    .order_by(series.c.study_key.desc())
    .limit(bindparam("limit"))
    .offset(bindparam("skip"))
)
_OF_MODALITY = Prepared(_OF_MODALITY_ALL)
_OF_MODALITY_AFTER = Prepared(_OF_MODALITY_ALL.where(series.c.study_key < bindparam("after")))
_NEWEST = Prepared(select(func.max(studies.c.key)).where(_OF_PARTITION))
_OF_PAGE = Prepared(
    rows_of(
        Level.STUDY,
        select(studies.c.key).where(studies.c.key.in_(bindparam("of_page", expanding=True))).subquery("page"),
    )
)


def search_studies(connection: Connection, query: Query, where: dict[str, Any]) -> Rows:
    """Return a page of rows of the studies that meet the conditions; `where` has their values."""
    if query.order is not None:
        return _sorted(connection, query, query.order, where)
    conditions = query.conditions
    if not conditions:
        is_far = query.skip >= FAR and query.after is None
        return _far_page(connection, query, where) if is_far else _any_way(connection, query, where)
    if any(map(_leads_to_few, conditions)):
        return _any_way(connection, query, where)
    spread = [condition for condition in conditions if _is_spread(condition)]
    wanted = modalities(conditions[0]) if len(conditions) == 1 else set()
    if len(wanted) == 1 or (wanted and _is_near(query)):
        return _by_modality(connection, query, where, wanted)
    text = _sought(connection, conditions)
    if text is not None:
        where["trigrams"] = text
        if not spread:
            return _by_text(connection, query, where)
    elif not spread:
        return _any_way(connection, query, where)
    for condition in spread:
        if not _has_more(connection, condition, where, FEW):
            return _among(connection, query, where, _keys(connection, condition, where))
    if text is not None and len(keys := _containing(connection, text)) <= FEW:
        return _among(connection, query, where, keys)
    ranges = [condition for condition in spread if condition.key != MODALITIES_IN_STUDY]
    if ranges and query.skip + query.limit <= NEWEST:
        rows = _among_newest(connection, query, where, NEWEST)
        if len(rows) == query.limit:
            return rows
    if text is not None:
        return _by_text(connection, query, where)
    if len(conditions) == 1 and conditions[0].key in COLUMNS:
        if not _has_more(connection, conditions[0], where, MAX_SORTED_KEYS):
            return _by_range(connection, query, where)
    elif not ranges or not all(_has_more(connection, condition, where, MAX_SORTED) for condition in ranges):
        return _any_way(connection, query, where)
    return _in_order(connection, query, where)


def _sorted(connection: Connection, query: Query, order: Order, where: dict[str, Any]) -> Rows:
    """Return a page in an order of values."""
    if not sorting.has_index(order):
        return _any_way(connection, query, where)
    for condition in query.conditions:
        if _leads_to_few(condition) or _is_spread(condition):
            if not _has_more(connection, condition, where, FEW):
                return _among(connection, query, where, _keys(connection, condition, where))
            if condition.key == MODALITIES_IN_STUDY and connection.dialect.name == "sqlite":
                most = max(MAX_SORTED_BY_VALUE, min(FAR_SHARE * query.skip, MAX_SORTED_OF_MODALITY))
                if not _has_more(connection, condition, where, most):
                    return _of_modality_sorted(connection, query, condition, where)
                continue
            # The index of the order is also that of a condition on its first key.
            is_first = condition.key == order.keys[0].keyword
            most = MAX_SORTED_FAR if query.skip >= FAR and condition.key in COLUMNS else MAX_SORTED_BY_VALUE
            if not is_first and not _has_more(connection, condition, where, most):
                return _any_way(connection, query, where)
    text = of_studies.sought([one for one in query.conditions if not _is_spread(one)], connection.dialect.name)
    if text is not None and len(keys := _containing(connection, text)) <= FEW:
        return _among(connection, query, where, keys)
    return _in_sorted_order(connection, query, order, where)


def _in_sorted_order(connection: Connection, query: Query, order: Order, where: dict[str, Any]) -> Rows:
    """Return a page by scanning all studies in the order of an index: first those with a value, then the others."""
    is_far = query.skip >= FAR and not query.conditions and sorting.has_several_columns(order)
    if is_far:
        where |= _start_of_group(connection, query, order, where)

    def keys() -> Select[int]:
        if sorting.is_by_count(order):
            return sorting.counted(pages.meeting(Level.STUDY, query.conditions), query, order)
        return pages.within_scope(query)

    def rows(*, has_value: bool) -> Rows:
        def statement() -> Select[*tuple[Any, ...]]:
            return sorting.page_by_index(keys(), query, order, has_value=has_value, is_far=is_far)

        return pages.run(connection, ("by index", has_value, is_far, *pages.form(query)), statement, where)

    found = () if sorting.is_past_values(query) else rows(has_value=True)
    left = query.limit - len(found)
    if not left or sorting.is_by_count(order):
        return found
    where |= {"limit": left}
    if query.skip and not sorting.is_past_values(query):
        skipped = 0 if found else query.skip - _count_values(connection, query, order, where)
        where |= {"skip": skipped}
    return [*found, *rows(has_value=False)]


def _start_of_group(connection: Connection, query: Query, order: Order, where: dict[str, Any]) -> dict[str, Any]:
    """Return the first value of the study at a large offset, and how many studies with this value are before it.

    Only the index on the first column is read, not the further columns of all studies before.
    """
    form = ("group", order.keys[0])
    found = pages.run(connection, (*form, "value"), lambda: sorting.value_at(order), where)
    if not found:  # in the part without values
        return {"from_value": None}
    where = where | {"from_value": found[0][0]}
    [(before,)] = pages.run(connection, (*form, "before"), lambda: sorting.count_before(order), where)
    return {"from_value": found[0][0], "skip": query.skip - before}


def _count_values(connection: Connection, query: Query, order: Order, where: dict[str, Any]) -> int:
    """Return the number of matches with a value of the first column."""

    def statement() -> Select[*tuple[Any, ...]]:
        return sorting.count_values(pages.within_scope(query), query.level, order)

    form = ("values", order.keys[0].keyword, *map(form_of, query.conditions))
    return int(pages.run(connection, form, statement, where)[0][0])


def _sought(connection: Connection, conditions: Sequence[Condition]) -> str | None:
    """Return the expression for the text index, if there is an index and a suitable condition."""
    if any(map(_leads_to_few, conditions)):
        return None
    return of_studies.sought([one for one in conditions if not _is_spread(one)], connection.dialect.name)


def text_leading_to(connection: Connection, conditions: Sequence[Condition]) -> str | None:
    """Return the expression for the text index, if that is the best way to the studies."""
    text = _sought(connection, conditions)
    if text is None or not any(map(_is_spread, conditions)):
        return text
    return text if len(_containing(connection, text)) <= FEW else None


def _leads_to_few(condition: Condition) -> bool:
    """Return whether an index returns few studies for a condition."""
    return condition.key in _INDEXED and all(isinstance(matcher, Equals) for matcher in condition.matchers)


def _is_spread(condition: Condition) -> bool:
    """Return whether an index returns studies for a condition, possibly many."""
    if condition.key == MODALITIES_IN_STUDY:
        return all(isinstance(matcher, Equals) for matcher in condition.matchers)
    if condition.key == "PatientName":
        # Longer values are found by text.
        return all(map(_is_range, condition.matchers)) and not of_studies.helps(condition)
    return condition.key in _INDEXED and all(map(_is_range, condition.matchers))


def _is_range(matcher: Matcher) -> bool:
    match matcher:
        case Like(pattern):
            return likes.form(pattern) in ("begins", "whole")
        case NameMatches(patterns):
            return all(likes.form(pattern) in ("begins", "whole") for pattern in patterns)
        case _:
            return isinstance(matcher, Between | Equals)


def has_many(connection: Connection, text: str) -> bool:
    """Return whether the text index returns more than `FEW` studies."""
    return len(_containing(connection, text)) > FEW


def _containing(connection: Connection, text: str) -> list[int]:
    """Return keys of studies from the text index, at most one more than `FEW`."""
    candidates = _CANDIDATES[connection.dialect.name]
    return [key for (key,) in candidates.tuples(connection, {"trigrams": text, "limit": FEW + 1})]


def _has_more(connection: Connection, condition: Condition, where: dict[str, Any], than: int) -> bool:
    """Return whether an index returns more than `than` rows for a condition. Reads only the index."""

    def statement() -> Select[int]:
        key = series.c.key if condition.key == MODALITIES_IN_STUDY else studies.c.key
        return _leading(condition, key).limit(1).offset(bindparam("than"))

    parameters = _parameters(condition, where) | {"than": than}
    return bool(pages.run(connection, ("more", form_of(condition)), statement, parameters))


def _keys(connection: Connection, condition: Condition, where: dict[str, Any]) -> list[int]:
    """Return the keys of all studies that meet a condition that returns few."""

    def statement() -> Select[int]:
        return _leading(condition, series.c.study_key if condition.key == MODALITIES_IN_STUDY else studies.c.key)

    found = pages.run(connection, ("keys", form_of(condition)), statement, _parameters(condition, where))
    return [key for (key,) in found]


def _leading(condition: Condition, key: Column[int]) -> Select[int]:
    """Select a column of the studies, or of their series, that meet a condition."""
    if condition.key == MODALITIES_IN_STUDY:
        condition = Condition("Modality", condition.matchers)
    in_partition = key.table.c.partition_key == bindparam("of_partition")
    return select(key).where(in_partition, holds(condition, "value"))


def _parameters(condition: Condition, where: dict[str, Any]) -> dict[str, Any]:
    return {**dict(values_of(condition, "value")), "of_partition": where["of_partition"]}


def _any_way(connection: Connection, query: Query, where: dict[str, Any]) -> Rows:
    """Return a page by the query plan that the database chooses."""
    return pages.run(
        connection, ("walk", *pages.form(query)), lambda: pages.page(pages.within_scope(query), query), where
    )


def _by_range(connection: Connection, query: Query, where: dict[str, Any]) -> Rows:
    """Return a page by sorting the keys that the index of the only condition has."""

    def statement() -> Select[*tuple[Any, ...]]:
        return pages.page(pages.within_scope(query), query, studies.c.key + 0)

    return pages.run(connection, ("by range", *pages.form(query)), statement, where)


def _by_text(connection: Connection, query: Query, where: dict[str, Any]) -> Rows:
    dialect = connection.dialect.name
    if not is_in_order(dialect):
        rows = _among_newest(connection, query, where, SAMPLE)
        if len(rows) == query.limit:
            return rows
        is_frequent = rows and query.skip + len(rows) >= FREQUENT
        # PostgreSQL would compute the trigrams of many studies again.
        if is_frequent or has_many(connection, where["trigrams"]):
            return _in_order(connection, query, where)
    return pages.run(
        connection, ("text", dialect, *pages.form(query)), lambda: pages.page_containing(query, dialect), where
    )


def _among(connection: Connection, query: Query, where: dict[str, Any], keys: list[int]) -> Rows:
    """Return a page of the studies with these keys."""
    if not keys:
        return []

    def statement() -> Select[*tuple[Any, ...]]:
        among = _by_key(query).where(studies.c.key.in_(bindparam("among", expanding=True)))
        return pages.page(among, query, studies.c.key + 0)

    return pages.run(connection, ("among", *pages.form(query)), statement, where | {"among": sorted(set(keys))})


def _of_modality_sorted(connection: Connection, query: Query, condition: Condition, where: dict[str, Any]) -> Rows:
    """Return a page by sorting all studies with a modality, which its index has.

    SQLite would rather examine every study. PostgreSQL finds good ways by itself: this one would take longer there.
    """

    def statement() -> Select[*tuple[Any, ...]]:
        # If it is the only one, it is not examined again for each study.
        meeting = _by_key(replace(query, conditions=()) if len(query.conditions) == 1 else query)
        return pages.page(meeting.where(studies.c.key.in_(_leading(condition, series.c.study_key))), query)

    return pages.run(
        connection,
        ("of modality", form_of(condition), *pages.form(query)),
        statement,
        {**where, **_parameters(condition, where)},
    )


def _is_near(query: Query) -> bool:
    """Return whether the end of the page is near enough to examine studies one by one."""
    return query.skip + query.limit <= MAX_SORTED


def modalities(condition: Condition) -> set[str]:
    """Return the exact modalities of a condition; empty if they are too many to be looked up one by one."""
    if condition.key != MODALITIES_IN_STUDY:
        return set()
    exact = [matcher.values for matcher in condition.matchers if isinstance(matcher, Equals)]
    values = {value for some in exact for value in some}
    return values if len(exact) == len(condition.matchers) and len(values) <= MAX_MODALITIES else set()


def _by_modality(connection: Connection, query: Query, where: dict[str, Any], wanted: set[str]) -> Rows:
    """Return a page of the studies with a series of one of the modalities."""
    is_one = len(wanted) == 1  # its studies are in order, so those before the page need not be returned
    given = {"of_partition": where["of_partition"], "after": query.after}
    given |= {"limit": query.limit, "skip": query.skip} if is_one else {"limit": query.skip + query.limit, "skip": 0}
    statement = _OF_MODALITY if query.after is None else _OF_MODALITY_AFTER
    keys = {
        key for value in wanted for (key,) in statement.tuples(connection, given | {"modality": column_text(value)})
    }
    page = sorted(keys, reverse=True)[0 if is_one else query.skip :][: query.limit]
    if not page:
        return []
    return _OF_PAGE.tuples(connection, {"of_page": page})


def _among_newest(connection: Connection, query: Query, where: dict[str, Any], keys: int) -> Rows:
    """Return the part of a page within the newest `keys` studies after the previous page.

    The limits are values, not subqueries: otherwise PostgreSQL expects a fixed part of all studies, and reads them all.
    """
    last = query.after
    if last is None:
        [(newest,)] = _NEWEST.tuples(connection, where)
        last = (newest or 0) + 1

    def statement() -> Select[*tuple[Any, ...]]:
        of_newest = studies.c.key.between(bindparam("oldest", type_=BigInteger), bindparam("newest", type_=BigInteger))
        return pages.page(_by_key(query).where(of_newest), query)

    limits = {"oldest": last - keys, "newest": last - 1}
    return pages.run(connection, ("newest", *pages.form(query)), statement, where | limits)


def _in_order(connection: Connection, query: Query, where: dict[str, Any]) -> Rows:
    """Return a page by scanning all studies in order."""
    return pages.run(connection, ("in order", *pages.form(query)), lambda: pages.page(_by_key(query), query), where)


def _by_key(query: Query) -> Select[int]:
    """Select keys of studies that meet conditions; forces the use of the primary key.

    All other indexes start with the partition; the sum prevents their use.
    """
    in_partition = studies.c.partition_key + 0 == bindparam("of_partition")
    return pages.meeting(Level.STUDY, query.conditions).where(in_partition)


def _starts_of_blocks(dialect: str) -> Prepared:
    """Return the statement that finds the block of an offset, and the number of studies in the blocks before."""
    counted = blocks_of_partition(dialect).subquery()
    through = func.sum(counted.c.studies).over(order_by=counted.c.block.desc())
    blocks = select(counted.c.block, counted.c.studies, through.label("through")).subquery()
    return Prepared(
        select(blocks.c.block, (blocks.c.through - blocks.c.studies).label("before"))
        .where(blocks.c.through > bindparam("skip"))
        .order_by(blocks.c.block.desc())
        .limit(1)
    )


def blocks_of_partition(dialect: str) -> Select[*tuple[Any, ...]]:
    """Select the number of studies in each block of a partition."""

    def of_partition(table: Table) -> Select[*tuple[Any, ...]]:
        return select(table.c.block, table.c.studies).where(table.c.partition_key == bindparam("of_partition"))

    if dialect == "sqlite":
        return of_partition(study_blocks)
    every = union_all(of_partition(study_blocks), of_partition(study_block_changes)).subquery()
    return select(every.c.block, func.sum(every.c.studies).label("studies")).group_by(every.c.block)


_BLOCK = {dialect: _starts_of_blocks(dialect) for dialect in ("sqlite", "postgresql")}


def _far_page(connection: Connection, query: Query, where: dict[str, Any]) -> Rows:
    """Return a page of all studies at a large offset."""
    found = _BLOCK[connection.dialect.name].tuples(connection, where)
    if not found:
        return []
    block, before = found[0]
    where |= {"after": (block + 1) * STUDIES_PER_BLOCK, "skip": query.skip - int(before)}
    return pages.run(
        connection,
        ("far", *pages.form(query)),
        lambda: pages.page(pages.within_scope(query), query, is_after=True),
        where,
    )
