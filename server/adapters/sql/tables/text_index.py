"""Indexes of parts of words, in SQLite and PostgreSQL."""

from collections.abc import Mapping

from sqlalchemy import Table, event

from server.adapters.sql.tables.columns import only_in


class TextIndex:
    """An index of the trigrams in columns of a table, created and dropped with it; see `search.trigrams`.

    table: its key is `key`.
    letters: the columns, and the prefix of their trigrams in PostgreSQL's index, which distinguishes the columns.
    in_sqlite: name of the index in SQLite, a table that triggers update.
    trigrams: the trigrams of a row, in PostgreSQL. Statements with this expression can use the index.
    """

    def __init__(self, table: Table, letters: Mapping[str, str], in_sqlite: str, in_postgresql: str) -> None:
        self.table = table
        self.letters = letters
        self.in_sqlite = in_sqlite
        self.trigrams = self._trigrams(f"{table.name}.")
        for statement in self._statements():
            event.listen(table, "after_create", only_in("sqlite", statement))
        event.listen(table, "before_drop", only_in("sqlite", f"DROP TABLE {in_sqlite}"))
        create = (
            f"CREATE INDEX {in_postgresql} ON {table.name} USING gin ({self._trigrams('')}) "
            "WITH (gin_pending_list_limit = 256)"
        )
        event.listen(table, "after_create", only_in("postgresql", create))

    def _trigrams(self, prefix: str) -> str:
        parts = (f"'{letter}' || {prefix}{name}" for name, letter in self.letters.items())
        return f"dicomstore_trigrams(ARRAY[{', '.join(parts)}])"

    def _statements(self) -> tuple[str, ...]:
        """Return the statements that create the index of SQLite and its triggers."""
        index, table = self.in_sqlite, self.table.name
        names, old, new = (", ".join(prefix + name for name in self.letters) for prefix in ("", "old.", "new."))
        # An external-content index needs the old text in order to delete its entries (sqlite.org/fts5.html, 4.4.3).
        forget = f"INSERT INTO {index}({index}, rowid, {names}) VALUES ('delete', old.key, {old});"  # noqa: S608 - our names
        take_up = f"INSERT INTO {index}(rowid, {names}) VALUES (new.key, {new});"  # noqa: S608 - our names
        return (
            f"CREATE VIRTUAL TABLE {index} USING fts5({names}, content='{table}', content_rowid='key', "
            "tokenize='trigram case_sensitive 1', detail=column, columnsize=0)",
            f"CREATE TRIGGER {index}_insert AFTER INSERT ON {table} BEGIN {take_up} END",
            f"CREATE TRIGGER {index}_delete AFTER DELETE ON {table} BEGIN {forget} END",
            f"CREATE TRIGGER {index}_update AFTER UPDATE OF {names} ON {table} BEGIN {forget} {take_up} END",
        )
