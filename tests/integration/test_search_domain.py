"""Search over the embedded index, with instances made by pydicom.

Single conditions are tested in tests/unit/server/dicom/matching/test_matching.py.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset

from server.adapters.sql.engine import Database, open_database
from server.dicom.matching.attributes import SEARCH_KEYS, attributes_of
from server.dicom.matching.matching import conditions
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.request import SearchRequest, Term
from server.domain.search.search import Search, SearchResult
from server.model.call import EVERYBODY, Call
from server.model.errors import InvalidRequest, Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, Address, InstanceId, Uid, parse_address
from server.model.instance import LevelAttributes, NewInstance
from server.model.search.query import MAX_METADATA, Level
from tests.data import EXPLICIT_LITTLE, dataset, new_uid
from tests.databases import migrated
from tests.reference_matcher import holds

NOW = datetime(2024, 1, 2, tzinfo=UTC)
DELETED_LATER = datetime(2025, 1, 2, tzinfo=UTC)


def at_all_levels(elements: dict[str, Any]) -> list[LevelAttributes]:
    return [attributes_of(level, elements) for level in Level]


def instance(made: Dataset) -> NewInstance:
    """Return a data set in the form in which the index receives it, without a blob."""
    elements: dict[str, Any] = made.to_json_dict(bulk_data_threshold=2**20)
    elements["00083002"] = {"vr": "UI", "Value": [EXPLICIT_LITTLE]}
    elements = {tag: elements[tag] for tag in sorted(elements)}
    study, series, instance = at_all_levels(elements)
    return NewInstance(
        id=InstanceId(
            DEFAULT_PARTITION,
            Uid(str(made.StudyInstanceUID)),
            Uid(str(made.SeriesInstanceUID)),
            Uid(str(made.SOPInstanceUID)),
        ),
        sop_class_uid=str(made.SOPClassUID),
        transfer_syntax_uid=EXPLICIT_LITTLE,
        size_bytes=0,
        crc32c=0,
        locator=str(made.SOPInstanceUID),
        dicom_json=orjson.dumps(elements),
        study=study,
        series=series,
        instance=instance,
        pixels=None,
        bulk=(),
    )


def study(**attributes: Any) -> Dataset:
    """Return one instance of a new study."""
    return dataset(**{"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid(), **attributes})


EVERYTHING = parse_address("")


class Archive:
    """An index and the search over it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        names = PartitionNames(database.partitions, enabled=False, now=lambda: NOW)
        self._search = Search(database.instances, Access(names, ReadOnlyState()), database.tags, database.labels)

    async def store(self, *made: Dataset) -> None:
        await self.database.instances.add([instance(one) for one in made], NOW)

    async def search(self, level: Level, scope: Address = EVERYTHING, **fields: Any) -> SearchResult:
        return await self._search.search(Call("r1", EVERYBODY), SearchRequest(level, scope, **fields))

    async def get(self, url: str) -> list[dict[str, Any]]:
        """Return the attributes of each match of a QIDO-RS request, with its UID."""
        return [orjson.loads(match.dicom_json) for match in (await self.answer(url)).matches]

    async def answer(self, url: str) -> SearchResult:
        """Return the result of a QIDO-RS request with the UID of the requested level among the return keys."""
        return await self._search.search(Call("r1", EVERYBODY), request_of(url))

    async def patients(self, url: str) -> list[str]:
        """Return the Patient IDs of the matches of a QIDO-RS request."""
        found = await self.get(url + ("&" if "?" in url else "?") + "includefield=PatientID")
        return sorted(match["00100020"]["Value"][0] for match in found)


LEVELS = {"studies": Level.STUDY, "series": Level.SERIES, "instances": Level.INSTANCE}


def request_of(url: str) -> SearchRequest:
    """Translate a QIDO-RS URL; only the parameters that these tests use."""
    parts = urlsplit(url)
    *scope, resource = parts.path.strip("/").split("/")
    fields: dict[str, Any] = {"include_attributes": (), "terms": ()}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        match name:
            case "limit":
                fields["page_size"] = int(value)
            case "offset":
                fields["skip"] = int(value)
            case "fuzzymatching":
                fields["fuzzy_matching"] = value == "true"
            case "includefield":
                fields["include_attributes"] += tuple(value.split(","))
            case _:
                fields["terms"] += (Term(name, (value,)),)
    return SearchRequest(LEVELS[resource], parse_address("", *scope[1::2]), **fields)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    url = migrated(tmp_path / "index.db")
    database = open_database(url)
    yield Archive(database)
    await database.close()


