"""Changed files are read back by the ingest reader: their description must be that of the edited bytes."""

import zlib
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest

from server.dicom.ingest.reader import Description, InstanceReader
from server.dicom.updating.changes import Changes, NotEncodable, Refused, changes_of
from server.dicom.updating.description import changed_instance, tags_in
from server.dicom.updating.editing import FileEditor
from server.dicom.updating.edits import Edits
from server.dicom.updating.layouts import Layouts
from server.domain.store.receive import new_instance
from server.model.errors import DicomStoreError, InvalidRequest
from server.model.ids import DEFAULT_PARTITION, Version
from server.model.instance import NewInstance, StoredInstance, ValidationMode
from server.model.lifecycle.update import ChangedFile, Content
from server.model.lifecycle.version import NO_PROVENANCE
from tests.corpus import corpus, name_of
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    dataset,
    element,
    file_of,
    part10,
    part10_of,
    required_elements,
    sequence,
)

NAME = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}}
BOTH = NAME | {"00100020": {"vr": "LO", "Value": ["P-2"]}, "00081030": {"vr": "LO", "Value": ["A study"]}}


def read(file: bytes) -> Description:
    reader = InstanceReader(ValidationMode.LENIENT, 1 << 24)
    reader.feed(file)
    return reader.finish()


def described(file: bytes) -> NewInstance:
    return new_instance(
        read(file),
        partition=DEFAULT_PARTITION,
        size_bytes=len(file),
        crc32c=0,
        locator="",
        must_be_indexed=False,
    )


def changes(data_set: dict[str, Any]) -> Changes:
    return changes_of(data_set, lambda tag: True)


def edits_of(file: bytes, wanted: Changes, piece: int, layouts: Layouts | None = None) -> Edits:
    """Find the edits as the archive does: converting to UTF-8 only if it is necessary."""
    found = read(file)
    for to_utf_8 in (False, True):
        editor = FileEditor(
            found.transfer_syntax_uid,
            wanted,
            sop_class_uid=found.sop_class_uid,
            sop_instance_uid=found.sop_uid,
            present=partial(tags_in, found.dicom_json, wanted.tags),
            to_utf_8=to_utf_8,
            layouts=layouts,
        )
        try:
            while not editor.is_done and editor.at < len(file):
                editor.feed(file[editor.at : editor.at + piece])
            return editor.finish(len(file))
        except NotEncodable:
            assert not to_utf_8
    raise AssertionError


def edited(file: bytes, data_set: dict[str, Any], piece: int = 1 << 16) -> bytes:
    """Return a file with changes, after checking that its description for the index is that of its bytes."""
    wanted = changes(data_set)
    edits = edits_of(file, wanted, piece)
    layouts = Layouts()  # with those of the file itself, the edits are the same
    assert [list(edits_of(file, wanted, piece, layouts).edits) for _ in range(2)] == [list(edits.edits)] * 2
    parts, position = [], 0
    for edit in edits.edits:
        parts += [file[position : edit.start], edit.new]
        position = edit.end
    new = b"".join(parts) + file[position:]
    before, after = described(file), described(new)
    stored = StoredInstance(
        before.id,
        Version(1),
        before.sop_class_uid,
        before.transfer_syntax_uid,
        len(file),
        0,
        "",
        before.is_mislabelled,
    )
    content = Content(stored, before.dicom_json, before.invalid_tags, before.pixels, before.bulk)
    changed_file = ChangedFile("", len(new), 0, edits.shifts, edits.has_utf_8)
    made = changed_instance(content, changed_file, wanted, NO_PROVENANCE)
    assert orjson.loads(made.dicom_json) == orjson.loads(after.dicom_json)
    assert made.dicom_json == after.dicom_json
    assert (made.pixels, sorted(made.bulk, key=str)) == (after.pixels, sorted(after.bulk, key=str))
    assert (before.instance if made.instance is None else made.instance) == after.instance
    assert made.invalid_tags == after.invalid_tags
    for level in ("study", "series"):
        got, expected = getattr(made, level), getattr(after, level)
        assert all(expected.elements[tag] == value for tag, value in got.elements.items())
        assert got.keys.items() <= expected.keys.items()
    return new


