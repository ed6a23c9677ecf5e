"""Character sets: PS3.5 section 6.1.2, with the examples of its annexes H to K."""

import struct

import pytest

from server.dicom.elements.charset import character_set_of, decode
from tests import data
from tests.data import element, part10_of, sequence
from tests.unit.server.dicom.reading import INDEXED_STRICT, LENIENT, differences, json_of, pydicom_json, read


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
    found = read(file, INDEXED_STRICT)
    groups = json_of(found)["00081050"]["Value"][0]
    assert differences(json_of(found), pydicom_json(file) or {}) == []
    if "144" not in terms.decode():
        assert "=".join(groups.values()) == name
    assert found.findings == ()


def test_simplified_chinese_with_code_extensions_is_text_without_escapes() -> None:
    """PS3.5 section K.2."""
    name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="

    assert decode(name, character_set_of(("", "ISO 2022 IR 58"))[0]) == ("Zhang^XiaoDong=张^小东=", True)


def test_the_stored_character_set_stays_in_the_metadata() -> None:
    parsed = json_of(read(_file(b"\\ISO 2022 IR 87")))
    assert parsed["00080005"] == {"vr": "CS", "Value": ["", "ISO 2022 IR 87"]}


def test_an_item_without_its_own_character_set_inherits_the_one_of_its_parent() -> None:
    greek = element(0x00080005, "CS", b"ISO_IR 126") + element(0x00080104, "LO", b"\xc4\xe9")
    outer = element(0x00080104, "LO", b"\xc4\xe9")
    parsed = json_of(
        read(_file(b"ISO_IR 100", sequence(0x00081140, [greek, outer]), element(0x00081040, "LO", b"\xc4\xe9")))
    )
    first, second = parsed["00081140"]["Value"]
    assert first["00080104"]["Value"] == ["Δι"]
    assert second["00080104"]["Value"] == ["Äé"]
    assert parsed["00081040"]["Value"] == ["Äé"]


def test_undecodable_bytes_are_replaced_and_reported() -> None:
    found = read(_file(b"ISO_IR 192", element(0x00081030, "LO", b"gr\xfc\xdfe ")))
    assert found.errors == ()
    (finding,) = found.findings
    assert (finding.tag, finding.keyword, finding.vr) == ("00081030", "StudyDescription", "LO")
    assert json_of(found)["00081030"]["Value"] == ["gr��e"]


def text_of(raw: bytes, *terms: str, delimiters: bytes = b"") -> tuple[str, bool]:
    return decode(raw, character_set_of(terms)[0], delimiters)


LATIN_KOREAN = ("ISO 2022 IR 100", "ISO 2022 IR 149")
JAPANESE = ("ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159")
NAME, LIST, ONE = b"\\^=", b"\\", b""


@pytest.mark.parametrize(
    ("terms", "delimiters", "raw", "text"),
    [
        (LATIN_KOREAN, NAME, b"\xe7^\x1b$)C\xa4\xba^\xe7", "ç^ㅊ^ç"),
        (LATIN_KOREAN, NAME, b"\x1b$)C\xb1\xe6=\xe7\\\x1b$)C\xb1\xe6 \xb5\xbf\\\xe7", "길=ç\\길 동\\ç"),
        (LATIN_KOREAN, LIST, b"\x1b$)C\xb1\xe6^\xb1\xe6\\\xe7", "길^길\\ç"),
        (LATIN_KOREAN, ONE, b"\x1b$)C\xb1\xe6\\\xb1\xe6\r\n\xe7\x0c\x1b$)C\xb1\xe6\t\xe7", "길\\길\r\nç\x0c길\tç"),
        (("ISO 2022 IR 100", "ISO 2022 IR 144"), NAME, b"\xe7\x1b-L\xbb\x1b-A\xe7\x1b-L\xbb^\xe7", "çЛçЛ^ç"),
        (("ISO 2022 IR 126", "ISO 2022 IR 100"), LIST, b"\xc4\x1b-A\xe9\\\xc4", "Δé\\Δ"),
        (("", "ISO 2022 IR 58"), NAME, b"\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1", "张^小"),
        (JAPANESE, NAME, b"\xd4\x1b$B;3\xcf\x1b$(D0!\x1b(J\xc0^\xc0", "ﾔ山ﾏ丂ﾀ^ﾀ"),
        (JAPANESE, ONE, b"\x1b$B;3\r\n\xd4a", "山\r\nﾔa"),
        (("", "ISO 2022 IR 203"), ONE, b"\x1b-b\xa4", "€"),
    ],
)
def test_a_delimiter_reactivates_the_set_of_value_1(terms, delimiters, raw, text) -> None:
    """PS3.5 section 6.1.2.5.3."""
    assert text_of(raw, *terms, delimiters=delimiters) == (text, True)


