"""Interpretation of search requests and composition of results, without an index (PS3.18 10.6)."""

from typing import Any

import orjson
import pytest

from server.dicom.elements.keywords import path_of
from server.domain.search import page_token, record_key
from server.domain.search.answer import MatchComposer, Selection, select
from server.domain.search.request import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, ParsedRequest, SearchRequest, Term, parse
from server.model.errors import InvalidRequest, Reason
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName, Uid
from server.model.search.query import Condition, Equals, Level, Match
from server.model.search.return_keys import lines_of_elements

STUDY, SERIES = "1.2.3", "1.2.3.4"

# docs/api.md, default return attributes
V2_STUDY = (
    "StudyInstanceUID StudyDate StudyDescription AccessionNumber ReferringPhysicianName PatientName PatientID "
    "PatientBirthDate"
)
V2_SERIES = "SeriesInstanceUID Modality PerformedProcedureStepStartDate ManufacturerModelName"
V1_STUDY = (
    "SpecificCharacterSet StudyDate StudyTime AccessionNumber InstanceAvailability ReferringPhysicianName "
    "TimezoneOffsetFromUTC PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID"
)
V1_SERIES = (
    "SpecificCharacterSet Modality TimezoneOffsetFromUTC SeriesDescription SeriesInstanceUID "
    "PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence"
)
V1_INSTANCE = (
    "SpecificCharacterSet SOPClassUID SOPInstanceUID InstanceAvailability TimezoneOffsetFromUTC InstanceNumber Rows "
    "Columns BitsAllocated NumberOfFrames"
)


def tag(keyword: str) -> str:
    path = path_of(keyword)
    assert path is not None
    return path[0]


def meaning(level: Level, *, study: str = "", series: str = "", **fields: Any) -> ParsedRequest:
    scope = Address(DEFAULT_PARTITION, Uid(study) if study else None, Uid(series) if series else None)
    return parse(SearchRequest(level, scope, **fields))


