"""Databases of every schema there has been, as JSON in `recorded_schemas/`: all rows of a small archive.

`python -m tests.contract.recorded_schemas sqlite|postgresql URL` records the archive that it makes in an empty database
with the schema of now. Do so once for each new revision, and never again: recorded files don't change.
"""

import asyncio
import base64
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, create_engine, insert, select, text

from server.adapters.sql.engine import migrate, open_database
from server.adapters.sql.tables import REVISION
from server.adapters.sql.tables.events import webhook_events, webhooks, workitem_rule_events, workitem_rules
from server.model.change import Consumer
from server.model.events.study_event import StudyChanges, StudyEvent, StudyEventKind, StudyState
from server.model.ids import DEFAULT_PARTITION, Uid
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.transfer import Send, Transfer
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.security.archive_token import ArchiveToken, digest
from server.model.security.login_link import LoginLink
from server.model.security.share_link import ShareLink, SharePurpose
from server.model.worklist.event import Event, EventType, Report
from server.model.worklist.subscription import WorklistSubscription
from server.model.worklist.workitem import SearchValue, Workitem, WorkitemState
from server.ports.imports import ImportedBatch, ImportedFile
from server.ports.outbox import ROWS_PER_PROCESS, OutboxChanges, OutboxRow
from tests.contract.index.samples import NOON, identity, modality, sample, study_ref, uid
from tests.contract.index.sequenced import sequence

DIRECTORY = Path(__file__).with_suffix("")
LATER = NOON + timedelta(days=10_000)
CORRECTION = Provenance("someone", "correction", VersionOrigin.UPDATED)

Recording = dict[str, dict[str, Any]]


def path_of(revision: str, dialect: str) -> Path:
    return DIRECTORY / f"{revision}.{dialect}.json"


def revisions() -> list[str]:
    """Return the revisions that have been recorded, oldest first."""
    return sorted({path.name.split(".")[0] for path in DIRECTORY.glob("*.json")})


async def fill(url: str) -> None:
    """Store, replace and delete a little of everything."""
    database = open_database(url)
    index = database.instances
    new = [sample(s, e, i, **modality("CT")) for s in (1, 2, 3) for e in (1, 2) for i in (1, 2)]
    await index.add(new, NOON, lambda _: OutboxChanges([OutboxRow(ROWS_PER_PROCESS + 1, 0, b"{}")], ()))
    await index.add_version(sample(1, 1, 1, provenance=CORRECTION), NOON)
    await index.delete(identity(1, 2, 2).address, NOON, LATER, reason="duplicate", author="someone")
    await index.delete(study_ref(2), NOON, LATER)
    token = ArchiveToken("0" * 16, "gateway", ("writer",), (DEFAULT_PARTITION,), NOON, "anonymous", LATER)
    await database.archive_tokens.add(token, digest("dcmt_recorded"))
    link = ShareLink("0" * 32, SharePurpose.READ, study_ref(1), "for a colleague", "anonymous", NOON, LATER)
    await database.share_links.add(link)
    await database.login_links.add(LoginLink(("writer",), "operator", LATER), digest("dcml_recorded"), NOON)
    consumer = Consumer("router", "anonymous", 3, NOON)
    await database.consumers.move(consumer, owner=None, expected=0, limit=1)
    await database.labels.change(study_ref(1), lambda _: {"project": "lung"}, NOON)
    await database.labels.change(identity(1, 1, 1).address, lambda _: {"reviewed": "yes"}, NOON)
    send = Send((study_ref(1),))
    transfer = Transfer("0" * 32, DEFAULT_PARTITION, "PACS", send, "anonymous", NOON, NOON, NOON)
    await database.transfers.add(transfer, "a request", 10, NOON)
    await database.holds.set(Hold(study_ref(3), "audit", "complaint", "someone", NOON))
    await sequence(database.changes)
    await database.leases.take("events", "a process", None)
    states = [StudyState(DEFAULT_PARTITION, uid(1), 4, StudyChanges(created=4), 4, NOON)]
    events = [StudyEvent(1, StudyEventKind.STABLE, NOON, 12, 12, DEFAULT_PARTITION, uid(3), 4, StudyChanges(created=4))]
    before = await database.study_events.progress()
    assert await database.study_events.processed(before, replace(before, sequence=12, number=1), states, events)
    imported = ImportedFile(bytes(16), bytes(16), "0" * 32)
    await database.imported_files.record("0" * 32, ImportedBatch([imported]), lambda operation: None)
    values = (
        SearchValue("PatientName", 0, "doe^jane", is_name=True),
        SearchValue("ProcedureStepState", 0, "scheduled"),
    )
    workitem = Workitem(Uid("1.2.3"), WorkitemState.SCHEDULED, "", '{"00741000":{"vr":"CS"}}', values, NOON)
    event = Event(EventType.STATE_REPORT, '{"00741000":{"vr":"CS"}}')
    await database.subscriptions.subscribe_to_worklist(DEFAULT_PARTITION, "VIEWER", NOON, WorklistSubscription(True))
    assert await database.workitems.add(DEFAULT_PARTITION, workitem, lambda *_: Report(NOON, (event,)))
    await database.subscriptions.subscribe(
        DEFAULT_PARTITION, workitem.uid, "PERFORMER", NOON, has_lock=False, report=lambda _: event
    )
    await sequence(database.changes)
    await database.close()
    _add_webhook(url)
    _add_rule(url)


