"""Operations of any type: request and result as JSON, steps, and the errors of items.

Revision 0011, after 0010. Imports nothing of the program: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables anew; operations from before are forgotten."""
    op.drop_table("operations")
    op.create_table(
        "operations",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("id", LABEL, nullable=False),
        sa.Column("request_id", LABEL, comment="name that the client gave to the request that started it"),
        sa.Column("type", LABEL, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("result", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False, comment="number of steps that are finished"),
        sa.Column(
            "cursor", sa.Text(), nullable=False, comment="where the current step continues, in the form of its type"
        ),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_operations"),
        sa.UniqueConstraint("id", name="uq_operations_id"),
        sa.UniqueConstraint("request_id", name="uq_operations_request_id"),
    )
    op.create_index("ix_operations_state_updated", "operations", ["state", "updated"])
    op.create_table(
        "operation_errors",
        sa.Column("operation_id", LABEL, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("reason", LABEL, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False, comment="name of an item that is no resource"),
        sa.Column("partition", LABEL, comment="NULL: the item is no resource"),
        sa.Column("study", LABEL),
        sa.Column("series", LABEL),
        sa.Column("instance", LABEL),
        sa.PrimaryKeyConstraint("operation_id", "number", name="pk_operation_errors"),
        comment="items of operations that failed",
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Make the former table anew."""
    op.drop_table("operation_errors")
    op.drop_table("operations")
    op.create_table(
        "operations",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("id", LABEL, nullable=False),
        sa.Column("request_id", LABEL, comment="what the client calls the request that started it"),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column(
            "rest", sa.BigInteger(), nullable=False, comment="instances with lower versions are still to be done"
        ),
        sa.Column("subject", sa.Text(), nullable=False, comment="a line each"),
        sa.Column("errors", sa.Text(), nullable=False, comment="a line each"),
        sa.PrimaryKeyConstraint("key", name="pk_operations"),
        sa.UniqueConstraint("id", name="uq_operations_id"),
        sa.UniqueConstraint("request_id", name="uq_operations_request_id"),
    )
    op.create_index("ix_operations_state_updated", "operations", ["state", "updated"])
