"""Numbering of committed change-feed entries, which PostgreSQL needs and SQLite does not.

Transactions on different studies do not wait for each other, so they cannot number their entries: a number could become
visible before a lower one. They write entries to `unsequenced`; a sequencer moves them to `changes`, numbered in the
order in which it finds them. An advisory lock, which ends with the connection, ensures a single sequencer; when its
process is killed, another one takes over. An entry is moved in one transaction, so it is numbered once.

Entries of the same study keep their order: their positions ascend, and each is committed before the next is written.
The entry of a deletion of many gets as many numbers as there are instances; later entries stay invisible until
`deleting.move_on` has written all of them.
"""

from sqlalchemy import Connection, text

from server.adapters.sql.core.prepared import Prepared

CHANNEL = "dicomstore_changes"
"""The notification channel for new numbers."""

_MOST = 1000
_SEQUENCER_LOCK = 0x64696F71  # an arbitrary key of an advisory lock

_ARE_ANY = Prepared(
    text(
        "SELECT EXISTS (SELECT FROM unsequenced), EXISTS (SELECT FROM unsequenced WHERE deletion_key IS NOT NULL), "
        "EXISTS (SELECT FROM study_block_changes)"
    )
)
_LOCK = Prepared(text(f"SELECT pg_advisory_xact_lock({_SEQUENCER_LOCK})"))
_ENTRY = "time, action, version, partition_key, study_uid, series_uid, sop_uid"
_NUMBER = Prepared(
    text(
        f"""
        WITH batch AS MATERIALIZED (SELECT position, deletion_key FROM unsequenced ORDER BY position LIMIT {_MOST}),
        deletion AS (SELECT min(position) AS position FROM batch WHERE deletion_key IS NOT NULL),
        moved AS (
            DELETE FROM unsequenced USING batch, deletion
            WHERE unsequenced.position = batch.position
            AND (deletion.position IS NULL OR batch.position < deletion.position)
            RETURNING unsequenced.*
        ),
        numbered AS (
            INSERT INTO changes (sequence, {_ENTRY})
            SELECT feed.sequence + row_number() OVER by_position,
                greatest(feed.time, max(moved.time) OVER by_position),
                action, version, partition_key, study_uid, series_uid, sop_uid
            FROM moved, feed WINDOW by_position AS (ORDER BY position)
            RETURNING sequence, time
        )
        UPDATE feed SET sequence = last.sequence, time = last.time
        FROM (SELECT max(sequence) AS sequence, max(time) AS time, count(*) AS count FROM numbered) AS last
        WHERE last.count > 0
        """  # noqa: S608 - constant names
    )
)
_NUMBER_DELETION = Prepared(
    text(
        """
        WITH first AS MATERIALIZED (SELECT position, deletion_key FROM unsequenced ORDER BY position LIMIT 1),
        entry AS (
            DELETE FROM unsequenced USING first
            WHERE unsequenced.position = first.position AND first.deletion_key IS NOT NULL
            RETURNING first.deletion_key
        ),
        deletion AS (
            UPDATE deletions SET first_sequence = feed.sequence + 1, time = greatest(feed.time, deletions.time)
            FROM entry, feed WHERE deletions.key = entry.deletion_key
            RETURNING deletions.instances, deletions.time
        )
        UPDATE feed SET sequence = feed.sequence + deletion.instances, time = deletion.time FROM deletion
        """
    )
)
_COUNT_STUDIES = Prepared(
    text(
        """
        WITH removed AS (DELETE FROM study_block_changes RETURNING partition_key, block, studies)
        INSERT INTO study_blocks (partition_key, block, studies)
        SELECT partition_key, block, sum(studies) FROM removed GROUP BY partition_key, block
        ON CONFLICT (partition_key, block) DO UPDATE SET studies = study_blocks.studies + excluded.studies
        """
    )
)
_DELETE_EMPTY_BLOCKS = Prepared(text("DELETE FROM study_blocks WHERE studies = 0"))
_NOTIFY = Prepared(text(f"NOTIFY {CHANNEL}"))


def number(connection: Connection) -> bool:
    """Number some entries; return whether there were any."""
    entries, deletions, studies = _ARE_ANY.tuples(connection, {})[0]
    if not (entries or studies):
        return False
    _LOCK.tuples(connection, {})
    numbered = _NUMBER.run(connection, [{}])
    if deletions:
        numbered += _NUMBER_DELETION.run(connection, [{}])
    if studies and _COUNT_STUDIES.run(connection, [{}]):
        _DELETE_EMPTY_BLOCKS.run(connection, [{}])
    if numbered:
        _NOTIFY.run(connection, [{}])
    return True
