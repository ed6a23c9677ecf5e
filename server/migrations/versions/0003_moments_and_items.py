"""Time zones of studies and series, and the items that search keys about members of a sequence belong to.

Revision 0003, after 0002. Imports nothing of ours: the past does not change.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROWS_AT_ONCE = 2000
LONGEST_TEXT = 512
MOMENTS = {
    "studies": ("study_date", "study_time", "study_moment"),
    "series": (
        "performed_procedure_step_start_date",
        "performed_procedure_step_start_time",
        "performed_procedure_step_start_moment",
    ),
}
COMMENTS = {
    "studies": "date and time in UTC, if the offset is known; see model/moment.py",
    "series": "as study_moment",
}
OFFSET, REQUESTS = "00080201", "00400275"
MEMBERS = {
    "ScheduledProcedureStepID": ("00400009",),
    "RequestedProcedureID": ("00401001",),
    "AccessionNumber": ("00080050",),
    "StudyInstanceUID": ("0020000D",),
    "ScheduledProcedureStepDescription": ("00400007",),
    "RequestedProcedureDescription": ("00321060",),
    "ReasonForTheRequestedProcedure": ("00401002",),
    "ScheduledProtocolCodeSequence.CodeValue": ("00400008", "00080100"),
    "ScheduledProtocolCodeSequence.CodeMeaning": ("00400008", "00080104"),
    "RequestedProcedureCodeSequence.CodeValue": ("00321064", "00080100"),
    "RequestedProcedureCodeSequence.CodeMeaning": ("00321064", "00080104"),
    "ReasonForRequestedProcedureCodeSequence.CodeValue": ("0040100A", "00080100"),
    "ReasonForRequestedProcedureCodeSequence.CodeMeaning": ("0040100A", "00080104"),
}


def upgrade() -> None:
    """Add what is new and fill it from the elements that are kept."""
    for table, (_, _, moment) in MOMENTS.items():
        op.add_column(table, sa.Column("utc_offset", LABEL, comment="+HHMM or -HHMM"))
        op.add_column(table, sa.Column(moment, LABEL, comment=COMMENTS[table]))
        _fill_moments(table)
    op.drop_table("series_values")
    op.create_table(
        "series_values",
        sa.Column("series_key", KEY, autoincrement=False, nullable=False),
        sa.Column("keyword", LABEL, nullable=False),
        sa.Column("item", sa.Integer(), autoincrement=False, nullable=False, comment="of the sequence, from 0"),
        sa.Column("value", LABEL, nullable=False),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name="fk_series_values_series_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("series_key", "keyword", "item", "value", name="pk_series_values"),
        comment="what the items of a sequence have for search keys about its members",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_series_values_keyword_value", "series_values", ["keyword", "value"])
    _fill_values()


def _rows(table: str, columns: Sequence[str], tag: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Generate the rows of a table that keep an element, with all that they keep."""
    page = sa.text(
        f"SELECT key, elements{''.join(f', {name}' for name in columns)} FROM {table} "  # noqa: S608 - our names
        "WHERE key > :after AND elements LIKE :kept ORDER BY key LIMIT :most"
    )
    after = 0
    while rows := op.get_bind().execute(page, {"after": after, "kept": f'%"{tag}":%', "most": ROWS_AT_ONCE}).all():
        for row in rows:
            yield row, orjson.loads("{" + row.elements.replace("\n", ",") + "}")
        after = rows[-1].key


def _fill_moments(table: str) -> None:
    date_column, time_column, moment = MOMENTS[table]
    update = sa.text(f"UPDATE {table} SET utc_offset = :offset, {moment} = :moment WHERE key = :key")  # noqa: S608
    for row, elements in _rows(table, (date_column, time_column), OFFSET):
        offset = _offset(elements.get(OFFSET, {}))
        if offset:
            day, time = getattr(row, date_column), getattr(row, time_column)
            found = _in_utc(day, time, offset) if day and time else None
            op.get_bind().execute(update, {"offset": offset, "moment": found, "key": row.key})


def _offset(element: Mapping[str, Any]) -> str | None:
    match = re.fullmatch(r"([+-]?)([0-9]{4})", str((element.get("Value") or [""])[0]).strip(" \0"))
    if match is None or match[2][2:] > "59" or match[2] > ("1200" if match[1] == "-" else "1400"):
        return None
    return f"{match[1] if match[2] != '0000' and match[1] else '+'}{match[2]}"


def _in_utc(day: str, time: str, offset: str) -> str | None:
    ahead = int(f"{offset[0]}1") * (int(offset[1:3]) * 60 + int(offset[3:]))
    days, minutes = divmod(int(time[:2]) * 60 + int(time[2:4]) - ahead, 24 * 60)
    try:
        found = date(int(day[:4]), int(day[4:6]), int(day[6:])) + timedelta(days)
    except (OverflowError, ValueError):
        return None
    return f"{found.isoformat().replace('-', '')}{minutes // 60:02d}{minutes % 60:02d}{time[4:]}"


def _fill_values() -> None:
    insert = sa.text(
        "INSERT INTO series_values (series_key, keyword, item, value) VALUES (:series_key, :keyword, :item, :value)"
    )
    for row, elements in _rows("series", (), REQUESTS):
        found = {
            (f"RequestAttributesSequence.{member}", number, value[:LONGEST_TEXT])
            for member, path in MEMBERS.items()
            for number, item in enumerate(elements.get(REQUESTS, {}).get("Value", ()))
            for value in _values(item, path)
        }
        rows = [
            {"series_key": row.key, "keyword": keyword, "item": item, "value": value}
            for keyword, item, value in sorted(found)
        ]
        if rows:
            op.get_bind().execute(insert, rows)


def _values(item: Any, path: Sequence[str]) -> Iterator[str]:
    tag, *rest = path
    element = item.get(tag) if isinstance(item, dict) else None
    values = (element or {}).get("Value") or ()
    if rest:
        for inner in values:
            yield from _values(inner, rest)
    elif values and values[0] is not None:
        text = _text(str(values[0])) if tag != "0020000D" else str(values[0]).strip(" \0")
        if text := re.sub(r"[\\\n\0]+", " ", text):
            yield text


def _text(value: str) -> str:
    composed = unicodedata.normalize("NFC", value.strip(" \0"))
    return unicodedata.normalize("NFC", composed.casefold()).strip(" \0")


def downgrade() -> None:
    """Take it away again; values lose the number of their item, and those that revision 0002 has no keys for go."""
    bind = op.get_bind()
    kept = "('RequestAttributesSequence.ScheduledProcedureStepID', 'RequestAttributesSequence.RequestedProcedureID')"
    rows = bind.execute(
        sa.text(f"SELECT DISTINCT series_key, keyword, value FROM series_values WHERE keyword IN {kept}")  # noqa: S608
    ).all()
    op.drop_table("series_values")
    op.create_table(
        "series_values",
        sa.Column("series_key", KEY, autoincrement=False, nullable=False),
        sa.Column("keyword", LABEL, nullable=False),
        sa.Column("value", LABEL, nullable=False),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name="fk_series_values_series_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("series_key", "keyword", "value", name="pk_series_values"),
        comment="search keys that may have several values, each of which counts",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_series_values_keyword_value", "series_values", ["keyword", "value"])
    insert = sa.text("INSERT INTO series_values (series_key, keyword, value) VALUES (:series_key, :keyword, :value)")
    if rows:
        bind.execute(insert, [row._asdict() for row in rows])
    for table, (_, _, moment) in MOMENTS.items():
        op.drop_column(table, moment)
        op.drop_column(table, "utc_offset")
