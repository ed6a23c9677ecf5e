"""Spans, their parents, and which of them are recorded."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from common.telemetry import tracing
from common.telemetry.exports import is_exported
from common.telemetry.tracing import (
    Sampler,
    Span,
    TraceContext,
    arrived,
    current,
    ended,
    is_not_recorded,
    part,
    received,
    recorded,
    sampler_of,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


ALWAYS, NEVER = (sampler_of({"OTEL_TRACES_SAMPLER": name}) for name in ("always_on", "always_off"))


@pytest.mark.parametrize(
    ("traceparent", "is_parent"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),  # versions to come
        ("", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        ("Qzpatient", False),
    ],
)
def test_a_valid_traceparent_is_the_parent(traceparent: str, is_parent: bool) -> None:
    with recorded(lambda _: None, ALWAYS):
        span = received("call", traceparent, {})
    assert isinstance(span, Span)
    assert ((span.trace_id, span.parent_id) == (TRACE, SPAN)) is is_parent
    assert span.traceparent.startswith(f"00-{span.trace_id}-{span.span_id}-")
    assert int(span.span_id, 16)


def test_parts_are_children_of_the_current_span_and_end_before_it() -> None:
    spans: list[Span] = []
    with recorded(spans.append, ALWAYS), received("call", f"00-{TRACE}-{SPAN}-00", {}) as call:
        with part("read", {"bytes": 3}) as read:
            assert tracing.current() is read
        assert tracing.current() is call
    assert tracing.current() is None
    assert [span.name for span in spans] == ["read", "call"]
    assert (spans[0].parent_id, spans[0].trace_id) == (call.span_id, TRACE)
    assert isinstance(call, Span)
    assert call.started_ns <= spans[0].started_ns <= spans[0].ended_ns <= call.ended_ns


def test_a_span_states_the_type_of_an_exception_and_not_its_text() -> None:
    spans: list[Span] = []
    with (
        recorded(spans.append, ALWAYS),
        pytest.raises(ValueError, match="Qzpatient"),
        received("call", "", {}),
    ):
        raise ValueError("Qzpatient")
    [span] = spans
    assert span.fault == "ValueError"
    assert "Qzpatient" not in str({name: getattr(span, name) for name in (*Span.__slots__, "span_id")})


def test_spans_that_are_not_sampled_have_no_parts() -> None:
    spans: list[Span] = []
    with recorded(spans.append, NEVER), received("call", "", {}) as call, part("read", {}) as read:
        assert read is None
        assert tracing.current() is call
    assert spans == []


@pytest.mark.parametrize(
    ("name", "argument", "without", "of_sampled", "of_unsampled"),
    [
        ("", "", "some", True, False),
        ("parentbased_always_on", "", True, True, False),
        ("parentbased_always_off", "", False, True, False),
        ("always_on", "", True, True, True),
        ("always_off", "", False, False, False),
        ("traceidratio", "1", True, True, True),
        ("traceidratio", "0", False, False, False),
        ("parentbased_traceidratio", "1", True, True, False),
    ],
)
def test_the_sampler_of_the_environment_decides(
    name: str, argument: str, without: bool | str, of_sampled: bool, of_unsampled: bool
) -> None:
    sampler = sampler_of({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})
    ids = [number << 54 for number in range(1024)]
    found = [sampler(one, None) for one in ids]
    if without == "some":
        assert sum(found) == pytest.approx(1024 * tracing.DEFAULT_RATIO, abs=1)
    else:
        assert set(found) == {without}
    assert {sampler(one, True) for one in ids} == {of_sampled}
    assert {sampler(one, False) for one in ids} == {of_unsampled}


@pytest.mark.parametrize(("name", "argument"), [("jaeger_remote", ""), ("traceidratio", "2"), ("traceidratio", "x")])
def test_an_unknown_sampler_is_an_error(name: str, argument: str) -> None:
    with pytest.raises(ValueError, match=r"OTEL_TRACES_SAMPLER|could not convert"):
        sampler_of({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})


@pytest.mark.parametrize(
    ("environment", "traces", "metrics"),
    [
        ({}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, True, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, True, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, False, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_METRICS_EXPORTER": "none"}, True, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_SDK_DISABLED": "true"}, False, False),
    ],
)
def test_the_export_is_off_unless_variables_switch_it_on(
    environment: dict[str, str], traces: bool, metrics: bool
) -> None:
    assert is_exported("TRACES", environment) is traces
    assert is_exported("METRICS", environment) is metrics


@pytest.mark.parametrize(("sampler", "expected"), [(NEVER, True), (ALWAYS, False)])
def test_a_call_in_the_same_process_needs_no_span_if_the_current_one_is_not_sampled(
    sampler: Sampler, expected: bool
) -> None:
    with recorded(lambda _: None, sampler):
        assert not is_not_recorded()
        with received("HTTP", "", {}):
            assert is_not_recorded() is expected


NUMBER = 0x4BF92F3577B34DA6_A3CE929D0E0E4736


def of_a_request(sampler: Sampler, traceparent: str) -> tuple[Span | None, Sequence[TraceContext | None]]:
    """Return the span of a request, and what is current in it: twice, and in another thread."""

    def request() -> tuple[Span | None, Sequence[TraceContext | None]]:
        span = arrived(traceparent, NUMBER)
        with ThreadPoolExecutor(1) as thread:
            return span, [current(), current(), thread.submit(copy_context().run, current).result()]

    with recorded(lambda _: None, sampler):
        return copy_context().run(request)


@pytest.mark.parametrize("sampler", [ALWAYS, NEVER])
@pytest.mark.parametrize("traceparent", ["", f"00-{TRACE[::-1]}-{SPAN}-00", "Qzpatient"])
def test_a_request_has_the_same_ids_everywhere(sampler: Sampler, traceparent: str) -> None:
    span, found = of_a_request(sampler, traceparent)
    ids = {(one.trace_id, one.span_id, one.traceparent) for one in found if one is not None}
    [(trace_id, span_id, passed_on)] = ids
    assert trace_id == (TRACE[::-1] if SPAN in traceparent else TRACE)
    assert passed_on == f"00-{trace_id}-{span_id}-{'01' if sampler is ALWAYS else '00'}"
    assert received("call", passed_on, {}).trace_id == trace_id, "it is a valid one"
    assert (span is not None) is (sampler is ALWAYS)


def test_the_span_of_a_request_ends_with_it() -> None:
    spans: list[Span] = []

    def request() -> TraceContext | None:
        span = arrived("", NUMBER)
        assert span is not None
        span.name = "GET /"
        ended(span)
        return current()

    with recorded(spans.append, ALWAYS):
        assert copy_context().run(request) is None
    assert [(span.name, span.parent_id) for span in spans] == [("GET /", "")]


def test_a_request_has_no_trace_while_the_export_is_off() -> None:
    assert copy_context().run(lambda: (arrived("", NUMBER), current())) == (None, None)
