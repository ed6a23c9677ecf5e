"""The choice of a transfer syntax: retrieve_service.proto, server/domain/retrieve/transfer_syntax_choice.py."""

import math

import pytest

from server.domain.retrieve.transfer_syntax_choice import choose, ranked
from server.model.errors import InvalidRequest


async def choice(uids: list[str], qualities: list[float], *, free: str = "", possible: str = "") -> str | None:
    async def can_be_had(uid: str) -> bool:
        return uid in possible

    return await choose(ranked(uids, qualities), lambda uid: uid in (free, "*"), can_be_had)


def test_nothing_means_as_stored() -> None:
    assert ranked([]) == (("*",),)


def test_without_qualities_each_is_better_than_those_after_it() -> None:
    assert ranked(["b", "a", "c"]) == (("b",), ("a",), ("c",))


def test_with_qualities_the_best_come_first_and_equals_stay_together_in_order() -> None:
    assert ranked(["a", "b", "c", "d"], [0.5, 1, 0.5, 0.7]) == (("b",), ("d",), ("a", "c"))


@pytest.mark.parametrize("quality", [0, -1, math.nan])
def test_what_has_no_quality_is_not_acceptable(quality: float) -> None:
    assert ranked(["a", "b"], [quality, 1]) == (("b",),)


@pytest.mark.parametrize("qualities", [[1], [1, 1, 1]])
def test_there_is_one_quality_for_each(qualities: list[float]) -> None:
    with pytest.raises(InvalidRequest):
        ranked(["a", "b"], qualities)


@pytest.mark.parametrize(
    ("uids", "qualities", "expected"),
    [
        (["p", "f"], [], "p"),
        (["x", "f"], [], "f"),
        (["p", "f"], [1, 1], "f"),
        (["p", "q"], [1, 1], "p"),
        (["x", "p", "*"], [1, 1, 1], "*"),
        (["p", "f"], [1, 0.5], "p"),
        (["x", "y"], [], None),
        (["x", "f"], [1, 0], None),
    ],
)
async def test_of_equals_the_free_one_is_taken_else_the_first_that_can_be_had(
    uids: list[str], qualities: list[float], expected: str | None
) -> None:
    assert await choice(uids, qualities, free="f", possible="pq") == expected