def refusal(level: Level, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        meaning(level, **fields)
    return caught.value


def match(*levels: dict[str, Any], **fields: Any) -> Match:
    """Return a match with these elements per level, starting with the study."""
    return Match(1, Address(DEFAULT_PARTITION, Uid(STUDY)), tuple(map(lines_of_elements, levels or ({},))), **fields)


def text(vr: str, value: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def dicom_json(found: Match, selection: Selection) -> bytes:
    return MatchComposer(selection).of(found)


# --- Searchable attributes per level


@pytest.mark.parametrize(
    ("level", "scope", "searchable"),
    [
        (Level.STUDY, {}, "PatientID"),
        (Level.SERIES, {}, "PatientID Modality"),
        (Level.INSTANCE, {}, "PatientID Modality SOPClassUID"),
        (Level.SERIES, {"study": STUDY}, "Modality SeriesInstanceUID"),
        (Level.INSTANCE, {"study": STUDY}, "Modality SeriesInstanceUID SOPClassUID"),
        (Level.INSTANCE, {"study": STUDY, "series": SERIES}, "SOPClassUID SOPInstanceUID"),
        (Level.STUDY, {"study": STUDY}, "PatientID"),
        (Level.SERIES, {"study": STUDY, "series": SERIES}, "Modality"),
    ],
)
def test_terms_reach_from_below_the_scope_to_the_level_of_the_matches(
    level: Level, scope: dict[str, str], searchable: str
) -> None:
    values = {
        "PatientID": "P1",
        "StudyInstanceUID": STUDY,
        "Modality": "CT",
        "SeriesInstanceUID": SERIES,
        "SOPClassUID": "1.2",
        "SOPInstanceUID": "1.2.3.4.5",
        "NoSuchAttribute": "x",
        "PatientSex": "F",
        "0010001": "x",
    }
    expected = set(searchable.split())
    if not scope:
        expected |= {"StudyInstanceUID"} | ({"SeriesInstanceUID"} if level > Level.STUDY else set())
        expected |= {"SOPInstanceUID"} if level is Level.INSTANCE else set()
    elif scope == {"study": STUDY} and level is Level.INSTANCE:
        expected |= {"SOPInstanceUID"}

    parsed = meaning(level, terms=tuple(Term(name, (value,)) for name, value in values.items()), **scope)

    assert {condition.key for condition in parsed.query.conditions} == expected
    assert set(parsed.ignored) == values.keys() - expected


@pytest.mark.parametrize("attribute", ["Modality", "00080060", "NoSuchAttribute", "PatientSex"])
def test_a_strict_search_refuses_unusable_terms(attribute: str) -> None:
    error = refusal(Level.STUDY, terms=(Term(attribute, ("CT",)),), strict=True)

    assert error.reason is Reason.UNSUPPORTED_ATTRIBUTE
    assert error.metadata == {"attribute": attribute}


def test_ignored_attributes_are_reported_once_as_written() -> None:
    parsed = meaning(
        Level.STUDY,
        terms=(Term("00080060", ("CT",)), Term("00080060", ("MR",))),
        include_attributes=("bogus", "PatientSex", "bogus"),
    )

    assert parsed.ignored == ("00080060", "bogus")


def test_the_values_of_an_ignored_term_are_not_checked() -> None:
    assert meaning(Level.STUDY, terms=(Term("SOPInstanceUID", ("not a uid",)),)).ignored == ("SOPInstanceUID",)


def test_a_strict_search_refuses_unknown_return_attributes() -> None:
    error = refusal(Level.STUDY, include_attributes=("bogus",), strict=True)

    assert error.reason is Reason.UNSUPPORTED_ATTRIBUTE
    assert error.metadata == {"attribute": "bogus"}


def test_terms_of_one_attribute_are_combined_into_a_list() -> None:
    terms = (Term("PatientID", ("A",)), Term("Modality", ("CT",)), Term("00100020", ("B", "C")))

    assert meaning(Level.SERIES, terms=terms).query.conditions == (
        Condition("PatientID", (Equals(("a", "b", "c")),)),
        Condition("Modality", (Equals(("ct",)),)),
    )


def test_a_strict_search_refuses_two_terms_of_one_attribute() -> None:
    error = refusal(Level.STUDY, terms=(Term("PatientID", ("A",)), Term("00100020", ("B",))), strict=True)

    assert error.reason is Reason.INVALID_QUERY
    assert error.metadata == {"attribute": "00100020"}


def test_a_strict_search_accepts_several_values_in_one_term() -> None:
    parsed = meaning(Level.STUDY, terms=(Term("PatientID", ("A", "B")),), strict=True)

    assert parsed.query.conditions == (Condition("PatientID", (Equals(("a", "b")),)),)


# --- Fields


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"page_size": -1}, Reason.INVALID_FIELD, "page_size"),
        ({"page_size": MAX_PAGE_SIZE + 1}, Reason.INVALID_FIELD, "page_size"),
        ({"skip": -1}, Reason.INVALID_FIELD, "skip"),
        ({"study": STUDY, "series": SERIES}, Reason.INVALID_FIELD, "series_instance_uid"),
    ],
)
def test_invalid_fields_are_refused(fields: dict[str, Any], reason: Reason, field: str) -> None:
    error = refusal(Level.STUDY, **fields)

    assert error.reason is reason
    assert error.metadata == {"field": field}


@pytest.mark.parametrize(("asked", "given"), [(0, DEFAULT_PAGE_SIZE), (1, 1), (MAX_PAGE_SIZE, MAX_PAGE_SIZE)])
def test_a_page_has_the_requested_size_up_to_the_limit(asked: int, given: int) -> None:
    parsed = meaning(Level.STUDY, page_size=asked)

    assert parsed.page_size == given
    assert parsed.query.limit == given + 1


# --- Page tokens


def token_after(key: int, level: Level = Level.STUDY, **fields: Any) -> str:
    return page_token.make(key, meaning(level, **fields).identity)


def test_a_page_token_continues_below_the_last_match_and_skips_nothing() -> None:
    query = meaning(Level.STUDY, page_token=token_after(42), skip=7).query

    assert query.after == 42
    assert query.skip == 0


def test_only_the_first_page_skips() -> None:
    query = meaning(Level.STUDY, skip=7).query

    assert query.after is None
    assert query.skip == 7


def test_the_page_size_may_change_between_pages() -> None:
    assert meaning(Level.STUDY, page_token=token_after(42, page_size=5), page_size=9).query.after == 42


BASE: dict[str, Any] = {"terms": (Term("PatientID", ("A",)),), "include_attributes": ("StudyDate",)}


@pytest.mark.parametrize(
    "change",
    [
        {"terms": (Term("PatientID", ("B",)),)},
        {"terms": ()},
        {"fuzzy_matching": True},
        {"include_attributes": ("StudyTime",)},
        {"include_all": True},
        {"study": STUDY},
    ],
)
def test_a_page_token_of_another_query_is_refused(change: dict[str, Any]) -> None:
    error = refusal(Level.STUDY, **{**BASE, **change, "page_token": token_after(42, **BASE)})

    assert error.reason is Reason.INVALID_PAGE_TOKEN


