"""Change feed, query tag errors and stored bytes by partition.

Revision 0004, after 0003. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ERRORS = "extended_query_tag_errors"

_FILL = """
UPDATE extended_query_tag_errors SET partition_key = coalesce(
    (SELECT instances.partition_key FROM instances WHERE instances.version = extended_query_tag_errors.version), 0)
"""

_COUNT = """
INSERT INTO partition_usage (partition_key, shard, stored_bytes)
SELECT partition_key, shard, sum(size_bytes) FROM (
    SELECT owners.partition_key, versions.shard, versions.size_bytes FROM versions
    JOIN (
        SELECT key, partition_key FROM instances UNION SELECT key, partition_key FROM deleted_instances
    ) AS owners ON owners.key = versions.instance_key
) AS stored GROUP BY partition_key, shard
"""


def upgrade() -> None:
    """Add what the release before this one does not use."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    op.create_index("ix_changes_partition_key_sequence", "changes", ["partition_key", "sequence"])

    op.add_column(_ERRORS, sa.Column("partition_key", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.execute(_FILL)
    op.create_index(f"ix_{_ERRORS}_tag_key_partition_key_number", _ERRORS, ["tag_key", "partition_key", "number"])

    op.create_table(
        "partition_usage",
        sa.Column("partition_key", key, nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partition_key", "shard", name="pk_partition_usage"),
        sqlite_with_rowid=False,
    )
    op.execute(_COUNT)


def downgrade() -> None:
    """Remove what this migration has added."""
    op.drop_table("partition_usage")
    op.drop_index(f"ix_{_ERRORS}_tag_key_partition_key_number", _ERRORS)
    op.drop_column(_ERRORS, "partition_key")
    op.drop_index("ix_changes_partition_key_sequence", "changes")
