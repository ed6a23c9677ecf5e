"""The schema as it was first released, for each database.

Revision 0001. Imports no module of this project, because migrations must not change later.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SHARDS = {"sqlite": 1, "postgresql": 4096}

SQLITE = """
CREATE TABLE counters (
    shard INTEGER NOT NULL,
    version BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT NOT NULL,
    CONSTRAINT pk_counters PRIMARY KEY (shard)
)

CREATE TABLE feed (
    "key" INTEGER NOT NULL,
    sequence BIGINT NOT NULL,
    time BIGINT NOT NULL,
    CONSTRAINT pk_feed PRIMARY KEY ("key")
)

CREATE TABLE archive (
    "key" INTEGER NOT NULL,
    id TEXT NOT NULL,
    CONSTRAINT pk_archive PRIMARY KEY ("key")
)

CREATE TABLE clock (
    "key" INTEGER NOT NULL,
    time BIGINT NOT NULL,
    CONSTRAINT pk_clock PRIMARY KEY ("key")
)

CREATE TABLE partitions (
    "key" INTEGER NOT NULL,
    name TEXT NOT NULL,
    created BIGINT NOT NULL,
    CONSTRAINT pk_partitions PRIMARY KEY ("key"),
    CONSTRAINT uq_partitions_name UNIQUE (name)
)

CREATE TABLE studies (
    "key" INTEGER NOT NULL,
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    uid TEXT NOT NULL,
    patient_name_1 TEXT,
    patient_name_2 TEXT,
    patient_name_3 TEXT,
    patient_name_words TEXT,
    patient_id TEXT,
    patient_birth_date TEXT,
    accession_number TEXT,
    referring_physician_name_1 TEXT,
    referring_physician_name_2 TEXT,
    referring_physician_name_3 TEXT,
    referring_physician_name_words TEXT,
    study_date TEXT,
    study_time TEXT,
    study_id TEXT,
    study_description TEXT,
    elements TEXT NOT NULL,
    series_count BIGINT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT,
    study_date_time TEXT,
    CONSTRAINT pk_studies PRIMARY KEY ("key"),
    CONSTRAINT uq_studies_partition_key_uid UNIQUE (partition_key, uid)
)

CREATE INDEX ix_studies_partition_key_patient_id_key ON studies (partition_key, patient_id, "key")

CREATE INDEX ix_studies_partition_key_patient_birth_date_key ON studies (partition_key, patient_birth_date, "key")

CREATE INDEX ix_studies_partition_key_patient_name_3_key ON studies (partition_key, patient_name_3, "key")

CREATE INDEX ix_studies_partition_key_study_date_key ON studies (partition_key, study_date, "key")

CREATE INDEX ix_studies_partition_key_study_id_key ON studies (partition_key, study_id, "key")

CREATE INDEX ix_studies_partition_key_patient_name_1_key ON studies (partition_key, patient_name_1, "key")

CREATE INDEX ix_studies_partition_key_key ON studies (partition_key, "key")

CREATE INDEX ix_studies_partition_key_patient_name_2_key ON studies (partition_key, patient_name_2, "key")

CREATE INDEX ix_studies_partition_key_accession_number_key ON studies (partition_key, accession_number, "key")

CREATE VIRTUAL TABLE study_text USING fts5(patient_name_1, patient_name_2, patient_name_3, referring_physician_name_1, referring_physician_name_2, referring_physician_name_3, patient_id, accession_number, study_description, content='studies', content_rowid='key', tokenize='trigram case_sensitive 1', detail=column, columnsize=0)

CREATE TRIGGER study_text_insert AFTER INSERT ON studies BEGIN INSERT INTO study_text(rowid, patient_name_1, patient_name_2, patient_name_3, referring_physician_name_1, referring_physician_name_2, referring_physician_name_3, patient_id, accession_number, study_description) VALUES (new.key, new.patient_name_1, new.patient_name_2, new.patient_name_3, new.referring_physician_name_1, new.referring_physician_name_2, new.referring_physician_name_3, new.patient_id, new.accession_number, new.study_description); END

CREATE TRIGGER study_text_delete AFTER DELETE ON studies BEGIN INSERT INTO study_text(study_text, rowid, patient_name_1, patient_name_2, patient_name_3, referring_physician_name_1, referring_physician_name_2, referring_physician_name_3, patient_id, accession_number, study_description) VALUES ('delete', old.key, old.patient_name_1, old.patient_name_2, old.patient_name_3, old.referring_physician_name_1, old.referring_physician_name_2, old.referring_physician_name_3, old.patient_id, old.accession_number, old.study_description); END

CREATE TRIGGER study_text_update AFTER UPDATE OF patient_name_1, patient_name_2, patient_name_3, referring_physician_name_1, referring_physician_name_2, referring_physician_name_3, patient_id, accession_number, study_description ON studies BEGIN INSERT INTO study_text(study_text, rowid, patient_name_1, patient_name_2, patient_name_3, referring_physician_name_1, referring_physician_name_2, referring_physician_name_3, patient_id, accession_number, study_description) VALUES ('delete', old.key, old.patient_name_1, old.patient_name_2, old.patient_name_3, old.referring_physician_name_1, old.referring_physician_name_2, old.referring_physician_name_3, old.patient_id, old.accession_number, old.study_description); INSERT INTO study_text(rowid, patient_name_1, patient_name_2, patient_name_3, referring_physician_name_1, referring_physician_name_2, referring_physician_name_3, patient_id, accession_number, study_description) VALUES (new.key, new.patient_name_1, new.patient_name_2, new.patient_name_3, new.referring_physician_name_1, new.referring_physician_name_2, new.referring_physician_name_3, new.patient_id, new.accession_number, new.study_description); END

