"""Versions that an update has written but not made current.

Revision 0013, after 0012. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    op.create_table(
        "staged_versions",
        sa.Column(
            "instance_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "shard", sa.SmallInteger(), nullable=False, comment="hash of partition and study; see core/shards.py"
        ),
        sa.Column("operation_id", label, nullable=False),
        sa.Column("base_version", sa.BigInteger(), nullable=False, comment="the version that was changed"),
        sa.Column("base_locator", label, nullable=False),
        sa.Column("locator", label, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.BigInteger(), nullable=False),
        sa.Column("shifts", sa.Text(), nullable=False),
        sa.Column("has_utf_8", sa.SmallInteger()),
        sa.PrimaryKeyConstraint("instance_key", *(["shard"] if is_postgresql else []), name=op.f("pk_staged_versions")),
    )
    for columns in (["operation_id", "base_version"], ["locator"]):
        op.create_index(op.f(f"ix_staged_versions_{'_'.join(columns)}"), "staged_versions", columns)


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("staged_versions")
