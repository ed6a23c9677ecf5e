"""Patients, and conditions on levels below the matches, compared with a model in plain Python."""

from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.adapters.sql.search import patient_search, search
from server.model.search.query import Condition, Equals, Level, Like, Match, Query
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, sample, series_ref, study_ref, uid

LETTERS = st.sampled_from(["a", "b", "c"])
PATIENTS = st.fixed_dictionaries(
    {}, optional={"PatientID": LETTERS, "IssuerOfPatientID": st.sampled_from(["x", "y"]), "StudyDescription": LETTERS}
)
ONCE_PER_DATABASE = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
DESCRIBED = Condition("StudyDescription", (Equals(("a",)),))


async def pages(index: InstanceIndex, query: Query) -> list[Match]:
    found: list[Match] = []
    while page := await index.search(query):
        found += page
        query = replace(query, after=page[-1].key, after_values=page[-1].sort_values)
    return found


def number_of(match: Match) -> int:
    return int(str(match.resource.study).rpartition(".")[2])


def patients(given_keys: list[dict[str, str]], *, described: bool) -> list[tuple[int, int]]:
    """Return the number of the newest study that matches, and the number of studies, of each patient, in order."""

    def identity_of(number: int) -> tuple[Any, ...]:
        keys = given_keys[number - 1]
        issuer = ("IssuerOfPatientID" not in keys, keys.get("IssuerOfPatientID", ""))
        if "PatientID" in keys:
            return (False, keys["PatientID"], issuer)
        return (True, "", issuer, -number)

    numbers = sorted(range(1, len(given_keys) + 1), key=lambda number: (identity_of(number), -number))
    groups = [list(group) for _, group in groupby(numbers, key=identity_of)]
    matching = [
        [number for number in group if not described or given_keys[number - 1].get("StudyDescription") == "a"]
        for group in groups
    ]
    return [(found[0], len(group)) for found, group in zip(matching, groups, strict=True) if found]


@ONCE_PER_DATABASE
@given(
    given_keys=st.lists(PATIENTS, min_size=1, max_size=9),
    described=st.booleans(),
    limit=st.integers(1, 4),
    skip=st.integers(0, 3),
)
async def test_the_pages_of_patients_agree_with_the_model(
    index: InstanceIndex, given_keys: list[dict[str, str]], described: bool, limit: int, skip: int
) -> None:
    await index.add([sample(n, study_keys=keys) for n, keys in enumerate(given_keys, start=1)], NOON)
    conditions = (DESCRIBED,) if described else ()
    query = Query(Level.STUDY, EVERYTHING, conditions, limit, by_patient=True, counts=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patient_search, "_STUDIES", 2)
        try:
            found = [(number_of(match), match.study_count) for match in await pages(index, query)]
            expected = patients(given_keys, described=described)
            assert found == expected
            assert await index.count(query) == len(expected)
            skipped = await index.search(replace(query, skip=skip))
            assert list(map(number_of, skipped)) == [number for number, _ in expected[skip : skip + limit]]
        finally:
            for n in range(1, len(given_keys) + 1):
                await index.delete(study_ref(n), NOON, NOON)


async def test_a_patient_has_the_counts_of_all_studies_and_the_metadata_of_the_newest(index: InstanceIndex) -> None:
    keys = {"PatientID": "p"}
    new = [sample(s, e, i, study_keys=keys) for s in (1, 2) for e in (1, 2) for i in (1, 2)]
    newest = sample(3, study_keys=keys, dicom_json=b'{"00080018":"newest"}')
    await index.add([*new, newest, sample(4, study_keys={"PatientID": "other"})], NOON)
    query = Query(Level.STUDY, EVERYTHING, (), 9, by_patient=True, counts=True, metadata=True)
    other, patient = await index.search(query)
    assert (other.study_count, other.resource) == (1, study_ref(4))
    assert (patient.study_count, patient.series_count, patient.instance_count) == (3, 5, 9)
    assert (patient.resource, patient.metadata) == (study_ref(3), newest.dicom_json)