@pytest.mark.parametrize("vr", ["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
@pytest.mark.parametrize("form", [data.EXPLICIT_LITTLE, data.IMPLICIT_LITTLE, data.EXPLICIT_BIG, data.DEFLATED])
def test_delimiters_reactivate_the_set_of_value_1_in_every_vr(vr: str, form: str) -> None:
    tag = {"LO": 0x00081030, "LT": 0x00104000, "PN": 0x00081050, "SH": 0x00081010, "ST": 0x00080081, "UC": 0x00189900}
    raw = b"\x1b$)C\xb1\xe6\r\n\xe7 " if vr in ("LT", "ST", "UT") else b"\x1b$)C\xb1\xe6\\\xe7 "
    text = element(tag.get(vr, 0x0040A160), vr, raw, form)
    terms = element(0x00080005, "CS", "\\".join(LATIN_KOREAN).encode() + b" ", form)
    item = sequence(0x00081140, [terms + text, text], form)
    file = part10_of(sorted([terms, *data.required_elements(form), text, item], key=lambda one: _tag(one, form)), form)
    found = json_of(read(file))
    value = found[f"{tag.get(vr, 0x0040A160):08X}"]["Value"]
    assert [*map(str, value)] == (
        ["길\r\nç"]
        if len(value) == 1
        else [str({"Alphabetic": "길"}), str({"Alphabetic": "ç"})]
        if vr == "PN"
        else ["길", "ç"]
    )
    assert [one[f"{tag.get(vr, 0x0040A160):08X}"]["Value"] for one in found["00081140"]["Value"]] == [value, value]


def _tag(encoded: bytes, form: str) -> tuple[int, ...]:
    return struct.unpack(">HH" if form == data.EXPLICIT_BIG else "<HH", encoded[:4])


def test_bytes_of_multi_byte_characters_are_not_delimiters() -> None:
    """Two bytes in G0 (PS3.5 section 6.1.2.5.4), and the second byte of Shift JIS, GBK, GB18030 and Big5."""
    name = "海\\能=表^渋"
    for terms, codec in (("ISO_IR 13", "shift_jis"), ("GBK", "gbk"), ("GB18030", "gb18030"), ("big5", "big5")):
        raw = "ソ\\表^能".encode(codec) if codec == "shift_jis" else "誠\\功^許".encode(codec)
        assert text_of(raw, terms, delimiters=NAME)[0] == raw.decode(codec)
    raw = name.encode("iso2022_jp")
    assert text_of(raw, "", "ISO 2022 IR 87", delimiters=NAME) == (name, True)
    found = read(_file(b"\\ISO 2022 IR 87", element(0x00081050, "PN", raw + b" " * (len(raw) % 2))))
    assert json_of(found)["00081050"]["Value"] == [
        {"Alphabetic": "海"},
        {"Alphabetic": "能", "Ideographic": "表^渋"},
    ]
    assert any(byte in raw.replace(b"\x1b(B", b"") for byte in b"=^")


def test_a_set_stays_active_after_a_delimiter_if_value_1_does_not_define_g1() -> None:
    assert text_of(b"Hong=\x1b$)C\xfb\xf3^\xd1\xce", "", "ISO 2022 IR 149", delimiters=NAME) == ("Hong=洪^吉", True)


def test_a_delimiter_within_a_set_of_two_bytes_is_reported() -> None:
    text = text_of(b"\x1b$B;3ED^\x1b$BB@O:\x1b(B", "", "ISO 2022 IR 87", delimiters=NAME)
    assert text == ("山田^太郎", False)


def test_an_undeclared_escape_sequence_is_decoded_and_reported() -> None:
    assert text_of(b"\x1b$)C\xb1\xe6", "", "ISO 2022 IR 87") == ("길", False)
    assert text_of(b"a\x1b&@b\x1b", "", "ISO 2022 IR 87") == ("a\x1b&@b\x1b", False)


UTF_8 = (
    "ISO_IR192",
    "iso_ir 192",
    "ISO 2022 IR 192",
    "UTF8",
    "utf-8",
    "UTF_8",
    "ISO-IR 192",
    "ISO_IR 192;x",
    "\\ISO_IR 192",
)
LATIN_1 = (
    "ISO IR 100",
    "ISO-IR 100",
    "ISO_IR_100",
    "iso 2022 ir 100",
    "ISO_2022_IR_100",
    "iso8859-1",
    "100",
    "ISO_2022_IR_6",
)
MISSPELT = [
    *((terms, "é".encode(), "é") for terms in UTF_8),
    *((terms, b"\xe9", "é") for terms in LATIN_1),
    ("ISO_IR 144 Cyrillic", b"\xbb\xee\xda", "Люк"),
    ("GB-18030", b"\xd0\xa1\xb6\xab", "小东"),
    ("gbk", b"\xd0\xa1\xb6\xab", "小东"),
    ("windows-1252", b"\x80", "€"),
    ("ISO_IR 149", b"\xb1\xe6", "길"),
    ("ISO IR 13", b"\xd4\xcf", "ﾔﾏ"),
    ("ISO_IR 87", b"\x1b$B;3\x1b(B", "山"),
    ("ISO2022IR6\\ISO2022IR87", b"\x1b$B;3\x1b(B", "山"),
]


@pytest.mark.parametrize(("terms", "raw", "text"), MISSPELT)
def test_a_misspelt_character_set_is_corrected_for_reading_reported_and_returned_as_stored(
    terms: str, raw: bytes, text: str
) -> None:
    file = _file(terms.encode(), element(0x00081030, "LO", raw + b" " * (len(raw) % 2)))
    for mode in (LENIENT, INDEXED_STRICT):
        found = read(file, mode)
        assert json_of(found)["00081030"]["Value"] == [text]
        assert json_of(found)["00080005"]["Value"] == terms.split("\\")
        assert [(finding.tag, finding.keyword) for finding in found.findings] == [("00080005", "SpecificCharacterSet")]


def test_padding_of_a_character_set_is_accepted() -> None:
    for terms in (b"ISO_IR 192\0", b" ISO_IR 192", b"ISO 2022 IR 6 \\ ISO 2022 IR 87 "):
        assert read(_file(terms)).findings == ()


@pytest.mark.parametrize("term", [b"KLINGON", b"utf-16", b"rot13", b"unicode_escape", b"idna", b"a\0b"])
def test_an_unknown_character_set_is_reported_and_replaced_by_the_default(term: bytes) -> None:
    found = read(_file(term, element(0x00081030, "LO", b"caf\xe9")), INDEXED_STRICT)
    assert found.errors == ()
    assert [finding.tag for finding in found.findings] == ["00080005"]
    assert json_of(found)["00081030"]["Value"] == ["café"]


def test_a_character_set_without_code_extensions_is_the_only_one() -> None:
    text = "é".encode()
    assert text_of(text, "ISO_IR 192", "ISO 2022 IR 87") == ("é", True)
    assert text_of(text + b"\x1b$B;3", "", "ISO_IR 192", "ISO 2022 IR 87") == ("Ã©山", True)


def test_an_escape_sequence_without_code_extensions_is_ignored() -> None:
    assert text_of(b"A\x1b$B;3ED\x1b(B") == ("A\x1b$B;3ED\x1b(B", False)
