"""Parameters of the change feed (docs/api.md, Change feed)."""

from datetime import UTC, datetime

import pytest
from dicomstore.v1.change_feed_service_pb2 import ListChangesRequest
from starlette.requests import Request

from facade.endpoints.change_feed import parse_window
from facade.errors import Refusal
from facade.request.query import parameters_of
from facade.versions import VERSIONS


def window(query: str, version: str = "v2") -> ListChangesRequest:
    request = Request({"type": "http", "query_string": query.encode(), "headers": []})
    return parse_window(parameters_of(request), VERSIONS[version])


def test_v1_selects_a_range_of_sequence_numbers() -> None:
    assert window("offset=5&limit=20", "v1") == ListChangesRequest(
        after_sequence=5, through_sequence=25, page_size=20, include_metadata=True
    )
    assert window("", "v1") == ListChangesRequest(
        after_sequence=0, through_sequence=10, page_size=10, include_metadata=True
    )


def test_v1_ignores_times() -> None:
    assert window("startTime=nonsense", "v1") == window("", "v1")


def test_v2_selects_pages_of_entries() -> None:
    assert window("Offset=5&Limit=20&includemetadata=false") == ListChangesRequest(skip=5, page_size=20)
    assert window("").page_size == 100


@pytest.mark.parametrize("time", ["2024-01-02T03:04:05Z", "2024-01-02T05:04:05%2B02:00", "2024-01-02T05:04:05+02:00"])
def test_v2_accepts_times_with_a_zone(time: str) -> None:
    wanted = window(f"startTime={time}&endTime=2024-02-01T00:00:00-01:00")

    assert wanted.start_time.ToDatetime(UTC) == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert wanted.end_time.ToDatetime(UTC) == datetime(2024, 2, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("version", "query"),
    [
        ("v1", "limit=0"),
        ("v1", "limit=101"),
        ("v2", "limit=201"),
        ("v2", "limit=-1"),
        ("v2", "limit=x"),
        ("v2", "offset=-1"),
        ("v1", "offset=x"),
        ("v2", "includeMetadata=maybe"),
        ("v2", "startTime=yesterday"),
        ("v2", "startTime=2024-01-02T00:00:00Z&endTime=2024-01-02T00:00:00Z"),
        ("v2", "startTime=2024-01-02T00:00:00Z&endTime=2024-01-01T00:00:00Z"),
    ],
)
def test_invalid_parameters_are_refused(version: str, query: str) -> None:
    with pytest.raises(Refusal) as refusal:
        window(query, version)

    assert refusal.value.status == 400


def test_a_time_without_a_zone_is_refused_with_the_reason() -> None:
    with pytest.raises(Refusal, match="must carry a time zone"):
        window("endTime=2024-01-02T03:04:05")
