"""Wildcards in filters of workitems."""

import re
from itertools import product

import pytest

from server.dicom.worklist.filters import matches
from server.model.search.query import Condition, Like
from server.model.worklist.workitem import SearchValue


def is_match(pattern: str, value: str) -> bool:
    return matches([Condition("PatientID", (Like(pattern),))], [SearchValue("PatientID", 0, value)])


@pytest.mark.parametrize("length", range(1, 6))
def test_stars_stand_for_any_characters_and_question_marks_for_one(length: int) -> None:
    values = ["".join(letters) for size in range(1, 5) for letters in product("ab", repeat=size)]
    for pattern in map("".join, product("ab*?", repeat=length)):
        expression = re.compile(pattern.replace("*", ".*").replace("?", "."))
        for value in values:
            assert is_match(pattern, value) == bool(expression.fullmatch(value)), (pattern, value)


@pytest.mark.parametrize("value", ["1.2", r"a\b", "a[b]", "(a", "a\nb"])
def test_other_characters_stand_for_themselves(value: str) -> None:
    assert is_match(value, value)
    assert is_match(f"*{value}*", f"x{value}x")
    assert not is_match("1+2", "112")


def test_many_stars_do_not_multiply_the_time() -> None:
    assert not is_match("*a" * 30 + "*b", "a" * 64)
    assert is_match("*a" * 30 + "*b", "a" * 64 + "b")
