"""Fair sharing of slots (common/shares.py)."""

import pytest

from common.shares import Shares


def taken_by(shares: Shares, client: str | None) -> int:
    """Let a client take all it can; return how many slots."""
    count = 0
    while shares.take(client):
        count += 1
    return count


def test_a_client_alone_gets_four_fifths() -> None:
    shares = Shares(300)
    assert taken_by(shares, "greedy") == 240
    assert not shares.is_full


@pytest.mark.parametrize("greedy", [1, 2, 10, 30])
def test_clients_that_take_all_they_can_converge_to_less_each_and_a_later_client_gets_a_slot(greedy: int) -> None:
    shares = Shares(300)
    names = [f"greedy {number}" for number in range(greedy)]
    held = {name: taken_by(shares, name) for name in names}
    for _ in range(300):  # each ends a call and takes all it can again
        for name in names:
            if held[name]:
                shares.release(name)
                held[name] -= 1
            held[name] += taken_by(shares, name)
    assert max(held.values()) <= 1.5 * 300 / greedy
    assert min(held.values()) > 0
    assert taken_by(shares, "late") > 0


@pytest.mark.parametrize("slots", [1, 2, 3, 4])
def test_a_client_gets_a_slot_of_few(slots: int) -> None:
    assert taken_by(Shares(slots), "one") >= 1


def test_clients_that_are_not_distinguished_get_all_slots() -> None:
    shares = Shares(10)
    assert taken_by(shares, None) == 10
    assert shares.is_full


def test_released_slots_are_free_and_clients_without_slots_are_forgotten() -> None:
    shares = Shares(10)
    for _ in range(3):
        count = taken_by(shares, "one")
        for _ in range(count):
            shares.release("one")
    assert (shares.taken, shares._held) == (0, {})
