"""Reading of the audit trail in tests."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.adapters.blobs.audit_trail.trail import FileAuditTrail

Record = dict[str, Any]


def audit_records(data: Path, **expected: Any) -> list[Record]:
    """Return the records below a data directory that have these members, oldest first."""
    found = [json.loads(record.data, object_pairs_hook=_unique) for record in FileAuditTrail(data).records()]
    return [record for record in found if all(record.get(name) == value for name, value in expected.items())]


def recorded_instances(data: Path, **expected: Any) -> list[list[Any]]:
    """Return the outcomes of instances in the records below a data directory that have these members."""
    return [one for record in audit_records(data, **expected) for one in record.get("instances", ())]


def _unique(members: list[tuple[str, Any]]) -> Record:
    assert len(dict(members)) == len(members), "a name occurs twice"
    return dict(members)


async def audited(data: Path, count: int = 1, **expected: Any) -> list[Record]:
    """Wait for at least `count` records that have these members; reads are recorded shortly after they end."""
    found: list[Record] = []

    def is_there() -> bool:
        found[:] = audit_records(data, **expected)
        return len(found) >= count

    await until(is_there)
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread or process has changed the files."""
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)