def studies_found(result: SearchResult) -> list[str | None]:
    return [match.resource.study for match in result.matches]


# --- Names in every script


CHARSET_FILES = sorted(
    path for path in get_charset_files("*.dcm") if "PatientName" in pydicom.dcmread(path, specific_tags=["PatientName"])
)


@pytest.mark.parametrize("path", CHARSET_FILES, ids=lambda path: Path(path).stem)
async def test_a_name_in_any_character_set_is_found_and_returned_in_utf8(archive: Archive, path: str) -> None:
    await archive.store(*(study(PatientName=pydicom.dcmread(other).PatientName) for other in CHARSET_FILES))
    name = pydicom.dcmread(path).PatientName

    for group in filter(None, str(name).split("=")):
        searches = [(form, False) for form in (group, group.upper(), f"*{group[1:]}", f"{group[:-1]}?")]
        searches += [(word[0], True) for word in group.replace("^", " ").split()]
        for value, fuzzy in searches:
            result = await archive.search(Level.STUDY, terms=(Term("PatientName", (value,)),), fuzzy_matching=fuzzy)
            assert any(group in match.dicom_json.decode() for match in result.matches), (value, fuzzy)


def test_the_charset_files_exist() -> None:
    assert len(CHARSET_FILES) >= 14


async def test_a_half_width_name_is_found_by_its_full_width_form(archive: Archive) -> None:
    await archive.store(study(PatientName="ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", PatientID="H32"))

    assert await archive.patients("/studies?PatientName=ヤマダ^タロウ") == ["H32"]


# --- Matching over a whole index


async def test_examples_of_fuzzy_matching(archive: Archive) -> None:
    await archive.store(
        study(PatientName="John^Doe", PatientID="1"),
        study(PatientName="Jon^Word^StoneHall", PatientID="2"),
        study(PatientName="Jonathan^Word^Stone Hall^^", PatientID="3"),
    )

    for value in ("Joh", "do", "jo+do", "John+Doe"):
        assert "1" in await archive.patients(f"/studies?PatientName={value}&fuzzymatching=true"), value
    assert await archive.patients("/studies?PatientName=ohn&fuzzymatching=true") == []
    assert await archive.patients("/studies?PatientName=word&fuzzymatching=true") == ["2", "3"]
    assert await archive.patients("/studies?PatientName=jo&fuzzymatching=true") == ["1", "2", "3"]


async def test_every_term_must_match_with_at_least_one_value(archive: Archive) -> None:
    await archive.store(
        study(PatientID="A", AccessionNumber="1", StudyDate="20240101"),
        study(PatientID="A", AccessionNumber="2", StudyDate="20240201"),
        study(PatientID="B", AccessionNumber="1", StudyDate="20240101"),
    )

    assert await archive.patients("/studies?PatientID=a&StudyDate=-20240131") == ["A"]
    assert await archive.patients("/studies?AccessionNumber=1&AccessionNumber=3") == ["A", "B"]
    assert await archive.patients("/studies?AccessionNumber=1\\2&StudyDate=20240201-") == ["A"]


async def test_universal_matching_includes_empty_values(archive: Archive) -> None:
    await archive.store(study(PatientID="A", StudyDescription="Head"), study(PatientID="B"))

    assert await archive.patients("/studies?StudyDescription=") == ["A", "B"]
    assert await archive.patients("/studies?StudyDescription=*") == ["A", "B"]
    assert await archive.patients("/studies?StudyDescription=?*") == ["A"]


async def test_modalities_in_study_matches_any_series_and_returns_all(archive: Archive) -> None:
    mixed = new_uid()
    await archive.store(
        study(StudyInstanceUID=mixed, Modality="MR", PatientID="A"),
        study(StudyInstanceUID=mixed, Modality="CT", PatientID="A"),
        study(StudyInstanceUID=mixed, Modality="CT", PatientID="A"),
        study(Modality="CR", PatientID="B"),
    )

    (found,) = await archive.get("/studies?ModalitiesInStudy=ct")

    assert found == {"00080061": {"vr": "CS", "Value": ["CT", "MR"]}}
    assert await archive.patients("/studies?ModalitiesInStudy=CR\\MR") == ["A", "B"]
    assert await archive.patients("/series?ModalitiesInStudy=MR&Modality=CT") == ["A", "A"]


