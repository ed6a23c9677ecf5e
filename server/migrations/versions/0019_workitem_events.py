"""Subscriptions to workitems, and the log of their events.

Revision 0019, after 0018. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_STATISTICS = {
    "workitems": {"ix_workitems_final": "100000 100 1"},
    "workitem_subscribers": {"sqlite_autoindex_workitem_subscribers_1": "1000 1000 1"},
    "workitem_subscriptions": {
        "workitem_subscriptions": "100000 5 1",
        "ix_workitem_subscriptions_subscriber_key": "100000 100",
    },
    "worklist_subscriptions": {
        "ix_worklist_subscriptions_partition_key": "1000 1000",
        "ix_worklist_subscriptions_subscriber_key": "1000 1",
    },
    "workitem_events": {"ix_workitem_events_partition_key_position": "1000000 1000000 1"},
    "workitem_event_recipients": {"workitem_event_recipients": "1000000 1000 1"},
}
"""As in the baseline: fixed numbers, so that query plans do not depend on the stored data."""

_TABLES = (
    "workitem_subscribers",
    "workitem_subscriptions",
    "worklist_subscriptions",
    "workitem_event_log",
    "workitem_events",
    "unsequenced_workitem_events",
    "workitem_event_recipients",
)
_IS_FINAL = sa.text("state IN ('COMPLETED', 'CANCELED')")


def _big(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def upgrade() -> None:
    """Create the tables. The release before this one does not use them."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    op.create_index(
        "ix_workitems_final", "workitems", ["modified", "key"], sqlite_where=_IS_FINAL, postgresql_where=_IS_FINAL
    )
    op.create_table(
        "workitem_subscribers",
        sa.Column("key", key, autoincrement=False, nullable=False),
        _big("partition_key"),
        sa.Column("ae_title", label, nullable=False),
        _big("position"),
        _big("initial", nullable=True),
        _big("updated"),
        sa.Column("process", label, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_workitem_subscribers"),
        sa.UniqueConstraint("partition_key", "ae_title", name="uq_workitem_subscribers_partition_key_ae_title"),
    )
    op.create_table(
        "workitem_subscriptions",
        sa.Column("workitem_key", key, autoincrement=False, nullable=False),
        sa.Column("subscriber_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workitem_key", "subscriber_key", name="pk_workitem_subscriptions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_workitem_subscriptions_subscriber_key", "workitem_subscriptions", ["subscriber_key"])
    op.create_table(
        "worklist_subscriptions",
        sa.Column("key", key, autoincrement=False, nullable=False),
        _big("subscriber_key"),
        _big("partition_key"),
        _big("first_key"),
        _big("last_key", nullable=True),
        sa.Column("has_lock", sa.SmallInteger(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_worklist_subscriptions"),
    )
    op.create_index("ix_worklist_subscriptions_partition_key", "worklist_subscriptions", ["partition_key"])
    op.create_index("ix_worklist_subscriptions_subscriber_key", "worklist_subscriptions", ["subscriber_key"])
    op.create_table(
        "workitem_event_log",
        sa.Column("key", key, autoincrement=False, nullable=False),
        _big("position"),
        _big("removed"),
        sa.PrimaryKeyConstraint("key", name="pk_workitem_event_log"),
    )
    op.execute("INSERT INTO workitem_event_log (key, position, removed) VALUES (1, 0, 0)")

    def event() -> list[sa.Column]:
        return [
            _big("partition_key"),
            _big("workitem_key"),
            sa.Column("workitem_uid", label, nullable=False),
            sa.Column("kind", sa.SmallInteger(), nullable=False),
            sa.Column("type", sa.SmallInteger(), nullable=False),
            _big("time"),
            sa.Column("information", sa.Text(), nullable=False),
            sa.Column("recipients", sa.Text(), nullable=False),
        ]

    op.create_table(
        "workitem_events",
        sa.Column("position", key, autoincrement=False, nullable=False),
        *event(),
        sa.PrimaryKeyConstraint("position", name="pk_workitem_events"),
    )
    op.create_index("ix_workitem_events_partition_key_position", "workitem_events", ["partition_key", "position"])
    op.create_table(
        "unsequenced_workitem_events",
        sa.Column("key", key, autoincrement=False, nullable=False),
        *event(),
        sa.PrimaryKeyConstraint("key", name="pk_unsequenced_workitem_events"),
    )
    op.create_table(
        "workitem_event_recipients",
        sa.Column("subscriber_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("subscriber_key", "position", name="pk_workitem_event_recipients"),
        sqlite_with_rowid=False,
    )
    if is_postgresql:
        op.execute("CREATE SEQUENCE workitem_event_keys AS BIGINT")
    else:
        op.bulk_insert(
            sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat"))),
            [
                {"tbl": table, "idx": index, "stat": f"{stat} noskipscan"}
                for table, indexes in _STATISTICS.items()
                for index, stat in indexes.items()
            ],
        )


def downgrade() -> None:
    """Remove the tables, and with them all subscriptions and events."""
    for table in _TABLES:
        op.drop_table(table)
    op.drop_index("ix_workitems_final", "workitems")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE workitem_event_keys")
    else:
        names = ", ".join(f"'{table}'" for table in _TABLES)
        op.execute(f"DELETE FROM sqlite_stat1 WHERE tbl IN ({names}) OR idx = 'ix_workitems_final'")  # noqa: S608
