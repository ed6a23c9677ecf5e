"""Traces: spans of the requests, calls and operations of this process (https://www.w3.org/TR/trace-context/).

Nothing is recorded until `record` is called, which `otlp` does if the environment switches the export on. Spans have
names and attributes with few values: never values of data sets, UIDs, paths or addresses of clients.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple, Self

SERVER, CLIENT, INTERNAL = "server", "client", "internal"
"""Kinds of spans: of received requests, of calls of other systems, and of parts of the work."""

DEFAULT_RATIO = 0.01
"""Part of the traces that begin here and are recorded, unless the environment has another one."""

BLOBS = "dicomstore.blobs"
"""The attribute with the number of blobs."""

Attributes = Mapping[str, str | int | float | bool]

_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1
_LOW_BITS = 2**64 - 1
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class TraceContext:
    """The ids of a request or call, which it passes on; current while it is entered. Its trace is not recorded."""

    __slots__ = ("_before", "_span_id", "_trace_id", "_traceparent")

    _flags = "00"

    def __init__(self, trace_id: str | int) -> None:
        self._trace_id = trace_id
        self._span_id = self._traceparent = ""

    @property
    def trace_id(self) -> str:
        """The id of its trace in hexadecimal digits, made when it is needed."""
        if isinstance(self._trace_id, int):
            self._trace_id = f"{self._trace_id:032x}"
        return self._trace_id

    @property
    def span_id(self) -> str:
        """Its id in hexadecimal digits, made when it is needed."""
        if not self._span_id:
            self._span_id = f"{random.getrandbits(64) or 1:016x}"
        return self._span_id

    @property
    def traceparent(self) -> str:
        """The value of header `traceparent` for calls that are part of it."""
        if not self._traceparent:
            self._traceparent = f"00-{self.trace_id}-{self.span_id}-{self._flags}"
        return self._traceparent

    def __enter__(self) -> Self:
        self._before = _current.get()
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not by a token: generators may be left in another context than they were entered in.
        _current.set(self._before)


class Span(TraceContext):
    """A span of a recorded trace.

    Attributes:
        parent_id: in hexadecimal digits; may be empty.
        is_remote: the parent is in another process.
        started_ns, ended_ns: since 1970.
        links: other spans for which the work was done as well, as headers `traceparent`.
        fault: name of the type of the exception that ended it, or another name of an error; empty without.
    """

    __slots__ = ("attributes", "ended_ns", "fault", "is_remote", "kind", "links", "name", "parent_id", "started_ns")

    _flags = "01"

    def __init__(
        self, name: str, kind: str, trace_id: str | int, parent_id: str, *, is_remote: bool, attributes: Attributes
    ) -> None:
        super().__init__(trace_id)
        self.name = name
        self.kind = kind
        self.parent_id = parent_id
        self.is_remote = is_remote
        self.attributes = dict(attributes)
        self.links: Sequence[str] = ()
        self.fault = ""
        self.started_ns = self.ended_ns = time.time_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is not None and not self.fault:
            self.fault = kind.__name__
        self.end()

    def end(self) -> None:
        """Record it."""
        self.ended_ns = time.time_ns()
        if _recorder is not None:
            _recorder(self)


_current: ContextVar[TraceContext | int | None] = ContextVar("span", default=None)
"""Of nearly all requests only the random number of their trace, because an object takes 2 µs more."""


Recorder = Callable[[Span], None]


class Sampler(NamedTuple):
    """Decides which traces are recorded.

    Attributes:
        bound: those whose id, as a number of 64 bits, is less.
        follows_parent: the decision of another process takes precedence.
    """

    bound: int
    follows_parent: bool

    def __call__(self, trace_id: int, parent: bool | None) -> bool:
        """Decide about a span without a parent in this process.

        Args:
            trace_id: as a number.
            parent: whether its remote parent is sampled; None without one.
        """
        if parent is not None and self.follows_parent:
            return parent
        return trace_id & _LOW_BITS < self.bound


_recorder: Recorder | None = None
_sampler = Sampler(0, follows_parent=True)
_NOTHING: AbstractContextManager[None] = nullcontext()


def is_on() -> bool:
    """Return whether traces are recorded."""
    return _recorder is not None


@contextmanager
def recorded(recorder: Recorder, sampler: Sampler) -> Iterator[None]:
    """Pass sampled spans to `recorder` when they end, until the context is left."""
    global _recorder, _sampler
    before = _recorder, _sampler
    _recorder, _sampler = recorder, sampler
    try:
        yield
    finally:
        _recorder, _sampler = before


def current() -> TraceContext | None:
    """Return what is current."""
    found = _current.get()
    if not isinstance(found, int):
        return found
    context = TraceContext(found)
    context._span_id = f"{found >> 64 or 1:016x}"  # the same in all tasks and threads of a request
    return context


def current_span() -> Span | None:
    """Return the current span, if its trace is recorded."""
    span = _current.get()
    return span if type(span) is Span else None


def is_not_recorded() -> bool:
    """Return whether there is a current trace that is not recorded."""
    found = _current.get()
    return found is not None and type(found) is not Span


@contextmanager
def within(span: Span) -> Iterator[None]:
    """Make a span the current one of this thread, while another thread or task waits for its work."""
    before = _current.get()
    _current.set(span)
    try:
        yield
    finally:
        _current.set(before)


def sampled_trace() -> str:
    """Return the current trace as header `traceparent` if it is recorded, otherwise an empty text."""
    span = _current.get()
    return span.traceparent if type(span) is Span else ""


def arrived(traceparent: str, number: int) -> Span | None:
    """Begin an HTTP request, which is a task: its trace remains the current one until `ended`, or the end of the task.

    Args:
        traceparent: as for `received`.
        number: random, of 128 bits; the id of the trace without such a header.

    Returns:
        The span if the trace is recorded; the caller names it.
    """
    if _recorder is None:
        return None
    if not traceparent and number & _LOW_BITS >= _sampler.bound:
        _current.set(number)
        return None
    found = received("HTTP", traceparent, {}, SERVER, number)
    _current.set(found)
    return found if isinstance(found, Span) else None


def ended(span: Span) -> None:
    """End the span of a request that `arrived` has returned."""
    _current.set(None)
    span.end()


def received(
    name: str, traceparent: str, attributes: Attributes, kind: str = SERVER, number: int | None = None
) -> TraceContext:
    """Return the span of a request from another process, or only its ids if its trace is not recorded.

    Args:
        traceparent: the header of the request; one that is not valid is ignored.
        number: the id of the trace without such a header; random if it is not given.
    """
    found = _PARENT.fullmatch(traceparent) if traceparent else None
    if found is not None and found[1] != _NO_TRACE and found[2] != _NO_SPAN:
        trace_id, parent_id = found[1], found[2]
        if _sampler(int(trace_id, 16), bool(int(found[3], 16) & _SAMPLED)):
            return Span(name, kind, trace_id, parent_id, is_remote=True, attributes=attributes)
        return TraceContext(trace_id)
    if number is None:
        number = random.getrandbits(128)
    if _sampler(number, None):
        return Span(name, kind, number, "", is_remote=False, attributes=attributes)
    return TraceContext(number)


def begun(name: str, attributes: Attributes, kind: str = INTERNAL) -> AbstractContextManager[TraceContext | None]:
    """Return the span of work that no call of another process caused: a part of the current span, or of a new trace.

    Nothing while traces are not recorded, so that calls of other processes do not have a trace of no use.
    """
    return part(name, attributes, kind) if _current.get() is not None else following(name, "", attributes, kind)


def following(
    name: str, traceparent: str, attributes: Attributes, kind: str = INTERNAL
) -> AbstractContextManager[TraceContext | None]:
    """Return the span of work that continues a trace recorded earlier, or begins a new one without it.

    Nothing while traces are not recorded.
    """
    return _NOTHING if _recorder is None else received(name, traceparent, attributes, kind)


def shared(name: str, traceparents: Sequence[str], started_ns: int, attributes: Attributes) -> None:
    """Record work that has ended and that was done for several traces at the same time: in each, with links to others.

    Args:
        traceparents: of recorded traces.
        started_ns: since 1970.
    """
    distinct = list(dict.fromkeys(traceparents))
    for traceparent in distinct:
        span = received(name, traceparent, attributes, INTERNAL)
        if isinstance(span, Span) and _recorder is not None:
            span.is_remote = False
            span.started_ns, span.ended_ns = started_ns, time.time_ns()
            span.links = [other for other in distinct if other != traceparent]
            _recorder(span)


def performed(name: str, started_ns: int, attributes: Attributes) -> None:
    """Record work that has ended as a trace of its own, for work that often turns out to have nothing to do.

    Args:
        started_ns: since 1970.
    """
    if _recorder is None:
        return
    span = received(name, "", attributes, INTERNAL)
    if isinstance(span, Span):
        span.started_ns = started_ns
        span.end()


def part(name: str, attributes: Attributes, kind: str = INTERNAL) -> AbstractContextManager[Span | None]:
    """Return the span of a part of the work of the current span; nothing if that is not sampled."""
    parent = _current.get()
    if type(parent) is not Span:
        return _NOTHING
    return Span(name, kind, parent.trace_id, parent.span_id, is_remote=False, attributes=attributes)


def sampler_of(environment: Mapping[str, str] = os.environ) -> Sampler:
    """Return the sampler that `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name.

    Raises:
        ValueError: there is no such sampler, or the ratio is not one.
    """
    name = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_traceidratio"
    base = name.removeprefix("parentbased_")
    text = environment.get("OTEL_TRACES_SAMPLER_ARG") or str(DEFAULT_RATIO)
    ratios = {"always_on": 1.0, "always_off": 0.0, "traceidratio": float(text) if base == "traceidratio" else 0.0}
    if base not in ratios or not 0 <= ratios[base] <= 1:
        raise ValueError(f"OTEL_TRACES_SAMPLER {name} with OTEL_TRACES_SAMPLER_ARG {text} is not known")
    return Sampler(round(ratios[base] * 2**64), follows_parent=name != base)
