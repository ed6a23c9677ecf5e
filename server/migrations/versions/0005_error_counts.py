"""How many errors an extended query tag has.

Revision 0005, after 0004. Imports nothing of ours: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the count and fill it from the errors there are.

    An earlier program that still runs adds tags as before, and counts errors itself when it is asked. What it adds and
    deletes meanwhile is not in this count, so it should be stopped before errors of tags matter.
    """
    op.add_column(
        "extended_query_tags", sa.Column("error_count", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    )
    op.execute(
        "UPDATE extended_query_tags SET error_count = "
        "(SELECT count(*) FROM extended_query_tag_errors WHERE tag_key = extended_query_tags.key)"
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("extended_query_tags", "error_count")
