"""Matching of person names (PS3.5 6.2.1)."""

import pytest

from server.model.search.query import NameMatches, NameWords
from server.ports.index import InstanceIndex
from tests.contract.index.searches import store_values, studies

NAMES = [
    "yamada^tarou=山田^太郎=やまだ^たろう",
    "hong^gildong=洪^吉洞=홍^길동",
    "wang^xiaodong=王^小東",
    "люкceмбypг",
    "διονυσιος",
    "قباني^لنزار",
    "buc^jerome",
    "doe^john^van der",
    "=山田^花子",
]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("yamada*", [1]),
        ("山田*", [1, 9]),
        ("山田^太郎", [1]),
        ("*たろう", [1]),
        ("홍^길동", [2]),
        ("王^??", [3]),
        ("люк*", [4]),
        ("*νυσ*", [5]),
        ("*لنزار", [6]),
        ("buc^jerome", [7]),
        ("doe", []),
        ("*=*", []),
        ("*", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
async def test_a_name_matches_by_any_of_its_component_groups(
    index: InstanceIndex, pattern: str, found: list[int]
) -> None:
    await store_values(index, "PatientName", *NAMES)
    assert await studies(index, "PatientName", NameMatches((pattern,))) == found


async def test_text_after_the_third_component_group_belongs_to_it(index: InstanceIndex) -> None:
    await store_values(index, "PatientName", "a=b=c=d", "===")
    assert await studies(index, "PatientName", NameMatches(("c=d",))) == [1]
    assert await studies(index, "PatientName", NameMatches(("d",))) == []
    assert await studies(index, "PatientName", NameMatches(("?",))) == [1, 2]


async def test_a_name_matches_any_of_several_patterns(index: InstanceIndex) -> None:
    await store_values(index, "ReferringPhysicianName", *NAMES)
    assert await studies(index, "ReferringPhysicianName", NameMatches(("buc*", "*小東"))) == [3, 7]


@pytest.mark.parametrize(
    ("prefixes", "found"),
    [
        (("jo",), [8]),
        (("do", "jo"), [8]),
        (("doe", "john", "van", "der"), [8]),
        (("john", "der"), []),
        (("jo", "do"), []),
        (("ohn",), []),
        (("山",), [1, 9]),
        (("山田", "花"), [9]),
        (("tarou", "山田"), []),
        (("=",), []),
        ((), []),
    ],
)
async def test_words_must_match_adjacent_words_in_order_within_one_group(
    index: InstanceIndex, prefixes: tuple[str, ...], found: list[int]
) -> None:
    await store_values(index, "PatientName", *NAMES)
    assert await studies(index, "PatientName", NameWords(prefixes)) == found


async def test_special_characters_in_name_words_are_literal(index: InstanceIndex) -> None:
    await store_values(index, "PatientName", "o'neil-(x) a.b+", "o'neil-x a1b")
    assert await studies(index, "PatientName", NameWords(("o'neil-(", "a.b+"))) == [1]
    assert await studies(index, "PatientName", NameWords(("o'neil", "a.b"))) == [1]
    assert await studies(index, "PatientName", NameWords(("o%", "a"))) == []