FORMS = [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG]


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "data_set", [NAME, BOTH, {"00400275": {"vr": "SQ", "Value": [{"00400007": {"vr": "LO", "Value": ["x"]}}]}}]
)
def test_only_the_changed_attributes_and_the_file_meta_information_differ(
    form: str, data_set: dict[str, Any], piece: int
) -> None:
    file = part10(transfer_syntax=form, frames=[bytes(range(200))], StudyDate="20260101", PatientSex="F")
    new = edited(file, data_set, piece)
    before, after = pydicom.dcmread(BytesIO(file)), pydicom.dcmread(BytesIO(new))
    for tag, value in data_set.items():
        assert after[int(tag, 16)].to_json_dict(None, 1 << 20)["Value"] == value["Value"]
        before[int(tag, 16)] = after[int(tag, 16)]
    assert before == after
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.file_meta.TransferSyntaxUID == form
    assert new.endswith(file[-200:])


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_sequences_are_replaced_and_skipped_whatever_their_length_form(form: str, undefined: bool) -> None:
    item = element(0x00080100, "SH", b"old ", form)
    elements = [
        *required_elements(form),
        sequence(0x00081032, [item, item], form, undefined=undefined),
        sequence(0x00400275, [item], form, undefined=undefined),
    ]
    file = part10_of(sorted_elements(elements, form), form)
    new = edited(file, {"00400275": {"vr": "SQ", "Value": [{"00400007": {"vr": "LO", "Value": ["new"]}}]}} | NAME)
    found = pydicom.dcmread(BytesIO(new))
    assert [one.CodeValue for one in found.ProcedureCodeSequence] == ["old", "old"]
    assert [one.ScheduledProcedureStepDescription for one in found.RequestAttributesSequence] == ["new"]
    assert found.PatientName == "Doe^Jane"


def sorted_elements(elements: list[bytes], form: str) -> list[bytes]:
    def tag(encoded: bytes) -> bytes:
        head = encoded[:4]
        return head if form == EXPLICIT_BIG else bytes([head[1], head[0], head[3], head[2]])

    return sorted(elements, key=tag)


@pytest.mark.parametrize("form", FORMS)
def test_group_lengths_are_those_of_the_new_content(form: str) -> None:
    order = "big" if form == EXPLICIT_BIG else "little"
    elements = [*required_elements(form), element(0x00100000, "UL", (1000).to_bytes(4, order), form)]  # type: ignore[arg-type]
    file = part10_of(sorted_elements(elements, form), form)
    new = edited(file, BOTH)
    before, after = pydicom.dcmread(BytesIO(file)), pydicom.dcmread(BytesIO(new))
    sizes = [
        sum(8 + len(pad(file_[tag].value)) for tag in (0x00100010, 0x00100020) if tag in file_)
        for file_ in (before, after)
    ]
    assert after[0x00100000].value - 1000 == sizes[1] - sizes[0]


def pad(value: Any) -> str:
    text = str(value)
    return text + " " * (len(text) % 2)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "山田^太郎"),
        ("GB18030", "王^小东"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Müller^Jörg"),
    ],
)
def test_text_is_encoded_in_the_character_set_of_the_file_if_it_has_all_characters(charset: Any, name: str) -> None:
    file = file_of(dataset(SpecificCharacterSet=charset, PatientName="Old^Name"))
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False))
    new = edited(file, {"00100010": {"vr": "PN", "Value": [groups]}})
    found = pydicom.dcmread(BytesIO(new))
    assert found.SpecificCharacterSet == pydicom.dcmread(BytesIO(file)).SpecificCharacterSet
    assert str(found.PatientName) == name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("charset", [None, "ISO_IR 100", ["ISO 2022 IR 6", "ISO 2022 IR 100"]])
def test_a_data_set_whose_character_set_lacks_a_character_is_converted_to_utf_8(
    charset: Any, undefined: bool, form: str
) -> None:
    inner = dataset(CodeMeaning="Schädel", SOPClassUID=None, StudyInstanceUID=None)
    other = pydicom.Dataset()
    other.SpecificCharacterSet = "ISO_IR 144"
    other.CodeMeaning = "Череп"
    made = dataset(
        SpecificCharacterSet=charset,
        PatientName="Old^Name",
        StudyDescription="Übersicht",
        ProcedureCodeSequence=[inner, other] if charset else [],
        ImageComments="groß" * 100,
        Rows=2,
        Columns=100,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=bytes(range(200)),
    )
    if charset is None:
        made.StudyDescription = "Overview"
        made.ImageComments = "large"
    if undefined:
        made["ProcedureCodeSequence"].is_undefined_length = True
        for item in made.ProcedureCodeSequence:
            item.is_undefined_length_sequence_item = True
    file = file_of(made, form)
    new = edited(file, {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada", "Ideographic": "山田^太郎"}]}}, 37)
    found = pydicom.dcmread(BytesIO(new))
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert str(found.PatientName) == "Yamada=山田^太郎"
    assert found.StudyDescription == made.StudyDescription
    assert found.ImageComments == made.ImageComments
    assert [item.CodeMeaning for item in found.ProcedureCodeSequence] == ["Schädel", "Череп"][: 2 * bool(charset)]
    assert found.PixelData == bytes(range(200))


def test_text_that_is_not_valid_in_its_character_set_is_not_converted() -> None:
    elements = [
        *required_elements(),
        element(0x00080005, "CS", b"ISO_IR 6\\ISO 2022 IR 87"),
        element(0x00081030, "LO", b"\x1b$B\x30\x21\x30 "),
    ]
    file = part10_of(sorted_elements(elements, EXPLICIT_LITTLE))
    with pytest.raises(InvalidRequest):
        edited(file, {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]}})


