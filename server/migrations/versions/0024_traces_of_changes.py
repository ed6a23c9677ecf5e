"""The traces of changes and transfers, and the number of transfers by state.

Revision 0024, after 0023. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_OF_A_CHANGE = "trace of the change, as header traceparent; NULL: not recorded"
_OF_A_TRANSFER = "trace in which it was created, as header traceparent; NULL: not recorded"
_COMMENTS = {"changes": _OF_A_CHANGE, "unsequenced": _OF_A_CHANGE, "transfers": _OF_A_TRANSFER}


def upgrade() -> None:
    """Add the columns and the index. The release before this one does not use them."""
    for table, comment in _COMMENTS.items():
        op.add_column(table, sa.Column("trace", sa.Text(), comment=comment))
    op.create_index("ix_transfers_state", "transfers", ["state"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("ix_transfers_state", "transfers")
    for table in _COMMENTS:
        op.drop_column(table, "trace")
