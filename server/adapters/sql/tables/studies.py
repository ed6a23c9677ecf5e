"""Studies, with what searches of studies need: a text index, counts for sorting, and blocks for large offsets."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, UniqueConstraint, event

from server.adapters.sql.tables.columns import (
    NAME_GROUPS,
    OF_A_STUDY,
    Key,
    Label,
    key,
    name_groups,
    only_in,
    schema,
    shard,
)
from server.adapters.sql.tables.text_index import TextIndex

studies = Table(
    "studies",
    schema,
    key("key"),
    shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    *name_groups("patient_name"),
    Column("patient_id", Label),
    Column("patient_birth_date", Label),
    Column("accession_number", Label),
    *name_groups("referring_physician_name"),
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
    info=OF_A_STUDY,
)


_FUNCTION = """
CREATE FUNCTION dicomstore_trigrams(parts text[]) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
SELECT array_to_tsvector(coalesce(array_agg(DISTINCT left(part, 1) || substr(part, start, 3)), '{}'))
FROM unnest(parts) AS part, generate_series(2, length(part) - 2) AS start $$
"""
event.listen(studies, "after_create", only_in("postgresql", _FUNCTION))
event.listen(studies, "after_drop", only_in("postgresql", "DROP FUNCTION dicomstore_trigrams"))

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
    schema,
    Column("study_key", Key, primary_key=True, autoincrement=False),
    shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("series_count", BigInteger, nullable=False),
    Column("instance_count", BigInteger, nullable=False),
    Index(None, "partition_key", "series_count", "study_key"),
    Index(None, "partition_key", "instance_count", "study_key"),
    info=OF_A_STUDY,
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

event.listen(studies, "after_create", only_in("postgresql", _COUNT_FUNCTION))
event.listen(studies, "after_drop", only_in("postgresql", "DROP FUNCTION dicomstore_study_counts"))
for _when, _work in _COUNT_TRIGGERS.items():
    _trigger = f"CREATE TRIGGER study_counts_{_when}"
    event.listen(studies, "after_create", only_in("sqlite", f"{_trigger} BEGIN {_work} END"))
    _call = "FOR EACH ROW EXECUTE FUNCTION dicomstore_study_counts()"
    event.listen(studies, "after_create", only_in("postgresql", f"{_trigger} {_call}"))

STUDIES_PER_BLOCK = 1024

study_blocks = Table(
    "study_blocks",
    schema,
    Column("partition_key", Key, primary_key=True, autoincrement=False),
    Column("block", Key, primary_key=True, autoincrement=False, comment="key of a study / STUDIES_PER_BLOCK"),
    Column("studies", BigInteger, nullable=False, comment="number of studies of the partition in the block"),
    comment="number of studies per block, for large offsets",
    sqlite_with_rowid=False,
)

study_block_changes = Table(
    "study_block_changes",
    schema,
    shard(),
    Column("partition_key", BigInteger, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("studies", BigInteger, nullable=False, comment="change of the number of studies in the block"),
    Index(None, "partition_key"),
    comment="PostgreSQL only: changes that the sequencer adds to study_blocks",
)