async def test_request_attributes_match_any_item(archive: Archive) -> None:
    items = []
    for step in ("S1", "S2"):
        item = Dataset()
        item.ScheduledProcedureStepID = step
        items.append(item)
    await archive.store(study(PatientID="A", RequestAttributesSequence=items), study(PatientID="B"))

    attribute = "RequestAttributesSequence.ScheduledProcedureStepID"
    assert await archive.patients(f"/series?{attribute}=s2") == ["A"]
    assert await archive.patients("/series?00400275.00400009=S*") == ["A"]
    assert await archive.patients(f"/series?{attribute}=S12") == []


async def test_an_unknown_scope_has_no_matches(archive: Archive) -> None:
    await archive.store(study())

    assert await archive.get("/studies/1.2.3/series") == []


async def test_a_study_can_be_looked_up_by_its_scope(archive: Archive) -> None:
    one, other = study(PatientID="A"), study(PatientID="B")
    await archive.store(one, other)

    result = await archive.search(
        Level.STUDY, parse_address("", other.StudyInstanceUID), include_attributes=("PatientID",)
    )

    assert [orjson.loads(match.dicom_json) for match in result.matches] == [
        {
            "00100020": {"vr": "LO", "Value": ["B"]},
            "0020000D": {"vr": "UI", "Value": [other.StudyInstanceUID]},
        }
    ]


async def test_a_partition_is_refused_while_partitions_are_disabled(archive: Archive) -> None:
    with pytest.raises(WrongState) as caught:
        await archive.search(Level.STUDY, parse_address("other"))

    assert caught.value.reason is Reason.PARTITIONS_DISABLED


async def test_an_unusable_term_is_reported_and_the_others_apply(archive: Archive) -> None:
    await archive.store(study(PatientID="A"), study(PatientID="B"))

    answer = await archive.answer("/studies?Modality=CT&PatientID=A&bogus=1&includefield=nothing")

    assert len(answer.matches) == 1
    assert answer.ignored_attributes == ("Modality", "bogus", "nothing")


# --- Returned attributes


async def test_the_latest_non_empty_value_is_matched_and_returned(archive: Archive) -> None:
    uid = new_uid()
    for patient in ("", "P1", ""):
        await archive.store(study(StudyInstanceUID=uid, PatientID=patient))

    (found,) = await archive.get("/studies?PatientID=P1")

    assert found == {"00100020": {"vr": "LO", "Value": ["P1"]}}


async def test_all_levels_are_returned_with_an_instance(archive: Archive) -> None:
    made = study(PatientID="A", Modality="CT", InstanceNumber=3)
    await archive.store(made)

    (found,) = await archive.get(
        "/instances?includefield=PatientID,Modality,InstanceNumber,00083002,InstanceAvailability"
    )

    assert found == {
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00083002": {"vr": "UI", "Value": [EXPLICIT_LITTLE]},
        "00100020": {"vr": "LO", "Value": ["A"]},
        "00200013": {"vr": "IS", "Value": [3]},
    }


async def test_attributes_outside_the_index_are_returned_from_the_newest_instance(archive: Archive) -> None:
    uid = new_uid()
    await archive.store(
        study(StudyInstanceUID=uid, Modality="CT", EthnicGroup="first"),
        study(StudyInstanceUID=uid, Modality="MR", EthnicGroup="second"),
    )

    (found,) = await archive.get("/studies?includefield=EthnicGroup,Modality,00091001")

    assert found == {
        "00080060": {"vr": "CS", "Value": ["MR"]},
        "00102160": {"vr": "SH", "Value": ["second"]},
    }


