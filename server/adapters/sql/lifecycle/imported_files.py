"""The record of imported files."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from server.adapters.sql import operations
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.operations import imported_files
from server.model.operation import Operation, Update
from server.ports.imports import ImportedBatch, ImportedFile

_MAX_PARAMETERS = 500


class SqlImportedFiles:
    """`server.ports.imports.ImportedFiles` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def known(self, keys: Sequence[bytes]) -> Mapping[bytes, ImportedFile]:
        """See the port."""

        def work(connection: Connection) -> Mapping[bytes, ImportedFile]:
            found = {}
            for some in _slices(keys):
                rows = connection.execute(select(imported_files).where(imported_files.c.key.in_(some)))
                found.update(
                    {bytes(row.key): ImportedFile(bytes(row.key), bytes(row.etag), row.failed_in) for row in rows}
                )
            return found

        return await self._transactions.read(work)

    async def record(self, operation_id: str, batch: ImportedBatch, update: Update) -> Operation | None:
        """See the port."""

        def work(connection: Connection) -> Operation | None:
            operation = operations.find(connection, operation_id, locked=True)
            for some in _slices(batch.removed):
                connection.execute(delete(imported_files).where(imported_files.c.key.in_(some)))
            if batch.files:
                dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
                insert = dialect.insert(imported_files)
                replaced = {name: insert.excluded[name] for name in ("etag", "failed_in")}
                rows = [file._asdict() for file in {file.key: file for file in batch.files}.values()]
                connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_=replaced), rows)
            updated = None if operation is None else update(operation)
            return operation if updated is None else operations.save(connection, updated)

        return await self._transactions.write(work)


def _slices(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [keys[start : start + _MAX_PARAMETERS] for start in range(0, len(keys), _MAX_PARAMETERS)]
