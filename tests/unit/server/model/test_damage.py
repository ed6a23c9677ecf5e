"""Known damage of an instance (server/model/damage.py)."""

import pytest

from server.model.damage import NO_DAMAGE, Damage, damage_of


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (NO_DAMAGE, None),
        (Damage(frames=frozenset({12, 3})), "3,12"),
        (Damage(is_missing=True), "missing"),
        (Damage(is_changed=True, frames=frozenset({0})), "changed,0"),
        (Damage(renderings=frozenset({1, 4}), frames=frozenset({2})), "2,r1,r4"),
    ],
)
def test_damage_is_stored_as_text(damage: Damage, text: str | None) -> None:
    assert damage.text() == text
    assert damage_of(text) == damage


def test_removing_one_of_too_many_damaged_frames_removes_all_of_them() -> None:
    every = Damage(frames=frozenset(range(1, 99))).with_more(NO_DAMAGE)
    assert every.frames == {0}
    assert every.without(Damage(frames=frozenset({5}))) == NO_DAMAGE
