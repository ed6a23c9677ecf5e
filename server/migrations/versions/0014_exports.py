"""Files that an export has written, and encrypted credentials of operations.

Revision 0014, after 0013. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the column. The release before this one does not use them."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    op.add_column("operations", sa.Column("secret", sa.Text()))
    op.create_table(
        "exported_files",
        sa.Column("operation_id", label, nullable=False),
        sa.Column("patient", label, nullable=False),
        sa.Column("study_uid", label, nullable=False),
        sa.Column("series_uid", label, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("uid", label, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sop_class_uid", label, nullable=False),
        sa.Column("transfer_syntax_uid", label, nullable=False),
        sa.Column("path", label, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("directory", sa.Text()),
        sa.PrimaryKeyConstraint(
            "operation_id", "patient", "study_uid", "series_uid", "number", name=op.f("pk_exported_files")
        ),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove the table and the column."""
    op.drop_table("exported_files")
    op.drop_column("operations", "secret")