async def test_counts_follow_stores_and_deletes(archive: Archive) -> None:
    uid, series = new_uid(), new_uid()
    made = [study(StudyInstanceUID=uid, SeriesInstanceUID=series) for _ in range(3)]
    await archive.store(*made, study(StudyInstanceUID=uid))
    await archive.database.instances.delete(instance(made[0]).id.address, NOW, DELETED_LATER)

    (found,) = await archive.get("/studies?includefield=NumberOfStudyRelatedInstances,NumberOfStudyRelatedSeries")
    assert found == {"00201206": {"vr": "IS", "Value": [2]}, "00201208": {"vr": "IS", "Value": [3]}}

    (found,) = await archive.get(f"/series?SeriesInstanceUID={series}&includefield=00201209")
    assert found["00201209"] == {"vr": "IS", "Value": [2]}


# --- Order and paging


@pytest.mark.parametrize("include", ["PatientID", "EthnicGroup"])
async def test_paging_by_token_returns_each_match_once_during_stores(archive: Archive, include: str) -> None:
    made = [study(EthnicGroup=str(number)) for number in range(43)]
    await archive.store(*made)
    walked: list[str | None] = []
    token = ""
    while True:
        page = await archive.search(Level.STUDY, page_size=20, page_token=token, include_attributes=(include,))
        walked += studies_found(page)
        await archive.store(study())
        token = page.next_page_token
        if not token:
            break

    assert walked == [one.StudyInstanceUID for one in reversed(made)]


