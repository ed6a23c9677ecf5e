"""The database of the index: SQLite or PostgreSQL, selected by URL. All differences between the two start here.

SQLite: write-ahead log, every commit synced, one writing connection that takes the write lock at the start of a
transaction, so that it cannot fail later because of another process. PostgreSQL: psycopg, writing transactions at
isolation level READ COMMITTED (they start by locking their rows of `counters`), reading ones at REPEATABLE READ, which
gives one snapshot. With both, the driver never starts transactions itself: see `transactions`. Statements for
PostgreSQL share round trips: see `pipeline`.
"""

import importlib.util
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sqlalchemy import URL, Connection, Engine, inspect, make_url, text, update

from common.telemetry.metrics import Sample
from server.adapters.sql.archive_tokens import SqlArchiveTokens
from server.adapters.sql.audit_outbox import SqlOutboxTable
from server.adapters.sql.changes import Listen, SqlChangeLog
from server.adapters.sql.consumers import SqlConsumers
from server.adapters.sql.core import notifications
from server.adapters.sql.core.counters import raise_counters
from server.adapters.sql.core.engines import direct_url as direct_url
from server.adapters.sql.core.engines import engine_of, limits_of, parsed
from server.adapters.sql.core.engines import is_pooled as is_pooled
from server.adapters.sql.core.prepared import Prepared, flush
from server.adapters.sql.core.progress import Progress
from server.adapters.sql.core.replica import Replica
from server.adapters.sql.core.sessions import Kind, Result, Work, begin, commit, repeated, translated
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.core.write_order import FileWriteOrder, WriteOrder
from server.adapters.sql.events.deliveries import SqlDeliveries
from server.adapters.sql.events.leases import SqlLeases
from server.adapters.sql.events.study_events import SqlStudyEvents
from server.adapters.sql.events.webhooks import SqlWebhooks
from server.adapters.sql.events.workitem_rules import SqlWorkitemRules
from server.adapters.sql.instances import SqlInstanceIndex
from server.adapters.sql.lifecycle.blob_moves import SqlBlobMoves
from server.adapters.sql.lifecycle.commitments import SqlCommitments
from server.adapters.sql.lifecycle.expiries import SqlExpiries
from server.adapters.sql.lifecycle.exported_files import SqlExportedFiles
from server.adapters.sql.lifecycle.holds import SqlHolds
from server.adapters.sql.lifecycle.imported_files import SqlImportedFiles
from server.adapters.sql.lifecycle.labels import SqlLabels
from server.adapters.sql.lifecycle.partitions import SqlPartitions
from server.adapters.sql.lifecycle.transfers import SqlTransfers
from server.adapters.sql.lifecycle.updates import SqlUpdates
from server.adapters.sql.login_links import SqlLoginLinks
from server.adapters.sql.operations import SqlOperations
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.query_tags.tags import SqlTags
from server.adapters.sql.share_links import SqlShareLinks
from server.adapters.sql.state.clock import SqlClockRecord
from server.adapters.sql.state.identity import bind, identity
from server.adapters.sql.state.schema import VERSION_TABLE, state_of_schema
from server.adapters.sql.state.schema import SchemaState as SchemaState
from server.adapters.sql.tables import OLDEST_CODE
from server.adapters.sql.tables.archive import compatibility
from server.adapters.sql.worklist.event_log import SqlEventLog
from server.adapters.sql.worklist.subscriptions import SqlSubscriptions
from server.adapters.sql.worklist.workitems import SqlWorkitems
from server.adapters.sql.writing.locators import referenced
from server.adapters.sql.writing.open_deletions import pending
from server.adapters.sql.writing.partition_deleting import open_partition_deletions
from server.adapters.sql.writing.sequencing import CHANNEL, EVENTS_CHANNEL
from server.model.archive import ArchiveId, IndexIdentity, Mark
from server.model.instance import Locator
from server.model.search.query_tag import Tag, TagFault, TagValue
from server.ports.clock import ClockRecord
from server.ports.consumers import Consumers
from server.ports.events.leases import Leases
from server.ports.events.study_events import StudyEvents
from server.ports.events.webhooks import Deliveries, Webhooks
from server.ports.imports import ImportedFiles
from server.ports.index import ChangeLog, InstanceIndex, Partitions
from server.ports.lifecycle.blob_moves import BlobMoves
from server.ports.lifecycle.commitments import CommitmentRecord
from server.ports.lifecycle.expiries import Expiries
from server.ports.lifecycle.exports import ExportedFiles
from server.ports.lifecycle.holds import Holds
from server.ports.lifecycle.labels import LabelRecord
from server.ports.lifecycle.transfers import TransferRecord
from server.ports.lifecycle.updates import Updates
from server.ports.operations import Operations
from server.ports.outbox import OutboxTable
from server.ports.security.archive_tokens import ArchiveTokens
from server.ports.security.login_links import LoginLinks
from server.ports.security.share_links import ShareLinks
from server.ports.tags import Extract, Tags
from server.ports.worklist.subscriptions import EventLog, SubscriptionRecord
from server.ports.worklist.workitem_rules import WorkitemRules
from server.ports.worklist.workitems import WorkitemRecord