CREATE TABLE study_blocks (
    partition_key INTEGER NOT NULL,
    block INTEGER NOT NULL,
    studies BIGINT NOT NULL,
    CONSTRAINT pk_study_blocks PRIMARY KEY (partition_key, block)
)
 WITHOUT ROWID

CREATE TABLE study_block_changes (
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    block BIGINT NOT NULL,
    studies BIGINT NOT NULL
)

CREATE INDEX ix_study_block_changes_partition_key ON study_block_changes (partition_key)

CREATE TABLE series (
    "key" INTEGER NOT NULL,
    partition_key BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    study_key BIGINT NOT NULL,
    uid TEXT NOT NULL,
    modality TEXT,
    modality_as_stored TEXT,
    series_number TEXT,
    performed_procedure_step_start_date TEXT,
    performed_procedure_step_start_time TEXT,
    manufacturer_model_name TEXT,
    series_description TEXT,
    elements TEXT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT,
    performed_procedure_step_start_date_time TEXT,
    CONSTRAINT pk_series PRIMARY KEY ("key"),
    CONSTRAINT uq_series_study_key_uid UNIQUE (study_key, uid)
)

CREATE INDEX ix_series_partition_key_key ON series (partition_key, "key")

CREATE INDEX ix_series_partition_key_uid ON series (partition_key, uid)

CREATE INDEX ix_series_partition_key_modality_key ON series (partition_key, modality, "key")

CREATE INDEX ix_series_partition_key_modality_study_key ON series (partition_key, modality, study_key)

CREATE INDEX ix_series_study_key_key ON series (study_key, "key")

CREATE INDEX ix_series_partition_key_series_number_key ON series (partition_key, series_number, "key")

CREATE INDEX ix_series_partition_key_manufacturer_model_name_key ON series (partition_key, manufacturer_model_name, "key")

CREATE INDEX ix_series_partition_key_performed_procedure_step_start_date_key ON series (partition_key, performed_procedure_step_start_date, "key")

CREATE TABLE series_values (
    series_key INTEGER NOT NULL,
    keyword TEXT NOT NULL,
    item INTEGER NOT NULL,
    value TEXT NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_series_values PRIMARY KEY (series_key, keyword, item, value)
)
 WITHOUT ROWID

CREATE INDEX ix_series_values_keyword_value ON series_values (keyword, value)

CREATE TABLE instances (
    version INTEGER NOT NULL,
    shard SMALLINT NOT NULL,
    "key" BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT NOT NULL,
    uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    instance_number TEXT,
    elements TEXT NOT NULL,
    damage TEXT,
    CONSTRAINT pk_instances PRIMARY KEY (version),
    CONSTRAINT uq_instances_partition_key_uid_series_key UNIQUE (partition_key, uid, series_key)
)

CREATE INDEX ix_instances_series_key_version ON instances (series_key, version)

CREATE INDEX ix_instances_damaged ON instances (study_key, version) WHERE damage IS NOT NULL

CREATE INDEX ix_instances_partition_key_sop_class_uid_version ON instances (partition_key, sop_class_uid, version)

CREATE INDEX ix_instances_partition_key_version ON instances (partition_key, version)

CREATE INDEX ix_instances_study_key_version ON instances (study_key, version)

CREATE TABLE versions (
    version INTEGER NOT NULL,
    shard SMALLINT NOT NULL,
    instance_key BIGINT NOT NULL,
    created BIGINT NOT NULL,
    replaced BIGINT,
    reason TEXT,
    author TEXT,
    transfer_syntax_uid TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    crc32c BIGINT NOT NULL,
    locator TEXT NOT NULL,
    number_of_frames BIGINT,
    pixel_offset BIGINT,
    pixel_length BIGINT,
    bits_allocated BIGINT,
    frame_bits BIGINT,
    is_mislabelled SMALLINT,
    CONSTRAINT pk_versions PRIMARY KEY (version),
    CONSTRAINT uq_versions_locator UNIQUE (locator)
)

CREATE INDEX ix_versions_replaced ON versions (instance_key, version) WHERE replaced IS NOT NULL

CREATE TABLE changes (
    sequence INTEGER NOT NULL,
    time BIGINT NOT NULL,
    action SMALLINT NOT NULL,
    version BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    CONSTRAINT pk_changes PRIMARY KEY (sequence)
)

CREATE INDEX ix_changes_time_sequence ON changes (time, sequence)

CREATE TABLE unsequenced (
    position INTEGER NOT NULL,
    shard SMALLINT NOT NULL,
    time BIGINT NOT NULL,
    action SMALLINT NOT NULL,
    version BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    deletion_key BIGINT,
    CONSTRAINT pk_unsequenced PRIMARY KEY (position)
)

CREATE TABLE deletions (
    "key" INTEGER NOT NULL,
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT,
    study_uid TEXT NOT NULL,
    series_uid TEXT,
    sop_uid TEXT,
    time BIGINT NOT NULL,
    erase_after BIGINT NOT NULL,
    reason TEXT,
    author TEXT,
    instances BIGINT NOT NULL,
    first_sequence BIGINT,
    done BIGINT NOT NULL,
    is_pending SMALLINT,
    CONSTRAINT pk_deletions PRIMARY KEY ("key")
)

CREATE INDEX ix_deletions_pending ON deletions (is_pending, "key") WHERE is_pending IS NOT NULL

