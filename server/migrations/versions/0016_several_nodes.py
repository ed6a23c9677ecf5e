"""Several machines: requests to the holder of a lease, and which code can use this schema.

Revision 0016, after 0015. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the column. The release before this one does not use them."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    op.add_column("leases", sa.Column("wakes", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    unfinished = sa.text("failures IS NULL")
    op.create_index(
        "ix_commitments_unfinished", "commitments", ["key"], sqlite_where=unfinished, postgresql_where=unfinished
    )
    op.create_table(
        "compatibility",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("oldest_code", label, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_compatibility"),
    )
    op.execute("INSERT INTO compatibility (key, oldest_code) VALUES (1, '0015')")


def downgrade() -> None:
    """Remove them."""
    op.drop_table("compatibility")
    op.drop_index("ix_commitments_unfinished", "commitments")
    op.drop_column("leases", "wakes")
