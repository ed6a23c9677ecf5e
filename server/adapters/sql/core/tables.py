"""The definition of the schema.

- Keys of studies and series, and versions of instances, ascend in the order of storing and are never reused. They
  define the order of search results.
- All rows of a study have its shard, a hash of its partition and UID (see `core.shards`). A transaction locks the rows
  of its shards in `counters` first, so transactions on the same study run one after the other.
  SQLite, which has one writer, has one shard. In PostgreSQL the shard is the last column of every primary key, unique
  constraint and foreign key of these tables, so that they can be partitioned or distributed by it; unique values are
  unique within a study, or random.
- An instance is a row of `instances`: its identity, and the search keys of its current version. Rows of `versions`
  describe its bytes, one per version; none is overwritten. Metadata, frames and bulk data belong to a version.
- Deleted rows move to separate tables, `deleted_...`, so that searches never read them, and remain there until their
  bytes are erased. A delete of many instances moves the study or series at once, and the instances later: see
  `deletions`.
- In SQLite, entries of the change feed are numbered in the transaction that writes them. In PostgreSQL they wait in
  `unsequenced` until a sequencer numbers them.
- `elements` holds return keys as lines, see `server.model.search.return_keys`.
- Rows of `instances` are narrow, because searches scan them. Data that is read per instance has its own tables.
- Search columns hold normalised text (see `server.dicom.matching.attributes`), NULL for none, at most
  `MAX_TEXT_LENGTH` characters: PostgreSQL indexes at most about 2,700 bytes. They compare by code point.
- Times are microseconds since 1970-01-01 UTC: exact, and the same on all databases.
- Transactions that add and delete update counts and newest versions; queries do not count rows.
- `study_counts` repeats the counts of `studies` for sorting; triggers update it.
- `studies` and `workitem_texts` have a text index, which triggers update in SQLite; see `search.trigrams`.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

REVISION = "0025"
"""The migration that creates this schema."""

OLDEST_CODE = "0022"
"""The oldest `REVISION` whose code can use a database with this schema.

