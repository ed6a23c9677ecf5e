"""The record of the files that exports have written."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, tuple_

from server.adapters.sql import operations as record
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.operations import exported_files
from server.model.ids import Uid, Version
from server.model.lifecycle.export import ExportedFile, Written
from server.model.operation import Operation, Update

_c = exported_files.c
_KEY = tuple_(_c.patient, _c.study_uid, _c.series_uid, _c.number)


class SqlExportedFiles:
    """`server.ports.lifecycle.exports.ExportedFiles` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, operation_id: str, files: Sequence[ExportedFile], update: Update) -> Operation | None:
        """See the port."""

        def work(connection: Connection) -> Operation | None:
            operation = record.find(connection, operation_id, locked=True)
            updated = update(operation) if operation is not None else None
            if updated is None:
                return operation
            if files:
                connection.execute(insert(exported_files), [_row(operation_id, file) for file in files])
            return record.save(connection, updated)

        return await self._transactions.write(work)

    async def list(
        self, operation_id: str, after: tuple[str, str, str, int] | None, limit: int
    ) -> Sequence[ExportedFile]:
        """See the port."""
        page = (
            select(exported_files)
            .where(_c.operation_id == operation_id)
            .order_by(_c.patient, _c.study_uid, _c.series_uid, _c.number)
            .limit(limit)
        )
        if after is not None:
            page = page.where(after < _KEY)
        return await self._transactions.read(lambda connection: [_file(row) for row in connection.execute(page)])

    async def remove(self, operation_id: str, limit: int) -> bool:
        """See the port."""
        return await self._remove(_c.operation_id == operation_id, limit)

    async def remove_abandoned(self, limit: int) -> bool:
        """See the port. Files of unfinished operations are not read: there may be millions."""
        abandoned = await self._transactions.read(_abandoned)
        if not abandoned:
            return False
        return await self._remove(_c.operation_id == abandoned[0], limit) or len(abandoned) > 1

    async def _remove(self, condition: ColumnElement[bool], limit: int) -> bool:
        chosen = select(_c.operation_id, _c.patient, _c.study_uid, _c.series_uid, _c.number)
        some = chosen.where(condition).limit(limit)
        key = tuple_(_c.operation_id, _c.patient, _c.study_uid, _c.series_uid, _c.number)
        removal = delete(exported_files).where(key.in_(some))
        return await self._transactions.write(lambda connection: connection.execute(removal).rowcount == limit)


def _abandoned(connection: Connection) -> list[str]:
    """Return the operations with files that are final or have no record any more; each costs a look-up by key."""
    after, found = "", list[str]()
    while True:
        following = select(func.min(_c.operation_id)).where(_c.operation_id > after)
        id_ = connection.execute(following).scalar()
        if id_ is None:
            return found
        operation = record.find(connection, id_)
        if operation is None or operation.state.is_final:
            found.append(id_)
        after = id_


def _row(operation_id: str, file: ExportedFile) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "patient": file.patient,
        "study_uid": file.study,
        "series_uid": file.series,
        "number": file.number,
        "uid": file.instance,
        "version": file.version,
        "sop_class_uid": file.sop_class_uid,
        "transfer_syntax_uid": file.transfer_syntax_uid,
        "path": file.path,
        "size_bytes": file.written.size_bytes,
        "sha256": file.written.sha256,
        "directory": file.directory or None,
    }


def _file(row: Any) -> ExportedFile:
    return ExportedFile(
        patient=row.patient,
        study=Uid(row.study_uid),
        series=Uid(row.series_uid),
        number=row.number,
        instance=Uid(row.uid),
        version=Version(row.version),
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        path=row.path,
        written=Written(row.size_bytes, row.sha256),
        directory=row.directory or "",
    )
