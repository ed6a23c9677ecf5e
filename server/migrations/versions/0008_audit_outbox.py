"""Audit records that are durable with the change that they describe.

Revision 0008, after 0007. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER is an alias of the rowid
    op.create_table(
        "audit_outbox",
        sa.Column("key", key, nullable=False, autoincrement=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_audit_outbox"),
    )


def downgrade() -> None:
    """Remove the table, and with it the records of processes that were killed and that no start has recovered."""
    op.drop_table("audit_outbox")
