"""The cache of bodies: entries, eviction, and its limit."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.response.body_cache import Body, BodyCache, Form, Resource, State

STUDY, OTHER = Resource("", "1.2", "", ""), Resource("", "1.3", "", "")
PLAIN, ZIPPED = Form("http://a/v2", ""), Form("http://a/v2", "gzip")
STATE = State(7, 2)


async def each(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def filling(
    cache: BodyCache, *chunks: bytes, resource: Resource = STUDY, form: Form = PLAIN, state: State = STATE,
    is_whole: bool = True,
) -> AsyncGenerator[bytes, None]:  # fmt: skip
    return cache.filled(resource, form, state, each(chunks), lambda: is_whole)


async def fill(cache: BodyCache, *chunks: bytes, resource: Resource = STUDY, form: Form = PLAIN) -> None:
    assert [chunk async for chunk in filling(cache, *chunks, resource=resource, form=form)] == list(chunks)


async def test_a_body_is_cached_after_its_last_chunk() -> None:
    cache = BodyCache(100_000)
    coming = filling(cache, b"[1", b"]")
    assert await anext(coming) == b"[1"
    assert await anext(coming) == b"]"
    assert cache.find(STUDY, PLAIN) is None

    assert await anext(coming, None) is None
    assert cache.find(STUDY, PLAIN) == Body(STATE, (b"[1]",))


async def test_a_large_body_is_cached_in_pieces() -> None:
    cache = BodyCache(64 << 20)
    chunks = (bytes(1 << 20), bytes(1 << 19))
    await fill(cache, *chunks)

    body = cache.find(STUDY, PLAIN)
    assert body is not None
    assert body.pieces == chunks
    assert body.size_bytes == 3 << 19


async def test_an_incomplete_body_is_not_cached() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"[1"
        raise ConnectionError

    cache = BodyCache(100_000)
    with pytest.raises(ConnectionError):
        _ = [chunk async for chunk in cache.filled(STUDY, PLAIN, STATE, broken(), lambda: True)]

    assert cache.find(STUDY, PLAIN) is None
    assert cache.size_bytes == 0


async def test_a_body_not_read_to_its_end_is_not_cached() -> None:
    cache = BodyCache(100_000)
    coming = filling(cache, b"[1", b"]")
    await anext(coming)
    assert cache.size_bytes > 0
    await coming.aclose()

    assert cache.find(STUDY, PLAIN) is None
    assert cache.size_bytes == 0


async def test_a_body_that_does_not_match_the_state_is_not_cached() -> None:
    cache = BodyCache(100_000)
    assert [chunk async for chunk in filling(cache, b"[1]", is_whole=False)] == [b"[1]"]

    assert cache.find(STUDY, PLAIN) is None
    assert cache.size_bytes == 0


async def test_a_body_larger_than_a_quarter_of_the_budget_is_not_cached() -> None:
    cache = BodyCache(100_000)
    await fill(cache, bytes(10_000), form=ZIPPED)
    await fill(cache, bytes(20_000), bytes(5_000), bytes(1))

    assert cache.find(STUDY, PLAIN) is None
    assert cache.find(STUDY, ZIPPED) is not None


async def test_a_budget_of_0_caches_nothing() -> None:
    cache = BodyCache(0)
    await fill(cache, b"[]")

    assert cache.find(STUDY, PLAIN) is None
    assert cache.size_bytes == 0


async def test_bodies_of_different_forms_are_separate_entries() -> None:
    cache = BodyCache(100_000)
    forms = [PLAIN, ZIPPED, Form("http://b/v2", ""), Form("http://a/v1", "")]
    for number, form in enumerate(forms):
        await fill(cache, b"%d" % number, form=form)

    assert [cache.find(STUDY, form) for form in forms] == [Body(STATE, (b"%d" % number,)) for number in range(4)]
    assert cache.find(OTHER, PLAIN) is None


async def test_a_changed_or_deleted_resource_loses_all_its_bodies() -> None:
    for now in (State(8, 2), State(7, 1), None):
        cache = BodyCache(100_000)
        await fill(cache, b"[1]")
        await fill(cache, b"zip", form=ZIPPED)
        await fill(cache, b"[2]", resource=OTHER)
        cache.learn(STUDY, STATE)
        assert cache.find(STUDY, PLAIN)

        cache.learn(STUDY, now)
        assert (cache.find(STUDY, PLAIN), cache.find(STUDY, ZIPPED)) == (None, None)
        assert cache.find(OTHER, PLAIN)


async def test_the_least_recently_used_body_is_evicted() -> None:
    cache = BodyCache(50_000)
    resources = [Resource("", "1.2", str(number), "") for number in range(5)]
    for resource in resources[:4]:
        await fill(cache, bytes(11_000), resource=resource)
    cache.find(resources[0], PLAIN)
    await fill(cache, bytes(11_000), resource=resources[4])

    assert [cache.find(resource, PLAIN) is not None for resource in resources] == [True, False, True, True, True]


async def test_a_body_built_twice_counts_once() -> None:
    cache = BodyCache(100_000)
    first, second = filling(cache, b"[1]"), filling(cache, b"[1]")
    for coming in (first, second, first, second):
        await anext(coming, None)
    once = BodyCache(100_000)
    await fill(once, b"[1]")

    assert cache.size_bytes == once.size_bytes


async def test_bodies_being_cached_share_the_budget() -> None:
    cache = BodyCache(50_000)
    coming = [
        filling(cache, bytes(11_000), b"]", resource=Resource("", "1.2", str(number), "")) for number in range(20)
    ]
    for each_coming in coming:
        assert len(await anext(each_coming)) == 11_000
        assert cache.size_bytes <= 50_000
    for each_coming in coming:
        assert await anext(each_coming) == b"]"
        assert await anext(each_coming, None) is None

    assert sum(cache.find(Resource("", "1.2", str(number), ""), PLAIN) is not None for number in range(20)) == 4


@given(
    limit=st.integers(0, 20_000),
    bodies=st.lists(
        st.tuples(
            st.sampled_from("abcde"), st.sampled_from([PLAIN, ZIPPED]), st.integers(1, 2),
            st.lists(st.integers(0, 4_000), max_size=5), st.booleans(),
        ),
        max_size=12,
    ),
    turns=st.lists(st.tuples(st.integers(0, 11), st.booleans()), max_size=80),
)  # fmt: skip
async def test_the_budget_is_never_exceeded(
    limit: int,
    bodies: list[tuple[str, Form, int, list[int], bool]],
    turns: list[tuple[int, bool]],
) -> None:
    cache = BodyCache(limit)
    coming = [
        filling(cache, *map(bytes, sizes), resource=Resource("", name, "", ""), form=form, state=State(version, 1),
                is_whole=is_whole)
        for name, form, version, sizes, is_whole in bodies
    ]  # fmt: skip
    for number, goes_on in turns:
        if number < len(coming):
            await (anext(coming[number], None) if goes_on else coming[number].aclose())
        assert 0 <= cache.size_bytes <= limit
        found = [cache.find(Resource("", name, "", ""), form) for name in "abcde" for form in (PLAIN, ZIPPED)]
        assert sum(body.size_bytes for body in found if body) <= cache.size_bytes
    for each_coming in coming:
        await each_coming.aclose()
    for name in "abcde":
        cache.learn(Resource("", name, "", ""), None)
    assert cache.size_bytes == 0
