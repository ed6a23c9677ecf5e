"""Statements for PostgreSQL that are sent together."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from server.adapters.sql.pipeline import Pipeline

pytestmark = pytest.mark.postgres

LARGE = 8 << 20  # more than the buffers of a socket


@pytest.fixture
def driver(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    url = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def pipeline(driver: psycopg.Connection[Any]) -> Pipeline:
    return Pipeline(driver)


def rows(pipeline: Pipeline, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    answer = pipeline.add(statement, arguments)
    pipeline.flush()
    return pipeline.rows(answer)


def test_queued_statements_run_in_order_when_they_are_flushed(
    pipeline: Pipeline, driver: psycopg.Connection[Any]
) -> None:
    pipeline.add("CREATE TABLE numbers (n bigint)")
    pipeline.flush()
    inserted = pipeline.add("INSERT INTO numbers SELECT generate_series(1, $1)", (3,))
    found = pipeline.add("SELECT n FROM numbers WHERE n > $1 ORDER BY n", (1,))
    assert not inserted.has_arrived
    assert driver.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
    pipeline.flush()
    assert inserted.count == 3
    assert pipeline.rows(found) == [(2,), (3,)]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_values_return_unchanged_before_and_after_the_statement_is_prepared(pipeline: Pipeline, times: int) -> None:
    for number in range(times):
        values = (number - 2**40, "Yamada^Tarou=山田\n", b"\0\1\xff", None, 0.1, True)
        statement = "SELECT $1::bigint, $2::text, $3::bytea, $4::text, $5::double precision, $6::boolean"
        assert rows(pipeline, statement, *values) == [values]


def test_arguments_and_results_may_be_larger_than_the_buffers_of_the_connection(pipeline: Pipeline) -> None:
    large = [bytes([n]) * LARGE for n in range(3)]
    answers = [pipeline.add("SELECT $1::bytea", (one,)) for one in large]
    pipeline.flush()
    assert [pipeline.rows(answer) for answer in answers] == [[(one,)] for one in large]


def test_after_a_failed_statement_none_is_executed_and_its_error_is_raised(
    pipeline: Pipeline, driver: psycopg.Connection[Any]
) -> None:
    driver.execute("CREATE TABLE numbers (n bigint UNIQUE)")
    for _ in range(3):  # also after the statements are prepared
        pipeline.add("BEGIN")
        pipeline.add("INSERT INTO numbers VALUES ($1)", (1,))
        pipeline.add("INSERT INTO numbers VALUES ($1)", (1,))
        unexecuted = pipeline.add("SELECT 1")
        pipeline.add("COMMIT")
        with pytest.raises(psycopg.errors.UniqueViolation):
            pipeline.flush()
        assert pipeline.statement == "INSERT INTO numbers VALUES ($1)"
        assert unexecuted.count == 0
        driver.rollback()
        assert driver.execute("SELECT count(*) FROM numbers").fetchone() == (0,)


def test_a_text_with_a_nul_is_refused_and_not_truncated(pipeline: Pipeline) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        pipeline.add("SELECT $1::text", ("a\0b",))
    assert rows(pipeline, "SELECT $1::text", "a") == [("a",)]


def test_a_lost_connection_is_an_operational_error(pipeline: Pipeline, driver: psycopg.Connection[Any]) -> None:
    pipeline.add("SELECT pg_terminate_backend(pg_backend_pid())")
    pipeline.add("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        pipeline.flush()
    assert driver.closed


def test_the_number_of_prepared_statements_is_limited(pipeline: Pipeline, driver: psycopg.Connection[Any]) -> None:
    for number in range(300):
        for _ in range(3):
            assert rows(pipeline, f"SELECT {number}") == [(number,)]
    (count,) = driver.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() or (0,)
    assert 200 < count <= 256
    assert rows(pipeline, "SELECT 0") == [(0,)]
