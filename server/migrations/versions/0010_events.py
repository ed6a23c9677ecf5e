"""Events of studies, and webhooks.

Revision 0010, after 0009. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _big(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _counts() -> list[sa.Column]:
    return [_big(name) for name in ("created", "updated", "deleted", "restored")]


def upgrade() -> None:
    """Create the tables. The release before this one does not use them.

    Entries that the change feed has now cause no events: they are only counted.
    """
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    op.create_table(
        "leases",
        sa.Column("name", label, nullable=False),
        sa.Column("holder", label, nullable=False),
        _big("renewals"),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "study_event_progress",
        sa.Column("key", key, nullable=False, autoincrement=False),
        _big("sequence"),
        _big("silent_sequence"),
        _big("number"),
        sa.PrimaryKeyConstraint("key", name="pk_study_event_progress"),
    )
    op.execute(
        "INSERT INTO study_event_progress (key, sequence, silent_sequence, number) "
        "SELECT 1, 0, coalesce(max(sequence), 0), 0 FROM feed"
    )
    op.create_table(
        "study_states",
        sa.Column("partition_key", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("study_uid", label, nullable=False),
        _big("instances"),
        *_counts(),
        _big("sequence"),
        _big("time", nullable=True),
        sa.PrimaryKeyConstraint("partition_key", "study_uid", name="pk_study_states"),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_study_states_time", "study_states", ["time"], "time IS NOT NULL")
    op.create_table(
        "study_events",
        sa.Column("number", key, nullable=False, autoincrement=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        _big("time"),
        _big("sequence"),
        _big("last_sequence"),
        _big("partition_key"),
        sa.Column("study_uid", label, nullable=False),
        _big("instances"),
        *_counts(),
        sa.PrimaryKeyConstraint("number", name="pk_study_events"),
    )
    op.create_index("ix_study_events_partition_key_number", "study_events", ["partition_key", "number"])
    op.create_table(
        "webhooks",
        sa.Column("key", key, nullable=False, autoincrement=False),
        sa.Column("id", label, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("partitions", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.SmallInteger(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        _big("created"),
        _big("sequence"),
        _big("number"),
        _big("failures"),
        sa.Column("problem", label, nullable=False),
        _big("succeeded", nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_webhooks"),
        sa.UniqueConstraint("id", name="uq_webhooks_id"),
    )
    op.create_table(
        "webhook_events",
        *(
            sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False)
            for name in ("webhook_key", "sequence", "number")
        ),
        _big("partition_key"),
        sa.Column("study_uid", label, nullable=False),
        _big("attempts"),
        _big("first_attempt", nullable=True),
        _big("next_attempt", nullable=True),
        _big("dead", nullable=True),
        sa.Column("problem", label, nullable=False),
        sa.PrimaryKeyConstraint("webhook_key", "sequence", "number", name="pk_webhook_events"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_webhook_events_study",
        "webhook_events",
        ["webhook_key", "partition_key", "study_uid", "sequence", "number"],
    )
    _partial_index(
        "ix_webhook_events_next", "webhook_events", ["webhook_key", "next_attempt"], "next_attempt IS NOT NULL"
    )
    _partial_index("ix_webhook_events_dead", "webhook_events", ["webhook_key", "dead"], "dead IS NOT NULL")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def downgrade() -> None:
    """Remove the tables, and with them all webhooks and undelivered events."""
    for name in ("webhook_events", "webhooks", "study_events", "study_states", "study_event_progress", "leases"):
        op.drop_table(name)