def test_a_page_token_of_another_level_or_partition_is_refused() -> None:
    token = token_after(42)

    assert refusal(Level.SERIES, page_token=token).reason is Reason.INVALID_PAGE_TOKEN
    with pytest.raises(InvalidRequest):
        parse(SearchRequest(Level.STUDY, Address(PartitionName("other")), page_token=token))


@pytest.mark.parametrize("damage", ["x", "", "AAAAAAAAAAAAAAAAAAAAAA", "é" * 22, "=" * 22, "!" * 22])
def test_a_damaged_page_token_is_refused(damage: str) -> None:
    token = damage or token_after(42)[:-1]

    assert refusal(Level.STUDY, page_token=token).reason is Reason.INVALID_PAGE_TOKEN


# --- Universal matching


@pytest.mark.parametrize("keyword", ["StudyDate", "StudyTime", "StudyInstanceUID", "PatientBirthDate", "PatientID"])
def test_a_star_alone_matches_everything_whatever_the_vr(keyword: str) -> None:
    assert meaning(Level.STUDY, terms=(Term(keyword, (" * ",)),)).query.conditions == ()
    assert meaning(Level.STUDY, terms=(Term(keyword, ("*", "1")),)).query.conditions == ()


def test_a_universal_date_keeps_the_condition_on_its_time() -> None:
    terms = (Term("StudyDate", ("*",)), Term("StudyTime", ("10-11",)))
    assert [condition.key for condition in meaning(Level.STUDY, terms=terms).query.conditions] == ["StudyTime"]


@pytest.mark.parametrize(("keyword", "value"), [("StudyDate", "*"), ("StudyInstanceUID", "*"), ("StudyDate", "2024*")])
def test_a_strict_search_accepts_wildcards_only_for_vrs_of_the_standard(keyword: str, value: str) -> None:
    error = refusal(Level.STUDY, terms=(Term(keyword, (value,)),), strict=True)
    assert error.reason is Reason.INVALID_QUERY
    assert keyword in str(error)


# --- Record keys


def record_key_of(key: int, level: Level = Level.STUDY, partition: str = DEFAULT_PARTITION) -> bytes:
    return record_key.make(key, level, PartitionName(partition))


def test_a_prior_record_key_continues_below_its_match_whatever_the_query() -> None:
    query = meaning(Level.STUDY, prior_record_key=record_key_of(42), skip=7, **BASE).query

    assert query.after == 42
    assert query.skip == 7


def test_record_keys_ascend_in_the_order_of_matches() -> None:
    keys = [record_key_of(key) for key in (2**62, 300, 256, 2, 1)]

    assert keys == sorted(keys)


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        b"\x00" * 12,
        b"\xff" * 12,
        record_key_of(42)[:-1],
        record_key_of(42) + b"\x00",
        record_key_of(42, Level.SERIES),
        record_key_of(42, partition="other"),
    ],
)
def test_an_invalid_record_key_is_refused(value: bytes) -> None:
    error = refusal(Level.STUDY, prior_record_key=value)

    assert error.reason is Reason.INVALID_FIELD
    assert error.metadata == {"field": "prior_record_key"}


def test_a_page_token_continues_after_its_prior_record_key() -> None:
    prior = record_key_of(42)
    token = token_after(40, prior_record_key=prior)

    assert meaning(Level.STUDY, prior_record_key=prior, page_token=token).query.after == 40
    for other in (b"", record_key_of(41)):
        error = refusal(Level.STUDY, prior_record_key=other, page_token=token)
        assert error.reason is Reason.INVALID_PAGE_TOKEN


# --- Returned attributes


@pytest.mark.parametrize(
    ("level", "attributes"),
    [
        (Level.STUDY, V2_STUDY),
        (Level.SERIES, f"{V2_STUDY} {V2_SERIES}"),
        (Level.INSTANCE, f"{V2_STUDY} {V2_SERIES} SOPInstanceUID"),
        (Level.STUDY, V1_STUDY),
        (Level.SERIES, f"{V1_STUDY} {V1_SERIES}"),
        (Level.INSTANCE, f"{V1_STUDY} {V1_SERIES} {V1_INSTANCE}"),
        (Level.INSTANCE, "AvailableTransferSyntaxUID"),
        (Level.STUDY, "NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances ModalitiesInStudy"),
        (Level.STUDY, "RetrieveURL PixelData"),
    ],
)
def test_default_return_attributes_need_no_metadata(level: Level, attributes: str) -> None:
    assert meaning(level, include_attributes=tuple(attributes.split())).query.metadata is False


