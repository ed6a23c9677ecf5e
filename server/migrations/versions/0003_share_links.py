"""Share links.

Revision 0003, after 0002. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    op.create_table(
        "share_links",
        sa.Column("key", key, primary_key=True, autoincrement=False),
        sa.Column("id", label, nullable=False),
        sa.Column("purpose", sa.SmallInteger(), nullable=False),
        sa.Column("partition", label, nullable=False),
        sa.Column("study", label),
        sa.Column("series", label),
        sa.Column("instance", label),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_share_links"),
        sa.UniqueConstraint("id", name="uq_share_links_id"),
    )


def downgrade() -> None:
    """Remove the table, and with it all links."""
    op.drop_table("share_links")