CREATE TABLE deleted_studies (
    "key" INTEGER NOT NULL,
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    uid TEXT NOT NULL,
    patient_name_1 TEXT,
    patient_name_2 TEXT,
    patient_name_3 TEXT,
    patient_name_words TEXT,
    patient_id TEXT,
    patient_birth_date TEXT,
    accession_number TEXT,
    referring_physician_name_1 TEXT,
    referring_physician_name_2 TEXT,
    referring_physician_name_3 TEXT,
    referring_physician_name_words TEXT,
    study_date TEXT,
    study_time TEXT,
    study_id TEXT,
    study_description TEXT,
    elements TEXT NOT NULL,
    series_count BIGINT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT,
    study_date_time TEXT,
    CONSTRAINT pk_deleted_studies PRIMARY KEY ("key")
)

CREATE INDEX ix_deleted_studies_partition_key_uid ON deleted_studies (partition_key, uid)

CREATE TABLE deleted_series (
    "key" INTEGER NOT NULL,
    partition_key BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    study_key BIGINT NOT NULL,
    uid TEXT NOT NULL,
    modality TEXT,
    modality_as_stored TEXT,
    series_number TEXT,
    performed_procedure_step_start_date TEXT,
    performed_procedure_step_start_time TEXT,
    manufacturer_model_name TEXT,
    series_description TEXT,
    elements TEXT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT,
    performed_procedure_step_start_date_time TEXT,
    CONSTRAINT pk_deleted_series PRIMARY KEY ("key")
)

CREATE INDEX ix_deleted_series_study_key_uid ON deleted_series (study_key, uid)

CREATE TABLE deleted_instances (
    version INTEGER NOT NULL,
    shard SMALLINT NOT NULL,
    "key" BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT NOT NULL,
    uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    instance_number TEXT,
    elements TEXT NOT NULL,
    damage TEXT,
    deletion_key BIGINT NOT NULL,
    erase_after BIGINT NOT NULL,
    CONSTRAINT pk_deleted_instances PRIMARY KEY (version)
)

CREATE INDEX ix_deleted_instances_erase_after_version ON deleted_instances (erase_after, version)

CREATE INDEX ix_deleted_instances_series_key_version ON deleted_instances (series_key, version)

CREATE INDEX ix_deleted_instances_deletion_key ON deleted_instances (deletion_key)

CREATE INDEX ix_deleted_instances_key ON deleted_instances ("key")

CREATE INDEX ix_deleted_instances_study_key_version ON deleted_instances (study_key, version)

CREATE INDEX ix_deleted_instances_partition_key_uid ON deleted_instances (partition_key, uid)

CREATE TABLE erasures (
    locator TEXT NOT NULL,
    version BIGINT NOT NULL,
    erase_after BIGINT NOT NULL,
    CONSTRAINT pk_erasures PRIMARY KEY (locator)
)
 WITHOUT ROWID

CREATE INDEX ix_erasures_erase_after_version ON erasures (erase_after, version)

CREATE TABLE operations (
    "key" INTEGER NOT NULL,
    id TEXT NOT NULL,
    request_id TEXT,
    type TEXT NOT NULL,
    state SMALLINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    request TEXT NOT NULL,
    result TEXT NOT NULL,
    done BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    total BIGINT NOT NULL,
    step SMALLINT NOT NULL,
    cursor TEXT NOT NULL,
    error TEXT NOT NULL,
    CONSTRAINT pk_operations PRIMARY KEY ("key"),
    CONSTRAINT uq_operations_id UNIQUE (id),
    CONSTRAINT uq_operations_request_id UNIQUE (request_id)
)

CREATE INDEX ix_operations_state_updated ON operations (state, updated)

CREATE TABLE operation_errors (
    operation_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    time BIGINT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    item TEXT NOT NULL,
    partition TEXT,
    study TEXT,
    series TEXT,
    instance TEXT,
    CONSTRAINT pk_operation_errors PRIMARY KEY (operation_id, number)
)
 WITHOUT ROWID

CREATE TABLE extended_query_tags (
    "key" INTEGER NOT NULL,
    tag TEXT NOT NULL,
    keyword TEXT NOT NULL,
    vr TEXT NOT NULL,
    private_creator TEXT NOT NULL,
    level SMALLINT NOT NULL,
    status SMALLINT NOT NULL,
    query_status SMALLINT NOT NULL,
    operation_id TEXT NOT NULL,
    last_error BIGINT NOT NULL,
    error_count BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_extended_query_tags PRIMARY KEY ("key"),
    CONSTRAINT uq_extended_query_tags_tag UNIQUE (tag)
)

CREATE TABLE extended_query_tag_values (
    tag_key INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    part SMALLINT NOT NULL,
    text TEXT,
    number DOUBLE,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_extended_query_tag_values PRIMARY KEY (tag_key, owner, part)
)
 WITHOUT ROWID

CREATE INDEX ix_extended_query_tag_values_tag_key_text_owner ON extended_query_tag_values (tag_key, text, owner)

CREATE INDEX ix_extended_query_tag_values_tag_key_number_owner ON extended_query_tag_values (tag_key, number, owner)

CREATE TABLE extended_query_tag_errors (
    tag_key INTEGER NOT NULL,
    number BIGINT NOT NULL,
    version BIGINT NOT NULL,
    time BIGINT NOT NULL,
    message TEXT NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_extended_query_tag_errors PRIMARY KEY (tag_key, number),
    CONSTRAINT uq_extended_query_tag_errors_version_tag_key UNIQUE (version, tag_key)
)
 WITHOUT ROWID

CREATE TABLE metadata (
    version INTEGER NOT NULL,
    dicom_json BLOB NOT NULL,
    invalid_tags TEXT,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_metadata PRIMARY KEY (version),
    CONSTRAINT fk_metadata_version FOREIGN KEY(version) REFERENCES versions (version) ON DELETE CASCADE ON UPDATE CASCADE
)

