"""Share links: tokens, and when they stop to be valid."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from server.domain.security.share_links import CACHE_SECONDS, ShareLinkVerifier
from server.domain.security.share_tokens import ShareTokens
from server.model.access import Action, Grant
from server.model.errors import Unauthenticated
from server.model.ids import PartitionName, parse_address
from server.model.security.share_link import ShareLink, SharePurpose, link_of

KEY, OLD_KEY = "a" * 32, "b" * 32
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LINK = ShareLink(
    id="0123456789abcdef" * 2,
    purpose=SharePurpose.READ,
    scope=parse_address("ward", "1.2"),
    label="",
    creator="anonymous",
    created=NOON,
    expires=NOON + timedelta(hours=1),
)
TOKEN = ShareTokens([KEY]).make(LINK)


class Record:
    """A record with one link."""

    def __init__(self) -> None:
        self.links = {LINK.id: LINK}
        self.look_ups = 0
        self.during_look_up: Callable[[], object] = lambda: None

    async def find(self, link_id: str) -> ShareLink | None:
        self.look_ups += 1
        found = self.links.get(link_id)
        self.during_look_up()
        return found

    async def add(self, link: ShareLink) -> None:
        raise NotImplementedError

    async def list(
        self, *, valid_at: datetime, partitions: Collection[PartitionName] | None, before: int | None, limit: int
    ) -> Sequence[tuple[int, ShareLink]]:
        raise NotImplementedError

    async def remove(self, link_id: str, partitions: Collection[PartitionName] | None) -> bool:
        raise NotImplementedError


class Bench:
    """A verifier whose time stands still."""

    def __init__(self) -> None:
        self.now, self.seconds, self.record = NOON, 0.0, Record()
        self.verifier = ShareLinkVerifier(
            record=self.record, tokens=ShareTokens([KEY]), now=lambda: self.now, clock=lambda: self.seconds
        )

    async def refuses(self, token: str) -> bool:
        try:
            await self.verifier.verify(token)
        except Unauthenticated as error:
            return error.metadata == {"problem": "invalid"} and token not in error.message
        return False


def test_a_token_states_the_link_and_its_expiry() -> None:
    assert ShareTokens([KEY]).read(TOKEN) == (LINK.id, LINK.expires)


def test_tokens_of_an_earlier_key_remain_valid() -> None:
    tokens = ShareTokens([KEY, OLD_KEY])
    assert tokens.read(ShareTokens([OLD_KEY]).make(LINK)) == (LINK.id, LINK.expires)
    assert tokens.make(LINK) == TOKEN


@pytest.mark.parametrize(
    "token",
    [
        ShareTokens([OLD_KEY]).make(LINK),
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN[:-1] + "é",
        TOKEN[:-1] + "=",
        TOKEN[:-1] + "+",
        "dcms_",
        *(TOKEN[:at] + ("A" if TOKEN[at] != "A" else "B") + TOKEN[at + 1 :] for at in range(5, len(TOKEN))),
    ],
)
async def test_a_token_that_was_not_signed_is_refused_without_a_look_up(token: str) -> None:
    bench = Bench()
    assert await bench.refuses(token)
    assert bench.record.look_ups == 0


async def test_the_principal_of_a_link_has_one_grant() -> None:
    principal = await Bench().verifier.verify(TOKEN)
    assert principal.grants == (Grant(frozenset({Action.READ}), LINK.scope),)
    assert link_of(principal) == LINK.id


async def test_a_link_is_invalid_from_its_expiry_on() -> None:
    bench = Bench()
    bench.now = LINK.expires - timedelta(microseconds=1)
    assert not await bench.refuses(TOKEN)
    bench.now = LINK.expires
    assert await bench.refuses(TOKEN)


async def test_a_link_revoked_by_another_process_is_refused_when_the_look_up_is_old() -> None:
    bench = Bench()
    assert not await bench.refuses(TOKEN)
    bench.record.links.clear()
    bench.seconds = CACHE_SECONDS / 2
    assert not await bench.refuses(TOKEN)
    assert bench.record.look_ups == 1
    bench.seconds = CACHE_SECONDS
    assert await bench.refuses(TOKEN)


async def test_a_link_revoked_by_this_process_is_refused_at_once() -> None:
    bench = Bench()
    assert not await bench.refuses(TOKEN)
    bench.record.links.clear()
    bench.verifier.forget(LINK.id)
    assert await bench.refuses(TOKEN)


async def test_a_look_up_that_began_before_a_revocation_is_not_remembered() -> None:
    bench = Bench()
    bench.record.during_look_up = lambda: (bench.record.links.clear(), bench.verifier.forget(LINK.id))
    await bench.verifier.verify(TOKEN)
    assert await bench.refuses(TOKEN)