if TYPE_CHECKING:
    from alembic.config import Config

SEARCH_SECONDS = 30.0
"""Default time limit of reading."""

WRITERS_LOCK = 0x64696F77  # an arbitrary constant
"""The advisory lock of PostgreSQL that all writing transactions share."""

_READ_COMMITTED = Prepared(text("BEGIN ISOLATION LEVEL READ COMMITTED"))
_READS = {
    "sqlite": Kind((Prepared(text("BEGIN")),), only_reads=True),
    "postgresql": Kind((Prepared(text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")),), only_reads=True),
}
_WRITES = {
    "sqlite": Kind((Prepared(text("BEGIN IMMEDIATE")),), only_reads=False),
    "postgresql": Kind(
        (_READ_COMMITTED, Prepared(text(f"SELECT pg_advisory_xact_lock_shared({WRITERS_LOCK})"))),
        begin_alone=(_READ_COMMITTED, Prepared(text(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})"))),
        only_reads=False,
    ),
}
_NUMBERS = Kind((_READ_COMMITTED,), only_reads=False)


def nothing_for_tags(
    dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str]
) -> Mapping[int, TagValue | TagFault]:
    """Return nothing; for processes that never store instances."""
    return {}


class Database:
    """An open database. The attributes are the adapters of the ports in `server.ports.index`."""

    def __init__(self, transactions: Transactions, extract: Extract, listen: Callable[[str], Listen]) -> None:
        """`listen` returns a function that listens on a channel."""
        keys = PartitionKeys()
        self.instances: InstanceIndex = SqlInstanceIndex(transactions, keys, extract)
        self.tags: Tags = SqlTags(transactions, extract)
        self.operations: Operations = SqlOperations(transactions)
        self.changes: ChangeLog = SqlChangeLog(transactions, listen(CHANNEL), keys)
        self.partitions: Partitions = SqlPartitions(transactions)
        self.clock: ClockRecord = SqlClockRecord(transactions)
        self.archive_tokens: ArchiveTokens = SqlArchiveTokens(transactions)
        self.share_links: ShareLinks = SqlShareLinks(transactions)
        self.login_links: LoginLinks = SqlLoginLinks(transactions)
        self.expiries: Expiries = SqlExpiries(transactions, keys)
        self.holds: Holds = SqlHolds(transactions, keys)
        self.consumers: Consumers = SqlConsumers(transactions)
        self.outbox: OutboxTable = SqlOutboxTable(transactions)
        self.labels: LabelRecord = SqlLabels(transactions, keys)
        self.commitments: CommitmentRecord = SqlCommitments(transactions, keys)
        self.transfers: TransferRecord = SqlTransfers(transactions)
        self.exported_files: ExportedFiles = SqlExportedFiles(transactions)
        self.updates: Updates = SqlUpdates(transactions, keys, extract)
        self.imported_files: ImportedFiles = SqlImportedFiles(transactions)
        self.blob_moves: BlobMoves = SqlBlobMoves(transactions)
        self.leases: Leases = SqlLeases(transactions)
        self.study_events: StudyEvents = SqlStudyEvents(transactions, keys)
        self.webhooks: Webhooks = SqlWebhooks(transactions)
        self.deliveries: Deliveries = SqlDeliveries(transactions, keys)
        self.workitems: WorkitemRecord = SqlWorkitems(transactions, keys)
        self.workitem_rules: WorkitemRules = SqlWorkitemRules(transactions, keys)
        self.subscriptions: SubscriptionRecord = SqlSubscriptions(transactions, keys)
        self.workitem_events: EventLog = SqlEventLog(transactions, keys, listen(EVENTS_CHANNEL))
        self._transactions = transactions

    async def connect(self) -> None:
        """Open a connection of each kind of transaction, before calls of one kind use all that a limit permits.

        Without a database it does nothing: calls connect, too.
        """
        await self._transactions.connect()

    def samples(self) -> Iterator[Sample]:
        """Yield the lengths of the queues of transactions."""
        return self._transactions.samples()

    async def close(self) -> None:
        """Wait for running calls, and close all connections."""
        await self._transactions.close()


def open_database(
    url: str,
    search_seconds: float = SEARCH_SECONDS,
    extract: Extract = nothing_for_tags,
    *,
    reading_niceness: int = 0,
    permit: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
    listen_url: str = "",
    replica_url: str = "",
    replica_wait_seconds: float = 0.0,
) -> Database:
    """Return the database at an SQLAlchemy URL. Connects and creates nothing yet.

    Args:
        url: of an SQLite file or a PostgreSQL database.
        extract: returns the values of extended query tags in an instance; by default none.
        search_seconds: time limit of reading: with SQLite of a whole call, with PostgreSQL of each statement.
        reading_niceness: nice value of reading threads. Writing threads have none, because other processes wait for
            them.
        permit: raises if writing is not allowed.
        progress: compared before changes, and notified of commits; for an index whose storage is available.
        listen_url: of a direct connection to the PostgreSQL database, for notifications; by default `url`.
        replica_url: of a hot standby of the PostgreSQL database for searches; by default none.
        replica_wait_seconds: longest time to wait until the replica has what was committed before a search.

    Raises:
        ValueError: neither an SQLite file nor PostgreSQL.
    """
    reading, writing = engine_of(url, reading_seconds=search_seconds), engine_of(url)
    name = reading.dialect.name
    writes = replace(_limited(_WRITES[name], limits_of(url)), permit=permit, progress=progress)

    def listen(channel: str) -> Listen:
        if name == "sqlite":
            return partial(notifications.watch_file, make_url(url).database or "")
        return partial(notifications.listen, listen_url or url, channel)

    if name == "sqlite":
        writes = replace(writes, write_order=FileWriteOrder(make_url(url).database or ""))
    reads = replace(_limited(_READS[name], limits_of(url, search_seconds)), niceness=reading_niceness)
    numbers = replace(_limited(_NUMBERS, limits_of(url)), permit=permit)
    replica = None
    if replica_url:
        of_replica = _limited(_READS["postgresql"], limits_of(replica_url, search_seconds))
        replica = Replica(engine_of(replica_url, reading_seconds=search_seconds), of_replica, replica_wait_seconds)
    return Database(Transactions(reading, reads, writing, writes, numbers, replica), extract, listen)


def _limited(kind: Kind, limits: Sequence[Prepared]) -> Kind:
    """Return a kind of transactions that set their limits themselves."""
    alone = kind.begin_alone and (kind.begin_alone[0], *limits, *kind.begin_alone[1:])
    return replace(kind, begin=(kind.begin[0], *limits, *kind.begin[1:]), begin_alone=alone)


def migrate(url: str) -> None:
    """Migrate to the current schema; creates an SQLite file and its directory if necessary.

    Safe in several processes at once. Atomic.

    Raises:
        ValueError, Unavailable, Exhausted
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its messages at level INFO are about its plugins
    _make_directory(parsed(url))
    engine = engine_of(url, migrating=True)
    # Two processes that create a file at once conflict in the change to WAL mode, for which SQLite does not wait.
    write_order = (
        FileWriteOrder(make_url(url).database or "", makes=True) if engine.dialect.name == "sqlite" else WriteOrder()
    )
    try:
        with write_order:
            # alone, or several changed tables deadlock with their writers
            _write(engine, _upgrade, alone=True)
    finally:
        write_order.close()
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    # Local import: it takes longer than the rest of a start without migration.
    from alembic import command

    command.upgrade(_alembic(connection), "head")
    connection.execute(update(compatibility).values(oldest_code=OLDEST_CODE))


class Inspection:
    """A database with any schema, before it is opened: what it is, and its binding to an archive.

    Its calls share one connection, because connecting takes longer than they do. For one thread.
    """

    def __init__(self, url: str) -> None:
        """Connects and creates nothing yet. Raises: ValueError, as `open_database`."""
        self._text = url
        self._url = parsed(url)
        self._engine = engine_of(url, reading_seconds=SEARCH_SECONDS)

    def __enter__(self) -> Self:
        """Return this inspection."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._engine.dispose()

    def identity(self, at_least: Mark) -> IndexIdentity:
        """Return the archive identity of the database.

        If its progress is below `at_least`, a damaged write-ahead log is copied before SQLite removes it.

        Raises: Unavailable
        """
        return identity(self._url, self._engine, at_least)

    def schema(self) -> SchemaState:
        """Return the schema of the database. Raises: Unavailable."""
        path = self._url.database
        if self._url.get_backend_name() == "sqlite" and not (path and os.path.exists(path)):
            return SchemaState(None)
        with translated(), self._engine.connect() as connection:
            return state_of_schema(connection) if inspect(connection).has_table(VERSION_TABLE) else SchemaState(None)

    def migrate(self) -> None:
        """Migrate to the current schema, as `migrate`, without a connection to the old one."""
        self._engine.dispose()
        migrate(self._text)

    def bind(self, archive: ArchiveId) -> ArchiveId:
        """Write the id of an archive to a migrated database without one, and return the id that it has.

        Raises: Unavailable, Exhausted
        """
        return _write(self._engine, lambda connection: bind(connection, archive))

    def raise_to(self, mark: Mark) -> None:
        """Prevent a migrated database from assigning versions and sequences up to `mark`.

        Raises: Unavailable, Exhausted
        """
        _write(self._engine, lambda connection: raise_counters(connection, mark))

    def referenced_locators(self, locators: Collection[Locator]) -> set[Locator]:
        """Return the locators that visible instances reference. Raises: Unavailable."""
        with translated(), self._engine.connect() as connection:
            return referenced(connection, locators)

    def pending_deletions(self) -> set[int]:
        """Return the numbers of the deletions of partitions, studies and series that are not completed.

        Raises: Unavailable
        """
        with translated(), self._engine.connect() as connection:
            return {deletion.key for deletion in pending(connection)} | open_partition_deletions(connection)


def schema_state(url: str) -> SchemaState:
    """Return the schema of a database. Raises: ValueError, Unavailable."""
    with Inspection(url) as index:
        return index.schema()


def _write(engine: Engine, work: Work[Result], *, alone: bool = False) -> Result:
    """Run `work` in a writing transaction on a connection of its own; with `alone`, excluding all other writers."""
    kind = _WRITES[engine.dialect.name]

    def transaction() -> Result:
        with engine.connect() as connection:
            begin(connection, (alone and kind.begin_alone) or kind.begin)
            flush(connection)  # waits for other writers before `work` does anything
            result = work(connection)
            commit(connection)
            return result

    with translated():
        return repeated(transaction)


def _alembic(connection: Connection) -> "Config":
    from alembic.config import Config

    spec = importlib.util.find_spec("server.migrations")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", spec.submodule_search_locations[0].replace("%", "%%"))
    return config


def files_of(url: str) -> Sequence[Path]:
    """Return the files of an SQLite database, with its write-ahead log, or none of another one. Raises: ValueError."""
    made = parsed(url)
    if made.get_backend_name() != "sqlite" or not made.database:
        return ()
    return [Path(f"{made.database}{suffix}") for suffix in ("", "-wal", "-shm")]


def _make_directory(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and url.database:
        os.makedirs(os.path.dirname(os.path.abspath(url.database)), exist_ok=True)
