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

from server.adapters.sql.tables import (
    access,
    archive,
    changes,
    deletions,
    events,
    instances,
    lifecycle,
    operations,
    query_tags,
    studies,
    worklist,
)
from server.adapters.sql.tables.columns import schema

__all__ = [
    "OLDEST_CODE",
    "REVISION",
    "access",
    "archive",
    "changes",
    "deletions",
    "events",
    "instances",
    "lifecycle",
    "operations",
    "query_tags",
    "schema",
    "studies",
    "worklist",
]

REVISION = "0025"
"""The migration that creates this schema."""

OLDEST_CODE = "0022"
"""The oldest `REVISION` whose code can use a database with this schema.

A migration that takes away what this code uses must raise it, to its own `down_revision` or to itself; a test compares.
So must one that adds what each change of a row must maintain, such as the counts of partitions in 0022.
"""
