"""Extended query tags, what instances have for them, and operations.

Revision 0004, after 0003. Imports nothing of ours: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add what is new. What an earlier program does to the database stays right: it knows no tags."""
    _create_operations()
    _create_tags()
    _create_values()
    _create_errors()


def _create_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("id", LABEL, nullable=False),
        sa.Column("request_id", LABEL, comment="what the client calls the request that started it"),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column(
            "rest", sa.BigInteger(), nullable=False, comment="instances with lower versions are still to be done"
        ),
        sa.Column("subject", sa.Text(), nullable=False, comment="a line each"),
        sa.Column("errors", sa.Text(), nullable=False, comment="a line each"),
        sa.PrimaryKeyConstraint("key", name="pk_operations"),
        sa.UniqueConstraint("id", name="uq_operations_id"),
        sa.UniqueConstraint("request_id", name="uq_operations_request_id"),
    )
    op.create_index("ix_operations_state_updated", "operations", ["state", "updated"])


def _create_tags() -> None:
    op.create_table(
        "extended_query_tags",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("tag", LABEL, nullable=False),
        sa.Column("keyword", LABEL, nullable=False),
        sa.Column("vr", LABEL, nullable=False),
        sa.Column("private_creator", LABEL, nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("query_status", sa.SmallInteger(), nullable=False),
        sa.Column("operation_id", LABEL, nullable=False),
        sa.Column("last_error", sa.BigInteger(), nullable=False, comment="number of the last error that was given one"),
        sa.PrimaryKeyConstraint("key", name="pk_extended_query_tags"),
        sa.UniqueConstraint("tag", name="uq_extended_query_tags_tag"),
    )


def _create_values() -> None:
    table = "extended_query_tag_values"
    op.create_table(
        table,
        sa.Column("tag_key", KEY, autoincrement=False, nullable=False),
        sa.Column("owner", KEY, autoincrement=False, nullable=False, comment="key of a study or series, or version"),
        sa.Column("part", sa.SmallInteger(), autoincrement=False, nullable=False, comment="see tag_values"),
        sa.Column("text", LABEL),
        sa.Column("number", sa.Double()),
        sa.PrimaryKeyConstraint("tag_key", "owner", "part", name=f"pk_{table}"),
        sqlite_with_rowid=False,
    )
    for column in ("text", "number"):
        op.create_index(f"ix_{table}_tag_key_{column}_owner", table, ["tag_key", column, "owner"])


def _create_errors() -> None:
    table = "extended_query_tag_errors"
    op.create_table(
        table,
        sa.Column("tag_key", KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tag_key", "number", name=f"pk_{table}"),
        sa.UniqueConstraint("version", "tag_key", name=f"uq_{table}_version_tag_key"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Take it away again."""
    for table in (
        "extended_query_tag_errors",
        "extended_query_tag_values",
        "extended_query_tags",
        "operations",
    ):
        op.drop_table(table)
