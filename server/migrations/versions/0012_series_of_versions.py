"""Series and SOP Instance UID of replaced versions.

Revision 0012, after 0011. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OWNER = """
SELECT owners.{name} FROM (
    SELECT key, series_key, uid FROM instances UNION SELECT key, series_key, uid FROM deleted_instances
) AS owners WHERE owners.key = versions.instance_key
"""


def upgrade() -> None:
    """Add what the release before this one does not use."""
    label = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.add_column("versions", sa.Column("series_key", sa.BigInteger()))
    op.add_column("versions", sa.Column("uid", label))
    for name in ("series_key", "uid"):
        op.execute(f"UPDATE versions SET {name} = ({_OWNER.format(name=name)}) WHERE replaced IS NOT NULL")  # noqa: S608


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("versions", "uid")
    op.drop_column("versions", "series_key")
