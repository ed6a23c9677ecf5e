"""What instances have for extended query tags, as rows.

A value is a row with part 0 that has a text or a number. A person name has a row for each component group, parts 0 to
2, and one with all its words, part 3: any group may match, or a run of words.
The values of a study or series come from its newest instance that has any; `extract` of the port says which.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, insert, select, text, update

from server.adapters.sql.keys import groups_of, kept, words_of
from server.adapters.sql.prepared import Prepared
from server.adapters.sql.rows import STUDY_KEY, within
from server.adapters.sql.tables import instances, series, studies, tag_errors, tag_values, tags
from server.model.query import Level
from server.model.tag import NewTag, QueryStatus, Tag, TagFault, TagStatus, TagValue

Row = dict[str, Any]

ERROR_COUNT = (
    select(text("count(*)")).select_from(tag_errors).where(tag_errors.c.tag_key == tags.c.key).scalar_subquery()
)
TAGS = select(tags, ERROR_COUNT.label("error_count"))
_LIVING = Prepared(select(tags).where(tags.c.status != int(TagStatus.DELETING)).order_by(tags.c.key))
_LEVELS = Prepared(select(tags.c.key, tags.c.level))
_SERIES_DEEP = 2
_TAG, _OWNER = tag_values.c.tag_key == bindparam("of_tag"), tag_values.c.owner == bindparam("of_owner")
_FORGET = Prepared(delete(tag_values).where(_TAG, _OWNER))
_INSERT = Prepared(insert(tag_values))
_INSERT_ERROR = Prepared(insert(tag_errors))
_COUNT_ERROR = Prepared(
    update(tags)
    .where(tags.c.key == bindparam("of_tag"))
    .values(last_error=bindparam("number"), query_status=int(QueryStatus.DISABLED))
)
_HAS = Prepared(
    select(tag_values.c.owner).where(_TAG, tag_values.c.owner.in_(bindparam("owners", expanding=True))).distinct()
)


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose values an instance brings: the keys of its study and series, and its version."""

    study: int
    series: int
    version: int

    def of(self, level: Level) -> int:
        """Return the one at a level."""
        return {Level.STUDY: self.study, Level.SERIES: self.series, Level.INSTANCE: self.version}[level]


def tag_of(row: Any, error_count: int = 0) -> Tag:
    """Return the tag of a row of `tags`."""
    new = NewTag(row.tag, row.keyword, row.vr, row.private_creator, Level(row.level))
    return Tag(row.key, new, TagStatus(row.status), QueryStatus(row.query_status), error_count, row.operation_id)


def living(connection: Connection) -> list[Any]:
    """Return the rows of the tags that instances are indexed by."""
    return _LIVING.rows(connection, {})


def forget_values(connection: Connection, what: Mapping[str, Any], how_deep: int) -> None:
    """Delete what instances have that are about to go; `what` names them, as deeply as `how_deep` says."""
    keys = _keys_by_level(connection)
    if not keys:
        return
    versions = select(instances.c.version).where(*within(how_deep))
    connection.execute(delete(tag_errors).where(tag_errors.c.version.in_(versions)), what)
    _forget_of(connection, keys.get(Level.INSTANCE), versions, what)
    if how_deep < _SERIES_DEEP:
        _forget_of(
            connection, keys.get(Level.SERIES), select(series.c.key).where(series.c.study_key == STUDY_KEY), what
        )


def forget_orphans(connection: Connection, study: int, one_series: int | None) -> None:
    """Delete what a study and a series have, if they are gone."""
    keys = _keys_by_level(connection)
    if not keys:
        return
    for level, table, owner in ((Level.STUDY, studies, study), (Level.SERIES, series, one_series)):
        if keys.get(level) and owner is not None:
            is_there = select(table.c.key).where(table.c.key == owner)
            of_level = tag_values.c.tag_key.in_(keys[level])
            connection.execute(delete(tag_values).where(of_level, tag_values.c.owner == owner, ~is_there.exists()))


def _keys_by_level(connection: Connection) -> dict[Level, list[int]]:
    keys: dict[Level, list[int]] = {}
    for key, level in _LEVELS.tuples(connection, {}):
        keys.setdefault(Level(level), []).append(key)
    return keys


def _forget_of(
    connection: Connection, keys: Sequence[int] | None, owners: Select[int], what: Mapping[str, Any]
) -> None:
    if keys:
        connection.execute(
            delete(tag_values).where(tag_values.c.tag_key.in_(keys), tag_values.c.owner.in_(owners)), what
        )


class Indexing:
    """Indexes instances by tags, in one transaction."""

    def __init__(self, connection: Connection, rows: Sequence[Any], time: int) -> None:
        self._connection = connection
        self._tags = {row.key: tag_of(row) for row in rows}
        self._last_errors = {row.key: row.last_error for row in rows}
        self._time = time
        self._values: dict[tuple[int, int], TagValue] = {}
        self._errors: list[Row] = []

    def take(self, values: Mapping[int, TagValue | TagFault], owners: Owners) -> None:
        """Take up what an instance has for tags; for those that are not among the rows, it has nothing.

        Of two instances with a value for the same study or series, the first that is taken counts.
        """
        for key, found in values.items():
            if key not in self._tags:
                continue
            if isinstance(found, TagFault):
                self._last_errors[key] += 1
                number = self._last_errors[key]
                self._errors.append(
                    {
                        "tag_key": key,
                        "number": number,
                        "version": owners.version,
                        "time": self._time,
                        "message": found.message,
                    }
                )
            else:
                self._values.setdefault((key, owners.of(self._tags[key].new.level)), found)

    def write_over(self) -> None:
        """Write what was taken, instead of what is there."""
        if self._values:
            _FORGET.run(self._connection, [{"of_tag": key, "of_owner": owner} for key, owner in self._values])
        self._write(self._values)

    def write_beside(self) -> None:
        """Write what was taken of those that have nothing yet."""
        owners: dict[int, list[int]] = {}
        for key, owner in self._values:
            owners.setdefault(key, []).append(owner)
        has = {
            (key, owner)
            for key, some in owners.items()
            for (owner,) in _HAS.tuples(self._connection, {"of_tag": key, "owners": some})
        }
        self._write({which: value for which, value in self._values.items() if which not in has})

    def _write(self, values: Mapping[tuple[int, int], TagValue]) -> None:
        rows = [row for (key, owner), value in values.items() for row in _rows(self._tags[key], owner, value)]
        if rows:
            _INSERT.run(self._connection, rows)
        if self._errors:
            _INSERT_ERROR.run(self._connection, self._errors)
            numbers = {error["tag_key"]: error["number"] for error in self._errors}
            _COUNT_ERROR.run(self._connection, [{"of_tag": key, "number": number} for key, number in numbers.items()])


def _rows(tag: Tag, owner: int, value: TagValue) -> Iterator[Row]:
    texts = [*groups_of(value.text), words_of(value.text)] if tag.new.vr == "PN" else [kept(value.text)]
    for part, content in enumerate(texts):
        if content or value.number is not None:
            yield {"tag_key": tag.key, "owner": owner, "part": part, "text": content or None, "number": value.number}
