"""Which archive an index belongs to.

Revision 0009, after 0008. Imports nothing of ours: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the program fills it when it has compared index and data directory."""
    op.create_table(
        "archive",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column(
            "id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="the data directory has the same, in archive.json",
        ),
        sa.PrimaryKeyConstraint("key", name="pk_archive"),
        comment="one row: the archive that this index belongs to",
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("archive")