CREATE TABLE frame_chunks (
    version INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    records BLOB NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_frame_chunks PRIMARY KEY (version, chunk),
    CONSTRAINT fk_frame_chunks_version FOREIGN KEY(version) REFERENCES versions (version) ON DELETE CASCADE ON UPDATE CASCADE
)

CREATE TABLE bulk_elements (
    version INTEGER NOT NULL,
    path TEXT NOT NULL,
    vr TEXT NOT NULL,
    "offset" BIGINT NOT NULL,
    length BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_bulk_elements PRIMARY KEY (version, path),
    CONSTRAINT fk_bulk_elements_version FOREIGN KEY(version) REFERENCES versions (version) ON DELETE CASCADE ON UPDATE CASCADE
)
 WITHOUT ROWID
"""

POSTGRESQL = """
CREATE SEQUENCE study_keys AS BIGINT

CREATE SEQUENCE series_keys AS BIGINT

CREATE SEQUENCE version_numbers AS BIGINT

CREATE TABLE counters (
    shard BIGINT NOT NULL,
    version BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT NOT NULL,
    CONSTRAINT pk_counters PRIMARY KEY (shard)
)

COMMENT ON TABLE counters IS 'one row per shard: the last assigned numbers'

COMMENT ON COLUMN counters.study_key IS 'SQLite only; PostgreSQL has sequences'

COMMENT ON COLUMN counters.series_key IS 'as study_key'

CREATE TABLE feed (
    key BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    time BIGINT NOT NULL,
    CONSTRAINT pk_feed PRIMARY KEY (key)
)

COMMENT ON TABLE feed IS 'one row: sequence and time of the last numbered entry'

CREATE TABLE archive (
    key BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_archive PRIMARY KEY (key)
)

COMMENT ON TABLE archive IS 'one row: identity of the archive'

COMMENT ON COLUMN archive.id IS 'the same as in archive.json of the data directory'

CREATE TABLE clock (
    key BIGINT NOT NULL,
    time BIGINT NOT NULL,
    CONSTRAINT pk_clock PRIMARY KEY (key)
)

COMMENT ON TABLE clock IS 'one row: the latest time of the clock for erasing deadlines'

COMMENT ON COLUMN clock.time IS 'microseconds since 1970-01-01 UTC'

CREATE TABLE partitions (
    key BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    CONSTRAINT pk_partitions PRIMARY KEY (key),
    CONSTRAINT uq_partitions_name UNIQUE (name)
)

CREATE TABLE studies (
    key BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    uid TEXT COLLATE "C" NOT NULL,
    patient_name_1 TEXT COLLATE "C",
    patient_name_2 TEXT COLLATE "C",
    patient_name_3 TEXT COLLATE "C",
    patient_name_words TEXT COLLATE "C",
    patient_id TEXT COLLATE "C",
    patient_birth_date TEXT COLLATE "C",
    accession_number TEXT COLLATE "C",
    referring_physician_name_1 TEXT COLLATE "C",
    referring_physician_name_2 TEXT COLLATE "C",
    referring_physician_name_3 TEXT COLLATE "C",
    referring_physician_name_words TEXT COLLATE "C",
    study_date TEXT COLLATE "C",
    study_time TEXT COLLATE "C",
    study_id TEXT COLLATE "C",
    study_description TEXT COLLATE "C",
    elements TEXT NOT NULL,
    series_count BIGINT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT COLLATE "C",
    study_date_time TEXT COLLATE "C",
    CONSTRAINT pk_studies PRIMARY KEY (key, shard),
    CONSTRAINT uq_studies_partition_key_uid UNIQUE (partition_key, uid, shard)
)

CREATE INDEX ix_studies_partition_key_patient_id_key ON studies (partition_key, patient_id, key)

CREATE INDEX ix_studies_partition_key_patient_birth_date_key ON studies (partition_key, patient_birth_date, key)

CREATE INDEX ix_studies_partition_key_patient_name_3_key ON studies (partition_key, patient_name_3, key)

CREATE INDEX ix_studies_partition_key_study_date_key ON studies (partition_key, study_date, key)

CREATE INDEX ix_studies_partition_key_study_id_key ON studies (partition_key, study_id, key)

CREATE INDEX ix_studies_partition_key_patient_name_1_key ON studies (partition_key, patient_name_1, key)

CREATE INDEX ix_studies_partition_key_key ON studies (partition_key, key)

CREATE INDEX ix_studies_partition_key_patient_name_2_key ON studies (partition_key, patient_name_2, key)

CREATE INDEX ix_studies_partition_key_accession_number_key ON studies (partition_key, accession_number, key)

COMMENT ON COLUMN studies.shard IS 'hash of partition and study; see core/shards.py'

COMMENT ON COLUMN studies.elements IS 'DICOM JSON'

COMMENT ON COLUMN studies.utc_offset IS '+HHMM or -HHMM'

COMMENT ON COLUMN studies.study_date_time IS 'date and time in UTC, if the offset is known; see model/search/date_time.py'

CREATE FUNCTION dicomstore_trigrams(parts text[]) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
SELECT array_to_tsvector(coalesce(array_agg(DISTINCT left(part, 1) || substr(part, start, 3)), '{}'))
FROM unnest(parts) AS part, generate_series(2, length(part) - 2) AS start $$

