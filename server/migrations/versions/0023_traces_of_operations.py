"""The traces in which operations were started.

Revision 0023, after 0022. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. The release before this one does not use it."""
    op.add_column(
        "operations", sa.Column("trace", sa.Text(), comment="trace in which it was started, as header traceparent")
    )


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("operations", "trace")
