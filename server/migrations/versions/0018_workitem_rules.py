"""Rules that create workitems.

Revision 0018, after 0017. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. The release before this one does not use them."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "workitem_rules",
        sa.Column("key", key, autoincrement=False, nullable=False),
        sa.Column("id", label, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("label", "query", "partitions", "template")),
        sa.Column("is_enabled", sa.SmallInteger(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created", "number", "workitems")),
        sa.Column("failed", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key", name="pk_workitem_rules"),
        sa.UniqueConstraint("id", name="uq_workitem_rules_id"),
    )
    op.create_table(
        "workitem_rule_events",
        *(sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False) for name in ("rule_key", "number")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("attempts", "next_attempt")),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rule_key", "number", name="pk_workitem_rule_events"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_workitem_rule_events_rule_key_next_attempt", "workitem_rule_events", ["rule_key", "next_attempt"]
    )


def downgrade() -> None:
    """Remove the tables, and with them all rules. Their workitems remain."""
    op.drop_table("workitem_rule_events")
    op.drop_table("workitem_rules")
