"""Lists and feeds show a principal with access to some partitions nothing of others (docs/security.md, Partitions)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from server.adapters.sql.engine import Database, open_database
from server.bootstrap.components import IndexComponents
from server.config import Settings
from server.domain.search.request import SearchRequest, Term
from server.model.access import Action, Grant
from server.model.call import EVERYBODY, Call, Principal
from server.model.change import ChangeWindow
from server.model.errors import Forbidden, InvalidRequest, NotFound, Reason
from server.model.ids import ARCHIVE, Address, PartitionName, parse_address
from server.model.operation import Operation
from server.model.search.query import Level
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagFault, TagValue
from tests.contract.index.samples import NOON, sample
from tests.databases import migrated
from tests.operations import add_tags, index_some

MINE, FOREIGN = PartitionName("mine"), PartitionName("foreign")
STATION = NewTag("00081010", "StationName", "SH", "", Level.SERIES)
TAG = "StationName"
OPERATION = "0" * 31 + "1"


def reader(*partitions: PartitionName) -> Call:
    read = frozenset({Action.READ})
    scopes = [Address(name) for name in partitions] or [ARCHIVE]
    return Call("r1", Principal("reader", grants=tuple(Grant(read, scope) for scope in scopes)))


LIMITED, UNLIMITED = reader(MINE), reader()


def extract(dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str]) -> Mapping[int, TagValue | TagFault]:
    """Return an indexing error for each instance."""
    return {tag.key: TagFault("The value is too long.") for tag in tags}


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[IndexComponents]:
    """Two partitions, and an operation that has found errors in both."""
    url = migrated(tmp_path / "index.db")
    database: Database = open_database(url, extract=extract)
    for name in (MINE, FOREIGN):
        await database.partitions.create(name, NOON)
    for study in range(4):
        await database.instances.add([sample(study, partition=(MINE, FOREIGN, FOREIGN)[study % 3])], NOON)
    await add_tags(database, [STATION], OPERATION, NOON)
    while await index_some(database, OPERATION, 100, NOON):
        pass
    components = IndexComponents(settings=Settings(partitions=True), database=database)
    sequencing = asyncio.create_task(components.sequencer.run())
    yield components
    sequencing.cancel()
    await database.close()


async def test_the_change_feed_has_the_entries_of_the_permitted_partitions(archive: IndexComponents) -> None:
    window = ChangeWindow(limit=100)
    entries = await archive.feed.list(LIMITED, window)
    assert [(entry.sequence, entry.instance.partition) for entry in entries] == [(1, MINE), (4, MINE)]
    assert [entry.sequence for entry in await archive.feed.list(UNLIMITED, window)] == [1, 2, 3, 4]
    assert await archive.feed.list(reader(MINE, FOREIGN), window) == await archive.feed.list(UNLIMITED, window)
    latest = await archive.feed.latest(reader(FOREIGN), metadata=False)
    assert (latest.sequence, latest.instance.partition) == (3, FOREIGN)
    with pytest.raises(NotFound):
        await archive.feed.latest(reader(PartitionName("empty")), metadata=False)


async def test_a_watch_sends_permitted_entries_and_checkpoints_of_these(archive: IndexComponents) -> None:
    watch = archive.feed.watch(LIMITED, 0, metadata=False, checkpoint_seconds=1)
    entries, checkpoint = await anext(watch)
    assert ([entry.sequence for entry in entries], checkpoint) == ([1, 4], 4)
    await archive.database.instances.add([sample(9, partition=FOREIGN)], NOON)
    archive.feed.notify()
    assert await anext(watch) == ([], 4)  # a checkpoint alone; it does not tell that there is an entry 5
    await archive.database.instances.add([sample(9, partition=MINE)], NOON)
    archive.feed.notify()
    entries, checkpoint = await anext(watch)
    assert ([entry.sequence for entry in entries], checkpoint) == ([6], 6)


async def test_the_list_of_partitions_has_the_permitted_ones(archive: IndexComponents) -> None:
    assert [each.name for each in await archive.partitions.list(LIMITED)] == [MINE]
    assert len(await archive.partitions.list(UNLIMITED)) == 3


async def test_a_foreign_partition_cannot_be_distinguished_from_a_missing_one(archive: IndexComponents) -> None:
    errors = []
    for name in (FOREIGN, "missing"):
        with pytest.raises(NotFound) as caught:
            await archive.partitions.get(LIMITED, parse_address(name))
        errors.append((caught.value.reason, caught.value.message, caught.value.metadata))
    assert errors[0] == errors[1]
    assert errors[0][0] is Reason.PARTITION_NOT_PERMITTED


async def test_query_tags_are_shown_with_the_errors_of_the_permitted_partitions(archive: IndexComponents) -> None:
    whole = await archive.tags.get(UNLIMITED, TAG)
    limited = await archive.tags.get(LIMITED, TAG)
    assert (whole.error_count, whole.new) == (4, STATION)
    assert limited == replace(whole, error_count=2, operation_id="")
    page, _ = await archive.tags.list(LIMITED, page_size=0, page_token="", skip=0)
    assert page == [limited]
    assert (await archive.tags.get(reader(PartitionName("empty")), TAG)).error_count == 0


async def test_errors_of_query_tags_are_those_of_the_permitted_partitions(archive: IndexComponents) -> None:
    found: list[PartitionName] = []
    token = ""
    while True:
        page, token = await archive.tags.errors(LIMITED, TAG, page_size=1, page_token=token, skip=0)
        found += [error.id.partition for error in page]
        if not token:
            break
    assert found == [MINE, MINE]


@pytest.mark.parametrize(("partition", "erroneous"), [(MINE, (TAG,)), (PartitionName("Microsoft.Default"), ())])
async def test_a_search_reports_the_erroneous_query_tags_of_its_partition(
    archive: IndexComponents, partition: PartitionName, erroneous: tuple[str, ...]
) -> None:
    request = SearchRequest(Level.SERIES, Address(partition), terms=(Term(TAG, ("ct",)),))
    await archive.database.tags.set_query_status(STATION.tag, QueryStatus.ENABLED)
    assert (await archive.search.search(UNLIMITED, request)).erroneous_attributes == erroneous


async def test_operations_do_not_exist_for_a_principal_with_some_partitions(archive: IndexComponents) -> None:
    operations = archive.operations
    assert [one.id for one in (await operations.list(UNLIMITED, page_size=0, token=""))[0]] == [OPERATION]
    assert await operations.list(LIMITED, page_size=0, token="") == ((), "")
    for ask in (
        lambda: operations.get(LIMITED, OPERATION),
        lambda: operations.wait(LIMITED, OPERATION, 30),
        lambda: operations.errors(LIMITED, OPERATION, page_size=0, token=""),
    ):
        with pytest.raises(NotFound):
            await ask()
    with pytest.raises(InvalidRequest):
        await operations.get(LIMITED, "?")


async def test_cancelling_requires_the_action_that_starting_requires(archive: IndexComponents) -> None:
    def principal(action: Action) -> Call:
        return Call("r1", Principal("p", grants=(Grant(frozenset({action, Action.READ}), ARCHIVE),)))

    for action in (Action.ADMINISTER, Action.WRITE):
        with pytest.raises(Forbidden):
            await archive.operations.cancel(principal(action), OPERATION)
        with pytest.raises(NotFound):
            await archive.operations.cancel(principal(action), "f" * 32)
    cancelled: Operation = await archive.operations.cancel(principal(Action.MANAGE_EXTENDED_QUERY_TAGS), OPERATION)
    assert cancelled.id == OPERATION


async def test_a_page_token_of_a_wider_search_continues_in_the_permitted_part_only(archive: IndexComponents) -> None:
    whole = SearchRequest(Level.STUDY, Address(FOREIGN), page_size=1)
    first = await archive.search.search(UNLIMITED, whole)
    assert first.next_page_token
    [newest] = [match.resource.study for match in first.matches]
    read = frozenset({Action.READ})
    share = Call("r1", Principal("share", grants=(Grant(read, Address(FOREIGN, newest)),)))
    assert (await archive.search.search(share, replace(whole, page_token=first.next_page_token))).matches == ()
    found = await archive.search.search(share, replace(whole, total_count=True))
    assert [match.resource.study for match in found.matches] == [newest]
    assert (found.total_count, found.next_page_token) == (1, "")


async def test_a_search_in_a_foreign_partition_is_refused_as_in_a_missing_one(archive: IndexComponents) -> None:
    for name in (FOREIGN, "missing"):
        with pytest.raises(NotFound) as caught:
            await archive.search.search(LIMITED, SearchRequest(Level.STUDY, parse_address(name), fuzzy_matching=True))
        assert caught.value.reason is Reason.PARTITION_NOT_PERMITTED
    with pytest.raises(NotFound) as caught:
        await archive.search.search(UNLIMITED, SearchRequest(Level.STUDY, parse_address("missing")))
    assert caught.value.reason is Reason.PARTITION_NOT_FOUND
    assert len((await archive.search.search(Call("r1", EVERYBODY), SearchRequest(Level.STUDY, Address(MINE)))).matches)
