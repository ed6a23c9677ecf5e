"""Tasks of the main threads of pages, from a trace of Chromium with the categories `CATEGORIES`."""

import json
from dataclasses import dataclass
from typing import Any

CATEGORIES = ["toplevel", "blink.user_timing"]

_TASK = "ThreadControllerImpl::RunTask"


@dataclass(frozen=True, slots=True)
class Task:
    """CPU time in microseconds, which other programs of the machine do not increase, and `performance.mark`s."""

    cpu_us: float
    marks: frozenset[str]


def tasks_of(trace: bytes) -> list[Task]:
    """Return the tasks of all main threads of pages."""
    events = json.loads(trace)["traceEvents"]
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    marks = [event for event in events if event.get("cat") == "blink.user_timing"]
    return [
        Task(event["tdur"], frozenset(mark["name"] for mark in marks if _is_within(mark, event)))
        for event in events
        if event["name"] == _TASK and "tdur" in event and (event["pid"], event["tid"]) in threads
    ]


def _is_within(mark: dict[str, Any], task: dict[str, Any]) -> bool:
    is_same_thread = (mark["pid"], mark["tid"]) == (task["pid"], task["tid"])
    return is_same_thread and bool(task["ts"] <= mark["ts"] <= task["ts"] + task["dur"])