CREATE INDEX ix_studies_text ON studies USING gin (dicomstore_trigrams(ARRAY['p' || patient_name_1, 'p' || patient_name_2, 'p' || patient_name_3, 'r' || referring_physician_name_1, 'r' || referring_physician_name_2, 'r' || referring_physician_name_3, 'i' || patient_id, 'a' || accession_number, 'd' || study_description])) WITH (gin_pending_list_limit = 256)

CREATE TABLE study_blocks (
    partition_key BIGINT NOT NULL,
    block BIGINT NOT NULL,
    studies BIGINT NOT NULL,
    CONSTRAINT pk_study_blocks PRIMARY KEY (partition_key, block)
)

COMMENT ON TABLE study_blocks IS 'number of studies per block, for large offsets'

COMMENT ON COLUMN study_blocks.block IS 'key of a study / STUDIES_PER_BLOCK'

COMMENT ON COLUMN study_blocks.studies IS 'number of studies of the partition in the block'

CREATE TABLE study_block_changes (
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    block BIGINT NOT NULL,
    studies BIGINT NOT NULL
)

CREATE INDEX ix_study_block_changes_partition_key ON study_block_changes (partition_key)

COMMENT ON TABLE study_block_changes IS 'PostgreSQL only: changes that the sequencer adds to study_blocks'

COMMENT ON COLUMN study_block_changes.shard IS 'hash of partition and study; see core/shards.py'

COMMENT ON COLUMN study_block_changes.studies IS 'change of the number of studies in the block'

CREATE TABLE series (
    key BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    study_key BIGINT NOT NULL,
    uid TEXT COLLATE "C" NOT NULL,
    modality TEXT COLLATE "C",
    modality_as_stored TEXT COLLATE "C",
    series_number TEXT COLLATE "C",
    performed_procedure_step_start_date TEXT COLLATE "C",
    performed_procedure_step_start_time TEXT COLLATE "C",
    manufacturer_model_name TEXT COLLATE "C",
    series_description TEXT COLLATE "C",
    elements TEXT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT COLLATE "C",
    performed_procedure_step_start_date_time TEXT COLLATE "C",
    CONSTRAINT pk_series PRIMARY KEY (key, shard),
    CONSTRAINT uq_series_study_key_uid UNIQUE (study_key, uid, shard)
)

CREATE INDEX ix_series_partition_key_key ON series (partition_key, key)

CREATE INDEX ix_series_partition_key_uid ON series (partition_key, uid)

CREATE INDEX ix_series_partition_key_modality_key ON series (partition_key, modality, key)

CREATE INDEX ix_series_partition_key_modality_study_key ON series (partition_key, modality, study_key)

CREATE INDEX ix_series_study_key_key ON series (study_key, key)

CREATE INDEX ix_series_partition_key_series_number_key ON series (partition_key, series_number, key)

CREATE INDEX ix_series_partition_key_manufacturer_model_name_key ON series (partition_key, manufacturer_model_name, key)

CREATE INDEX ix_series_partition_key_performed_procedure_step_start_date_key ON series (partition_key, performed_procedure_step_start_date, key)

COMMENT ON COLUMN series.shard IS 'hash of partition and study; see core/shards.py'

COMMENT ON COLUMN series.modality_as_stored IS 'for Modalities in Study'

COMMENT ON COLUMN series.elements IS 'DICOM JSON'

COMMENT ON COLUMN series.utc_offset IS '+HHMM or -HHMM'

COMMENT ON COLUMN series.performed_procedure_step_start_date_time IS 'as study_date_time'

CREATE TABLE series_values (
    series_key BIGINT NOT NULL,
    keyword TEXT COLLATE "C" NOT NULL,
    item INTEGER NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_series_values PRIMARY KEY (series_key, keyword, item, value, shard)
)

CREATE INDEX ix_series_values_keyword_value ON series_values (keyword, value)

COMMENT ON TABLE series_values IS 'search keys of sequence items'

COMMENT ON COLUMN series_values.item IS 'item number in the sequence, from 0'

COMMENT ON COLUMN series_values.shard IS 'hash of partition and study; see core/shards.py'

CREATE TABLE instances (
    version BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    key BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT NOT NULL,
    uid TEXT COLLATE "C" NOT NULL,
    sop_class_uid TEXT COLLATE "C" NOT NULL,
    instance_number TEXT COLLATE "C",
    elements TEXT NOT NULL,
    damage TEXT COLLATE "C",
    CONSTRAINT pk_instances PRIMARY KEY (version, shard),
    CONSTRAINT uq_instances_partition_key_uid_series_key UNIQUE (partition_key, uid, series_key, shard)
)

CREATE INDEX ix_instances_series_key_version ON instances (series_key, version)

CREATE INDEX ix_instances_damaged ON instances (study_key, version) WHERE damage IS NOT NULL

CREATE INDEX ix_instances_partition_key_sop_class_uid_version ON instances (partition_key, sop_class_uid, version)

CREATE INDEX ix_instances_partition_key_version ON instances (partition_key, version)

CREATE INDEX ix_instances_study_key_version ON instances (study_key, version)

COMMENT ON TABLE instances IS 'visible instances; version is the current one'

COMMENT ON COLUMN instances.shard IS 'hash of partition and study; see core/shards.py'

COMMENT ON COLUMN instances.key IS 'version of the first store; never changes'

COMMENT ON COLUMN instances.elements IS 'DICOM JSON'

COMMENT ON COLUMN instances.damage IS 'damage of the current version, see model/damage.py'