A migration that takes away what this code uses must raise it, to its own `down_revision` or to itself; a test compares.
So must one that adds what each change of a row must maintain, such as the counts of partitions in 0022.
"""

MAX_TEXT_LENGTH = 512
"""Number of characters of a value that are searchable."""

FRAMES_PER_CHUNK = 1024

NAME_GROUPS = 3
"""Alphabetic, ideographic and phonetic (PS3.5 section 6.2.1)."""

Key = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is an alias of the rowid
Label = Text().with_variant(Text(collation="C"), "postgresql")  # SQLite's default collation is by code point

tables = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


def _key(name: str) -> Column[int]:
    return Column(name, Key, primary_key=True, autoincrement=False)


SHARD = "shard"
_OF_A_STUDY = {"is_sharded": True}
"""The `info` of tables whose rows belong to a study."""


def _shard() -> Column[int]:
    return Column(SHARD, SmallInteger, nullable=False, comment="hash of partition and study; see core/shards.py")


@compiles(PrimaryKeyConstraint, "postgresql")
@compiles(UniqueConstraint, "postgresql")
@compiles(ForeignKeyConstraint, "postgresql")
def _with_shard(constraint: Any, compiler: Any, **options: Any) -> str:
    """Add the shard as last column of a constraint."""
    visit = getattr(compiler, f"visit_{constraint.__visit_name__}")
    sql: str = visit(constraint, **options)
    if constraint.table.info.get("is_sharded") and "locator" not in constraint.columns:
        return sql.replace(")", f", {SHARD})")
    return sql


def _name(keyword: str) -> list[Column[str]]:
    """Return the columns of a person name: its component groups, and all its words separated by spaces."""
    groups = [Column(f"{keyword}_{group}", Label) for group in range(1, NAME_GROUPS + 1)]
    return [*groups, Column(f"{keyword}_words", Label)]


counters = Table(
    "counters",
    tables,
    _key(SHARD),
    Column("version", BigInteger, nullable=False),
    Column("study_key", BigInteger, nullable=False, comment="SQLite only; PostgreSQL has sequences"),
    Column("series_key", BigInteger, nullable=False, comment="as study_key"),
    comment="one row per shard: the last assigned numbers",
)

SEQUENCES = ("study_keys", "series_keys", "version_numbers", "workitem_keys", "workitem_event_keys")
"""Sequences of PostgreSQL for keys and versions: transactions do not wait for each other. Unused numbers leave gaps."""

for _name_of_sequence in SEQUENCES:
    Sequence(_name_of_sequence, data_type=BigInteger, metadata=tables)

feed = Table(
    "feed",
    tables,
    _key("key"),
    Column("sequence", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    comment="one row: sequence and time of the last numbered entry",
)

archive = Table(
    "archive",
    tables,
    _key("key"),
    Column("id", Label, nullable=False, comment="the same as in archive.json of the data directory"),
    comment="one row: identity of the archive",
)

compatibility = Table(
    "compatibility",
    tables,
    _key("key"),
    Column("oldest_code", Label, nullable=False, comment="as OLDEST_CODE of the program that migrated last"),
    comment="one row",
)

clock = Table(
    "clock",
    tables,
    _key("key"),
    Column("time", BigInteger, nullable=False, comment="microseconds since 1970-01-01 UTC"),
    comment="one row: the latest time of the clock for erasing deadlines",
)

partitions = Table(
    "partitions",
    tables,
    _key("key"),
    Column("name", Label, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("duplicates", SmallInteger, comment="see model/partition.py; NULL: the setting applies"),
    Column("deleted", BigInteger, comment="time of its deletion; NULL: it exists"),
    Column("deletion_key", BigInteger, comment="number of its deletion in the journal, until it is completed"),
    UniqueConstraint("name"),
    comment="deleted ones remain, because entries of the change feed refer to them",
)

partition_usage = Table(
    "partition_usage",
    tables,
    Column("partition_key", Key, primary_key=True, autoincrement=False),
    Column(SHARD, SmallInteger, primary_key=True, autoincrement=False, comment="see core/shards.py"),
    Column("stored_bytes", BigInteger, nullable=False, comment="of all versions whose bytes are not erased"),
    Column("series", BigInteger, nullable=False, server_default=text("0")),
    Column("instances", BigInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)

studies = Table(
    "studies",
    tables,
    _key("key"),
    _shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    *_name("patient_name"),
    Column("patient_id", Label),
    Column("patient_birth_date", Label),
    Column("accession_number", Label),
    *_name("referring_physician_name"),
    Column("study_date", Label),
    Column("study_time", Label),
    Column("study_id", Label),
    Column("study_description", Label),
    Column("elements", Text, nullable=False, comment="DICOM JSON"),
    Column("series_count", BigInteger, nullable=False),
    Column("instance_count", BigInteger, nullable=False),
    Column("max_version", BigInteger, nullable=False),
    Column("utc_offset", Label, comment="+HHMM or -HHMM"),
    Column(
        "study_date_time", Label, comment="date and time in UTC, if the offset is known; see model/search/date_time.py"
    ),
    Column("issuer_of_patient_id", Label),
    UniqueConstraint("partition_key", "uid"),
    Index(None, "partition_key", "key"),
    Index(None, "partition_key", "patient_id", "key"),
    Index(None, "partition_key", "accession_number", "key"),
    Index(None, "partition_key", "study_date", "key"),
    Index(None, "partition_key", "patient_birth_date", "key"),
    Index(None, "partition_key", "study_id", "key"),
    Index(None, "partition_key", "study_description", "key"),
    Index(None, "partition_key", "referring_physician_name_1", "key"),
    *(Index(None, "partition_key", f"patient_name_{group}", "key") for group in range(1, NAME_GROUPS + 1)),
    info=_OF_A_STUDY,
)


def _only_in(dialect: str, statement: str) -> ExecutableDDLElement:
    made: ExecutableDDLElement = DDL(statement).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
    return made


class TextIndex:
    """An index of the trigrams in columns of a table, created and dropped with it; see `search.trigrams`.

    table: its key is `key`.
    letters: the columns, and the prefix of their trigrams in PostgreSQL's index, which distinguishes the columns.
    in_sqlite: name of the index in SQLite, a table that triggers update.
    trigrams: the trigrams of a row, in PostgreSQL. Statements with this expression can use the index.
    """

    def __init__(self, table: Table, letters: Mapping[str, str], in_sqlite: str, in_postgresql: str) -> None:
        self.table = table
        self.letters = letters
        self.in_sqlite = in_sqlite
        self.trigrams = self._trigrams(f"{table.name}.")
        for statement in self._statements():
            event.listen(table, "after_create", _only_in("sqlite", statement))
        event.listen(table, "before_drop", _only_in("sqlite", f"DROP TABLE {in_sqlite}"))
        create = (
            f"CREATE INDEX {in_postgresql} ON {table.name} USING gin ({self._trigrams('')}) "
            "WITH (gin_pending_list_limit = 256)"
        )
        event.listen(table, "after_create", _only_in("postgresql", create))

    def _trigrams(self, prefix: str) -> str:
        parts = (f"'{letter}' || {prefix}{name}" for name, letter in self.letters.items())
        return f"dicomstore_trigrams(ARRAY[{', '.join(parts)}])"

    def _statements(self) -> tuple[str, ...]:
        """Return the statements that create the index of SQLite and its triggers."""
        index, table = self.in_sqlite, self.table.name
        names, old, new = (", ".join(prefix + name for name in self.letters) for prefix in ("", "old.", "new."))
        # An external-content index needs the old text in order to delete its entries (sqlite.org/fts5.html, 4.4.3).
        forget = f"INSERT INTO {index}({index}, rowid, {names}) VALUES ('delete', old.key, {old});"  # noqa: S608 - our names
        take_up = f"INSERT INTO {index}(rowid, {names}) VALUES (new.key, {new});"  # noqa: S608 - our names
        return (
            f"CREATE VIRTUAL TABLE {index} USING fts5({names}, content='{table}', content_rowid='key', "
            "tokenize='trigram case_sensitive 1', detail=column, columnsize=0)",
            f"CREATE TRIGGER {index}_insert AFTER INSERT ON {table} BEGIN {take_up} END",
            f"CREATE TRIGGER {index}_delete AFTER DELETE ON {table} BEGIN {forget} END",
            f"CREATE TRIGGER {index}_update AFTER UPDATE OF {names} ON {table} BEGIN {forget} {take_up} END",
        )


_FUNCTION = """
CREATE FUNCTION dicomstore_trigrams(parts text[]) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
SELECT array_to_tsvector(coalesce(array_agg(DISTINCT left(part, 1) || substr(part, start, 3)), '{}'))
FROM unnest(parts) AS part, generate_series(2, length(part) - 2) AS start $$
"""
event.listen(studies, "after_create", _only_in("postgresql", _FUNCTION))
event.listen(studies, "after_drop", _only_in("postgresql", "DROP FUNCTION dicomstore_trigrams"))

_NAME_LETTERS = {"patient_name": "p", "referring_physician_name": "r"}
STUDY_TEXT = TextIndex(
    studies,
    {
        **{f"{name}_{group}": letter for name, letter in _NAME_LETTERS.items() for group in range(1, NAME_GROUPS + 1)},
        "patient_id": "i",
        "accession_number": "a",
        "study_description": "d",
    },
    in_sqlite="study_text",
    in_postgresql="ix_studies_text",
)

study_counts = Table(
    "study_counts",
    tables,
    Column("study_key", Key, primary_key=True, autoincrement=False),
    _shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("series_count", BigInteger, nullable=False),
    Column("instance_count", BigInteger, nullable=False),
    Index(None, "partition_key", "series_count", "study_key"),
    Index(None, "partition_key", "instance_count", "study_key"),
    info=_OF_A_STUDY,
    comment="counts of studies with indexes, for sorting; triggers of studies update it",
)
"""Apart from `studies`, because PostgreSQL writes all indexes of a row again when an indexed column of it changes."""

_COUNT_FUNCTION = """
CREATE FUNCTION dicomstore_study_counts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO study_counts (study_key, shard, partition_key, series_count, instance_count)
        VALUES (new.key, new.shard, new.partition_key, new.series_count, new.instance_count);
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM study_counts WHERE study_key = old.key AND shard = old.shard;
    ELSE
        UPDATE study_counts SET series_count = new.series_count, instance_count = new.instance_count
        WHERE study_key = new.key AND shard = new.shard;
    END IF;
    RETURN NULL;