@pytest.mark.parametrize(
    ("level", "attribute"),
    [(Level.STUDY, "EthnicGroup"), (Level.SERIES, "SliceThickness"), (Level.INSTANCE, "00091001")],
)
def test_attributes_outside_the_index_are_read_from_metadata(level: Level, attribute: str) -> None:
    assert meaning(level, include_attributes=(attribute,)).query.metadata is True


@pytest.mark.parametrize(("level", "attribute"), [(Level.STUDY, "Modality"), (Level.SERIES, "Rows")])
def test_indexed_attributes_of_lower_levels_need_no_metadata(level: Level, attribute: str) -> None:
    query = meaning(level, include_attributes=(attribute,)).query

    assert (bool(query.newest), query.metadata) == (True, False)


def test_lower_level_attributes_are_those_of_the_newest_instance() -> None:
    found = match(
        {"00100020": text("LO", "P")},
        newest=tuple(map(lines_of_elements, ({"00080060": text("CS", "MR")}, {"00280010": text("US", 3)}))),
    )
    selection = select(Level.STUDY, {"00100020", "00080060", "00280010"}, ())

    assert dicom_json(found, selection) == (
        b'{"00080060":{"vr":"CS","Value":["MR"]},"00100020":{"vr":"LO","Value":["P"]},"00280010":{"vr":"US","Value":[3]}}'
    )


@pytest.mark.parametrize(
    ("level", "path"),
    [
        (Level.STUDY, "/studies/1.2.3"),
        (Level.SERIES, "/studies/1.2.3/series/1.2.3.4"),
        (Level.INSTANCE, "/studies/1.2.3/series/1.2.3.4/instances/1.2.3.5"),
    ],
)
def test_a_retrieve_url_begins_with_the_base_url_of_the_caller(level: Level, path: str) -> None:
    uids = [Uid(STUDY), Uid(SERIES), Uid("1.2.3.5")][:level]
    found = Match(1, Address(DEFAULT_PARTITION, *uids), (lines_of_elements({}),) * level)

    url = orjson.loads(dicom_json(found, select(level, {"00081190"}, (), 'http://h/"v2'))).get("00081190")
    assert url == {"vr": "UR", "Value": [f'http://h/"v2{path}']}
    assert dicom_json(found, select(level, {"00081190"}, ())) == b"{}"


def test_returning_all_indexed_attributes_needs_no_metadata() -> None:
    assert meaning(Level.INSTANCE, include_all=True).query.metadata is False


def test_terms_and_scope_add_return_attributes() -> None:
    parsed = meaning(
        Level.INSTANCE,
        study=STUDY,
        series=SERIES,
        terms=(Term("InstanceNumber", ("",)), Term("Modality", ("CT",))),
        include_attributes=("Rows",),
    )

    assert parsed.selection.return_keys == {
        tag("StudyInstanceUID"),
        tag("SeriesInstanceUID"),
        "00200013",
        "00280010",
    }


def test_a_member_of_a_sequence_is_returned_with_the_sequence() -> None:
    attribute = "RequestAttributesSequence.ScheduledProcedureStepID"

    for fields in ({"terms": (Term(attribute, ("S1",)),)}, {"include_attributes": (attribute,)}):
        assert meaning(Level.SERIES, **fields).selection.return_keys == {"00400275"}


@pytest.mark.parametrize(
    ("level", "scope", "present", "absent"),
    [
        (Level.STUDY, {}, "StudyDate Occupation", "Modality"),
        (Level.SERIES, {}, "StudyDate Modality", "Rows"),
        (Level.SERIES, {"study": STUDY}, "Modality StudyInstanceUID", "StudyDate"),
        (Level.INSTANCE, {"study": STUDY}, "Modality Rows", "StudyDate"),
        (Level.INSTANCE, {"study": STUDY, "series": SERIES}, "Rows SeriesInstanceUID", "StudyDate Modality"),
    ],
)
def test_all_returns_the_indexed_attributes_of_the_levels_below_the_scope(
    level: Level, scope: dict[str, str], present: str, absent: str
) -> None:
    selection = meaning(level, include_all=True, **scope).selection

    assert {tag(keyword) for keyword in present.split()} <= selection.return_keys
    assert not {tag(keyword) for keyword in absent.split()} & selection.return_keys
    assert selection.availability


