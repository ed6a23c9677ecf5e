"""Consumers of the change feed.

Revision 0006, after 0005. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    label = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.create_table(
        "change_feed_consumers",
        sa.Column("name", label, nullable=False),
        sa.Column("owner", label, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_change_feed_consumers"),
    )
    op.create_index("ix_change_feed_consumers_owner", "change_feed_consumers", ["owner"])


def downgrade() -> None:
    """Remove the table, and with it all positions."""
    op.drop_table("change_feed_consumers")
