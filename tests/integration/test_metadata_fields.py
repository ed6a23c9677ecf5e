"""Filters and paging of RetrieveMetadata."""

import json
from typing import Any

import pytest
from dicomstore.v1 import retrieve_service_pb2 as pb
from pydicom.dataset import Dataset

from tests.core import CoreClient, Ref, ref_of, stream_reason
from tests.data import new_uid, part10

IDENTIFYING = {"00080016", "00080018", "0020000D", "0020000E"}


async def data_set(core: CoreClient, resource: Any, **fields: Any) -> dict[str, Any]:
    _, [item] = await core.metadata(resource, **fields)
    found: dict[str, Any] = json.loads(item)
    return found


def nested() -> bytes:
    inner, outer = Dataset(), Dataset()
    inner.PatientID = 'in[ner" ]}'
    outer.PatientID = "outer"
    outer.ReferencedSeriesSequence = [inner, inner]
    return part10(PatientName='A[B]^{"quoted\\"}', ReferencedStudySequence=[outer, outer], StudyID="7")


async def test_only_included_and_identifying_attributes_are_sent(core: CoreClient) -> None:
    [stored] = await core.stored(nested())
    whole = await data_set(core, ref_of(stored))
    for names in (["PatientID"], ["00100020", "StudyID"], ["ReferencedStudySequence", "NoSuchKeyword"], ["odd name"]):
        found = await data_set(core, ref_of(stored), include_fields=names)
        tags = {"PatientID": "00100020", "StudyID": "00200010", "ReferencedStudySequence": "00081110"}
        expected = IDENTIFYING | {tags.get(name, name) for name in names} & whole.keys()
        assert found == {tag: whole[tag] for tag in expected}
        assert list(found) == sorted(found)


async def test_excluded_attributes_are_left_out_except_identifying_ones(core: CoreClient) -> None:
    [stored] = await core.stored(nested())
    whole = await data_set(core, ref_of(stored))
    for names in (["PatientID"], ["00081110"], ["SOPInstanceUID", "StudyID", "00100010"], ["NoSuchKeyword"]):
        found = await data_set(core, ref_of(stored), exclude_fields=names)
        tags = {"PatientID": "00100020", "StudyID": "00200010"}
        assert found == {
            tag: whole[tag] for tag in whole if tag not in {tags.get(name, name) for name in names} - IDENTIFYING
        }


async def test_an_attribute_both_included_and_excluded_is_left_out(core: CoreClient) -> None:
    [stored] = await core.stored(nested())
    found = await data_set(
        core, ref_of(stored), include_fields=["PatientID", "StudyID"], exclude_fields=["StudyID", "StudyInstanceUID"]
    )
    assert found.keys() == IDENTIFYING | {"00100020"}


async def test_all_pages_together_are_the_complete_response(core: CoreClient) -> None:
    study = new_uid()
    await core.stored(*[part10(StudyInstanceUID=study) for _ in range(70)])
    state, whole = await core.metadata(Ref(study_instance_uid=study))
    pages = []
    for offset in range(0, 90, 30):
        its_state, page = await core.metadata(Ref(study_instance_uid=study), limit=30, offset=offset)
        assert its_state == state
        pages += page
    assert pages == whole
    assert (await core.metadata(Ref(study_instance_uid=study), offset=69))[1] == whole[69:]
    assert (await core.metadata(Ref(study_instance_uid=study), offset=70, limit=1))[1] == []


@pytest.mark.parametrize("name", ["limit", "offset"])
async def test_negative_numbers_are_refused(core: CoreClient, name: str) -> None:
    [stored] = await core.stored(part10())
    request = pb.RetrieveMetadataRequest(resource=ref_of(stored), **{name: -1})
    assert await stream_reason(core.retrieve_stub.RetrieveMetadata(request)) == "INVALID_FIELD"
