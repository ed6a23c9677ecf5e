"""Archive tokens.

Revision 0002, after 0001. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    op.create_table(
        "archive_tokens",
        sa.Column("key", key, primary_key=True, autoincrement=False),
        sa.Column("id", label, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("partitions", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.BigInteger()),
        sa.Column("last_used", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key", name="pk_archive_tokens"),
        sa.UniqueConstraint("id", name="uq_archive_tokens_id"),
        sa.UniqueConstraint("digest", name="uq_archive_tokens_digest"),
    )


def downgrade() -> None:
    """Remove the table, and with it all tokens."""
    op.drop_table("archive_tokens")
