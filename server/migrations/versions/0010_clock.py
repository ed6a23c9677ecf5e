"""The time that is recorded across restarts.

Revision 0010, after 0009. Imports nothing of the program: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the program fills it."""
    op.create_table(
        "clock",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False, comment="microseconds since 1970-01-01 UTC"),
        sa.PrimaryKeyConstraint("key", name="pk_clock"),
        comment="one row: the latest time by which deadlines for erasing are judged",
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("clock")
