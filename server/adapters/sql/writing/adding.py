"""The transaction that makes instances visible.

It takes a dozen statements for any number of instances: existing rows are looked up together, everything else is
determined in memory, and rows are written table by table. With PostgreSQL, the look-ups are one round trip, and the
rows and the commit another.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, Table, bindparam, delete, insert, select, text

from server.adapters.sql.audit_outbox import change_outbox
from server.adapters.sql.core import counters
from server.adapters.sql.core.counters import Counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.partitions import PartitionKeys, deleted_later
from server.adapters.sql.query_tags.tag_values import ByTags, Found, Owners
from server.adapters.sql.rows import OF_SERIES, stored_instance
from server.adapters.sql.search.keys import columns_of
from server.adapters.sql.tables.instances import (
    FRAMES_PER_CHUNK,
    bulk_elements,
    frame_chunks,
    instances,
    metadata,
    series,
    versions,
)
from server.adapters.sql.tables.lifecycle import expiries
from server.adapters.sql.tables.studies import STUDIES_PER_BLOCK, studies, study_block_changes, study_blocks
from server.adapters.sql.writing.holding import hold_on, holds_later
from server.adapters.sql.writing.merging import Group, Row, existing, write_groups, write_several
from server.adapters.sql.writing.open_deletions import note_stored, tags_and_pending_later
from server.adapters.sql.writing.replacing import Replacing
from server.adapters.sql.writing.usage import UsageChanges
from server.model.change import ChangeAction
from server.model.errors import NotFound, Reason
from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import (
    Added,
    AddOutcome,
    AlreadyStored,
    Faulty,
    NewInstance,
    OnHold,
    PartitionGone,
    PixelLayout,
    StoredInstance,
)
from server.model.lifecycle.expiry import Expiry
from server.model.lifecycle.version import VersionOrigin
from server.model.search.query import Level
from server.model.search.return_keys import lines_of_elements
from server.ports.index import Batch
from server.ports.journal import ExpiryChange
from server.ports.outbox import RecordsOf
from server.ports.tags import Extract

_CHUNK_BYTES = FRAMES_PER_CHUNK * PixelLayout.RECORD_BYTES
_MODALITY = "00080060"

# Statements are compiled once: compiling takes as long as running.
_UIDS: BindParameter[str] = bindparam("uids", expanding=True)
_STUDIES = Prepared(
    select(studies).where(studies.c.partition_key == bindparam("partition_key"), studies.c.uid.in_(_UIDS))
)
_SERIES = Prepared(
    select(series).where(
        series.c.study_key.in_(
            select(studies.c.key).where(
                studies.c.partition_key == bindparam("partition_key"),
                studies.c.uid.in_(bindparam("study_uids", expanding=True)),
            )
        ),
        series.c.uid.in_(_UIDS),
    )
)
_INSTANCES = Prepared(
    select(instances.c.key, *OF_SERIES)
    .join_from(instances, versions, versions.c.version == instances.c.version)
    .where(instances.c.partition_key == bindparam("partition_key"), instances.c.uid.in_(_UIDS))
)
_COUNT_STUDIES = Prepared(
    text(
        "INSERT INTO study_blocks (partition_key, block, studies) VALUES (:partition_key, :block, :studies) "
        "ON CONFLICT (partition_key, block) DO UPDATE SET studies = study_blocks.studies + excluded.studies"
    )
)
_DELETE_EMPTY_BLOCKS = Prepared(
    delete(study_blocks).where(
        study_blocks.c.partition_key == bindparam("partition_key"),
        study_blocks.c.block == bindparam("block"),
        study_blocks.c.studies == 0,
    )
)
_DELETE_EXPIRY = Prepared(delete(expiries).where(expiries.c.study_key == bindparam("of_study_key")))
_INSERT_EXPIRY = Prepared(insert(expiries))
_CHANGE_BLOCK = Prepared(insert(study_block_changes))
_TABLES = (metadata, frame_chunks, bulk_elements)
_INSERTS = {table: Prepared(insert(table)) for table in _TABLES}


def add(
    connection: Connection,
    partition_keys: PartitionKeys,
    wanted: Batch,
    now: datetime,
    extract: Extract,
    records_of: RecordsOf | None,
) -> list[AddOutcome]:
    """Implements `InstanceIndex.add`."""
    new = wanted() if callable(wanted) else wanted
    if not new:
        return []
    batch = begin(connection, partition_keys, new, now, extract)
    outcomes = [batch.add(instance) for instance in new]
    if any(isinstance(outcome, Added) for outcome in outcomes):
        if records_of is not None:
            change_outbox(connection, records_of(outcomes))
        batch.write(connection)
    else:
        batch.write_only_expiries(connection)
    return outcomes


def begin(
    connection: Connection,
    partition_keys: PartitionKeys,
    new: Sequence[NewInstance],
    now: datetime,
    extract: Extract,
    *,
    replaces: bool = False,
    known: Mapping[InstanceId, tuple[int, StoredInstance]] | None = None,
) -> "StudyChanges":
    """Lock the studies of the instances to be added, and look up existing rows.

    replaces: the instances replace existing ones; otherwise only those that may.
    known: keys and current versions of all existing instances, if these were looked up with the studies locked.
    """
    keys = _keys_of_partitions(connection, partition_keys, new)
    shards: dict[StudyIdentity, int] = {
        (partition, study): shard_of(connection, keys[partition], study)
        for partition, study in {(one.id.partition, one.id.study) for one in new}
    }
    replaces = replaces or any(one.may_replace for one in new)
    most_versions = len(new) if replaces else len({one.id for one in new})
    locked = counters.lock_later(connection, shards.values(), versions=most_versions)
    tags_and_pending = tags_and_pending_later(connection)
    gone = deleted_later(connection, keys.values())
    found = [_Existing(connection, name, key, new, known, with_holds=replaces) for name, key in keys.items()]
    last = locked()
    time = last.time(now)
    tags, deletions = tags_and_pending()
    changes = StudyChanges(keys, shards, last, time, ByTags(tags, extract, time), deletions)
    for existing_rows in found:
        changes.load(existing_rows)
    changes.gone = {key for (key,) in gone()}
    changes.reserve(new)
    return changes


StudyIdentity = tuple[PartitionName, str]
SeriesIdentity = tuple[PartitionName, str, str]


def _in_series(series_: SeriesIdentity, uid: str) -> InstanceId:
    partition, study, one = series_
    return InstanceId(partition, Uid(study), Uid(one), Uid(uid))


class _Existing:
    """The rows of a partition that instances to be added may have; each function returns some."""

    def __init__(
        self,
        connection: Connection,
        name: PartitionName,
        partition_key: int,
        new: Sequence[NewInstance],
        known: Mapping[InstanceId, tuple[int, StoredInstance]] | None,
        *,
        with_holds: bool,
    ) -> None:
        ids = [instance.id for instance in new if instance.id.partition == name]
        self.partition = name
        study_uids, series_uids = {id_.study for id_ in ids}, {id_.series for id_ in ids}
        of = {"partition_key": partition_key}
        self.studies = _STUDIES.later(connection, {**of, "uids": study_uids})
        self.series = _SERIES.later(connection, {**of, "study_uids": study_uids, "uids": series_uids})
        self._known = known
        if known is None:
            self._rows = _INSTANCES.later(connection, {**of, "uids": {id_.instance for id_ in ids}})
        self.holds = holds_later(connection, partition_key, ids) if with_holds else tuple

    def instances(self, series_of: Mapping[int, SeriesIdentity]) -> Iterable[tuple[int, StoredInstance]]:
        """Return the keys and current versions of instances in series, which are given by their keys."""
        if self._known is not None:
            return self._known.values()
        return (
            (row.key, stored_instance(row, _in_series(series_of[row.series_key], row.uid)))
            for row in self._rows()
            if row.series_key in series_of
        )


def _keys_of_partitions(
    connection: Connection, partition_keys: PartitionKeys, new: Sequence[NewInstance]
) -> dict[PartitionName, int]:
    names = {instance.id.partition for instance in new}
    keys = partition_keys.of(connection, names)
    if missing := names - keys.keys():
        raise _no_partition(min(missing))
    return keys


def _no_partition(name: PartitionName) -> NotFound:
    return NotFound(Reason.PARTITION_NOT_FOUND, f"There is no partition {name}.", partition=name)


class StudyChanges:
    """All changes of one transaction.

    Args:
        time: of the changes.
        open_deletions: rows of `open_deletions.pending`.
    """

    def __init__(
        self,
        partition_keys: Mapping[PartitionName, int],
        shards: Mapping[StudyIdentity, int],
        last: Counters,
        time: int,
        by_tags: ByTags,
        open_deletions: Sequence[Any],
    ) -> None:
        self._partition_keys = partition_keys
        self._shards = shards
        self._last = last
        self.time = time
        self._by_tags = by_tags
        self._open_deletions = open_deletions
        self._new: list[NewInstance] = []
        self._stored: dict[InstanceId, StoredInstance] = {}
        self._keys: dict[InstanceId, int] = {}  # of instances, by identity
        self._replacing = Replacing(time)
        self._studies: dict[StudyIdentity, Group] = {}
        self._series: dict[SeriesIdentity, Group] = {}
        self._rows: dict[Table, list[Row]] = {table: [] for table in _TABLES}
        self._usage = UsageChanges()
        self._entries: list[Row] = []
        self._holds: dict[PartitionName, Sequence[Any]] = {}
        self._expiries: dict[StudyIdentity, Row] = {}
        self.gone: Set[int] = frozenset()

    def load(self, rows: _Existing) -> None:
        """Take over existing studies, series and instances of a partition."""
        name = rows.partition
        self._holds[name] = rows.holds()
        study_uids = {}
        for row in rows.studies():
            self._studies[name, row.uid] = existing(row)
            study_uids[row.key] = row.uid
        series_of: dict[int, SeriesIdentity] = {}
        for row in rows.series() if study_uids else ():
            identity = series_of[row.key] = (name, study_uids[row.study_key], row.uid)
            self._series[identity] = existing(row)
        if series_of:  # without an existing series, there are no instances
            for key, stored in rows.instances(series_of):
                self._stored[stored.id] = stored
                self._keys[stored.id] = key

    def reserve(self, new: Sequence[NewInstance]) -> None:
        """Reserve the keys of new studies and series."""
        if self._last.must_reserve:
            self._last.reserve(
                studies=len(self._shards.keys() - self._studies.keys()),
                series=len({(one.id.partition, one.id.study, one.id.series) for one in new} - self._series.keys()),
            )

    def add(self, new: NewInstance) -> AddOutcome:
        """Collect the changes for one instance."""
        if self.gone and self._partition_keys[new.id.partition] in self.gone:
            return PartitionGone(_no_partition(new.id.partition))
        found = self._by_tags.of(new)
        if new.must_be_indexed and (faults := self._by_tags.faults(found)):
            return Faulty(faults)
        existing = self._stored.get(new.id)
        if existing is not None:
            if not new.may_replace or _has_equal_content(new, existing):
                if _has_equal_content(new, existing):
                    self._set_expiry(new)
                return AlreadyStored(existing)
            return self._held(new.id) or self._replace(new, existing, found)
        version, study, series_ = self._merged(new)
        for group in (study, series_):
            group.count("instance_count")
        self._usage.instances[study.row["partition_key"], study.row["shard"]] += 1
        self._keys[new.id] = version
        self._replacing.created(version, self._instance_row(new, version, study, series_))
        self._add_version(new, version, study.row["shard"], ChangeAction.CREATE, new.provenance.origin)
        self._by_tags.take(found, _owners(study, series_, version))
        return Added(Version(version))

    def replace(self, new: NewInstance) -> Added | Faulty | OnHold | None:
        """Collect the changes for a new version of an instance; None if there is no such instance."""
        existing = self._stored.get(new.id)
        if existing is None:
            return None
        found = self._by_tags.of(new)
        if new.must_be_indexed and (faults := self._by_tags.faults(found)):
            return Faulty(faults)
        return self._held(new.id) or self._replace(new, existing, found)

    def _held(self, instance: InstanceId) -> OnHold | None:
        error = hold_on(instance, self._holds[instance.partition])
        return None if error is None else OnHold(error)

    def _replace(self, new: NewInstance, existing: StoredInstance, found: Found) -> Added:
        version, study, series_ = self._merged(new)
        origin = new.provenance.origin
        if origin is VersionOrigin.STORED:
            origin = VersionOrigin.REPLACED
        self._replacing.replaced(existing, study.key, series_.key, {"version": version, **_content_columns(new)})
        self._add_version(new, version, study.row["shard"], ChangeAction.UPDATE, origin)
        self._by_tags.take(found, _owners(study, series_, version))
        return Added(Version(version), replaced=existing.version)

    def _merged(self, new: NewInstance) -> tuple[int, Group, Group]:
        """Return a new version, with study and series after they took over the attributes of the instance."""
        study = self._study(new)
        series_ = self._series_of(new, study)
        version = self._last.next_version()
        study.merge(Level.STUDY, new.study)
        series_.merge(Level.SERIES, new.series)
        if modality := series_.elements.get(_MODALITY, {}).get("Value"):
            series_.set("modality_as_stored", str(modality[0]))
        for group in (study, series_):
            group.set("max_version", version)
        return version, study, series_

    def _study(self, new: NewInstance) -> Group:
        identity = (new.id.partition, new.id.study)
        group = self._studies.get(identity)
        if group is None:
            fixed: Row = {
                "key": self._last.next_study_key(),
                "shard": self._shards[identity],
                "partition_key": self._partition_keys[new.id.partition],
                "uid": new.id.study,
                "series_count": 0,
            }
            group = self._studies[identity] = Group(fixed["key"], True, fixed, {})
        return group

    def _series_of(self, new: NewInstance, study: Group) -> Group:
        identity = (new.id.partition, new.id.study, new.id.series)
        group = self._series.get(identity)
        if group is None:
            fixed: Row = {
                "key": self._last.next_series_key(),
                "shard": study.row["shard"],
                "partition_key": self._partition_keys[new.id.partition],
                "study_key": study.key,
                "uid": new.id.series,
            }
            group = self._series[identity] = Group(fixed["key"], True, fixed, {})
            study.count("series_count")
            self._usage.series[study.row["partition_key"], study.row["shard"]] += 1
        return group

    def _instance_row(self, new: NewInstance, version: int, study: Group, series_: Group) -> Row:
        return {
            "version": version,
            "shard": study.row["shard"],
            "key": version,
            "partition_key": self._partition_keys[new.id.partition],
            "study_key": study.key,
            "series_key": series_.key,
            "uid": new.id.instance,
            **_content_columns(new),
        }

    def _add_version(
        self, new: NewInstance, version: int, shard: int, action: ChangeAction, origin: VersionOrigin
    ) -> None:
        """Collect the rows of a version and its entry in the change feed."""
        self._new.append(new)
        self._set_expiry(new)
        self._stored[new.id] = _as_stored(new, version)
        self._replacing.added(
            {
                "version": version,
                "shard": shard,
                "instance_key": self._keys[new.id],
                "created": self.time,
                "reason": new.provenance.reason or None,
                "author": new.provenance.author or None,
                "origin": None if origin is VersionOrigin.STORED else int(origin),
                "transfer_syntax_uid": new.transfer_syntax_uid,
                "size_bytes": new.size_bytes,
                "crc32c": new.crc32c,
                "locator": new.locator,
                "is_mislabelled": 1 if new.is_mislabelled else None,
                **_pixel_columns(new.pixels),
            }
        )
        self._usage.stored_bytes[self._partition_keys[new.id.partition], shard] += new.size_bytes
        invalid_tags = " ".join(sorted(new.invalid_tags)) or None
        self._rows[metadata].append(
            {"version": version, "shard": shard, "dicom_json": new.dicom_json, "invalid_tags": invalid_tags}
        )
        self._rows[frame_chunks] += [
            {"version": version, "shard": shard, "chunk": chunk, "records": records}
            for chunk, records in _chunks(new.pixels)
        ]
        self._rows[bulk_elements] += [
            {
                "version": version,
                "shard": shard,
                "path": bulk.path,
                "vr": bulk.vr,
                "offset": bulk.offset,
                "length": bulk.length,
            }
            for bulk in new.bulk
        ]
        self._entries.append(
            {
                "position": version,
                "shard": shard,
                "time": self.time,
                "action": int(action),
                "version": version,
                "partition_key": self._partition_keys[new.id.partition],
                "study_uid": new.id.study,
                "series_uid": new.id.series,
                "sop_uid": new.id.instance,
                "trace": new.trace or None,
            }
        )

    def _set_expiry(self, new: NewInstance) -> None:
        if new.expires is not None:
            study = self._studies[new.id.partition, new.id.study]
            self._expiries[new.id.partition, new.id.study] = {
                "study_key": study.key,
                "shard": study.row["shard"],
                "partition_key": study.row["partition_key"],
                "study_uid": new.id.study,
                "expires": to_microseconds(new.expires),
                "author": new.provenance.author,
                "time": self.time,
            }

    def write_only_expiries(self, connection: Connection) -> None:
        """Set the expiry of studies to which no instance was added."""
        if self._expiries:
            self._write_expiries(connection)
            self._last.save()

    def _write_expiries(self, connection: Connection) -> None:
        if not self._expiries:
            return
        if progress := progress_of(connection.info):
            for (partition, study), row in self._expiries.items():
                expiry = Expiry(to_datetime(row["expires"]), row["author"], to_datetime(row["time"]))
                address = Address(partition, Uid(study))
                progress.journal.expires(ExpiryChange(self._last.next_version(), expiry.time, address, expiry))
        rows = list(self._expiries.values())
        _DELETE_EXPIRY.send(connection, [{"of_study_key": row["study_key"]} for row in rows])
        _INSERT_EXPIRY.send(connection, rows)

    def write(self, connection: Connection) -> None:
        """Write all changes."""
        self._write_expiries(connection)
        note_stored(connection, self._open_deletions, self._partition_keys, self._new)
        write_groups(connection, studies, self._studies.values())
        _count_new_studies(connection, self._studies.values())
        write_groups(connection, series, self._series.values())
        write_several(connection, self._series.values())
        self._replacing.write(connection)
        for table, rows in self._rows.items():
            if rows:
                _INSERTS[table].send(connection, rows)
        self._usage.write(connection)
        self._last.write_entries(self._entries)
        self._by_tags.write(connection)
        self._replacing.delete_tag_values(connection)
        self._last.save()


def _count_new_studies(connection: Connection, groups: Iterable[Group]) -> None:
    blocks = Counter(
        (group.row["partition_key"], group.key // STUDIES_PER_BLOCK, group.row["shard"])
        for group in groups
        if group.is_new
    )
    change_blocks(connection, blocks)


def change_blocks(connection: Connection, studies_of: Mapping[tuple[int, int, int], int]) -> None:
    """Update the number of studies, by partition, block and shard."""
    rows = [
        {"partition_key": partition_key, "block": block, "studies": count, "shard": shard}
        for (partition_key, block, shard), count in studies_of.items()
    ]
    if not rows:
        return
    # where updating the row of a block would block transactions on other studies
    if connection.dialect.name == "postgresql":
        _CHANGE_BLOCK.send(connection, rows)
        return
    _COUNT_STUDIES.send(connection, rows)
    if any(count < 0 for count in studies_of.values()):
        _DELETE_EMPTY_BLOCKS.send(connection, rows)


def _owners(study: Group, series_: Group, version: int) -> Owners:
    return Owners(study.key, series_.key, version, study.row["shard"], study.row["partition_key"])


def _has_equal_content(new: NewInstance, existing: StoredInstance) -> bool:
    """Return whether the content must be taken as equal; a caller that compared all bytes may know better."""
    is_equal = (new.size_bytes, new.crc32c) == (existing.size_bytes, existing.crc32c)
    return is_equal and new.differs_from != existing.version


def _content_columns(new: NewInstance) -> Row:
    """Return the columns of an instance that depend on its content and have changed."""
    if new.instance is None:
        return {}
    return {
        "sop_class_uid": new.sop_class_uid,
        "elements": lines_of_elements(new.instance.elements),
        **columns_of(Level.INSTANCE, new.instance.keys),
    }


def _pixel_columns(pixels: PixelLayout | None) -> Row:
    if pixels is None:
        return dict.fromkeys(("number_of_frames", "pixel_offset", "pixel_length", "bits_allocated", "frame_bits"))
    return {
        "number_of_frames": pixels.number_of_frames,
        "pixel_offset": pixels.offset,
        "pixel_length": pixels.length,
        "bits_allocated": pixels.bits_allocated,
        "frame_bits": pixels.frame_bits,
    }


def _chunks(pixels: PixelLayout | None) -> Iterator[tuple[int, bytes]]:
    if pixels is not None:
        for chunk, start in enumerate(range(0, len(pixels.table), _CHUNK_BYTES)):
            yield chunk, pixels.table[start : start + _CHUNK_BYTES]


def _as_stored(new: NewInstance, version: int) -> StoredInstance:
    return StoredInstance(
        id=new.id,
        version=Version(version),
        sop_class_uid=new.sop_class_uid,
        transfer_syntax_uid=new.transfer_syntax_uid,
        size_bytes=new.size_bytes,
        crc32c=new.crc32c,
        locator=new.locator,
        is_mislabelled=new.is_mislabelled,
    )
