"""Character sets: PS3.5 section 6.1.2, with the examples of its annexes H to K."""

import pytest

from server.dicom.charset import codecs_of, decode
from tests import data
from tests.data import element, part10_of, sequence
from tests.unit.server.dicom.reading import STRICT, differences, json_of, pydicom_json, read


def _file(terms: bytes, *more: bytes) -> bytes:
    required = data.required_elements()
    charset = element(0x00080005, "CS", terms + b" " * (len(terms) % 2))
    return part10_of([charset, *required[:2], *more, *required[2:]])


NAMES = [
    (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (b"ISO_IR 101", b"Wa\xb3\xeasa", "Wałęsa"),
    (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "ЛюкceмЁypг"),
    (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    (b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    (b"ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    (b"ISO_IR 166", b"\xb9\xd2\xc2", "นาย"),
    (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東"),
    (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东"),
    (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
    ),
    (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
]


@pytest.mark.parametrize(("terms", "raw", "name"), NAMES)
def test_names_are_decoded_as_pydicom_does(terms: bytes, raw: bytes, name: str) -> None:
    file = _file(terms, element(0x00081050, "PN", raw + b" " * (len(raw) % 2)))
    found = read(file, STRICT)
    groups = json_of(found)["00081050"]["Value"][0]
    assert differences(json_of(found), pydicom_json(file) or {}) == []
    if "144" not in terms.decode():
        assert "=".join(groups.values()) == name
    assert found.findings == ()


def test_simplified_chinese_with_code_extensions_is_text_without_escapes() -> None:
    """PS3.5 section K.2."""
    name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="

    assert decode(name, codecs_of(["", "ISO 2022 IR 58"])[0]) == ("Zhang^XiaoDong=张^小东=", True)


def test_the_stored_character_set_stays_in_the_metadata() -> None:
    parsed = json_of(read(_file(b"\\ISO 2022 IR 87")))
    assert parsed["00080005"] == {"vr": "CS", "Value": ["", "ISO 2022 IR 87"]}


def test_an_item_may_have_its_own_character_set_and_otherwise_has_its_parents() -> None:
    greek = element(0x00080005, "CS", b"ISO_IR 126") + element(0x00080104, "LO", b"\xc4\xe9")
    outer = element(0x00080104, "LO", b"\xc4\xe9")
    parsed = json_of(
        read(_file(b"ISO_IR 100", sequence(0x00081140, [greek, outer]), element(0x00081040, "LO", b"\xc4\xe9")))
    )
    first, second = parsed["00081140"]["Value"]
    assert first["00080104"]["Value"] == ["Δι"]
    assert second["00080104"]["Value"] == ["Äé"]
    assert parsed["00081040"]["Value"] == ["Äé"]


def test_undecodable_bytes_are_replaced_and_reported_and_the_value_stays() -> None:
    found = read(_file(b"ISO_IR 192", element(0x00081030, "LO", b"gr\xfc\xdfe ")))
    assert found.errors == ()
    (finding,) = found.findings
    assert (finding.tag, finding.keyword, finding.vr) == ("00081030", "StudyDescription", "LO")
    assert json_of(found)["00081030"]["Value"] == ["gr��e"]


@pytest.mark.parametrize("term", [b"ISO-IR 100", b"utf8", b"ISO_IR_100", b"iso8859-1"])
def test_misspelt_character_sets_are_understood(term: bytes) -> None:
    codecs, _ = codecs_of([term.decode()])
    assert decode(b"ab", codecs) == ("ab", True)


@pytest.mark.parametrize("term", [b"KLINGON", b"utf-16", b"rot13", b"unicode_escape", b"idna", b"a\0b"])
def test_an_unknown_character_set_is_reported_and_taken_for_the_default(term: bytes) -> None:
    found = read(_file(term, element(0x00081030, "LO", b"caf\xe9")), STRICT)
    assert found.errors == ()
    assert [finding.tag for finding in found.findings] == ["00080005"]
    assert json_of(found)["00081030"]["Value"] == ["café"]


def test_a_character_set_without_extensions_stands_alone() -> None:
    assert codecs_of(["ISO_IR 192", "ISO 2022 IR 87"]) == (("UTF8",), True)
    assert codecs_of(["", "ISO_IR 192", "ISO 2022 IR 87"]) == (("iso8859", "iso2022_jp"), True)


def test_an_escape_to_an_undeclared_character_set_is_not_decoded() -> None:
    text, is_clean = decode(b"A\x1b$B;3ED\x1b(B", ("iso8859",))
    assert not is_clean
    assert text.startswith("A")
