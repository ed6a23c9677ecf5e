from datetime import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.dicom.matching import normalise


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou=山田^太郎=やまだ^たろう"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "ヤマダ^タロウ=山田^太郎"),
        ("Buc^Jérôme", "buc^jerome"),
        ("BUC^JE\u0301RO\u0302ME", "buc^jerome"),
        ("Äneas^Rüdiger", "aneas^rudiger"),
        ("Διονυσιος", "διονυσιοσ"),
        ("Люкceмбypг", "люкceмбypг"),
        ("קבאני^דבורה", "קבאני^דבורה"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "hong^gildong=洪^吉洞=홍^길동"),
        ("İnan^Işık", "inan^isık"),
        ("Groß", "gross"),
        ("  Doe  ^ John   Paul ^^ = ", "doe^john paul"),
        ("=山田^太郎", "=山田^太郎"),
        ("ジャン＝ポール", "ジャン ポール"),
        ("Doe\0", "doe"),
    ],
)
def test_case_accents_padding_and_trailing_delimiters_of_names_are_removed(written: str, normal: str) -> None:
    assert normalise.name(written) == normal


def test_a_voiced_kana_is_another_letter() -> None:
    assert normalise.name("やまだ") != normalise.name("やまた")


def test_a_hangul_syllable_stays_one_character() -> None:
    assert len(normalise.name("길동") or "") == 2


@pytest.mark.parametrize("written", ["", " ", "^", "^^=^=", "\0"])
def test_a_name_without_letters_is_not_indexed(written: str) -> None:
    assert normalise.name(written) is None
    assert normalise.name_words(written) == ()


def test_words_of_a_name_are_separated_by_delimiters_and_spaces() -> None:
    assert normalise.name_words("Jonathan^Word^Stone Hall^^=山田^太郎") == (
        "jonathan",
        "word",
        "stone",
        "hall",
        "山田",
        "太郎",
    )


@pytest.mark.parametrize(
    ("written", "normal"),
    [("  ABC-1 ", "abc-1"), ("Abdomen\0", "abdomen"), ("E\u0301cho", "écho"), ("ÉCHO", "écho"), ("A  B", "a  b")],
)
def test_only_case_and_surrounding_padding_of_text_are_removed(written: str, normal: str) -> None:
    assert normalise.text(written) == normal


@pytest.mark.parametrize(
    ("written", "normal"),
    [("20240229", "20240229"), (" 20240101 ", "20240101"), ("20230229", None), ("20241301", None)]
    + [(text, None) for text in ("2024", "2024-01-01", "2024010", "202401011", "", "٢٠٢٤٠١٠١")],
)
def test_a_date_is_eight_digits_and_a_valid_day(written: str, normal: str | None) -> None:
    assert normalise.day(written) == normal


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("10", "100000.000000", "105959.999999"),
        ("1015", "101500.000000", "101559.999999"),
        ("101530", "101530.000000", "101530.999999"),
        ("101530.25", "101530.250000", "101530.259999"),
        ("101530.123456", "101530.123456", "101530.123456"),
        ("235960", "235960.000000", "235960.999999"),
    ],
)
def test_a_partial_time_is_a_range(written: str, first: str, last: str) -> None:
    assert normalise.first_time(written) == first
    assert normalise.last_time(written) == last


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        *(
            ("20040119", "20040119"),
            ("2004.01.19", "20040119"),
            ("2004-01-19 ", "20040119"),
            ("2004/01/19", "20040119"),
        ),
        *((text, None) for text in ("2004.01-19", "2004.1.19", "2004.02.30", "19.01.2004", "20040101-20041231", "x")),
    ],
)
def test_a_stored_date_may_have_separators(written: str, normal: str | None) -> None:
    assert normalise.stored_day(written) == normal


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        *(("12", "120000.000000"), ("123015.25", "123015.250000"), ("12:30", "123000.000000")),
        *(("12:30:15", "123015.000000"), ("9:05:00 ", "090500.000000"), ("12:30:15,5", "123015.500000")),
        *(("123015.1234567", "123015.123456"), ("12:30:15.123456789", "123015.123456")),
        *((text, None) for text in ("25:00", "12:60:00", "12:30:15.", "123015.x", "12:30.5", "1000-1100", "noon", "")),
    ],
)
def test_a_stored_time_may_have_colons_and_finer_fractions(written: str, normal: str | None) -> None:
    assert normalise.stored_time(written) == normal


@pytest.mark.parametrize("written", ["", "1", "24", "1060", "101561", "101530.", "101530.1234567", "10:15", "101"])
def test_other_text_is_not_a_time(written: str) -> None:
    assert normalise.first_time(written) is None
    assert normalise.last_time(written) is None


@pytest.mark.parametrize(
    ("written", "normal"),
    [("0003", "3"), ("+3", "3"), ("-03", "-3"), (" 3 ", "3"), ("0", "0"), ("3.0", None), ("", None), ("1" * 13, None)],
)
def test_plus_sign_and_leading_zeros_of_an_integer_are_removed(written: str, normal: str | None) -> None:
    assert normalise.integer(written) == normal


@settings(deadline=None)
@given(st.text())
def test_normal_forms_are_idempotent(written: str) -> None:
    for form in (normalise.text, normalise.name, normalise.uid):
        normal = form(written)
        assert normal is None or form(normal) == normal


@settings(deadline=None)
@given(st.times(), st.times())
def test_times_are_ordered_like_their_text(one: time, other: time) -> None:
    written = [normalise.first_time(value.strftime("%H%M%S.%f")) or "" for value in (one, other)]
    assert (written[0] <= written[1]) == (one <= other)
