"""Log records as lines of JSON, and the number of warnings and errors as a metric."""

import json
import logging
import os
import re
from datetime import UTC, datetime

from common.telemetry.catalogue import LOG_RECORDS
from common.telemetry.tracing import current

TEXT, JSON = "text", "json"
"""Values of setting `log_format`."""

_PLACE = re.compile(r"(?:(?<![\w.])(\w+)=)?%(?:[-#0 +]*[0-9.*]*[sdrfxiu]|%)")


class JsonFormatter(logging.Formatter):
    """Formats a record as an object with `time`, `level`, `logger`, `pid` and `message`.

    The pairs `name=value` of the message are `fields`. With a current span there are `trace_id` and `span_id`; with an
    exception, `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": os.getpid(),
            "message": record.getMessage(),
        }
        if fields := _fields(record):
            line["fields"] = fields
        if (span := current()) is not None:
            line |= {"trace_id": span.trace_id, "span_id": span.span_id}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the arguments of a message of the form `text name=%s …` by their names."""
    if not isinstance(record.args, tuple) or not record.args:
        return {}
    places = [place for place in _PLACE.finditer(record.msg) if place[0] != "%%"]
    if len(places) != len(record.args):
        return {}
    named = zip((place[1] for place in places), record.args, strict=True)
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in named if name}


class CountedRecords(logging.Filter):
    """Counts warnings and errors, and passes all records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return true."""
        if record.levelno >= logging.WARNING:
            LOG_RECORDS.of(record.levelname.lower()).value += 1
        return True
