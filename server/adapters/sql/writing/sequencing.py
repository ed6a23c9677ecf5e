"""Numbering of committed change-feed entries, which PostgreSQL needs and SQLite does not.

Transactions on different studies do not wait for each other, so they cannot number their entries: a number could become
visible before a lower one. They write entries to `unsequenced`; a sequencer moves them to `changes`, numbered in the
order in which it finds them. An advisory lock, which ends with the connection, ensures a single sequencer; when its
process is killed, another one takes over. An entry is moved in one transaction, so it is numbered once.

Events of workitems are numbered in the same way: they wait in `unsequenced_workitem_events`.

Entries of the same study keep their order: their positions ascend, and each is committed before the next is written.
The entry of a deletion of many gets as many numbers as there are instances; later entries stay invisible until
`deleting.move_on` has written all of them.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from server.adapters.sql.core.prepared import Prepared

CHANNEL = "dicomstore_changes"
"""The notification channel for new numbers."""

EVENTS_CHANNEL = "dicomstore_workitem_events"
"""The notification channel for new numbers of events of workitems."""

_MOST = 1000
_SEQUENCER_LOCK = 0x64696F71  # an arbitrary key of an advisory lock

_TO_DO = Prepared(
    text(
        f"SELECT (SELECT count(*) FROM (SELECT FROM unsequenced LIMIT {_MOST + 1}) AS first_ones), "  # noqa: S608
        "EXISTS (SELECT FROM unsequenced WHERE deletion_key IS NOT NULL), "
        "EXISTS (SELECT FROM study_block_changes), "
        "EXISTS (SELECT FROM deletions WHERE is_pending = 1), "
        f"(SELECT count(*) FROM (SELECT FROM unsequenced_workitem_events LIMIT {_MOST + 1}) AS first_events), "
        "(SELECT sequence FROM feed)"
    )
)
_LOCK = Prepared(text(f"SELECT pg_advisory_xact_lock({_SEQUENCER_LOCK})"))
_ENTRY = "time, action, version, partition_key, study_uid, series_uid, sop_uid, trace"
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
                action, version, partition_key, study_uid, series_uid, sop_uid, trace
            FROM moved, feed WINDOW by_position AS (ORDER BY position)
            RETURNING sequence, time
        )
        UPDATE feed SET sequence = last.sequence, time = last.time
        FROM (SELECT max(sequence) AS sequence, max(time) AS time, count(*) AS count FROM numbered) AS last
        WHERE last.count > 0 RETURNING pg_notify('{CHANNEL}', '')
        """  # noqa: S608 - constant names
    )
)
_NUMBER_DELETION = Prepared(
    text(
        f"""
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
        RETURNING pg_notify('{CHANNEL}', '')
        """  # noqa: S608 - a constant name
    )
)
_EVENT = "partition_key, workitem_key, workitem_uid, kind, type, time, information, recipients"
_NUMBER_EVENTS = Prepared(
    text(
        f"""
        WITH batch AS MATERIALIZED (SELECT key FROM unsequenced_workitem_events ORDER BY key LIMIT {_MOST}),
        moved AS (
            DELETE FROM unsequenced_workitem_events USING batch WHERE unsequenced_workitem_events.key = batch.key
            RETURNING unsequenced_workitem_events.*
        ),
        numbered AS (
            INSERT INTO workitem_events (position, {_EVENT})
            SELECT log.position + row_number() OVER (ORDER BY moved.key), {_EVENT}
            FROM moved, workitem_event_log AS log
            RETURNING position, recipients
        ),
        addressed AS (
            INSERT INTO workitem_event_recipients (subscriber_key, position)
            SELECT CAST(unnest(string_to_array(recipients, ' ')) AS bigint), position FROM numbered
        )
        UPDATE workitem_event_log SET position = last.position
        FROM (SELECT max(position) AS position FROM numbered) AS last
        WHERE last.position IS NOT NULL RETURNING pg_notify('{EVENTS_CHANNEL}', '')
        """  # noqa: S608 - constant names
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


@dataclass(frozen=True, slots=True)
class ToDo:
    """Work for the sequencer.

    entries: number of entries to be numbered, or more than one transaction numbers.
    has_deletions: some of them represent those of all instances of a deletion.
    has_studies: the number of studies changed.
    is_pending: instances of a numbered deletion have to be moved.
    events: number of events of workitems to be numbered, or more than one transaction numbers.
    sequence: of the last entry that is numbered.
    """

    entries: int
    has_deletions: bool
    has_studies: bool
    is_pending: bool
    events: int
    sequence: int

    @property
    def has_numbers(self) -> bool:
        """Whether something is to be numbered."""
        return bool(self.entries or self.events)

    @property
    def is_for_several(self) -> bool:
        """Whether one transaction does not number everything."""
        return max(self.entries, self.events) > _MOST or self.has_deletions


def to_do(connection: Connection) -> ToDo:
    """Return the work that there is; a single statement."""
    return ToDo(*_TO_DO.tuples(connection, {})[0])


def number(connection: Connection, work: ToDo) -> None:
    """Number some entries."""
    _LOCK.send(connection)
    if work.entries:
        _NUMBER.send(connection)
    if work.has_deletions:
        _NUMBER_DELETION.send(connection)
    if work.events:
        _NUMBER_EVENTS.send(connection)
    if work.has_studies:
        _COUNT_STUDIES.send(connection)
        _DELETE_EMPTY_BLOCKS.send(connection)
