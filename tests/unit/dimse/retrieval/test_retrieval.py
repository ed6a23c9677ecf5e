"""Selections of instances, and instances as the core sends them."""

import pytest
from dicomstore.v1.retrieve_service_pb2 import InstanceHead, RetrievedPiece, RetrieveInstancesResponse
from dicomstore.v1.search_service_pb2 import SearchRequest, SearchResponse

from dimse.queries.identifiers import Identifier, InvalidIdentifier, Level
from dimse.retrieval.instances import Failed, Instance, data_set_offset, instances_of
from dimse.retrieval.selection import Form, Series, select
from dimse.retrieval.suboperations import Counts
from dimse.retrieval.transfer_syntaxes import in_order, to_propose
from tests.data import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG_BASELINE, RLE_LOSSLESS, element, part10
from tests.worklist import data_set, text


def identifier(**values: object) -> Identifier:
    return Identifier(data_set(**values), ())


class FakeSearch:
    """Answers a search for instances with three of them, one on a page."""

    def __init__(self, *patient_ids: str) -> None:
        self.patient_ids = patient_ids
        self.requests: list[SearchRequest] = []

    def __call__(self, request: SearchRequest) -> SearchResponse:
        copy = SearchRequest()
        copy.CopyFrom(request)
        self.requests.append(copy)
        number = int(request.page_token or "0")
        found = data_set(SOPClassUID="1.2", AvailableTransferSyntaxUID="1.3", PatientID=self.patient_ids[number])
        response = SearchResponse(next_page_token=str(number + 1) if number + 1 < len(self.patient_ids) else "")
        match = response.matches.add(dicom_json=text(found))
        match.resource.study_instance_uid, match.resource.series_instance_uid = "1", "1.1"
        match.resource.sop_instance_uid = f"1.1.{number}"
        return response


def test_a_selection_has_the_instances_of_all_pages() -> None:
    search = FakeSearch("P", "P", "P")
    found = select(identifier(StudyInstanceUID=["1", "2"]), Level.STUDY, "ward", search)
    assert found.instances == {Series("1", "1.1"): {f"1.1.{number}": Form("1.2", "1.3") for number in range(3)}}
    assert found.count() == 3
    assert search.requests[0].scope.partition == "ward"
    assert [(term.attribute, list(term.values)) for term in search.requests[0].terms] == [("0020000D", ["1", "2"])]


def test_a_patient_id_selects_exactly_that_patient() -> None:
    """A search compares without case, and with wildcards."""
    search = FakeSearch("P*", "p*", "P1")
    found = select(identifier(PatientID="P*"), Level.PATIENT, "", search)
    assert list(found.uids()) == ["1.1.0"]


def test_a_long_list_of_uids_is_several_searches() -> None:
    search = FakeSearch("P")
    uids = [f"1.{number}" for number in range(2500)]
    select(identifier(StudyInstanceUID="1", SOPInstanceUID=uids), Level.IMAGE, "", search)
    assert [len(request.terms[1].values) for request in search.requests] == [1000, 1000, 500]


@pytest.mark.parametrize(
    ("level", "values", "tag"),
    [
        (Level.PATIENT, {}, "00100020"),
        (Level.PATIENT, {"PatientID": ["1", "2"]}, "00100020"),
        (Level.STUDY, {"PatientID": "P"}, "0020000D"),
        (Level.STUDY, {"StudyInstanceUID": "*"}, "0020000D"),
        (Level.SERIES, {"StudyInstanceUID": ["1", "2"], "SeriesInstanceUID": "3"}, "0020000D"),
        (Level.IMAGE, {"StudyInstanceUID": "1", "SOPInstanceUID": "1.2.?"}, "00080018"),
    ],
)
def test_a_unique_key_that_is_missing_or_invalid_is_refused(level: Level, values: dict[str, object], tag: str) -> None:
    with pytest.raises(InvalidIdentifier) as refused:
        select(identifier(**values), level, "", FakeSearch("P"))
    assert refused.value.tag == tag


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_the_data_set_follows_the_file_meta_information(syntax: str) -> None:
    file = part10(transfer_syntax=syntax)
    offset = data_set_offset(file)
    assert offset is not None
    assert file[offset : offset + 4] == b"\x08\0\x16\0"
    assert data_set_offset(file[132:]) == offset - 132
    assert data_set_offset(file[offset:]) is None
    assert data_set_offset(file[: offset - 20]) is None


def responses(*pieces: RetrievedPiece) -> list[bytes]:
    return [RetrieveInstancesResponse(pieces=[piece]).SerializeToString() for piece in pieces]


def head(uid: str) -> InstanceHead:
    made = InstanceHead(sop_class_uid="1.2", transfer_syntax_uid="1.3")
    made.id.study_instance_uid, made.id.series_instance_uid, made.id.sop_instance_uid = "1", "1.1", uid
    return made


def failed(uid: str = "") -> RetrievedPiece:
    piece = RetrievedPiece()
    piece.failed.instance.sop_instance_uid = uid
    return piece


@pytest.mark.parametrize("extra", [0, 3 << 20])
def test_instances_are_complete_when_they_are_sent(extra: int) -> None:
    """Those that failed in between are failures; others than the wanted ones are left out."""
    file = part10() + (element(0x00091010, "OB", bytes(extra)) if extra else b"")
    half = len(file) // 2
    stream = responses(
        RetrievedPiece(head=head("a"), data=file[:half]),
        RetrievedPiece(data=file[half:], last=True),
        RetrievedPiece(head=head("unwanted"), data=file, last=True),
        RetrievedPiece(head=head("b"), data=file[:half]),
        failed(),
        failed("c"),
        failed("unwanted"),
    )
    found = instances_of(stream, frozenset("abc"))
    first = next(found)
    assert isinstance(first, Instance)
    data_set = first.data_set()
    assert data_set is not None
    assert b"".join(data_set) == file[data_set_offset(file) :]
    assert list(found) == [Failed("b"), Failed("c")]


def test_a_data_set_has_an_even_number_of_bytes() -> None:
    instance = Instance("1", "1.1", "a", "1.2", DEFLATED)
    file = part10(transfer_syntax=DEFLATED)
    instance.append(file[:-1] if len(file) % 2 == 0 else file)
    parts = instance.data_set()
    assert parts is not None
    assert len(b"".join(parts)) % 2 == 0


def test_transfer_syntaxes_are_uncompressed_or_lossless_first() -> None:
    accepted = [JPEG_BASELINE, RLE_LOSSLESS, IMPLICIT_LITTLE, EXPLICIT_LITTLE]
    assert in_order(accepted) == (EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE_LOSSLESS, JPEG_BASELINE)


def test_each_stored_form_has_a_context_of_its_own() -> None:
    assert to_propose([RLE_LOSSLESS, EXPLICIT_LITTLE, JPEG_BASELINE, IMPLICIT_LITTLE, "", "no uid"]) == [
        (EXPLICIT_LITTLE, IMPLICIT_LITTLE),
        (IMPLICIT_LITTLE,),
        (JPEG_BASELINE,),
        (RLE_LOSSLESS,),
    ]


def test_counts_of_sub_operations() -> None:
    counts = Counts("C-MOVE", 4)
    counts.complete()
    counts.complete_with_warning()
    counts.fail("1.2")
    elements = {"completed_suboperations": 1, "failed_suboperations": 1, "warning_suboperations": 1}
    assert counts.of_response(is_final=True) == elements
    assert counts.of_response(is_final=False) == elements | {"remaining_suboperations": 1}
