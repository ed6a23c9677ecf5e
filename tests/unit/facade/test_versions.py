"""What differs between v1 and v2 (spec/versions.md, spec/search.md section 5)."""

from dicomstore.v1.store_service_pb2 import ValidationMode

from facade.versions import ALL_ATTRIBUTES, INSTANCE, SERIES, STUDY, VERSIONS

V1, V2 = VERSIONS["v1"], VERSIONS["v2"]


def test_v1_refuses_what_v2_leaves_out() -> None:
    assert V1.validation == ValidationMode.VALIDATION_MODE_INDEXED_STRICT
    assert V2.validation == ValidationMode.VALIDATION_MODE_LENIENT


def test_only_v2_answers_202_for_warnings_and_lists_findings_of_what_was_stored() -> None:
    assert (V1.status_with_warnings, V1.lists_findings_of_stored) == (200, False)
    assert (V2.status_with_warnings, V2.lists_findings_of_stored) == (202, True)


def test_the_change_feed_is_a_window_in_v1_and_pages_in_v2() -> None:
    assert (V1.feed_is_paged_by_rows, V1.feed_limit_default, V1.feed_limit_maximum) == (False, 10, 100)
    assert (V2.feed_is_paged_by_rows, V2.feed_limit_default, V2.feed_limit_maximum) == (True, 100, 200)


def test_v1_returns_the_long_lists_and_v2_what_is_indexed() -> None:
    assert [len(V1.returned_attributes[level]) for level in (STUDY, SERIES, INSTANCE)] == [13, 8, 10]
    assert [len(V2.returned_attributes[level]) for level in (STUDY, SERIES, INSTANCE)] == [8, 4, 1]
    assert "StudyDescription" in V2.returned_attributes[STUDY]
    assert "StudyDescription" not in V1.returned_attributes[STUDY]


def test_all_adds_to_the_list_of_v1() -> None:
    assert [len(ALL_ATTRIBUTES[level]) for level in (STUDY, SERIES, INSTANCE)] == [24, 12, 10]
    for level in (STUDY, SERIES, INSTANCE):
        assert set(V1.returned_attributes[level]) <= set(ALL_ATTRIBUTES[level])
