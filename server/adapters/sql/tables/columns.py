"""Columns and constraints that tables share."""

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

MAX_TEXT_LENGTH = 512
"""Number of characters of a value that are searchable."""

NAME_GROUPS = 3
"""Alphabetic, ideographic and phonetic (PS3.5 section 6.2.1)."""

Key = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is an alias of the rowid
Label = Text().with_variant(Text(collation="C"), "postgresql")  # SQLite's default collation is by code point

schema = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


def key(name: str) -> Column[int]:
    return Column(name, Key, primary_key=True, autoincrement=False)


SHARD = "shard"
OF_A_STUDY = {"is_sharded": True}
"""The `info` of tables whose rows belong to a study."""


def shard() -> Column[int]:
    return Column(SHARD, SmallInteger, nullable=False, comment="hash of partition and study; see core/shards.py")


@compiles(PrimaryKeyConstraint, "postgresql")
@compiles(UniqueConstraint, "postgresql")
@compiles(ForeignKeyConstraint, "postgresql")
def _with_shard(constraint: Any, compiler: Any, **options: Any) -> str:
    """Add the shard as last column of a constraint."""
    visit = getattr(compiler, f"visit_{constraint.__visit_name__}")
    sql: str = visit(constraint, **options)
    if constraint.table.info.get("is_sharded") and "locator" not in constraint.columns:
        return sql.replace(")", f", {SHARD})")
    return sql


def name_groups(keyword: str) -> list[Column[str]]:
    """Return the columns of a person name: its component groups, and all its words separated by spaces."""
    groups = [Column(f"{keyword}_{group}", Label) for group in range(1, NAME_GROUPS + 1)]
    return [*groups, Column(f"{keyword}_words", Label)]


def only_in(dialect: str, statement: str) -> ExecutableDDLElement:
    made: ExecutableDDLElement = DDL(statement).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
    return made