REQUESTED = "RequestAttributesSequence.RequestedProcedureID"
BELOW = [
    (Condition("Modality", (Equals(("ct",)),)),),
    (Condition("Modality", (Equals(("ct", "mr")),)), Condition("InstanceNumber", (Equals(("2",)),))),
    (Condition("InstanceNumber", (Equals(("1",)),)), Condition("StudyDescription", (Like("*a*"),))),
    (Condition(REQUESTED, (Equals(("r",)),)),),
    (Condition("SOPInstanceUID", (Equals((uid(1, 1, 1),)),)),),
]
SERIES = st.tuples(st.sampled_from(["ct", "mr", "us"]), st.sampled_from(["1", "2"]), st.sampled_from(["", "r"]))
Series = tuple[str, str, str]


def meets(condition: Condition, study: int, number: int, description: str, series: Series) -> bool:
    modality, instance_number, requested = series
    values = {
        "Modality": modality,
        "InstanceNumber": instance_number,
        "StudyDescription": description,
        REQUESTED: requested,
        "SOPInstanceUID": uid(study, number, 1),
    }
    value = values[str(condition.key)]
    (matcher,) = condition.matchers
    return value in matcher.values if isinstance(matcher, Equals) else "a" in value


@pytest.mark.parametrize("few", [0, 1000])
@ONCE_PER_DATABASE
@given(
    given_studies=st.lists(st.tuples(st.sampled_from("ab"), st.lists(SERIES, min_size=1, max_size=2)), max_size=4),
    conditions=st.sampled_from(BELOW),
    level=st.sampled_from([Level.STUDY, Level.SERIES]),
    by_patient=st.booleans(),
)
async def test_conditions_below_the_matches_are_met_by_one_row_in_a_match(
    index: InstanceIndex,
    few: int,
    given_studies: list[tuple[str, list[Series]]],
    conditions: tuple[Condition, ...],
    level: Level,
    by_patient: bool,
) -> None:
    new, expected = [], set()
    for study, (description, of_study) in enumerate(given_studies, start=1):
        for number, series in enumerate(of_study, start=1):
            modality, instance_number, requested = series
            keys = {"Modality": modality} | ({REQUESTED: requested} if requested else {})
            instance = {"InstanceNumber": instance_number}
            keys_of_study = {"StudyDescription": description}
            new.append(sample(study, number, study_keys=keys_of_study, series_keys=keys, instance_keys=instance))
            if all(meets(condition, study, number, description, series) for condition in conditions):
                expected.add(study_ref(study) if level is Level.STUDY else series_ref(study, number))
    await index.add(new, NOON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "FEW_PARENTS", few)
        try:
            query = Query(level, EVERYTHING, conditions, 100, by_patient=by_patient and level is Level.STUDY)
            found = [match.resource for match in await index.search(query)]
            assert sorted(found, key=str) == sorted(expected, key=str)
            assert await index.count(query) == len(found)
        finally:
            for study in range(1, len(given_studies) + 1):
                await index.delete(study_ref(study), NOON, NOON)


async def test_instances_whose_deletion_is_in_progress_meet_no_conditions(index: InstanceIndex) -> None:
    new = [sample(1, 1, n, instance_keys={"InstanceNumber": "7"}) for n in range(1, 202)]
    await index.add([*new, sample(1, 2)], NOON)
    condition = Condition("InstanceNumber", (Equals(("7",)),))
    query = Query(Level.STUDY, EVERYTHING, (condition,), 9)
    assert [match.resource for match in await index.search(query)] == [study_ref(1)]
    await index.delete(series_ref(1, 1), NOON, NOON)  # many instances move later
    assert await index.search(query) == []
    assert [match.resource for match in await index.search(replace(query, conditions=()))] == [study_ref(1)]