END $$
"""
_COUNT_TRIGGERS = {
    "insert AFTER INSERT ON studies": """
    INSERT INTO study_counts (study_key, shard, partition_key, series_count, instance_count)
    VALUES (new.key, new.shard, new.partition_key, new.series_count, new.instance_count);
""",
    "delete AFTER DELETE ON studies": """
    DELETE FROM study_counts WHERE study_key = old.key;
""",
    "update AFTER UPDATE OF series_count, instance_count ON studies": """
    UPDATE study_counts SET series_count = new.series_count, instance_count = new.instance_count
    WHERE study_key = new.key;
""",
}
"""In SQLite; those of PostgreSQL call the function."""

event.listen(studies, "after_create", _only_in("postgresql", _COUNT_FUNCTION))
event.listen(studies, "after_drop", _only_in("postgresql", "DROP FUNCTION dicomstore_study_counts"))
for _when, _work in _COUNT_TRIGGERS.items():
    _trigger = f"CREATE TRIGGER study_counts_{_when}"
    event.listen(studies, "after_create", _only_in("sqlite", f"{_trigger} BEGIN {_work} END"))
    _call = "FOR EACH ROW EXECUTE FUNCTION dicomstore_study_counts()"
    event.listen(studies, "after_create", _only_in("postgresql", f"{_trigger} {_call}"))

STUDIES_PER_BLOCK = 1024

study_blocks = Table(
    "study_blocks",
    tables,
    Column("partition_key", Key, primary_key=True, autoincrement=False),
    Column("block", Key, primary_key=True, autoincrement=False, comment="key of a study / STUDIES_PER_BLOCK"),
    Column("studies", BigInteger, nullable=False, comment="number of studies of the partition in the block"),
    comment="number of studies per block, for large offsets",
    sqlite_with_rowid=False,
)

study_block_changes = Table(
    "study_block_changes",
    tables,
    _shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("studies", BigInteger, nullable=False, comment="change of the number of studies in the block"),
    Index(None, "partition_key"),
    comment="PostgreSQL only: changes that the sequencer adds to study_blocks",
)

series = Table(
    "series",
    tables,
    _key("key"),
    Column("partition_key", BigInteger, nullable=False),
    _shard(),
    Column("study_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    Column("modality", Label),
    Column("modality_as_stored", Label, comment="for Modalities in Study"),
    Column("series_number", Label),
    Column("performed_procedure_step_start_date", Label),
    Column("performed_procedure_step_start_time", Label),
    Column("manufacturer_model_name", Label),
    Column("series_description", Label),
    Column("elements", Text, nullable=False, comment="DICOM JSON"),
    Column("instance_count", BigInteger, nullable=False),
    Column("max_version", BigInteger, nullable=False),
    Column("utc_offset", Label, comment="+HHMM or -HHMM"),
    Column("performed_procedure_step_start_date_time", Label, comment="as study_date_time"),
    UniqueConstraint("study_key", "uid"),
    Index(None, "study_key", "key"),
    Index(None, "partition_key", "key"),
    Index(None, "partition_key", "uid"),
    Index(None, "partition_key", "modality", "key"),
    Index(None, "partition_key", "modality", "study_key"),
    Index(None, "partition_key", "series_number", "key"),
    Index(None, "partition_key", "manufacturer_model_name", "key"),
    Index(None, "partition_key", "performed_procedure_step_start_date", "key"),
    info=_OF_A_STUDY,
)

series_values = Table(
    "series_values",
    tables,
    Column("series_key", Key, primary_key=True, autoincrement=False),
    Column("keyword", Label, primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False, comment="item number in the sequence, from 0"),
    Column("value", Label, primary_key=True),
    _shard(),
    Index(None, "keyword", "value"),
    info=_OF_A_STUDY,
    comment="search keys of sequence items",
    sqlite_with_rowid=False,
)

instances = Table(
    "instances",
    tables,
    _key("version"),
    _shard(),
    Column("key", BigInteger, nullable=False, comment="version of the first store; never changes"),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_key", BigInteger, nullable=False),
    Column("series_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    Column("sop_class_uid", Label, nullable=False),
    Column("instance_number", Label),
    Column("elements", Text, nullable=False, comment="DICOM JSON"),
    Column("damage", Label, comment="damage of the current version, see model/damage.py"),
    UniqueConstraint("partition_key", "uid", "series_key"),
    Index(None, "partition_key", "version"),
    Index(None, "partition_key", "sop_class_uid", "version"),
    Index(None, "study_key", "version"),
    Index(None, "series_key", "version"),
    Index(
        "ix_instances_damaged",
        "study_key",
        "version",
        sqlite_where=text("damage IS NOT NULL"),
        postgresql_where=text("damage IS NOT NULL"),
    ),
    Index(
        "ix_instances_renumbered",
        "key",
        sqlite_where=text("version <> key"),
        postgresql_where=text("version <> key"),
    ),
    info=_OF_A_STUDY,
    comment="visible instances; version is the current one",
)

versions = Table(
    "versions",
    tables,
    _key("version"),
    _shard(),
    Column("instance_key", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("replaced", BigInteger, comment="time at which a newer version became current; NULL: this is the last one"),
    Column("reason", Label, comment="text of the client"),
    Column("author", Label, comment="id of the principal"),
    Column("transfer_syntax_uid", Label, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", BigInteger, nullable=False),
    Column("locator", Label, nullable=False),
    Column("number_of_frames", BigInteger, comment="NULL: no pixel data"),
    Column("pixel_offset", BigInteger),
    Column("pixel_length", BigInteger),
    Column("bits_allocated", BigInteger),
    Column("frame_bits", BigInteger),
    Column("is_mislabelled", SmallInteger, comment="1: the VR encoding is not that of the transfer syntax"),
    Column("origin", SmallInteger, comment="see model/lifecycle/version.py; NULL: stored"),
    # Set when it is replaced; until then they are in instances.
    Column("study_key", BigInteger),
    Column("sop_class_uid", Label),
    Column("series_key", BigInteger),
    Column("uid", Label),
    UniqueConstraint("locator"),
    Index(
        "ix_versions_replaced",
        "instance_key",
        "version",
        sqlite_where=text("replaced IS NOT NULL"),
        postgresql_where=text("replaced IS NOT NULL"),
    ),
    Index(
        "ix_versions_of_study",
        "study_key",
        "version",
        sqlite_where=text("study_key IS NOT NULL"),
        postgresql_where=text("study_key IS NOT NULL"),
    ),
    info=_OF_A_STUDY,
    comment="all versions of instances",
)


def _of_version(name: str, *columns: Any, **options: Any) -> Table:
    """Return a table whose rows belong to a version, and are deleted or renumbered with it."""
    return Table(
        name,
        tables,
        Column("version", Key, primary_key=True, autoincrement=False),
        *columns,
        _shard(),
        ForeignKeyConstraint(["version"], ["versions.version"], ondelete="CASCADE", onupdate="CASCADE"),
        info=_OF_A_STUDY,
        **options,
    )


metadata = _of_version(
    "metadata",
    Column("dicom_json", LargeBinary, nullable=False),
    Column("invalid_tags", Text, comment="separated by spaces, see NewInstance; NULL: none"),
)

frame_chunks = _of_version(
    "frame_chunks",
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    Column("records", LargeBinary, nullable=False, comment="of FRAMES_PER_CHUNK frames, see PixelLayout.table"),
)

bulk_elements = _of_version(
    "bulk_elements",
    Column("path", Label, primary_key=True),
    Column("vr", Label, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def _entry() -> list[Column[Any]]:
    """Return the columns of a change-feed entry."""
    return [
        Column("time", BigInteger, nullable=False),
        Column("action", SmallInteger, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("partition_key", BigInteger, nullable=False),
        Column("study_uid", Label, nullable=False),
        Column("series_uid", Label, nullable=False),
        Column("sop_uid", Label, nullable=False),
    ]


def _trace() -> Column[str]:
    return Column("trace", Text, comment="trace of the change, as header traceparent; NULL: not recorded")


changes = Table(
    "changes",
    tables,
    _key("sequence"),
    *_entry(),
    _trace(),
    Index(None, "time", "sequence"),
    Index(None, "partition_key", "sequence"),
    comment="never deleted; without foreign keys, because the instances may be deleted",
)

unsequenced = Table(
    "unsequenced",
    tables,
    _key("position"),
    _shard(),
    *_entry(),
    Column("deletion_key", BigInteger, comment="set if the entry represents those of all instances of a deletion"),
    _trace(),
    info=_OF_A_STUDY,
    comment="PostgreSQL only: entries not yet numbered by the sequencer",
)

deletions = Table(
    "deletions",
    tables,
    _key("key"),
    _shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_key", BigInteger, nullable=False),
    Column("series_key", BigInteger, comment="NULL: the whole study"),
    Column("study_uid", Label, nullable=False),
    Column("series_uid", Label),
    Column("sop_uid", Label),
    Column("time", BigInteger, nullable=False),
    Column("erase_after", BigInteger, nullable=False),
    Column("reason", Label),
    Column("author", Label),
    Column("instances", BigInteger, nullable=False),
    Column("first_sequence", BigInteger, comment="first sequence of its entries; NULL: not numbered yet"),
    Column("done", BigInteger, nullable=False, comment="number of instances already moved to deleted_instances"),
    Column("is_pending", SmallInteger, comment="1: more instances have to be moved"),
    Index(None, "partition_key", "study_uid", "key"),
    Index(
        "ix_deletions_pending",
        "is_pending",
        "key",
        sqlite_where=text("is_pending IS NOT NULL"),
        postgresql_where=text("is_pending IS NOT NULL"),
    ),
    info=_OF_A_STUDY,
    comment="deletions of studies, series and instances, with their authors",
)


def _deleted(table: Table, *others: Any) -> Table:
    """Return the table for the deleted rows of another table."""
    return Table(
        f"deleted_{table.name}",
        tables,
        *(
            Column(
                column.name, column.type, primary_key=column.primary_key, nullable=column.nullable, autoincrement=False
            )
            for column in table.c
        ),
        *others,
        info=_OF_A_STUDY,
    )


deleted_studies = _deleted(studies, Index(None, "partition_key", "uid"))
deleted_series = _deleted(series, Index(None, "study_key", "uid"))
deleted_instances = _deleted(
    instances,
    Column("deletion_key", BigInteger, nullable=False),
    Column("erase_after", BigInteger, nullable=False),
    Column("erase_author", Label, comment="principal that ended the retention time after the deletion"),
    Column("erase_reason", Label, comment="reason for ending the retention time"),
    Index(None, "erase_after", "version"),
    Index(None, "study_key", "version"),
    Index(None, "series_key", "version"),
    Index(None, "deletion_key"),
    Index(None, "key"),
    Index(None, "partition_key", "uid"),
)

holds = Table(
    "holds",
    tables,
    _key("key"),
    _shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_uid", Label, nullable=False),
    Column("series_uid", Label, nullable=False, comment="empty: the whole study"),
    Column("sop_uid", Label, nullable=False, comment="empty: the whole series"),
    Column("name", Label, nullable=False, comment="empty: the hold without a name"),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False, comment="id of the principal"),
    Column("time", BigInteger, nullable=False),
    UniqueConstraint("partition_key", "study_uid", "series_uid", "sop_uid", "name"),
    info=_OF_A_STUDY,
    comment="by UID, because they also apply to instances that are stored later",
)

expiries = Table(
    "expiries",
    tables,
    _key("study_key"),
    _shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_uid", Label, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("author", Text, nullable=False, comment="id of the principal that set it"),
    Column("time", BigInteger, nullable=False, comment="when it was set"),
    Index(None, "expires", "study_key"),
    info=_OF_A_STUDY,
    comment="studies that are deleted at a time",
)

erasures = Table(
    "erasures",
    tables,
    Column("locator", Label, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("erase_after", BigInteger, nullable=False),
    Index(None, "erase_after", "version"),
    comment="old locators of moved blobs, to be erased",
    sqlite_with_rowid=False,
)

operations = Table(
    "operations",
    tables,
    _key("key"),
    Column("id", Label, nullable=False),
    Column("request_id", Label, comment="id that the client gave to the request"),
    Column("type", Label, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("request", Text, nullable=False, comment="JSON"),
    Column("result", Text, nullable=False, comment="JSON"),
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("step", SmallInteger, nullable=False, comment="number of finished steps"),
    Column(
        "cursor",
        Text,
        nullable=False,
        comment="position at which the current step continues; its form depends on the type",
    ),
    Column("error", Text, nullable=False),
    Column("secret", Text, comment="encrypted credentials of the request; NULL as soon as the operation is final"),
    Column("resumes", BigInteger, comment="paused until then"),
    Column("trace", Text, comment="trace in which it was started, as header traceparent"),
    UniqueConstraint("id"),
    UniqueConstraint("request_id"),
    Index(None, "state", "updated"),
)

exported_files = Table(
    "exported_files",
    tables,
    Column("operation_id", Label, primary_key=True),
    Column("patient", Label, primary_key=True, comment="order of the records of a DICOMDIR; empty without one"),
    Column("study_uid", Label, primary_key=True),
    Column("series_uid", Label, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="position in the export"),
    Column("uid", Label, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("sop_class_uid", Label, nullable=False),
    Column("transfer_syntax_uid", Label, nullable=False),
    Column("path", Label, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("directory", Text, comment="JSON: the keys of the records of a DICOMDIR; NULL without one"),
    comment="files that an unfinished operation of type export has written",
    sqlite_with_rowid=False,
)

imported_files = Table(
    "imported_files",
    tables,
    Column("key", LargeBinary, primary_key=True, comment="digest of partition, kind of import and URL of the file"),
    Column("etag", LargeBinary, nullable=False, comment="digest of the entity tag"),
    Column("failed_in", Label, comment="the operation in which it failed; NULL: it is stored"),
    comment="files that operations of type import have processed",
    sqlite_with_rowid=False,
)

staged_versions = Table(
    "staged_versions",
    tables,
    Column("instance_key", Key, primary_key=True, autoincrement=False),
    _shard(),
    Column("operation_id", Label, nullable=False),
    Column("base_version", BigInteger, nullable=False, comment="the version that was changed"),
    Column("base_locator", Label, nullable=False),
    Column("locator", Label, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", BigInteger, nullable=False),
    Column("shifts", Text, nullable=False, comment="JSON; see dicom/updating/editing.py"),
    Column("has_utf_8", SmallInteger, comment="1: converted to UTF-8"),
    Index(None, "operation_id", "base_version"),
    Index(None, "locator"),
    info=_OF_A_STUDY,
    comment="versions that an unfinished operation of type update has written, but not made current",
)

operation_errors = Table(
    "operation_errors",
    tables,
    Column("operation_id", Label, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("reason", Label, nullable=False),
    Column("message", Text, nullable=False),
    Column("item", Text, nullable=False, comment="name of an item that is not a resource"),
    Column("partition", Label, comment="NULL: the item is not a resource"),
    Column("study", Label),
    Column("series", Label),
    Column("instance", Label),
    comment="failed items of operations",
    sqlite_with_rowid=False,
)

archive_tokens = Table(
    "archive_tokens",
    tables,
    _key("key"),
    Column("id", Label, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the token"),
    Column("name", Text, nullable=False),
    Column("roles", Text, nullable=False, comment="JSON"),
    Column("partitions", Text, nullable=False, comment="JSON; empty means all"),
    Column("created", BigInteger, nullable=False),
    Column("creator", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    Column("last_used", BigInteger),
    UniqueConstraint("id"),
    UniqueConstraint("digest"),
)

share_links = Table(
    "share_links",
    tables,
    _key("key"),
    Column("id", Label, nullable=False),
    Column("purpose", SmallInteger, nullable=False, comment="1: read, 2: upload"),
    Column("partition", Label, nullable=False),
    Column("study", Label, comment="NULL: the partition"),
    Column("series", Label),
    Column("instance", Label),
    Column("label", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    UniqueConstraint("id"),
    comment="links that are neither revoked nor, when the newest was created, expired",
)

login_links = Table(
    "login_links",
    tables,
    Column("digest", LargeBinary, primary_key=True, comment="SHA-256 of the code"),
    Column("roles", Text, nullable=False, comment="JSON"),
    Column("creator", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
)

consumers = Table(
    "change_feed_consumers",
    tables,
    Column("name", Label, primary_key=True),
    Column("owner", Label, nullable=False, index=True, comment="id of the principal"),
    Column("sequence", BigInteger, nullable=False, comment="of the last processed entry"),
    Column("time", BigInteger, nullable=False, comment="when the position was last set"),
    comment="consumers of the change feed",
)

audit_outbox = Table(
    "audit_outbox",
    tables,
    _key("key"),
    Column("time", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False, comment="JSON"),
    comment="audit records of transactions that are not in the audit trail yet, see `server.domain.audit.outbox`",
)

labels = Table(
    "labels",
    tables,
    Column("level", SmallInteger, primary_key=True, autoincrement=False, comment="1: study, 2: series, 3: instance"),
    Column("owner", Key, primary_key=True, autoincrement=False, comment="key of the study, series or instance"),
    Column("name", Label, primary_key=True),
    Column("value", Label, nullable=False),
    Column("partition_key", BigInteger, nullable=False),
    _shard(),
    Index(None, "partition_key", "name", "value", "level", "owner"),
    info=_OF_A_STUDY,
    comment="labels of studies, series and instances; those of deleted ones remain until their bytes are erased",
    sqlite_with_rowid=False,
)

commitments = Table(
    "commitments",
    tables,
    _key("key"),
    Column("partition_key", BigInteger, nullable=False),
    Column("transaction_uid", Label, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("author", Text, nullable=False, comment="id of the principal"),
    Column("request", Text, nullable=False, comment="JSON: the referenced instances"),
    Column("failures", Text, comment="JSON: failure reasons by position of the reference; NULL: not finished"),
    UniqueConstraint("partition_key", "transaction_uid"),
    Index(None, "created"),
    Index(
        "ix_commitments_unfinished",
        "key",
        sqlite_where=text("failures IS NULL"),
        postgresql_where=text("failures IS NULL"),
    ),
    comment="storage commitment requests and their results",
)

transfers = Table(
    "transfers",
    tables,
    _key("key"),
    Column("id", Label, nullable=False),
    Column("request_id", Label, comment="idempotency key of the client"),
    Column("partition", Label, nullable=False),
    Column("remote", Label, nullable=False, comment="name of the other system"),
    Column("work", Text, nullable=False, comment="JSON, see adapters/sql/lifecycle/transfers.py"),
    Column("rule", Label, nullable=False, comment="name of the forward rule; empty: none"),
    Column("creator", Text, nullable=False, comment="id of the principal"),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False, comment="see model/lifecycle/transfer.py"),
    Column("attempts", Integer, nullable=False),
    Column("due", BigInteger, comment="time of the next attempt or expiry of the lease; NULL: finished"),
    Column("lease", Label, nullable=False),
    Column("cursor", Text, nullable=False, comment="where to resume"),
    Column("total", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("warnings", BigInteger, nullable=False),
    Column("problem", Label, nullable=False, comment="why the last attempt failed"),
    Column("trace", Text, comment="trace in which it was created, as header traceparent; NULL: not recorded"),
    UniqueConstraint("id"),
    UniqueConstraint("request_id"),
    Index(None, "due"),
    Index(None, "state"),
    Index(None, "updated"),
    comment="transfers between the archive and other systems",
)

workitems = Table(
    "workitems",
    tables,
    _key("key"),
    Column("partition_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    Column("state", Label, nullable=False, comment="Procedure Step State, see model/worklist/workitem.py"),
    Column("lock", Label, nullable=False, comment="digest of the Transaction UID; empty: none"),
    Column("modified", BigInteger, nullable=False),
    Column("elements", Text, nullable=False, comment="DICOM JSON"),
    UniqueConstraint("partition_key", "uid"),
    Index(None, "partition_key", "key"),
    Index(
        "ix_workitems_final",
        "modified",
        "key",
        sqlite_where=text("state IN ('COMPLETED', 'CANCELED')"),
        postgresql_where=text("state IN ('COMPLETED', 'CANCELED')"),
    ),
    comment="keys ascend in the order of creation",
)

workitem_values = Table(
    "workitem_values",
    tables,
    Column("workitem_key", Key, primary_key=True, autoincrement=False),
    Column("keyword", Label, primary_key=True, comment="search key: keywords separated by dots"),
    Column("item", Integer, primary_key=True, autoincrement=False, comment="item of the outermost sequence, from 0"),
    Column("part", SmallInteger, primary_key=True, autoincrement=False, comment="see worklist/values.py"),
    Column("text", Label, primary_key=True),
    Column("partition_key", BigInteger, nullable=False),
    Index(None, "partition_key", "keyword", "text", "part", "workitem_key"),
    comment="search keys of workitems",
    sqlite_with_rowid=False,
)

WORKITEM_TEXT_KEYS: Mapping[str, str] = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "other_patient_ids": "OtherPatientIDsSequence.PatientID",
    "admission_id": "AdmissionID",
    "admitting_diagnoses": "AdmittingDiagnosesDescription",
    "procedure_step_label": "ProcedureStepLabel",
    "worklist_label": "WorklistLabel",
    "procedure_step_comments": "CommentsOnTheScheduledProcedureStep",
    "scheduled_performer_name": "ScheduledHumanPerformersSequence.HumanPerformerName",
    "actual_performer_name": (
        "UnifiedProcedureStepPerformedProcedureSequence.ActualHumanPerformersSequence.HumanPerformerName"
    ),
    "accession_number": "ReferencedRequestSequence.AccessionNumber",
    "placer_order_number": "ReferencedRequestSequence.PlacerOrderNumberImagingServiceRequest",
    "filler_order_number": "ReferencedRequestSequence.FillerOrderNumberImagingServiceRequest",
    "requested_procedure_id": "ReferencedRequestSequence.RequestedProcedureID",
    "requested_procedure_description": "ReferencedRequestSequence.RequestedProcedureDescription",
    "requesting_physician": "ReferencedRequestSequence.RequestingPhysician",
    "referring_physician_name": "ReferencedRequestSequence.ReferringPhysicianName",
}
"""Columns of `workitem_texts`, and their search keys."""

workitem_texts = Table(
    "workitem_texts",
    tables,
    _key("key"),
    Column("partition_key", BigInteger, nullable=False),
    *(Column(name, Text) for name in WORKITEM_TEXT_KEYS),
    comment="text of workitems for the text index, values separated by line breaks; written only when it changes",
)

WORKITEM_TEXT = TextIndex(
    workitem_texts,
    dict(zip(WORKITEM_TEXT_KEYS, "pioadlwchkbefrsyn", strict=True)),
    in_sqlite="workitem_trigrams",
    in_postgresql="ix_workitem_texts_trigrams",
)

workitem_subscribers = Table(
    "workitem_subscribers",
    tables,
    _key("key"),
    Column("partition_key", BigInteger, nullable=False),
    Column("ae_title", Label, nullable=False),
    Column("position", BigInteger, nullable=False, comment="events up to this one are acknowledged"),
    Column("initial", BigInteger, comment="of the next event: workitems from this key on are acknowledged; NULL: none"),
    Column("updated", BigInteger, nullable=False, comment="time of the last subscription or acknowledgement"),
    Column("process", Label, nullable=False, comment="empty; no longer used"),
    UniqueConstraint("partition_key", "ae_title"),
)

workitem_subscriptions = Table(
    "workitem_subscriptions",
    tables,
    Column("workitem_key", Key, primary_key=True, autoincrement=False),
    Column("subscriber_key", BigInteger, primary_key=True, autoincrement=False),
    Column("state", SmallInteger, nullable=False, comment="see model/worklist/subscription.py"),
    Index(None, "subscriber_key"),
    comment="take precedence over worklist_subscriptions",
    sqlite_with_rowid=False,
)

worklist_subscriptions = Table(
    "worklist_subscriptions",
    tables,
    _key("key"),
    Column("subscriber_key", BigInteger, nullable=False),
    Column("partition_key", BigInteger, nullable=False),
    Column("first_key", BigInteger, nullable=False, comment="of the first workitem that it includes"),
    Column("last_key", BigInteger, comment="of the last one; NULL: it includes future ones"),
    Column("has_lock", SmallInteger, nullable=False),
    Column("filter", Text, nullable=False, comment="JSON; empty: all workitems"),
    Index(None, "partition_key"),
    Index(None, "subscriber_key"),
)

workitem_event_log = Table(
    "workitem_event_log",
    tables,
    _key("key"),
    Column("position", BigInteger, nullable=False, comment="of the last event"),
    Column("removed", BigInteger, nullable=False, comment="events up to this position were removed"),
    comment="one row",
)


def _workitem_event() -> list[Column[Any]]:
    return [
        Column("partition_key", BigInteger, nullable=False),
        Column("workitem_key", BigInteger, nullable=False),
        Column("workitem_uid", Label, nullable=False),
        Column("kind", SmallInteger, nullable=False, comment="see model/worklist/event.py"),
        Column("type", SmallInteger, nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("information", Text, nullable=False, comment="DICOM JSON; or the filter of a subscription"),
        Column("recipients", Text, nullable=False, comment="keys of subscribers, separated by spaces"),
    ]


workitem_events = Table(
    "workitem_events",
    tables,
    _key("position"),
    *_workitem_event(),
    Index(None, "partition_key", "position"),
)

unsequenced_workitem_events = Table(
    "unsequenced_workitem_events",
    tables,
    _key("key"),
    *_workitem_event(),
    comment="PostgreSQL only: events not yet numbered by the sequencer",
)

workitem_event_recipients = Table(
    "workitem_event_recipients",
    tables,
    Column("subscriber_key", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    comment="events that are not acknowledged",
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    tables,
    Column("name", Label, primary_key=True),
    Column("holder", Label, nullable=False, comment="of one process"),
    Column("renewals", BigInteger, nullable=False, comment="a lease that is not renewed for some time may be taken"),
    Column("wakes", BigInteger, nullable=False, server_default=text("0"), comment="requests to look for work"),
    comment="work that one process does at a time",
)

study_event_progress = Table(
    "study_event_progress",
    tables,
    _key("key"),
    Column("sequence", BigInteger, nullable=False, comment="of the last processed entry of the change feed"),
    Column("silent_sequence", BigInteger, nullable=False, comment="entries up to this one cause no events"),
    Column("number", BigInteger, nullable=False, comment="of the last study event"),
    comment="one row",
)


def _counts() -> list[Column[int]]:
    """Return the columns with the numbers of instances that changed since the study was last quiet."""
    return [Column(name, BigInteger, nullable=False) for name in ("created", "updated", "deleted", "restored")]


study_states = Table(
    "study_states",
    tables,
    Column("partition_key", BigInteger, primary_key=True, autoincrement=False),
    Column("study_uid", Label, primary_key=True),
    Column("instances", BigInteger, nullable=False),
    *_counts(),
    Column("sequence", BigInteger, nullable=False, comment="of the last entry of the study"),
    Column("time", BigInteger, comment="of the last entry of the study; NULL: it is quiet"),
    Index(
        "ix_study_states_time",
        "time",
        sqlite_where=text("time IS NOT NULL"),
        postgresql_where=text("time IS NOT NULL"),
    ),
    comment="studies with instances, as of study_event_progress",
    sqlite_with_rowid=False,
)

study_events = Table(
    "study_events",
    tables,
    _key("number"),
    Column("kind", SmallInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False, comment="the event follows this entry of the change feed"),
    Column("last_sequence", BigInteger, nullable=False, comment="of the last entry of the study"),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_uid", Label, nullable=False),
    Column("instances", BigInteger, nullable=False),
    *_counts(),
    Index(None, "partition_key", "number"),
    comment="never deleted",
)

webhooks = Table(
    "webhooks",
    tables,
    _key("key"),
    Column("id", Label, nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("types", Text, nullable=False, comment="JSON; empty means all"),
    Column("partitions", Text, nullable=False, comment="JSON; empty means all"),
    Column("is_enabled", SmallInteger, nullable=False),
    Column("creator", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False, comment="entries of the change feed up to this one were handled"),
    Column("number", BigInteger, nullable=False, comment="study events up to this one were handled"),
    Column("failures", BigInteger, nullable=False, comment="number of failed attempts since the last success"),
    Column("problem", Label, nullable=False, comment="why the last attempt failed"),
    Column("succeeded", BigInteger, comment="time of the last success"),
    UniqueConstraint("id"),
)

workitem_rules = Table(
    "workitem_rules",
    tables,
    _key("key"),
    Column("id", Label, nullable=False),
    Column("label", Text, nullable=False),
    Column("query", Text, nullable=False, comment="JSON"),
    Column("partitions", Text, nullable=False, comment="JSON; empty means all"),
    Column("template", Text, nullable=False, comment="DICOM JSON"),
    Column("is_enabled", SmallInteger, nullable=False),
    Column("creator", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False, comment="applied to study events up to this one, except waiting ones"),
    Column("workitems", BigInteger, nullable=False, comment="number of created workitems"),
    Column("failed", BigInteger, comment="time of the last failure"),
    UniqueConstraint("id"),
)

workitem_rule_events = Table(
    "workitem_rule_events",
    tables,
    Column("rule_key", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="of a study event"),
    Column("attempts", BigInteger, nullable=False),
    Column("next_attempt", BigInteger, nullable=False),
    Column("problem", Text, nullable=False, comment="why the last attempt failed"),
    Index(None, "rule_key", "next_attempt"),
    comment="events for which a rule failed",
    sqlite_with_rowid=False,
)

webhook_events = Table(
    "webhook_events",
    tables,
    Column("webhook_key", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="of a study event; 0: a feed entry"),
    Column("partition_key", BigInteger, nullable=False),
    Column("study_uid", Label, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("first_attempt", BigInteger),
    Column("next_attempt", BigInteger, comment="NULL: waits for an earlier event of the study, or is dead"),
    Column("dead", BigInteger, comment="time at which the archive gave up"),
    Column("problem", Label, nullable=False, comment="why the last attempt failed"),
    Index("ix_webhook_events_study", "webhook_key", "partition_key", "study_uid", "sequence", "number"),
    Index(
        "ix_webhook_events_next",
        "webhook_key",
        "next_attempt",
        sqlite_where=text("next_attempt IS NOT NULL"),
        postgresql_where=text("next_attempt IS NOT NULL"),
    ),
    Index(
        "ix_webhook_events_dead",
        "webhook_key",
        "dead",
        sqlite_where=text("dead IS NOT NULL"),
        postgresql_where=text("dead IS NOT NULL"),
    ),
    comment="events that could not be delivered yet, those that wait for them, and dead ones",
    sqlite_with_rowid=False,
)

tags = Table(
    "extended_query_tags",
    tables,
    _key("key"),
    Column("tag", Label, nullable=False),
    Column("keyword", Label, nullable=False),
    Column("vr", Label, nullable=False),
    Column("private_creator", Label, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("query_status", SmallInteger, nullable=False),
    Column("operation_id", Label, nullable=False),
    Column("last_error", BigInteger, nullable=False, comment="last assigned error number"),
    Column("error_count", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("tag"),
)

tag_values = Table(
    "extended_query_tag_values",
    tables,
    Column("tag_key", Key, primary_key=True, autoincrement=False),
    Column(
        "owner",
        Key,
        primary_key=True,
        autoincrement=False,
        comment="key of a study or series, or version of an instance",
    ),
    Column("part", SmallInteger, primary_key=True, autoincrement=False, comment="see tag_values"),
    Column("text", Label),
    Column("number", Double),
    _shard(),
    Index(None, "tag_key", "text", "owner"),
    Index(None, "tag_key", "number", "owner"),
    info=_OF_A_STUDY,
    sqlite_with_rowid=False,
)

tag_errors = Table(
    "extended_query_tag_errors",
    tables,
    Column("tag_key", Key, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    _shard(),
    Column("partition_key", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("version", "tag_key"),
    Index(None, "tag_key", "partition_key", "number"),
    info=_OF_A_STUDY,
    sqlite_with_rowid=False,
)