CREATE TABLE versions (
    version BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    instance_key BIGINT NOT NULL,
    created BIGINT NOT NULL,
    replaced BIGINT,
    reason TEXT COLLATE "C",
    author TEXT COLLATE "C",
    transfer_syntax_uid TEXT COLLATE "C" NOT NULL,
    size_bytes BIGINT NOT NULL,
    crc32c BIGINT NOT NULL,
    locator TEXT COLLATE "C" NOT NULL,
    number_of_frames BIGINT,
    pixel_offset BIGINT,
    pixel_length BIGINT,
    bits_allocated BIGINT,
    frame_bits BIGINT,
    is_mislabelled SMALLINT,
    CONSTRAINT pk_versions PRIMARY KEY (version, shard),
    CONSTRAINT uq_versions_locator UNIQUE (locator)
)

CREATE INDEX ix_versions_replaced ON versions (instance_key, version) WHERE replaced IS NOT NULL

COMMENT ON TABLE versions IS 'all versions of instances'

COMMENT ON COLUMN versions.shard IS 'hash of partition and study; see core/shards.py'

COMMENT ON COLUMN versions.replaced IS 'time at which a newer version became current; NULL: this is the last one'

COMMENT ON COLUMN versions.reason IS 'reason of a version after the first one'

COMMENT ON COLUMN versions.author IS 'author of a version after the first one'

COMMENT ON COLUMN versions.number_of_frames IS 'NULL: no pixel data'

COMMENT ON COLUMN versions.is_mislabelled IS '1: the VR encoding is not that of the transfer syntax'

CREATE TABLE changes (
    sequence BIGINT NOT NULL,
    time BIGINT NOT NULL,
    action SMALLINT NOT NULL,
    version BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_uid TEXT COLLATE "C" NOT NULL,
    series_uid TEXT COLLATE "C" NOT NULL,
    sop_uid TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_changes PRIMARY KEY (sequence)
)

CREATE INDEX ix_changes_time_sequence ON changes (time, sequence)

COMMENT ON TABLE changes IS 'never deleted; without foreign keys, because the instances may be deleted'

CREATE TABLE unsequenced (
    position BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    time BIGINT NOT NULL,
    action SMALLINT NOT NULL,
    version BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_uid TEXT COLLATE "C" NOT NULL,
    series_uid TEXT COLLATE "C" NOT NULL,
    sop_uid TEXT COLLATE "C" NOT NULL,
    deletion_key BIGINT,
    CONSTRAINT pk_unsequenced PRIMARY KEY (position, shard)
)

COMMENT ON TABLE unsequenced IS 'PostgreSQL only: entries not yet numbered by the sequencer'

COMMENT ON COLUMN unsequenced.shard IS 'hash of partition and study; see core/shards.py'

COMMENT ON COLUMN unsequenced.deletion_key IS 'set if the entry represents those of all instances of a deletion'

CREATE TABLE deletions (
    key BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT,
    study_uid TEXT COLLATE "C" NOT NULL,
    series_uid TEXT COLLATE "C",
    sop_uid TEXT COLLATE "C",
    time BIGINT NOT NULL,
    erase_after BIGINT NOT NULL,
    reason TEXT COLLATE "C",
    author TEXT COLLATE "C",
    instances BIGINT NOT NULL,
    first_sequence BIGINT,
    done BIGINT NOT NULL,
    is_pending SMALLINT,
    CONSTRAINT pk_deletions PRIMARY KEY (key, shard)
)

CREATE INDEX ix_deletions_pending ON deletions (is_pending, key) WHERE is_pending IS NOT NULL

COMMENT ON TABLE deletions IS 'deletions of studies, series and instances, with their authors'

COMMENT ON COLUMN deletions.shard IS 'hash of partition and study; see core/shards.py'

COMMENT ON COLUMN deletions.series_key IS 'NULL: the whole study'

COMMENT ON COLUMN deletions.first_sequence IS 'first sequence of its entries; NULL: not numbered yet'

COMMENT ON COLUMN deletions.done IS 'number of instances already moved to deleted_instances'

COMMENT ON COLUMN deletions.is_pending IS '1: more instances have to be moved'

CREATE TABLE deleted_studies (
    key BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    partition_key BIGINT NOT NULL,
    uid TEXT COLLATE "C" NOT NULL,
    patient_name_1 TEXT COLLATE "C",
    patient_name_2 TEXT COLLATE "C",
    patient_name_3 TEXT COLLATE "C",
    patient_name_words TEXT COLLATE "C",
    patient_id TEXT COLLATE "C",
    patient_birth_date TEXT COLLATE "C",
    accession_number TEXT COLLATE "C",
    referring_physician_name_1 TEXT COLLATE "C",
    referring_physician_name_2 TEXT COLLATE "C",
    referring_physician_name_3 TEXT COLLATE "C",
    referring_physician_name_words TEXT COLLATE "C",
    study_date TEXT COLLATE "C",
    study_time TEXT COLLATE "C",
    study_id TEXT COLLATE "C",
    study_description TEXT COLLATE "C",
    elements TEXT NOT NULL,
    series_count BIGINT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT COLLATE "C",
    study_date_time TEXT COLLATE "C",
    CONSTRAINT pk_deleted_studies PRIMARY KEY (key, shard)
)

CREATE INDEX ix_deleted_studies_partition_key_uid ON deleted_studies (partition_key, uid)

CREATE TABLE deleted_series (
    key BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    study_key BIGINT NOT NULL,
    uid TEXT COLLATE "C" NOT NULL,
    modality TEXT COLLATE "C",
    modality_as_stored TEXT COLLATE "C",
    series_number TEXT COLLATE "C",
    performed_procedure_step_start_date TEXT COLLATE "C",
    performed_procedure_step_start_time TEXT COLLATE "C",
    manufacturer_model_name TEXT COLLATE "C",
    series_description TEXT COLLATE "C",
    elements TEXT NOT NULL,
    instance_count BIGINT NOT NULL,
    max_version BIGINT NOT NULL,
    utc_offset TEXT COLLATE "C",
    performed_procedure_step_start_date_time TEXT COLLATE "C",
    CONSTRAINT pk_deleted_series PRIMARY KEY (key, shard)
)

