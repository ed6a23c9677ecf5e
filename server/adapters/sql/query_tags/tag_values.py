"""Values of instances for extended query tags, as rows.

A value is a row with part 0 that has a text or a number. A person name has a row for each component group, parts 0 to
2, and
one with all its words, part 3: any group may match, or a run of words. The values of a study or series come from its
    newest instance that has any; see `extract` of the port.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, bindparam, delete, func, insert, select, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.search.keys import column_text, groups_of, words_of
from server.adapters.sql.tables.deletions import deleted_series
from server.adapters.sql.tables.query_tags import tag_errors, tag_values, tags
from server.model.instance import NewInstance
from server.model.search.query import Level
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagFault, TagStatus, TagValue
from server.ports.tags import Extract

Row = dict[str, Any]
Found = Mapping[int, TagValue | TagFault]

_LIVING = Prepared(select(tags).where(tags.c.status != int(TagStatus.DELETING)).order_by(tags.c.key))
_LEVELS = Prepared(select(tags.c.key, tags.c.level, tags.c.error_count))
_TAG, _OWNER = tag_values.c.tag_key == bindparam("of_tag"), tag_values.c.owner == bindparam("of_owner")
_FORGET = Prepared(delete(tag_values).where(_TAG, _OWNER))
_INSERT = Prepared(insert(tag_values))
_INSERT_ERROR = Prepared(insert(tag_errors))
_COUNT_ERRORS = Prepared(
    update(tags)
    .where(tags.c.key == bindparam("of_tag"))
    .values(
        last_error=bindparam("number"),
        error_count=tags.c.error_count + bindparam("more", type_=BigInteger),
        query_status=int(QueryStatus.DISABLED),
    )
)
_HAS = Prepared(
    select(tag_values.c.owner).where(_TAG, tag_values.c.owner.in_(bindparam("owners", expanding=True))).distinct()
)


@dataclass(frozen=True, slots=True)
class Owners:
    """The owners of an instance's values: the keys of its study and series, its version, and the shard and the key of
    the partition of all three."""

    study: int
    series: int
    version: int
    shard: int
    partition: int

    def of(self, level: Level) -> int:
        """Return the owner at a level."""
        return {Level.STUDY: self.study, Level.SERIES: self.series, Level.INSTANCE: self.version}[level]


def tag_of(row: Any) -> Tag:
    """Return the query tag of a row of `tags`."""
    new = NewTag(row.tag, row.keyword, row.vr, row.private_creator, Level(row.level))
    return Tag(row.key, new, TagStatus(row.status), QueryStatus(row.query_status), row.error_count, row.operation_id)


def active(connection: Connection) -> list[Any]:
    """Return the rows of the tags by which instances are indexed."""
    return _LIVING.rows(connection, {})


def delete_of_versions(connection: Connection, versions: Sequence[int]) -> None:
    """Delete the values of instances that are to be deleted."""
    keys, have_errors = _keys_by_level(connection)
    if have_errors:
        _delete_errors(connection, versions)
    _delete_of(connection, keys.get(Level.INSTANCE), tag_values.c.owner.in_(versions))


def delete_of_series(connection: Connection, study: int, one_series: int | None = None) -> None:
    """Delete the values of a deleted series, or of all deleted series of a study."""
    keys, _ = _keys_by_level(connection)
    if of_level := keys.get(Level.SERIES):
        of_study = select(deleted_series.c.key).where(deleted_series.c.study_key == study)
        owner = tag_values.c.owner
        _delete_of(connection, of_level, owner.in_(of_study) if one_series is None else owner == one_series)


def delete_of_study(connection: Connection, study: int) -> None:
    """Delete the values of a deleted study."""
    keys, _ = _keys_by_level(connection)
    _delete_of(connection, keys.get(Level.STUDY), tag_values.c.owner == study)


def _keys_by_level(connection: Connection) -> tuple[dict[Level, list[int]], bool]:
    """Return the row keys of query tags, and whether any has errors."""
    keys: dict[Level, list[int]] = {}
    have_errors = False
    for key, level, error_count in _LEVELS.tuples(connection, {}):
        keys.setdefault(Level(level), []).append(key)
        have_errors |= error_count > 0
    return keys, have_errors


def _delete_errors(connection: Connection, versions: Sequence[int]) -> None:
    of_versions = tag_errors.c.version.in_(versions)
    counts = select(tag_errors.c.tag_key, func.count()).where(of_versions).group_by(tag_errors.c.tag_key)
    for key, count in connection.execute(counts).all():
        subtract_errors(connection, key, count)
    connection.execute(delete(tag_errors).where(of_versions))


def subtract_errors(connection: Connection, key: int, count: int) -> None:
    """Subtract deleted errors from the count of their tag."""
    connection.execute(update(tags).where(tags.c.key == key).values(error_count=tags.c.error_count - count))


def _delete_of(connection: Connection, keys: Sequence[int] | None, is_owner: ColumnElement[bool]) -> None:
    if keys:
        connection.execute(delete(tag_values).where(tag_values.c.tag_key.in_(keys), is_owner))


class ByTags:
    """The values of added instances for the existing tags."""

    def __init__(self, rows: Sequence[Any], extract: Extract, time: int) -> None:
        self._rows = rows
        self._tags = [tag_of(row) for row in rows]
        self._extract = extract
        self._time = time
        self._taken: list[tuple[Found, Owners]] = []

    def of(self, new: NewInstance) -> Found:
        """Return the values of an instance for tags, by their keys."""
        return self.found(new.dicom_json, new.invalid_tags)

    def found(self, dicom_json: bytes, invalid_tags: frozenset[str]) -> Found:
        """Return the values in metadata for tags, by their keys."""
        return self._extract(dicom_json, self._tags, invalid_tags) if self._tags else {}

    def faults(self, found: Found) -> tuple[tuple[NewTag, TagFault], ...]:
        """Return the values that cannot be indexed."""
        by_tag = ((tag.new, found.get(tag.key)) for tag in self._tags)
        return tuple((tag, fault) for tag, fault in by_tag if isinstance(fault, TagFault))

    def take(self, found: Found, owners: Owners) -> None:
        """Collect the values of an added instance."""
        if found:
            self._taken.append((found, owners))

    def write(self, connection: Connection) -> None:
        """Write the collected values, replacing existing ones."""
        if self._taken:
            indexing = Indexing(connection, self._rows, self._time)
            for found, owners in reversed(self._taken):  # the latest value applies
                indexing.take(found, owners)
            indexing.write_over()


class Indexing:
    """Indexes instances by query tags, in one transaction."""

    def __init__(self, connection: Connection, rows: Sequence[Any], time: int) -> None:
        self._connection = connection
        self._tags = {row.key: tag_of(row) for row in rows}
        self._last_errors = {row.key: row.last_error for row in rows}
        self._time = time
        self._values: dict[tuple[int, int], TagValue] = {}
        self._errors: list[tuple[int, int, str, int, int]] = []
        self._shards: dict[tuple[int, int], int] = {}

    def take(self, values: Found, owners: Owners) -> None:
        """Collect the values of an instance for tags; tags without a row have no value.

        If two instances have a value for the same study or series, the first collected one applies.
        """
        for key, found in values.items():
            if key not in self._tags:
                continue
            if isinstance(found, TagFault):
                self._errors.append((owners.version, key, found.message, owners.shard, owners.partition))
            else:
                which = (key, owners.of(self._tags[key].new.level))
                self._values.setdefault(which, found)
                self._shards[which] = owners.shard

    def write_over(self) -> None:
        """Write the collected values, replacing existing ones."""
        if self._values:
            _FORGET.send(self._connection, [{"of_tag": key, "of_owner": owner} for key, owner in self._values])
        self._write(self._values)

    def write_beside(self) -> None:
        """Write the collected values of owners without a value."""
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
        rows = [
            {**row, "shard": self._shards[key, owner]}
            for (key, owner), value in values.items()
            for row in _rows(self._tags[key], owner, value)
        ]
        if rows:
            _INSERT.send(self._connection, rows)
        if self._errors:
            _INSERT_ERROR.send(self._connection, list(self._numbered_errors()))
            more = Counter(key for _, key, *_ in self._errors)
            counts = [{"of_tag": key, "number": self._last_errors[key], "more": count} for key, count in more.items()]
            _COUNT_ERRORS.send(self._connection, counts)

    def _numbered_errors(self) -> Iterator[Row]:
        """Yield rows of errors; for errors of the same time, that of the older instance is first."""
        for version, key, message, shard, partition in sorted(self._errors):
            self._last_errors[key] += 1
            yield {
                "tag_key": key,
                "number": self._last_errors[key],
                "version": version,
                "time": self._time,
                "message": message,
                "shard": shard,
                "partition_key": partition,
            }


def _rows(tag: Tag, owner: int, value: TagValue) -> Iterator[Row]:
    texts = [*groups_of(value.text), words_of(value.text)] if tag.new.vr == "PN" else [column_text(value.text)]
    for part, content in enumerate(texts):
        if content or value.number is not None:
            yield {"tag_key": tag.key, "owner": owner, "part": part, "text": content or None, "number": value.number}
