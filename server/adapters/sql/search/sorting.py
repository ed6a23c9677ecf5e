"""Pages of matches in an order of values (`Query.order`), after the values of the last match of the previous page.

Rows without a value are last in both directions, so that both databases sort alike. An index on the first column serves
in two steps: the rows with a value, in the order of the index, then those without one. Without such an index, or if
conditions leave few rows, these are sorted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    tuple_,
)

from server.adapters.sql.search.matches import rows_of
from server.adapters.sql.tables.instances import instances, series
from server.adapters.sql.tables.studies import studies, study_counts
from server.model.search.query import Level, Order, Query, SortValue


def _number(column: ColumnElement[str]) -> ColumnElement[Any]:
    """Return a stored integer, which has at most 12 digits, as a number."""
    return cast(column, BigInteger)


_COLUMNS: Mapping[Level, Mapping[str, tuple[ColumnElement[Any], ...]]] = {
    Level.STUDY: {
        "StudyDate": (studies.c.study_date, studies.c.study_time),
        "StudyTime": (studies.c.study_time,),
        "PatientName": (studies.c.patient_name_1,),
        "PatientID": (studies.c.patient_id,),
        "IssuerOfPatientID": (studies.c.issuer_of_patient_id,),
        "PatientBirthDate": (studies.c.patient_birth_date,),
        "AccessionNumber": (studies.c.accession_number,),
        "StudyID": (studies.c.study_id,),
        "StudyDescription": (studies.c.study_description,),
        "ReferringPhysicianName": (studies.c.referring_physician_name_1,),
        "NumberOfStudyRelatedSeries": (studies.c.series_count,),
        "NumberOfStudyRelatedInstances": (studies.c.instance_count,),
    },
    Level.SERIES: {
        "Modality": (series.c.modality,),
        "SeriesNumber": (_number(series.c.series_number),),
        "SeriesDescription": (series.c.series_description,),
        "ManufacturerModelName": (series.c.manufacturer_model_name,),
        "PerformedProcedureStepStartDate": (
            series.c.performed_procedure_step_start_date,
            series.c.performed_procedure_step_start_time,
        ),
        "NumberOfSeriesRelatedInstances": (series.c.instance_count,),
    },
    Level.INSTANCE: {
        "InstanceNumber": (_number(instances.c.instance_number),),
        "SOPClassUID": (instances.c.sop_class_uid,),
    },
}
"""By level and keyword, the columns to sort by, in the same direction."""

_KEYS = {Level.STUDY: studies.c.key, Level.SERIES: series.c.key, Level.INSTANCE: instances.c.version}

_COUNTS: Mapping[str, ColumnElement[int]] = {
    "NumberOfStudyRelatedSeries": study_counts.c.series_count,
    "NumberOfStudyRelatedInstances": study_counts.c.instance_count,
}
"""Sort keys of studies with an index in a table of their own."""

_INDEXED = frozenset(
    {
        *("StudyDate", "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID"),
        *("StudyDescription", "ReferringPhysicianName", *_COUNTS),
    }
)
"""Sort keys of studies with an index that starts with the partition and the first column."""

_IN_PARTITION = studies.c.partition_key == bindparam("of_partition")

_SortColumn = tuple[ColumnElement[Any], bool]
"""A column, and whether the order is descending."""


def form(query: Query) -> tuple[object, ...]:
    """Return the form of an order, without values: queries of equal form have the same SQL."""
    if query.order is None:
        return ()
    return (query.order, *(value is None for value in query.after_values))


def values_of(query: Query) -> dict[str, SortValue]:
    """Return the parameters of the position after which a page starts."""
    return {f"after_{number}": value for number, value in enumerate(query.after_values)}


def has_index(order: Order) -> bool:
    """Return whether an index has the studies of a partition in the order of the first key."""
    return bool(order.keys) and order.keys[0].keyword in _INDEXED


def has_several_columns(order: Order) -> bool:
    """Return whether studies with equal values of the first column are sorted by further ones."""
    return len(_columns(Level.STUDY, order)) > 1 and not is_by_count(order)


def is_by_count(order: Order) -> bool:
    """Return whether the index of an order is that of a number of series or instances."""
    return order.keys[0].keyword in _COUNTS


def counted(keys: Select[int], query: Query, order: Order) -> Select[int]:
    """Return keys of studies of any partition with their counts, limited to the partition of the query.

    No other index has the partition of `study_counts`, so databases start with the one in the order of the counts.
    """
    in_partition = study_counts.c.partition_key == bindparam("of_partition")
    if not query.conditions and len(order.keys) == 1:
        return select(study_counts.c.study_key).where(in_partition)
    return keys.join_from(studies, study_counts, study_counts.c.study_key == studies.c.key).where(in_partition)


def is_past_values(query: Query) -> bool:
    """Return whether a page starts behind all rows with a value of the first column."""
    return bool(query.after_values) and query.after_values[0] is None


def page(keys: Select[int], query: Query, order: Order) -> Select[*tuple[Any, ...]]:
    """Select a page by sorting the rows of `keys`."""
    columns = _columns(query.level, order)
    if query.after is not None:
        keys = keys.where(_is_after(columns, query.after_values, _KEYS[query.level], order))
    return _page(keys, query, order, columns, _sorted_by(columns, _KEYS[query.level], order))


def value_at(order: Order) -> Select[*tuple[Any, ...]]:
    """Select the first value of the study at an offset, reading only the index on it."""
    (first, descending), *_ = _columns(Level.STUDY, order)
    found = select(first).where(_IN_PARTITION, first.is_not(None))
    return found.order_by(first.desc() if descending else first.asc()).limit(1).offset(bindparam("skip"))


def count_before(order: Order) -> Select[*tuple[Any, ...]]:
    """Select the number of studies whose first value is before `from_value`."""
    (first, descending), *_ = _columns(Level.STUDY, order)
    value: BindParameter[Any] = bindparam("from_value")
    return select(func.count()).where(_IN_PARTITION, first > value if descending else first < value)


def count_values(keys: Select[int], level: Level, order: Order) -> Select[*tuple[Any, ...]]:
    """Select the number of `keys` whose rows have a value of the first column."""
    (first, _), *_ = _columns(level, order)
    return select(func.count()).select_from(keys.where(first.is_not(None)).subquery())


def page_by_index(
    keys: Select[int], query: Query, order: Order, *, has_value: bool, is_far: bool = False
) -> Select[*tuple[Any, ...]]:
    """Select a page in the order of an index: of the rows with a value of the first column, or of those without.

    `keys` are of `counted` if `is_by_count`. With `is_far`, rows with a value before `from_value` are left out.
    """
    columns = _columns(query.level, order)
    key: ColumnElement[int] = _KEYS[query.level]
    if is_by_count(order):
        columns[0] = (_COUNTS[order.keys[0].keyword], columns[0][1])
        key = study_counts.c.study_key
    (first, descending), *others = columns
    if not has_value:
        keys = keys.where(first.is_(None))
        if is_past_values(query):
            keys = keys.where(_is_after(others, query.after_values[1:], key, order, number=1))
        return _page(keys, query, order, columns, _sorted_by(others, key, order))
    keys = keys.where(first.is_not(None))
    if is_far:
        value: BindParameter[Any] = bindparam("from_value")
        keys = keys.where(first <= value if descending else first >= value)
    if query.after is not None:
        position: BindParameter[Any] = bindparam("after_0")
        if not others and descending is not order.oldest_first:  # like the index, in one of its directions
            here, last = tuple_(first, key), tuple_(position, bindparam("after"))
            keys = keys.where(here < last if descending else here > last)
        else:
            # The first condition is the range of the index.
            keys = keys.where(first <= position if descending else first >= position)
            keys = keys.where(_is_after(columns, query.after_values, key, order))
    by_index = first.desc() if descending else first.asc()
    return _page(keys, query, order, columns, [by_index, *_sorted_by(others, key, order)])


def _columns(level: Level, order: Order) -> list[_SortColumn]:
    return [(column, key.descending) for key in order.keys for column in _COLUMNS[level][key.keyword]]


def _page(
    keys: Select[int],
    query: Query,
    order: Order,
    columns: Sequence[_SortColumn],
    sorted_by: Sequence[ColumnElement[Any]],
) -> Select[*tuple[Any, ...]]:
    found = keys.add_columns(*(column.label(f"value_{number}") for number, (column, _) in enumerate(columns)))
    found = found.order_by(*sorted_by).limit(bindparam("limit"))
    if query.skip:
        found = found.offset(bindparam("skip"))
    chosen = found.subquery("page")
    page_key, *values = chosen.c
    of_page = [(value, descending) for value, (_, descending) in zip(values, columns, strict=True)]
    return rows_of(query.level, chosen).order_by(*_sorted_by(of_page, page_key, order))


def _sorted_by(columns: Sequence[_SortColumn], key: ColumnElement[int], order: Order) -> list[ColumnElement[Any]]:
    def expressions() -> Iterator[ColumnElement[Any]]:
        for column, descending in columns:
            yield column.is_(None)
            yield column.desc() if descending else column.asc()
        yield key.asc() if order.oldest_first else key.desc()

    return list(expressions())


def _is_after(
    columns: Sequence[_SortColumn],
    values: Sequence[SortValue],
    key: ColumnElement[int],
    order: Order,
    number: int = 0,
) -> ColumnElement[bool]:
    """Return the condition that a row is behind a position, whose values are the parameters from `number` on."""
    if not columns:
        return key > bindparam("after") if order.oldest_first else key < bindparam("after")
    (column, descending), *others = columns
    behind_equal = _is_after(others, values[1:], key, order, number + 1)
    if values[0] is None:
        return and_(column.is_(None), behind_equal)
    value: BindParameter[Any] = bindparam(f"after_{number}")
    behind = column < value if descending else column > value
    return or_(column.is_(None), behind, and_(column == value, behind_equal))
