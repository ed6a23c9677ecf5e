"""Which attributes of an instance were stored although their values are invalid.

Revision 0007, after 0006. Imports nothing of ours: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column.

    What was stored before has no such attributes in its metadata. An earlier program that still runs leaves it empty.
    """
    op.add_column(
        "metadata", sa.Column("invalid_tags", sa.Text(), comment="see NewInstance, separated by spaces; NULL: none")
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("metadata", "invalid_tags")