def test_matches_have_the_requested_attributes_in_ascending_order() -> None:
    elements = {
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Buc^Jérôme"}]},
        "00100040": {"vr": "CS", "Value": ["F"]},
    }
    selection = select(Level.STUDY, {"0020000D", "00100010", "00080020"}, ())

    assert dicom_json(match(elements), selection) == (
        '{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Buc^Jérôme"}]},"0020000D":{"vr":"UI","Value":["1.2.3"]}}'.encode()
    )


def test_elements_of_a_level_replace_those_of_higher_levels() -> None:
    levels = [{"00080005": {"vr": "CS", "Value": [name]}, f"0020000{name}": {"vr": "UI"}} for name in "DE"]
    found = match(*levels, {"00080018": {"vr": "UI", "Value": ["1.2"]}})
    selection = select(Level.INSTANCE, {"00080005", "00080018", "0020000D", "0020000E"}, ())

    expected = b'{"00080005":{"vr":"CS","Value":["E"]},"00080018":{"vr":"UI","Value":["1.2"]},'
    expected += b'"0020000D":{"vr":"UI"},"0020000E":{"vr":"UI"}}'
    answers = MatchComposer(selection)
    assert [answers.of(found), answers.of(found)] == [expected, expected]
    assert dicom_json(match({}, {}, {}), selection) == b"{}"


def test_values_that_contain_json_syntax_are_copied_unchanged() -> None:
    odd = {"vr": "LO", "Value": ['\n"00100010":{"vr":"PN"}\n', "\r\u2028\\"]}
    item = {"vr": "SQ", "Value": [{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "x"}]}}]}
    elements = {"00081110": item, "00100020": odd}
    selection = select(Level.STUDY, {"00100010", "00100020", "00081110"}, ())

    assert orjson.loads(dicom_json(match(elements), selection)) == elements
    assert match(elements).elements == elements


def test_computed_attributes_have_current_values() -> None:
    tags = ["00080061", "00201206", "00201208", "00201209", "00080056"]
    found = match(modalities=("MR", "CT", "MR"), series_count=2, instance_count=5)

    assert orjson.loads(dicom_json(found, select(Level.STUDY, tags, ()))) == {
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
        "00201206": {"vr": "IS", "Value": [2]},
        "00201208": {"vr": "IS", "Value": [5]},
    }
    assert orjson.loads(dicom_json(found, select(Level.SERIES, tags, ()))) == {
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00201209": {"vr": "IS", "Value": [5]},
    }


def test_counts_are_only_computed_when_they_are_returned() -> None:
    assert meaning(Level.STUDY, terms=(Term("ModalitiesInStudy", ("CT",)),)).query.counts is True
    assert meaning(Level.STUDY, include_attributes=("NumberOfSeriesRelatedInstances",)).query.counts is False
    assert meaning(Level.STUDY, include_all=True).query.counts is False


def test_attributes_from_metadata_never_contain_bulk_data() -> None:
    metadata = orjson.dumps(
        {
            "00091001": {"vr": "OB", "BulkDataURI": "bulkdata:00091001"},
            "00091002": {"vr": "OB", "InlineBinary": "AAE="},
            "00280106": {"vr": "US"},
            "52009230": {
                "vr": "SQ",
                "Value": [
                    {
                        "00189074": {"vr": "DT", "Value": ["2024"]},
                        "00282000": {"vr": "OB", "BulkDataURI": "bulkdata:52009230/1/00282000"},
                    }
                ],
            },
            "00280030": {"vr": "DS", "Value": [0.5, 0.25]},
        }
    )
    selection = select(Level.INSTANCE, ["00091001", "00091002", "00280106", "52009230", "00100021"], ())

    assert orjson.loads(dicom_json(match(metadata=metadata), selection)) == {
        "00091002": {"vr": "OB", "InlineBinary": "AAE="},
        "52009230": {"vr": "SQ", "Value": [{"00189074": {"vr": "DT", "Value": ["2024"]}}]},
    }


def test_a_private_attribute_is_returned_with_its_creator() -> None:
    metadata = orjson.dumps(
        {
            "00090010": {"vr": "LO", "Value": ["ACME"]},
            "00091001": {"vr": "LO", "Value": ["x"]},
            "00091101": {"vr": "SH"},
        }
    )
    selection = select(Level.INSTANCE, ["00091001"], ())

    assert list(orjson.loads(dicom_json(match(metadata=metadata), selection))) == ["00090010", "00091001"]
