"""Files that were imported, and pauses of operations.

Revision 0015, after 0014. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and add the column. The release before this one uses neither."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    label = sa.Text(collation="C") if is_postgresql else sa.Text()
    op.add_column("operations", sa.Column("resumes", sa.BigInteger(), comment="paused until then"))
    op.create_table(
        "imported_files",
        sa.Column(
            "key", sa.LargeBinary(), nullable=False, comment="digest of partition, kind of import and URL of the file"
        ),
        sa.Column("etag", sa.LargeBinary(), nullable=False, comment="digest of the entity tag"),
        sa.Column("failed_in", label, comment="the operation in which it failed; NULL: it is stored"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_imported_files")),
        comment="files that operations of type import have processed",
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("imported_files")
    op.drop_column("operations", "resumes")
