"""Changes to studies and series by new instances."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.search.keys import columns_of, date_time_of, several_of
from server.adapters.sql.tables.instances import series, series_values
from server.adapters.sql.tables.studies import studies
from server.model.instance import LevelAttributes
from server.model.search.query import Level
from server.model.search.return_keys import elements_of_lines, lines_of_elements

Row = dict[str, Any]

_TABLES: Mapping[Level, Table] = {Level.STUDY: studies, Level.SERIES: series}
_VALUES = Prepared(
    select(series_values).where(series_values.c.series_key.in_(bindparam("series_keys", expanding=True)))
)
_DELETE_VALUES = Prepared(
    delete(series_values).where(
        series_values.c.series_key == bindparam("of_series"), series_values.c.keyword == bindparam("of_keyword")
    )
)
_INSERTS = {table: Prepared(insert(table)) for table in (studies, series, series_values)}
_NOTHING: dict[Table, Row] = {table: dict.fromkeys(table.c.keys()) for table in (studies, series)}
_UPDATES = {table: Prepared(update(table).where(table.c.key == bindparam("of_key"))) for table in (studies, series)}


@dataclass(slots=True)
class Group:
    """A study or series to be written.

    columns: changed columns of an existing row, or all columns of a new one.
    last: the attributes merged last. The instances of a series mostly have equal attributes of their series and study.
    """

    key: int
    is_new: bool
    row: Row
    elements: dict[str, Any]
    columns: Row = field(default_factory=dict)
    several: dict[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    last: LevelAttributes | None = None

    def merge(self, level: Level, attributes: LevelAttributes) -> None:
        """Overwrite values of earlier instances; an invalid value only fills an empty column."""
        if attributes == self.last:
            return
        self.last = attributes
        if attributes.invalid:
            attributes = attributes.without(attributes.invalid.keys() & self.elements.keys())
        columns, several = _derived(level, attributes.keys)
        for name, value in columns.items():
            self.set(name, value)
        if self.row.get("utc_offset"):
            self.set(*date_time_of(_TABLES[level], self.row))
        self.several.update(several)
        changed = {tag: element for tag, element in attributes.elements.items() if self.elements.get(tag) != element}
        if changed:
            self.elements |= changed
            self.columns["elements"] = self.elements

    def set(self, name: str, value: Any) -> None:
        """Change a column."""
        if self.row.get(name) != value:
            self.row[name] = self.columns[name] = value

    def count(self, name: str) -> None:
        """Increment a counter."""
        self.set(name, self.row.get(name, 0) + 1)


_Derived = tuple[Mapping[str, str | None], Mapping[str, tuple[tuple[int, str], ...]]]

_last: dict[Level, tuple[Mapping[str, str], _Derived]] = {}
"""The search keys from which columns and values were derived last: most instances have those of the one before."""


def _derived(level: Level, keys: Mapping[str, str]) -> _Derived:
    """Return the columns and the values of multi-valued keys that follow from the search keys of a study or series."""
    last = _last.get(level)
    if last is not None and last[0] == keys:
        return last[1]
    derived = columns_of(level, keys), several_of(level, keys)
    _last[level] = dict(keys), derived
    return derived


def existing(row: Any) -> Group:
    """Return a study or series from its complete row."""
    return Group(row.key, False, row._asdict(), elements_of_lines(row.elements))


def write_groups(connection: Connection, table: Table, groups: Iterable[Group]) -> None:
    """Insert new rows, and update changed ones."""
    new = []
    for group in groups:
        if group.is_new:
            new.append(_NOTHING[table] | group.row | {"elements": lines_of_elements(group.elements)})
        elif group.columns:
            values = dict(group.columns)
            if "elements" in values:
                values["elements"] = lines_of_elements(group.elements)
            _UPDATES[table].send(connection, [{"of_key": group.key, **values}])
    if new:
        _INSERTS[table].send(connection, new)


def write_several(connection: Connection, groups: Iterable[Group]) -> None:
    """Replace the values of multi-valued search keys."""
    given = [(group, keyword, values) for group in groups for keyword, values in group.several.items()]
    if not given:
        return
    present: dict[tuple[int, str], set[tuple[int, str]]] = {}
    old = {group.key for group, _, _ in given if not group.is_new}
    if old:
        for row in _VALUES.rows(connection, {"series_keys": old}):
            present.setdefault((row.series_key, row.keyword), set()).add((row.item, row.value))
    rows: list[Row] = []
    for group, keyword, values in given:
        before = present.get((group.key, keyword), set())
        if before == set(values):
            continue
        if before:
            _DELETE_VALUES.send(connection, [{"of_series": group.key, "of_keyword": keyword}])
        rows += [
            {"series_key": group.key, "keyword": keyword, "item": item, "value": value, "shard": group.row["shard"]}
            for item, value in dict.fromkeys(values)
        ]
    if rows:
        _INSERTS[series_values].send(connection, rows)
