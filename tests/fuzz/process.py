"""`python -m tests.fuzz.process TARGET SECONDS CORPUS FINDINGS SEED`: one libFuzzer process (Atheris) for one target.

Modules of the project are instrumented when they are imported, so the target is imported here. The first input for each
kind of violation is written to FINDINGS, with its traceback in a file beside it.
"""

import hashlib
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.target import MAX_BYTES, Violation


class Recorder:
    """Records the first input of each kind of violation, so that fuzzing can go on after it."""

    def __init__(self, check: Callable[[bytes], None], findings: Path) -> None:
        self._check = check
        self._findings = findings
        self._known = set[str]()

    def check(self, data: bytes) -> None:
        """Check an input."""
        try:
            self._check(data)
        except Exception as error:  # noqa: BLE001 - any exception is a violation
            calls = traceback.extract_tb(error.__traceback__)[-2:]
            message = re.sub("[0-9]+", "", str(error)) if isinstance(error, Violation) else ""
            kind = f"{calls} {type(error)} {message}"
            if kind not in self._known:
                self._known.add(kind)
                name = hashlib.sha256(data).hexdigest()[:16]
                (self._findings / name).write_bytes(data)
                (self._findings / f"{name}.txt").write_text(traceback.format_exc())


def main(name: str, seconds: str, corpus: str, findings: str, seed: str, executions: str = "-1") -> None:
    """Fuzz until the time is over, or a number of inputs has been tried; -1 is any number."""
    import atheris

    with atheris.instrument_imports(include=["server", "facade", "cli", "common"]):
        from tests.fuzz.target import Target

        recorder = Recorder(Target(name).check, Path(findings))
    options = {
        "max_total_time": seconds,
        "runs": executions,
        "max_len": str(MAX_BYTES),
        "len_control": "20",  # grow inputs soon
        "timeout": "60",  # of wall time, for loops without end; `Target` checks the CPU time
        "report_slow_units": "600",
        "rss_limit_mb": "1024",
        "seed": seed,
        "artifact_prefix": findings,
        "print_final_stats": "1",
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), corpus], recorder.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
