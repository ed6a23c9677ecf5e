"""The choice of a transfer syntax (retrieve_service.proto, server/domain/retrieve/transfer_syntax_choice.py)."""

import math

import pytest

from server.domain.retrieve.transfer_syntax_choice import acceptable, choose
from server.model.errors import InvalidRequest


async def choice(uids: list[str], qualities: list[float], *, free: str = "", possible: str = "") -> str | None:
    async def is_possible(uid: str) -> bool:
        return uid in possible

    return await choose(acceptable(uids, qualities).ranks, lambda uid: uid in (free, "*"), is_possible)


def test_no_acceptable_transfer_syntax_means_as_stored() -> None:
    assert acceptable([]).ranks == (("*",),)


def test_without_qualities_the_order_is_the_preference() -> None:
    assert acceptable(["b", "a", "c"]).ranks == (("b",), ("a",), ("c",))


def test_transfer_syntaxes_are_grouped_by_descending_quality() -> None:
    assert acceptable(["a", "b", "c", "d"], [0.5, 1, 0.5, 0.7]).ranks == (("b",), ("d",), ("a", "c"))


@pytest.mark.parametrize("quality", [0, -1, math.nan])
def test_quality_zero_is_not_acceptable(quality: float) -> None:
    assert acceptable(["a", "b"], [quality, 1]).ranks == (("b",),)


@pytest.mark.parametrize("qualities", [[1], [1, 1, 1]])
def test_one_quality_per_transfer_syntax_is_required(qualities: list[float]) -> None:
    with pytest.raises(InvalidRequest):
        acceptable(["a", "b"], qualities)


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
async def test_of_equal_qualities_the_stored_syntax_is_chosen_else_the_first_possible(
    uids: list[str], qualities: list[float], expected: str | None
) -> None:
    assert await choice(uids, qualities, free="f", possible="pq") == expected


def test_the_stored_form_is_accepted_in_some_transfer_syntaxes_only() -> None:
    wanted = acceptable(["*", "b"], [1, 0.5], ["s", "t"])
    assert wanted.ranks_for("s") == (("*",), ("b",))
    assert wanted.ranks_for("u") == (("b",),)
    assert not wanted.accepts_every_stored_form
    assert acceptable(["*", "b"]).accepts_every_stored_form
