"""What is known of an instance's encoding and damage.

Revision 0008, after 0007. Imports nothing of ours: the past does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
DAMAGED = "ix_instances_damaged"


def upgrade() -> None:
    """Add the columns. Of instances that are stored already nothing is known; an earlier program leaves them empty."""
    op.add_column(
        "instances",
        sa.Column("is_mislabelled", sa.SmallInteger(), comment="1: the VR encoding is not that of the transfer syntax"),
    )
    op.add_column("instances", sa.Column("damage", LABEL, comment="see model/damage.py"))
    condition = sa.text("damage IS NOT NULL")
    op.create_index(DAMAGED, "instances", ["study_key", "version"], sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    """Take them away again."""
    op.drop_index(DAMAGED, "instances")
    op.drop_column("instances", "damage")
    op.drop_column("instances", "is_mislabelled")