def test_an_attribute_that_occurs_twice_occurs_once_afterwards() -> None:
    elements = [*required_elements(PatientName=b"One "), element(0x00100010, "PN", b"Two ")]
    file = part10_of(sorted_elements(elements, EXPLICIT_LITTLE))
    new = edited(file, NAME | {"00100040": {"vr": "CS", "Value": ["F"]}})
    assert new.count(b"\x10\x00\x10\x00PN") == 1


def test_a_data_set_without_pixel_data_gets_new_attributes_at_its_end() -> None:
    file = part10_of(required_elements())
    new = edited(file, {"00401001": {"vr": "SH", "Value": ["RP-1"]}, "00100010": NAME["00100010"]})
    assert pydicom.dcmread(BytesIO(new)).RequestedProcedureID == "RP-1"


JAPANESE = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada", "Ideographic": "山田^太郎"}]}}


@pytest.mark.parametrize("path", corpus(), ids=name_of)
def test_every_file_of_the_corpus_can_be_changed(path: Path) -> None:
    file = path.read_bytes()
    try:
        found = read(file)
    except DicomStoreError:
        return
    if found.errors or found.transfer_syntax_uid == DEFLATED or len(file) > 2_000_000:
        return
    assert orjson.loads(read(edited(file, BOTH, 4096)).dicom_json)["00100020"]["Value"] == ["P-2"]
    with suppress(InvalidRequest):  # its text is not valid in its character set
        assert orjson.loads(read(edited(file, JAPANESE, 1 << 20)).dicom_json)["00100010"] == JAPANESE["00100010"]


