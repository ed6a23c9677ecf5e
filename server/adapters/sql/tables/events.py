"""Study events, webhooks and workitem rules."""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text, UniqueConstraint, text

from server.adapters.sql.tables.columns import Label, key, schema

study_event_progress = Table(
    "study_event_progress",
    schema,
    key("key"),
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
    schema,
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
    schema,
    key("number"),
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
    schema,
    key("key"),
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
    schema,
    key("key"),
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
    schema,
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
    schema,
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
