"""Every reason of the contract has an HTTP status, and no response contains too much."""

import logging

import httpx
import pytest
from dicomstore.v1.errors_pb2 import ErrorReason
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facade.errors import ANSWERS, CoreFailure, Refusal, UnexpectedErrors, answer_of, core_failed, refused, shown
from facade.serving.observe import Observe

REASONS = [name.removeprefix("ERROR_REASON_") for name, value in ErrorReason.items() if value]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_status(reason: str) -> None:
    assert reason in ANSWERS


def test_a_shown_value_is_printable_and_truncated() -> None:
    assert shown("yes") == "'yes'"
    assert shown("a\r\nb\x1b") == "'a\ufffd\ufffdb\ufffd'"
    assert shown("x" * 1000) == f"'{'x' * 32}…'"


def test_every_status_belongs_to_an_existing_reason() -> None:
    assert set(ANSWERS) == set(REASONS)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("INVALID_UID", 400),
        ("STUDY_NOT_FOUND", 404),
        ("FRAME_NOT_FOUND", 404),
        ("NO_PIXEL_DATA", 404),
        ("PARTITION_NOT_FOUND", 400),
        ("NOT_ACCEPTABLE_TRANSFER_SYNTAX", 406),
        ("INSTANCE_TOO_LARGE", 413),
        ("RANGE_NOT_SATISFIABLE", 416),
        ("BLOB_MISSING", 500),
        ("DATABASE_UNAVAILABLE", 503),
        ("STORAGE_FULL", 507),
    ],
)
def test_reasons_have_the_specified_status(reason: str, status: int) -> None:
    assert answer_of(reason).status == status


def test_a_reason_newer_than_the_facade_is_an_internal_error() -> None:
    assert answer_of("SOMETHING_NEW").status == 500


async def ask(error: Exception, method: str = "GET") -> httpx.Response:
    async def endpoint(request: Request) -> Response:
        raise error

    app = Starlette(
        routes=[Route("/", endpoint)],
        middleware=[
            Middleware(Observe, add_headers=lambda *_: None, hsts_seconds=0, is_in_core=False),
            Middleware(UnexpectedErrors),
        ],
        exception_handlers={CoreFailure: core_failed, Refusal: refused},
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, "/")


async def test_an_unreachable_core_is_503_with_retry_after() -> None:
    response = await ask(CoreFailure("", "UNAVAILABLE", "connect to 127.0.0.1:50051 failed"))

    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert "127.0.0.1" not in response.text


async def test_partition_errors_have_the_texts_of_azures_service() -> None:
    assert (await ask(CoreFailure("PARTITIONS_DISABLED", "", "x"))).text == "Data partitions feature is disabled."
    assert (
        await ask(CoreFailure("PARTITION_REQUIRED", "", "x"))
    ).text == "PartitionName value is missing in the route segment."
    assert (await ask(CoreFailure("PARTITION_NOT_FOUND", "", "x"))).text == "Specified PartitionName does not exist."


async def test_an_empty_change_feed_is_no_content() -> None:
    assert (await ask(CoreFailure("NO_CHANGES", "NOT_FOUND", "empty"))).status_code == 204


async def test_an_unsatisfiable_range_has_the_size_of_the_object() -> None:
    response = await ask(CoreFailure("RANGE_NOT_SATISFIABLE", "", "", {"size_bytes": "7"}))

    assert response.headers["content-range"] == "bytes */7"


async def test_an_unexpected_error_has_no_details(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await ask(ZeroDivisionError("secret"))

    assert (response.status_code, response.text) == (500, "An unexpected error occurred.")
    assert response.headers["x-request-id"] in caplog.text
    assert "secret" in caplog.text


async def test_refusals_are_plain_text() -> None:
    response = await ask(Refusal(415, "No."))

    assert (response.status_code, response.text) == (415, "No.")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
