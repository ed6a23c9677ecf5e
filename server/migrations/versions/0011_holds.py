"""Holds, expiry of studies, deletion of partitions, and the author of an erasure.

Revision 0011, after 0010. Imports no module of this project, because migrations must not change later.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the release before this one does not use."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    shard = ["shard"] if is_postgresql else []

    def required(name: str, kind: Any, **options: Any) -> Any:
        return sa.Column(name, kind, nullable=False, **options)

    of_hold = ["partition_key", "study_uid", "series_uid", "sop_uid", "name"]
    op.create_table(
        "holds",
        required("key", key),
        required("shard", sa.SmallInteger(), comment="hash of partition and study; see core/shards.py"),
        required("partition_key", sa.BigInteger()),
        required("study_uid", label),
        required("series_uid", label, comment="empty: the whole study"),
        required("sop_uid", label, comment="empty: the whole series"),
        required("name", label, comment="empty: the hold without a name"),
        required("reason", sa.Text()),
        required("author", sa.Text(), comment="id of the principal"),
        required("time", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key", *shard, name="pk_holds"),
        sa.UniqueConstraint(*of_hold, *shard, name=f"uq_holds_{'_'.join(of_hold)}"),
        comment="by UID, because they also apply to instances that are stored later",
    )
    op.create_table(
        "expiries",
        required("study_key", key),
        required("shard", sa.SmallInteger(), comment="hash of partition and study; see core/shards.py"),
        required("partition_key", sa.BigInteger()),
        required("study_uid", label),
        required("expires", sa.BigInteger()),
        required("author", sa.Text(), comment="id of the principal that set it"),
        required("time", sa.BigInteger(), comment="when it was set"),
        sa.PrimaryKeyConstraint("study_key", *shard, name="pk_expiries"),
        comment="studies that are deleted at a time",
    )
    op.create_index("ix_expiries_expires_study_key", "expiries", ["expires", "study_key"])

    op.add_column("partitions", sa.Column("deleted", sa.BigInteger()))
    op.add_column("partitions", sa.Column("deletion_key", sa.BigInteger()))
    op.add_column("deleted_instances", sa.Column("erase_author", label))
    op.add_column("deleted_instances", sa.Column("erase_reason", label))
    op.create_index("ix_deletions_partition_key_study_uid_key", "deletions", ["partition_key", "study_uid", "key"])


def downgrade() -> None:
    """Remove what this migration has added."""
    op.drop_index("ix_deletions_partition_key_study_uid_key", "deletions")
    op.drop_column("deleted_instances", "erase_reason")
    op.drop_column("deleted_instances", "erase_author")
    op.drop_column("partitions", "deletion_key")
    op.drop_column("partitions", "deleted")
    op.drop_table("expiries")
    op.drop_table("holds")
