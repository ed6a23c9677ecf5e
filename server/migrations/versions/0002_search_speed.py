"""Search at the same speed whatever the size: a text index, blocks of studies, elements that need no parsing.

Revision 0002, after 0001. Imports nothing of ours: the past does not change.
"""

from collections.abc import Iterator
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KEYS = {"studies": "key", "series": "key", "instances": "version"}
ROWS_AT_ONCE = 2000
STUDIES_PER_BLOCK = 1024
TEXT = (
    "patient_name_1",
    "patient_name_2",
    "patient_name_3",
    "referring_physician_name_1",
    "referring_physician_name_2",
    "referring_physician_name_3",
    "patient_id",
    "accession_number",
    "study_description",
)


def upgrade() -> None:
    """Add what is new and fill it from what is there."""
    for table, key in KEYS.items():
        _write_elements_as_lines(table, key)
    _count_blocks()
    if op.get_bind().dialect.name == "sqlite":
        # A partition is always given. Where an index is not to be used, its being left out must not lead SQLite to try
        # all partitions there are (sqlite.org/fileformat2.html, 2.6.3).
        op.execute("UPDATE sqlite_stat1 SET stat = stat || ' noskipscan'")
        _index_text_in_sqlite()
    else:
        _index_text_in_postgresql()


def _write_elements_as_lines(table: str, key: str) -> None:
    """Put each element of a JSON object on a line of its own, in order of tags."""
    update = sa.text(f"UPDATE {table} SET elements = :elements WHERE {key} = :key")  # noqa: S608 - our names
    page = f"SELECT {key}, elements FROM {table} WHERE {key} > :after ORDER BY {key} LIMIT :most"  # noqa: S608
    for rows in _pages(page):
        op.get_bind().execute(update, [{"key": row[0], "elements": _as_lines(row[1])} for row in rows])


def _pages(query: str) -> Iterator[list[Any]]:
    after = 0
    while rows := op.get_bind().execute(sa.text(query), {"after": after, "most": ROWS_AT_ONCE}).all():
        yield list(rows)
        after = rows[-1][0]


def _as_lines(text: str) -> str:
    elements = sorted(orjson.loads(text).items())
    return "\n".join(f'"{tag}":{orjson.dumps(element).decode()}' for tag, element in elements)


def _count_blocks() -> None:
    op.create_table(
        "study_blocks",
        sa.Column("partition_key", KEY, autoincrement=False, nullable=False),
        sa.Column("block", KEY, autoincrement=False, nullable=False, comment="key of a study / STUDIES_PER_BLOCK"),
        sa.Column("studies", sa.BigInteger(), nullable=False, comment="how many of this partition are in the block"),
        sa.ForeignKeyConstraint(["partition_key"], ["partitions.key"], name="fk_study_blocks_partition_key"),
        sa.PrimaryKeyConstraint("partition_key", "block", name="pk_study_blocks"),
        comment="for large offsets",
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO study_blocks (partition_key, block, studies) "  # noqa: S608
        f"SELECT partition_key, key / {STUDIES_PER_BLOCK}, count(*) FROM studies GROUP BY 1, 2"
    )


def _index_text_in_sqlite() -> None:
    names, old, new = (", ".join(prefix + name for name in TEXT) for prefix in ("", "old.", "new."))
    forget = f"INSERT INTO study_text(study_text, rowid, {names}) VALUES ('delete', old.key, {old});"  # noqa: S608
    take_up = f"INSERT INTO study_text(rowid, {names}) VALUES (new.key, {new});"  # noqa: S608
    op.execute(
        f"CREATE VIRTUAL TABLE study_text USING fts5({names}, content='studies', content_rowid='key', "
        "tokenize='trigram case_sensitive 1', detail=column, columnsize=0)"
    )
    op.execute(f"CREATE TRIGGER study_text_insert AFTER INSERT ON studies BEGIN {take_up} END")
    op.execute(f"CREATE TRIGGER study_text_delete AFTER DELETE ON studies BEGIN {forget} END")
    op.execute(f"CREATE TRIGGER study_text_update AFTER UPDATE OF {names} ON studies BEGIN {forget} {take_up} END")
    op.execute("INSERT INTO study_text(study_text) VALUES ('rebuild')")


def _index_text_in_postgresql() -> None:
    """Index text where the extension for it is there or may be made. Without it, searches read more and find the same.

    `ix_studies_text` is not among the tables of the program: it is there or not.
    """
    bind = op.get_bind()
    if bind.execute(sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")).scalar() is None:
        return
    op.execute("SAVEPOINT text_index")
    try:
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        columns = ", ".join(f"{name} gin_trgm_ops" for name in TEXT)
        op.execute(f"CREATE INDEX ix_studies_text ON studies USING gin ({columns})")
    except sa.exc.ProgrammingError:  # not allowed to, or it is where we don't look
        op.execute("ROLLBACK TO SAVEPOINT text_index")
    op.execute("RELEASE SAVEPOINT text_index")


def downgrade() -> None:
    """Take it away again."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        for when in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER study_text_{when}")
        op.execute("DROP TABLE study_text")
        op.execute("UPDATE sqlite_stat1 SET stat = replace(stat, ' noskipscan', '')")
    else:
        op.execute("DROP INDEX IF EXISTS ix_studies_text")
    op.drop_table("study_blocks")
    line_end = "char(10)" if is_sqlite else "chr(10)"
    for table in KEYS:
        op.execute(f"UPDATE {table} SET elements = '{{' || replace(elements, {line_end}, ',') || '}}'")  # noqa: S608
