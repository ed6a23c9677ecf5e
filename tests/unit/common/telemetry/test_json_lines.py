"""Log lines as JSON, with the fields of their messages and the ids of the current trace."""

import json
import logging
import os
import sys
from contextvars import copy_context
from typing import Any

from common.telemetry.json_lines import JsonFormatter
from common.telemetry.tracing import arrived, received, recorded, sampler_of


def line_of(message: str, *arguments: object, **facts: Any) -> dict[str, Any]:
    record = logging.LogRecord("facade.access", logging.INFO, "", 0, message, arguments, facts.get("exc_info"))
    record.created = 1_700_000_000.1234
    formatted = JsonFormatter().format(record)
    assert "\n" not in formatted
    line: dict[str, Any] = json.loads(formatted)
    return line


def test_a_line_has_the_fields_of_its_message() -> None:
    assert line_of("method=%s status=%d ms=%.1f request_id=%s 100%% done", "GET", 200, 1.26, "r1") == {
        "time": "2023-11-14T22:13:20.123+00:00",
        "level": "INFO",
        "logger": "facade.access",
        "pid": os.getpid(),
        "message": "method=GET status=200 ms=1.3 request_id=r1 100% done",
        "fields": {"method": "GET", "status": 200, "ms": 1.26, "request_id": "r1"},
    }


def test_places_without_a_name_are_in_the_message_only() -> None:
    line = line_of("dicomstore listens on %s (gRPC), name=%s", "127.0.0.1:1", OSError("é\n"))
    assert line["fields"] == {"name": "é\n"}
    assert line["message"] == "dicomstore listens on 127.0.0.1:1 (gRPC), name=é\n"
    assert "fields" not in line_of("stops")


def test_a_line_has_the_ids_of_the_current_trace() -> None:
    with received("call", "", {}) as span:
        line = line_of("stops")
    assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)
    assert "trace_id" not in line_of("stops")


def test_lines_of_a_request_have_the_ids_of_its_trace_also_if_that_is_not_recorded() -> None:
    def request() -> list[dict[str, Any]]:
        arrived("", 0x4BF92F3577B34DA6_A3CE929D0E0E4736)
        return [line_of("begins"), line_of("ends")]

    with recorded(lambda _: None, sampler_of({"OTEL_TRACES_SAMPLER": "always_off"})):
        begins, ends = copy_context().run(request)
    assert begins["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (ends["trace_id"], ends["span_id"]) == (begins["trace_id"], begins["span_id"])


def test_an_exception_is_in_the_same_line() -> None:
    try:
        raise OSError("full")
    except OSError:
        line = line_of("failed", exc_info=sys.exc_info())
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("OSError: full")
