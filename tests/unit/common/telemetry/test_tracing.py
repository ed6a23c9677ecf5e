"""Spans, their parents, and which of them are recorded."""

import pytest

from common.telemetry import tracing
from common.telemetry.exports import is_exported
from common.telemetry.tracing import Span, is_within, part, received, recorded, sampler_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def always(_trace_id: int, _parent: bool | None) -> bool:
    return True


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
    span = received("call", traceparent, {})
    assert ((span.trace_id, span.parent_id) == (TRACE, SPAN)) is is_parent
    assert span.traceparent.startswith(f"00-{span.trace_id}-{span.span_id}-")
    assert int(span.span_id, 16)


def test_parts_are_children_of_the_current_span_and_end_before_it() -> None:
    ended: list[Span] = []
    with recorded(ended.append, always), received("call", f"00-{TRACE}-{SPAN}-00", {}) as call:
        with part("read", {"bytes": 3}) as read:
            assert tracing.current() is read
        assert tracing.current() is call
    assert tracing.current() is None
    assert [span.name for span in ended] == ["read", "call"]
    assert (ended[0].parent_id, ended[0].trace_id) == (call.span_id, TRACE)
    assert call.started_ns <= ended[0].started_ns <= ended[0].ended_ns <= call.ended_ns


def test_a_span_states_the_type_of_an_exception_and_not_its_text() -> None:
    ended: list[Span] = []
    with (
        recorded(ended.append, always),
        pytest.raises(ValueError, match="Qzpatient"),
        received("call", "", {}),
    ):
        raise ValueError("Qzpatient")
    [span] = ended
    assert span.fault == "ValueError"
    assert "Qzpatient" not in str({name: getattr(span, name) for name in (*Span.__slots__, "span_id")})


def test_spans_that_are_not_sampled_have_no_parts() -> None:
    ended: list[Span] = []
    never = sampler_of({"OTEL_TRACES_SAMPLER": "always_off"})
    with recorded(ended.append, never), received("call", "", {}) as call, part("read", {}) as read:
        assert read is None
        assert tracing.current() is call
    assert ended == []


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


@pytest.mark.parametrize(("sampler", "expected"), [("always_off", True), ("always_on", False)])
def test_a_call_in_the_same_process_needs_no_span_if_the_current_one_is_not_sampled(
    sampler: str, expected: bool
) -> None:
    with recorded(lambda _: None, sampler_of({"OTEL_TRACES_SAMPLER": sampler})):
        assert not is_within(f"00-{TRACE}-{SPAN}-00")
        with received("HTTP", "", {}) as span:
            assert is_within(span.traceparent) is is_within("") is expected
            assert not is_within(received("HTTP", "", {}).traceparent)
