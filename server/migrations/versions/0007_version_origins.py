"""The origin of versions, the history of studies, and the duplicates policy of partitions.

Revision 0007, after 0006. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INDEX = "ix_versions_of_study"

_FILL = """
UPDATE versions SET study_key = (
    SELECT owners.study_key FROM (
        SELECT key, study_key FROM instances UNION SELECT key, study_key FROM deleted_instances
    ) AS owners WHERE owners.key = versions.instance_key
), sop_class_uid = (
    SELECT owners.sop_class_uid FROM (
        SELECT key, sop_class_uid FROM instances UNION SELECT key, sop_class_uid FROM deleted_instances
    ) AS owners WHERE owners.key = versions.instance_key
) WHERE replaced IS NOT NULL
"""


def upgrade() -> None:
    """Add what the release before this one does not use. Versions of that release have the SOP class of the current
    one."""
    label = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.add_column("versions", sa.Column("origin", sa.SmallInteger()))
    op.add_column("versions", sa.Column("study_key", sa.BigInteger()))
    op.add_column("versions", sa.Column("sop_class_uid", label))
    op.execute(_FILL)
    is_set = sa.text("study_key IS NOT NULL")
    op.create_index(_INDEX, "versions", ["study_key", "version"], sqlite_where=is_set, postgresql_where=is_set)
    op.add_column("partitions", sa.Column("duplicates", sa.SmallInteger()))


def downgrade() -> None:
    """Remove what this migration has added."""
    op.drop_column("partitions", "duplicates")
    op.drop_index(_INDEX, "versions")
    for name in ("sop_class_uid", "study_key", "origin"):
        op.drop_column("versions", name)
