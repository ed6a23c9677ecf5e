"""The record of archive tokens (server/ports/security/archive_tokens.py)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from server.adapters.sql.engine import Database
from server.model.ids import DEFAULT_PARTITION, PartitionName
from server.model.security.archive_token import ArchiveToken, digest, new_id, new_secret
from tests.contract.index.samples import NOON

HOUR = timedelta(hours=1)


def a_token(name: str = "gateway") -> ArchiveToken:
    partitions = (DEFAULT_PARTITION, PartitionName("ward"))
    return ArchiveToken(new_id(), name, ("globalReader", "writer"), partitions, NOON, "anonymous", NOON + HOUR)


async def test_a_token_is_found_by_its_digest_or_id(database: Database) -> None:
    token, secret = a_token(), new_secret()
    await database.archive_tokens.add(token, digest(secret))
    assert await database.archive_tokens.find(digest(secret)) == token
    assert await database.archive_tokens.find(digest(new_secret())) is None
    assert await database.archive_tokens.get(token.id) == token
    assert await database.archive_tokens.get("0" * 16) is None


async def test_a_revoked_token_remains_recorded(database: Database, other_database: Database) -> None:
    assert not await database.archive_tokens.exist()
    token, secret = a_token(), new_secret()
    await database.archive_tokens.add(token, digest(secret))
    revoked = await other_database.archive_tokens.revoke(token.id, NOON)
    assert revoked == replace(token, revoked=NOON)
    assert await database.archive_tokens.revoke(token.id, NOON + HOUR) == revoked
    assert await database.archive_tokens.find(digest(secret)) == revoked
    assert await database.archive_tokens.exist()
    assert await database.archive_tokens.revoke("0" * 16, NOON) is None


async def test_tokens_are_listed_in_pages_newest_first(database: Database) -> None:
    for name in ("a", "b", "c"):
        await database.archive_tokens.add(a_token(name), digest(new_secret()))
    first = await database.archive_tokens.list(valid_at=None, before=None, limit=2)
    assert [token.name for _, token in first] == ["c", "b"]
    [(_, last)] = await database.archive_tokens.list(valid_at=None, before=first[-1][0], limit=2)
    assert last.name == "a"


@pytest.mark.parametrize("is_revoked", [True, False])
async def test_the_list_of_valid_tokens_omits_expired_and_revoked_ones(database: Database, is_revoked: bool) -> None:
    token = a_token()
    await database.archive_tokens.add(token, digest(new_secret()))
    if is_revoked:
        await database.archive_tokens.revoke(token.id, NOON)
    valid = [one for _, one in await database.archive_tokens.list(valid_at=NOON, before=None, limit=9)]
    assert valid == ([] if is_revoked else [token])
    assert await database.archive_tokens.list(valid_at=token.expires, before=None, limit=9) == []


async def test_the_last_use_never_goes_back(database: Database) -> None:
    used, unused = a_token(), a_token()
    for token in (used, unused):
        await database.archive_tokens.add(token, digest(token.id))
    await database.archive_tokens.set_last_used({})
    await database.archive_tokens.set_last_used({used.id: NOON + HOUR, "0" * 16: NOON})
    await database.archive_tokens.set_last_used({used.id: NOON})
    assert await database.archive_tokens.find(digest(used.id)) == replace(used, last_used=NOON + HOUR)
    assert await database.archive_tokens.find(digest(unused.id)) == unused
