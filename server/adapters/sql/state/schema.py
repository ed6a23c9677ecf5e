"""The revision of the schema that a database has, and whether this program can use it."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from server.adapters.sql.tables import REVISION
from server.adapters.sql.tables.archive import compatibility

VERSION_TABLE = "alembic_version"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The schema of a database.

    present: its revision; None without revision or file.
    oldest_code: of a newer schema: the oldest revision whose code can use it.
    wanted: the revision of this program.
    """

    present: str | None
    oldest_code: str = ""
    wanted: str = REVISION

    @property
    def is_newer(self) -> bool:
        """Whether a newer program has migrated the database."""
        return self.present is not None and self.present > self.wanted

    @property
    def is_usable(self) -> bool:
        """Whether this program can use it: also while a newer one replaces it on one machine after the other."""
        return self.present == self.wanted or (self.is_newer and self.oldest_code <= self.wanted)


def state_of_schema(connection: Connection) -> SchemaState:
    """Return the schema of a database that has a revision."""
    present = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608
    if present is None or present <= REVISION:
        return SchemaState(present)
    return SchemaState(present, connection.execute(select(compatibility.c.oldest_code)).scalar_one())