@pytest.mark.parametrize(
    ("data_set", "faulty"),
    [
        ({}, []),
        ([], []),
        ({"0020000D": {"vr": "UI", "Value": ["1.2"]}}, ["0020000d"]),
        ({"00280010": {"vr": "US", "Value": [1]}}, ["00280010"]),
        ({"7FE00010": {"vr": "OW", "InlineBinary": "AAAA"}}, ["7fe00010"]),
        ({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}, ["00080005"]),
        ({"00090010": {"vr": "LO", "Value": ["x"]}}, ["00090010"]),
        ({"00100010": {"vr": "LO", "Value": ["x"]}}, ["00100010"]),
        ({"00100010": {"vr": "PN"}}, ["00100010"]),
        ({"00100020": {"vr": "LO", "Value": []}}, ["00100020"]),
        ({"00100020": {"vr": "LO", "Value": [None]}}, ["00100020"]),
        ({"00100020": {"vr": "LO", "Value": [""]}}, ["00100020"]),
        ({"00100020": {"vr": "LO", "Value": ["x" * 65]}}, ["00100020"]),
        ({"00100020": {"vr": "LO", "Value": ["a", "b"]}}, ["00100020"]),
        ({"00100020": {"vr": "LO", "Value": ["a\\b"]}}, ["00100020"]),
        ({"00100030": {"vr": "DA", "Value": ["yesterday"]}}, ["00100030"]),
        ({"00100040": {"vr": "CS", "Value": ["female"]}}, ["00100040"]),
        ({"00101030": {"vr": "DS", "Value": ["heavy"]}}, ["00101030"]),
        ({"00321032": {"Value": [{"Alphabetic": 1}]}}, ["00321032"]),
        ({"Patient": {"vr": "LO", "Value": ["x"]}}, ["patient"]),
        ({"00100020": "x", "00100040": {"vr": "CS", "Value": ["a"]}}, ["00100020", "00100040"]),
        ({"00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}, ["00081140"]),
        ({"00100010": {"vr": "PN", "BulkDataURI": "http://x"}}, ["00100010"]),
    ],
)
def test_what_cannot_be_changed_is_refused_for_each_attribute(data_set: Any, faulty: list[str]) -> None:
    with pytest.raises(Refused) as caught:
        changes(data_set)
    assert [fault.tag for fault in caught.value.faults] == faulty
    assert "female" not in str(caught.value.faults)


def test_values_of_all_kinds_are_written() -> None:
    data_set = {
        "00100010": {"Value": ["Doe^Jane"]},
        "00101030": {"vr": "DS", "Value": [72.5]},
        "00201200": {"vr": "IS", "Value": [3]},
        "00189074": {"vr": "DT", "Value": ["20260102030405"]},
        "00189089": {"vr": "FD", "Value": [0.25, 1.5, -1]},
        "00181310": {"vr": "US", "Value": [1, 2, 3, 4]},
        "00104000": {"vr": "LT", "Value": ["a\\b\r\nc"]},
        "00082218": {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": ["Kopf"]}}, {}]},
        "00420011": {"vr": "OB", "InlineBinary": "AQI="},
        "00080051": {"vr": "SQ", "Value": [{"00400031": {"vr": "UT", "Value": ["x"]}}]},
    }
    for form in FORMS:
        new = edited(part10(transfer_syntax=form, frames=[bytes(100)]), data_set)
        found = pydicom.dcmread(BytesIO(new))
        assert (found.PatientWeight, found.DiffusionGradientOrientation) == (72.5, [0.25, 1.5, -1])
        assert found.AcquisitionMatrix == [1, 2, 3, 4]
        assert found.PatientComments == "a\\b\r\nc"
        assert found.AnatomicRegionSequence[0].CodeMeaning == "Kopf"


def test_a_deflated_data_set_is_edited_in_its_inflated_form() -> None:
    file = part10(transfer_syntax=DEFLATED, frames=[bytes(range(200))])
    end = len(file_meta_of(file))
    inflated = file[:end] + zlib.decompress(file[end:], -15)
    found = read(file)
    editor = FileEditor(
        DEFLATED,
        changes(NAME),
        sop_class_uid=found.sop_class_uid,
        sop_instance_uid=found.sop_uid,
        present=partial(tags_in, found.dicom_json, changes(NAME).tags),
    )
    editor.feed(inflated)
    edits = editor.finish(len(inflated))
    assert edits.edits[0].end == end
    assert edits.edits[1].new.endswith(b"Doe^Jane")


def file_meta_of(file: bytes) -> bytes:
    opened = BytesIO(file)
    pydicom.filereader.read_preamble(opened, False)
    pydicom.filereader._read_file_meta_info(opened)
    return file[: opened.tell()]


class TestLayouts:
    """Files with the layout of an earlier one have the edits that a walk finds."""

    @staticmethod
    def _edits(file: bytes, wanted: Changes, layouts: Layouts | None) -> Edits:
        return edits_of(file, wanted, 4096, layouts)

    @pytest.mark.parametrize("form", FORMS)
    def test_edits_are_the_same_with_and_without_the_layouts_of_other_files(self, form: str) -> None:
        wanted, layouts = changes(BOTH), Layouts()
        names = ["Doe^John", "Roe^Jane", "Doe", "Doe^John^X"]
        files = [
            part10(
                transfer_syntax=form,
                SOPInstanceUID=f"1.2.{number}",
                PatientName=name,
                PatientID=f"P-{number}",
                StudyDescription=description,
                SpecificCharacterSet=character_set,
                ContentTime=f"1200{number:02}",
            )
            for number, name in enumerate(names * 2)
            for description in ("CT head", "CT neck", "X")
            for character_set in ("ISO_IR 100", "ISO_IR 192")
        ]
        for file in files:
            expected = self._edits(file, wanted, None)
            found = self._edits(file, wanted, layouts)
            assert list(found.edits) == list(expected.edits)
            assert found.has_utf_8 == expected.has_utf_8

    def test_a_layout_is_found_again(self) -> None:
        wanted, layouts = changes(NAME), Layouts()
        one, other = (part10(SOPInstanceUID=f"1.2.{number}", PatientName=f"Doe^{number}") for number in (1, 2))
        edits = self._edits(one, wanted, layouts)
        found = layouts.edits_of(EXPLICIT_LITTLE, other, edits.edits[0])
        assert found is not None
        assert list(found.edits) == list(edits.edits)

    def test_a_value_on_which_edits_depend_is_part_of_the_layout(self) -> None:
        wanted, layouts = changes({"00100020": {"vr": "LO", "Value": ["X-25"]}}), Layouts()
        lengths = [element(0x00100000, "UL", length.to_bytes(4, "little")) for length in (10, 20)]
        files = [part10_of(sorted_elements([*required_elements(), length], EXPLICIT_LITTLE)) for length in lengths]
        edits = [self._edits(file, wanted, layouts).edits for file in files]
        assert edits == [self._edits(file, wanted, None).edits for file in files]
        assert edits[0] != edits[1]