def _add_rule(url: str) -> None:
    """Add a rule for workitems with an event for which it failed."""
    query = '{"terms": {"ModalitiesInStudy": ["CT"]}, "fuzzy": false, "empty": false}'
    rule = {"key": 1, "id": "0" * 16, "label": "", "query": query, "partitions": "[]", "template": "{}"}
    rule |= {"is_enabled": 1, "creator": "anonymous", "created": 1, "number": 1, "workitems": 0, "failed": 1}
    failed = {"rule_key": 1, "number": 1, "attempts": 1, "next_attempt": 2, "problem": "TAG_QUERY_DISABLED"}
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(workitem_rules), rule)
        connection.execute(insert(workitem_rule_events), failed)
    engine.dispose()


def _add_webhook(url: str) -> None:
    """Add a webhook with an event that could not be delivered."""
    webhook = {"key": 1, "id": "0" * 16, "url": "https://receiver.example/", "secret": "whsec_AAAA", "label": ""}
    webhook |= {"types": "[]", "partitions": "[]", "is_enabled": 1, "creator": "anonymous", "created": 1}
    webhook |= {"sequence": 4, "number": 0, "failures": 1, "problem": "STATUS_500"}
    failed = {"webhook_key": 1, "sequence": 4, "number": 0, "partition_key": 1, "study_uid": uid(1), "attempts": 1}
    failed |= {"first_attempt": 1, "next_attempt": 2, "problem": "STATUS_500"}
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(webhooks), webhook)
        connection.execute(insert(webhook_events), failed)
    engine.dispose()


def tables_of(connection: Connection) -> MetaData:
    """Return the tables of a database that hold rows of the archive, without those that triggers fill."""
    filled = ("study_text", "study_counts", "workitem_trigrams")
    present = MetaData()
    present.reflect(connection, only=lambda name, _: not name.startswith(("sqlite_", "alembic", *filled)))
    return present


def record(connection: Connection) -> Recording:
    """Return columns and rows of all tables."""
    return {
        table.name: {
            "columns": sorted(table.c.keys()),
            "rows": [
                {name: _written(value) for name, value in row._asdict().items()}
                for row in connection.execute(select(table))
            ],
        }
        for table in tables_of(connection).sorted_tables
    }


def load(connection: Connection, recording: Recording) -> None:
    """Make the rows of a recording those of a database that was migrated to its revision."""
    present = tables_of(connection)
    for table in reversed(present.sorted_tables):
        if table.name != "counters":
            connection.execute(table.delete())
    for table in present.sorted_tables:
        recorded = recording[table.name]
        assert sorted(table.c.keys()) == recorded["columns"], f"{table.name} is not as it was recorded"
        rows = [{name: _read(value) for name, value in row.items()} for row in recorded["rows"]]
        if table.name == "counters":  # those of most shards are as they were made
            for row in rows:
                connection.execute(table.update().where(table.c.shard == row["shard"]).values(row))
        elif rows:
            connection.execute(insert(table), rows)
    if connection.dialect.name == "postgresql":
        for name in ("study_keys", "series_keys", "version_numbers"):
            connection.execute(text(f"SELECT setval('{name}', 1000)"))


def _written(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _read(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value


if __name__ == "__main__":
    dialect, url = sys.argv[1:]
    migrate(url)
    asyncio.run(fill(url))
    engine = create_engine(url)
    with engine.connect() as connection:
        recording = record(connection)
    if dialect == "postgresql":  # 4,096 rows, all alike
        recording["counters"]["rows"] = [row for row in recording["counters"]["rows"] if row["version"]]
    DIRECTORY.mkdir(exist_ok=True)
    path_of(REVISION, dialect).write_text(json.dumps(recording, indent=1, sort_keys=True) + "\n")
