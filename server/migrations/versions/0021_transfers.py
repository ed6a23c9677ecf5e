"""Transfers between the archive and other systems.

Revision 0021, after 0020. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "transfers",
        sa.Column("key", key, autoincrement=False, nullable=False),
        sa.Column("id", label, nullable=False),
        sa.Column("request_id", label),
        *(sa.Column(name, label, nullable=False) for name in ("partition", "remote")),
        sa.Column("work", sa.Text(), nullable=False),
        sa.Column("rule", label, nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created", "updated")),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.BigInteger()),
        sa.Column("lease", label, nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("total", "completed", "failed", "warnings")),
        sa.Column("problem", label, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_transfers"),
        sa.UniqueConstraint("id", name="uq_transfers_id"),
        sa.UniqueConstraint("request_id", name="uq_transfers_request_id"),
    )
    for column in ("due", "updated"):
        op.create_index(f"ix_transfers_{column}", "transfers", [column])


def downgrade() -> None:
    """Remove the table, and with it all transfers."""
    op.drop_table("transfers")
