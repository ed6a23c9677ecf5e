"""Tables of PostgreSQL that grow without bound can be partitioned, as docs/operations.md describes."""

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from server.adapters.sql.engine import migrate, open_database
from server.model.change import ChangeWindow
from server.model.ids import DEFAULT_PARTITION, Address
from tests.contract import recorded_schemas
from tests.contract.index.samples import NOON, sample, study_ref
from tests.contract.index.sequenced import sequence

pytestmark = pytest.mark.postgres

GUIDE = Path(__file__).parents[3] / "docs" / "operations.md"


def documented() -> list[str]:
    """Return the SQL of the section."""
    section = GUIDE.read_text().partition("## Large tables")[2].partition("\n## ")[0]
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)


async def test_the_documented_statements_partition_a_database_in_use(postgres_url: str) -> None:
    migrate(postgres_url)
    await recorded_schemas.fill(postgres_url)
    engine = create_engine(postgres_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        statements = documented()
        assert len(statements) == 2
        for some in statements:
            connection.exec_driver_sql(some)
        partitions = connection.execute(text("SELECT inhparent::regclass::text FROM pg_inherits")).scalars().all()
        assert {"changes", "metadata"} <= set(partitions)
        connection.exec_driver_sql("UPDATE feed SET sequence = 999999998")  # the next entries are in two partitions
    migrate(postgres_url)

    database = open_database(postgres_url)
    index = database.instances
    before = len(await index.find(Address(DEFAULT_PARTITION)))
    await index.add([sample(20, 1, number) for number in range(5)], NOON)
    await sequence(database.changes)
    entries = await database.changes.list(ChangeWindow(after_sequence=999999998, limit=10, metadata=True))
    assert [entry.sequence for entry in entries] == list(range(999999999, 1000000004))
    assert all(entry.dicom_json for entry in entries)
    assert len(await index.find(Address(DEFAULT_PARTITION))) == before + 5
    assert await index.delete(study_ref(20), NOON, NOON) == 5
    await sequence(database.changes)
    await index.erased(await index.begin_erasure(recorded_schemas.LATER, 99))
    await database.close()
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM metadata JOIN versions USING (version, shard)")).scalar()
        assert rows == connection.execute(text("SELECT count(*) FROM metadata")).scalar()
        assert rows == connection.execute(text("SELECT count(*) FROM versions")).scalar()
    engine.dispose()