CREATE INDEX ix_deleted_series_study_key_uid ON deleted_series (study_key, uid)

CREATE TABLE deleted_instances (
    version BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    key BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    study_key BIGINT NOT NULL,
    series_key BIGINT NOT NULL,
    uid TEXT COLLATE "C" NOT NULL,
    sop_class_uid TEXT COLLATE "C" NOT NULL,
    instance_number TEXT COLLATE "C",
    elements TEXT NOT NULL,
    damage TEXT COLLATE "C",
    deletion_key BIGINT NOT NULL,
    erase_after BIGINT NOT NULL,
    CONSTRAINT pk_deleted_instances PRIMARY KEY (version, shard)
)

CREATE INDEX ix_deleted_instances_erase_after_version ON deleted_instances (erase_after, version)

CREATE INDEX ix_deleted_instances_series_key_version ON deleted_instances (series_key, version)

CREATE INDEX ix_deleted_instances_deletion_key ON deleted_instances (deletion_key)

CREATE INDEX ix_deleted_instances_key ON deleted_instances (key)

CREATE INDEX ix_deleted_instances_study_key_version ON deleted_instances (study_key, version)

CREATE INDEX ix_deleted_instances_partition_key_uid ON deleted_instances (partition_key, uid)

CREATE TABLE erasures (
    locator TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    erase_after BIGINT NOT NULL,
    CONSTRAINT pk_erasures PRIMARY KEY (locator)
)

CREATE INDEX ix_erasures_erase_after_version ON erasures (erase_after, version)

COMMENT ON TABLE erasures IS 'old locators of moved blobs, to be erased'

CREATE TABLE operations (
    key BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C",
    type TEXT COLLATE "C" NOT NULL,
    state SMALLINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    request TEXT NOT NULL,
    result TEXT NOT NULL,
    done BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    total BIGINT NOT NULL,
    step SMALLINT NOT NULL,
    cursor TEXT NOT NULL,
    error TEXT NOT NULL,
    CONSTRAINT pk_operations PRIMARY KEY (key),
    CONSTRAINT uq_operations_id UNIQUE (id),
    CONSTRAINT uq_operations_request_id UNIQUE (request_id)
)

CREATE INDEX ix_operations_state_updated ON operations (state, updated)

COMMENT ON COLUMN operations.request_id IS 'id that the client gave to the request'

COMMENT ON COLUMN operations.request IS 'JSON'

COMMENT ON COLUMN operations.result IS 'JSON'

COMMENT ON COLUMN operations.step IS 'number of finished steps'

COMMENT ON COLUMN operations.cursor IS 'position at which the current step continues; its form depends on the type'

CREATE TABLE operation_errors (
    operation_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    time BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    message TEXT NOT NULL,
    item TEXT NOT NULL,
    partition TEXT COLLATE "C",
    study TEXT COLLATE "C",
    series TEXT COLLATE "C",
    instance TEXT COLLATE "C",
    CONSTRAINT pk_operation_errors PRIMARY KEY (operation_id, number)
)

COMMENT ON TABLE operation_errors IS 'failed items of operations'

COMMENT ON COLUMN operation_errors.item IS 'name of an item that is not a resource'

COMMENT ON COLUMN operation_errors.partition IS 'NULL: the item is not a resource'

CREATE TABLE extended_query_tags (
    key BIGINT NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    keyword TEXT COLLATE "C" NOT NULL,
    vr TEXT COLLATE "C" NOT NULL,
    private_creator TEXT COLLATE "C" NOT NULL,
    level SMALLINT NOT NULL,
    status SMALLINT NOT NULL,
    query_status SMALLINT NOT NULL,
    operation_id TEXT COLLATE "C" NOT NULL,
    last_error BIGINT NOT NULL,
    error_count BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_extended_query_tags PRIMARY KEY (key),
    CONSTRAINT uq_extended_query_tags_tag UNIQUE (tag)
)

COMMENT ON COLUMN extended_query_tags.last_error IS 'last assigned error number'

CREATE TABLE extended_query_tag_values (
    tag_key BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    part SMALLINT NOT NULL,
    text TEXT COLLATE "C",
    number DOUBLE PRECISION,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_extended_query_tag_values PRIMARY KEY (tag_key, owner, part, shard)
)

CREATE INDEX ix_extended_query_tag_values_tag_key_text_owner ON extended_query_tag_values (tag_key, text, owner)

CREATE INDEX ix_extended_query_tag_values_tag_key_number_owner ON extended_query_tag_values (tag_key, number, owner)

COMMENT ON COLUMN extended_query_tag_values.owner IS 'key of a study or series, or version of an instance'

COMMENT ON COLUMN extended_query_tag_values.part IS 'see tag_values'

COMMENT ON COLUMN extended_query_tag_values.shard IS 'hash of partition and study; see core/shards.py'

CREATE TABLE extended_query_tag_errors (
    tag_key BIGINT NOT NULL,
    number BIGINT NOT NULL,
    version BIGINT NOT NULL,
    time BIGINT NOT NULL,
    message TEXT NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_extended_query_tag_errors PRIMARY KEY (tag_key, number, shard),
    CONSTRAINT uq_extended_query_tag_errors_version_tag_key UNIQUE (version, tag_key, shard)
)

COMMENT ON COLUMN extended_query_tag_errors.shard IS 'hash of partition and study; see core/shards.py'

