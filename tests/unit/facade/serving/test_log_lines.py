"""Lines of the log: the same text as that of the formatter of the standard library."""

import logging
import sys

import pytest

from facade.serving.log_lines import LineFormatter

_STANDARD = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")


def _record(created: float, *, has_error: bool = False) -> logging.LogRecord:
    error = None
    if has_error:
        try:
            raise ValueError("fault")
        except ValueError:
            error = sys.exc_info()
    record = logging.LogRecord("facade.access", logging.INFO, "", 0, "status=%d", (200,), error)
    record.created, record.msecs = created, created % 1 * 1000
    return record


@pytest.mark.parametrize("has_error", [False, True])
def test_a_line_equals_that_of_the_standard_formatter(has_error: bool) -> None:
    formatter = LineFormatter()
    for created in (1_700_000_000.0, 1_700_000_000.25, 1_700_000_000.9996, 1_700_000_001.003, 1_690_000_000.5):
        record = _record(created, has_error=has_error)
        assert formatter.format(record) == _STANDARD.format(record)
