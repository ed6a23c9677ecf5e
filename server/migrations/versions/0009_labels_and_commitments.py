"""Labels, and storage commitment requests.

Revision 0009, after 0008. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and the index that finds instances with a later version by their key.

    The release before this one uses none of them.
    """
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    sharded = ["shard"] if is_postgresql else []
    op.create_table(
        "labels",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("owner", key, autoincrement=False, nullable=False),
        sa.Column("name", label, nullable=False),
        sa.Column("value", label, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("level", "owner", "name", *sharded, name="pk_labels"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_labels_partition_key_name_value_level_owner",
        "labels",
        ["partition_key", "name", "value", "level", "owner"],
    )
    op.create_table(
        "commitments",
        sa.Column("key", key, autoincrement=False, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        sa.Column("transaction_uid", label, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("failures", sa.Text()),
        sa.PrimaryKeyConstraint("key", name="pk_commitments"),
        sa.UniqueConstraint("partition_key", "transaction_uid", name="uq_commitments_partition_key_transaction_uid"),
    )
    op.create_index("ix_commitments_created", "commitments", ["created"])
    op.create_index(
        "ix_instances_renumbered",
        "instances",
        ["key"],
        sqlite_where=sa.text("version <> key"),
        postgresql_where=sa.text("version <> key"),
    )


def downgrade() -> None:
    """Remove the tables, and with them all labels and commitments."""
    op.drop_index("ix_instances_renumbered", "instances")
    op.drop_table("commitments")
    op.drop_table("labels")