async def test_matches_with_metadata_are_complete_and_in_order(archive: Archive) -> None:
    long = "x" * (MAX_METADATA // 3)  # not all of it fits in one page of the index
    await archive.store(*(study(EthnicGroup=str(number), TextValue=long) for number in range(10)))

    found = await archive.get("/studies?limit=8&offset=1&includefield=EthnicGroup")

    assert [match["00102160"]["Value"][0] for match in found] == [str(number) for number in range(8, 0, -1)]


async def test_an_instance_joining_an_old_study_does_not_move_it(archive: Archive) -> None:
    old, new = study(PatientID="old"), study(PatientID="new")
    await archive.store(old, new)
    await archive.store(study(StudyInstanceUID=old.StudyInstanceUID, PatientID="old"))

    assert studies_found(await archive.search(Level.STUDY)) == [new.StudyInstanceUID, old.StudyInstanceUID]


async def test_the_last_page_has_no_token(archive: Archive) -> None:
    await archive.store(study(), study())

    assert (await archive.search(Level.STUDY, page_size=1)).next_page_token
    assert not (await archive.search(Level.STUDY, page_size=2)).next_page_token
    assert not (await archive.search(Level.STUDY, page_size=1, skip=1)).next_page_token
    assert (await archive.search(Level.STUDY, skip=2)).matches == ()


async def test_a_token_is_only_valid_for_its_query(archive: Archive) -> None:
    await archive.store(study(), study())
    token = (await archive.search(Level.STUDY, page_size=1)).next_page_token

    with pytest.raises(InvalidRequest) as caught:
        await archive.search(Level.SERIES, page_size=1, page_token=token)

    assert caught.value.reason is Reason.INVALID_PAGE_TOKEN


# --- Requests of real clients


async def clinic(archive: Archive) -> tuple[Dataset, Dataset]:
    """Store a CT study of two series and a whole-slide image, and return one instance of each."""
    ct = study(
        PatientName="Doe^Jane",
        PatientID="MRN-123",
        AccessionNumber="AC.77",
        StudyDescription="CT Abdomen",
        StudyDate="20200615",
        StudyTime="101530",
        PatientBirthDate="19700101",
        ReferringPhysicianName="House^Gregory",
        Modality="CT",
        SeriesNumber=1,
        SeriesDescription="Axial",
    )
    more = study(
        **{element.keyword: element.value for element in ct} | {"SOPInstanceUID": new_uid(), "SeriesNumber": 2}
    )
    more.SeriesInstanceUID = new_uid()
    slide = study(
        PatientName="Roe^Richard",
        PatientID="MRN-999",
        StudyDate="20210101",
        Modality="SM",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6",
    )
    await archive.store(ct, more, slide)
    return ct, slide


@pytest.mark.parametrize(
    "search",
    [
        "PatientName=*doe*",
        "00100020=*123*",
        "AccessionNumber=*C.7*",
        "StudyDescription=*abd*",
        "ModalitiesInStudy=CT",
        "StudyDate=20200101-20201231",
        "StudyDate=19700102-20200616",
        "PatientName=*doe*&00100020=*mrn*&AccessionNumber=*ac*&StudyDescription=*ct*&ModalitiesInStudy=CT",
    ],
)
async def test_the_study_list_of_ohif_finds_the_study(archive: Archive, search: str) -> None:
    ct, _ = await clinic(archive)

    answer = await archive.answer(
        f"/studies?{search}&limit=101&offset=0&fuzzymatching=false"
        "&includefield=00081030%2C00080060%2C00080090%2C00100030%2C00201208%2C00080061"
    )

    assert studies_found(answer) == [ct.StudyInstanceUID]
    assert answer.ignored_attributes == ()
    found = orjson.loads(answer.matches[0].dicom_json)
    assert found["00081030"]["Value"] == ["CT Abdomen"]
    assert found["00080060"]["Value"] == ["CT"]
    assert found["00080061"]["Value"] == ["CT"]
    assert found["00080090"]["Value"] == [{"Alphabetic": "House^Gregory"}]
    assert found["00100030"]["Value"] == ["19700101"]
    assert found["00201208"]["Value"] == [2]


async def test_ohif_opens_studies_by_a_list_of_uids(archive: Archive) -> None:
    ct, slide = await clinic(archive)

    uids = f"{ct.StudyInstanceUID}%5C{slide.StudyInstanceUID}"

    assert await archive.patients(f"/studies?limit=101&offset=0&fuzzymatching=false&StudyInstanceUID={uids}") == [
        "MRN-123",
        "MRN-999",
    ]


async def test_the_series_list_of_ohif_has_the_uid_of_the_study(archive: Archive) -> None:
    ct, _ = await clinic(archive)

    found = await archive.get(f"/studies/{ct.StudyInstanceUID}/series?includefield=0008103E%2C00080021%2C00200011")

    assert [series["00200011"]["Value"][0] for series in found] == [2, 1]
    assert {series["0020000D"]["Value"][0] for series in found} == {ct.StudyInstanceUID}
    assert {series["0008103E"]["Value"][0] for series in found} == {"Axial"}


async def test_wsidicom_opens_a_slide_by_sop_class_and_series(archive: Archive) -> None:
    _, slide = await clinic(archive)

    (found,) = await archive.get(
        f"/studies/{slide.StudyInstanceUID}/instances?00080016=1.2.840.10008.5.1.4.1.1.77.1.6&00080060=SM"
        f"&0020000E={slide.SeriesInstanceUID}&0020000E=1.2.3&includefield=AvailableTransferSyntaxUID"
    )

    assert found == {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.77.1.6"]},
        "00080060": {"vr": "CS", "Value": ["SM"]},
        "00083002": {"vr": "UI", "Value": [EXPLICIT_LITTLE]},
        "0020000D": {"vr": "UI", "Value": [slide.StudyInstanceUID]},
        "0020000E": {"vr": "UI", "Value": [slide.SeriesInstanceUID]},
    }


async def test_weasis_counts_the_instances_of_a_series(archive: Archive) -> None:
    ct, _ = await clinic(archive)

    (found,) = await archive.get(
        f"/studies/{ct.StudyInstanceUID}/series?0020000E={ct.SeriesInstanceUID}&includefield=00201209"
    )

    assert found["00201209"]["Value"] == [1]


@pytest.mark.parametrize(
    ("url", "patients"),
    [
        ("/studies?00100020=MRN-123&includefield=00080020%2C00080030", ["MRN-123"]),
        ("/series?0020000E={series}", ["MRN-123"]),
        ("/instances?00080018={instance}", ["MRN-123"]),
        ("/studies?PatientName=Doe%5EJane&fuzzymatching=false&limit=10&offset=0", ["MRN-123"]),
        ("/studies?PatientName=jane&fuzzymatching=true", ["MRN-123"]),
        ("/studies?PatientName=%2Aoe%2A", ["MRN-123", "MRN-999"]),
        ("/studies?StudyDescription=CT+Abdomen", ["MRN-123"]),
        ("/studies?ModalitiesInStudy=SM", ["MRN-999"]),
        (
            "/studies?limit=25&offset=0&includefield=00081030%2C00080060&StudyDate=19521125-20210507",
            ["MRN-123", "MRN-999"],
        ),
    ],
)
async def test_searches_of_weasis_and_dicomweb_client(archive: Archive, url: str, patients: list[str]) -> None:
    ct, _ = await clinic(archive)

    assert await archive.patients(url.format(series=ct.SeriesInstanceUID, instance=ct.SOPInstanceUID)) == patients


# --- The index agrees with the model


PEOPLE: list[dict[str, Any]] = [
    {"PatientName": "Doe^John", "PatientID": "A%1", "StudyTime": "10", "StudyDate": "20240101"},
    {"PatientName": "Doe^Jane^^Dr", "PatientID": "a_1", "StudyTime": "101530.25", "StudyDate": "20240229"},
    {"PatientName": "John^Doe", "PatientID": "axb", "StudyTime": "235959.5", "Modality": "MR"},
    {"PatientName": "Buc^Jérôme", "PatientID": "a[b]", "StudyDescription": "Échographie"},
    {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientID": "ab!", "Modality": "CT"},
    {"PatientName": "Hong^Gildong=洪^吉洞=홍^길동", "PatientID": "AB", "StudyDate": "19991231"},
    {"PatientName": "=山田^花子", "PatientID": "a b", "StudyDescription": "CT  Head"},
    {"PatientName": "Jonathan^Word^Stone Hall^^", "PatientID": "b", "StudyDescription": "100% of head"},
    {"PatientName": "Jon^Word^StoneHall", "PatientID": "ba", "StudyDescription": "head\U0001f600"},
    {"PatientName": "", "PatientID": "", "Modality": ""},
]


@pytest.fixture(scope="module")
def people(module_path: Path) -> Iterator[tuple[Archive, list[NewInstance]]]:
    url = migrated(module_path / "index.db")
    archive = Archive(open_database(url))
    made = [study(**attributes) for attributes in PEOPLE]
    asyncio.run(archive.store(*made))
    yield archive, [instance(one) for one in made]
    asyncio.run(archive.database.close())


def expected(stored: Iterable[NewInstance], keyword: str, value: str, *, fuzzy: bool) -> set[str]:
    """Return the Study Instance UIDs that the reference matcher finds."""
    wanted = conditions(SEARCH_KEYS[keyword], [value], fuzzy=fuzzy)
    return {
        one.id.study
        for one in stored
        if all(holds(condition, one.study.keys, [one.series.keys.get("Modality", "")]) for condition in wanted)
    }


def is_blank(value: str) -> bool:
    """True for a list of values that are all blank, which is an error."""
    return " " in value and not value.strip(" \\")


NAME_VALUES = st.text("joandewrshtlé^^ **??=山太홍やた!%", min_size=1, max_size=8).filter(lambda it: not is_blank(it))
TEXT_VALUES = st.text("aAbBxé1 %_[]!**?\\cht\U0001f600", min_size=1, max_size=6).filter(lambda it: not is_blank(it))


@settings(deadline=None, max_examples=200)
@given(
    search=st.one_of(
        st.tuples(st.just("PatientName"), NAME_VALUES, st.booleans()),
        st.tuples(st.sampled_from(["PatientID", "StudyDescription"]), TEXT_VALUES, st.just(False)),
        st.tuples(st.just("ModalitiesInStudy"), st.text("cmtrCT*?\\", min_size=1, max_size=4), st.just(False)),
        st.tuples(
            st.just("StudyTime"),
            st.sampled_from(["10", "1015", "10-", "-10", "1015-23", "235959", "101530.25", "101530.3-"]),
            st.just(False),
        ),
        st.tuples(
            st.just("StudyDate"),
            st.sampled_from(["20240229", "20240101-", "-20240101", "19991231-20240101", "19991231\\20240229"]),
            st.just(False),
        ),
    )
)
def test_the_index_finds_what_the_reference_matcher_finds(
    people: tuple[Archive, list[NewInstance]], search: tuple[str, str, bool]
) -> None:
    archive, stored = people
    keyword, value, fuzzy = search

    result = asyncio.run(archive.search(Level.STUDY, terms=(Term(keyword, (value,)),), fuzzy_matching=fuzzy))

    assert set(studies_found(result)) == expected(stored, keyword, value, fuzzy=fuzzy)