CREATE TABLE metadata (
    version BIGINT NOT NULL,
    dicom_json BYTEA NOT NULL,
    invalid_tags TEXT,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_metadata PRIMARY KEY (version, shard),
    CONSTRAINT fk_metadata_version FOREIGN KEY(version, shard) REFERENCES versions (version, shard) ON DELETE CASCADE ON UPDATE CASCADE
)

COMMENT ON COLUMN metadata.invalid_tags IS 'separated by spaces, see NewInstance; NULL: none'

COMMENT ON COLUMN metadata.shard IS 'hash of partition and study; see core/shards.py'

CREATE TABLE frame_chunks (
    version BIGINT NOT NULL,
    chunk INTEGER NOT NULL,
    records BYTEA NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_frame_chunks PRIMARY KEY (version, chunk, shard),
    CONSTRAINT fk_frame_chunks_version FOREIGN KEY(version, shard) REFERENCES versions (version, shard) ON DELETE CASCADE ON UPDATE CASCADE
)

COMMENT ON COLUMN frame_chunks.records IS 'of FRAMES_PER_CHUNK frames, see PixelLayout.table'

COMMENT ON COLUMN frame_chunks.shard IS 'hash of partition and study; see core/shards.py'

CREATE TABLE bulk_elements (
    version BIGINT NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    vr TEXT COLLATE "C" NOT NULL,
    "offset" BIGINT NOT NULL,
    length BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    CONSTRAINT pk_bulk_elements PRIMARY KEY (version, path, shard),
    CONSTRAINT fk_bulk_elements_version FOREIGN KEY(version, shard) REFERENCES versions (version, shard) ON DELETE CASCADE ON UPDATE CASCADE
)

COMMENT ON COLUMN bulk_elements.shard IS 'hash of partition and study; see core/shards.py'
"""

# Number of rows of a table, then how many of them on average share the first column of an index, the first two, and so
# on.
STATISTICS = {
    "studies": {
        "sqlite_autoindex_studies_1": "5000 5000 1",
        "ix_studies_partition_key_key": "5000 5000 1",
        "ix_studies_partition_key_patient_id_key": "5000 5000 2 1",
        "ix_studies_partition_key_accession_number_key": "5000 5000 1 1",
        "ix_studies_partition_key_study_date_key": "5000 5000 5 1",
        "ix_studies_partition_key_patient_birth_date_key": "5000 5000 2 1",
        "ix_studies_partition_key_study_id_key": "5000 5000 2 1",
        "ix_studies_partition_key_patient_name_1_key": "5000 5000 2 1",
        "ix_studies_partition_key_patient_name_2_key": "5000 5000 2 1",
        "ix_studies_partition_key_patient_name_3_key": "5000 5000 2 1",
    },
    "series": {
        "sqlite_autoindex_series_1": "20000 4 1",
        "ix_series_study_key_key": "20000 4 1",
        "ix_series_partition_key_key": "20000 20000 1",
        "ix_series_partition_key_uid": "20000 20000 1",
        "ix_series_partition_key_modality_key": "20000 20000 2000 1",
        "ix_series_partition_key_modality_study_key": "20000 20000 2000 3",
        "ix_series_partition_key_series_number_key": "20000 20000 1000 1",
        "ix_series_partition_key_manufacturer_model_name_key": "20000 20000 1000 1",
        "ix_series_partition_key_performed_procedure_step_start_date_key": "20000 20000 20 1",
    },
    "instances": {
        "sqlite_autoindex_instances_1": "1000000 1000000 1 1",  # partition_key, uid, series_key
        "ix_instances_partition_key_version": "1000000 1000000 1",
        "ix_instances_partition_key_sop_class_uid_version": "1000000 1000000 100000 1",
        "ix_instances_study_key_version": "1000000 200 1",
        "ix_instances_series_key_version": "1000000 50 1",
    },
}


def upgrade() -> None:
    """Create all tables, with the default partition."""
    dialect = op.get_bind().dialect.name
    for statement in (SQLITE if dialect == "sqlite" else POSTGRESQL).strip().split("\n\n"):
        op.execute(statement)
    counters = sa.table("counters", *map(sa.column, ("shard", "version", "study_key", "series_key")))
    zeros = {"version": 0, "study_key": 0, "series_key": 0}
    op.bulk_insert(counters, [{"shard": shard, **zeros} for shard in range(SHARDS[dialect])])
    op.execute("INSERT INTO feed (key, sequence, time) VALUES (1, 0, 0)")
    partitions = sa.table("partitions", *map(sa.column, ("key", "name", "created")))
    op.bulk_insert(partitions, [{"key": 1, "name": "Microsoft.Default", "created": time.time_ns() // 1000}])
    if dialect == "sqlite":
        describe_a_typical_archive()


def describe_a_typical_archive() -> None:
    """Store fixed statistics for SQLite's planner, which would assume ten rows per partition (sqlite.org/fileformat2).

    Fixed numbers keep query plans independent of the stored data. PostgreSQL collects its own statistics. SQLite must
    not skip
    the first column of an index: there are few partitions, but many rows in each.
    """
    op.execute("ANALYZE")  # creates the statistics table
    op.execute("DELETE FROM sqlite_stat1")
    op.bulk_insert(
        sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat"))),
        [
            {"tbl": table, "idx": index, "stat": f"{stat} noskipscan"}
            for table, indexes in STATISTICS.items()
            for index, stat in indexes.items()
        ],
    )


def downgrade() -> None:
    """Refuse: there is no earlier schema."""
    raise RuntimeError("The baseline cannot be downgraded; there is no earlier schema.")
