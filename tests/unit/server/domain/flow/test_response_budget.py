"""The pieces of all responses share a budget (server/domain/flow/response_budget.py)."""

from contextlib import ExitStack

import pytest

from server.domain.flow.response_budget import MAX_PIECE_BYTES, MIN_PIECE_BYTES, ResponseBudget


def test_few_responses_get_large_pieces() -> None:
    budget = ResponseBudget(48 << 20)
    with ExitStack() as answers:
        for _ in range(8):
            answers.enter_context(budget.responding())
        assert budget.piece_bytes() == MAX_PIECE_BYTES


@pytest.mark.parametrize("count", [20, 50, 120])
def test_the_pieces_of_many_responses_stay_within_the_budget(count: int) -> None:
    budget = ResponseBudget(48 << 20)
    with ExitStack() as answers:
        for _ in range(count):
            answers.enter_context(budget.responding())
        assert MIN_PIECE_BYTES < budget.piece_bytes() < MAX_PIECE_BYTES
        assert count * 6 * budget.piece_bytes() <= 48 << 20


def test_pieces_have_a_minimum_size() -> None:
    budget = ResponseBudget(1)
    with budget.responding():
        assert budget.piece_bytes() == MIN_PIECE_BYTES


def test_pieces_grow_again_when_responses_end() -> None:
    budget = ResponseBudget(8 << 20)
    with ExitStack() as answers:
        for _ in range(30):
            answers.enter_context(budget.responding())
    with budget.responding():
        assert budget.piece_bytes() == MAX_PIECE_BYTES


def test_the_first_pieces_of_a_large_value_are_small() -> None:
    budget = ResponseBudget(48 << 20)
    with budget.responding():
        large, other = budget.piece_sizes(200 << 20), budget.piece_sizes(8 << 20)
        assert [large() for _ in range(18)] == [1 << 18] * 16 + [MAX_PIECE_BYTES] * 2
        assert other() == MAX_PIECE_BYTES
